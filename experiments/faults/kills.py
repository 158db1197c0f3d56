"""Kill every command at random moments, start it again, and compare.

    python experiments/faults/kills.py [--kills 12] [--command predict] [--seed 0]

Each command runs in a process of its own, forked from this one, and is ended by SIGKILL or SIGTERM some time between
its beginning and its end. Nothing that has a final name may be torn, and SIGTERM is exit status 143. Then the same
command is started again: what it writes has to be what an unbroken run writes, to the byte; where a file notes when it
was written, as an answer of an archive does, to the row. Of a fit here only that nothing is torn. Exit status 1 if
anything else was seen.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import re
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import sources
import torch
import yaml
from kinds import SHORT

from stream_mapper.catalog import SkyFrame, read_table
from stream_mapper.commands import parse, run
from stream_mapper.pipeline import fit
from stream_mapper.predict import predict
from stream_mapper.query import query
from stream_mapper.report import report
from stream_mapper.simulate import simulate

STOPS = (signal.SIGKILL, signal.SIGTERM)
TERMINATED = 143
ROWS = {"query": "field.parquet"}
"""Files that note when they were written: their rows are compared."""

_UNNAMED = re.compile(r"\.[0-9a-f]{32}-")
_DRAWN = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Command = Callable[[Path], None]


def commands(base: Path, url: str) -> dict[str, Command]:
    """What is killed, by name; each writes into a folder."""
    checkpoint, stars, config = str(base / "best.ckpt"), str(base / "stars.parquet"), base / "simulate.yaml"
    given = ["--checkpoint", checkpoint, "--catalogue", stars, "--draws", "2", "--chunk_size", "2000", "--output"]
    field = ["--frame", "gala.coordinates.GD1Koposov10", "--phi1=[-4, 4]", "--phi2=[-1, 1]", f"--url={url}"]
    field += ["--columns=[source_id, ra, dec]", "--slice_width=1.0", "--output"]
    return {
        "predict": lambda out: _run(predict, [*given, str(out / "members.parquet")]),
        "predict to FITS": lambda out: _run(predict, [*given, str(out / "members.fits")]),
        "simulate": lambda out: _run(simulate, ["--config", str(config), "--output", str(out / "stars.parquet")]),
        "query": lambda out: _run(query, [*field, str(out / "field.parquet")]),
        "report": lambda out: _report(base / "run", out / "run"),
        "fit": _fit,
    }


def _run(function: Callable[..., object], args: list[str]) -> None:
    run(lambda given: function(**parse(function, given)), args)


def _report(source: Path, out: Path) -> None:
    for path in (path for path in source.rglob("*") if path.is_file()):
        copy = out / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            os.link(path, copy)
    run(lambda _: report(str(out)), [])


def _fit(out: Path) -> None:
    run(lambda _: fit(sources.model(), sources.stars(400), sources.COLUMNS, folder=out / "run", **SHORT), [])


def base_of(folder: Path) -> None:
    """What the commands read."""
    sources.small_checkpoint(folder / "best.ckpt")
    sources.write_table(sources.stars(20_000), folder / "stars.parquet")
    (folder / "simulate.yaml").write_text(sources.SIMULATE.replace("n_background: 30", "n_background: 20000"))
    fit(sources.model(), sources.stars(), sources.COLUMNS, folder=folder / "run", **SHORT)


def forked(command: Command, out: Path, stop: tuple[float, signal.Signals] | None = None) -> tuple[int, float]:
    """Exit status of a command in a process of its own, negative if a signal ended it, and its time [s]."""
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        _be(command, out)
    if stop is not None:
        time.sleep(stop[0])
        os.kill(child, stop[1])
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - begin


def _be(command: Command, out: Path) -> None:
    """Be the process of a command, whose words nobody reads; it does not return."""
    status = 1
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        command(out)
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    finally:
        os._exit(status)


def torn(folder: Path) -> list[str]:
    """Files with a final name that cannot be read."""
    found = []
    for path in sorted(folder.rglob("*")):
        read = READERS.get(path.suffix)
        if read is not None and path.is_file() and not path.name.startswith("."):
            try:
                read(path)
            except Exception as error:
                found.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}")
    return found


def _closed(end: bytes) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        if not path.read_bytes().rstrip().endswith(end):
            raise ValueError("has no end")

    return read


READERS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys((".parquet", ".fits", ".ecsv", ".csv"), read_table),
    ".ckpt": lambda path: torch.load(path, weights_only=True),
    ".json": lambda path: json.loads(path.read_text()),
    ".yaml": lambda path: yaml.safe_load(path.read_text()),
    ".png": _closed(b"IEND\xaeB`\x82"),
    ".pdf": _closed(b"%%EOF"),
    ".html": _closed(b"</html>"),
}


def differences(name: str, folder: Path, whole: Path) -> list[str]:
    """What a command that was started again wrote otherwise than an unbroken one."""
    if name == "fit":
        return []
    files, there = _named(whole), _named(folder)
    if name in ROWS:
        same = _rows(folder / ROWS[name]) == _rows(whole / ROWS[name])
        return [] if same else [f"the rows of {ROWS[name]}"]
    odd = [str(path) for path in set(files) ^ set(there)]
    return odd + [str(path) for path in files if path in there and _bytes(folder / path) != _bytes(whole / path)]


def _named(folder: Path) -> list[Path]:
    """The files of a folder; what SIGKILL left of one that was being written is hidden and has no name yet."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not _UNNAMED.match(path.name))
    return sorted(path.relative_to(folder) for path in paths)


def _bytes(path: Path) -> bytes:
    """The bytes of a file, a page's without the names that Bokeh draws at random."""
    raw = path.read_bytes()
    return _DRAWN.sub(b"", raw) if path.suffix == ".html" else raw


def _rows(path: Path) -> dict[str, bytes]:
    """The bytes of each column of a table, and of which of its values are missing."""
    columns = read_table(path).columns.values()
    return {c.name: np.ma.getdata(c).tobytes() + np.ma.getmaskarray(c).tobytes() for c in columns}


def killed(name: str, command: Command, kills: int, rng: random.Random) -> tuple[Counter[str], list[str]]:
    """How often a command was ended, and by what; and what was not as it should be."""
    counts: Counter[str] = Counter()
    bad: list[str] = []
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        whole = Path(place) / "whole"
        whole.mkdir()
        status, seconds = forked(command, whole)
        bad += [f"unbroken: exit status {status}"] if status else []
        for number in range(kills):
            out, stop = Path(place) / str(number), STOPS[number % 2]
            out.mkdir()
            status, _ = forked(command, out, (rng.uniform(0.05, 0.95) * seconds, stop))
            counts[f"{stop.name} {status}"] += 1
            if stop == signal.SIGTERM and status not in (0, TERMINATED, -signal.SIGTERM):
                bad.append(f"{stop.name}: exit status {status}")
            bad += torn(out)
            if name != "fit":
                again, _ = forked(command, out)
                bad += [f"started again: exit status {again}"] if again else differences(name, out, whole)
    return counts, bad


def main() -> int:
    """Kill all commands, or one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=12, help="of each command")
    parser.add_argument("--command", help="the one to kill")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("stream_mapper").addHandler(logging.NullHandler())
    from tap_server import TapService, simulated_sky  # noqa: PLC0415 (beside the tests)

    from stream_mapper.archive import Field  # noqa: PLC0415

    sky = simulated_sky(Field(SkyFrame("gala.coordinates.GD1Koposov10"), (-4, 4), (-1, 1)), 3000)
    broken = total = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder, TapService(sky) as service:
        base_of(Path(folder))
        for name, command in commands(Path(folder), service.url).items():
            if args.command in (None, name):
                counts, bad = killed(name, command, args.kills, random.Random(args.seed))
                broken, total = broken + len(bad), total + sum(counts.values())
                print(f"{name:16} {dict(counts)}  {bad or ''}", flush=True)
    print(f"{total} kills, {broken} of them with a fault")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
