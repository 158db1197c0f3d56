"""One page on a run: ``python -m stream_mapper.report runs/version_0``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stream_mapper.commands import OneLineErrors, add_verbosity, run


def report(folder: str) -> Path:
    """Write ``report.html`` into a run folder, with everything in it.

    Arguments:
        folder: The folder of a finished fit.

    Raises:
        InputError: If it is not one, or not finished yet.
    """
    from stream_mapper.results.report import write_report  # noqa: PLC0415 (astropy and torch take seconds to load)
    from stream_mapper.results.stages import check_complete  # noqa: PLC0415

    check_complete(Path(folder))
    return write_report(Path(folder))


def main(args: Sequence[str] | None = None) -> None:
    """Command-line entry: a clear line and exit status 2 for unusable input."""
    parser = OneLineErrors(prog="stream-mapper report", description="One page of HTML on a run, with its figures.")
    parser.add_argument("run", type=str, help="The folder of a finished fit, such as runs/version_0.")
    add_verbosity(parser)
    print(f"report: {run(lambda given: report(parser.parse_args(given).run), args)}")


if __name__ == "__main__":
    main()
