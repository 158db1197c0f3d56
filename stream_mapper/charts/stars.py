"""The stars of a stream's field, and the configuration of its fit that ``init`` makes of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from stream_mapper.archive import GAIA_ARCHIVE, Field
from stream_mapper.catalog import SkyFrame, copy_region
from stream_mapper.charts.plan import GAIA, Plan, short_name
from stream_mapper.errors import InputError

STARS, QUERY, FIT = "stars.parquet", "query", "fit"


def begin(plan: Plan, stream: str, folder: Path) -> Path:
    """The configuration of the fit of a stream, made anew with its stars as far as they are not there.

    Arguments:
        plan: What is asked for.
        stream: Full name of the track.
        folder: The folder of the stream.

    Raises:
        InputError: If ``init`` refuses it, or there are no stars of its field.
    """
    from stream_mapper.init import init  # noqa: PLC0415 (a command, which imports half of the package)

    table = table_of(plan, stream, folder)
    shutil.rmtree(folder / FIT, ignore_errors=True)  # it may have been stopped half way
    bands = None if plan.bands is None else dict(plan.bands)
    init(stream, str(table), plan.survey, plan.isochrone, bands, output=str(folder / FIT), tracks=plan.tracks)
    return folder / FIT / "config.yaml"


def table_of(plan: Plan, stream: str, folder: Path) -> Path:
    """The table of the stars of a stream, fetched if it is not there; arguments as of `begin`.

    Raises:
        InputError: If there are none.
        OSError: If an archive cannot be reached.
    """
    if plan.catalogue is None and plan.archive is None:
        if stream not in plan.fields:
            raise InputError(f"{short_name(stream)}: the folder of fields has no table of it.")
        return Path(plan.fields[stream])
    if not (folder / STARS).is_file():
        config = _query(plan, stream, folder)
        _copy(plan.catalogue, config, folder / STARS) if plan.catalogue is not None else _fetch(plan, config, folder)
    return folder / STARS


def _query(plan: Plan, stream: str, folder: Path) -> Path:
    """The query for the field, as ``init`` writes it."""
    from stream_mapper.init import init  # noqa: PLC0415

    shutil.rmtree(folder / QUERY, ignore_errors=True)
    init(stream, survey=plan.survey, output=str(folder / QUERY), tracks=plan.tracks)
    return folder / QUERY / "query.yaml"


def _copy(catalogue: str, config: Path, target: Path) -> None:
    """Copy the stars of the window of a query out of a HATS catalogue; its cuts are left to the configuration.

    Raises:
        InputError: If there are none.
    """
    asked: dict[str, Any] = yaml.safe_load(config.read_text())
    field = Field(SkyFrame(**asked["frame"]["init_args"]), tuple(asked["phi1"]), tuple(asked["phi2"]))
    if not copy_region(Path(catalogue), target, field):
        window = f"phi1 {asked['phi1']}, phi2 {asked['phi2']}"
        raise InputError(f"{catalogue}: has no stars in the field of the stream, {window}.")


def _fetch(plan: Plan, config: Path, folder: Path) -> None:
    """Fetch the stars from the archive."""
    from stream_mapper.commands import parse  # noqa: PLC0415
    from stream_mapper.query import query  # noqa: PLC0415

    url = GAIA_ARCHIVE if plan.archive == GAIA else plan.archive
    query(**parse(query, ["--config", str(config), f"--output={folder / STARS}", f"--url={url}"]))
