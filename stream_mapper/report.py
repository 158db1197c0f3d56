"""The page of a run, once more: ``python -m stream_mapper.report runs/version_0``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stream_mapper.commands import OneLineErrors, add_verbosity, run
from stream_mapper.errors import InputError

_ADVICE = "give the folder of a finished fit, such as runs/version_0"
_TABLES = ("checks", "components", "track", "density", "features", "selection", "members")


def report(folder: str, figures: bool = False) -> Path:
    """Write ``report.html`` into a run folder, from the tables, figures and stars that are in it.

    Without a checkpoint that can be read here, the page has no views of the stars and says why.

    Arguments:
        folder: The folder of a finished fit.
        figures: Whether to draw every figure first, as PNG and PDF into ``figures``; see :doc:`/figures`.

    Raises:
        InputError: If it is not one, or not finished yet; for figures, if its checkpoint cannot be read.
    """
    from stream_mapper.catalog import read_table  # noqa: PLC0415 (astropy and torch take seconds to load)
    from stream_mapper.page import stars_of, write_page  # noqa: PLC0415
    from stream_mapper.results.stages import check_complete  # noqa: PLC0415

    path = Path(folder)
    check_complete(path)
    metrics = _metrics(path)
    files = {name: path / f"{name}.ecsv" for name in _TABLES}
    tables = {name: read_table(file) for name, file in files.items() if file.is_file()}
    facts, drawer, reason = _figures(path, tables)
    if figures and drawer is None:
        raise InputError(f"{path}: its figures cannot be drawn: {reason}.")
    if figures and drawer is not None:
        drawer.write(path / "figures")
    stars = None if drawer is None else stars_of(drawer.tables)
    try:
        return write_page(path, tables, metrics, facts, stars, reason)
    except (LookupError, TypeError, ValueError) as error:  # of tables or numbers that somebody has changed
        raise InputError(f"{path}: its files are not as a fit writes them ({error}); {_ADVICE}.") from error


def _figures(folder: Path, tables: dict[str, Any]) -> tuple[dict[str, Any], Any, str]:
    """What a run says of its origin, and what draws its figures, from its own tables; or why it cannot."""
    from stream_mapper.loading import load  # noqa: PLC0415 (torch takes seconds to load)
    from stream_mapper.paper import Figures  # noqa: PLC0415
    from stream_mapper.results.run_folder import RunTables  # noqa: PLC0415

    said = dict(tables["track"].meta) if "track" in tables else {}
    try:
        fit = load(folder)
    except InputError as error:
        return said, None, str(error).removesuffix(".")
    if fit.catalogue is None or not {"track", "density"} <= tables.keys():
        return dict(fit.facts), None, "the folder lacks memberships, track.ecsv or density.ecsv"
    of, at_hand = fit.catalogue, (tables["track"], tables["density"])
    more = {"features": tables.get("features"), "components": tables.get("components")}
    run_tables = RunTables(fit.model, fit.intake, of.table, *at_hand, of.stars, of.cuts, fit.checks, **more)
    return said or dict(fit.facts), Figures(lambda: run_tables, fit.off_stream), ""


def _metrics(folder: Path) -> dict[str, Any]:
    """The numbers of the run, by which a finished one is known."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
    except OSError as error:
        raise InputError(f"{folder}: has no metrics.json that can be read; {_ADVICE}.") from error
    except ValueError as error:
        raise InputError(f"{folder / 'metrics.json'}: is not complete ({error}); {_ADVICE}.") from error
    if not isinstance(metrics, dict):
        raise InputError(
            f"{folder / 'metrics.json'}: holds a {type(metrics).__name__}, not numbers by name; {_ADVICE}."
        )
    return metrics


def main(args: Sequence[str] | None = None) -> None:
    """Command-line entry: a clear line and exit status 2 for unusable input."""
    parser = OneLineErrors(prog="stream-mapper report", description="The page of a run, report.html, written anew.")
    parser.add_argument("run", type=str, help="The folder of a finished fit, such as runs/version_0.")
    text = "Draw every figure first, in the width of a journal's column or two, as PNG and PDF into RUN/figures."
    parser.add_argument("--figures", action="store_true", help=text)
    add_verbosity(parser)

    def command(given: Sequence[str]) -> Path:
        asked = parser.parse_args(given)
        return report(asked.run, asked.figures)

    print(f"report: {run(command, args)}")


if __name__ == "__main__":
    main()
