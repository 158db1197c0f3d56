"""One fit, and what is kept of it: the truth and what the tables of the run say of it."""

from __future__ import annotations

import json
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray
from streams import Case, checks
from zones import zones_of

from stream_mapper.catalog import read_table

Outcome = dict[str, Any]
Values = NDArray[np.float64]

COORDS = ("phi2", "distance", "pm_phi1", "pm_phi2")
QUANTILES = ("05", "16", "50", "84", "95")
UNCERTAIN = (0.01, 0.99)  # the oracle's membership of stars that are uncertain
BINS = (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0)
_MATCHED = 1.0  # deg, or the reach of a gap: how far off one that is found may be


def outcome(case: Case, folder: Path) -> Outcome:
    """Fit the stars of a case as the command does; what is kept of it, or of its error."""
    kept = {"name": case.name, "kind": case.kind, "seed": case.seed, "role": case.role}
    kept |= {"right": case.right, "check": case.check, "truth": _truth(case)}
    start, processor = time.monotonic(), time.process_time()
    try:
        kept |= _found(case, _fitted(case, folder))
    except Exception as error:  # a fit that fails is a result, too
        kept |= {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    return kept | {"seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - processor}


def _fitted(case: Case, folder: Path) -> Path:
    """Fit, and give the folder of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("w") as log, redirect_stdout(log), redirect_stderr(log):
        run = checks.fit_of(case.config(), case.table(), folder).folder
    if run is None:
        raise RuntimeError(f"{folder}: nothing was written.")
    return run


def _truth(case: Case) -> Outcome:
    """The numbers of the stream."""
    truth = case.mock.truth
    per_degree = case.mock.truth_at([gap.centre for gap in truth.gaps])["density"].tolist()
    gaps = [
        {**gap._asdict(), "reach": gap.reach, "missing": density / max(1 - gap.depth, 1e-9) * gap.missing}
        for gap, density in zip(truth.gaps, per_degree, strict=True)
    ]
    ends = {name: getattr(truth, name) for name in ("begin", "end", "begin_width", "end_width")}
    ends = {name: value if np.isfinite(value) else None for name, value in ends.items()}
    return {"expected": truth.expected, "members": case.mock.stream.size, "gaps": gaps, **ends}


def _found(case: Case, run: Path) -> Outcome:
    """What the tables of a run say."""
    metrics = json.loads((run / "metrics.json").read_text())
    checks = _rows(run / "checks.ecsv", None)
    found = {"verdict": metrics["verdict"], "seconds_fit": metrics["seconds_fit"], "places": _places(case, run)}
    failed = [] if checks is None else sorted({str(row["name"]) for row in checks if row["verdict"] == "fail"})
    memberships = read_table(run / "memberships.parquet")
    return found | {
        "failed": failed,
        "numbers": _numbers(case, run, memberships),
        "stars": _stars(case, memberships),
        "bins": _bins(memberships),
        "features": _features(run),
    }


def _places(case: Case, run: Path) -> Outcome:
    """Every quantity along the stream, at the places of the run's tables."""
    track, density = _rows(run / "track.ecsv"), _rows(run / "density.ecsv")
    if track is None or density is None:
        raise FileNotFoundError(f"{run}: no track.ecsv or density.ecsv.")
    phi1 = np.asarray(track["phi1"], dtype=float)
    truth = {name: values.numpy() for name, values in case.mock.truth_at(torch.from_numpy(phi1)).items()}
    of_track = [name for coord in COORDS for name in (coord, f"{coord}_sigma")]
    wanted = dict.fromkeys(of_track, track) | dict.fromkeys(("weight", "density"), density)
    zone = zones_of(case.mock.truth, phi1) if case.role != "null" else np.full(len(phi1), "null")
    quantities = {n: {"truth": _short(truth[n]), **_columns(t, n)} for n, t in wanted.items() if n in t.colnames}
    return {
        "phi1": _short(phi1),
        "zone": zone.tolist(),
        "supported": np.asarray(track["supported"]).tolist(),
        "total_density": _short(density["total_density"]),
        "quantities": quantities,
    }


def _columns(table: Table, name: str) -> Outcome:
    """Best value and those quantiles that the table has."""
    quantiles = {q: _short(table[f"{name}_{q}"]) for q in QUANTILES if f"{name}_{q}" in table.colnames}
    return {"estimate": _short(table[name]), **quantiles}


def _numbers(case: Case, run: Path, memberships: Table) -> Outcome:
    """Number of members, and where the stream begins and ends."""
    truth = {"members": float(case.mock.stream.size), "members (expected)": case.mock.truth.expected}
    truth |= {name: getattr(case.mock.truth, name) for name in ("begin", "end", "begin_width", "end_width")}
    table = _rows(run / "components.ecsv")
    if table is None or len(table) == 0:
        estimate = [float(np.nansum(memberships["p_member"]))]
        return {name: {"truth": [truth[name]], "estimate": estimate} for name in ("members", "members (expected)")}
    columns = {name: name.split(" ", maxsplit=1)[0] for name in truth}
    there = {n: c for n, c in columns.items() if c in table.colnames and np.isfinite(truth[n])}
    return {name: {"truth": [truth[name]], **_columns(table[:1], column)} for name, column in there.items()}


def _stars(case: Case, table: Table) -> Outcome:
    """Memberships of the stars of which the oracle is not certain."""
    p, inside = np.asarray(table["true_p_member"]), np.asarray(table["in_window"])
    rows = np.flatnonzero((p > UNCERTAIN[0]) & (p < UNCERTAIN[1]) & inside)
    stars = table[rows]
    out = {"truth": _short(stars["true_p_member"]), **_columns(stars, "p_member")}
    out["zone"] = zones_of(case.mock.truth, np.asarray(stars["phi1"], dtype=float)).tolist()
    return out


def _bins(table: Table) -> Outcome:
    """Members by membership, and how many stars lie outside their own band."""
    p, true = (np.asarray(table[name], dtype=float) for name in ("p_member", "true_p_member"))
    low, high = (np.asarray(table[f"p_member_{q}"], dtype=float) for q in ("05", "95"))
    member = np.asarray(table["true_component"]) != "background"
    known = np.isfinite(p)
    which = np.clip(np.digitize(p[known], BINS) - 1, 0, len(BINS) - 2)
    sums = {
        name: np.bincount(which, weights=weights[known], minlength=len(BINS) - 1).round(4).tolist()
        for name, weights in {"stars": np.ones(len(p)), "expected": p, "members": member, "optimal": true}.items()
    }
    outside = int(((p < low) | (p > high)).sum())
    return {**sums, "with_band": int(np.isfinite(low).sum()), "outside_own_band": outside}


def _features(run: Path) -> list[Outcome] | None:
    """Gaps that the fit lists; None where it lists none because it does not look."""
    table = _rows(run / "features.ecsv")
    if table is None:
        return None
    gaps = [row for row in table if str(row["kind"]) == "gap"]
    return [{name: float(row[name]) for name in ("phi1", "width", "depth") if name in row.colnames} for row in gaps]


def matched(true: list[Outcome], found: list[Outcome]) -> tuple[int, int]:
    """Number of true gaps that are found, and of those found that are none."""
    near = [[abs(f["phi1"] - t["centre"]) <= max(_MATCHED, t["reach"]) for f in found] for t in true]
    hits = sum(any(row) for row in near)
    false = sum(not any(row[i] for row in near) for i in range(len(found)))
    return hits, false


def _rows(path: Path, component: str | None = "stream") -> Table | None:
    """The rows of a component in a table of the run; None where there is no such table."""
    if not path.exists():
        return None
    table = read_table(path)
    return table if component is None else table[np.asarray(table["component"]) == component]


def _short(values: Any) -> list[float | None]:
    """Numbers of six digits; None for NaN."""
    return [float(f"{x:.6g}") if np.isfinite(x) else None for x in np.asarray(values, dtype=float)]
