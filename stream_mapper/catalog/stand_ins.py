"""Numbers that stand in a table for a value that is not there: 99, -999, 1e20 and their like.

Archives write them with any error beside them: DES, DELVE and SExtractor 99, DAOPHOT 99.999 with 9.999, Pan-STARRS
-999, SDSS -9999, the archives of UKIDSS and VISTA -9.999995e8, others 1e20 or 1e30. They are numbers of nines, or
larger than any value can be.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_mapper.catalog.schema import default_unit
from stream_mapper.catalog.surveys import ERROR, SURVEYS

Values = NDArray[np.float64]
Rows = NDArray[np.bool_]

_LEAST = {
    "mag": 99,
    "dex": 9,
    "mas": 99,
    "mas / yr": 99,
    "km / s": 999,
    "deg": 999,
    "kpc": 9999,
    "Gyr": 99,
    "1 / um": 9,
}
"""By unit, the least number of nines that no value is by chance: a star may have 99 km/s, and none has 99 mag."""

_ERROR_OF_MAGNITUDE = 9
_TOO_LARGE = 1e5  # of any of these quantities
_LARGEST = 1e39  # more than single precision holds is no stand-in, and refused
_EXACT = 3e-7  # of a number: what single precision leaves of it
_NO_BAND = 50.0  # mag, which no star is as faint or as bright as
_BANDS = {band for survey in SURVEYS.values() for band in survey.bands} | {"U", "B", "V", "R", "I", "J", "H", "K", "Ks"}
_NINES = np.array(sorted({10.0**k - 10.0**-j for k in range(1, 7) for j in range(7 - k)}))


def stand_ins(name: str, numbers: Values) -> Rows:
    """Rows (N,) whose number stands for a missing value.

        >>> stand_ins("g", np.array([20.1, 99.0, -999.0, 1e20, np.nan])).tolist()
        [False, True, True, True, False]

    Arguments:
        name: Internal name of the column.
        numbers: Its numbers as the table has them, (N,).
    """
    least = _LEAST.get(unit := default_unit(name))
    least = _ERROR_OF_MAGNITUDE if unit == "mag" and name.endswith(ERROR) else least
    if least is None:
        return np.zeros(numbers.shape, dtype=bool)
    size = np.abs(numbers)
    suspects = np.flatnonzero(size >= least * (1 - _EXACT))
    rows = np.zeros(numbers.shape, dtype=bool)
    rows[suspects] = _are_nines(size[suspects]) | ((size[suspects] >= _TOO_LARGE) & (size[suspects] <= _LARGEST))
    if name.endswith(ERROR):
        rows |= (numbers <= -_LEAST["mag"] * (1 - _EXACT)) & _are_nines(size)
    return rows & np.isfinite(numbers)


def is_band(name: str) -> bool:
    """Whether an internal column is the magnitude of a band, and no quantity that we do not know."""
    return name in _BANDS


def impossible(name: str, values: Values) -> Rows:
    """Rows (N,) with a value [internal unit] that no star has: a magnitude of 60, a right ascension of 45000 deg."""
    with np.errstate(invalid="ignore"):
        if is_band(name):
            return np.abs(values) >= _NO_BAND
        if name in ("ra", "phi1"):
            return np.abs(values) > 360
        return np.abs(values) > 90 if name == "phi2" else np.zeros(values.shape, dtype=bool)


def _are_nines(size: Values) -> Rows:
    """Whether each is 9, 9.9, 99, 99.9, ... to single precision, (N,)."""
    place = np.searchsorted(_NINES, size).clip(1, len(_NINES) - 1)
    nearest = np.minimum(np.abs(_NINES[place] - size), np.abs(_NINES[place - 1] - size))
    return np.asarray(nearest <= _EXACT * size)
