"""Whether stated bands hold the truth: fits of streams of random truth, and what became of their bands.

    python experiments/coverage/run.py --folder runs/coverage --fits 40 --processes 2 [--kind photometric] [--seed 0]
    python experiments/coverage/run.py --folder runs/coverage --summary

Each fit leaves a file in the folder; started again, the command goes on where it was, and prints the summary.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from judge import TOLERANCE
from outcomes import Outcome, outcome
from streams import KINDS, QUICK, Size, case
from summaries import summary

from stream_mapper.catalog import replace_file


def one(index: int, folder: Path, seed: int, kind: str | None, size: Size, keep: bool) -> str:
    """Make one fit, unless the folder has it, and leave its file; a line about it."""
    torch.set_num_threads(1)
    drawn = case(index, seed, kind, size)
    kept, work = folder / f"{drawn.name}.json", folder / "runs" / drawn.name
    if kept.exists():
        return f"{drawn.name}: found"
    shutil.rmtree(work, ignore_errors=True)
    found = outcome(drawn, work)
    replace_file(kept, lambda new: new.write_text(json.dumps(found)))
    if not keep and "error" not in found:
        shutil.rmtree(work)
    return f"{drawn.name}: {found.get('verdict', found.get('error'))}, {found['cpu_seconds']:.0f} s"


def fits(options: argparse.Namespace) -> Iterator[str]:
    """Make every fit that is missing, in as many processes as asked for; a line about each."""
    size = QUICK if options.quick else Size(epochs=options.epochs)
    make = partial(one, folder=options.folder, seed=options.seed, kind=options.kind, size=size, keep=options.keep)
    if options.processes == 1:
        yield from map(make, range(options.fits))
        return
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        for done in as_completed([pool.submit(make, index) for index in range(options.fits)]):
            yield done.result()


def kept_in(folder: Path, kind: str | None = None) -> list[Outcome]:
    """What the fits in a folder have left, in the order of their names."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [one for one in found if kind in (None, one["kind"])]


def main(args: Sequence[str] | None = None) -> None:
    """Make the fits that are missing, and print the summary of all that are there."""
    options = _options(args)
    options.folder.mkdir(parents=True, exist_ok=True)
    if not options.summary:
        for line in fits(options):
            print(line, flush=True)
    found = kept_in(options.folder, options.kind)
    if not found:
        raise SystemExit(f"{options.folder} has no fits.")
    text = summary(found, options.tolerance)
    replace_file(options.folder / "summary.md", lambda new: new.write_text(text))
    print(text)


def _options(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Coverage of the bands of fits of streams of random truth.")
    parser.add_argument("--folder", type=Path, default=Path("runs/coverage"))
    parser.add_argument("--fits", type=int, default=40)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--kind", choices=KINDS, help="What is measured of a star; by default both in turn.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the first fit.")
    parser.add_argument("--epochs", type=int, default=40, help="Epochs of each fit.")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="How far the coverage of 90 %% may be off.")
    parser.add_argument("--quick", action="store_true", help="Small fits, which show that everything runs.")
    parser.add_argument("--summary", action="store_true", help="Fit nothing.")
    parser.add_argument("--keep", action="store_true", help="Keep the run folder of every fit.")
    return parser.parse_args(args)


if __name__ == "__main__":
    main()
