"""The track of each component of a stream along phi1."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.inference.draws import Draw
from stream_mapper.inference.ensemble import Fits, alone, mean_over
from stream_mapper.inference.profile import Columns, places, profiles, streams
from stream_mapper.models.base import Params, scope
from stream_mapper.models.mixture import MixtureModel

_FEWEST = 1.0  # stars expected of a component where it is there
SHARE = 1 / 20
"""Share of the range of the stars in which these are expected."""


@torch.no_grad()
def track(
    model: MixtureModel,
    at: Tensor,
    draw: Draw | None = None,
    draws: int = 200,
    fits: Fits = alone,
    nearby: Tensor | None = None,
) -> dict[str, Columns]:
    """Centre and intrinsic width of each component in each coordinate at each place.

    Arguments:
        model: The fitted mixture.
        at: Places, in the unit of the model's independent coordinate, shape (G,).
        draw: Draws of the parameter functions; without it the quantiles are NaN.
        draws: Number of draws.
        fits: The fits of an ensemble; their mean is given.
        nearby: Number of all stars about each place, in a twentieth of their range, (G,); None if it is not known.

    Returns:
        Columns (G,) by name, of each component: ``weight``, ``supported`` (see :func:`supported`; the track means
        nothing elsewhere), and for every coordinate c, the distance included, ``c`` and ``c_sigma``, each followed by
        its quantiles: ``c, c_05, c_16, c_50, c_84, c_95, c_sigma, c_sigma_05`` to ``c_sigma_95``.
    """
    curves = profiles(model, at, lambda params, q, _: _curves(scope(params, q)), draw, draws, fits)
    grid = places(model, at)
    out = {}
    for q in streams(model):
        weight = mean_over(fits, model, partial(_weight, model, grid, q)).cpu()
        out[q] = {"weight": weight, "supported": supported(weight, nearby), **curves[q]}
    return out


def supported(weight: Tensor, nearby: Tensor | None = None) -> Tensor:
    """Where a component is there at all: where one star of it or more is expected among those nearby, (G,).

        >>> supported(torch.tensor([0.2, 0.01, 0.0]), nearby=torch.tensor([50.0, 50.0, 50.0]))
        tensor([ True, False, False])

    Arguments:
        weight: Weight of the component, (G,).
        nearby: Number of all stars about each place, (G,); where it is not known, any weight will do.
    """
    return weight > 0 if nearby is None else weight * nearby >= _FEWEST


def _weight(model: MixtureModel, grid: Data, component: str) -> Tensor:
    return model(grid)[f"{component}.ln-weight"].exp()


def _curves(params: Params) -> Columns:
    """Centre and width of every coordinate, and of the distance where there is a modulus."""
    out: Columns = {}
    for name, mu in params.items():
        if name.endswith(".mu"):
            stem = name.removesuffix(".mu")
            short = stem.split(".")[-1]
            coord = stem if short in out else short  # a nested mixture has a coordinate more than once
            out[coord], out[f"{coord}_sigma"] = mu, params[f"{stem}.ln-sigma"].exp()
    if "distmod" in out:
        out["distance"] = 10 ** (out["distmod"] / 5 - 2)
        out["distance_sigma"] = out["distance"] * math.log(10) / 5 * out["distmod_sigma"]
    return out
