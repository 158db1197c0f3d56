"""Uniform density."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions import Uniform as _Uniform

from stream_mapper.builtin.coordinates import CoordinateModel
from stream_mapper.data import Data
from stream_mapper.models.base import Params


class Uniform(CoordinateModel):
    r"""A constant density over the window, :math:`p(x) = 1 / (b - a)`; no parameters.

    Arguments: see :class:`stream_mapper.builtin.coordinates.CoordinateModel`; ``coord_bounds`` is needed and there are
    no measurement errors.
    """

    needs_bounds = True
    takes_errors = False

    def distribution(self, params: Params, data: Data, name: str) -> Distribution:  # noqa: ARG002
        """Uniform on the window."""
        return _Closed(*self._window(data, name), validate_args=False)


class _Closed(_Uniform):
    """The uniform law of torch, whose upper edge belongs to it."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the logarithm of the window, (N,)."""
        inside = (value >= self.low) & (value <= self.high)
        return torch.where(inside, -(self.high - self.low).log(), -torch.inf)
