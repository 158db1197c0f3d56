r"""The smooth weight of a component, for every edge that it may have.

Where a component ends and how its weight goes on up to there are known together: of an edge further out the weight has
to be less, or there would be more stars. So the posterior of an edge is that with the smooth weight integrated out. In
coordinates z in which the prior is that of independent normal numbers, and to second order about the best value
:math:`\hat z`, it is :math:`L(\hat z) - \hat z^2 / 2 - \ln |1 + H| / 2`, H minus the second derivative of the log
likelihood L.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from stream_mapper.nn import grid_position

_STEPS = 12  # of Newton's at most
_ENOUGH = 0.02  # a gain in nats not worth another step
_AS_GOOD_AS_NOTHING = 15.0  # nats by which the likelihood of an edge is below the best
_MOST = 0.999  # weight of a component
_SLIGHT = 0.01  # variance of the output about a node that is left out
_NEIGHBOURHOOD = 0.015  # of the range
_TOGETHER = 1 << 21  # weights of stars in memory at once


class EdgeStars(NamedTuple):
    """Of N stars, over the density of the background: what the mixture is as a function of the weight of a component.

    It is ``rest``, what the others have, plus ``gain`` times the weight; as many stars are in the catalogue as
    ``rest_seen`` plus ``gain_seen`` times the weight says, over what there would be were all of the background. The
    logarithm of the weight is ``smooth`` plus that of the edge at the place. ``number`` is how many stars each is.
    """

    place: Tensor
    smooth: Tensor
    rest: Tensor
    gain: Tensor
    rest_seen: Tensor
    gain_seen: Tensor
    number: Tensor

    @classmethod
    def cat(cls, parts: Sequence[EdgeStars]) -> EdgeStars:
        """Those of all parts."""
        return cls(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def of(self, which: Tensor) -> EdgeStars:
        """Some of them."""
        return EdgeStars(*(x[which] for x in self))

    def binned(self, which: Tensor, cell: float) -> EdgeStars:
        """Some of them, (N,), put together where they are in the same cell of the coordinate."""
        if not which.any():
            return self
        cells = ((self.place - self.place.min()) / cell).long()[which]
        number = torch.zeros(int(cells.max()) + 1, dtype=torch.float64).index_add_(0, cells, self.number[which])
        there = number > 0
        means = [
            torch.zeros_like(number).index_add_(0, cells, (x * self.number)[which])[there] / number[there]
            for x in self[:-1]
        ]
        return EdgeStars(*(torch.cat([x[~which], y]) for x, y in zip(self, [*means, number[there]], strict=True)))

    def split(self, size: int) -> list[EdgeStars]:
        """In parts of that size at most."""
        return [EdgeStars(*rows) for rows in zip(*(x.split(size) for x in self), strict=True)]

    def f(self, rise: Tensor) -> Tensor:
        """Weights of the component, (..., N), where the logarithm of the smooth one rises so much."""
        return (self.smooth + rise).exp().clamp(max=_MOST)

    def ln_p(self, rise: Tensor) -> Tensor:
        """Log density of each star over that of the background, (..., N), in nats."""
        f = self.f(rise)
        return _ln(f * self.gain, self.rest) - _ln(f * self.gain_seen, self.rest_seen)

    def slopes(self, rise: Tensor) -> tuple[Tensor, Tensor]:
        """First and second derivative of `ln_p`, (..., N)."""
        f = self.f(rise)
        shares = [_share(f * self.gain, self.rest), _share(f * self.gain_seen, self.rest_seen)]
        first, second = (share - share.square() for share in shares)
        return shares[0] - shares[1], first - second


def _ln(own: Tensor, rest: Tensor) -> Tensor:
    return torch.log1p((own - (1 - rest)).clamp(min=-1 + 1e-12))


def _share(own: Tensor, rest: Tensor) -> Tensor:
    return own / (own + rest).clamp(min=1e-12)


LnShares = Callable[[Tensor], Tensor]
"""From places (N,) to the logarithm of the share (C, N) that each of C edges leaves of the weight."""


class Best(NamedTuple):
    """The best smooth weight beside each of C edges.

    Arguments:
        ln_p: Log posterior of the edge with the weight integrated out, (C,), in nats, up to a constant.
        outputs: What the output of the network is above the fitted one, at each node, (C, G).
        information: What the stars say of these, about each node, (C, G).
    """

    ln_p: Tensor
    outputs: Tensor
    information: Tensor


class _Slopes(NamedTuple):
    """Log likelihood (C,) with C edges, its gradient in the outputs at the nodes, and the information, (C, G) each."""

    ln_p: Tensor
    gradient: Tensor
    information: Tensor


@dataclass
class SmoothWeight:
    """The smooth weight of a component, as its prior lets it be.

    Arguments:
        ends: First and last place of the grid of its prior.
        fitted: Output of the network at each node, (G,), before the bounds.
        ln_weight: From outputs to ln-weights, elementwise.
        root: What the output is of the prior's coordinates, (G, rank), from here on without those that hardly matter.
        centre: Mean of the prior, (1,).
    """

    ends: tuple[float, float]
    fitted: Tensor
    ln_weight: Callable[[Tensor], Tensor]
    root: Tensor
    centre: Tensor

    @classmethod
    def fixed(cls, ends: tuple[float, float], ln_weight: Callable[[Tensor], Tensor]) -> SmoothWeight:
        """One that is as it is."""
        nothing = torch.zeros(2, dtype=torch.float64)
        return cls(ends, nothing, ln_weight, nothing.new_zeros(2, 0), nothing[:1])

    def __post_init__(self) -> None:
        variances = self.root.square().mean(0)
        order = variances.argsort()
        self.root = self.root[:, order[variances[order].cumsum(0) > _SLIGHT]]
        off = (self.fitted - self.centre)[:, None]
        self.start = torch.linalg.lstsq(self.root, off).solution[:, 0] if self.root.numel() else self.root.new_zeros(0)

    @property
    def range(self) -> float:
        """What the grid spans."""
        return self.ends[1] - self.ends[0]

    def best(self, stars: EdgeStars, ln_shares: LnShares, count: int) -> Best:
        """The best weight beside each of C edges, by Newton's steps; all but this weight stays as it is."""
        z = self.start.expand(count, -1)
        now, size = self._slopes(z, stars, ln_shares), torch.ones(count, 1, dtype=z.dtype)
        for _ in range(_STEPS):
            rising = now.gradient @ self.root - z
            step = torch.cholesky_solve(rising[..., None], self._root_of_precision(now))[..., 0]
            moved = z + size * step
            after = self._slopes(moved, stars, ln_shares)
            gain = after.ln_p - now.ln_p - 0.5 * (moved.square().sum(-1) - z.square().sum(-1))
            better = (gain > 0)[:, None]
            z, size = torch.where(better, moved, z), torch.where(better, size, 0.5 * size)
            gradient, information = (torch.where(better, a, b) for a, b in zip(after[1:], now[1:], strict=True))
            now = _Slopes(torch.where(gain > 0, after.ln_p, now.ln_p), gradient, information)
            near = now.ln_p > now.ln_p.max() - _AS_GOOD_AS_NOTHING
            if gain[near].max() < _ENOUGH:
                break
        volume = self._root_of_precision(now).diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return Best(now.ln_p - 0.5 * z.square().sum(-1) - volume, (z - self.start) @ self.root.T, now.information)

    def _root_of_precision(self, slopes: _Slopes) -> Tensor:
        """Cholesky factor (C, rank, rank) of the precision of the prior's coordinates."""
        own = torch.eye(self.root.shape[1], dtype=self.root.dtype)
        return torch.linalg.cholesky(own + self.root.T @ (slopes.information[..., None] * self.root))

    def _slopes(self, z: Tensor, stars: EdgeStars, ln_shares: LnShares) -> _Slopes:
        """What the stars say of the weights of these coordinates, (C, rank).

        The information is minus the second derivatives, over a neighbourhood: of a star that may or may not be of the
        component it is below zero, and of those about it that are not it is above.
        """
        count, nodes = len(z), len(self.fitted)
        moved = (z - self.start) @ self.root.T
        ln_p, sums = z.new_zeros(count), z.new_zeros(2, count, nodes)
        for some in stars.split(max(1, _TOGETHER // count)):
            left, far = grid_position(some.place, self.ends, nodes)
            fitted, by = (torch.lerp(x[..., left], x[..., left + 1], far) for x in (self.fitted, moved))
            rise, slope = self._rise(fitted, by)
            rise = rise + ln_shares(some.place)
            first, second = some.slopes(rise)
            terms = torch.stack([first * slope, -second * slope.square()]) * some.number
            sums.index_add_(-1, left, terms * (1 - far)).index_add_(-1, left + 1, terms * far)
            ln_p += some.ln_p(rise) @ some.number
        gradient, observed = sums
        return _Slopes(ln_p, gradient, (observed @ _neighbourhoods(nodes)).clamp(min=0))

    def _rise(self, fitted: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
        """What ln-weights rise when outputs (N,) are moved by (C, N), and their derivatives there."""
        with torch.enable_grad():
            outputs = (fitted + by).requires_grad_()
            ln_f = self.ln_weight(outputs)
            (slope,) = torch.autograd.grad(ln_f.sum(), outputs)
        return ln_f.detach() - self.ln_weight(fitted), slope


@cache
def _neighbourhoods(nodes: int) -> Tensor:
    """Shares (G, G) of what is about each node that are taken to be about the others."""
    x = torch.linspace(0, 1, nodes, dtype=torch.float64)
    near = (-0.5 * ((x[:, None] - x) / _NEIGHBOURHOOD).square()).exp()
    return near / near.sum(1, keepdim=True)
