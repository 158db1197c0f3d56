"""Truncated exponential density."""

from __future__ import annotations

from torch.distributions import Distribution

from stream_mapper.builtin.coordinates import CoordinateModel
from stream_mapper.data import Data
from stream_mapper.distributions import ConvolvedExponential, TruncatedExponential
from stream_mapper.models.base import Params


class Exponential(CoordinateModel):
    r"""An exponential law on the window, falling or rising along x.

    .. math:: p(x) = \frac{k \, e^{-k (x - a)}}{1 - e^{-k (b - a)}}

    The parameter ``{coordinate}.slope`` is k, of any sign, in 1 / [unit of x]; zero is the uniform law. With errors it
    is the law of the true values in the window, which the error convolves before the window cuts what was measured
    (:class:`stream_mapper.distributions.ConvolvedExponential`): stars that the error carries into the window from
    outside are not part of it. Where true values go on beyond the window as they do inside, leave the errors out: the
    convolution of an exponential that has no ends is the same exponential.

    Arguments: see :class:`stream_mapper.builtin.coordinates.CoordinateModel`; ``coord_bounds`` is needed.
    """

    parameter_names = ("slope",)
    needs_bounds = True

    def distribution(self, params: Params, data: Data, name: str) -> Distribution:
        """Exponential on the window, convolved with the error where there is one."""
        if name in self.error_names:
            error = data[self.error_names[name]]
            slope = params[f"{name}.slope"]
            return ConvolvedExponential(slope, error, *self._window(data, name), validate_args=False)
        return TruncatedExponential(params[f"{name}.slope"], *self._window(data, name), validate_args=False)
