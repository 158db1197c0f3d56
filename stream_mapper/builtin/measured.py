"""Densities of coordinates that are measured: which columns belong to a coordinate, and its window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.models.base import ParametricModel


class MeasuredModel(ParametricModel):
    """A parametric density of coordinates that may have measurement errors, and these correlations.

    Arguments:
        coord_names: Coordinates the density is over.
        error_names: Column of the measurement error of each coordinate, in the coordinates' order or by name; none by
            default.
        corr_names: Pair of coordinates by the column of the correlation of their errors; none by default.
        **kwargs: See :class:`stream_mapper.models.ParametricModel`.

    Raises:
        InputError: If there are errors of other coordinates, or a list of errors is not as long as the coordinates'.
    """

    def __init__(
        self,
        *,
        coord_names: Sequence[str],
        error_names: Sequence[str] | Mapping[str, str] | None = None,
        corr_names: Mapping[str, Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(coord_names=coord_names, **kwargs)
        self._error_names = _by_coordinate(type(self).__name__, self.coord_names, error_names)
        self.corr_names = {column: tuple(pair) for column, pair in (corr_names or {}).items()}

    @property
    def error_names(self) -> Mapping[str, str]:
        """Column of the measurement error of each coordinate that has one."""
        return self._error_names

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the model reads, errors and their correlations included."""
        return (*super().columns, *self.corr_names)

    def is_measured(self, data: Data, name: str) -> Tensor:
        """Whether a star has a coordinate, and the error of it where it has one, shape (N,)."""
        if name in self.error_names:
            return data.where[name] & data.where[self.error_names[name]]
        return data.where[name]

    def corr_without_errors(self) -> list[str]:
        """Columns of correlations that are not of two different coordinates with errors."""
        with_error = set(self.error_names)
        return [c for c, pair in self.corr_names.items() if len(set(pair)) != 2 or not set(pair) <= with_error]


def _by_coordinate(
    kind: str, coord_names: Sequence[str], errors: Sequence[str] | Mapping[str, str] | None
) -> dict[str, str]:
    """Error column by coordinate, from a mapping or from a sequence in the order of the coordinates."""
    if errors is None:
        return {}
    by_name = _in_order(kind, coord_names, errors)
    swapped = {name: error for name, error in by_name.items() if _is_of_another(name, error, coord_names)}
    if swapped:
        raise InputError(
            f"{kind}: {swapped} are errors of other coordinates; name them in the order of {list(coord_names)}, or by "
            "coordinate, {coordinate: column}."
        )
    return by_name


def _is_of_another(name: str, error: str, coord_names: Sequence[str]) -> bool:
    """Whether a column is called the error of another of the coordinates."""
    others = [other for other in coord_names if other != name]
    return any(error in (f"{other}_err", f"{other}_error", f"e_{other}") for other in others)


def _in_order(kind: str, coord_names: Sequence[str], errors: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Error column by coordinate."""
    if isinstance(errors, Mapping):
        unknown = [name for name in errors if name not in coord_names]
        if unknown:
            raise InputError(f"{kind}: errors for {unknown}, which are not among {list(coord_names)}.")
        return dict(errors)
    if len(errors) != len(coord_names):
        raise InputError(
            f"{kind}: {len(errors)} error names {list(errors)} for {len(coord_names)} coordinates {list(coord_names)}."
        )
    return dict(zip(coord_names, errors, strict=True))
