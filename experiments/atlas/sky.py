"""Simulated fields of many streams in one HATS catalogue, and the atlas that `stream-mapper atlas` makes of it.

    python experiments/atlas/sky.py --folder runs/atlas/sky [--number 30] [--nulls 3] [--seed 0] [--tracks FOLDER]

Tracks are drawn with the seed, each with a number of stars; a field that would overlap one drawn before is left
out, and the last ones that are drawn have no stream in them. The command is then run as anybody would, and goes on
where it was when it is started again. At the end it writes `table.md`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import yaml
from astropy.table import Table, vstack
from fields import Field

from stream_mapper.archive import Field as Window
from stream_mapper.catalog import SkyFrame, read_table, replace_file, to_table, write_hats
from stream_mapper.catalog.sky.library import Library
from stream_mapper.charts import short_name
from stream_mapper.errors import InputError
from stream_mapper.inference.checks import CHECKS
from stream_mapper.init import init

_MEMBERS = (100, 1000)
_CHECKS = [check.__name__ for check in CHECKS]
_COLUMNS = (
    *("track", "members", "expected (90 %)", "average precision", "oracle's", "ratio", "distance [kpc] (90 %)"),
    *("verdict", "checks that fail"),
)


class Drawn(NamedTuple):
    """A field that was drawn: what it is of, its window and its stars."""

    field: Field
    window: Window
    stars: Table


def drawn(asked: argparse.Namespace) -> list[Drawn]:
    """Fields that do not overlap, in the order in which they were drawn."""
    rng = np.random.default_rng(asked.seed)
    names = rng.permutation([entry.name for entry in Library(asked.tracks).entries]).tolist()
    sizes = np.exp(rng.uniform(*np.log(_MEMBERS), len(names))).round().astype(int).tolist()
    found: list[Drawn] = []
    for i, (name, size) in enumerate(zip(names, sizes, strict=True)):
        is_null = len(found) >= asked.number - asked.nulls
        field = Field(name, 0 if is_null else size, asked.field, asked.survey, asked.seed + i, asked.tracks)
        one = simulated(field, asked.folder / "drawn")
        if one is not None and not any(overlap(one, other) for other in found):
            found.append(one)
            print(f"{len(found)}: {name}, {field.n_stream} stars", flush=True)
        if len(found) == asked.number:
            break
    return found


def simulated(field: Field, folder: Path) -> Drawn | None:
    """The stars in the window of the query that `init` writes; None of a track that is refused."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        init(field.track, survey=field.survey, output=str(folder), tracks=field.tracks)
        query = yaml.safe_load((folder / "query.yaml").read_text())
        window = Window(SkyFrame(**query["frame"]["init_args"]), tuple(query["phi1"]), tuple(query["phi2"]))
    except InputError:
        return None
    stars = to_table(field.of_query(query).simulate())
    return Drawn(field, window, stars[window.contains(np.asarray(stars["ra"]), np.asarray(stars["dec"]))])


def overlap(one: Drawn, other: Drawn) -> bool:
    """Whether a star of one field is in the window of the other."""
    return any(
        bool(a.window.contains(np.asarray(b.stars["ra"]), np.asarray(b.stars["dec"])).any())
        for a, b in ((one, other), (other, one))
    )


def prepared(asked: argparse.Namespace) -> list[str]:
    """The catalogue and the configuration, made if they are not there; the tracks."""
    done = asked.folder / "drawn.json"
    if not done.is_file():
        found = drawn(asked)
        stars = vstack([one.stars for one in found], metadata_conflicts="silent")
        stars.add_column(np.arange(len(stars)), name="source_id", index=0)
        write_hats(stars, asked.folder / "sky_hats", "sky", "experiments/atlas/sky.py", rows=50_000)
        tracks = [one.field.track for one in found]
        settings = {
            "streams": [short_name(track) for track in tracks[::-1]],  # those without a stream first
            "catalogue": "sky_hats",
            "survey": asked.survey,
            "isochrone": "synthetic",
            "output": "atlas",
            **({"tracks": str(Path(asked.tracks).absolute())} if asked.tracks else {}),
        }
        (asked.folder / "atlas.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        replace_file(done, lambda new: new.write_text(json.dumps(tracks)))
    return list(json.loads(done.read_text()))


def lines(table: Table) -> Iterator[str]:
    """The rows of the table, in Markdown."""
    yield f"| {' | '.join(_COLUMNS)} |"
    yield "|---" * len(_COLUMNS) + "|"
    for row in table:
        if row["status"] != "fitted":
            yield f"| {row['stream']} | | | | | | | failed | {row['reason']} |"
            continue
        has_truth = row["true_members"] > 0
        words = (
            row["stream"],
            row["true_members"],
            f"{row['members']:.0f} ({row['members_05']:.0f}-{row['members_95']:.0f})",
            *(f"{row[name]:.4f}" if has_truth else "" for name in ("average_precision", "optimal_average_precision")),
            f"{ratio(row):.3f}" if has_truth else "",
            banded(row, "distance"),
            row["verdict"],
            ", ".join(name for name in _CHECKS if f"{name}: " in said(row["doubts"])),
        )
        yield f"| {' | '.join(map(str, words))} |"


def said(value: object) -> str:
    """A text of a table, in which an empty one is masked."""
    return "" if np.ma.is_masked(value) else str(value)


def banded(row: object, name: str) -> str:
    """A number with its band."""
    value, low, high = (row[key] for key in (name, f"{name}_05", f"{name}_95"))  # type: ignore[index]
    return f"{value:.1f} ({low:.1f}-{high:.1f})" if np.isfinite(value) else ""


def ratio(row: object) -> float:
    """Average precision over that of the oracle."""
    return float(row["average_precision"] / row["optimal_average_precision"])  # type: ignore[index]


def summary(table: Table, seconds: Sequence[float]) -> str:
    """The whole table, and what it comes to."""
    fitted = table[table["status"] == "fitted"]
    streams, nulls = fitted[fitted["true_members"] > 0], fitted[fitted["true_members"] == 0]
    said = [
        f"Median ratio {median(map(ratio, streams)):.3f} of {len(streams)} streams." if len(streams) else "",
        f"Without a stream: {', '.join(map(str, nulls['verdict']))}." if len(nulls) else "",
        f"{len(table) - len(fitted)} failed. {3600 * len(seconds) / sum(seconds):.0f} fits an hour in one process.",
    ]
    return "\n".join([*lines(table), "", *filter(None, said)])


def main(args: Sequence[str] | None = None) -> None:
    """Make the catalogue and the atlas, and write the table."""
    parser = argparse.ArgumentParser(description="An atlas of simulated fields in one HATS catalogue.")
    parser.add_argument("--folder", type=Path, default=Path("runs/atlas/sky"))
    parser.add_argument("--number", type=int, default=30)
    parser.add_argument("--nulls", type=int, default=3, help="Fields, of these, without a stream.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--survey", default="gaia_dr3")
    parser.add_argument("--field", type=int, default=30_000, help="Stars that are not of the stream.")
    parser.add_argument("--tracks", help="Folder of galstreams' files; by default that of the installed package.")
    asked, others = parser.parse_known_args(args)
    asked.folder.mkdir(parents=True, exist_ok=True)
    prepared(asked)
    start = time.monotonic()
    command = [sys.executable, "-m", "stream_mapper.atlas", "--config", str(asked.folder / "atlas.yaml"), *others]
    status = subprocess.run(command, check=False).returncode
    output = asked.folder / "atlas"
    notes = [json.loads(path.read_text()) for path in output.glob("streams/*/outcome.json")]
    text = summary(read_table(output / "summary.ecsv"), [one["seconds"] for one in notes])
    (asked.folder / "table.md").write_text(text + "\n")
    print(f"{text}\nexit status {status} after {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
