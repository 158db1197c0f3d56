"""Corrections of what a catalogue gives, each of them optional; they act on what is read, the table stays as it is."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from stream_mapper.catalog.columns import Column, ColumnReader, Values
from stream_mapper.catalog.extinction import Extinction
from stream_mapper.catalog.schema import CORRELATION, find_column
from stream_mapper.catalog.surveys import ERROR, Surveys
from stream_mapper.errors import InputError

logger = logging.getLogger("stream_mapper")

_ZERO_POINT = {
    "G": "phot_g_mean_mag",
    "nu_eff": "nu_eff_used_in_astrometry",
    "pseudocolour": "pseudocolour",
    "ecl_lat": "ecl_lat",
    "n_params": "astrometric_params_solved",
}
_SURVEY = "gaia_dr3"
_RANGES = {"G": (6.0, 21.0), "nu_eff": (1.1, 1.9), "pseudocolour": (1.24, 1.72)}  # where the fit was made
_FIVE, _SIX = 31, 95  # codes of solutions with five and six parameters


@dataclass(frozen=True)
class Corrections:
    """What is corrected before stars become data.

    Arguments:
        parallax_zero_point: ``true`` for the zero point of Gaia EDR3 and DR3 of Lindegren et al. (2021, A&A 649, A4) by
            the package gaiadr3-zeropoint, which needs the columns of the G magnitude, the effective wavenumber, the
            pseudocolour, the ecliptic latitude and the number of parameters; or a number [mas], such as -0.029 for DR2.
            It is subtracted from ``parallax``.
        extinction: Reddening, which is taken out of all magnitudes that are read.
        floors: Systematic errors by column, in its unit, added in quadrature to its error. Covariances stay as they
            are, so correlations become smaller.

    Raises:
        InputError: If a number is not one that it can be.
    """

    parallax_zero_point: bool | float = False
    extinction: Extinction | None = None
    floors: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = {name: floor for name, floor in self.floors.items() if not 0 <= floor < np.inf}
        if wrong or not np.isfinite(self.parallax_zero_point):
            raise InputError(f"corrections: floors {wrong or self.parallax_zero_point} must be numbers, floors >= 0.")

    def columns(self, names: Sequence[str], asked: Mapping[str, Column], survey: Surveys) -> set[str]:
        """Columns of a table of these names that are read besides those asked for."""
        needed = self.extinction.columns(names, asked, survey) if self.extinction else set()
        if self.parallax_zero_point is True:
            needed |= set(_zero_point_columns(names).values())
        return needed

    def apply(
        self, arrays: dict[str, Values], reader: ColumnReader, sources: Mapping[str, Column], survey: Surveys
    ) -> dict[str, Values]:
        """The columns, corrected, and once in the log what was done.

        Arguments:
            arrays: What was read, shape (N,), by internal name.
            reader: The table, with all its columns.
            sources: Columns of the table that they were read from.
            survey: Survey or surveys of the magnitudes.

        Raises:
            InputError: If a column that is needed is missing, or what is to be corrected was not read.
        """
        out = dict(arrays)
        if self.parallax_zero_point is not False:
            out["parallax"] = self._parallax(out, reader)
        if self.extinction:
            out |= self.extinction.apply(out, reader, sources, survey)
        return self._with_floors(out, reader.path)

    def _parallax(self, arrays: Mapping[str, Values], reader: ColumnReader) -> Values:
        """Parallaxes without their zero point."""
        if "parallax" not in arrays:
            advice = "add it to the columns, or leave the correction out"
            raise InputError(
                f"{reader.path}: the parallax zero point corrects 'parallax', which is not read; {advice}."
            )
        if self.parallax_zero_point is True:
            return arrays["parallax"] - gaia_zero_point(reader, ~np.isnan(arrays["parallax"]))
        logger.info("%s: parallax zero point of %s mas subtracted.", reader.path, self.parallax_zero_point)
        return arrays["parallax"] - float(self.parallax_zero_point)

    def _with_floors(self, arrays: dict[str, Values], path: str) -> dict[str, Values]:
        """Errors with the floors added, correlations such that the covariances stay."""
        out = dict(arrays)
        for name, floor in self.floors.items():
            if name + ERROR not in out:
                has = [other.removesuffix(ERROR) for other in out if other.endswith(ERROR)]
                raise InputError(f"{path}: a floor is given for {name!r}, whose error is not read; there are {has}.")
            out[name + ERROR] = np.hypot(out[name + ERROR], floor)
        shrunk = {name: _share(arrays[name + ERROR], out[name + ERROR]) for name in self.floors}
        for name in [name for name in out if name.endswith(CORRELATION)]:
            for other in _pair(name, [column.removesuffix(ERROR) for column in out if column.endswith(ERROR)]):
                out[name] = out[name] * shrunk.get(other, 1.0)
        if self.floors:
            text = ", ".join(f"{name} {floor}" for name, floor in self.floors.items())
            logger.info("%s: systematic errors added in quadrature: %s.", path, text)
        return out


def gaia_zero_point(reader: ColumnReader, wanted: Any) -> Values:
    """Zero point of Gaia's parallaxes [mas], shape (N,).

    Magnitudes and colours outside the range of the fit are taken at its edge. A star without what is needed, or with a
    solution of neither five nor six parameters, gets none, 0; the log says of how many stars either holds.

    Arguments:
        reader: The table.
        wanted: Which stars have a parallax, shape (N,).

    Raises:
        InputError: If a column or the package is missing.
    """
    columns = reader.find(_zero_point_columns(reader.names))
    values = {name: reader.values(name, column) for name, column in columns.items()}
    outside = np.zeros(len(reader.table), dtype=bool)
    for name, (low, high) in _RANGES.items():
        inside = values[name].clip(low * (1 + 1e-9), high * (1 - 1e-9))  # the package refuses the edges themselves
        used = _uses(name, values["n_params"])
        outside |= used & (inside != values[name]) & ~np.isnan(inside)
        values[name] = np.where(used, inside, low)
    known = wanted & np.isin(values["n_params"], (_FIVE, _SIX)) & ~np.isnan([*values.values()]).any(axis=0)
    zero = np.zeros(len(reader.table))
    zero[known] = _zpt().get_zpt(*(values[name][known] for name in _ZERO_POINT), _warnings=False)
    text = "%s: parallax zero point (Lindegren et al. 2021, gaiadr3-zeropoint %s) subtracted, %s mas in the mean; "
    text += "of %d stars %d are outside the range of the fit and have that of its edge."
    mean = f"{zero[known].mean():.4f}" if known.any() else "none"
    logger.info(text, reader.path, _version("gaiadr3-zeropoint"), mean, known.sum(), (outside & known).sum())
    if lacking := int((wanted & ~known).sum()):
        logger.warning("%s: %d parallaxes have no zero point, and are taken as they are.", reader.path, lacking)
    return zero


def _uses(name: str, n_params: Values) -> Any:
    """Whether the zero point of a star depends on a quantity."""
    return {"nu_eff": n_params == _FIVE, "pseudocolour": n_params == _SIX}.get(name, np.full(n_params.shape, True))


def _zero_point_columns(names: Sequence[str]) -> dict[str, str]:
    return {name: find_column(name, names, _SURVEY) or spelt for name, spelt in _ZERO_POINT.items()}


def _zpt() -> Any:
    """The module of the package gaiadr3-zeropoint, with its tables loaded."""
    try:
        zpt = importlib.import_module("zero_point.zpt")
    except ImportError as error:
        advice = "pip install 'stream_mapper[corrections]', or give a number"
        raise InputError(f"the parallax zero point needs the package gaiadr3-zeropoint; {advice}.") from error
    zpt.load_tables()
    return zpt


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def _share(before: Values, after: Values) -> Values:
    """How much of an error was there before a floor."""
    return np.divide(before, after, out=np.ones(before.shape), where=after > 0)


def _pair(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """The two columns of a correlation's name, or none."""
    stem = name.removesuffix(CORRELATION)
    return next(((a, b) for a in known for b in known if stem == f"{a}_{b}"), ())
