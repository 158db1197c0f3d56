"""Streams drawn from galstreams: simulated fields, `init` and then `fit`, with nobody looking.

    python experiments/atlas/fits.py --folder runs/atlas/fits [--number 20] [--seed 0] [--tracks FOLDER]

Each fit leaves a file in the folder; started again, the command goes on where it was, and writes the table.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from fields import Field

from stream_mapper.catalog import replace_file
from stream_mapper.catalog.sky.library import Library
from stream_mapper.errors import InputError
from stream_mapper.fit import fit_command

SURVEYS = ("panstarrs1", "des", "gaia_dr3")
_MEMBERS = (100, 1000)
_FIELD = 30_000
_FAILED = 0.9  # of the oracle's average precision: what is below must not be called believable
_COLUMNS = (
    "track",
    "survey",
    "members",
    "expected (90 %)",
    "average precision",
    "oracle's",
    "ratio",
    "distance in its band",
    "verdict",
    "checks that fail",
    "CPU [s]",
)

Row = dict[str, Any]


def drawn(number: int, seed: int, field: int, tracks: str | None) -> list[Field]:
    """Fields of tracks drawn with the seed, each with a survey and a number of members, evenly in its logarithm."""
    rng = np.random.default_rng(seed)
    names = [entry.name for entry in Library(tracks).entries]
    chosen = rng.choice(names, min(number, len(names)), replace=False).tolist()
    low, high = np.log(_MEMBERS)
    return [
        Field(name, round(float(np.exp(rng.uniform(low, high)))), field, SURVEYS[rng.integers(3)], seed + i, tracks)
        for i, name in enumerate(chosen)
    ]


def fitted(field: Field, folder: Path, options: Sequence[str]) -> Row:
    """What a fit of the field found, beside the truth; why there is none, if there is none."""
    began, cpu = time.perf_counter(), time.process_time()
    about = {"track": field.track, "survey": field.survey, "n_stream": field.n_stream}
    try:
        _, config = field.begin(folder)
        fit = fit_command(["--config", str(config), f"--trainer.default_root_dir={folder / 'runs'}", *options])
    except InputError as error:
        return {**about, "refused": str(error)}
    stars, failing = fit.catalogue.table, [row for row in fit.checks if row["verdict"] == "fail"]
    return {
        **about,
        "members": int(((stars["true_component"] == "stream") & stars["in_window"]).sum()),
        "checks": sorted({str(row["name"]) for row in failing}),
        "cpu_seconds": time.process_time() - cpu,
        "seconds": time.perf_counter() - began,
        "metrics": {name: value for name, value in fit.metrics.items() if isinstance(value, int | float | str)},
    }


def kept(field: Field, folder: Path, options: Sequence[str]) -> Row:
    """What a fit found, from the folder, or made now."""
    name = f"{field.track}-{field.survey}-{field.n_stream}-{field.seed}"
    file = folder / f"{name}.json"
    if not file.exists():
        found = fitted(field, folder / name, options)
        replace_file(file, lambda new: new.write_text(json.dumps(found)))
    return dict(json.loads(file.read_text()))


def line(row: Row) -> str:
    """One row of the table, in Markdown."""
    short = row["track"].removeprefix("track.")
    if "refused" in row:
        return f"| {short} | {row['survey']} | {row['n_stream']} | refused: {row['refused']} | | | | | | | |"
    found = row["metrics"]
    band = "-".join(f"{found[f'expected_members_{q}']:.0f}" for q in ("05", "95"))
    covered = found.get("distance_coverage")
    words = (
        short,
        row["survey"],
        row["members"],
        f"{found['expected_members']:.0f} ({band})",
        f"{found['average_precision']:.4f}",
        f"{found['optimal_average_precision']:.4f}",
        f"{ratio(row):.3f}",
        "no distance" if covered is None else f"{covered:.0%}",
        found["verdict"],
        ", ".join(row["checks"]),
        f"{row['cpu_seconds']:.0f}",
    )
    return f"| {' | '.join(map(str, words))} |"


def ratio(row: Row) -> float:
    """Average precision over that of the oracle."""
    return float(row["metrics"]["average_precision"] / row["metrics"]["optimal_average_precision"])


def summary(rows: Sequence[Row]) -> str:
    """The whole table, and what it comes to."""
    fits = [row for row in rows if "metrics" in row]
    unsaid = [r["track"] for r in fits if ratio(r) < _FAILED and r["metrics"]["verdict"] == "believable"]
    covered = [r["metrics"]["distance_coverage"] for r in fits if "distance_coverage" in r["metrics"]]
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|", *map(line, rows), ""]
    if fits:
        lines += [f"Median ratio {median(map(ratio, fits)):.3f}; failures that nobody was told of: {unsaid or 'none'}."]
    if covered:
        lines += [f"Distance inside its band over {np.mean(covered):.0%} of the streams (90 % would be right)."]
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> None:
    """Fit what has not been fitted, and write the table, ``table.md`` in the folder, after each fit."""
    parser = argparse.ArgumentParser(description="Streams drawn from galstreams, from init to their verdicts.")
    parser.add_argument("--folder", type=Path, default=Path("runs/atlas/fits"))
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--field", type=int, default=_FIELD, help="Stars that are not of the stream.")
    parser.add_argument("--only", default="", help="Part of the names of those drawn that are to be fitted.")
    parser.add_argument("--tracks", help="Folder of galstreams' files; by default that of the installed package.")
    options, others = parser.parse_known_args(args)
    options.folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", message="LightningCLI's args")  # these are not the options of the fit
    rows: list[Row] = []
    for field in drawn(options.number, options.seed, options.field, options.tracks):
        if options.only in field.track:
            rows.append(kept(field, options.folder, others))
            (options.folder / "table.md").write_text(summary(rows) + "\n")
    print(summary(rows))


if __name__ == "__main__":
    main()
