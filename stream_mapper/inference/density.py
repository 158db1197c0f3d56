"""The linear density of each component of a stream along phi1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stream_mapper.inference.draws import Draw
from stream_mapper.inference.ensemble import Fits, alone
from stream_mapper.inference.profile import Columns, profiles
from stream_mapper.models.base import Params
from stream_mapper.models.mixture import MixtureModel

GRID = 256
"""Places at which a run's track and density are tabulated."""

_REACH = 8.0  # of the kernel, in its widths


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
        draw: Draws of the parameter functions; without it the quantiles are NaN.
        draws: Number of draws.
        fits: The fits of an ensemble; their mean is given.

    Returns:
        Columns (G,) by name, of each component: ``weight, weight_05, weight_95, density, density_05, density_95``
        and ``total_density``.
    """

    def functions(params: Params, q: str) -> Columns:
        weight = params[f"{q}.ln-weight"].exp().cpu()
        return {"weight": weight, "density": weight * total}

    by_component = profiles(model, at, functions, draw, draws, fits)
    return {q: {**columns, "total_density": total} for q, columns in by_component.items()}


def smooth_density(at: Tensor, positions: Tensor) -> Tensor:
    """Number of stars per unit of position, by a Gaussian kernel reflected at both ends, shape of ``at``.

    The kernel's width is a hundredth of the stars' range.
    """
    low, high = positions.min(), positions.max()
    width = (high - low).clamp(min=1e-6) / 100
    mirrored = torch.cat([positions, 2 * low - positions, 2 * high - positions]).sort().values
    first, last = (torch.searchsorted(mirrored, (at + side * _REACH * width).to(mirrored)) for side in (-1, 1))
    near = (mirrored[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True))
    kernels = [(-0.5 * ((x - neighbours) / width).square()).exp().sum() for x, neighbours in zip(at, near, strict=True)]
    return torch.stack(kernels) / (width * math.sqrt(2 * math.pi))
