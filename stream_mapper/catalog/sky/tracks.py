"""Tracks of streams from files: galstreams' own, or a table, in the frame of the sky or in that of the stream."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table

from stream_mapper.catalog.columns import Column, ColumnReader, Values
from stream_mapper.catalog.io import read_table
from stream_mapper.catalog.schema import COLUMNS, find_column
from stream_mapper.catalog.sky.frames import SkyFrame
from stream_mapper.catalog.sky.galstreams import FLAGS, PREFIX, flagged_off, flags_beside, stand_ins, track_file
from stream_mapper.errors import InputError, check_positive
from stream_mapper.track import Track

_log = logging.getLogger("stream_mapper")

WIDTH = "_width"
_SKY = ("ra", "dec", "pmra", "pmdec")
_ALONG = ("distance", "distmod", "parallax", "rv")  # what no rotation changes
_MARGIN = 1e-6  # deg


def read_track(
    source: str,
    frame: SkyFrame | str | None = None,
    *,
    tracks: str | None = None,
    phi1: tuple[float, float] | None = None,
    spacing: float = 1.0,
) -> Track:
    """A track in the frame of a stream, from a file.

    A table of the sky has ``ra`` and ``dec``, and maybe ``pmra`` and ``pmdec``, ``distance``, ``rv``; the frame turns
    it. A table of the stream has ``phi1`` and any coordinates, with half-widths in columns called ``phi2_width`` and so
    on. In both, other names that the package knows serve too, units are converted, and ``distance``, ``distmod`` and
    ``parallax`` are made from whichever of them is there.

    Tracks of galstreams (Mateu 2023, MNRAS 520, 5225) are tables of the sky; what one of them does not know, by its
    InfoFlags or by the number it holds in place of it (no proper motion: 0; distance: 1 kpc; radial velocity: 0 or 1000
    km/s), is left out. They give no half-widths: their summaries have one width for a whole stream, in a frame of its
    own, which for a quarter of them is zero or what rounding leaves, and it is not read.

    Arguments:
        source: A table (ECSV, CSV, FITS, ...), or the name of a track of galstreams, such as ``GD-1-I21`` or
            ``GD-1.ibata2021``; see `stream_mapper.catalog.sky.galstreams.track_file`.
        frame: The frame of the stream, or its import path; needed for a table of the sky.
        tracks: Folder of galstreams' ``track.*.ecsv`` files; by default that of the installed package.
        phi1: First and last place [deg]; by default the ends of the track.
        spacing: Distance of the places [deg]; the last step may be shorter.

    Returns:
        The track, at the first place, every ``spacing`` from there, and the last place.

    Raises:
        InputError: If there is no such track, it cannot be read, turns back in phi1, or has no place in that range.
    """
    check_positive("the spacing of a track", spacing)
    path = _find(source, tracks)
    frame = SkyFrame(frame) if isinstance(frame, str) else frame
    table = _without_unknown(read_table(path), path)
    columns, widths = _stream_columns(table, frame, str(path))
    return _resampled(columns, widths, phi1, spacing, str(path))


def _find(source: str, tracks: str | None) -> Path:
    """The file of a track."""
    if Path(source).is_file() or Path(source).suffix in (".ecsv", ".csv", ".fits", ".parquet", ".vot"):
        return Path(source)
    return track_file(source, tracks)


def _without_unknown(table: Table, path: Path) -> Table:
    """The table without the columns of galstreams that hold nothing."""
    flags = flags_beside(path)
    if flags is None and not path.name.startswith(PREFIX):
        return table
    names = {name: column for name in FLAGS if (column := find_column(name, table.colnames))}
    reader = ColumnReader(table, str(path))
    unknown = stand_ins({name: reader.values(name, Column(column)) for name, column in names.items()})
    lost = sorted(names[name] for name in names if name in unknown | flagged_off(flags or ""))
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
    return _with_distances(columns), widths


def _rotated(table: Table, frame: SkyFrame, path: str) -> dict[str, Values]:
    """Columns of a track on the sky in the frame of a stream."""
    reader = ColumnReader(table, path)
    asked = {name: spelt for name in (*_SKY, *_ALONG) if (spelt := find_column(name, reader.names))}
    columns = {name: reader.values(name, Column(spelt)) for name, spelt in asked.items()}
    reader.log_assumed()
    there = [name for name in _SKY if name in columns]
    sky = Table({frame.names[name]: columns[name] * u.Unit(COLUMNS[name].unit) for name in there})
    turned = frame.add_stream_coordinates(sky, path=path)
    names = [name for name in ("phi1", "phi2", "pm_phi1", "pm_phi2") if name in turned.colnames]
    along = {name: columns[name] for name in _ALONG if name in columns}
    return _with_distances({name: np.asarray(turned[name], dtype=float) for name in names} | along)


def _with_distances(columns: dict[str, Values]) -> dict[str, Values]:
    """The columns with distance [kpc], distmod [mag] and parallax [mas], from the first of them that is there."""
    if "distance" in columns:
        distance = columns["distance"]
    elif "distmod" in columns:
        distance = 10 ** (columns["distmod"] / 5 - 2)
    elif "parallax" in columns:
        distance = 1 / columns["parallax"]
    else:
        return columns
    return {"distance": distance, "distmod": 5 * np.log10(distance) + 10, "parallax": 1 / distance} | columns


def _resampled(
    columns: dict[str, Values],
    widths: dict[str, Values],
    ends: tuple[float, float] | None,
    spacing: float,
    path: str,
) -> Track:
    """The track at even places."""
    places = columns.pop("phi1")
    order = np.arange(len(places))[:: -1 if places[0] > places[-1] else 1]
    if not np.isfinite(places).all() or (np.diff(places[order]) < -_MARGIN).any():
        advice = "choose a frame in which it does not, or cut the table"
        raise InputError(f"{path}: the track turns back in phi1, or crosses 180 deg; {advice}.")
    furthest = np.maximum.accumulate(places[order])
    order = order[np.append(True, furthest[1:] > furthest[:-1])]
    low, high = places[order[0]], places[order[-1]]
    first, last = (low, high) if ends is None else (max(low, ends[0]), min(high, ends[1]))
    if not first <= last:
        raise InputError(f"{path}: no place of the track is in phi1 {ends}; it runs from {low:.4g} to {high:.4g} deg.")
    grid = np.append(np.arange(first, last - _MARGIN, spacing), last)

    def at(values: Values) -> list[float]:
        known = np.isfinite(values[order])
        return np.interp(grid, places[order][known], values[order][known]).tolist()

    given = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    return Track(
        grid.tolist(), {n: at(v) for n, v in given.items()}, {n: at(v) for n, v in widths.items() if n in given}
    )
