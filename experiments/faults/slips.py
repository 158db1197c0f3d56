"""Make plausible slips in the densities, one at a time, and see which test notices.

    python experiments/faults/slips.py [--only whitening] [--output experiments/faults/slips.md]

A slip is a wrong sign, factor, edge, Jacobian or error column, such as a tired person makes. Each is made in a copy of
the package, and one file of tests runs on it until its first failure. Exit status 1 if a slip stays unnoticed.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import lightning  # noqa: F401  (the processes of the tests are forked from this one and find the slow imports done)
import pytest
import scipy.stats  # noqa: F401
import zuko  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))

from table_of_slips import slips

ROOT = Path(__file__).parents[2]
COPIED = ("stream_mapper", "tests", "conftest.py", "pyproject.toml", "experiments")
_FAILED = re.compile(r"^(?:FAILED|ERROR) tests/(\S+)", re.MULTILINE)


class Caught(NamedTuple):
    """What became of a slip: the test that noticed it, or an empty text."""

    place: str
    change: str
    test: str


def caught(copy: Path, slip: Sequence[str]) -> Caught:
    """The first test that fails with a slip.

    Arguments:
        copy: A copy of the package and its tests.
        slip: File below the package, what it is, the text as it is, the text with the slip, and the tests to run.

    Raises:
        ValueError: If the text is not there, or no test ran.
    """
    name, change, old, new, tests = slip
    path = copy / "stream_mapper" / name
    right = path.read_text()
    if old not in right:
        raise ValueError(f"{name} has no {old!r} any more: change the table of slips.")
    path.write_text(right.replace(old, new))
    try:
        said = _tested(copy, tests)
    finally:
        path.write_text(right)
    if " passed" not in said and " failed" not in said:
        raise ValueError(f"{tests}: no test ran: {said}")
    found = _FAILED.search(said)
    return Caught(name, change, found[1] if found else "")


def _tested(copy: Path, tests: str) -> str:
    """What pytest says of a file of tests, in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _be_tests(copy, tests, write)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def _be_tests(copy: Path, tests: str, write: int) -> None:
    """Run tests and write what pytest says; it does not return."""
    said = io.StringIO()
    try:
        os.chdir(copy)
        sys.dont_write_bytecode = True
        sys.path[:] = [str(copy), *(path for path in sys.path if Path(path).resolve() != ROOT)]
        with redirect_stdout(said), redirect_stderr(said):
            file, _, chosen = tests.partition(" ")
            only = ["-k", chosen] if chosen else []
            pytest.main([f"tests/{file}", "-x", "-q", "-p", "no:cacheprovider", "--tb=no", *only])
    finally:
        os.write(write, said.getvalue()[-4000:].encode())
        os._exit(0)


def main() -> int:
    """Try all slips, or those whose file has a word in its name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="a part of the names of the files")
    parser.add_argument("--output", type=Path, help="a table in Markdown to write")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="slips-") as folder:
        copy = Path(folder)
        ignored = shutil.ignore_patterns("__pycache__")
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree(source, copy / name, ignore=ignored) if source.is_dir() else shutil.copy(source, copy))
        for slip in slips(args.only):
            rows.append(caught(copy, slip))
            print(f"{rows[-1].place:36} {rows[-1].change:58} {rows[-1].test or 'NOT NOTICED'}", flush=True)
    missed = sum(not row.test for row in rows)
    print(f"{len(rows)} slips, {missed} of them not noticed")
    if args.output:
        lines = [f"| `{place}` | {change} | `{test}` |" for place, change, test in rows]
        args.output.write_text("\n".join(["| file | slip | test that fails |", "|---|---|---|", *lines]) + "\n")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
