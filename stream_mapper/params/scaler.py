"""Maps from a network's output of order one to the unit of a parameter."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Self

from torch import Tensor, nn

from stream_mapper.errors import InputError
from stream_mapper.utils import StandardScaler


class Scaler(nn.Module, ABC):
    """Unit of a parameter."""

    @abstractmethod
    def forward(self, raw: Tensor) -> Tensor:
        """Parameter values, unbounded, from network output."""


class Identity(Scaler):
    """The network's output is the parameter."""

    def forward(self, raw: Tensor) -> Tensor:
        """The output itself."""
        return raw


class _Scaled(Scaler):
    """A scaler with a positive scale."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        if not scale > 0:
            raise InputError(f"{type(self).__name__} needs scale > 0; got {scale}.")
        self.scale = float(scale)

    @classmethod
    def from_data_scaler(cls, scaler: StandardScaler, name: str) -> Self:
        """A scaler with the standard deviation of column ``name`` as the scale."""
        return cls(scaler[(name,)].scale.item())


class StandardLocation(_Scaled):
    """A location: mean + scale x output.

    Arguments:
        mean: Location of a zero output, in the coordinate's unit.
        scale: Size of a unit output, in the coordinate's unit.
    """

    def __init__(self, mean: float, scale: float) -> None:
        super().__init__(scale)
        self.mean = float(mean)

    @classmethod
    def from_data_scaler(cls, scaler: StandardScaler, name: str) -> Self:
        """A scaler with the mean and standard deviation of column ``name``."""
        column = scaler[(name,)]
        return cls(column.mean.item(), column.scale.item())

    def forward(self, raw: Tensor) -> Tensor:
        """Locations."""
        return self.mean + self.scale * raw


class StandardWidth(_Scaled):
    """A width: scale x output (bound it from below).

    Arguments:
        scale: Size of a unit output, in the coordinate's unit.
    """

    def forward(self, raw: Tensor) -> Tensor:
        """Widths."""
        return self.scale * raw


class StandardLnWidth(Scaler):
    """The logarithm of a width: ln_scale + output.

        >>> StandardLnWidth(-1.2)(torch.tensor([0.0, 0.5]))
        tensor([-1.2000, -0.7000])

    Arguments:
        ln_scale: Natural logarithm of the width of a zero output, the width in the coordinate's unit; of any sign.

    Raises:
        InputError: If it is not a finite number.
    """

    def __init__(self, ln_scale: float) -> None:
        super().__init__()
        if not math.isfinite(ln_scale):
            raise InputError(f"StandardLnWidth needs a finite ln_scale; got {ln_scale}.")
        self.ln_scale = float(ln_scale)

    @classmethod
    def from_data_scaler(cls, scaler: StandardScaler, name: str) -> Self:
        """A scaler with the logarithm of the standard deviation of column ``name`` as the ln-scale."""
        return cls(math.log(scaler[(name,)].scale.item()))

    def forward(self, raw: Tensor) -> Tensor:
        """Natural logarithms of widths."""
        return self.ln_scale + raw
