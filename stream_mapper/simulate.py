"""Simulate a stream: ``python -m stream_mapper.simulate --config ... --output stars.parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stream_mapper.commands import parse, run
from stream_mapper.mock import Simulator
from stream_mapper.mock.base import simulated
from stream_mapper.paths import FilePath


def simulate(simulator: Simulator, output: FilePath) -> Path:
    """Write a simulated table of stars, with their truth.

    Arguments:
        simulator: What makes the stars.
        output: The table to write; the ending gives the format.

    Raises:
        InputError: If the settings make no stars, or the table cannot be written.
    """
    from stream_mapper.catalog import check_target, to_table, write_table  # noqa: PLC0415

    check_target(Path(output))
    write_table(to_table(simulated(simulator)), output)
    return Path(output)


def main(args: Sequence[str] | None = None) -> None:
    """Command-line entry: a clear line and exit status 2 for unusable input."""
    path = run(lambda given: simulate(**parse(simulate, given)), args)
    print(f"stars: {path}")


if __name__ == "__main__":
    main()
