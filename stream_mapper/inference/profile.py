"""Functions of the place along a stream, with their quantiles over the draws of a fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.inference.draws import Draw, over_draws, quantiles, with_quantiles
from stream_mapper.inference.ensemble import Fits, mean_over
from stream_mapper.models.base import Params
from stream_mapper.models.mixture import BACKGROUND, MixtureModel

Columns = dict[str, Tensor]


def profiles(
    model: MixtureModel,
    at: Tensor,
    functions: Callable[[Params, str], Columns],
    draw: Draw | None,
    draws: int,
    fits: Fits,
) -> dict[str, Columns]:
    """Functions of the parameters of each component at each place.

    Arguments:
        model: The fitted mixture.
        at: Places, shape (G,).
        functions: From the parameters (G,) and a component to columns (G,) by name.
        draw: Draws of the parameter functions; without it the quantiles are NaN.
        draws: Number of draws.
        fits: The fits of an ensemble; their mean is given.

    Returns:
        By component, the columns, each followed by its quantiles ``_05`` to ``_95``, on the CPU.
    """
    grid, out = places(model, at), {}
    for q in streams(model):
        values = partial(_stacked, model, grid, functions, q)
        best = dict(zip(functions(model(grid), q), mean_over(fits, model, values), strict=True))
        spread = None if draw is None else quantiles(over_draws(model, draw, draws, values))
        out[q] = _with_quantiles(best, spread)
    return out


def places(model: MixtureModel, at: Tensor) -> Data:
    """Places as data of the model's independent coordinate, where the model is."""
    return Data({model.indep_coord_names[0]: at.to(next(model.parameters()).device)})


def streams(model: MixtureModel) -> list[str]:
    """Every component but the background."""
    return [q for q in model.components if q != BACKGROUND]


def _stacked(model: MixtureModel, grid: Data, functions: Callable[[Params, str], Columns], q: str) -> Tensor:
    """The columns of one component, (C, G)."""
    return torch.stack(list(functions(model(grid), q).values()))


def _with_quantiles(best: Columns, spread: Tensor | None) -> Columns:
    """The columns with their quantiles, of which ``spread`` (5, C, G) has the values."""
    out: Columns = {}
    for i, (name, values) in enumerate(best.items()):
        out |= with_quantiles(name, values, None if spread is None else spread[:, i])
    return {name: values.cpu() for name, values in out.items()}
