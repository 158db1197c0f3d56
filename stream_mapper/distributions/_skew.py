r"""The probability of a skew-normal law in an interval, to all digits at any distance and any skewness.

By symmetry the skewness :math:`\alpha` is not negative here: below zero the density is suppressed, above it is nearly
normal. With the suppressed part :math:`G(n, f) = \int_n^f \phi(t) \Phi(-\alpha t) \, dt`, n >= 0, an interval holds

.. math:: \int_a^b \phi(z) \Phi(\alpha z) \, dz = \Phi(b_+) - \Phi(a_+) \pm G(\min(|a|, |b|), \max(|a|, |b|)),
    \quad x_+ = \max(x, 0)

with the sign of -(a + b). G is at most half of the normal part it is taken from, so that nothing cancels. As
:math:`G = \frac{1}{2} \int \phi(s t) \, \mathrm{erfcx}(\alpha t / \sqrt 2) \, dt`, :math:`s^2 = 1 + \alpha^2`, it is
the integral of a function that varies slowly beside a Gaussian whatever the skewness, and twenty nodes give 13 digits.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stream_mapper.distributions._quadrature import unit_rule
from stream_mapper.distributions._stable import HALF_LN_2PI, WithSlopes, ln_tail_mean, near_and_far

_SQRT_HALF, _LN2 = math.sqrt(0.5), math.log(2)
# Nodes, and the exponent beyond which nothing is left: together 3e-14 in double precision, 2e-8 in single
_RULES = {True: (20, 37.0), False: (12, 18.0)}
_LARGE = 5.0  # from here on the continued fraction has ten digits, below it erfcx's derivative has lost two
_LEVELS = 10


def ln_suppressed(x: Tensor) -> Tensor:
    r""":math:`\ln \Phi(-x) + x^2 / 2` at x >= 0, with a derivative that keeps its digits."""
    value: Tensor = _LnErfcx.apply(x * _SQRT_HALF)[0]  # type: ignore[no-untyped-call]
    return value - _LN2


def ln_most(x: Tensor) -> Tensor:
    r""":math:`\ln \Phi(x)` at x >= 0."""
    return torch.log1p(-0.5 * torch.erfc(x * _SQRT_HALF))


def ln_skew_mean(low: Tensor, high: Tensor, width: Tensor, alpha: Tensor) -> Tensor:
    r"""Mean of half the skew-normal density over an interval, relative to a Gaussian at its edge nearest to zero.

    .. math:: \ln \frac{1}{\delta} \int_a^b \phi(z) \Phi(\alpha z) \, dz + \tfrac{1}{2} k n^2

    where n is the distance of the interval from zero (none if zero is inside) and k is :math:`1 + \alpha^2` for an
    interval below zero and 1 above. Keeping that term apart is what lets the law be normalised in its far tails.

    Arguments:
        low: Lower edge a in scales, shape (*B,).
        high: Upper edge b in scales, shape (*B,).
        width: Their difference, given apart because that of the edges may have lost digits, shape (*B,); may be zero.
        alpha: Skewness, not negative, shape (*B,).

    Returns:
        Nats, shape (*B,).
    """
    width = width.clamp(min=torch.finfo(width.dtype).tiny)
    below, above = high <= 0, low >= 0
    near, far = near_and_far(low, high)
    near, odd_width = torch.where(near < 0, -near, near), torch.where(below | above, width, far + near)
    square = alpha.square()
    damping = torch.where(below, 0, torch.where(above, square, 1 + square))
    odd = torch.exp(ln_suppressed_mean(near, odd_width, alpha) - 0.5 * damping * near.square() - HALF_LN_2PI)
    normal_width = torch.where(above, width, torch.where(below, 0, high))
    normal = torch.exp(ln_tail_mean(low.clamp(min=0), high.clamp(min=0), normal_width))
    sign = torch.where(low + high > 0, -0.5, 0.5)
    return torch.log(normal_width / width * normal + sign * odd_width / width * odd)


def ln_suppressed_mean(near: Tensor, width: Tensor, alpha: Tensor) -> Tensor:
    r"""Mean of the suppressed tail, relative to a Gaussian at its near edge.

    .. math:: \ln \frac{1}{\delta} \int_0^\delta e^{-(1 + \alpha^2) (n \tau + \tau^2 / 2)} \,
        \mathrm{erfcx}\!\left(\frac{\alpha (n + \tau)}{\sqrt 2}\right) d\tau

    The first derivatives are computed along with it, as means over the same nodes, so it has no second ones.

    Arguments:
        near: Near edge n >= 0, shape (*B,).
        width: Width :math:`\delta \ge 0`, shape (*B,).
        alpha: Skewness, not negative, shape (*B,).

    Returns:
        Nats, shape (*B,).
    """
    if not torch.is_grad_enabled():
        return _at_nodes(near, width, alpha).ln_mean
    value: Tensor = _SuppressedMean.apply(near, width, alpha)[0]  # type: ignore[no-untyped-call]
    return value


class _Nodes(NamedTuple):
    """The integrand at the nodes, (*B, nodes), and the log of its mean, (*B,)."""

    ln_mean: Tensor
    weight: Tensor  # integrand by quadrature weight, of sum one
    share: Tensor  # depth over the width
    depth: Tensor
    t: Tensor
    fall: Tensor  # (t^2 - near^2) / 2
    u: Tensor  # argument of erfcx
    erfcx: Tensor


def _at_nodes(near: Tensor, width: Tensor, alpha: Tensor) -> _Nodes:
    order, far = _RULES[near.dtype == torch.float64]
    nodes, weights = unit_rule(order, near)
    steep = 1 + alpha.square()
    start = near * steep.sqrt()
    end = 2 * far / (steep.sqrt() * (start + torch.sqrt(start.square() + 2 * far)))
    reach = torch.where(width > end, end / width, 1)  # share of the width beyond which nothing is left
    share = reach[..., None] * nodes
    depth = width[..., None] * share
    t, fall = near[..., None] + depth, depth * (near[..., None] + 0.5 * depth)
    u = alpha[..., None] * t * _SQRT_HALF
    erfcx = torch.special.erfcx(u)
    weight = weights * erfcx * torch.exp(-steep[..., None] * fall)
    total = weight.sum(-1)
    return _Nodes(torch.log(total * reach), weight / total[..., None], share, depth, t, fall, u, erfcx)


class _SuppressedMean(WithSlopes):
    """`ln_suppressed_mean` with its derivatives as further outputs."""

    generate_vmap_rule = True

    @staticmethod
    def forward(near: Tensor, width: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        at = _at_nodes(near, width, alpha)
        a, steep = alpha[..., None], 1 + alpha.square()[..., None]
        pull = _ln_erfcx_slope(at.u, at.erfcx) * _SQRT_HALF
        by_near = (at.weight * (a * pull - steep * at.depth)).sum(-1)
        by_width = (at.weight * at.share * (a * pull - steep * at.t)).sum(-1)
        by_alpha = (at.weight * (at.t * pull - 2 * a * at.fall)).sum(-1)
        return at.ln_mean, by_near, by_width, by_alpha


class _LnErfcx(torch.autograd.Function):
    """Log of the scaled complementary error function at x >= 0, with its derivative as a further output."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        erfcx = torch.special.erfcx(x)
        return erfcx.log(), _ln_erfcx_slope(x, erfcx)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:  # noqa: ARG004
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return grad * slope


def _ln_erfcx_slope(x: Tensor, erfcx: Tensor) -> Tensor:
    r"""Derivative of ln erfcx, :math:`2 x - 2 / (\sqrt\pi \, \mathrm{erfcx})`; a continued fraction at large x."""
    safe = x.clamp(min=_LARGE)
    fraction = torch.zeros_like(x)
    for level in range(_LEVELS, 0, -1):
        fraction = 0.5 * level / (safe + fraction)
    return torch.where(x < _LARGE, 2 * x - 2 / (math.sqrt(math.pi) * erfcx), -2 * fraction)
