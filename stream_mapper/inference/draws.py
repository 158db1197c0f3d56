"""Draws of a fitted model's parameter functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, vmap

from stream_mapper.data import Data
from stream_mapper.models.base import Model, Params
from stream_mapper.nn import GridFunction
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


class FunctionDraws:
    """Draws that add functions to the outputs of a model's networks and change nothing else.

    Arguments:
        draw: The draws.
        fits: Fits of an ensemble that they are of, in turn.
    """

    def __init__(self, draw: Draw, fits: int = 1) -> None:
        self._draw, self.fits = draw, fits

    def __call__(self, model: Model, index: int) -> AbstractContextManager[None]:
        """Inside, the model has draw number ``index``."""
        return self._draw(model, index)


def drawn_params(model: Model, draw: Draw, indices: Iterable[int], stars: Data) -> Params:
    """The parameters at N stars under each of D draws, (D, N) by name.

    The networks are evaluated once for all draws that do no more than add functions to their outputs.
    """
    indices = list(indices)
    if not isinstance(draw, FunctionDraws):
        return _one_by_one(model, draw, indices, stars)
    places = [[i for i, index in enumerate(indices) if index % draw.fits == fit] for fit in range(draw.fits)]
    each = [_of_fit(model, draw, [indices[i] for i in some], stars) for some in places if some]
    order = torch.tensor([i for some in places for i in some], device=stars.device).argsort()
    return each[0] if len(each) == 1 else {name: torch.cat([p[name] for p in each])[order] for name in each[0]}


def _one_by_one(model: Model, draw: Draw, indices: Sequence[int], stars: Data) -> Params:
    each = over_draws(model, draw, indices, lambda _: model(stars))
    return {name: torch.stack([params[name].expand(len(stars)) for params in each]) for name in each[0]}


def _of_fit(model: Model, draw: Draw, indices: Sequence[int], stars: Data) -> Params:
    """The parameters (D, N) under draws of one fit."""
    functions = {f"{path}.values": part for path, part in model.named_modules() if isinstance(part, GridFunction)}
    added = over_draws(model, draw, indices, lambda _: {name: part.values for name, part in functions.items()})
    with draw(model, indices[0]):
        params = _at_once(model, added, stars)
    return _one_by_one(model, draw, indices, stars) if params is None else params


def _at_once(model: Model, added: Sequence[dict[str, Tensor]], stars: Data) -> Params | None:
    """The parameters (D, N) with D functions added to the networks; None if the model cannot tell them together."""
    stacked = {name: torch.stack([one[name] for one in added]) for name in added[0]}
    try:
        params: Params = vmap(lambda values: functional_call(model, values, (stars,)))(stacked)
    except RuntimeError as error:  # a hook or a network asks for the value of a parameter, as an `if` does
        if not str(error).startswith("vmap"):
            raise
        return None
    return {name: values.expand(len(added), len(stars)) for name, values in params.items()}


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
