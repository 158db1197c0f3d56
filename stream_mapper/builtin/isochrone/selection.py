"""Probability that the magnitudes of a star of an isochrone lie inside their windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stream_mapper.builtin.isochrone.population import Population
from stream_mapper.builtin.isochrone.segments import of_pairs
from stream_mapper.builtin.isochrone.whitening import Noise
from stream_mapper.devices import sync_is_cheap
from stream_mapper.distributions._cholesky import Lower, cholesky
from stream_mapper.distributions._ndtr_mean import ln_ndtr_mean
from stream_mapper.distributions._quadrature import unit_rule
from stream_mapper.distributions._stable import ln_normal_interval, near_and_far
from stream_mapper.distributions._tilt import with_slope_in_tilt

_OPEN = 1e6  # mag: an open edge
_SETTLED = 5.0  # sigma inside a window, where no star is lost: 3e-7
_WELL_INSIDE, _LN_HALF = 3.0, math.log(0.5)  # sigma; outside are 0.3 % for each band: of any number, no half
_APART = 17.0  # sigma between two edges, of which the further one then takes nothing: 1e-17
_NEGLIGIBLE = 16.0  # nats below the segment that contributes most: 1e-7
_ACROSS = 12  # nodes in each band but the last, twice as many if what a band leaves open of another is narrow
_SHARP = 0.35  # of the other band's sigma
_LONG, _MOST_ALONG = 3.0, 64  # sigma of a segment that gets more nodes along it than the others, and the most it gets
_REACH = 5.0  # sigma; what lies beyond it of a normal law is left out, 1e-6
_CHUNK = 2**20  # numbers held at once
_MIDDLE = (1.0, -1.0, 1.0, 0.0)  # a `_Side` whose probability is not needed


def ln_selection(low: Tensor, high: Tensor, distmod: Tensor, noise: Noise, population: Population) -> Tensor:
    r"""Log probability that the measured magnitudes of a star of the isochrone are inside their windows.

    For one band of standard deviation :math:`\sigma` in all, depth included, a segment whose middle is at x has

    .. math:: P_k = \int_{-1/2}^{1/2} (1 + 2 c_k s) \left[ \Phi\!\left(\frac{b - x - d_k s}{\sigma}\right)
        - \Phi\!\left(\frac{a - x - d_k s}{\sigma}\right) \right] ds,

    in closed form (`ln_ndtr_mean`), mirrored such that the nearer edge is an upper one, which keeps the digits of a
    population wholly outside. Several bands share the depth and perhaps errors, but on most segments at most one of
    them is near an edge, and the product over bands is exact. For the other pairs of a star and a segment the
    probability of the box is summed over nodes along the segment and over the bands, one after the other, each given
    those before it; its cost grows as 12 or 24 to the power of the number of bands less one. Segments wholly
    inside, and those that add nothing, cost nothing on a CPU; on any other device those of one band cost as much as the
    others, for to leave them out would be to wait for it. It is waited for where two windows or more may meet.

    Arguments:
        low: Lower edges of the windows, shape (F,) or (N, F), in mag; may be -inf.
        high: Upper edges, of that shape; may be inf.
        distmod: Distance modulus of each star's place, shape (N,), in mag.
        noise: What scatters the magnitudes, over the same F bands. Bands that were not measured have no window.
        population: The isochrone's segments in those bands.

    Returns:
        Nats, shape (N,).
    """
    low, high = low.clamp(min=-_OPEN), high.clamp(max=_OPEN)
    edges = torch.where(noise.where, low, -_OPEN), torch.where(noise.where, high, _OPEN)
    place = distmod[:, None] * noise.applies
    box = _Box(*edges, place, cholesky(noise.covariance(depth=True)), population)
    sides = [box.side(f) for f in range(low.shape[-1])]
    bound, matters = _bound(sides, population.ln_weights)
    ln_p = torch.where(matters, 0, bound)
    for side in sides:
        ln_p = side.added_to(ln_p, matters & (side.inside() < _SETTLED))
    if len(sides) > 1:
        ln_p = _with_corners(ln_p, matters, sides, box)
    return torch.logsumexp(ln_p + population.ln_weights, -1)


def ln_least_selection(low: Tensor, high: Tensor, distmod: Tensor, noise: Noise, population: Population) -> Tensor:
    """Less than `ln_selection`, (N,): half of what is on the segments that are well inside all windows."""
    place = distmod[:, None] * noise.applies
    lower = cholesky(noise.covariance(depth=True))
    inside: list[Tensor] = []
    for f, nodes in enumerate(population.nodes.unbind(-1)):
        room = _WELL_INSIDE * torch.stack([entry.square() for entry in lower[f]]).sum(0).sqrt()
        bottom, top = (edge[..., f, None] - place[:, f, None] for edge in (low, high))
        ends = nodes[..., 1:], nodes[..., :-1]
        fits = (torch.minimum(*ends) > bottom + room) & (torch.maximum(*ends) < top - room)
        inside.append(fits | ~noise.where[:, f, None])
    return torch.where(torch.stack(inside).all(0), population.ln_weights, -torch.inf).logsumexp(-1) + _LN_HALF


def _with_corners(ln_p: Tensor, matters: Tensor, sides: list[_Side], box: _Box) -> Tensor:
    """The log probabilities (N, K), those of the segments near the edges of two windows replaced."""
    corners = matters & (torch.stack([side.inside() < _SETTLED for side in sides]).sum(0) > 1)
    width = torch.stack([side.width.detach() for side in sides]).amax(0)
    for long, sharp in product((False, True), repeat=2):
        pairs = (corners & ((width > _LONG) == long) & (box.sharp() == sharp)).nonzero(as_tuple=True)
        if len(pairs[0]):
            longest = max(_LONG, width[pairs].max().item())
            mesh = _Mesh(min(math.ceil(1 + 1.25 * longest), _MOST_ALONG), _ACROSS * (1 + sharp))
            ln_p = ln_p.index_put(pairs, _corners(box, mesh, *pairs))
    return ln_p


class _Mesh(NamedTuple):
    """Numbers of nodes along a segment and in each band but the last."""

    along: int
    across: int


class _Side(NamedTuple):
    """One band of the segments: distances of their middles to the edges and their lengths in sigma, (N, K).

    Positive inside the window; the tilt (N, K) is towards the inside of the nearer edge.
    """

    to_near: Tensor
    to_far: Tensor
    width: Tensor
    tilt: Tensor

    def ln_p(self) -> Tensor:
        """Log probability of the window, in the shape of the distances."""
        near = with_slope_in_tilt(ln_ndtr_mean, self.to_near, self.width, self.tilt)
        if sync_is_cheap(near.device) and bool((self.to_near - self.to_far > _APART + self.width).all()):
            return near
        far = with_slope_in_tilt(ln_ndtr_mean, self.to_far, self.width, self.tilt)
        return near + torch.log(-torch.expm1((far - near).clamp(max=-1e-6)))

    def added_to(self, total: Tensor, needed: Tensor) -> Tensor:
        """A total (N, K) with the log probabilities of the segments that need them."""
        if sync_is_cheap(total.device):
            pairs = needed.nonzero(as_tuple=True)
            return total.index_put(pairs, _Side(*(values[pairs] for values in self)).ln_p(), accumulate=True)
        safe = [torch.where(needed, values, inside) for values, inside in zip(self, _MIDDLE, strict=True)]
        chunks = zip(*(values.split(max(1, _CHUNK // total.shape[1])) for values in safe), strict=True)
        return total + torch.where(needed, torch.cat([_Side(*chunk).ln_p() for chunk in chunks]), 0.0)

    def inside(self) -> Tensor:
        """Distance from the nearer edge of the end that is nearer to it."""
        return self.to_near.detach() - 0.5 * self.width.detach()


class _Box(NamedTuple):
    """The windows of each star and the shift of its isochrone, each (N, F), and what fills them."""

    low: Tensor
    high: Tensor
    shift: Tensor
    lower: Lower
    population: Population

    def sigma(self, f: int) -> Tensor:
        """Standard deviation of a band, (N, 1), or (N, K) if the scatter depends on the segment."""
        return torch.stack([entry.square() for entry in self.lower[f]]).sum(0).sqrt()

    @torch.no_grad()
    def sharp(self) -> Tensor:
        """Whether a band given those before it is much narrower than by itself, shape as `sigma`."""
        return torch.stack([row[-1] < _SHARP * self.sigma(f) for f, row in enumerate(self.lower)]).any(0)

    def side(self, f: int) -> _Side:
        """One band alone, depth included."""
        nodes = self.population.nodes[..., f]
        middle, step = 0.5 * (nodes[..., 1:] + nodes[..., :-1]) + self.shift[:, f, None], nodes.diff()
        low, high, inverse = self.low[:, f, None], self.high[:, f, None], 1 / self.sigma(f)
        below = middle < 0.5 * (low + high)
        to_near = torch.where(below, middle - low, high - middle) * inverse
        to_far = torch.where(below, middle - high, low - middle) * inverse
        tilt = self.population.tilts * torch.where(below, step.sign(), -step.sign())
        return _Side(to_near, to_far, step.abs() * inverse, tilt)


@torch.no_grad()
def _bound(sides: list[_Side], ln_weights: Tensor) -> tuple[Tensor, Tensor]:
    """More than the log probability of each segment, and whether it counts beside the others', both (N, K)."""
    reach = torch.stack([side.to_near + 0.5 * side.width for side in sides]).clamp(max=0)
    middle = torch.stack([side.to_near for side in sides]).clamp(max=0)
    bound = -0.5 * reach.square().amax(0)
    least = (-0.5 * middle.square() - torch.log(4 - 3 * middle)).sum(0) + ln_weights  # of a normal law's tail
    return bound, bound + ln_weights > least.amax(-1, keepdim=True) - _NEGLIGIBLE


def _corners(box: _Box, mesh: _Mesh, star: Tensor, segment: Tensor) -> Tensor:
    """`_corner` in parts that fit the memory."""
    size = max(1, _CHUNK // (mesh.along * mesh.across ** (box.low.shape[-1] - 1)))
    pairs = list(zip(star.split(size), segment.split(size), strict=True))
    if len(pairs) == 1:
        return _corner(box, mesh, star, segment)
    return torch.cat([_frugal(box, mesh, *pair) for pair in pairs])


def _frugal(box: _Box, mesh: _Mesh, star: Tensor, segment: Tensor) -> Tensor:
    """`_corner`, computed again for the gradient rather than kept."""
    ln_p: Tensor = checkpoint(_corner, box, mesh, star, segment, use_reentrant=False)
    return ln_p


def _corner(box: _Box, mesh: _Mesh, star: Tensor, segment: Tensor) -> Tensor:
    """Ln probability of the box for pairs of a star and a segment with nodes along it, shape (C,)."""
    t, weight = unit_rule(mesh.along, box.shift)
    nodes = box.population.nodes
    start, end = (of_pairs(nodes, star, which, 3)[:, None] for which in (segment, segment + 1))
    place = start + (end - start) * t[:, None] + box.shift[star, None]
    low, high = ((edge[star, None] - place).unbind(-1) for edge in (box.low, box.high))
    lower = [[_at(entry, star, segment) for entry in row] for row in box.lower]
    density = torch.log1p(2 * of_pairs(box.population.tilts, star, segment, 2)[:, None] * (t - 0.5))
    return torch.logsumexp(_ln_box(lower, low, high, [], mesh.across) + density + weight.log(), -1)


def _at(values: Tensor, star: Tensor, segment: Tensor) -> Tensor:
    """Entries (C, 1) of a tensor (N, 1) or (N, K)."""
    return values[star] if values.shape[1] == 1 else values[star, segment][:, None]


def _ln_box(lower: Lower, low: Sequence[Tensor], high: Sequence[Tensor], given: list[Tensor], across: int) -> Tensor:
    """Ln probability of the windows of the bands after those ``given``, in sigma of what they leave open.

    Each given band has added a last axis; the edges count from the isochrone.
    """
    i = len(given)
    row = [_deeper(entry, i) for entry in lower[i]]
    mean = sum((row[j] * _deeper(z, i - 1 - j) for j, z in enumerate(given)), torch.zeros_like(row[0]))
    a, b = ((_deeper(edge[i], i) - mean) / row[i] for edge in (low, high))
    ln_p = ln_normal_interval(a, b)
    if i == len(low) - 1:
        return ln_p
    z, ln_weight = _truncated_normal(a, b, across)
    return ln_p + torch.logsumexp(_ln_box(lower, low, high, [*given, z], across) + ln_weight, -1)


def _deeper(values: Tensor, axes: int) -> Tensor:
    """The same numbers with more axes at the end."""
    return values[(..., *[None] * axes)]


def _truncated_normal(a: Tensor, b: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Nodes of a normal law cut to [a, b] and the logs of their weights, which sum to one, on a new last axis."""
    near, far = near_and_far(a, b)
    start = near.clamp(min=-_REACH)
    length = torch.minimum(far, (start.clamp(min=0).square() + _REACH**2).sqrt()) - start
    x, weight = unit_rule(size, a)
    depth = length[..., None] * x
    ln_density = -depth * (start[..., None] + 0.5 * depth)
    z = start[..., None] + depth
    return torch.where((a + b > 0)[..., None], z, -z), (ln_density + weight.log()).log_softmax(-1)
