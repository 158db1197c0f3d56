"""Density of magnitudes along a piecewise linear isochrone, in closed form."""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from stream_mapper.builtin.isochrone.population import Population
from stream_mapper.builtin.isochrone.whitening import Noise, Whitening, whiten
from stream_mapper.devices import sync_is_cheap
from stream_mapper.distributions._stable import HALF_LN_2PI, ln_normal_mean
from stream_mapper.distributions._tilt import with_slope_in_tilt

_SMALLEST_STEP = 1e-8  # mag, for one of no length has no direction
_SMALLEST_LENGTH2 = 1e-20
_NEGLIGIBLE = {torch.float32: 20.0, torch.float64: 40.0}  # nats below a star's best segment: beneath all rounding
_LN_2 = math.log(2)
_ROUNDINGS = 64  # by which two ways to the same number may differ
_CHUNK = 4096  # stars compared with all segments at once: what a core's cache holds


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

    On a CPU the mean is computed only for the segments that matter to a star, a few in sixty; elsewhere, where to
    choose is to wait for the device, for all.

    A band that was not measured drops out exactly; a star with none has ln p = 0.

    Arguments:
        magnitudes: Apparent magnitudes m, shape (N, F); any finite number where not measured.
        errors: Their standard errors s, shape (N, F), in mag.
        where: Whether each was measured, shape (N, F).
        distmod: Distance modulus mu of each star's place, shape (N,), in mag.
        ln_spread: ln of the spread of the modulus, ln(sigma_mu / mag), shape (N,).
        applies: How the modulus enters a column: 1 for a magnitude, 0 for a colour, shape (F,).
        nodes: Absolute magnitudes I of the nodes, shape (K+1, F), or (N, K+1, F) if each star has its own.
        ln_weights: ln of the weight of each segment, shape (K,) or (N, K); the weights sum to one.
        scatter: Intrinsic scatter epsilon around the curve, scalar, shape (F,), or (K, F) by segment, in mag.
        tilts: Tilt c of the density of stars on each segment, shape (K,) or (N, K); flat by default.
        correlation: Correlations rho of the errors, shape (N, F, F), the diagonal unread; none by default.

    Returns:
        Nats, shape (N,).
    """
    star = whiten(Noise(errors, where, ln_spread, applies, scatter, correlation))
    curve = _curve(nodes, ln_weights, tilts)
    residual = magnitudes - distmod[:, None] * applies
    ln_p = (_ln_near if sync_is_cheap(residual.device) else _ln_all)(residual, star, curve)
    return torch.where(where.any(-1), ln_p, 0)


def ln_draws(magnitudes: Tensor, noise: Noise, distmod: Tensor, ln_spread: Tensor, population: Population) -> Tensor:
    """The density of :func:`ln_isochrone` for each of D moduli and spreads of every star, in nats, (D, N).

    Which segments matter is found once a star, for all its moduli.

    Arguments:
        magnitudes: Apparent magnitudes, shape (N, F); any finite number where not measured.
        noise: What scatters them; its own spread is not read.
        distmod: Distance moduli, shape (D, N), in mag.
        ln_spread: ln of their spreads, shape (D, N).
        population: The isochrone, the same for all stars.
    """
    nodes, ln_weights, tilts, _ = population
    curve = _curve(nodes, ln_weights, tilts)
    least, most = distmod.aminmax(dim=0)
    residual, room = magnitudes - (0.5 * (least + most))[:, None] * noise.applies, 0.5 * (most - least)
    narrow, wide = (whiten(noise._replace(ln_spread=spread)) for spread in ln_spread.aminmax(dim=0))
    rows, segments = _matters_in_some(residual, room, narrow, wide, noise.applies, curve).nonzero().unbind(-1)
    first = torch.arange(len(distmod), device=rows.device) * len(magnitudes)
    again = torch.arange(len(magnitudes), device=rows.device).repeat(len(distmod))
    star = whiten(noise.stars(again)._replace(ln_spread=ln_spread.flatten()))
    residual = magnitudes[again] - distmod.flatten()[:, None] * noise.applies
    pairs = (first[:, None] + rows).flatten(), segments.repeat(len(first))
    ln_p = _ln_of_pairs(residual, star, curve, *pairs).view(distmod.shape)
    return torch.where(noise.where.any(-1), ln_p, 0)


def ln_most(noise: Noise) -> Tensor:
    """More than `ln_isochrone` of any magnitudes, whatever the curve, (N,), in nats; 0 for a star with none."""
    most = whiten(noise).ln_norm.amax(-1) - HALF_LN_2PI + _LN_2  # a segment's density is at most twice its mean
    return torch.where(noise.where.any(-1), most, 0)


class _Curve(NamedTuple):
    """Middles and steps (K, F), ln-weights (K,) and tilts (K,) of segments; a first axis N if each star has its own.

    Of pairs of a star and a segment they are (P, F) and (P,).
    """

    middles: Tensor
    steps: Tensor
    ln_weights: Tensor
    tilts: Tensor | None

    def at(self, rows: Tensor, segments: Tensor) -> _Curve:
        """Segments of stars, by pair."""
        middles, steps = (of_pairs(values, rows, segments, 3) for values in (self.middles, self.steps))
        tilts = None if self.tilts is None else of_pairs(self.tilts, rows, segments, 2)
        return _Curve(middles, steps, of_pairs(self.ln_weights, rows, segments, 2), tilts)

    def split(self, size: int, count: int) -> list[_Curve]:
        """The curve of each chunk of so many of the stars, of which there are ``count``."""
        starts = range(0, max(count, 1), size)
        return [_Curve(*(_rows(v, i, size, n) for v, n in zip(self, (3, 3, 2, 2), strict=True))) for i in starts]  # type: ignore[arg-type]


def _curve(nodes: Tensor, ln_weights: Tensor, tilts: Tensor | None) -> _Curve:
    steps = nodes.diff(dim=-2)
    steps = torch.where(steps.abs() < _SMALLEST_STEP, _SMALLEST_STEP, steps)
    return _Curve(0.5 * (nodes[..., 1:, :] + nodes[..., :-1, :]), steps, ln_weights, tilts)


def of_pairs(values: Tensor, rows: Tensor, segments: Tensor, axes: int) -> Tensor:
    """Values by pair, of a tensor that has ``axes`` axes if stars have their own."""
    return values[rows, segments] if values.ndim == axes else values[segments]


def _rows(values: Tensor | None, start: int, size: int, axes: int) -> Tensor | None:
    return values[start : start + size] if values is not None and values.ndim == axes else values


class _Place(NamedTuple):
    """Where a star lies beside a segment, whitened: x along from its middle, the length, and q^2 across."""

    along: Tensor
    length: Tensor
    across2: Tensor

    def ln_mean(self, tilt: Tensor | None) -> Tensor:
        """Log of the mean over the segment of exp(-|y|^2 / 2) / sqrt(2 pi)."""
        if tilt is None:
            return torch.add(ln_normal_mean(self.along, self.length), self.across2, alpha=-0.5)
        along = with_slope_in_tilt(ln_normal_mean, self.along, self.length, tilt)
        return torch.add(along, self.across2, alpha=-0.5)


def _ln_all(residual: Tensor, star: Whitening, curve: _Curve) -> Tensor:
    """Log density (N,) from every segment."""
    ln_mean = _place(residual[:, None], star.matrix, curve).ln_mean(curve.tilts)
    return torch.logsumexp(ln_mean + (curve.ln_weights + star.ln_norm), dim=-1)


def _ln_near(residual: Tensor, star: Whitening, curve: _Curve) -> Tensor:
    """Log density (N,) from the segments that matter."""
    return _ln_of_pairs(residual, star, curve, *_pairs(residual, star, curve))


def _ln_of_pairs(residual: Tensor, star: Whitening, curve: _Curve, rows: Tensor, segments: Tensor) -> Tensor:
    """Log density (N,) from pairs of a star and a segment, (P,) and (P,), by star."""
    stretch = curve.at(rows, segments)
    matrix, ln_norm = (_at(values, rows, segments) for values in star)
    terms = _place(residual.index_select(0, rows), matrix, stretch).ln_mean(stretch.tilts) + (
        stretch.ln_weights + ln_norm
    )
    none = terms.new_full((len(residual),), -torch.inf)
    top = none.scatter_reduce(0, rows, terms.detach(), "amax").clamp(min=torch.finfo(terms.dtype).min)
    return top + torch.zeros_like(top).index_add(0, rows, torch.exp(terms - top[rows])).log()


def _at(values: Tensor, rows: Tensor, segments: Tensor) -> Tensor:
    """Entries (P, ...) of a tensor (N, 1, ...) or (N, K, ...)."""
    return values[:, 0].index_select(0, rows) if values.shape[1] == 1 else values[rows, segments]


@torch.no_grad()
def _pairs(residual: Tensor, star: Whitening, curve: _Curve) -> tuple[Tensor, Tensor]:
    """Pairs of a star and a segment that matters to it, (P,) and (P,), by star."""
    chunks = zip(*(values.split(_CHUNK) for values in (residual, *star)), strict=True)
    curves = curve.split(_CHUNK, len(residual))
    pairs = [_matters(r, Whitening(*w), c).nonzero() for (r, *w), c in zip(chunks, curves, strict=True)]
    rows = torch.cat([pair[:, 0] + i * _CHUNK for i, pair in enumerate(pairs)])
    return rows, torch.cat([pair[:, 1] for pair in pairs])


def _matters(residual: Tensor, star: Whitening, curve: _Curve) -> Tensor:
    r"""Whether a segment counts beside the star's best, (N, K).

    A segment's mean density is at most that at its point nearest to the star, at a distance d along; and at least that
    over :math:`1 + \ell (1 + d)`, for Mills' ratio is above 1 / (1 + d).
    """
    place = _place(residual[:, None], star.matrix, curve)
    beyond = torch.add(place.along.abs(), place.length, alpha=-0.5).clamp_(min=0)
    tilt = torch.zeros_like(curve.ln_weights) if curve.tilts is None else curve.tilts.abs()
    ln_most = curve.ln_weights + tilt.log1p() + star.ln_norm
    most = torch.addcmul(place.across2, beyond, beyond).mul_(-0.5).add_(ln_most)
    best, which = most.max(-1, keepdim=True)
    length, distance = (values.gather(-1, which) for values in (place.length.expand_as(most), beyond))
    flattest = ((1 - tilt) / (1 + tilt)).log().expand_as(most).gather(-1, which)
    least = best - torch.log1p(length * (1 + distance)) + flattest
    least -= _NEGLIGIBLE.get(most.dtype, 20.0) + _ROUNDINGS * torch.finfo(most.dtype).eps * best.abs()
    return ~(most < least)  # kept if unknown


@torch.no_grad()
def _matters_in_some(
    residual: Tensor, room: Tensor, narrow: Whitening, wide: Whitening, pull: Tensor, curve: _Curve
) -> Tensor:
    r"""Whether a segment counts beside the star's best wherever the modulus is, (N, K).

    In the metric of the largest spread all distances are least, in that of the least spread largest; a modulus that is
    off by r changes a distance by no more than :math:`r |W a|`.

    Arguments:
        residual: Magnitudes less the middle modulus, (N, F).
        room: Largest difference of a modulus from the middle one, (N,).
        narrow: The whitening with the least spread.
        wide: That with the largest.
        pull: How the modulus enters each column, (F,).
        curve: The segments.
    """
    (near, _), (far, length) = (_distances(residual, whitening, curve) for whitening in (wide, narrow))
    off_wide, off_narrow = (room[:, None] * (w.matrix * pull).sum(-1).square().sum(-1).sqrt() for w in (wide, narrow))
    near, far = (near - off_wide).clamp(min=0), far + off_narrow
    tilt = torch.zeros_like(curve.ln_weights) if curve.tilts is None else curve.tilts.abs()
    by_segment = narrow.ln_norm.shape[1] > 1  # else it is the same for all of a star
    norm_most, norm_least = (narrow.ln_norm, wide.ln_norm) if by_segment else (0.0, 0.0)
    most = -0.5 * near.square() + (curve.ln_weights + tilt.log1p() + norm_most)
    flattest = curve.ln_weights + ((1 - tilt) / (1 + tilt)).log() + norm_least
    least = (-0.5 * far.square() - torch.log1p(length * (1 + far)) + flattest).amax(-1, keepdim=True)
    least = least - _NEGLIGIBLE.get(most.dtype, 20.0) - _ROUNDINGS * torch.finfo(most.dtype).eps * least.abs()
    return ~(most < least)  # kept if unknown


def _distances(residual: Tensor, star: Whitening, curve: _Curve) -> tuple[Tensor, Tensor]:
    """Whitened distances of stars from segments, and the lengths of these, (N, K) each."""
    place = _place(residual[:, None], star.matrix, curve)
    beyond = torch.add(place.along.abs(), place.length, alpha=-0.5).clamp_(min=0)
    return torch.addcmul(place.across2, beyond, beyond).sqrt(), place.length


def _place(residual: Tensor, matrix: Tensor, curve: _Curve) -> _Place:
    """Places of stars (N, 1, F) beside all segments, each (N, K), or of pairs of both, (P, F), each (P,)."""
    gaps = [r - middle for r, middle in zip(residual.unbind(-1), curve.middles.unbind(-1), strict=True)]
    from_middle, along = _mapped(matrix, gaps), _mapped(matrix, list(curve.steps.unbind(-1)))
    length = _dot(along, along).clamp(min=_SMALLEST_LENGTH2).sqrt()
    inverse = 1 / length
    across2 = torch.zeros_like(from_middle[0])
    for i, j in combinations(range(len(along)), 2):
        across = torch.addcmul(from_middle[i] * along[j], from_middle[j], along[i], value=-1) * inverse
        across2 = torch.addcmul(across2, across, across)
    return _Place(_dot(from_middle, along) * inverse, length, across2)


def _mapped(matrix: Tensor, vectors: list[Tensor]) -> list[Tensor]:
    """Whitened components of vectors, given and returned as one tensor per band."""
    rows = []
    for f in range(len(vectors)):
        row = matrix[..., f, 0] * vectors[0]
        for g in range(1, len(vectors)):
            row = torch.addcmul(row, matrix[..., f, g], vectors[g])
        rows.append(row)
    return rows


def _dot(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Scalar product, from one tensor per component."""
    total = a[0] * b[0]
    for left, right in zip(a[1:], b[1:], strict=True):
        total = torch.addcmul(total, left, right)
    return total
