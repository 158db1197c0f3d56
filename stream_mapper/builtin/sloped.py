"""Linear density."""

from __future__ import annotations

import torch
from torch.distributions import Distribution

from stream_mapper.builtin.coordinates import CoordinateModel
from stream_mapper.data import Data
from stream_mapper.distributions import Sloped as _Sloped
from stream_mapper.errors import InputError
from stream_mapper.models.base import Params

_ROUNDING = 1e-6  # relative, for a limit typed with few digits


class Sloped(CoordinateModel):
    r"""A density linear in x over the window.

    .. math:: p(x) = \frac{1}{b - a} + m \left(x - \frac{a + b}{2}\right)

    The parameter ``{coordinate}.slope`` is m, in 1 / [unit of x]^2; zero is the uniform law. The density is positive
    for :math:`|m| < 2 / (b - a)^2`, so the parameter must be bounded to that, where the window is widest.

    Arguments: see :class:`stream_mapper.builtin.coordinates.CoordinateModel`; ``coord_bounds`` is needed and there are
    no measurement errors.

    Raises:
        InputError: If a slope is not bounded within the limit of its coordinate's window.
    """

    parameter_names = ("slope",)
    needs_bounds = True
    takes_errors = False

    def distribution(self, params: Params, data: Data, name: str) -> Distribution:
        """Linear density on the window."""
        return _Sloped(params[f"{name}.slope"], *self._window(data, name), validate_args=False)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name in self.coord_names:
            if f"{name}.slope" in self.params:  # a hook may set it instead
                self._check_slope(name)

    def _check_slope(self, name: str) -> None:
        window = self.windows[name]
        bounds, limit = self.params[f"{name}.slope"].bounds, 2 / window.widest**2
        lower, upper = getattr(bounds, "lower", -torch.inf), getattr(bounds, "upper", torch.inf)
        if max(-lower, upper) > limit * (1 + _ROUNDING):
            raise InputError(
                f"{type(self).__name__}: on the window {window.bounds} a linear density is positive for slopes within "
                f"({-limit:.6g}, {limit:.6g}); {name}.slope has bounds ({lower}, {upper}). Give it bounds in there."
            )
