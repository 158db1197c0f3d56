"""What the laws share: parameters by name, and a density on an interval."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all


class Named(Distribution):
    """A law of one coordinate; a subclass names its parameters, which broadcast to the batch."""

    has_rsample = True
    _names: ClassVar[tuple[str, ...]]

    def __init__(self, *parameters: Tensor | float, validate_args: bool | None = None) -> None:
        for name, parameter in zip(self._names, broadcast_all(*parameters), strict=True):
            setattr(self, name, parameter)
        super().__init__(getattr(self, self._names[0]).shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same law for a larger batch, without a copy."""
        new: Self = self._get_checked_instance(type(self), _instance)  # type: ignore[no-untyped-call]
        for name in self._names:
            setattr(new, name, getattr(self, name).expand(batch_shape))
        super(Named, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new


class Truncated(Named):
    """A law on an interval [low, high], which are among its parameters; a subclass has its density inside."""

    low: Tensor
    high: Tensor

    def __init__(self, *parameters: Tensor | float, validate_args: bool | None = None) -> None:
        super().__init__(*parameters, validate_args=validate_args)
        if self._validate_args and not bool((self.low < self.high).all()):
            raise ValueError(f"a window needs low < high; found low={self.low} and high={self.high}.")

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """The closed window."""
        return constraints.interval(self.low, self.high)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats; -inf, with a gradient of zero, outside the window."""
        inside = (value >= self.low) & (value <= self.high)
        return torch.where(inside, self._ln_density(self._into_window(value, inside)), -torch.inf)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws inside the window, differentiable in the parameters, shape ``(*sample_shape, *B)``."""
        shape = self._extended_shape(sample_shape)
        return self.icdf(torch.rand(shape, dtype=self.low.dtype, device=self.low.device))

    def _into_window(self, value: Tensor, inside: Tensor) -> Tensor:
        """Values outside replaced by a finite place inside, where every derivative is finite."""
        edge = torch.where(self.low.isfinite(), self.low, torch.where(self.high.isfinite(), self.high, 0))
        return torch.where(inside, value, edge.detach())

    def _ln_density(self, value: Tensor) -> Tensor:
        """Log density at values known to be inside."""
        raise NotImplementedError
