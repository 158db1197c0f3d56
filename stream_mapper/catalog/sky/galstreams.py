"""Tracks of the galstreams library (Mateu 2023, MNRAS 520, 5225), read from its files; the package is not imported."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.table import QTable, Table

from stream_mapper.catalog.columns import Column, ColumnReader, Values
from stream_mapper.catalog.files import one_line
from stream_mapper.catalog.sky.library import SUFFIX, SUMMARY, Library
from stream_mapper.errors import InputError

_COLUMNS = {
    "ra": "ra",
    "dec": "dec",
    "distance": "distance",
    "pmra": "pm_ra_cosdec",
    "pmdec": "pm_dec",
    "radial_velocity": "radial_velocity",
}

FLAGS = {"distance": 1, "pmra": 2, "pmdec": 2, "radial_velocity": 3}
"""Place in InfoFlags of what a track may lack; the place before them is of the positions."""

STAND_INS = {"distance": (1.0,), "pmra": (0.0,), "pmdec": (0.0,), "radial_velocity": (0.0, 1000.0, 999.0)}
"""What a file holds, at every point, in place of what is not known [kpc, mas/yr, km/s], the usual number first."""
_TOLERANCE = 1e-6

BELIEVABLE = {
    "distance": (0.3, 300.0),
    "pmra": (-200.0, 200.0),
    "pmdec": (-200.0, 200.0),
    "radial_velocity": (-600.0, 600.0),
}
"""What a stream of the Galaxy can have [kpc, mas/yr, km/s]; a column that leaves it anywhere is not used."""

_WIDTHS = {"phi2": "width_phi2", "pm_phi1": "width_pm_phi1_cosphi2", "pm_phi2": "width_pm_phi2"}
WIDTHS = {"phi2": (0.02, 10.0), "pm_phi1": (0.02, 1.5), "pm_phi2": (0.02, 1.5)}
"""Least and greatest width by members that is read [deg, mas/yr]: less is what rounding, or the orbit that a track is
made of, leaves of none, and more is that of the errors of the members."""

_CONSTANT = ("pmra", "pmdec", "radial_velocity")  # whose mean is the same at every point
_UNITS = {"distance": "kpc", "pmra": "mas/yr", "pmdec": "mas/yr", "radial_velocity": "km/s"}
_MOTION = frozenset({"pmra", "pmdec"})


@dataclass(frozen=True)
class StreamTrack:
    """A track of galstreams.

    Arguments:
        name: Its full name, such as ``track.st.GD-1.ibata2021``.
        points: ``ra``, ``dec`` [deg] and, where the track knows them, ``distance`` [kpc], ``pmra`` (cos(dec) included),
            ``pmdec`` [mas/yr] and ``radial_velocity`` [km/s], shape (P,) each.
        pole: (ra, dec) of the pole of the great circle at its middle [deg].
        middle: (ra, dec) of its middle [deg], whose right ascension has phi1 = 0.
        means: Those of the points of which only a mean, or the values of the ends, are known.
        refused: What is wrong with values that are not used, a line each.
        widths: Widths of the stream [deg, mas/yr] of ``phi2``, ``pm_phi1``, ``pm_phi2`` by the track's own members.
    """

    name: str
    points: dict[str, Values]
    pole: tuple[float, float]
    middle: tuple[float, float]
    means: frozenset[str] = frozenset()
    refused: tuple[str, ...] = ()
    widths: dict[str, float] = field(default_factory=dict)


class Judgement(NamedTuple):
    """What the columns of a track are worth.

    Arguments:
        unknown: Internal names of those that hold nothing, or nothing that can be believed.
        means: Of those of which only a mean is known.
        refused: What cannot be believed, a line each.
    """

    unknown: frozenset[str]
    means: frozenset[str]
    refused: tuple[str, ...]


def stream_track(name: str, folder: str | os.PathLike[str] | None = None) -> StreamTrack:
    """A track by its name in galstreams.

    Arguments:
        name: Its name, see `track_file`.
        folder: Folder of the track files; by default that of the installed galstreams.

    Raises:
        InputError: If galstreams is not there, has no such track, or its files cannot be read.
    """
    path = track_file(name, folder)
    full = path.name.removesuffix(SUFFIX)
    track, summary = _read(path), _read(path.with_name(full + SUMMARY))
    try:
        reader = ColumnReader(track, str(path))
        points = {key: reader.values(key, Column(spelt)) for key, spelt in _COLUMNS.items()}
        verdict = judge(points, _flags(summary))
        pole, middle = (_place(summary, key) for key in ("pole", "mid"))
        widths = _widths(summary)
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        raise InputError(f"{path}: is no track of galstreams ({one_line(error)}).") from error
    known = {key: values for key, values in points.items() if key not in verdict.unknown}
    return StreamTrack(full, known, pole, middle, verdict.means, verdict.refused, widths)


def judge(columns: Mapping[str, Values], flags: str | None = None) -> Judgement:
    """What columns of a track are worth, by its flags and by what they hold.

    A proper motion is known if either of its components is: a stream may well move along a meridian. A column that is
    flagged off holds the mean of the stream, of a distance maybe the values at both ends, or a stand-in for it; one
    that has the same number everywhere is a mean, whatever its flag.

        >>> judge({"distance": np.full(3, 8.5), "radial_velocity": np.array([10.0, 1e7, 20.0])}, "1001").means
        frozenset({'distance'})

    Arguments:
        columns: Values by internal name, in internal units, NaN for none.
        flags: InfoFlags of the track; None for a track without.
    """
    empty, off = stand_ins(columns), flagged_off(flags or "")
    strange = {name for name in BELIEVABLE if name in columns and name not in empty and _leaves(columns[name], name)}
    constant = {name for name in FLAGS if name in columns and not _varies(columns[name])}
    doubtful = {name for name in _CONSTANT if name in off & set(columns) - constant}
    unknown = empty | strange | doubtful
    unknown |= _MOTION if unknown & _MOTION - empty else frozenset()
    constant -= frozenset() if constant >= _MOTION else _MOTION
    refused = tuple(_refusal(name, columns[name]) for name in BELIEVABLE if name in strange - doubtful)
    return Judgement(frozenset(unknown), frozenset((off | constant) & set(columns) - unknown), refused)


def flags_beside(path: Path) -> str | None:
    """InfoFlags of the summary beside the file of a track, None if there is none."""
    file = path.with_name(path.stem + SUMMARY)
    summary = _read(file) if file.is_file() else None
    return _flags(summary) if summary is not None and len(summary) and "InfoFlags" in summary.colnames else None


def flagged_off(flags: str) -> set[str]:
    """Internal names of what a track has no more than a mean of by its InfoFlags.

    >>> sorted(flagged_off("1101"))
    ['pmdec', 'pmra']
    """
    return {name for name, place in FLAGS.items() if flags[place : place + 1] == "0"}


def stand_ins(columns: Mapping[str, Values]) -> set[str]:
    """Internal names of the columns in which every number only stands in for what is not known.

    Arguments:
        columns: Values by internal name, in internal units, NaN for none.
    """
    empty = {name for name, numbers in STAND_INS.items() if name in columns and _is_one_of(columns[name], numbers)}
    return empty if empty >= _MOTION else empty - _MOTION


def track_file(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """The file of a track of galstreams.

    Arguments:
        name: ``GD-1-I21``, ``track.st.GD-1.ibata2021``, ``GD-1.ibata2021``, or that of a stream; see
            `stream_mapper.catalog.sky.library.Library.find`.
        folder: Folder of the track files; by default that of the installed galstreams.

    Raises:
        InputError: If there is no such folder, or not one track of this name in it.
    """
    library = Library(folder)
    return library.file(library.find(name))


def _read(path: Path) -> QTable:
    try:
        return _read_once(path, path.stat().st_mtime_ns)
    except Exception as error:
        raise InputError(f"{path}: cannot be read as a track of galstreams ({one_line(error)}).") from error


@lru_cache(maxsize=64)
def _read_once(path: Path, changed: int) -> QTable:  # noqa: ARG001 (a file that has changed is read again)
    """A file of galstreams; whoever begins with a stream asks for its tracks several times, a second each time."""
    return QTable.read(path, format="ascii.ecsv")


def _flags(summary: Table) -> str:
    """InfoFlags of a summary; a file that has them as a number has lost the zeros before the first one."""
    return str(summary["InfoFlags"][0]).zfill(4)


def _widths(summary: Any) -> dict[str, float]:
    """Widths of a summary that can be believed, in the units of the package."""
    there = {name: spelt for name, spelt in _WIDTHS.items() if spelt in summary.colnames}
    widths = {name: float(getattr(summary[spelt][0], "value", summary[spelt][0])) for name, spelt in there.items()}
    return {name: width for name, width in widths.items() if WIDTHS[name][0] <= width <= WIDTHS[name][1]}


def _is_one_of(values: Values, numbers: Sequence[float]) -> bool:
    """Whether all that is measured is one of some numbers."""
    measured = values[np.isfinite(values)]
    return any(np.allclose(measured, number, atol=_TOLERANCE) for number in numbers)


def _leaves(values: Values, name: str) -> bool:
    """Whether a column is anywhere outside what can be believed."""
    low, high = BELIEVABLE[name]
    return bool(((values < low) | (values > high)).any())


def _varies(values: Values) -> bool:
    """Whether a column has more than one number."""
    measured = values[np.isfinite(values)]
    return len(measured) > 0 and bool(np.ptp(measured) > _TOLERANCE * max(1.0, float(np.abs(measured).max())))


def _refusal(name: str, values: Values) -> str:
    low, high = BELIEVABLE[name]
    found = f"{name} from {np.nanmin(values):.3g} to {np.nanmax(values):.3g} {_UNITS[name]}"
    return f"{found} cannot be believed (a stream has {low:g} to {high:g}): it is not used"


def _place(summary: Any, key: str) -> tuple[float, float]:
    return float(summary[f"{key}.ra"][0].to_value("deg")), float(summary[f"{key}.dec"][0].to_value("deg"))
