"""Tracks of the galstreams library (Mateu 2023, MNRAS 520, 5225), read from its files; the package is not imported."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable

from stream_mapper.catalog.columns import Values
from stream_mapper.catalog.files import one_line
from stream_mapper.errors import InputError

_COLUMNS = {
    "ra": ("ra", "deg"),
    "dec": ("dec", "deg"),
    "distance": ("distance", "kpc"),
    "pmra": ("pm_ra_cosdec", "mas / yr"),
    "pmdec": ("pm_dec", "mas / yr"),
    "rv": ("radial_velocity", "km / s"),
}
PREFIX, SUMMARY, _SUFFIX = "track.", ".summary.ecsv", ".ecsv"
_FLAGS = {"distance": 1, "pmra": 2, "pmdec": 2, "rv": 3}  # place in InfoFlags of what a track may lack


@dataclass(frozen=True)
class StreamTrack:
    """A track of galstreams.

    Arguments:
        name: Its full name, such as ``track.st.GD-1.ibata2021``.
        points: ``ra``, ``dec`` [deg] and, where the track has them, ``distance`` [kpc], ``pmra`` (cos(dec) included),
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
        flags = str(summary["InfoFlags"][0])
        points = {key: track[spelt].to_value(unit) for key, (spelt, unit) in _COLUMNS.items() if _has(key, flags)}
        pole, middle = (_place(summary, key) for key in ("pole", "mid"))
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        raise InputError(f"{path}: is no track of galstreams ({one_line(error)}).") from error
    if "distance" in points and np.ptp(points["distance"]) < 1e-9 and abs(points["distance"][0] - 1) < 1e-9:
        del points["distance"]  # 1 kpc stands for "not known" in some
    return StreamTrack(full, points, pole, middle)


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
    found = [one for one in full if wanted in (one, bare[one])]
    found = found or [one for one in full if bare[one].rpartition(".")[0] == wanted]
    if len(found) == 1:
        return files / f"{found[0]}{_SUFFIX}"
    if found:
        raise InputError(f"{files}: several tracks of {name!r}; give one of {', '.join(found)}.")
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


def _has(key: str, flags: str) -> bool:
    place = _FLAGS.get(key)
    return place is None or flags[place] != "0"


def _place(summary: Any, key: str) -> tuple[float, float]:
    return float(summary[f"{key}.ra"][0].to_value("deg")), float(summary[f"{key}.dec"][0].to_value("deg"))
