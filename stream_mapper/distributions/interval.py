"""Parts of one-dimensional laws: the probability of an interval, and the law cut to it."""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal, Uniform

from stream_mapper.distributions.skew import SkewNormal, TruncatedSkewNormal
from stream_mapper.distributions.sloped import Sloped
from stream_mapper.distributions.truncated import TruncatedExponential, TruncatedNormal


@singledispatch
def cut_to(law: Distribution, low: Tensor, high: Tensor) -> Distribution | None:  # noqa: ARG001
    """The law given that the variable is in an interval within its support; None if there is no such class.

    Arguments:
        law: Of batch shape (N,).
        low: Lower edges, (N,).
        high: Upper edges, (N,), above the lower ones.
    """
    return None


@cut_to.register
def _(law: Normal, low: Tensor, high: Tensor) -> Distribution:
    return TruncatedNormal(law.loc, law.scale, low, high, validate_args=False)


@cut_to.register
def _(law: TruncatedNormal, low: Tensor, high: Tensor) -> Distribution:
    return TruncatedNormal(law.loc, law.scale, low, high, validate_args=False)


@cut_to.register(SkewNormal)
@cut_to.register(TruncatedSkewNormal)
def _(law: SkewNormal | TruncatedSkewNormal, low: Tensor, high: Tensor) -> Distribution:
    return TruncatedSkewNormal(law.loc, law.scale, law.skewness, low, high, validate_args=False)


@cut_to.register
def _(law: TruncatedExponential, low: Tensor, high: Tensor) -> Distribution:
    return TruncatedExponential(law.slope, low, high, validate_args=False)


@cut_to.register
def _(law: Uniform, low: Tensor, high: Tensor) -> Distribution:  # noqa: ARG001
    return Uniform(low, high, validate_args=False)


@singledispatch
def ln_interval(law: Distribution, low: Tensor, high: Tensor) -> Tensor:
    """Log probability of an interval within the support of a law, (N,), in nats; arguments as of `cut_to`.

    It is the density of the law over that of the law cut to the interval, anywhere in it: taken where the law is
    densest, it keeps its digits for intervals any number of sigma away.
    """
    cut = cut_to(law, low, high)
    if cut is None:
        return (law.cdf(high) - law.cdf(low)).log()
    with torch.no_grad():
        x = torch.minimum(torch.maximum(_dense(law, low, high), low), high)
    return law.log_prob(x) - cut.log_prob(x)


@ln_interval.register
def _(law: Uniform, low: Tensor, high: Tensor) -> Tensor:
    return ((high - low) / (law.high - law.low)).log()


@ln_interval.register
def _(law: Sloped, low: Tensor, high: Tensor) -> Tensor:
    mean = 1 / (law.high - law.low) + law.slope * (0.5 * (low + high) - 0.5 * (law.low + law.high))
    return ((high - low) * mean).log()


def draw_between(law: Distribution, low: Tensor, high: Tensor) -> Tensor:
    """One draw of a law in each interval, (N,); arguments as of `cut_to`."""
    cut = cut_to(law, low, high)
    between = torch.lerp(law.cdf(low), law.cdf(high), torch.rand_like(low)) if cut is None else low
    x = law.icdf(between) if cut is None else cut.sample()
    return torch.minimum(torch.maximum(x, low), high)


@singledispatch
def _dense(law: Distribution, low: Tensor, high: Tensor) -> Tensor:  # noqa: ARG001
    """Roughly where the law is densest, (N,)."""
    return law.mean


@_dense.register
def _(law: TruncatedNormal, low: Tensor, high: Tensor) -> Tensor:  # noqa: ARG001
    return law.loc


@_dense.register
def _(law: TruncatedExponential, low: Tensor, high: Tensor) -> Tensor:
    return torch.where(law.slope > 0, low, high)


@_dense.register
def _(law: TruncatedSkewNormal, low: Tensor, high: Tensor) -> Tensor:  # noqa: ARG001
    return SkewNormal(law.loc, law.scale, law.skewness, validate_args=False).mean
