"""One analysis of many streams: ``python -m stream_mapper.atlas --config atlas.yaml``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream_mapper.commands import parse, run
from stream_mapper.paths import FilePath, NameOrFile, absolute
from stream_mapper.signals import Terminated

if TYPE_CHECKING:
    from astropy.table import Table

    from stream_mapper.charts import Chart, Plan
    from stream_mapper.cluster import Workers

SOME_FAILED = 1
"""Exit status of an atlas of which a stream has failed."""

_SYNTHETIC = "synthetic"

_log = logging.getLogger("stream_mapper")


def atlas(
    streams: str | list[str],
    output: FilePath,
    catalogue: FilePath | None = None,
    fields: FilePath | None = None,
    archive: str | None = None,
    survey: str | None = None,
    isochrone: NameOrFile | None = None,
    bands: dict[str, str] | None = None,
    tracks: FilePath | None = None,
    fit: dict[str, Any] | None = None,
    members: float = 0.5,
    processes: int = 1,
    scheduler: str | None = None,
    scheduler_file: FilePath | None = None,
    allow: Sequence[str] = (),
) -> Table:
    """Fit many streams, each from its name to its report, and write one table of them all.

    Of each the window and the configuration are decided as ``init`` does. What has been done is not done again: the
    same command goes on where it was stopped. A stream that cannot be fitted is a row that says why.

    Arguments:
        streams: Names of streams or tracks of galstreams; or all, for one track of every stream.
        output: The folder of the atlas.
        catalogue: A HATS catalogue or collection, of which the stars in the window of each stream are read.
        fields: In its place, a folder with a table of stars for each stream, called by its name.
        archive: In their place, "gaia" for the Gaia archive, or the address of such a TAP service, which is asked for
            the stars.
        survey: Survey of the photometry, as of init; by default that of the stars.
        isochrone: File of an isochrone, old and metal-poor if nothing is known; or "synthetic", for simulated stars.
            Without one the models have no photometry.
        bands: Columns of that file, by band, such as {g: PS_g, r: PS_r}.
        tracks: Folder of galstreams' files; by default that of the installed package.
        fit: Options of every fit, as a configuration of fit has them, such as {trainer: {max_epochs: 50}}.
        members: Probability above which a star is in the table of members.
        processes: Processes of this machine that fit, one stream each; more than one needs Dask.
        scheduler: Address of a scheduler of Dask, such as tcp://node1:8786, whose workers fit instead.
        scheduler_file: The file in which such a scheduler has written its address.
        allow: Modules of your own with the classes and functions of the models; name only what you trust.

    Returns:
        The summary, a row for each stream.

    Raises:
        InputError: If a name is not known, the places of the stars cannot be used, or the folder holds another atlas.
    """
    from stream_mapper import trust  # noqa: PLC0415 (astropy and torch take seconds to load)
    from stream_mapper.catalog import remove_unfinished  # noqa: PLC0415
    from stream_mapper.charts import made_plan, write_products  # noqa: PLC0415
    from stream_mapper.cluster import Workers  # noqa: PLC0415
    from stream_mapper.training.claims import check_free, give_back  # noqa: PLC0415

    trust.allow(*allow)
    workers = Workers(processes, scheduler, scheduler_file)
    plan = made_plan(
        streams,
        _absolute(fields),
        _absolute(tracks),
        catalogue=_absolute(catalogue),
        archive=archive,
        survey=survey,
        isochrone=isochrone if isochrone in (None, _SYNTHETIC) else absolute(str(isochrone)),
        bands=bands,
        fit=_dotted(fit or {}),
        members=members,
        allowed=trust.allowed(),
    )
    folder = Path(absolute(output))
    plan.open(folder)
    check_free(folder)
    remove_unfinished(folder)
    try:
        charts = _made(plan, folder, workers)
        return write_products(plan, folder, charts)
    finally:
        give_back(folder)


def _made(plan: Plan, folder: Path, workers: Workers) -> dict[str, Chart]:
    """What became of every stream, those included that are done already."""
    from stream_mapper.charts import FAILED, Chart, chart, short_name  # noqa: PLC0415
    from stream_mapper.progress import progress  # noqa: PLC0415

    found = {one: Chart.of(plan.folder(folder, one)) for one in plan.streams}
    charts = {one: done for one, done in found.items() if done is not None}
    todo = [one for one in plan.streams if one not in charts]
    if charts:
        _log.info("%d of %d streams are done already.", len(charts), len(plan.streams))
    lost = lambda stream, error: Chart(stream, FAILED, str(error))  # noqa: E731 (it is not noted: it is tried again)
    with _saying_what_is_done(charts, len(plan.streams)):
        results = workers.results(partial(chart, plan, folder), todo, short_name, lost)
        try:
            for stream, made in progress(results, "streams", len(todo)):
                charts[stream] = made
                said = f"failed: {made.reason}" if made.status == FAILED else f"fitted in {made.seconds:.0f} s"
                _log.info("%s (%d of %d) %s", short_name(stream), len(charts), len(plan.streams), said)
        finally:
            results.close()
    return charts


@contextmanager
def _saying_what_is_done(charts: Mapping[str, Chart], size: int) -> Iterator[None]:
    """Give an interruption the number of streams that are done as its message."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        text = f"{len(charts)} of {size} streams are done; the same command goes on from there"
        if isinstance(stop, Terminated):
            stop.left = text
        else:
            stop.args = (text,)
        raise


def _absolute(path: FilePath | None) -> str | None:
    """The path from the root, which every worker understands."""
    return None if path is None else absolute(path)


def _dotted(options: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Options by dotted names.

    >>> _dotted({"trainer": {"max_epochs": 5}, "data.batch_size": 64})
    {'trainer.max_epochs': 5, 'data.batch_size': 64}
    """
    out: dict[str, Any] = {}
    for name, value in options.items():
        is_group = isinstance(value, Mapping) and "class_path" not in value
        out |= _dotted(value, f"{before}{name}.") if is_group else {f"{before}{name}": value}
    return out


def _report(table: Table) -> str:
    """How many streams have which outcome, and where they are listed."""
    outcomes = [str(row["verdict"]) or str(row["status"]) for row in table]
    counted = ", ".join(f"{outcomes.count(one)} {one}" for one in dict.fromkeys(sorted(outcomes)))
    return f"{len(table)} streams: {counted}"


def main(args: Sequence[str] | None = None) -> None:
    """Command-line entry: a clear line and exit status 2 for unusable input, 1 if a stream has failed."""
    table, output = run(_command, args)
    print(f"{_report(table)}; {Path(output) / 'index.html'}")
    if any(str(status) == "failed" for status in table["status"]):
        raise SystemExit(SOME_FAILED)


def _command(args: Sequence[str]) -> tuple[Table, str]:
    """Make the atlas of a command line; its summary, and its folder."""
    given = parse(atlas, args)
    return atlas(**given), str(given["output"])


if __name__ == "__main__":
    main()
