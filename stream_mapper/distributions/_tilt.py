"""Derivatives of tilted means in their tilt."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LnMean = Callable[[Tensor, Tensor, Tensor], Tensor]


def with_slope_in_tilt(ln_mean: LnMean, middle: Tensor, width: Tensor, tilt: Tensor) -> Tensor:
    r"""A tilted mean with its derivative in the tilt, which `ln_normal_mean` and `ln_ndtr_mean` leave out.

    The mean is linear in the tilt c, so the derivative follows from its value at any other one,

    .. math:: \partial_c \ln M_c = \frac{M_{c'} / M_c - 1}{c' - c}.

    Arguments:
        ln_mean: Log of the mean, in nats, from the other arguments; differentiable in the first two.
        middle: Middle of the interval, shape (*B,).
        width: Its width, shape (*B,).
        tilt: The tilt, -1 < c < 1, shape as (or broadcast to) the others.
    """
    if not tilt.requires_grad:
        return ln_mean(middle, width, tilt)
    fixed = tilt.detach()
    value = ln_mean(middle, width, fixed)
    with torch.no_grad():
        other = torch.where(fixed > 0, fixed - 1, fixed + 1)
        slope = torch.expm1(ln_mean(middle, width, other) - value) / (other - fixed)
    return value + (tilt - fixed) * slope
