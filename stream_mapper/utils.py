"""Standardisation of the columns that networks and flows see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.errors import InputError, check_finite


class StandardScaler(nn.Module):
    """Shift and scale of named columns to zero mean and unit variance.

    A scaler without numbers is fitted on the training stars when a fit starts; its numbers are buffers, as is
    whether they are known, and travel with the checkpoint.

        >>> scaler = StandardScaler.fit(Data({"phi1": torch.tensor([1.0, 3.0]), "g": torch.tensor([20.0, 22.0])}))
        >>> scaler[("phi1",)].transform(torch.tensor([[3.0]]))
        tensor([[1.]])

    Arguments:
        names: Columns, F of them.
        mean: Mean of each column, in its unit.
        scale: Standard deviation of each column, in its unit, positive.

    Raises:
        InputError: If only one of mean and scale is given, or a number is missing or not positive.
    """

    mean: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor
    is_fitted: Tensor

    def __init__(
        self, names: Sequence[str], mean: Sequence[float] | None = None, scale: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        size = len(self.names)
        given = mean is not None and scale is not None
        if (mean is None) != (scale is None) or (given and not len(mean or ()) == len(scale or ()) == size):
            raise InputError(f"StandardScaler of {self.names} needs {size} means and {size} scales, or neither.")
        check_finite(f"means and scales of the StandardScaler of {self.names}", [*(mean or ()), *(scale or ())])
        if any(s <= 0 for s in scale or ()):
            raise InputError(f"StandardScaler of {self.names}: scales must be positive; got {list(scale or ())}.")
        self.register_buffer("mean", torch.tensor(mean) if mean is not None else torch.zeros(size))
        self.register_buffer("scale", torch.tensor(scale) if scale is not None else torch.ones(size))
        self.register_buffer("low", torch.full((size,), -torch.inf))
        self.register_buffer("high", torch.full((size,), torch.inf))
        self.register_buffer("is_fitted", torch.tensor(given))

    @property
    def fitted(self) -> bool:
        """Whether the numbers are known. A GPU is waited for: not a question for every step."""
        return bool(self.is_fitted)

    @classmethod
    def fit(cls, data: Data, names: Sequence[str] | None = None) -> Self:
        """A scaler of the measured values of these columns (default: all)."""
        return cls(names or data.names).fit_(data)

    def fit_(self, data: Data) -> Self:
        """Set the numbers from the measured values of ``data``."""
        for i, name in enumerate(self.names):
            values = data[name][data.where[name]].double()
            if len(values) == 0:
                raise InputError(f"column {name!r} has no measured value to fit its scale on.")
            spread = values.std(correction=0)
            self.mean[i], self.scale[i] = values.mean(), spread if spread > 0 else 1.0
            self.low[i], self.high[i] = values.min(), values.max()
        self.is_fitted.fill_(True)
        return self

    def __getitem__(self, names: Sequence[str]) -> StandardScaler:
        """The scaler of some of the columns, in the order asked."""
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise InputError(f"the scaler has no column {unknown}; it has {list(self.names)}.")
        rows = [self.names.index(name) for name in names]
        chosen = StandardScaler(names)
        for buffer in ("mean", "scale", "low", "high"):
            getattr(chosen, buffer).copy_(getattr(self, buffer)[rows])
        chosen.is_fitted.copy_(self.is_fitted)
        return chosen

    def transform(self, values: Tensor) -> Tensor:
        """Standardised values in the scaler's own precision; (..., F) in, (..., F) out."""
        return ((values - self.mean) / self.scale).to(self.mean.dtype)

    def inverse(self, scaled: Tensor) -> Tensor:
        """Values in their own units; (..., F) in, (..., F) out."""
        return self.mean + self.scale * scaled


def without_dots(name: str) -> str:
    """A dotted name as a key that torch's containers take.

    >>> without_dots("background.flow"), without_dots("")
    ('background/flow', '/')
    """
    return name.replace(".", "/") or "/"


def with_dots(key: str) -> str:
    """The dotted name of a key; see :func:`without_dots`."""
    return "" if key == "/" else key.replace("/", ".")


def significant(x: float, digits: int) -> float:
    """A number of some significant digits, as a person would write it.

    >>> significant(123456.0, 4)
    123500.0
    """
    return float(f"{x:.{digits}g}")


def floats(column: Any) -> NDArray[np.float64]:
    """A column, or a tensor, as plain numbers, NaN where it is masked.

    >>> floats(np.ma.masked_equal([1, 2], 2)).tolist()
    [1.0, nan]
    """
    return np.asarray(np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan))
