"""Probability of a rectangle under a bivariate normal law, in logarithms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stream_mapper.devices import sync_is_cheap
from stream_mapper.distributions._quadrature import unit_rule
from stream_mapper.distributions._stable import HALF_LN_2PI, WithSlopes, ln_normal_mean_and_slopes

_DEEP = 6.5  # sigma from every edge at which the probability is one, but for 2e-10
_DROP = 22.0  # nats below its peak at which the integrand is left out
_REACH = 6.0  # sigma of a normal law that are integrated over
_PANELS = 3  # equal ones, before those about the soft edges
_SOFT = 3.0  # half-width of the panel about a soft edge, in its own width
_NODES = 12  # a panel
_ROWS, _ALL_ROWS = 4096, 2**16  # stars at once, chosen and if all are computed
_INSIDE = (0.0, 1.0, 0.0, 1.0, 0.0, 1.0)  # arguments for a star deep inside, whose probability is not needed
_LEAST = 16  # roundings of the offsets that are integrated over at least
_SMALLEST = 1e-6  # stands for a smaller correlation where it divides


def ln_rectangle(
    middle1: Tensor, width1: Tensor, middle2: Tensor, width2: Tensor, corr: Tensor, cond: Tensor
) -> Tensor:
    r"""Log probability that a standard bivariate normal variable is inside a rectangle.

    .. math:: \ln \int_{a_1}^{b_1} \phi(u) \left[\Phi\!\left(\frac{b_2 - \rho u}{\kappa}\right)
        - \Phi\!\left(\frac{a_2 - \rho u}{\kappa}\right)\right] du, \quad \kappa = \sqrt{1 - \rho^2}

    by Gauss-Legendre quadrature. The integrand is log-concave with a curvature of at least one, which bounds where it
    matters; panels are split there and about the two edges of the bracket. The error is below 1e-8 for correlations up
    to 0.99 and 1e-4 up to 0.99999, at any distance. In float32 the edges are rounded to 1e-7 of the widths besides, and
    the logarithm to 1e-6 of itself. First derivatives are computed along with the value, so it has no second ones.

    Arguments:
        middle1: Middle of the rectangle along the first axis, in sigma from the mean, shape (N,).
        width1: Its width there in sigma, positive, shape (N,).
        middle2: The same along the second axis.
        width2: The same along the second axis.
        corr: Correlation, shape (N,).
        cond: Square root of 1 - corr^2, given apart because corr may have lost its digits, shape (N,).

    Returns:
        Nats, shape (N,).
    """
    arguments = (middle1, width1, middle2, width2, corr, cond)
    nearest = torch.minimum(0.5 * width1 - middle1.abs(), 0.5 * width2 - middle2.abs())
    near = nearest < _DEEP
    if not sync_is_cheap(near.device):
        safe = [torch.where(near, argument, inside) for argument, inside in zip(arguments, _INSIDE, strict=True)]
        return torch.where(near, _in_parts(safe, _ALL_ROWS), 0.0)
    rows = near.nonzero()[:, 0]
    out = torch.zeros_like(middle1)
    return out.index_put((rows,), _in_parts([a[rows] for a in arguments], _ROWS)) if len(rows) else out


def _in_parts(arguments: Sequence[Tensor], size: int) -> Tensor:
    """`_LnRectangle` of ``size`` stars at a time."""
    chunks = zip(*(argument.split(size) for argument in arguments), strict=True)
    return torch.cat([_LnRectangle.apply(*chunk)[0] for chunk in chunks])  # type: ignore[no-untyped-call]


class _LnRectangle(WithSlopes):
    """`ln_rectangle` with its derivatives as further outputs: means of those of the integrand, weighted by it."""

    @staticmethod
    def forward(
        middle1: Tensor, width1: Tensor, middle2: Tensor, width2: Tensor, corr: Tensor, cond: Tensor
    ) -> tuple[Tensor, ...]:
        law = _Integrand(middle1, width1, middle2, width2, corr, cond)
        offset, ln_weights = law.nodes()
        ln_value, at_middle, at_width = law(offset)
        terms = ln_value + ln_weights
        total = terms.logsumexp(0)
        share = torch.exp(terms - total)
        u = middle1 + offset
        along = law.slope(offset, at_middle)
        inner = (middle2 - corr * u) * at_middle + width2 * at_width
        slopes = (along, offset * along, at_middle, at_width, -u * at_middle, -inner / cond)
        means = [(share * slope).sum(0) for slope in slopes]
        means[1] = (1 + means[1]) / width1
        return total - 0.5 * middle1.square(), means[0], means[1], *(mean / cond for mean in means[2:])


class _Integrand:
    """The integrand of `ln_rectangle`, by the offset of u from the middle of the rectangle, and where it matters.

    The factor exp(-middle1^2 / 2) is left to the end: far from the mean it would take the digits of all others.
    """

    def __init__(
        self, middle1: Tensor, width1: Tensor, middle2: Tensor, width2: Tensor, corr: Tensor, cond: Tensor
    ) -> None:
        self.middle1, self.edge = middle1, 0.5 * width1
        self.low2, self.high2 = middle2 - 0.5 * width2, middle2 + 0.5 * width2
        self.middle2, self.width, self.corr, self.cond = middle2, width2 / cond, corr, cond

    def __call__(self, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logarithm of the integrand (M, N), and the derivatives of it in the inner interval's middle and width."""
        middle = (self.middle2 - self.corr * (self.middle1 + offset)) / self.cond
        ln_mean, at_middle, at_width = ln_normal_mean_and_slopes(middle, self.width.expand_as(middle))
        ln_outer = -offset * (self.middle1 + 0.5 * offset) - HALF_LN_2PI
        return ln_mean + self.width.log() + ln_outer, at_middle, at_width + 1 / self.width

    def slope(self, offset: Tensor, at_middle: Tensor) -> Tensor:
        """Derivative of the logarithm in the offset."""
        return -(self.middle1 + offset) - self.corr / self.cond * at_middle

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Nodes and ln-weights of the quadrature, (M, N)."""
        low, high = self._support()
        slope = torch.where(self.corr.abs() < _SMALLEST, _SMALLEST, self.corr)
        soft = _SOFT * self.cond / slope.abs()
        bracket = [edge / slope - self.middle1 for edge in (self.low2, self.high2)]
        edges = [low + (high - low) * (i / _PANELS) for i in range(_PANELS + 1)]
        edges += [edge + side * soft for edge in bracket for side in (-1, 1)]
        ordered = torch.minimum(torch.maximum(torch.stack(edges), low), high).sort(0).values
        start, width = ordered[:-1, None], ordered.diff(dim=0)[:, None]
        places, weights = (values[:, None] for values in unit_rule(_NODES, low))
        return (start + width * places).flatten(0, 1), (width * weights).flatten(0, 1).log()

    def _support(self) -> tuple[Tensor, Tensor]:
        """Where the integrand is not negligible, inside the rectangle's own edges, (N,).

        If it peaks at one of these, a parabola bounds it from there. Else they matter little, and the first variable
        is `corr` times the second, which is normal on its interval, with a scatter of `cond`.
        """
        peak = torch.minimum(self.low2.clamp(min=0), self.high2)
        reach = _extent(peak)
        ends = (
            torch.stack([torch.maximum(self.low2, peak - reach), torch.minimum(self.high2, peak + reach)]) * self.corr
        )
        first, last = ends.amin(0) - _REACH * self.cond, ends.amax(0) + _REACH * self.cond
        at_low, at_high = (self.slope(edge, self(edge)[1]) for edge in (-self.edge, self.edge))
        falls, rises = at_low <= 0, at_high >= 0
        low = torch.where(falls, -self.edge, torch.where(rises, self.edge - _extent(at_high), first - self.middle1))
        high = torch.where(rises, self.edge, torch.where(falls, _extent(at_low) - self.edge, last - self.middle1))
        least = _LEAST * torch.finfo(low.dtype).eps * self.edge
        low = torch.minimum(torch.maximum(low, -self.edge), self.edge - least)
        return low, torch.minimum(torch.maximum(high, low + least), self.edge)


def _extent(slope: Tensor) -> Tensor:
    """Distance over which a log density that falls with this slope, and a curvature of one, falls by the drop."""
    return 2 * _DROP / (torch.sqrt(slope.square() + 2 * _DROP) + slope.abs())
