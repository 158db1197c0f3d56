"""Draws of a fitted model's parameter functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.models.base import Model, Params
from stream_mapper.quantiles import QUANTILE_NAMES, QUANTILES

Draw = Callable[[Model, int], AbstractContextManager[None]]
Array = NDArray[np.float64]
Value = TypeVar("Value")


def over_draws(model: Model, draw: Draw, indices: Iterable[int], function: Callable[[int], Value]) -> list[Value]:
    """``function(index)`` under each of some draws of the model."""

    def values() -> Iterator[Value]:
        for index in indices:
            with draw(model, index):
                yield function(index)

    return list(values())


def drawn_params(model: Model, draw: Draw, indices: Iterable[int], stars: Data) -> Params:
    """The parameters at N stars under each of D draws, (D, N) by name."""
    each = over_draws(model, draw, indices, lambda _: model(stars))
    return {name: torch.stack([params[name].expand(len(stars)) for params in each]) for name in each[0]}


def quantiles(values: Tensor) -> Tensor:
    """The 5, 16, 50, 84 and 95 % quantiles over the first axis, shape (5, ...)."""
    return values.quantile(torch.tensor(QUANTILES, device=values.device, dtype=values.dtype), dim=0)


def with_quantiles(name: str, best: Tensor, spread: Tensor | None) -> dict[str, Tensor]:
    """A column and those of its quantiles, ``name``, ``name_05`` to ``name_95``.

    Arguments:
        name: Name of the column.
        best: Its values.
        spread: Their quantiles, with these on the first axis; without them they are NaN.
    """
    spread = torch.full_like(best, torch.nan).expand(len(QUANTILES), *best.shape) if spread is None else spread
    return {name: best} | {f"{name}_{q}": values for q, values in zip(QUANTILE_NAMES, spread, strict=True)}
