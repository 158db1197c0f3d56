"""Maps from a network's output to the interval a parameter may take."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from stream_mapper.errors import InputError, check_finite
from stream_mapper.params.scaler import Scaler


class Bounds(nn.Module, ABC):
    """Interval of a parameter, in the parameter's own unit."""

    @abstractmethod
    def forward(self, raw: Tensor, scaler: Scaler) -> Tensor:
        """Parameter values from network output, elementwise."""


class NoBounds(Bounds):
    """Any real value: the scaler alone decides."""

    def forward(self, raw: Tensor, scaler: Scaler) -> Tensor:
        """Scaled output."""
        return scaler(raw)


class _Interval(Bounds):
    """Bounds with two edges, lower < upper."""

    def __init__(self, lower: float, upper: float) -> None:
        super().__init__()
        if not (_is_number(lower) and _is_number(upper)):
            raise InputError(f"{type(self).__name__} needs two numbers; got {lower!r} and {upper!r}.")
        if not lower < upper:
            raise InputError(f"{type(self).__name__} needs lower < upper; got {lower} and {upper}.")
        self.lower, self.upper = float(lower), float(upper)
        self._check()

    def _check(self) -> None:
        """Refuse edges that the map cannot have; any, unless a map says so."""

    def extra_repr(self) -> str:
        return f"{self.lower}, {self.upper}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class SigmoidBounds(_Interval):
    r"""Smooth map onto an open interval, :math:`l + (u - l) / (1 + e^{-raw})`.

    The edges set the unit, so the parameter's scaler has no part in it.

    Arguments:
        lower: Edge :math:`l`, in the parameter's unit.
        upper: Edge :math:`u`, in the parameter's unit.
    """

    def _check(self) -> None:
        check_finite("the bounds of SigmoidBounds", (self.lower, self.upper))

    def forward(self, raw: Tensor, scaler: Scaler) -> Tensor:  # noqa: ARG002
        """Values inside the interval."""
        return self.lower + (self.upper - self.lower) * raw.sigmoid()


class ClippedBounds(_Interval):
    """Scaled output, cut to an interval; there is no gradient outside it.

    Arguments:
        lower: Lower edge, in the parameter's unit.
        upper: Upper edge, in the parameter's unit.
    """

    def forward(self, raw: Tensor, scaler: Scaler) -> Tensor:
        """Values inside the interval, edges included."""
        return torch.clamp(scaler(raw), self.lower, self.upper)
