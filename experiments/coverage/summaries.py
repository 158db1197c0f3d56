"""Tables of what many fits found: coverage by quantity and zone, memberships, gaps, verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any

import numpy as np
from judge import TOLERANCE, judge, pulls_of
from numpy.typing import NDArray
from outcomes import BINS, matched

Outcome = dict[str, Any]
Values = NDArray[np.float64]
Line = list[str]

QUANTITIES = (
    *("phi2", "distance", "pm_phi1", "pm_phi2", "phi2_sigma", "distance_sigma", "pm_phi1_sigma", "pm_phi2_sigma"),
    *("weight", "density", "members", "members (expected)", "begin", "end", "begin_width", "end_width", "p_member"),
)
ORDER = ("all", "smooth", "gap", "flank", "end", "beyond", "null", "fit", "uncertain")
ONE_SIDED = ("beyond", "null")
"""Zones where there ought to be nothing: no band that holds it is too wide."""

_NUMBERS = ("weight", "density")  # what is there beyond the ends, too, where it ought to be nothing
NOTHING = 0.05
"""Stars per deg that are as good as none: a band that ends below holds a truth of none."""

_RESAMPLED = 500
_CUT = 10.0  # standard deviations to which pulls are cut
_NORMAL = 1.64485  # half of a 90 % band, in standard deviations
_DETECTABLE = 15.0  # stars that a gap takes: fewer are hardly seen
_UNIT = {"phi2": "phi2_sigma", "pm_phi1": "pm_phi1_sigma", "pm_phi2": "pm_phi2_sigma"}  # of the lengths of bands
_IN_DEGREES = ("begin", "end", "p_member")  # whose bands are stated as they are


@dataclass
class Bands:
    """The bands of one quantity in one zone, one array a fit."""

    pulls: list[Values] = field(default_factory=list)
    held: list[Values] = field(default_factory=list)
    held_68: list[Values] = field(default_factory=list)
    lengths: list[Values] = field(default_factory=list)

    def add(self, truth: Values, columns: dict[str, Values], unit: Values) -> None:
        """The bands of a further fit, (N,) each; those without a quantile of 5 and 95 % are left out."""
        low, high, middle = columns["05"], columns["95"], columns.get("50", columns["estimate"])
        pulls = pulls_of(truth, low, high, np.clip(middle, low, high))
        known = np.isfinite(low + high + truth)
        self.pulls.append(np.where((truth == low) | (truth == high), 0.0, pulls)[known])
        self.held.append(((truth >= low) & (truth <= high))[known].astype(float))
        if "16" in columns and "84" in columns:
            self.held_68.append(((truth >= columns["16"]) & (truth <= columns["84"]))[known].astype(float))
        self.lengths.append(((high - low) / unit)[known])


def bands_of(outcomes: Iterable[Outcome]) -> dict[tuple[str, str], Bands]:
    """The bands of every quantity in every zone, by (quantity, zone)."""
    bands: dict[tuple[str, str], Bands] = defaultdict(Bands)
    for found in outcomes:
        for quantity, zone, columns, unit in _parts(found):
            if len(columns["truth"]) and "05" in columns and "95" in columns:
                bands[quantity, zone].add(columns["truth"], columns, unit)
    return dict(sorted(bands.items(), key=lambda item: (QUANTITIES.index(item[0][0]), ORDER.index(item[0][1]))))


def _parts(found: Outcome) -> Iterable[tuple[str, str, dict[str, Values], Values]]:
    """Quantity, zone, columns and the unit of the lengths of bands, of one fit."""
    places, zones = found["places"], np.array(found["places"]["zone"])
    columns = {name: _arrays(values) for name, values in places["quantities"].items()}
    total = np.array(places["total_density"])
    for name, values in columns.items():
        clipped, there = _clipped(name, values, total), ~np.isin(zones, ONE_SIDED)
        unit = np.abs(columns[_UNIT[name]]["truth"] if name in _UNIT else clipped["truth"])
        yield name, "all", _rows(clipped, there), unit[there]
        for zone in np.unique(zones if name in _NUMBERS else zones[there]):
            yield name, str(zone), _rows(clipped, zones == zone), unit[zones == zone]
    for name, values in found["numbers"].items():
        one = _arrays(values)
        yield name, "fit", one, np.ones(1) if name in _IN_DEGREES else np.abs(one["truth"])
    stars = _arrays({key: values for key, values in found["stars"].items() if key != "zone"})
    yield "p_member", "uncertain", stars, np.ones(len(stars["truth"]))


def coverage_table(outcomes: Sequence[Outcome], tolerance: float = TOLERANCE) -> list[Line]:
    """Coverage, pulls, lengths and judgement by quantity and zone; errors by resampling the fits."""
    head = ["quantity", "zone", "fits", "values", "in 90 %", "in 68 %", "pull", "sd", "length", "independent"]
    lines = [[*head, "judgement"]]
    for (quantity, zone), bands in bands_of(o for o in outcomes if o["role"] != "fault").items():
        pulls = np.clip(_NORMAL * np.concatenate(bands.pulls), -_CUT, _CUT)
        found = judge(bands.pulls, tolerance)
        if len(pulls):
            numbers = [str(sum(len(v) > 0 for v in bands.pulls)), str(len(pulls))]
            shares = [_share(bands.held), _share(bands.held_68)]
            rest = [f"{-pulls.mean():+.2f}", f"{pulls.std():.2f}", f"{np.median(np.concatenate(bands.lengths)):.3g}"]
            verdict = "right" if zone in ONE_SIDED and found.verdict == "too wide" else found.verdict
            lines.append([quantity, zone, *numbers, *shares, *rest, f"{found.independent:.0f}", verdict])
    return lines


def membership_table(outcomes: Sequence[Outcome]) -> list[Line]:
    """Members by membership: expected by the fits, true, and by the oracle."""
    lines = [["p_member", "stars", "expected", "true", "pull", "oracle"]]
    sums = {n: np.sum([o["bins"][n] for o in outcomes], axis=0) for n in ("stars", "expected", "members", "optimal")}
    for i, (low, high) in enumerate(pairwise(BINS)):
        stars, expected, true, optimal = (sums[n][i] for n in ("stars", "expected", "members", "optimal"))
        spread = np.sqrt(max(expected * (1 - expected / max(stars, 1)), 1e-9))
        numbers = [f"{stars:.0f}", f"{expected:.1f}", f"{true:.0f}", f"{(expected - true) / spread:+.1f}"]
        lines.append([f"{low}-{high}", *numbers, f"{optimal:.1f}"])
    return lines


def verdict_table(outcomes: Sequence[Outcome]) -> list[Line]:
    """Verdicts of streams, of fields without one and of faults, and whether they are right."""
    lines = [["fits", "number", "right", "verdicts", "checks that fail"]]
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for found in outcomes:
        groups[_group(found)].append(found)
    for name, group in sorted(groups.items()):
        verdicts = [found["verdict"] for found in group]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in sorted(set(verdicts)))
        failed = list(chain.from_iterable(found["failed"] for found in group))
        checks = ", ".join(f"{failed.count(c)} {c}" for c in sorted(set(failed)))
        lines.append([name, str(len(group)), str(sum(is_right(found) for found in group)), counts, checks])
    return lines


def is_right(found: Outcome) -> bool:
    """Whether the verdict is right, and one of the checks that should name a fault does."""
    named = not found["check"] or bool(set(found["check"]) & set(found["failed"]))
    return found["verdict"] in found["right"] and named


def gap_table(outcomes: Sequence[Outcome]) -> list[Line]:
    """Gaps that are found, missed and false, where the fits list any."""
    looked = [found for found in outcomes if found["role"] != "fault" and found["features"] is not None]
    if not looked:
        return [["gaps"], ["these fits list none"]]
    lines = [["streams", "fits", "gaps", "found", "false"]]
    without = [found for found in looked if not found["truth"]["gaps"] or found["role"] == "null"]
    lines.append(["without gaps", str(len(without)), "0", "-", str(sum(len(o["features"]) for o in without))])
    for name, least, most in (("gaps of 15 stars or more", _DETECTABLE, np.inf), ("smaller gaps", 0, _DETECTABLE)):
        hits = [
            matched([gap], found["features"])[0]
            for found in looked
            for gap in found["truth"]["gaps"]
            if found["role"] != "null" and least <= gap["missing"] < most
        ]
        lines.append([name, "-", str(len(hits)), str(sum(hits)), "-"])
    others = [found for found in looked if found not in without]
    false = sum(matched(found["truth"]["gaps"], found["features"])[1] for found in others)
    return [*lines, ["with gaps", str(len(others)), "-", "-", str(false)]]


def other_numbers(outcomes: Sequence[Outcome], failed: Sequence[Outcome]) -> list[Line]:
    """Stars outside their own band, times, and what failed."""
    banded, outside = (sum(o["bins"][n] for o in outcomes) for n in ("with_band", "outside_own_band"))
    times = [found["cpu_seconds"] for found in outcomes]
    lines = [["what", "number"], ["stars with a band", str(banded)], ["of these outside their own", str(outside)]]
    if times:
        lines.append(["CPU time of a fit, median and longest [s]", f"{np.median(times):.0f}, {max(times):.0f}"])
    return [*lines, *([f"failed: {found['name']}", found["error"].splitlines()[0]] for found in failed)]


def summary(outcomes: Sequence[Outcome], tolerance: float = TOLERANCE) -> str:
    """Every table, in Markdown."""
    done, failed = [o for o in outcomes if "error" not in o], [o for o in outcomes if "error" in o]
    good = [found for found in done if found["role"] != "fault"]
    tables = {
        "Bands": coverage_table(done, tolerance),
        "Memberships": membership_table(good),
        "Gaps": gap_table(done),
        "Verdicts": verdict_table(done),
        "Fits": other_numbers(done, failed),
    }
    return "\n\n".join(f"## {title}\n\n{_markdown(lines)}" for title, lines in tables.items()) + "\n"


def _group(found: Outcome) -> str:
    if found["role"] == "null":
        return "no stream"
    if found["role"] == "fault":
        return f"fault: {found['name'].rpartition('_')[2]}"
    return "stream" if len(found["right"]) == 1 else "poor stream"


def _share(held: Sequence[Values]) -> str:
    """Share that is held, and its error by resampling the fits, in percent."""
    used = [values for values in held if len(values)]
    if not used:
        return "-"
    hits, sizes = np.array([values.sum() for values in used]), np.array([len(values) for values in used])
    picks = np.random.default_rng(0).integers(0, len(used), (_RESAMPLED, len(used)))
    error = np.std(hits[picks].sum(1) / sizes[picks].sum(1))
    return f"{100 * hits.sum() / sizes.sum():.1f} ± {100 * error:.1f}"


def _arrays(columns: dict[str, Any]) -> dict[str, Values]:
    return {name: np.array(values, dtype=float) for name, values in columns.items()}


def _rows(columns: dict[str, Values], rows: NDArray[np.bool_]) -> dict[str, Values]:
    return {name: values[rows] for name, values in columns.items()}


def _clipped(name: str, columns: dict[str, Values], total: Values) -> dict[str, Values]:
    """Weights and densities, where less than what is as good as nothing is nothing."""
    if name not in _NUMBERS:
        return columns
    least = NOTHING / total if name == "weight" else np.full_like(total, NOTHING)
    return {key: np.maximum(values, least) for key, values in columns.items()}


def _markdown(lines: list[Line]) -> str:
    rule = ["---"] * len(lines[0])
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])
