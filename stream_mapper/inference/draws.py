"""Draws of a fitted model's parameter functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stream_mapper.models.base import Model

Draw = Callable[[Model, int], AbstractContextManager[None]]
Array = NDArray[np.float64]

QUANTILES = (0.05, 0.5, 0.95)


def over_draws(model: Model, draw: Draw, count: int, function: Callable[[], Tensor]) -> Tensor:
    """``function()`` under each of ``count`` draws of the model, stacked on a first axis."""

    def values() -> Iterator[Tensor]:
        for index in range(count):
            with draw(model, index):
                yield function()

    return torch.stack(list(values()))


def quantiles(values: Tensor) -> Tensor:
    """The 5, 50 and 95 % quantiles over the first axis, shape (3, ...)."""
    return values.quantile(torch.tensor(QUANTILES, device=values.device, dtype=values.dtype), dim=0)
