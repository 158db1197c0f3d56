"""Uniform density."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions import Uniform as _Uniform

from stream_mapper.builtin.coordinates import CoordinateModel
from stream_mapper.data import Data
from stream_mapper.models.base import Params, masked_sum


class Uniform(CoordinateModel):
    r"""A constant density over the window, :math:`p(x) = 1 / (b - a)`; no parameters.

    Arguments: see :class:`stream_mapper.builtin.coordinates.CoordinateModel`; ``coord_bounds`` is needed and there are
    no measurement errors.
    """

    needs_bounds = True
    takes_errors = False

    def distribution(self, params: Params, data: Data, name: str) -> Distribution:  # noqa: ARG002
        """Uniform on the window."""
        return _Uniform(*self._window(data, name), validate_args=False)

    def ln_likelihood(self, params: Params, data: Data) -> Tensor:  # noqa: ARG002
        """Minus the logarithm of the window, shape (N,); the edges belong to it."""
        terms = []
        for name in self.coord_names:
            low, high = self.windows.edges(name, data, torch.result_type(data[name], 1.0))
            inside = (data[name] >= low) & (data[name] <= high)
            terms.append(torch.where(inside, -(high - low).log(), -torch.inf))
        return masked_sum(terms, [self.is_measured(data, name) for name in self.coord_names])
