"""Isochrone tables of the MIST and PARSEC web services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_mapper.errors import InputError

_MIST_TIP = 605  # primary equivalent evolutionary point "RGB tip" (Dotter 2016, table 2)
_PARSEC_GIANTS = 3  # CMD's stage labels: 1 main sequence, 2 subgiant, 3 red giant, 4 and more: helium burning
_SAME_AGE = 0.005  # dex


@dataclass(frozen=True)
class Table:
    """Rows of one isochrone.

    Arguments:
        path: The file, for messages.
        names: Names of the columns.
        values: Numbers, shape (M, columns).
        mass_column: Column of the initial mass.
        stage_column: Column of the evolutionary stage.
        tip: Last stage up to the tip of the red-giant branch.
    """

    path: Path
    names: tuple[str, ...]
    values: NDArray[np.float64]
    mass_column: str
    stage_column: str
    tip: int

    def column(self, name: str) -> NDArray[np.float64]:
        """One column, shape (M,)."""
        if name not in self.names:
            raise InputError(f"{self.path}: no column {name!r}; the file has {list(self.names)}.")
        column: NDArray[np.float64] = self.values[:, self.names.index(name)]
        return column

    @property
    def mass(self) -> NDArray[np.float64]:
        """Initial masses, in solar masses, shape (M,)."""
        return self.column(self.mass_column)

    def rows(self, kept: NDArray[np.bool_]) -> Table:
        """The table with some rows only."""
        return replace(self, values=self.values[kept])

    def before_tip(self) -> Table:
        """The rows up to the tip of the red-giant branch: before the first row of a later stage."""
        later = self.column(self.stage_column) > self.tip
        return self.rows(np.cumsum(later) == 0)

    def in_mass_range(self, mass_range: tuple[float, float]) -> Table:
        """The rows with initial mass in a range, edges included."""
        low, high = mass_range
        kept = (self.mass >= low) & (self.mass <= high)
        if kept.sum() < 2:
            span = f"{self.mass.min():g} to {self.mass.max():g}"
            raise InputError(f"{self.path}: fewer than two points with mass in {mass_range}; the file has {span}.")
        return self.rows(kept)


def band_columns(bands: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    """Our name to the file's column; a plain list of columns keeps the file's names."""
    if isinstance(bands, str):
        return {bands: bands}
    columns = dict(bands) if isinstance(bands, Mapping) else {name: name for name in bands}
    if not columns:
        raise InputError("an isochrone needs at least one band; found none.")
    return columns


def read_mist(path: Path, log_age: float | None = None) -> Table:
    """One isochrone of a MIST ``.iso.cmd`` file.

    The age column is log10 of the age in some files that call it ``isochrone_age_yr``; numbers tell them apart.
    """
    names, values = _read(path, "EEP", "a MIST .iso.cmd file")
    table = Table(path, names, values, "initial_mass", "EEP", _MIST_TIP)
    age = table.column(next((name for name in names if "isochrone_age_yr" in name), "isochrone_age_yr"))
    return _one_age(table, np.where(age > 100, np.log10(age), age), log_age)


def read_parsec(path: Path, log_age: float | None = None) -> Table:
    """One isochrone of a PARSEC (CMD 3) table.

    Masses are printed with few digits; of rows that share a mass the first is kept.
    """
    names, values = _read(path, "Mini", "a PARSEC (CMD 3) table")
    table = Table(path, names, values, "Mini", "label", _PARSEC_GIANTS)
    metallicities = [name for name in ("Zini", "MH") if name in names]
    found = {name: np.unique(table.column(name)).tolist() for name in metallicities}
    if any(len(values) > 1 for values in found.values()):
        raise InputError(f"{path}: several metallicities, {found}; keep one per file.")
    table = _one_age(table, table.column("logAge"), log_age)
    return table.rows(np.append(True, np.diff(table.mass) != 0))


def _read(path: Path, key: str, kind: str) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names (the last comment that has ``key`` as a word) and numbers of a table."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; an isochrone is read from {kind}.")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    headers = [line.lstrip("# ").split() for line in lines if line.startswith("#")]
    names = next((tuple(words) for words in reversed(headers) if key in words), ())
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    if not names or not rows or any(len(row) != len(names) for row in rows):
        raise InputError(f"{path}: not {kind}; it needs a comment naming the columns, {key!r} among them, and rows.")
    try:
        return names, np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path}: not {kind}; {error}.") from error


def _one_age(table: Table, ages: NDArray[np.float64], log_age: float | None) -> Table:
    """The rows of the age asked for, or of the only one."""
    present = np.unique(ages.round(4)).tolist()
    if log_age is None:
        if len(present) > 1:
            raise InputError(f"{table.path}: several isochrones; choose log_age from {present}.")
        return table
    kept = np.abs(ages - log_age) < _SAME_AGE
    if not kept.any():
        raise InputError(f"{table.path}: no isochrone of log_age={log_age}; the file has {present}.")
    return table.rows(kept)
