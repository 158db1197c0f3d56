"""The linear density of each component of a stream along phi1."""

from __future__ import annotations

import math

import numpy as np
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

_WIDTH, _NARROWEST, _WIDEST = 0.04, 1 / 400, 1 / 25  # of the kernel, as shares of the range of the stars
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
    totals: Tensor | None = None,
) -> dict[str, Columns]:
    """Weight and linear density of each component at each place.

    The density n_q = f_q n_tot is that which the stars are drawn from, in stars per unit of the coordinate, and not
    the number that happened to be there. A draw of it is a draw of f_q times one of n_tot; given the places of the
    stars, which are all that n_tot is of, the two are independent.

    Arguments:
        model: The fitted mixture.
        at: Places, in the unit of the model's independent coordinate, shape (G,).
        total: Density n_tot of all stars at the places, (G,), per unit of the coordinate; see :func:`smooth_density`.
            With a footprint, of those that were not seen, too.
        draw: Draws of the parameter functions; without it the quantiles are NaN.
        draws: Number of draws.
        fits: The fits of an ensemble; their mean is given.
        totals: Draws of n_tot, (D, G), D at least ``draws``; see :func:`counting_draws`. Without them the quantiles
            are those of f_q alone.

    Returns:
        Columns (G,) by name, of each component: ``weight``, ``density``, each followed by its quantiles ``_05`` to
        ``_95``, and ``total_density``.
    """

    def functions(params: Params, q: str, index: int | None) -> Columns:
        weight = params[f"{q}.ln-weight"].exp().cpu()
        return {"weight": weight, "density": weight * (total if index is None or totals is None else totals[index])}

    by_component = profiles(model, at, functions, draw, draws, fits)
    return {q: {**columns, "total_density": total} for q, columns in by_component.items()}


def kernel_width(count: float, span: float) -> float:
    """Width of the kernel of the density of all stars: 0.04 N^(-1/5) of their range, 1/400 to 1/25 of it.

        >>> round(kernel_width(10_000, 100.0), 2)
        0.63

    Arguments:
        count: Number of stars, N.
        span: Their range.
    """
    share = _WIDTH * max(count, 1.0) ** -0.2
    return max(span, 1e-6) * min(max(share, _NARROWEST), _WIDEST)


def counting_draws(profile: Tensor, at: Tensor, count: int, seed: int = 0) -> Tensor:
    """Draws of the density of all stars at places, (count, G), that differ by the noise of counting.

    Each star has an exponential weight, as in a Bayesian bootstrap, so that between two nodes there is a gamma law of
    the number of stars there; the weights are smoothed as the stars were.

    Arguments:
        profile: Places, density of all stars there and the same with each counted as often as it counts for, (3, M);
            see :func:`stream_mapper.fitted.profile_of`.
        at: Places, (G,).
        count: Number of draws.
        seed: Seed of the draws.
    """
    nodes, density, squared = profile.double().numpy()
    step, rng = nodes[1] - nodes[0], np.random.default_rng(seed)
    each = np.divide(squared, density, out=np.ones_like(density), where=density > 0)
    noise = each * rng.gamma(density * step / each, size=(count, len(nodes))) - density * step
    stars = density.sum() ** 2 / squared.sum() * step  # as many, if all count alike
    width = kernel_width(float(stars), float(nodes[-1] - nodes[0]))
    drawn = np.clip(density + noise @ _reflected(nodes, width), 0, None)
    places = at.double().numpy()
    return torch.from_numpy(np.stack([np.interp(places, nodes, row) for row in drawn])).to(at)


def _reflected(nodes: np.ndarray, width: float) -> np.ndarray:
    """The kernel between nodes, (M, M), reflected at both ends."""
    mirrored = (nodes, 2 * nodes[0] - nodes, 2 * nodes[-1] - nodes)
    off = [(nodes[:, None] - one) / width for one in mirrored]
    return sum(np.exp(-0.5 * u * u) for u in off).T / (width * math.sqrt(2 * math.pi))


def smooth_density(at: Tensor, positions: Tensor, counts: Tensor | None = None) -> Tensor:
    """Number of stars per unit of position, by a Gaussian kernel reflected at both ends, shape of ``at``.

    The kernel is that of :func:`kernel_width`.

    Arguments:
        at: Places, (G,).
        positions: Those of the stars, (N,).
        counts: How many stars each counts for, (N,); one by default. See :func:`stars_behind`.
    """
    low, high = positions.min(), positions.max()
    width = kernel_width(len(positions), (high - low).item())
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
    """How many stars there are for each of the catalogue, by the model at its place, (N,); None for one each.

    It is one over the probability of what was seen there, so that a density along the stream is that of all stars; a
    star that lacks coordinates, which their windows did not judge, counts for less than one.
    """
    if model.weights_are_shares:
        return None
    device = next(model.parameters()).device
    parts = [part.to(device) for part in stars.split(_AT_ONCE)]
    return torch.cat([(-model.ln_seen(model(part), part)).exp().cpu() for part in parts])
