"""Tracks of streams from files: galstreams' own, or a table, in the frame of the sky or in that of the stream."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from astropy.table import Table

from stream_mapper.catalog.columns import Column, ColumnReader, Values
from stream_mapper.catalog.io import read_table
from stream_mapper.catalog.schema import COLUMNS, find_column
from stream_mapper.catalog.sky.frames import SkyFrame
from stream_mapper.catalog.sky.galstreams import FLAGS, flags_beside, judge
from stream_mapper.catalog.sky.library import PREFIX
from stream_mapper.catalog.sky.places import SKY, in_frame, resampled, with_distances
from stream_mapper.catalog.sky.streams import known_stream
from stream_mapper.errors import InputError, check_positive
from stream_mapper.paths import FilePath, NameOrFile, is_file
from stream_mapper.track import WIDTH, Track

_log = logging.getLogger("stream_mapper")

_ALONG = ("distance", "distmod", "parallax", "radial_velocity")  # what no rotation changes


def read_track(
    source: NameOrFile,
    frame: SkyFrame | str | None = None,
    *,
    tracks: FilePath | None = None,
    phi1: tuple[float, float] | None = None,
    spacing: float = 1.0,
) -> Track:
    """A track in the frame of a stream, from a file.

    A table of the sky has ``ra`` and ``dec``, and maybe ``pmra`` and ``pmdec``, ``distance``,
    ``radial_velocity``; the frame turns it. A table of the stream has ``phi1`` and any coordinates, with half-widths in
    columns called ``phi2_width`` and so on. In both, other names that the package knows serve too, units are converted,
    and ``distance``, ``distmod`` and ``parallax`` are made from whichever of them is there.

    The name of a track of galstreams (Mateu 2023, MNRAS 520, 5225), or of a stream, gives what
    `stream_mapper.catalog.sky.streams.known_stream` finds: the track, what it lacks from other tracks of the stream,
    and half-widths. The file of a track gives what is in it.

    Arguments:
        source: A table (ECSV, CSV, FITS, ...), or the name of a stream or a track of galstreams, such as ``GD-1``,
            ``GD-1-I21`` or ``GD-1.ibata2021``; see `stream_mapper.catalog.sky.library.Library.find`.
        frame: The frame of the stream, or its import path; needed for a table of the sky. By default that of the track,
            for a name.
        tracks: Folder of galstreams' ``track.*.ecsv`` files; by default that of the installed package.
        phi1: First and last place [deg]; by default the ends of the track.
        spacing: Distance of the places [deg]; the last step may be shorter.

    Returns:
        The track, at the first place, every ``spacing`` from there, and the last place.

    Raises:
        InputError: If there is no such track, it cannot be read, turns back in phi1, or has no place in that range.
    """
    check_positive("the spacing of a track", spacing)
    frame = SkyFrame(frame) if isinstance(frame, str) else frame
    name = os.fspath(source)
    if not is_file(name):
        return known_stream(name, frame, tracks=tracks, phi1=phi1, spacing=spacing).track
    path = Path(name).expanduser()
    columns, widths = _stream_columns(_without_unknown(read_table(path), path), frame, name)
    return resampled(columns, widths, phi1, spacing, name)


def _without_unknown(table: Table, path: Path) -> Table:
    """The table without the columns of galstreams that hold nothing."""
    flags = flags_beside(path)
    if flags is None and not path.name.startswith(PREFIX):
        return table
    names = {name: column for name in FLAGS if (column := find_column(name, table.colnames))}
    reader = ColumnReader(table, str(path))
    verdict = judge({name: reader.values(name, Column(column)) for name, column in names.items()}, flags)
    for line in verdict.refused:
        _log.warning("%s: %s.", path, line)
    lost = sorted(names[name] for name in verdict.unknown)
    table = Table(table, copy=False)
    if lost:
        _log.info("%s: has no track in %s: left out.", path, lost)
        table.remove_columns(lost)
    return table


def _stream_columns(table: Table, frame: SkyFrame | None, path: str) -> tuple[dict[str, Values], dict[str, Values]]:
    """Columns and half-widths in internal units, phi1 among the columns."""
    sky = all(find_column(name, table.colnames) for name in ("ra", "dec"))
    if sky and frame is not None:
        return _rotated(table, frame, path), {}
    if "phi1" not in table.colnames:
        advice = "give the frame of the stream" if sky else "a track needs phi1, or ra and dec and a frame"
        raise InputError(f"{path}: no column 'phi1'; the table has {table.colnames}: {advice}.")
    reader = ColumnReader(table, path)
    kinds = {name: table[name].dtype.kind if table[name].ndim == 1 else "" for name in reader.names}
    numbers = [name for name, kind in kinds.items() if kind in "fiu" or name == "phi1"]
    spelt = {find_column(name, numbers) or name: name for name in COLUMNS}
    names = {spelt.get(name, name): name for name in numbers if not name.endswith(WIDTH)}
    columns = {name: reader.values(name, Column(column)) for name, column in names.items()}
    widths = {
        name: reader.values(name, Column(f"{column}{WIDTH}"))
        for name, column in names.items()
        if f"{column}{WIDTH}" in numbers
    }
    reader.log_assumed()
    return with_distances(columns), widths


def _rotated(table: Table, frame: SkyFrame, path: str) -> dict[str, Values]:
    """Columns of a track on the sky in the frame of a stream."""
    reader = ColumnReader(table, path)
    asked = {name: spelt for name in (*SKY, *_ALONG) if (spelt := find_column(name, reader.names))}
    columns = {name: reader.values(name, Column(spelt)) for name, spelt in asked.items()}
    reader.log_assumed()
    along = {name: columns[name] for name in _ALONG if name in columns}
    return with_distances(in_frame(columns, frame, path) | along)
