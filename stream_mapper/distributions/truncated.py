"""Normal and exponential laws on an interval."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from stream_mapper.distributions._stable import (
    HALF_LN_2PI,
    exponential_icdf,
    exponential_mean,
    finite_window,
    ln_exponential_norm,
    ln_tail_mean,
    near_and_far,
)
from stream_mapper.distributions.base import Truncated

_SQRT_HALF = 0.5**0.5
_NEWTON_STEPS = 6


class TruncatedNormal(Truncated):
    r"""Normal law cut to an interval, sound any number of sigma from its mean.

    .. math:: p(x) = \frac{\phi((x - \mu) / \sigma)}{\sigma [\Phi(b) - \Phi(a)]}, \quad
        a = \frac{x_{low} - \mu}{\sigma}, \; b = \frac{x_{high} - \mu}{\sigma}

    Everything is counted from the edge nearer to the mean, so that a window 1e5 sigma away keeps its digits.

        >>> TruncatedNormal(0.0, 1.0, 40.0, 41.0).log_prob(torch.tensor([40.0, 42.0]))
        tensor([3.6895,   -inf])

    Arguments:
        loc: Mean of the uncut law, shape ``(*B,)``, in [unit of x].
        scale: Standard deviation of the uncut law, shape ``(*B,)``, in [unit of x].
        low: Lower edge, shape ``(*B,)``, in [unit of x]; may be -inf.
        high: Upper edge, shape ``(*B,)``, in [unit of x]; may be +inf.
        validate_args: Whether to check the parameters, as everywhere in torch.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "low": constraints.real,
        "high": constraints.real,
    }
    _names = ("loc", "scale", "low", "high")
    loc: Tensor
    scale: Tensor

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        low: Tensor | float,
        high: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(loc, scale, low, high, validate_args=validate_args)

    def cdf(self, value: Tensor) -> Tensor:
        """Probability below each value; 0 and 1 outside the window."""
        window = _Window(self)
        inside = torch.minimum(torch.maximum(value, window.low), window.high)
        from_near = window.probability(window.from_near_edge(inside)).clamp(0, 1)
        return torch.where(window.upper, from_near, 1 - from_near)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantiles, inside the window for every probability in [0, 1], differentiable in the parameters."""
        window = _Window(self)
        with torch.no_grad():
            depth = window.quantile(torch.where(window.upper, value, 1 - value))
            x = torch.where(window.upper, window.low + self.scale * depth, window.high - self.scale * depth)
            x = torch.minimum(torch.maximum(x, window.low), window.high)
        return x + self._implicit(x, value, window)

    @property
    def mean(self) -> Tensor:
        """Mean of the cut law, shape ``(*B,)``; in double precision inside, for windows far from ``loc``."""
        loc, scale, low, high = (getattr(self, name).double() for name in self._names)
        window = _Window(TruncatedNormal(loc, scale, low, high, validate_args=False))
        depth = scale * window.mean_depth()
        mean = torch.where(window.upper, window.low + depth, window.high - depth)
        return torch.minimum(torch.maximum(mean, window.low), window.high).to(self.loc.dtype)

    def _ln_density(self, value: Tensor) -> Tensor:
        window = _Window(self)
        inner = window.near.clamp(min=0)
        standard = torch.where(window.upper, value - self.loc, self.loc - value) / self.scale
        beyond = torch.where(window.near >= 0, window.from_near_edge(value), standard)
        ln_phi = -0.5 * beyond * (standard + inner) - HALF_LN_2PI
        return ln_phi - window.ln_norm - (window.high - window.low).log()

    def _implicit(self, x: Tensor, quantile: Tensor, window: _Window) -> Tensor:
        """Zero, with the derivatives of the quantile: those of F(x; parameters) = u solved for x."""
        with torch.no_grad():
            a, b, z = ((edge - self.loc) / self.scale for edge in (window.low, window.high, x))
            at_low = torch.exp(torch.log1p(-quantile) + 0.5 * (z - a) * (z + a))
            at_high = torch.exp(torch.log(quantile) + 0.5 * (z - b) * (z + b))
            at_loc, at_scale = 1 - at_low - at_high, z - at_low * a - at_high * b
            at_value = torch.exp(-self._ln_density(x))
        slopes = (at_loc, self.loc), (at_scale, self.scale), (at_low, window.low), (at_high, window.high)
        terms = [slope * (p - p.detach()) for slope, p in (*slopes, (at_value, quantile)) if p.requires_grad]
        return sum(terms, torch.zeros_like(x))


class _Window:
    """The window of a truncated normal in sigma, mirrored to the upper tail and counted from its near edge."""

    def __init__(self, law: TruncatedNormal) -> None:
        self.low, self.high = finite_window(law.low, law.high, law.loc, law.scale)
        self.scale = law.scale
        a, b = (self.low - law.loc) / law.scale, (self.high - law.loc) / law.scale
        self.upper = a + b > 0
        self.near, self.far = near_and_far(a, b)
        self.width = (self.high - self.low) / law.scale
        self.ln_norm = ln_tail_mean(self.near, self.far, self.width)

    def from_near_edge(self, value: Tensor) -> Tensor:
        """Distance of a value from the near edge, in sigma."""
        return torch.where(self.upper, value - self.low, self.high - value) / self.scale

    def probability(self, depth: Tensor) -> Tensor:
        """Probability between the near edge and ``depth`` sigma into the window."""
        near, far = near_and_far(self.near, self.near + depth)
        ln_mean = ln_tail_mean(near, far, depth)
        inner, inner_of_part = self.near.clamp(min=0), near.clamp(min=0)
        shift = 0.5 * (inner - inner_of_part) * (inner + inner_of_part)
        return depth / self.width * torch.exp(ln_mean + shift - self.ln_norm)

    def quantile(self, probability: Tensor) -> Tensor:
        """Depth that holds the given probability, found without bisection."""
        depth = torch.where(self.near > 0, self._in_tail(probability), self._around_mean(probability))
        return torch.minimum(depth.clamp(min=0), self.width)

    def _in_tail(self, probability: Tensor) -> Tensor:
        """Newton on the cumulative hazard, convex, from the right: it converges from one side."""
        near, root2 = self.near.clamp(min=0), _SQRT_HALF
        at_near = torch.special.erfcx(near * root2)
        whole = 0.5 * self.width * (near + self.far) + torch.log(at_near / torch.special.erfcx(self.far * root2))
        target = torch.minimum(-torch.log1p(probability * torch.expm1(-whole)), whole)
        depth = 2 * target / (near + torch.sqrt(near.square() + 2 * target)).clamp(min=1e-30)
        for _ in range(_NEWTON_STEPS):
            here = torch.special.erfcx((near + depth) * root2)
            hazard = depth * (near + 0.5 * depth) + torch.log(at_near / here)
            depth = depth - (hazard - target) * here * (torch.pi / 2) ** 0.5
        return depth

    def _around_mean(self, probability: Tensor) -> Tensor:
        """The quantile from the nearer tail, through the inverse of the normal cdf."""
        below, above = torch.special.ndtr(self.near), torch.special.ndtr(-self.far)
        inside = torch.exp(self.ln_norm) * self.width
        p, q = below + probability * inside, above + (1 - probability) * inside
        standard = torch.where(p < q, torch.special.ndtri(p), -torch.special.ndtri(q))
        return standard - self.near

    def mean_depth(self) -> Tensor:
        """Mean distance from the near edge in sigma: (phi(near) - phi(far)) / probability - near."""
        rate = 0.5 * (self.near + self.far) * self.width
        like_exponential = (self.width < 1e-3) | (self.near > 1e4)  # the closed form cancels; exact to 1e-8 here
        lift = 0.5 * self.near.clamp(max=0).square() + HALF_LN_2PI + self.ln_norm
        slope = -torch.exp(-lift) * torch.expm1(-rate) / torch.where(like_exponential, 1, self.width)
        return torch.where(like_exponential, self.width * exponential_mean(rate), slope - self.near)


class TruncatedExponential(Truncated):
    r"""Exponential law on an interval, rising or falling; a zero slope is the uniform law.

    .. math:: p(x) = \frac{k \, e^{-k (x - a)}}{1 - e^{-k (b - a)}}, \quad a \le x \le b

        >>> TruncatedExponential(torch.tensor([0.0, 2.0]), 0.0, 0.5).log_prob(torch.tensor(0.25))
        tensor([0.6931, 0.6518])

    Arguments:
        slope: Decay rate k, any sign, shape ``(*B,)``, in 1 / [unit of x]; positive falls towards ``high``.
        low: Lower edge a, shape ``(*B,)``, in [unit of x].
        high: Upper edge b, shape ``(*B,)``, in [unit of x].
        validate_args: Whether to check the parameters, as everywhere in torch.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "slope": constraints.real,
        "low": constraints.real,
        "high": constraints.real,
    }
    _names = ("slope", "low", "high")
    slope: Tensor

    def __init__(
        self,
        slope: Tensor | float,
        low: Tensor | float,
        high: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(slope, low, high, validate_args=validate_args)

    @property
    def _width(self) -> Tensor:
        return self.high - self.low

    def _from_peak(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Rate over the window and distance from the denser edge over the width, both positive."""
        falls = self.slope >= 0
        rate = torch.where(falls, self.slope, -self.slope) * self._width
        return rate, torch.where(falls, value - self.low, self.high - value) / self._width

    def _ln_density(self, value: Tensor) -> Tensor:
        rate, depth = self._from_peak(value)
        return ln_exponential_norm(rate) - rate * depth - self._width.log()

    def cdf(self, value: Tensor) -> Tensor:
        """Probability below each value; 0 and 1 outside the window."""
        rate, depth = self._from_peak(torch.minimum(torch.maximum(value, self.low), self.high))
        from_peak = depth * torch.exp(ln_exponential_norm(rate) - ln_exponential_norm(rate * depth))
        return torch.where(self.slope >= 0, from_peak, 1 - from_peak).clamp(0, 1)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantiles, inside the window for every probability in [0, 1]."""
        x = self.low + self._width * exponential_icdf(value, self.slope * self._width)
        return torch.minimum(torch.maximum(x, self.low), self.high)

    @property
    def mean(self) -> Tensor:
        """Mean, shape ``(*B,)``."""
        return self.low + self._width * exponential_mean(self.slope * self._width)
