"""Logarithms of small differences, written so that neither the value nor its gradient loses its digits."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stream_mapper.devices import sync_is_cheap

HALF_LN_2PI = 0.5 * math.log(2 * math.pi)
_SQRT_HALF = math.sqrt(0.5)
_SHORT_INTERVAL = 0.1  # the series below leaves out a relative 3e-12 here, the closed form loses one digit
_SHORT = {torch.float32: 0.4}  # the closed form of the tilt loses more digits; the series leaves out 1e-5 of it here
_SMALL_RATE = 0.3
_SMALL_QUANTILE_RATE = 1e-2
_NEGLIGIBLE = -60.0  # as an exponent, beside one; denormal numbers, which are slow, never arise
_FAR = 40.0  # ln Phi(-40) = -804: beyond any floating point number that is added to one
_WHOLE = {torch.float32: 5.7, torch.float64: 8.5}  # sigma on each side that hold all but half a rounding


def ln_normal(x: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """Log density of a normal law, in nats; the arguments broadcast and share one unit."""
    return -0.5 * ((x - mu) / sigma) ** 2 - sigma.log() - HALF_LN_2PI


def ln_normal_interval(low: Tensor, high: Tensor) -> Tensor:
    r"""Log probability of a standard normal variable in an interval.

    .. math:: \ln [\Phi(b) - \Phi(a)], \quad a < b

    It holds any number of sigma from the centre, and infinite edges are allowed. (An edge computed as
    ``(low - mu) / sigma`` from an infinite ``low`` has an infinite derivative in sigma of its own; replace it by
    a far finite one with `finite_window` first if sigma is fitted.)

    Arguments:
        low: Lower edge a in sigma, shape (*B,).
        high: Upper edge b in sigma, shape (*B,).

    Returns:
        Nats, shape (*B,).
    """
    low, high = finite_window(low, high)
    near, far = near_and_far(low, high)
    width = high - low
    return ln_tail_mean(near, far, width) + width.log() - 0.5 * near.clamp(min=0).square()


def ln_normal_mean(middle: Tensor, width: Tensor, tilt: Tensor | None = None) -> Tensor:
    r"""Log of the mean standard normal density over an interval, with weights that may be tilted.

    .. math:: \ln \int_{-1/2}^{1/2} (1 + 2 c s) \, \phi(m - \delta s) \, ds

    Unlike the probability it stays finite, :math:`\ln \phi(m)`, when the interval has no width. Its first derivatives
    are computed along with it, so it has no second ones. With M the mean without a tilt, its slopes
    :math:`M_m, M_\delta` (of ln M; the normal densities at the edges over the probability) give the mean of s,
    :math:`E = (m + M_m) / \delta`, and with it the tilted mean and its own slopes: by parts,

    .. math:: M_c = M (1 + 2 c E), \quad \partial_m \ln M_c = \frac{M_m - 2 c M_\delta}{1 + 2 c E}, \quad
        \partial_\delta \ln M_c = \frac{M_\delta - c (M_m / 2 + 4 E / \delta)}{1 + 2 c E}

    Arguments:
        middle: Middle m of the interval in sigma, shape (*B,).
        width: Width :math:`\delta \ge 0` in sigma, shape (*B,).
        tilt: Slope c of the weights from one end to the other, -1 < c < 1, shape as (or broadcast to) the others; they
            grow towards s = 1/2, the end that zero is nearer to if m > 0. A constant: it gets no gradient.

    Returns:
        Nats, shape (*B,).
    """
    value: Tensor = _NormalMean.apply(middle, width, tilt)[0]  # type: ignore[no-untyped-call]
    return value


def ln_normal_mean_and_slopes(
    middle: Tensor, width: Tensor, tilt: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """`ln_normal_mean` and its derivatives in the middle and in the width; not differentiable itself."""
    distance, sign = middle.abs(), torch.copysign(torch.ones_like(middle), middle)
    short = torch.addcmul(width, width, distance) < _SHORT.get(middle.dtype, _SHORT_INTERVAL)
    series, closed = _mean_of_short(distance, width), _mean_of_long(distance, width)
    flat = _Mean(*(torch.where(short, s, c) for s, c in zip(series, closed, strict=True)))
    mean = flat if tilt is None else _tilted(flat, width, tilt * sign)
    return mean.ln_mean(), mean.slope_middle.mul_(sign), mean.slope_width


class WithSlopes(torch.autograd.Function):
    """A function whose ``forward`` gives its value, then its derivatives in its first arguments (with no gradients)."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, ...]) -> None:  # noqa: ARG004
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        slopes = ctx.saved_tensors
        fixed = (None,) * (len(ctx.needs_input_grad) - len(slopes))
        return (*(grad * slope for slope in slopes), *fixed)


class _NormalMean(WithSlopes):
    """`ln_normal_mean` with its derivatives in the middle and in the width as further outputs."""

    generate_vmap_rule = True

    @staticmethod
    def forward(middle: Tensor, width: Tensor, tilt: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        return ln_normal_mean_and_slopes(middle, width, tilt)


class _Mean(NamedTuple):
    """A mean density over an interval on the positive side: its parts, its log's slopes, and E / width."""

    mean: Tensor
    ln_factor: Tensor
    slope_middle: Tensor
    slope_width: Tensor
    lean: Tensor

    def ln_mean(self) -> Tensor:
        """The log of the mean; overwrites."""
        return self.mean.log_().add_(self.ln_factor)


def _tilted(flat: _Mean, width: Tensor, tilt: Tensor) -> _Mean:
    """The mean with weights 1 + 2 c s, s towards zero; overwrites ``flat`` and ``tilt`` (see `ln_normal_mean`)."""
    mean, ln_factor, slope_middle, slope_width, lean = flat
    place = (lean * width).clamp_(0, 0.5)  # E; far out, where the distance has lost the width's digits, any s would do
    change = place.mul_(tilt).mul_(2).add_(1)
    lean.mul_(4).add_(slope_middle, alpha=0.5)
    at_middle = torch.addcmul(slope_middle, tilt, slope_width, value=-2).div_(change)
    at_width = slope_width.addcmul_(tilt, lean, value=-1).div_(change)
    return _Mean(mean.mul_(change), ln_factor, at_middle, at_width, lean)


def _mean_of_long(distance: Tensor, width: Tensor) -> _Mean:
    """The mean in closed form (see `ln_tail_mean`); wrong for short intervals."""
    near, far = torch.sub(distance, width, alpha=0.5), torch.add(distance, width, alpha=0.5)
    decay = torch.exp((-distance * width).clamp_(min=_NEGLIGIBLE))
    at_near = torch.special.erfcx(near.abs().mul_(_SQRT_HALF))
    at_far = torch.special.erfcx(far.mul_(_SQRT_HALF)).mul_(decay)
    beyond = torch.exp(near.clamp(max=0).square_().mul_(-0.5).clamp_(min=_NEGLIGIBLE))
    twice = torch.where(near < 0, 2 - beyond * (at_near + at_far), at_near.sub_(at_far))
    at_edge = beyond.div_(twice).mul_(math.sqrt(2 / math.pi))
    at_far_edge = decay.mul_(at_edge)
    inverse = width.reciprocal()
    slope_middle, slope_width = at_far_edge - at_edge, at_far_edge.add_(at_edge).mul_(0.5).sub_(inverse)
    lean = (distance + slope_middle).mul_(inverse).mul_(inverse)
    ln_factor = near.clamp_(min=0).square_().mul_(-0.5)
    return _Mean(twice.mul_(inverse).mul_(0.5), ln_factor, slope_middle, slope_width, lean)


def _mean_of_short(distance: Tensor, width: Tensor) -> _Mean:
    """The mean by its series; wrong for long intervals."""
    square, narrow = distance.square(), width.square()
    fourth = (square - 6).mul_(square).add_(3)
    mean = torch.addcmul((square - 1) / 24, narrow, fourth, value=1 / 1920).mul_(narrow).add_(1)
    lean = torch.addcmul(torch.full_like(square, 1 / 12), narrow, square - 3, value=1 / 480).div_(mean).mul_(distance)
    slope_width = torch.addcmul((square - 1) / 12, narrow, fourth, value=1 / 480).mul_(width).div_(mean)
    slope_middle = torch.addcmul(-distance, narrow, lean)
    return _Mean(mean, square.mul_(-0.5).sub_(HALF_LN_2PI), slope_middle, slope_width, lean)


def ln_tail_mean(near: Tensor, far: Tensor, width: Tensor) -> Tensor:
    r"""Mean normal density over an interval, relative to the density at its edge nearest to the centre.

    .. math:: \ln \frac{1}{\delta} \int_n^f \phi(x) \, dx + \tfrac{1}{2} \max(n, 0)^2

    Keeping the second term apart is what lets a truncated normal be normalised 1e5 sigma from its mean. Three forms
    share the work. A short interval uses the series of the mean in Hermite polynomials around the middle x,
    :math:`1 + (x^2 - 1) \delta^2 / 24 + (x^4 - 6 x^2 + 3) \delta^4 / 1920`; the others use the scaled
    complementary error function, of which the common exponential has been taken out.

    Arguments:
        near: Edge n nearer to zero, mirrored so that ``near + far >= 0``, shape (*B,).
        far: The other edge f, shape (*B,).
        width: f - n, given apart because the difference of the edges may have lost digits, shape (*B,).

    Returns:
        Nats, shape (*B,).
    """
    if torch.is_grad_enabled() or not (near.shape == far.shape == width.shape and sync_is_cheap(near.device)):
        return _ln_tail_mean(near, far, width)
    found, cut = -width.log(), ~(near < -_WHOLE.get(near.dtype, torch.inf))  # most windows hold all of a law
    return found.masked_scatter_(cut, _ln_tail_mean(near[cut], far[cut], width[cut])) if bool(cut.any()) else found


def _ln_tail_mean(near: Tensor, far: Tensor, width: Tensor) -> Tensor:
    """The same, with what no window needs that holds all of a law."""
    middle, inner = 0.5 * (near + far), near.clamp(min=0)
    short = width * (1 + middle) < _SHORT_INTERVAL
    series = _ln_short_mean(torch.where(short, middle, 0), torch.where(short, width, 0))
    series = series - 0.5 * (middle - inner) * (middle + inner)
    closed = _tail_probability(near, far, torch.where(short, 1, middle * width))
    ln_closed = torch.where(short, 1, closed).log() - torch.where(short, 1, width).log()
    return torch.where(short, series - HALF_LN_2PI, ln_closed)


def _ln_short_mean(middle: Tensor, width: Tensor) -> Tensor:
    """Log of the mean over a short interval of exp(-(x^2 - middle^2) / 2)."""
    square, narrow = middle.square(), width.square()
    return torch.log1p(narrow * ((square - 1) / 24 + narrow * (square * (square - 6) + 3) / 1920))


def _tail_probability(near: Tensor, far: Tensor, exponent: Tensor) -> Tensor:
    """Probability between the edges times exp(max(near, 0)^2 / 2); ``exponent`` is (far^2 - near^2) / 2."""
    distance = torch.where(near < 0, -near, near)  # abs() would have no derivative at zero
    at_near = torch.special.erfcx(distance * _SQRT_HALF)
    at_far = torch.special.erfcx(far * _SQRT_HALF) * torch.exp(-exponent)
    beyond = torch.exp(-0.5 * near.clamp(max=0).square())
    tail = at_near - at_far
    return 0.5 * torch.where(near < 0, 2 - beyond * (at_near + at_far), tail)


def near_and_far(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The edges of an interval, mirrored to the upper tail, the one nearer to zero first."""
    upper = low + high > 0
    return torch.where(upper, low, -high), torch.where(upper, high, -low)


def finite_window(
    low: Tensor, high: Tensor, loc: Tensor | float = 0.0, scale: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """The edges with infinite ones moved to where a normal law (loc, scale) has nothing left; all broadcast."""
    with torch.no_grad():
        if sync_is_cheap(low.device) and not bool((low.isinf() | high.isinf()).any()):
            return low, high
        reach = _FAR * scale
        below = torch.minimum(high, torch.zeros_like(high) + loc) - reach
        above = torch.maximum(low, torch.zeros_like(low) + loc) + reach
        below = torch.where(low.isinf() & ~high.isinf(), below - (high - loc).abs(), below)
        above = torch.where(high.isinf() & ~low.isinf(), above + (low - loc).abs(), above)
        open_both = low.isinf() & high.isinf()
        below, above = torch.where(open_both, loc - reach, below), torch.where(open_both, loc + reach, above)
    return torch.where(low.isinf(), below, low), torch.where(high.isinf(), above, high)


def ln_exponential_norm(rate: Tensor) -> Tensor:
    r"""Log norm of an exponential law on the unit interval.

    .. math:: \ln \frac{k}{1 - e^{-k}} = \frac{k}{2} - \frac{k^2}{24} + \frac{k^4}{2880} - \dots

    Arguments:
        rate: Decay rate k per unit length, any sign, zero included, shape (*B,).

    Returns:
        Nats, shape (*B,).
    """
    size = torch.where(rate >= 0, rate, -rate)
    small = size < _SMALL_RATE
    square = torch.where(small, rate, 0).square()
    series = -square / 24 * (1 - square / 120 * (1 - square / 63 * (1 - square * 3 / 160)))
    safe = torch.where(small, 1, size)
    closed = safe.log() - torch.log(-torch.expm1(-safe)) - (-rate).clamp(min=0)
    return torch.where(small, series + 0.5 * rate, closed)


def exponential_mean(rate: Tensor) -> Tensor:
    r"""Mean of an exponential law on the unit interval.

    .. math:: \frac{1}{k} - \frac{1}{e^k - 1} = \frac{1}{2} - \frac{k}{12} + \frac{k^3}{720} - \dots

    Arguments:
        rate: Decay rate k, any sign, shape (*B,).
    """
    small = rate.abs() < _SMALL_RATE
    k = torch.where(small, rate, 0)
    square = k.square()
    series = 0.5 - k / 12 * (1 - square / 60 * (1 - square / 42 * (1 - square / 40)))
    size = torch.where(small, 1, rate.abs())
    closed = 1 / size + torch.exp(-size) / torch.expm1(-size)
    return torch.where(small, series, torch.where(rate > 0, closed, 1 - closed))


def exponential_icdf(quantile: Tensor, rate: Tensor) -> Tensor:
    r"""Quantile of an exponential law on the unit interval.

    .. math:: t = -\frac{1}{k} \ln [1 - u (1 - e^{-k})]

    Near zero rate it is the cumulant series of a Bernoulli variable of mean u; negative rates are mirrored.

    Arguments:
        quantile: u in [0, 1], shape (*B,).
        rate: Decay rate k, any sign, shape (*B,).
    """
    size = torch.where(rate >= 0, rate, -rate)
    u = torch.where(rate >= 0, quantile, 1 - quantile)
    small = size < _SMALL_QUANTILE_RATE
    k, safe = torch.where(small, size, 0), torch.where(small, 1, size)
    spread = u * (1 - u)
    series = u - k * spread * (0.5 - k * ((1 - 2 * u) / 6 - k * (1 - 6 * spread) / 24))
    t = torch.where(small, series, -_ln_left(u, safe) / safe)
    return torch.where(rate >= 0, t, 1 - t)


def _ln_left(u: Tensor, rate: Tensor) -> Tensor:
    """Log of 1 - u (1 - exp(-rate)), to all digits at both ends of u."""
    first, one = u < 0.5, u >= 1
    near = torch.log1p(torch.where(first, u, 0) * torch.expm1(-rate))
    left = torch.where(one, -torch.inf, torch.log1p(-torch.where(one | first, 0.5, u)))
    far = torch.logaddexp(left, torch.log(torch.where(first, 0.5, u)) - rate)
    return torch.where(first, near, far)
