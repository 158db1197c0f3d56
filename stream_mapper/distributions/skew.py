"""Skew-normal laws, whole and on an interval."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from stream_mapper.distributions._skew import ln_most, ln_suppressed
from stream_mapper.distributions._skew_quantile import skew_quantile
from stream_mapper.distributions._skew_window import SkewWindow
from stream_mapper.distributions._stable import HALF_LN_2PI
from stream_mapper.distributions.base import Named, Truncated

_SQRT_2_OVER_PI, _LN2 = math.sqrt(2 / math.pi), math.log(2)


class SkewNormal(Named):
    r"""Skew-normal law; a zero skewness is the normal law, a large one half of it.

    .. math:: p(x) = \frac{2}{\omega} \phi(z) \Phi(\alpha z), \quad z = \frac{x - \xi}{\omega}

    after Azzalini (1985, Scand. J. Statist. 12, 171).

        >>> SkewNormal(0.0, 1.0, torch.tensor([0.0, 3.0])).log_prob(torch.tensor(0.5))
        tensor([-1.0439, -0.4199])

    Arguments:
        loc: Location :math:`\xi`, which is not the mean, shape ``(*B,)``, in [unit of x].
        scale: Scale :math:`\omega`, which is not the standard deviation, shape ``(*B,)``, in [unit of x].
        skewness: Shape :math:`\alpha`, any sign, shape ``(*B,)``, a pure number; positive stretches towards high x.
        validate_args: Whether to check the parameters, as everywhere in torch.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "skewness": constraints.real,
    }
    support = constraints.real
    _names = ("loc", "scale", "skewness")
    loc: Tensor
    scale: Tensor
    skewness: Tensor

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        skewness: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(loc, scale, skewness, validate_args=validate_args)

    @property
    def _lean(self) -> Tensor:
        r""":math:`\delta = \alpha / \sqrt{1 + \alpha^2}`, the correlation with the hidden variable cut at zero."""
        return self.skewness / torch.hypot(torch.ones_like(self.skewness), self.skewness)

    @property
    def mean(self) -> Tensor:
        """Mean, shape ``(*B,)``."""
        return self.loc + self.scale * _SQRT_2_OVER_PI * self._lean

    @property
    def variance(self) -> Tensor:
        """Variance, shape ``(*B,)``."""
        return self.scale.square() * (1 - (_SQRT_2_OVER_PI * self._lean).square())

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats."""
        z = (value - self.loc) / self.scale
        u = self.skewness * z
        size = torch.where(u < 0, -u, u)
        ln_cdf = torch.where(u < 0, ln_suppressed(size) - 0.5 * u.square(), ln_most(size))
        return _LN2 - HALF_LN_2PI - 0.5 * z.square() - self.scale.log() + ln_cdf

    def cdf(self, value: Tensor) -> Tensor:
        """Probability below each value."""
        return self._open_window().cdf(value)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantiles, differentiable in the parameters; those of 0 and 1 are 40 scales away."""
        return self._open_window().icdf(value)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws, differentiable in the parameters, shape ``(*sample_shape, *B)``."""
        shape = self._extended_shape(sample_shape)
        half, whole = torch.randn((2, *shape), dtype=self.loc.dtype, device=self.loc.device)
        rest = 1 / torch.hypot(torch.ones_like(self.skewness), self.skewness)
        return self.loc + self.scale * (self._lean * half.abs() + rest * whole)

    def _open_window(self) -> TruncatedSkewNormal:
        return TruncatedSkewNormal(self.loc, self.scale, self.skewness, -torch.inf, torch.inf, validate_args=False)


class TruncatedSkewNormal(Truncated):
    r"""Skew-normal law cut to an interval, sound any number of scales from its location and for any skewness.

    .. math:: p(x) = \frac{2 \phi(z) \Phi(\alpha z)}{\omega [F(b) - F(a)]}, \quad F(z) = \Phi(z) - 2 T(z, \alpha)

    with Owen's function T; the difference is computed in `stream_mapper.distributions._skew`.

        >>> TruncatedSkewNormal(0.0, 1.0, 3.0, -41.0, -40.0).log_prob(torch.tensor([-40.0, -39.0]))
        tensor([5.9916,   -inf])

    Arguments:
        loc: Location of the uncut law, shape ``(*B,)``, in [unit of x].
        scale: Scale of the uncut law, shape ``(*B,)``, in [unit of x].
        skewness: Shape of the uncut law, any sign, shape ``(*B,)``; see :class:`SkewNormal`.
        low: Lower edge, shape ``(*B,)``, in [unit of x]; may be -inf.
        high: Upper edge, shape ``(*B,)``, in [unit of x]; may be +inf.
        validate_args: Whether to check the parameters, as everywhere in torch.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "skewness": constraints.real,
        "low": constraints.real,
        "high": constraints.real,
    }
    _names = ("loc", "scale", "skewness", "low", "high")
    loc: Tensor
    scale: Tensor
    skewness: Tensor

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        skewness: Tensor | float,
        low: Tensor | float,
        high: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(loc, scale, skewness, low, high, validate_args=validate_args)

    def cdf(self, value: Tensor) -> Tensor:
        """Probability below each value; 0 and 1 outside the window."""
        window = self._window()
        place = window.place(torch.minimum(torch.maximum(value, window.low), window.high))
        share, from_top = window.share(place)
        return torch.where(from_top ^ window.flip, 1 - share, share)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantiles, inside the window for every probability in [0, 1], differentiable in the parameters."""
        with torch.no_grad():
            x = skew_quantile(self._window(), value)
            ln_p = self._ln_density(x)
            slope = torch.where(ln_p > math.log(torch.finfo(x.dtype).tiny), torch.exp(-ln_p), 0)
        below = self.cdf(x)
        return x + slope * ((value - value.detach()) - (below - below.detach()))

    @property
    def mean(self) -> Tensor:
        """Mean of the cut law, shape ``(*B,)``; in double precision inside, for windows far from ``loc``."""
        parameters = (getattr(self, name).double() for name in self._names)
        return SkewWindow(*parameters).mean().to(self.loc.dtype)

    def _window(self) -> SkewWindow:
        return SkewWindow(self.loc, self.scale, self.skewness, self.low, self.high)

    def _ln_density(self, value: Tensor) -> Tensor:
        window = self._window()
        return window.ln_density(window.place(value)) - self.scale.log()
