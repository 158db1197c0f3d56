"""Magnitudes drawn from an isochrone."""

from __future__ import annotations

import torch
from torch import Tensor

from stream_mapper.builtin.isochrone.population import Population
from stream_mapper.builtin.isochrone.segments import of_pairs
from stream_mapper.builtin.isochrone.whitening import Noise
from stream_mapper.distributions._cholesky import cholesky


def draw_magnitudes(distmod: Tensor, noise: Noise, population: Population) -> Tensor:
    """One star of the isochrone for each place, with its scatter, depth and errors: what `ln_isochrone` is of.

    Arguments:
        distmod: Distance modulus of each star's place, shape (N,), in mag.
        noise: Errors, their correlations and the spread of the modulus.
        population: The isochrone's segments.

    Returns:
        Apparent magnitudes, shape (N, F), random by torch's global generator.
    """
    segment = _drawn_segment(population.ln_weights.exp().cumsum(-1), torch.rand_like(distmod))
    u = torch.rand_like(distmod)
    rows = torch.arange(len(distmod), device=distmod.device)
    tilt = of_pairs(population.tilts, rows, segment, 2)
    t = 2 * u / (1 - tilt + ((1 - tilt).square() + 4 * tilt * u).sqrt())
    start, end = (of_pairs(population.nodes, rows, which, 3) for which in (segment, segment + 1))
    absolute = start + t[:, None] * (end - start)
    modulus = distmod + noise.ln_spread.exp() * torch.randn_like(distmod)
    scatter = population.scatter if population.scatter.ndim == 1 else population.scatter[segment]
    spread = scatter * torch.randn_like(absolute) + noise.errors * _correlated(torch.randn_like(absolute), noise)
    return absolute + modulus[:, None] * noise.applies + spread


def _drawn_segment(shares: Tensor, u: Tensor) -> Tensor:
    """Segments at some shares u (N,) of all stars; ``shares`` up to the end of each are (K,) or (N, K)."""
    inner, at = shares[..., :-1] / shares[..., -1:], u.to(shares)
    if shares.ndim == 1:
        return torch.searchsorted(inner.contiguous(), at, right=True)
    return torch.searchsorted(inner.contiguous(), at[:, None], right=True)[:, 0]


def _correlated(normal: Tensor, noise: Noise) -> Tensor:
    """Standard normal numbers (N, F) with the correlations of the errors."""
    correlation = noise.correlation
    if correlation is None:
        return normal
    bands = range(normal.shape[-1])
    one = torch.ones_like(normal[:, 0])
    lower = cholesky([[correlation[:, f, g] if f != g else one for g in range(f + 1)] for f in bands])
    return torch.stack([sum(row[g] * normal[:, g] for g in range(len(row))) for row in lower], -1)  # type: ignore[misc]
