"""Normal densities, whole and truncated."""

from __future__ import annotations

from torch.distributions import Distribution
from torch.distributions import Normal as _Normal

from stream_mapper.builtin.coordinates import CoordinateModel
from stream_mapper.data import Data
from stream_mapper.distributions import TruncatedNormal as _TruncatedNormal
from stream_mapper.models.base import Params


class Normal(CoordinateModel):
    r"""Independent Gaussians with measurement errors, :math:`N(x \mid \mu, \sigma^2 + \sigma_n^2)`.

    Parameters: ``{coordinate}.mu`` in the coordinate's unit and ``{coordinate}.ln-sigma``, the natural logarithm of the
    intrinsic width in that unit. ``coord_bounds`` flags stars outside the window and does not normalise: where the
    window cuts into the density, use :class:`TruncatedNormal`.

    Arguments: see :class:`stream_mapper.builtin.coordinates.CoordinateModel`.
    """

    parameter_names = ("mu", "ln-sigma")

    def distribution(self, params: Params, data: Data, name: str) -> Distribution:
        """Gaussian convolved with the error."""
        return _Normal(params[f"{name}.mu"], self._scale(params, data, name), validate_args=False)


class TruncatedNormal(CoordinateModel):
    """Independent Gaussians with measurement errors, normalised over the window.

    The error convolves the intrinsic Gaussian first; the window truncates what was measured. Parameters as in
    :class:`Normal`.

    Arguments: see :class:`stream_mapper.builtin.coordinates.CoordinateModel`; ``coord_bounds`` is needed.
    """

    parameter_names = ("mu", "ln-sigma")
    needs_bounds = True

    def distribution(self, params: Params, data: Data, name: str) -> Distribution:
        """Gaussian convolved with the error, cut to the window."""
        loc, scale = params[f"{name}.mu"], self._scale(params, data, name)
        return _TruncatedNormal(loc, scale, *self._window(data, name), validate_args=False)
