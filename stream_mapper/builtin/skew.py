"""Skew-normal densities, whole and truncated."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from stream_mapper.builtin.coordinates import CoordinateModel
from stream_mapper.data import Data
from stream_mapper.distributions import SkewNormal as _SkewNormal
from stream_mapper.distributions import TruncatedSkewNormal as _TruncatedSkewNormal
from stream_mapper.models.base import Params


class _Skewed(CoordinateModel):
    """What the two share: the parameters, and the error that convolves the intrinsic law."""

    parameter_names = ("mu", "ln-sigma", "skew")

    def _measured_law(self, params: Params, data: Data, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """Location, scale and skewness of the measured coordinate, each (N,)."""
        loc, scale, skew = params[f"{name}.mu"], self._scale(params, data, name), params[f"{name}.skew"]
        if name in self.error_names:
            spread = torch.hypot(scale, skew * data[self.error_names[name]])
            skew = skew * params[f"{name}.ln-sigma"].exp() / spread
        return loc, scale, skew


class SkewNormal(_Skewed):
    r"""Independent skew normals with measurement errors.

    .. math:: p(x) = \frac{2}{\omega'} \, \phi(z) \, \Phi(\alpha' z), \quad z = \frac{x - \mu}{\omega'}, \quad
        \omega'^2 = \omega^2 + \sigma_n^2, \quad \alpha' = \frac{\alpha \omega}{\sqrt{\omega'^2 + \alpha^2 \sigma_n^2}}

    is the convolution of the intrinsic skew normal with the Gaussian of the error, exactly.

    Parameters: ``{coordinate}.mu``, the location :math:`\mu` in the coordinate's unit (the mean is
    :math:`\mu + \sqrt{2 / \pi} \, \omega \alpha / \sqrt{1 + \alpha^2}`); ``{coordinate}.ln-sigma``, the natural
    logarithm of the intrinsic scale :math:`\omega` in that unit; and ``{coordinate}.skew``, the intrinsic
    :math:`\alpha`, a pure number of any sign, positive for a tail towards high x. ``coord_bounds`` flags stars outside
    the window and does not normalise: where the window cuts into the density, use :class:`TruncatedSkewNormal`.

    Arguments: see :class:`stream_mapper.builtin.coordinates.CoordinateModel`.
    """

    def distribution(self, params: Params, data: Data, name: str) -> Distribution:
        """Skew normal convolved with the error."""
        return _SkewNormal(*self._measured_law(params, data, name), validate_args=False)


class TruncatedSkewNormal(_Skewed):
    """Independent skew normals with measurement errors, normalised over the window.

    The error convolves the intrinsic law first; the window truncates what was measured. Parameters as in
    :class:`SkewNormal`.

    Arguments: see :class:`stream_mapper.builtin.coordinates.CoordinateModel`; ``coord_bounds`` is needed.
    """

    needs_bounds = True

    def distribution(self, params: Params, data: Data, name: str) -> Distribution:
        """Skew normal convolved with the error, cut to the window."""
        law = self._measured_law(params, data, name)
        return _TruncatedSkewNormal(*law, *self._window(data, name), validate_args=False)
