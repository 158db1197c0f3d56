"""Files of isochrones: of MIST, PARSEC, Dartmouth and BaSTI, and tables."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_mapper.builtin.isochrone.points import Array, Points, mass_column
from stream_mapper.errors import InputError

_log = logging.getLogger("stream_mapper")

_NO_STARS = -9.99  # logL of PARSEC: a section of the isochrone without stars
_HEAD = 1 << 15  # bytes of a file that tell its format
_AGE = re.compile(r"AGE=\s*(\S+)\s+EEPS=\s*(\d+)")
_BASTI = re.compile(r"Np\s*=\s*(\d+)\s+\[M/H\]\s*=\s*(\S+).*Age \(Myr\)\s*=\s*(\S+)")
_TIP_DROP, _TIP_POINTS = 0.3, 15  # dex in luminosity, and points: from the tip of the red-giant branch to quiet burning


def band_columns(bands: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    """Our name to the file's column; a plain list of columns keeps the file's names."""
    if isinstance(bands, str):
        return {bands: bands}
    columns = dict(bands) if isinstance(bands, Mapping) else {name: name for name in bands}
    if not columns:
        raise InputError("an isochrone needs at least one band; found none.")
    return columns


def read_any(path: Path) -> Points:
    """Points of a file in any of the formats, told apart by its first lines, or as a table by its suffix."""
    if not path.is_file():
        raise InputError(f"{path}: no such file of an isochrone.")
    reader = _reader(path)
    try:
        return reader(path)
    except InputError as error:
        if reader is not read_table or "unknown suffix" not in str(error):
            raise
        raise InputError(
            f"{path}: neither a MIST, PARSEC, Dartmouth or BaSTI isochrone nor a table: {error}"
        ) from error


def read_mist(path: Path) -> Points:
    """Points of a MIST ``.iso.cmd`` file."""
    return _read(path, ("EEP", "initial_mass"), "a MIST .iso.cmd file").points()


def read_parsec(path: Path) -> Points:
    """Points of a PARSEC (CMD 3) table."""
    points = _read(path, ("Mini",), "a PARSEC (CMD 3) table").points()
    if "logL" not in points.names:
        return points
    none = points.column("logL") <= _NO_STARS
    if none.any():
        _log.info("%s: %d points with logL = -9.999, where there are no stars, are left out.", path, none.sum())
    return points.rows(~none)


def read_dartmouth(path: Path) -> Points:
    """Points of a Dartmouth isochrone, with columns ``age`` (Gyr) and ``feh`` of what stands in the comments."""
    text = _read(path, ("EEP", "M/Mo"), "a Dartmouth isochrone")
    blocks = [(line, match) for line, comment in text.comments if (match := _AGE.search(comment))]
    ages = text.last_said([(line, match[1]) for line, match in blocks], "AGE=")
    text.check_lengths([(line, int(match[2])) for line, match in blocks])
    return text.points(age=ages, feh=text.last_said(_compositions(text.comments), "[Fe/H]"))


def read_basti(path: Path) -> Points:
    """Points of a BaSTI isochrone, with columns ``age`` (Gyr), ``mh``, and ``stage``, 1 after the first giants' tip."""
    text = _read(path, ("M/Mo(ini)",), "a BaSTI isochrone")
    blocks = [(line, match) for line, comment in text.comments if (match := _BASTI.search(comment))]
    ages = text.last_said([(line, match[3]) for line, match in blocks], "Age (Myr) =") / 1000
    text.check_lengths([(line, int(match[1])) for line, match in blocks])
    points = text.points(age=ages, mh=text.last_said([(line, match[2]) for line, match in blocks], "[M/H] ="))
    luminosity = points.column("log(L/Lo)")
    each = [luminosity[ages == age] for age in dict.fromkeys(ages.tolist())]
    stage, phase = (np.concatenate([of(block) for block in each]) for of in (_past_tip, _places))
    return points.with_column("stage", stage).with_column("phase", phase)


def _places(block: Array) -> Array:
    """Numbers of the points of an isochrone, which for BaSTI are equivalent from one to the next."""
    return np.arange(len(block), dtype=np.float64)


def _past_tip(luminosity: Array) -> Array:
    """1 for the points after the one from which the luminosity falls at once, which stars do at the tip; else 0."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(luminosity, (0, _TIP_POINTS), mode="edge"), _TIP_POINTS)
    falls = luminosity - windows[1:].min(-1) > _TIP_DROP
    if not falls.any():
        return np.zeros(len(luminosity))
    first = int(falls.argmax())
    tip = first + int(luminosity[first : first + _TIP_POINTS].argmax())
    return (np.arange(len(luminosity)) > tip).astype(np.float64)


def read_table(path: Path, mass: str | None = None) -> Points:
    """Points of a table; its suffix tells the format (FITS, ECSV, CSV, Parquet, VOTable).

    Arguments:
        path: The file.
        mass: Column of initial masses; by default the one with a known name, or none.
    """
    from stream_mapper.catalog import read_table as load  # noqa: PLC0415  (loads astropy, which is slow)

    table = load(path)
    names = tuple(name for name in table.colnames if table[name].ndim == 1 and table[name].dtype.kind in "fiub")
    masses = mass or mass_column(names)
    if not len(table) or not names:
        raise InputError(f"{path}: no points of an isochrone; found {len(table)} rows, with the numbers {list(names)}.")
    if mass is not None and mass not in names:
        raise InputError(f"{path}: no column {mass!r} of initial masses; the file has {list(names)}.")
    values = np.stack([_numbers(path, table[name], name, name == masses) for name in names], axis=-1)
    return Points(path, names, values, np.arange(len(table)), "row", masses)


def _reader(path: Path) -> Callable[[Path], Points]:
    """The reader of a file's format."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if b"\0" in head or head.startswith((b"SIMPLE", b"# %ECSV")):
        return read_table
    comments = [set(words) for words in _headers(head.decode("utf-8", errors="replace").splitlines())]
    kinds = {
        ("EEP", "initial_mass"): read_mist,
        ("EEP", "M/Mo"): read_dartmouth,
        ("M/Mo(ini)",): read_basti,
        ("Mini",): read_parsec,
    }
    return next((reader for keys, reader in kinds.items() if any(set(keys) <= c for c in comments)), read_table)


def _numbers(path: Path, column: Any, name: str, is_mass: bool) -> Array:
    """A column of a table as numbers, NaN where masked; masses in solar masses."""
    unit = getattr(column, "unit", None)
    values = np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)
    if not is_mass or unit is None or str(unit) == "":
        return values
    try:
        return values * unit.to("solMass")
    except ValueError as error:
        raise InputError(f"{path}: the column {name!r} of initial masses is in {unit}: {error}.") from error


@dataclass(frozen=True)
class _Text:
    """A file of columns under a comment that names them.

    Arguments:
        path: The file.
        names: Names of the columns.
        values: Numbers, shape (M, columns).
        lines: Line of each row, shape (M,).
        comments: Every comment, with its line.
    """

    path: Path
    names: tuple[str, ...]
    values: Array
    lines: NDArray[np.int64]
    comments: list[tuple[int, str]]

    def points(self, **more: Array) -> Points:
        """The rows as points, with more columns."""
        values = np.column_stack([self.values, *more.values()])
        names = (*self.names, *more)
        return Points(self.path, names, values, self.lines, "line", mass_column(self.names))

    def last_said(self, said: list[tuple[int, str]], what: str) -> Array:
        """For each row the number that the comments gave last before it, shape (M,)."""
        before = np.searchsorted([line for line, _ in said], self.lines) - 1
        if not said or (before < 0).any():
            raise InputError(f"{self.path}: no comment with {what} before line {self.lines[0]}; is the file complete?")
        try:
            return np.array([float(number) for _, number in said])[before]
        except ValueError as error:
            raise InputError(f"{self.path}: {what} is no number; {error}.") from error

    def check_lengths(self, blocks: list[tuple[int, int]]) -> None:
        """Raise InputError if a block of rows has not as many as the comment before it says."""
        ends = [*(line for line, _ in blocks[1:]), np.inf]
        for (line, size), end in zip(blocks, ends, strict=True):
            count = int(((self.lines > line) & (self.lines < end)).sum())
            if count != size:
                raise InputError(f"{self.path}: line {line} says {size} points, {count} follow; is the file complete?")


def _read(path: Path, keys: tuple[str, ...], kind: str) -> _Text:
    """Names (the last comment that has every key as a word) and numbers of a text."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; an isochrone is read from {kind}.")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    names = next((tuple(words) for words in reversed(_headers(lines)) if set(keys) <= set(words)), ())
    if not names:
        raise InputError(f"{path}: not {kind}; it needs a comment that names the columns, {list(keys)} among them.")
    numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
    rows = [(i, line.split()) for i, line in numbered if not line.startswith("#")]
    if not rows:
        raise InputError(f"{path}: {kind} without rows; is the file complete?")
    uneven = next(((i, len(row)) for i, row in rows if len(row) != len(names)), None)
    if uneven:
        raise InputError(f"{path}: not {kind}; line {uneven[0]} has {uneven[1]} columns, {len(names)} are named.")
    try:
        values = np.array([row for _, row in rows], dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path}: not {kind}; {error}.") from error
    comments = [(i, line) for i, line in numbered if line.startswith("#")]
    return _Text(path, names, values, np.array([i for i, _ in rows]), comments)


def _headers(lines: list[str]) -> list[list[str]]:
    """Words of the comments."""
    return [line.lstrip("# ").split() for line in lines if line.startswith("#")]


def _compositions(comments: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """[Fe/H] in the comments of a Dartmouth isochrone, each with its line."""
    words = [(line, comment.lstrip("# ").split()) for line, comment in comments]
    return [(line, b[a.index("[Fe/H]")]) for (_, a), (line, b) in pairwise(words) if "[Fe/H]" in a and len(b) == len(a)]
