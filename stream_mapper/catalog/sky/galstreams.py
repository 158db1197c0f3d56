"""Tracks of the galstreams library (Mateu 2023, MNRAS 520, 5225), read from its files; the package is not imported."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable, Table

from stream_mapper.catalog.columns import Column, ColumnReader, Values
from stream_mapper.catalog.files import one_line
from stream_mapper.errors import InputError

_COLUMNS = {
    "ra": "ra",
    "dec": "dec",
    "distance": "distance",
    "pmra": "pm_ra_cosdec",
    "pmdec": "pm_dec",
    "rv": "radial_velocity",
}
PREFIX, SUMMARY, _SUFFIX = "track.", ".summary.ecsv", ".ecsv"

FLAGS = {"distance": 1, "pmra": 2, "pmdec": 2, "rv": 3}
"""Place in InfoFlags of what a track may lack; the place before them is of the positions."""

STAND_INS = {"distance": (1.0,), "pmra": (0.0,), "pmdec": (0.0,), "rv": (0.0, 1000.0)}
"""What a file holds, at every point, in place of what is not known [kpc, mas/yr, km/s], the usual number first."""
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class StreamTrack:
    """A track of galstreams.

    Arguments:
        name: Its full name, such as ``track.st.GD-1.ibata2021``.
        points: ``ra``, ``dec`` [deg] and, where the track knows them, ``distance`` [kpc], ``pmra`` (cos(dec) included),
            ``pmdec`` [mas/yr] and ``rv`` [km/s], shape (P,) each.
        pole: (ra, dec) of the pole of the great circle at its middle [deg].
        middle: (ra, dec) of its middle [deg], whose right ascension has phi1 = 0.
    """

    name: str
    points: dict[str, Values]
    pole: tuple[float, float]
    middle: tuple[float, float]


def stream_track(name: str, folder: str | os.PathLike[str] | None = None) -> StreamTrack:
    """A track by its name in galstreams.

    Arguments:
        name: Its name, see `track_file`.
        folder: Folder of the track files; by default that of the installed galstreams.

    Raises:
        InputError: If galstreams is not there, has no such track, or its files cannot be read.
    """
    path = track_file(name, folder)
    full = path.name.removesuffix(_SUFFIX)
    track, summary = _read(path), _read(path.with_name(full + SUMMARY))
    try:
        reader, lacking = ColumnReader(track, str(path)), flagged_off(_flags(summary))
        columns = {key: Column(spelt) for key, spelt in _COLUMNS.items() if key not in lacking}
        points = {key: reader.values(key, column) for key, column in columns.items()}
        pole, middle = (_place(summary, key) for key in ("pole", "mid"))
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        raise InputError(f"{path}: is no track of galstreams ({one_line(error)}).") from error
    unknown = stand_ins(points)
    return StreamTrack(full, {key: values for key, values in points.items() if key not in unknown}, pole, middle)


def flags_beside(path: Path) -> str | None:
    """InfoFlags of the summary beside the file of a track, None if there is none."""
    file = path.with_name(path.stem + SUMMARY)
    summary = _read(file) if file.is_file() else None
    return _flags(summary) if summary is not None and len(summary) and "InfoFlags" in summary.colnames else None


def flagged_off(flags: str) -> set[str]:
    """Internal names of what a track does not know by its InfoFlags.

    >>> sorted(flagged_off("1101"))
    ['pmdec', 'pmra']
    """
    return {name for name, place in FLAGS.items() if flags[place : place + 1] == "0"}


def stand_ins(columns: Mapping[str, Values]) -> set[str]:
    """Internal names of the columns in which every number only stands in for what is not known.

    A proper motion is known if either of its components is: a stream may well move along a meridian.

    Arguments:
        columns: Values by internal name, in internal units, NaN for none.
    """
    empty = {name for name, numbers in STAND_INS.items() if name in columns and _is_one_of(columns[name], numbers)}
    motion = {"pmra", "pmdec"}
    return empty if motion <= empty else empty - motion


def track_file(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """The file of a track of galstreams.

    Arguments:
        name: ``GD-1-I21``, ``track.st.GD-1.ibata2021``, ``GD-1.ibata2021``, or ``GD-1`` for a stream of but one track.
        folder: Folder of the track files; by default that of the installed galstreams.

    Raises:
        InputError: If there is no such folder, or not one track of this name in it.
    """
    files = Path(folder) if folder is not None else _installed()
    if not files.is_dir():
        raise InputError(f"{files} is no folder; give that of galstreams' files track.*.ecsv.")
    short = _short_names(files)
    full = [path.name.removesuffix(_SUFFIX) for path in sorted(files.glob(f"{PREFIX}*{_SUFFIX}"))]
    full = [one for one in full if not one.endswith(".summary")]
    wanted, bare = short.get(name, name.removesuffix(_SUFFIX)), {one: one.split(".", 2)[-1] for one in full}
    matches = [one for one in full if wanted in (one, bare[one])]
    matches = matches or [one for one in full if bare[one].rpartition(".")[0] == wanted]
    if len(matches) == 1:
        return files / f"{matches[0]}{_SUFFIX}"
    if matches:
        raise InputError(f"{files}: several tracks of {name!r}; give one of {', '.join(matches)}.")
    known, stem = sorted([*short, *full]), name.split("-", maxsplit=1)[0].lower()
    close = [other for other in known if stem in other.lower()] or known
    raise InputError(f"{files}: no track {name!r}; there are {', '.join(close[:12]) or 'none'}.")


def _installed() -> Path:
    """Folder of the tracks of the galstreams that is installed, found without importing it."""
    spec = find_spec("galstreams")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("galstreams is not installed; pip install galstreams, or give the folder of its tracks.")
    return Path(spec.submodule_search_locations[0]) / "tracks"


def _short_names(folder: Path) -> dict[str, str]:
    """Full names of tracks by their short ones, by the list that lies beside the folder of the tracks."""
    table = folder.parent / "lib" / "master_log.txt"
    lines = table.read_text(errors="replace").splitlines() if table.is_file() else []
    rows = [line.split() for line in lines if not line.lstrip().startswith("#")]
    return {row[2]: f"track.{row[0]}.{row[3]}.{row[4]}" for row in rows if len(row) > 4}


def _read(path: Path) -> QTable:
    try:
        return QTable.read(path, format="ascii.ecsv")
    except Exception as error:
        raise InputError(f"{path}: cannot be read as a track of galstreams ({one_line(error)}).") from error


def _flags(summary: Table) -> str:
    """InfoFlags of a summary; a file that has them as a number has lost the zeros before the first one."""
    return str(summary["InfoFlags"][0]).zfill(4)


def _is_one_of(values: Values, numbers: Sequence[float]) -> bool:
    """Whether all that is measured is one of some numbers."""
    measured = values[np.isfinite(values)]
    return any(np.allclose(measured, number, atol=_TOLERANCE) for number in numbers)


def _place(summary: Any, key: str) -> tuple[float, float]:
    return float(summary[f"{key}.ra"][0].to_value("deg")), float(summary[f"{key}.dec"][0].to_value("deg"))
