"""Values of a table that count as missing under a condition."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_mapper.errors import InputError

_log = logging.getLogger("stream_mapper")

Edges = tuple[float | None, float | None]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Blank:
    """Columns that count as not measured for the stars that a condition holds for; these keep all other columns.

    Photometry fainter than a survey is complete, say, with the astrometry kept.

        >>> Blank(["g"], outside={"g": (None, 21.0)}).applied({"g": np.array([20.0, 22.0])})
        {'g': array([20., nan])}

    Arguments:
        columns: Internal names of what is left out.
        outside: Range of each of some columns, in its unit, None for an open side. A star that is outside any of these
            is left out; one that lacks the column is not.

    Raises:
        InputError: If there are no columns, no ranges, or a range is empty.
    """

    columns: Sequence[str]
    outside: Mapping[str, Edges]

    def __post_init__(self) -> None:
        if not self.columns or not self.outside:
            raise InputError(f"Blank needs columns and ranges; got {list(self.columns)} and {dict(self.outside)}.")
        for name, edges in self.outside.items():
            low, high = _edges(edges)
            if not low < high:
                raise InputError(f"Blank: the range of {name!r} must be lower < upper; got {list(edges)}.")

    def applied(self, arrays: Mapping[str, Values], path: str = "table") -> dict[str, Values]:
        """The columns (N,) with NaN where they count as missing.

        Raises:
            InputError: If a column that is named is not among them.
        """
        if unread := [name for name in (*self.columns, *self.outside) if name not in arrays]:
            raise InputError(f"{path}: blank names {unread}, which are not read; the columns are {list(arrays)}.")
        rows: NDArray[np.bool_] = np.any([self._outside(name, arrays[name]) for name in self.outside], axis=0)
        _log.info("%s: %s of %d of %d stars count as missing.", path, list(self.columns), rows.sum(), len(rows))
        return {**arrays, **{name: np.where(rows, np.nan, arrays[name]) for name in self.columns}}

    def _outside(self, name: str, values: Values) -> NDArray[np.bool_]:
        low, high = _edges(self.outside[name])
        out: NDArray[np.bool_] = (values < low) | (values > high)
        return out


def _edges(edges: Edges) -> tuple[float, float]:
    low, high = edges
    return -np.inf if low is None else low, np.inf if high is None else high
