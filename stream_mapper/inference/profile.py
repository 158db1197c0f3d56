"""Functions of the place along a stream, with their quantiles over the draws of a fit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.inference.draws import Draw, drawn_params, quantiles, with_quantiles
from stream_mapper.inference.ensemble import Fits, mean_over
from stream_mapper.models.base import Params
from stream_mapper.models.mixture import BACKGROUND, MixtureModel

Columns = dict[str, Tensor]
Functions = Callable[[Params, str, int | None], Columns]
"""From the parameters (G,), a component and the number of the draw, None for the fit's own, to columns (G,) by name."""


def profiles(
    model: MixtureModel,
    at: Tensor,
    functions: Functions,
    draw: Draw | None,
    draws: int,
    fits: Fits,
) -> dict[str, Columns]:
    """Functions of the parameters of each component at each place.

    Arguments:
        model: The fitted mixture.
        at: Places, shape (G,).
        functions: What is wanted of each component.
        draw: Draws of the parameter functions; without it the quantiles are NaN.
        draws: Number of draws.
        fits: The fits of an ensemble; their mean is given.

    Returns:
        By component, the columns, each followed by its quantiles ``_05`` to ``_95``, on the CPU.
    """
    grid, names = places(model, at), streams(model)

    def of_all(params: Params, index: int | None = None) -> Tensor:
        """The columns of all components, one after the other, (C, G)."""
        return torch.stack([value for q in names for value in functions(params, q, index).values()])

    columns = {q: list(functions(model(grid), q, None)) for q in names}
    best, spread = mean_over(fits, model, lambda: of_all(model(grid))), None
    if draw is not None:
        each = drawn_params(model, draw, range(draws), grid)
        drawn = [of_all({name: values[i] for name, values in each.items()}, i) for i in range(draws)]
        spread = quantiles(torch.stack(drawn))
    out, start = {}, 0
    for q, named in columns.items():
        rows = slice(start, start + len(named))
        out[q] = _with_quantiles(dict(zip(named, best[rows], strict=True)), None if spread is None else spread[:, rows])
        start = rows.stop
    return out


def places(model: MixtureModel, at: Tensor) -> Data:
    """Places as data of the model's independent coordinate, where the model is."""
    return Data({model.indep_coord_names[0]: at.to(next(model.parameters()).device)})


def streams(model: MixtureModel) -> list[str]:
    """Every component but the background."""
    return [q for q in model.components if q != BACKGROUND]


def _with_quantiles(best: Columns, spread: Tensor | None) -> Columns:
    """The columns with their quantiles, of which ``spread`` (5, C, G) has the values."""
    out: Columns = {}
    for i, (name, values) in enumerate(best.items()):
        out |= with_quantiles(name, values, None if spread is None else spread[:, i])
    return {name: values.cpu() for name, values in out.items()}
