"""How far the draws of a fit reach: parameters as wide as their posterior."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.inference.draws import Draw, drawn_params
from stream_mapper.models.base import ParametricModel, Params
from stream_mapper.models.mixture import MixtureModel

Reach = Callable[[Data], Params]
"""From stars to parameters at them."""

REACHED = 1e-6
"""Membership by these parameters below which no draw has one that matters."""

_NODES = 1024
_LARGER = 2.0  # times the variance between the draws: their law has wider tails than a normal one


def reach_of(model: MixtureModel, draw: Draw, draws: int) -> Reach:
    """Parameters that make about as likely, wherever a star is, what some of the draws make likely.

    The variance of a coordinate is the mean over the draws, and twice the variance of its centre between them; a weight
    is the mean. A star of which these parameters say that it is no member is none by any draw. They depend on the place
    of a star alone, whatever stars it is among.

    Arguments:
        model: The fitted mixture.
        draw: Draws of the parameter functions.
        draws: Number of draws.
    """
    names, ends = model.indep_coord_names, _ends(model)
    if len(names) != 1 or ends is None:
        return lambda chunk: _widened(model, chunk, draw, draws)
    low, high = ends
    unit = torch.linspace(0, 1, _NODES, device=low.device, dtype=low.dtype)
    at_nodes = _widened(model, Data({names[0]: torch.lerp(low, high, unit)}), draw, draws)

    def nearest(chunk: Data) -> Params:
        place = (chunk[names[0]] - low) / (high - low).clamp(min=1e-9)
        rows = (place.nan_to_num(0.0).clamp(0, 1) * (_NODES - 1)).round().long()
        return {name: column[rows] for name, column in at_nodes.items()}

    return nearest


def _ends(model: MixtureModel) -> Tensor | None:
    """First and last place of the functions that draws are of, (2,); None of draws of another kind."""
    parts = [part for part in model.parts() if isinstance(part, ParametricModel) and part.correction is not None]
    return next((part.correction.ends for part in parts if part.correction and part.correction.is_set), None)


def _widened(model: MixtureModel, places: Data, draw: Draw, draws: int) -> Params:
    """The parameters at places, as wide as their posterior."""
    stacked = drawn_params(model, draw, range(draws), places)
    return {name: _wide(name, values, stacked) for name, values in stacked.items()}


def _wide(name: str, values: Tensor, all_values: Params) -> Tensor:
    if name.endswith("ln-weight"):
        return values.logsumexp(0) - math.log(len(values))
    centre = all_values.get(f"{name.removesuffix('ln-sigma')}mu") if name.endswith("ln-sigma") else None
    if centre is None:
        return values.mean(0)
    return 0.5 * ((2 * values).exp().mean(0) + _LARGER * centre.var(0, correction=0)).log()
