"""Inverse square roots of the covariances of stars' magnitudes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stream_mapper.distributions._cholesky import Lower, cholesky, inverse_of_lower
from stream_mapper.distributions._stable import HALF_LN_2PI

_SMALLEST_VARIANCE = 1e-12  # mag^2: an error of zero would make the density infinite


class Noise(NamedTuple):
    """What scatters measured magnitudes about the isochrone at a star's distance.

    Arguments:
        errors: Standard errors s, shape (N, F), in mag.
        where: Whether each was measured, shape (N, F).
        ln_spread: ln of the spread of the modulus, ln(sigma_mu / mag), shape (N,).
        applies: How the modulus enters a column: 1 for a magnitude, 0 for a colour, shape (F,).
        scatter: Intrinsic scatter around the curve in mag, scalar, shape (F,), or (K, F) by segment.
        correlation: Correlations of the errors, shape (N, F, F), the diagonal unread; none by default.
    """

    errors: Tensor
    where: Tensor
    ln_spread: Tensor
    applies: Tensor
    scatter: Tensor | float = 0.0
    correlation: Tensor | None = None

    def stars(self, rows: Tensor) -> Noise:
        """The noise of some of the stars."""
        correlation = None if self.correlation is None else self.correlation[rows]
        return self._replace(
            errors=self.errors[rows], where=self.where[rows], ln_spread=self.ln_spread[rows], correlation=correlation
        )

    def bands(self, index: list[int]) -> Noise:
        """The noise in some of the bands."""
        scatter, correlation = self.scatter, self.correlation
        return self._replace(
            errors=bands(self.errors, index),
            where=bands(self.where, index),
            applies=bands(self.applies, index),
            scatter=bands(scatter, index) if isinstance(scatter, Tensor) and scatter.ndim else scatter,
            correlation=None if correlation is None else bands(bands(correlation, index).mT, index).mT,
        )

    def variance(self) -> Tensor:
        """Variance of errors and scatter, (N, 1, F), or (N, K, F) with scatter that varies by segment; 1 if missing."""
        variance = self.errors.square()[:, None] + self.scatter**2
        return torch.where(self.where[:, None], variance, 1).clamp(min=_SMALLEST_VARIANCE)

    def covariance(self, depth: bool = False) -> Lower:
        """Covariance of errors and scatter, and of the depth if asked: its lower half by row, each (N, 1) or (N, K).

        A missing band has none with the others.
        """
        bands = range(self.errors.shape[-1])
        variances = self.variance().unbind(-1)
        shared = [[self._shared(f, g, depth)[:, None] for g in range(f + 1)] for f in bands]
        return [[*shared[f][:f], variances[f] + shared[f][f]] for f in bands]

    def _shared(self, f: int, g: int, depth: bool) -> Tensor:
        shared = torch.zeros_like(self.ln_spread)
        if depth:
            shared = torch.exp(2 * self.ln_spread) * self.applies[f] * self.applies[g]
        if self.correlation is not None and f != g:
            shared = shared + self.correlation[:, f, g] * self.errors[:, f] * self.errors[:, g]
        return torch.where(self.where[:, f] & self.where[:, g], shared, 0)


def bands(values: Tensor, index: list[int]) -> Tensor:
    """Some of the bands, which are the last axis; to index with the list would be to copy it to the device."""
    return torch.stack([values[..., i] for i in index], -1)


class Whitening(NamedTuple):
    """Per star: the inverse square root of the covariance (N, 1, F, F) and the log of the norm (N, 1).

    With a scatter that depends on the segment both have K in place of 1.
    """

    matrix: Tensor
    ln_norm: Tensor


def whiten(noise: Noise) -> Whitening:
    r"""The whitening of each star; ln_norm leaves out one factor 1/sqrt(2 pi), which the segments contain.

    With :math:`V = L L^T` the covariance of errors and scatter and :math:`b = L^{-1} a`,

    .. math:: (V + \sigma_\mu^2 a a^T)^{-1} = W^T W, \quad W = (1 - \kappa b b^T) L^{-1}, \quad
        \kappa = \frac{\sigma_\mu^2}{v + \sqrt{v}}, \; v = 1 + \sigma_\mu^2 |b|^2
    """
    root, ln_det = _root(noise)
    pull = (root * noise.applies).sum(-1)
    spread2 = torch.exp(2 * noise.ln_spread)[:, None]
    inflation = 1 + spread2 * pull.square().sum(-1)
    shared = (spread2 / (inflation + inflation.sqrt()))[..., None] * (root * pull[..., None]).sum(-2)
    matrix = root - pull[..., None] * shared[..., None, :]
    measured = noise.where.sum(-1)[:, None]
    return Whitening(matrix, -0.5 * (ln_det + inflation.log()) - (measured - 1) * HALF_LN_2PI)


def _root(noise: Noise) -> tuple[Tensor, Tensor]:
    """L^-1, with no row or column for a missing band, (N, 1 or K, F, F), and ln det V, (N, 1 or K)."""
    where = noise.where[:, None]
    if noise.correlation is None:
        variance = noise.variance()
        return torch.diag_embed(where * variance.rsqrt()), variance.log().sum(-1)
    lower = cholesky(noise.covariance())
    ln_det = torch.stack([2 * row[-1].log() for row in lower], -1).sum(-1)
    none = torch.zeros_like(lower[0][0])
    rows = [torch.stack([*row, *[none] * (len(lower) - len(row))], -1) for row in inverse_of_lower(lower)]
    return torch.stack(rows, -2) * (where[..., None] & where[..., None, :]), ln_det
