"""Mass functions of which a parameter chooses one."""

from __future__ import annotations

import math

import torch
from torch import nn

from stream_mapper.builtin.isochrone.mass import MassFunction, PowerLawMassFunction
from stream_mapper.description import Described
from stream_mapper.errors import InputError, check_positive

_LEAST = 2


class PowerLawFamily(Described, nn.Module):
    r"""Power laws :math:`dN/dm \propto m^\alpha` whose exponent is the parameter ``mass-slope`` of the model.

    The exponent may vary along the stream: a stream loses its light stars first. Between exponents ``step`` apart the
    numbers of stars on the segments are linear; with a step of 0.25 these are right to 0.6 %.

        >>> PowerLawFamily(-2.5, 0.5).axes["mass-slope"][:2]
        [-2.5, -2.25]

    Arguments:
        lower: Least exponent.
        upper: Largest exponent.
        step: Distance between those that are computed, at most.

    Raises:
        InputError: If the exponents do not increase or the step is not positive.
    """

    parameter = "mass-slope"

    def __init__(self, lower: float, upper: float, step: float = 0.25) -> None:
        super().__init__()
        check_positive("the step of a PowerLawFamily", step)
        if not -math.inf < lower < upper < math.inf:
            raise InputError(f"PowerLawFamily needs lower < upper; got {lower} and {upper}.")
        self.lower, self.upper, self.step = float(lower), float(upper), float(step)

    @property
    def axes(self) -> dict[str, list[float]]:
        """The exponents that are computed, by the name of the parameter."""
        count = max(_LEAST, math.ceil((self.upper - self.lower) / self.step - 1e-9) + 1)
        return {self.parameter: torch.linspace(self.lower, self.upper, count, dtype=torch.float64).tolist()}

    def members(self) -> list[MassFunction]:
        """The mass function of each of them."""
        return [PowerLawMassFunction(slope) for slope in self.axes[self.parameter]]

    def extra_repr(self) -> str:
        """The range of the exponents."""
        return f"{self.lower:g} to {self.upper:g}"
