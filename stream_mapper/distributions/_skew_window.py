"""The window of a truncated skew-normal law, mirrored so that the skewness is not negative."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stream_mapper.distributions._skew import ln_most, ln_skew_mean, ln_suppressed
from stream_mapper.distributions._stable import HALF_LN_2PI, exponential_mean, finite_window, ln_tail_mean, near_and_far

_NARROW, _FAR_OFF = 1e-3, 1e4  # in scales: beyond, an exponential law is exact to 1e-8 and the closed mean cancels


class Place(NamedTuple):
    """Places in scales: mirrored coordinate z, and distances from the lower and the upper mirrored edge."""

    z: Tensor
    from_low: Tensor
    from_high: Tensor


class SkewWindow:
    """The window in scales, mirrored.

    It lies below the location, above it or around it; the density is counted from the inner edge, if there is one.
    ``a`` < ``b`` are its edges and ``alpha`` is the skewness after the mirror; ``low`` and ``high`` are those in x.
    """

    def __init__(self, loc: Tensor, scale: Tensor, skewness: Tensor, low: Tensor, high: Tensor) -> None:
        self.loc, self.scale, self.flip = loc, scale, skewness < 0
        self.low, self.high = finite_window(low, high, loc, scale)
        self.alpha = torch.where(self.flip, -skewness, skewness)
        self.steep = 1 + self.alpha.square()
        a, b = (self.low - loc) / scale, (self.high - loc) / scale
        self.a, self.b = torch.where(self.flip, -b, a), torch.where(self.flip, -a, b)
        self.width = (self.high - self.low) / scale
        self.below, self.above = self.b <= 0, self.a >= 0
        self.around = ~(self.below | self.above)
        self.inner = torch.where(self.below, -self.b, torch.where(self.above, self.a, 0))
        self.ln_mean = ln_skew_mean(self.a, self.b, self.width, self.alpha)

    def place(self, value: Tensor) -> Place:
        """Where values in the window are."""
        z, low, high = (
            (value - self.loc) / self.scale,
            (value - self.low) / self.scale,
            (self.high - value) / self.scale,
        )
        return Place(*(torch.where(self.flip, *p) for p in ((-z, z), (high, low), (low, high))))

    def ln_density(self, at: Place) -> Tensor:
        """Log density per scale, in nats."""
        suppressed = self.below | (self.around & (at.z < 0))
        t = torch.where(suppressed, -at.z, at.z)
        depth = torch.where(self.below, at.from_high, torch.where(self.above, at.from_low, t))
        u = (self.alpha * t).clamp(min=0)
        tail = torch.where(suppressed, ln_suppressed(u), ln_most(u))
        fall = 0.5 * torch.where(suppressed, self.steep, 1) * depth * (t + self.inner)
        return tail - fall - HALF_LN_2PI - self.ln_mean - self.width.log()

    def share(self, at: Place) -> tuple[Tensor, Tensor]:
        """Probability between places and one mirrored edge, and whether that is the upper one.

        It is counted from the inner edge; around the location, from the edge on the same side.
        """
        from_top = self.below | (self.around & (at.z > 0))
        low, high = torch.where(from_top, at.z, self.a), torch.where(from_top, self.b, at.z)
        width = torch.where(from_top, at.from_high, at.from_low)
        fall = 0.5 * torch.where(at.z < 0, self.steep, 1) * torch.where(self.around, at.z, 0).square()
        ln_ratio = ln_skew_mean(low, high, width, self.alpha) - self.ln_mean
        return (width / self.width * torch.exp(ln_ratio - fall)).clamp(0, 1), from_top

    def mean(self) -> Tensor:
        """Mean in x: by parts in closed form, or as an exponential law's where that would cancel."""
        s, slope = self.steep.sqrt(), torch.where(self.below, self.steep, 1) * self.inner
        zero = torch.zeros_like(self.width)
        at_low = self.ln_density(Place(self.a, zero, self.width))
        at_high = self.ln_density(Place(self.b, self.width, zero))
        near, far = near_and_far(s * self.a, s * self.b)
        beside = torch.where(self.above, 0.5 * (self.alpha * self.inner).square(), 0)
        lean = self.alpha * torch.exp(ln_tail_mean(near, far, s * self.width) - beside - self.ln_mean - HALF_LN_2PI)
        narrow, far_off = s * self.width < _NARROW, slope > _FAR_OFF * torch.where(self.below, s, 1)
        rate = torch.where(narrow, at_low - at_high, torch.where(self.below, -slope, slope) * self.width)
        closed = at_low.exp() - at_high.exp() + lean - self.a
        depth = self.scale * torch.where(narrow | far_off, self.width * exponential_mean(rate), closed)
        mean = torch.where(self.flip, self.high - depth, self.low + depth)
        return torch.minimum(torch.maximum(mean, self.low), self.high)
