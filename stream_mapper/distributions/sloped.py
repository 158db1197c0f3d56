"""Linear density on an interval."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from stream_mapper.distributions.base import Truncated


class Sloped(Truncated):
    r"""Density linear in x; a zero slope is the uniform law.

    .. math:: p(x) = \frac{1}{b - a} + m \left(x - \frac{a + b}{2}\right), \quad a \le x \le b,
        \quad |m| \le \frac{2}{(b - a)^2}

    At the limit the density vanishes at one edge. Beyond it there is no such law: an error where the parameters are
    checked, and the law of the limit where they are not.

        >>> Sloped(torch.tensor([0.0, 0.5]), 0.0, 2.0).log_prob(torch.tensor(1.5))
        tensor([-0.6931, -0.2877])

    Arguments:
        slope: Slope m, shape ``(*B,)``, in 1 / [unit of x]^2; positive rises towards ``high``.
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
        rounding = 8 * torch.finfo(self.slope.dtype).eps
        if self._validate_args and not bool((self._tilt().abs() <= 1 + rounding).all()):
            limit = 2 / self._width.square()
            raise ValueError(f"the slope of a linear density is at most {limit} either way; found {self.slope}.")

    @property
    def _width(self) -> Tensor:
        return self.high - self.low

    def _tilt(self) -> Tensor:
        """Relative excess of the density at the upper edge, -1 to 1 if the slope is admissible."""
        return 0.5 * self.slope * self._width.square()

    def _from_thin(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whether the density rises, its relative excess at the denser edge, and the distance from the other one."""
        tilt = self._tilt().clamp(-1, 1)
        rises = tilt >= 0
        depth = torch.where(rises, value - self.low, self.high - value) / self._width
        return rises, torch.where(rises, tilt, -tilt), depth

    def _ln_density(self, value: Tensor) -> Tensor:
        _, excess, depth = self._from_thin(value)
        density = (1 - excess) + 2 * excess * depth
        positive = density > 0
        return torch.where(positive, torch.where(positive, density, 1).log() - self._width.log(), -torch.inf)

    def cdf(self, value: Tensor) -> Tensor:
        """Probability below each value; 0 and 1 outside the window."""
        rises, excess, depth = self._from_thin(torch.minimum(torch.maximum(value, self.low), self.high))
        from_thin = depth * ((1 - excess) + excess * depth)
        return torch.where(rises, from_thin, 1 - from_thin).clamp(0, 1)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantiles, inside the window for every probability in [0, 1]; no gradient where the density vanishes."""
        rises, excess, _ = self._from_thin(self.low)
        u, rest = torch.where(rises, value, 1 - value), 1 - excess
        square = rest.square() + 4 * excess * u
        positive = square > 0
        root = torch.where(positive, square, 1).sqrt()
        depth = torch.where(positive, 2 * u / (rest + root), 0)
        x = torch.where(rises, self.low + self._width * depth, self.high - self._width * depth)
        return torch.minimum(torch.maximum(x, self.low), self.high)

    @property
    def mean(self) -> Tensor:
        """Mean, shape ``(*B,)``."""
        return self.low + self._width * (0.5 + self._tilt().clamp(-1, 1) / 6)
