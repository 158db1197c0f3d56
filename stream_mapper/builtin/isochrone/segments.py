"""Density of magnitudes along a piecewise linear isochrone, in closed form."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from stream_mapper.builtin.isochrone.whitening import Noise, whiten
from stream_mapper.distributions._stable import ln_normal_mean

_SMALLEST_LENGTH2 = 1e-20


def ln_isochrone(
    magnitudes: Tensor,
    errors: Tensor,
    where: Tensor,
    distmod: Tensor,
    ln_spread: Tensor,
    applies: Tensor,
    nodes: Tensor,
    ln_weights: Tensor,
    scatter: Tensor | float = 0.0,
    tilts: Tensor | None = None,
    correlation: Tensor | None = None,
) -> Tensor:
    r"""Log density of the magnitudes of stars drawn from an isochrone at a distance.

    .. math:: p(m) = \sum_k w_k \int_0^1 dt \, [1 + 2 c_k (t - \tfrac{1}{2})] \,
        N(m \mid I_k + t d_k + \mu a, \; V + \sigma_\mu^2 a a^T), \quad
        V_{fg} = \rho_{fg} s_f s_g + \delta_{fg} \epsilon_f^2

    The spread of the modulus moves all bands together. The inverse square root of the covariance whitens a star's
    residuals (see `whiten`; no matrix is inverted),
    after which a segment of whitened length :math:`\ell` whose middle lies x along and q across from the star gives
    :math:`e^{-q^2/2}` times the mean normal density over :math:`x \pm \ell/2`, tilted by c (`ln_normal_mean`).
    Nothing is subtracted that could cancel: q is a cross product, and a segment far shorter than the errors is no
    special case.

    A band that was not measured drops out exactly; a star with none has ln p = 0.

    Arguments:
        magnitudes: Apparent magnitudes m, shape (N, F); any finite number where not measured.
        errors: Their standard errors s, shape (N, F), in mag.
        where: Whether each was measured, shape (N, F).
        distmod: Distance modulus mu of each star's place, shape (N,), in mag.
        ln_spread: ln of the spread of the modulus, ln(sigma_mu / mag), shape (N,).
        applies: How the modulus enters a column: 1 for a magnitude, 0 for a colour, shape (F,).
        nodes: Absolute magnitudes I of the nodes, shape (K+1, F).
        ln_weights: ln of the weight of each segment, shape (K,); the weights sum to one.
        scatter: Intrinsic scatter epsilon around the curve, scalar, shape (F,), or (K, F) by segment, in mag.
        tilts: Tilt c of the density of stars on each segment, shape (K,); flat by default.
        correlation: Correlations rho of the errors, shape (N, F, F), the diagonal unread; none by default.

    Returns:
        Nats, shape (N,).
    """
    star = whiten(Noise(errors, where, ln_spread, applies, scatter, correlation))
    middles, steps = 0.5 * (nodes[1:] + nodes[:-1]), nodes.diff(dim=0)
    residual = magnitudes - distmod[:, None] * applies
    from_middle = _mapped(star.matrix, [residual[:, f, None] - middles[:, f] for f in range(nodes.shape[1])])
    along = _mapped(star.matrix, list(steps.unbind(-1)))
    ln_p = torch.logsumexp(_ln_segment(from_middle, along, tilts) + (ln_weights + star.ln_norm), dim=-1)
    return torch.where(where.any(-1), ln_p, 0)


def _mapped(matrix: Tensor, vectors: list[Tensor]) -> list[Tensor]:
    """Whitened components of vectors, given as one tensor per band, each (K,) or (N, K); to (N, K)."""
    rows = []
    for f in range(len(vectors)):
        row = matrix[:, :, f, 0] * vectors[0]
        for g in range(1, len(vectors)):
            row = torch.addcmul(row, matrix[:, :, f, g], vectors[g])
        rows.append(row)
    return rows


def _ln_segment(from_middle: list[Tensor], along: list[Tensor], tilt: Tensor | None) -> Tensor:
    """Log of the mean over a segment of exp(-|y|^2 / 2) / sqrt(2 pi), shape (N, K)."""
    length = _dot(along, along).clamp(min=_SMALLEST_LENGTH2).sqrt()
    inverse = 1 / length
    ln_mean = ln_normal_mean(_dot(from_middle, along) * inverse, length, tilt)
    for i, j in combinations(range(len(along)), 2):
        across = torch.addcmul(from_middle[i] * along[j], from_middle[j], along[i], value=-1) * inverse
        ln_mean = torch.addcmul(ln_mean, across, across, value=-0.5)
    return ln_mean


def _dot(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Scalar product, from one tensor per component."""
    total = a[0] * b[0]
    for left, right in zip(a[1:], b[1:], strict=True):
        total = torch.addcmul(total, left, right)
    return total
