"""Exponential law on an interval, seen with a measurement error."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints

from stream_mapper.distributions._stable import ln_exponential_norm, ln_tail_mean, near_and_far
from stream_mapper.distributions.base import Truncated

_SMALLEST_ERROR = 1e-7  # of the width of the window: less changes nothing but at its very edges
_SMALLEST_RATE = 1e-5  # over the window, where the closed forms have lost five digits of sixteen
_SMALL_RATE = 1e-2  # where the parabola leaves out 1e-11
_BISECTIONS = 60
_ROOT_HALF = math.sqrt(0.5)


class ConvolvedExponential(Truncated):
    r"""Exponential law on an interval, convolved with a normal error and then cut to the interval.

    With :math:`p(t) \propto e^{-k t}` for the true value t in the window [a, b], the measured value has

    .. math:: p(x) = \frac{c(x)}{\int_a^b c}, \quad
        c(x) = p(x) \, e^{k^2 s^2 / 2} \left[ \Phi\!\left(\frac{b - x}{s} + k s\right)
        - \Phi\!\left(\frac{a - x}{s} + k s\right) \right].

    The growing exponential and the vanishing difference are never computed by themselves. In double precision inside.

        >>> ConvolvedExponential(torch.tensor([0.0, 2.0]), 0.1, 0.0, 0.5).log_prob(torch.tensor(0.25))
        tensor([0.8545, 0.8377])

    Arguments:
        slope: Decay rate k of the true values, any sign, shape ``(*B,)``, in 1 / [unit of x].
        scale: Standard error s, zero or more, shape ``(*B,)``, in [unit of x].
        low: Lower edge a, shape ``(*B,)``, in [unit of x].
        high: Upper edge b, shape ``(*B,)``, in [unit of x].
        validate_args: Whether to check the parameters, as everywhere in torch.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "slope": constraints.real,
        "scale": constraints.nonnegative,
        "low": constraints.real,
        "high": constraints.real,
    }
    _names = ("slope", "scale", "low", "high")
    slope: Tensor
    scale: Tensor

    def __init__(
        self,
        slope: Tensor | float,
        scale: Tensor | float,
        low: Tensor | float,
        high: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(slope, scale, low, high, validate_args=validate_args)

    def _ln_density(self, value: Tensor) -> Tensor:
        unit = _Unit.of(self)
        ln_p = unit.ln_convolved(unit.depth(value)) - unit.probability().log() - unit.width.log()
        return ln_p.to(value.dtype)

    def cdf(self, value: Tensor) -> Tensor:
        """Probability below each value; 0 and 1 outside the window."""
        unit = _Unit.of(self)
        share = unit.share(unit.depth(torch.minimum(torch.maximum(value, self.low), self.high)))
        return torch.where(unit.falls, share, 1 - share).clamp(0, 1).to(value.dtype)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantiles, inside the window for every probability in [0, 1], differentiable in the parameters."""
        with torch.no_grad():
            unit = _Unit.of(self)
            wanted = torch.where(unit.falls, value.double(), 1 - value.double())
            depth = unit.quantile(wanted) * unit.width
            x = torch.where(unit.falls, self.low + depth, self.high - depth).to(value.dtype)
            x = torch.minimum(torch.maximum(x, self.low), self.high)
            ln_p = self._ln_density(x)
            slope = torch.where(ln_p > math.log(torch.finfo(x.dtype).tiny), torch.exp(-ln_p), 0)
        below = self.cdf(x)
        return x + slope * ((value - value.detach()) - (below - below.detach()))

    @property
    def mean(self) -> Tensor:
        """Mean of the measured values, shape ``(*B,)``."""
        unit = _Unit.of(self)
        depth = unit.width * unit.mean()
        return torch.where(unit.falls, self.low + depth, self.high - depth).to(self.low.dtype)


class _Unit(NamedTuple):
    """The law on the unit interval, counted from the denser edge, in double precision.

    Arguments:
        rate: Decay rate over the interval, zero or more.
        error: Standard error over the width.
        falls: Whether the denser edge is the lower one.
        edge: The denser edge.
        width: Width of the interval.
    """

    rate: Tensor
    error: Tensor
    falls: Tensor
    edge: Tensor
    width: Tensor

    @classmethod
    def of(cls, law: ConvolvedExponential) -> _Unit:
        """The parameters of a law."""
        slope, scale, low, high = (values.double() for values in (law.slope, law.scale, law.low, law.high))
        falls, width = slope >= 0, high - low
        rate = torch.where(falls, slope, -slope) * width
        return cls(rate, (scale / width).clamp(min=_SMALLEST_ERROR), falls, torch.where(falls, low, high), width)

    def depth(self, value: Tensor) -> Tensor:
        """Distance of a value from the denser edge."""
        x = value.double()
        return torch.where(self.falls, x - self.edge, self.edge - x) / self.width

    def ln_convolved(self, depth: Tensor) -> Tensor:
        """Log of the density before the cut, in nats.

        Where the whole interval is above the centre of the normal law of true values, whose edge is then the likeliest,
        the exponentials are gathered into that of the distance from the edge.
        """
        low, high = self.rate * self.error - depth / self.error, self.rate * self.error + (1 - depth) / self.error
        near, far = near_and_far(low, high)
        inside = -self.rate * (depth - 0.5 * self.rate * self.error.square())
        exponent = torch.where(low >= 0, -0.5 * (depth / self.error).square(), inside)
        ln_mean = ln_tail_mean(near, far, 1 / self.error)
        return ln_exponential_norm(self.rate) + ln_mean - self.error.log() + exponent

    def probability(self) -> Tensor:
        """Probability that the measured value is inside, an even function of the rate; near zero rate a parabola."""
        small = self.rate < _SMALL_RATE
        first, second = (self._probability(torch.full_like(self.rate, n * _SMALL_RATE)) for n in (1, 2))
        bend = (second - first) / (3 * _SMALL_RATE**2)
        parabola = first + bend * (torch.where(small, self.rate, 0).square() - _SMALL_RATE**2)
        return torch.where(small, parabola, self._probability(torch.where(small, 1, self.rate)))

    def _probability(self, rate: Tensor) -> Tensor:
        """`probability` with this rate, which is not near zero."""
        unit, zero = self._replace(rate=rate), torch.zeros_like(rate)
        return self._half() + (unit.ln_convolved(zero).exp() - unit.ln_convolved(zero + 1).exp()) / rate

    def share(self, depth: Tensor) -> Tensor:
        """Probability below a depth, of the measured values inside."""
        unit = self._replace(rate=self._positive_rate())
        zero = torch.zeros_like(depth + self.rate)
        return (unit._below(zero + depth) - unit._below(zero)) / self.probability()

    def quantile(self, share: Tensor) -> Tensor:
        """Depth of a share, by bisection."""
        low = torch.zeros_like(share + self.rate)
        high = low + 1
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            above = self.share(middle) > share
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return torch.where(share <= 0, 0.0, torch.where(share >= 1, 1.0, 0.5 * (low + high)))

    def mean(self) -> Tensor:
        r"""Mean depth of the measured values.

        By parts from :math:`c' = -k c + k [\phi_s(y) - e^{-k} \phi_s(y - 1)] / (1 - e^{-k})`.
        """
        rate = self._positive_rate()
        unit = self._replace(rate=rate)
        norm = -rate / torch.expm1(-rate)
        moment = self.error / math.sqrt(2 * math.pi) * -torch.expm1(-0.5 / self.error.square())
        sources = norm * (moment - torch.exp(-rate) * (self._half() - moment))
        at_end = unit.ln_convolved(torch.ones_like(rate)).exp()
        return ((sources - at_end) / self.probability() + 1) / rate

    def _below(self, depth: Tensor) -> Tensor:
        """Probability of a measured value below a depth, those outside the interval counted."""
        from_end, from_start = (torch.special.ndtr((depth - edge) / self.error) for edge in (1, 0))
        return from_end - (from_start - from_end) / torch.expm1(-self.rate) - self.ln_convolved(depth).exp() / self.rate

    def _half(self) -> Tensor:
        """Probability that an error is positive and below one."""
        return 0.5 * torch.special.erf(_ROOT_HALF / self.error)

    def _positive_rate(self) -> Tensor:
        """The rate, or one that is all but zero, with the gradient of the rate."""
        return self.rate + (self.rate.detach().clamp(min=_SMALLEST_RATE) - self.rate.detach())
