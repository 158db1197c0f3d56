"""Mean of the normal distribution function over an interval, with its logarithm's digits kept in the tail."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from stream_mapper.distributions._stable import WithSlopes

_SHORT_INTERVAL = 0.01  # the series below leaves out a relative 1e-9 here
_FAR = 25.0  # the closed form of `_tail` loses x^2 of its digits, its series leaves out 5e-14 here
_ROOT_HALF_PI = math.sqrt(math.pi / 2)
_PHI_0 = 1 / math.sqrt(2 * math.pi)


def ln_ndtr_mean(middle: Tensor, width: Tensor, tilt: Tensor) -> Tensor:
    r"""Log of the mean of the normal distribution function over an interval, with weights that may be tilted.

    .. math:: \ln \int_{-1/2}^{1/2} (1 + 2 c s) \, \Phi(u + \delta s) \, ds

    In closed form with :math:`\int \Phi = z \Phi + \phi` and :math:`\int z \Phi = [(z^2 - 1) \Phi + z \phi] / 2`, the
    normal density at the upper edge taken out, in double precision inside. The first derivatives are computed along
    with it, so it has no second ones.

    Arguments:
        middle: Middle u of the interval in sigma, shape (*B,).
        width: Width :math:`\delta \ge 0` in sigma, shape (*B,).
        tilt: Slope c of the weights, -1 < c < 1, shape as (or broadcast to) the others. It gets no gradient.

    Returns:
        Nats, shape (*B,).
    """
    value: Tensor = _NdtrMean.apply(*torch.broadcast_tensors(middle, width, tilt))[0]  # type: ignore[no-untyped-call]
    return value


class _NdtrMean(WithSlopes):
    """`ln_ndtr_mean` with its derivatives in the middle and in the width as further outputs."""

    @staticmethod
    def forward(middle: Tensor, width: Tensor, tilt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, delta, c = (values.double() for values in (middle, width, tilt))
        short = delta * (1 + u.abs()) < _SHORT_INTERVAL
        series, closed = _short(u, delta, c), _long(u, torch.where(short, 1, delta), c)
        value, by_middle, by_width = (torch.where(short, s, k).to(middle) for s, k in zip(series, closed, strict=True))
        return value, by_middle, by_width


class _Tail(NamedTuple):
    """For z > 0, relative to exp(-h): Phi(-z) and the integrals of Phi(y) and y Phi(y) up to -z."""

    probability: Tensor
    integral: Tensor
    moment: Tensor


def _tail(z: Tensor, ln_scale: Tensor) -> _Tail:
    """The tail beyond |z|; ``ln_scale`` is h - z^2 / 2."""
    x = z.abs()
    mills = _ROOT_HALF_PI * torch.special.erfcx(x * math.sqrt(0.5))
    y = x.clamp(min=_FAR).square().reciprocal()
    series = y * (1 - y * (3 - y * (15 - y * (105 - y * (945 - y * (10395 - y * 135135))))))
    shape = torch.where(x > _FAR, series, 1 - x * mills)
    phi = _PHI_0 * torch.exp(ln_scale)
    return _Tail(phi * mills, phi * shape, -0.5 * phi * (x * shape + mills))


def _long(u: Tensor, delta: Tensor, tilt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value and derivatives in closed form; wrong for short intervals."""
    z0, z1 = u - 0.5 * delta, u + 0.5 * delta
    h = 0.5 * z1.clamp(max=0).square()
    low, high = _tail(z0, (h - 0.5 * z0.square()).clamp(max=0)), _tail(z1, (h - 0.5 * z1.square()).clamp(max=0))
    s0, s1 = torch.where(z0 < 0, 1.0, -1.0), torch.where(z1 < 0, 1.0, -1.0)
    at_low = torch.where(z0 < 0, low.probability, 1 - low.probability)
    at_high = torch.where(z1 < 0, high.probability, 1 - high.probability)
    inside, across = z0 >= 0, (z0 < 0) & (z1 >= 0)
    whole = torch.where(inside, delta, torch.where(across, z1, 0)) + high.integral - low.integral
    moment = torch.where(across, 0.5 * (z1.square() - 1) - u * z1, 0)
    moment = moment + s1 * high.moment - s0 * low.moment - u * (high.integral - low.integral)
    flat = whole / delta
    place = (moment / (whole * delta)).clamp(0, 0.5)  # mean of s; Phi rises, so never below the middle
    mean = flat * (1 + 2 * tilt * place)
    by_middle = ((1 + tilt) * at_high - (1 - tilt) * at_low - 2 * tilt * flat) / (delta * mean)
    by_width = (0.5 * ((1 + tilt) * at_high + (1 - tilt) * at_low) - flat * (1 + 4 * tilt * place)) / (delta * mean)
    return mean.log() - h, by_middle, by_width


def _short(u: Tensor, delta: Tensor, tilt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value and derivatives by their series; wrong for long intervals."""
    x = u.clamp(max=0)
    h = 0.5 * x.square()
    tail = _tail(u, h - 0.5 * u.square())
    at = torch.where(u < 0, tail.probability, 1 - tail.probability)
    ratio = _PHI_0 * torch.exp(h - 0.5 * u.square()) / at
    change = 1 + ratio * (tilt * delta / 6 - u * delta.square() / 24)
    by_middle = ratio * (1 - tilt * u * delta / 6 + (u.square() - 1) * delta.square() / 24) / change
    by_width = ratio * (tilt / 6 - u * delta / 12) / change
    return at.log() + change.log() - h, by_middle, by_width
