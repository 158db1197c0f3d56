"""Truncated exponential density."""

from __future__ import annotations

from torch.distributions import Distribution

from stream_mapper.builtin.coordinates import CoordinateModel
from stream_mapper.data import Data
from stream_mapper.distributions import TruncatedExponential
from stream_mapper.models.base import Params


class Exponential(CoordinateModel):
    r"""An exponential law on the window, falling or rising along x.

    .. math:: p(x) = \frac{k \, e^{-k (x - a)}}{1 - e^{-k (b - a)}}

    The parameter ``{coordinate}.slope`` is k, of any sign, in 1 / [unit of x]; zero is the uniform law.

    Arguments: see :class:`stream_mapper.builtin.coordinates.CoordinateModel`; ``coord_bounds`` is needed and there are
    no measurement errors.
    """

    parameter_names = ("slope",)
    needs_bounds = True
    takes_errors = False

    def distribution(self, params: Params, data: Data, name: str) -> Distribution:
        """Exponential on the window."""
        return TruncatedExponential(params[f"{name}.slope"], *self._window(data, name), validate_args=False)
