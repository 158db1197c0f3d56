"""Tables of a run for other programs: memberships in any format, the best members, the track of galstreams."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table

from stream_mapper.catalog import Columns, SkyFrame, galstreams_tables, write_table
from stream_mapper.errors import InputError

_log = logging.getLogger("stream_mapper")

SUFFIXES = {"parquet": ".parquet", "ecsv": ".ecsv", "fits": ".fits", "votable": ".vot"}
"""Ending of the membership table by the name of its format."""

_COORDINATES = ("phi2", "pm_phi1", "pm_phi2", "distance", "radial_velocity")
_FREED = "_reflex"
_FEWEST = 3  # points of a track that has a direction in its middle


def check_formats(formats: Sequence[str]) -> None:
    """Raise InputError if there is no format, or one that is not known."""
    if not formats or (odd := [name for name in formats if name not in SUFFIXES]):
        given = f"{odd} among {list(formats)}" if formats else "none"
        raise InputError(f"results.formats: got {given}; give some of {', '.join(SUFFIXES)}.")


def write_memberships(table: Table, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write the membership table in each format; one that cannot hold it is left out with a warning.

    Returns:
        The files; if no format could hold the table, that of Parquet.
    """
    written = [path for path in (_written(table, folder, name) for name in dict.fromkeys(formats)) if path is not None]
    if not written:
        written = [folder / "memberships.parquet"]
        write_table(table, written[0])
    return written


def write_galstreams(track: Table, frame: SkyFrame | None, name: str, folder: Path, columns: Columns = ()) -> None:
    """Write the track of each component in the format of galstreams, where the frame says how it lies on the sky.

    The first component's is ``track.galstreams.ecsv``, with ``track.galstreams.summary.ecsv``; another's is
    ``track.galstreams.<component>.ecsv``.

    Arguments:
        track: The table of the track, of which the supported part is written.
        frame: The frame of phi1 and phi2.
        name: Name of the stream.
        folder: The run folder.
        columns: What was read, by internal name: proper motions freed of the Sun's motion are those of no catalogue.
    """
    if frame is None:
        _log.info("no data.frame, so the track has no place on the sky: no track.galstreams.ecsv is written.")
        return
    for i, (component, rows) in enumerate(_components(track)):
        if len(rows) < _FEWEST or "phi2" not in rows.colnames:
            _log.info("%s: no track.galstreams.ecsv: its track has no phi2, or fewer than 3 points.", component)
            continue
        coordinates = _known(rows, columns)
        widths = {c: float(np.mean(rows[f"{c}_sigma"])) for c in coordinates if f"{c}_sigma" in rows.colnames}
        stem = "track.galstreams" if i == 0 else f"track.galstreams.{component}"
        names = (name or component, (name or component)[:4])
        points, summary = galstreams_tables(frame.orientation.matrix, coordinates, widths, *names)
        points.meta |= track.meta
        write_table(points, folder / f"{stem}.ecsv")
        write_table(summary, folder / f"{stem}.summary.ecsv")


def _written(table: Table, folder: Path, name: str) -> Path | None:
    """The file of a format, None if it cannot hold the table."""
    path = folder / f"memberships{SUFFIXES[name]}"
    try:
        write_table(table, path)
    except InputError as error:
        _log.warning("%s", error)
        return None
    return path


def _components(track: Table) -> Iterator[tuple[str, Table]]:
    """Each component with the points at which it is there."""
    names = np.asarray(track["component"]).astype(str)
    for name in dict.fromkeys(names.tolist()):
        yield name, track[(names == name) & np.asarray(track["supported"])]


def _known(rows: Table, columns: Columns) -> dict[str, np.ndarray]:
    """Coordinates that a component has at every point, as the catalogue has them."""
    filled = {name: np.ma.filled(np.ma.asarray(rows[name]), np.nan) for name in _COORDINATES if name in rows.colnames}
    known = {name: np.asarray(values, dtype=float) for name, values in filled.items() if np.isfinite(values).all()}
    if freed := [name for name in known if _is_freed(name, columns)]:
        _log.info("track.galstreams.ecsv: without proper motions, as the Sun's motion is taken out of %s.", freed)
        known = {name: values for name, values in known.items() if name not in freed}
    return {"phi1": np.asarray(rows["phi1"], dtype=float), **known}


def _is_freed(name: str, columns: Columns) -> bool:
    """Whether a coordinate is read from a proper motion that the frame has freed of the Sun's."""
    read = columns.get(name, name) if isinstance(columns, Mapping) else name
    return (read if isinstance(read, str) else read.column).endswith(_FREED)
