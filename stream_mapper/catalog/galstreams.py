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
from stream_mapper.catalog.io import one_line
from stream_mapper.errors import InputError

_COLUMNS = {
    "ra": ("ra", "deg"),
    "dec": ("dec", "deg"),
    "distance": ("distance", "kpc"),
    "pmra": ("pm_ra_cosdec", "mas / yr"),
    "pmdec": ("pm_dec", "mas / yr"),
    "rv": ("radial_velocity", "km / s"),
}
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


def read_track(name: str, folder: str | os.PathLike[str] | None = None) -> StreamTrack:
    """A track by its name in galstreams.

    Arguments:
        name: ``GD-1-I21``, or the full ``track.st.GD-1.ibata2021``.
        folder: Folder of the track files; by default that of the installed galstreams.

    Raises:
        InputError: If galstreams is not there, has no such track, or its files cannot be read.
    """
    files = Path(folder) if folder is not None else _installed()
    full = _full_name(name, files)
    track, summary = (_read(files / f"{full}{ending}") for ending in (".ecsv", ".summary.ecsv"))
    try:
        flags = str(summary["InfoFlags"][0])
        points = {key: track[spelt].to_value(unit) for key, (spelt, unit) in _COLUMNS.items() if _has(key, flags)}
        pole, middle = (_place(summary, key) for key in ("pole", "mid"))
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        raise InputError(f"{files / full}: is no track of galstreams ({one_line(error)}).") from error
    if "distance" in points and np.ptp(points["distance"]) < 1e-9 and abs(points["distance"][0] - 1) < 1e-9:
        del points["distance"]  # 1 kpc stands for "not known" in some
    return StreamTrack(full, points, pole, middle)


def _installed() -> Path:
    """Folder of the tracks of the galstreams that is installed, found without importing it."""
    spec = find_spec("galstreams")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("galstreams is not installed; pip install galstreams, or give the folder of its tracks.")
    return Path(spec.submodule_search_locations[0]) / "tracks"


def _full_name(name: str, folder: Path) -> str:
    """Full name of a track, by the list of names that lies beside the folder of the tracks."""
    if (folder / f"{name}.summary.ecsv").is_file():
        return name
    table = folder.parent / "lib" / "master_log.txt"
    lines = table.read_text(errors="replace").splitlines() if table.is_file() else []
    rows = [line.split() for line in lines if not line.lstrip().startswith("#")]
    full = {row[2]: f"track.{row[0]}.{row[3]}.{row[4]}" for row in rows if len(row) > 4}
    if name in full:
        return full[name]
    known = [*full, *(path.name.removesuffix(".summary.ecsv") for path in folder.glob("*.summary.ecsv"))]
    stem = name.split("-", maxsplit=1)[0].lower()
    close = [other for other in sorted(known) if stem in other.lower()] or sorted(known)
    raise InputError(f"{folder}: no track {name!r}; there are {', '.join(close[:12]) or 'none'}.")


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
