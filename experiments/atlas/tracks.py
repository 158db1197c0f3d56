"""Every track of galstreams: a query and a configuration by `init`, and the one pass that a fit makes before it trains.

    python experiments/atlas/tracks.py --folder runs/atlas [--survey panstarrs1] [--only GD-1] [--tracks FOLDER]

Each leaves a file in the folder; started again, the command goes on where it was, and prints the table.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fields import Field

from stream_mapper.catalog import replace_file
from stream_mapper.catalog.sky.library import Library
from stream_mapper.errors import InputError
from stream_mapper.pipeline import read
from stream_mapper.training.cli import StreamCLI
from stream_mapper.training.trainer import only_warnings

_STREAM, _FIELD = 200, 1800


def checked(field: Field, folder: Path) -> dict[str, Any]:
    """What became of one track: the coordinates of the model, the stars that a fit takes, or why there is none."""
    start = time.perf_counter()
    try:
        found = _dry_run(field, folder)
    except InputError as error:
        found = {"refused": str(error)}
    except Exception as error:
        found = {"failed": f"{type(error).__name__}: {error}"}
    return {"track": field.track, **found, "seconds": round(time.perf_counter() - start, 2)}


def _dry_run(field: Field, folder: Path) -> dict[str, Any]:
    mock, config = field.begin(folder)
    with only_warnings(), warnings.catch_warnings(action="ignore"):
        cli = StreamCLI(["--config", str(config)])
        stars = read(cli.model.model, cli.model.ensemble, cli.datamodule)
    members = stars.table["true_component"] == "stream"
    return {
        "phi1": mock.window.phi1,
        "phi2": mock.window.phi2,
        "coordinates": cli.model.model.coord_names,
        "stars": int(stars.fitted.sum()),
        "members": int(members.sum()),
        "members_fitted": int(members[stars.fitted.numpy()].sum()),
    }


def kept(field: Field, folder: Path) -> dict[str, Any]:
    """What became of one track, found in the folder or made now."""
    file = folder / f"{field.track}.json"
    if not file.exists():
        found = checked(field, folder / field.track)
        replace_file(file, lambda new: new.write_text(json.dumps(found)))
    return dict(json.loads(file.read_text()))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """How many tracks have a fit with which coordinates, and those that have none with why."""
    fits = [row for row in rows if "coordinates" in row]
    kinds = Counter(", ".join(row["coordinates"]) for row in fits)
    lines = ["| | tracks |", "|---|---|", *(f"| a fit in {kind} | {count} |" for kind, count in kinds.most_common())]
    lines += [f"| {word} | {sum(word in row for row in rows)} |" for word in ("refused", "failed")]
    lines += ["", *(f"- {row['track']}: {row[word]}" for word in ("refused", "failed") for row in rows if word in row)]
    lost = [row for row in fits if row["members_fitted"] < 0.5 * row["members"]]
    lines += [f"- {row['track']}: {row['members_fitted']} of {row['members']} members are fitted" for row in lost]
    seconds = sorted(row["seconds"] for row in rows)
    return "\n".join([*lines, "", f"{seconds[len(seconds) // 2]:.1f} s each, {seconds[-1]:.1f} s at most."])


def main(args: Sequence[str] | None = None) -> None:
    """Try what has not been tried, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/atlas/tracks"))
    parser.add_argument("--survey", default="panstarrs1")
    parser.add_argument("--only", default="", help="Part of the names of the tracks to try.")
    parser.add_argument("--tracks", help="Folder of galstreams' files; by default that of the installed package.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(args)
    options.folder.mkdir(parents=True, exist_ok=True)
    names = [entry.name for entry in Library(options.tracks).entries if options.only in entry.name]
    fields = [Field(name, _STREAM, _FIELD, options.survey, options.seed, options.tracks) for name in names]
    print(table([kept(field, options.folder) for field in fields]))


if __name__ == "__main__":
    main()
