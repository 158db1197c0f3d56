"""The linear density of each component of a stream along phi1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.inference.draws import Draw
from stream_mapper.inference.ensemble import Fits, alone
from stream_mapper.inference.profile import Columns, profiles
from stream_mapper.models.base import Params
from stream_mapper.models.mixture import MixtureModel

GRID = 256
"""Places at which a run's track and density are tabulated."""

_REACH = 8.0  # of the kernel, in its widths
_AT_ONCE = 100_000  # stars


def grid_over(positions: Tensor, size: int = GRID) -> Tensor:
    """Evenly spaced places over the range of the stars, shape (size,)."""
    return torch.linspace(positions.min().item(), positions.max().item(), size)


@torch.no_grad()
def density(
    model: MixtureModel,
    at: Tensor,
    total: Tensor,
    draw: Draw | None = None,
    draws: int = 200,
    fits: Fits = alone,
) -> dict[str, Columns]:
    """Weight and linear density of each component at each place.

    The density is n_q = f_q n_tot. The quantiles are those of the weight: the noise of n_tot is not in them.

    Arguments:
        model: The fitted mixture.
        at: Places, in the unit of the model's independent coordinate, shape (G,).
        total: Density n_tot of all stars at the places, (G,), per unit of the coordinate; see :func:`smooth_density`.
            With a footprint, of those that were not seen, too.
        draw: Draws of the parameter functions; without it the quantiles are NaN.
        draws: Number of draws.
        fits: The fits of an ensemble; their mean is given.

    Returns:
        Columns (G,) by name, of each component: ``weight``, ``density``, each followed by its quantiles ``_05`` to
        ``_95``, and ``total_density``.
    """

    def functions(params: Params, q: str) -> Columns:
        weight = params[f"{q}.ln-weight"].exp().cpu()
        return {"weight": weight, "density": weight * total}

    by_component = profiles(model, at, functions, draw, draws, fits)
    return {q: {**columns, "total_density": total} for q, columns in by_component.items()}


def smooth_density(at: Tensor, positions: Tensor, counts: Tensor | None = None) -> Tensor:
    """Number of stars per unit of position, by a Gaussian kernel reflected at both ends, shape of ``at``.

    The kernel's width is a hundredth of the stars' range.

    Arguments:
        at: Places, (G,).
        positions: Those of the stars, (N,).
        counts: How many stars each counts for, (N,); one by default. See :func:`stars_behind`.
    """
    low, high = positions.min(), positions.max()
    width = (high - low).clamp(min=1e-6) / 100
    mirrored, order = torch.cat([positions, 2 * low - positions, 2 * high - positions]).sort()
    size = torch.ones_like(mirrored) if counts is None else counts.to(mirrored).repeat(3)[order]
    first, last = (torch.searchsorted(mirrored, (at + side * _REACH * width).to(mirrored)) for side in (-1, 1))
    near = [slice(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    kernels = [
        (size[rows] * (-0.5 * ((x - mirrored[rows]) / width).square()).exp()).sum()
        for x, rows in zip(at, near, strict=True)
    ]
    return torch.stack(kernels) / (width * math.sqrt(2 * math.pi))


@torch.no_grad()
def stars_behind(model: MixtureModel, stars: Data) -> Tensor | None:
    """How many stars there are for each that was seen, by the model at its place, (N,); None without a footprint.

    It is one over the probability of what was seen there, so that a density along the stream is that of all stars.
    """
    if not model.has_footprint:
        return None
    device = next(model.parameters()).device
    parts = [part.to(device) for part in stars.split(_AT_ONCE)]
    return torch.cat([(-model.ln_seen(model(part), part)).exp().cpu() for part in parts])
