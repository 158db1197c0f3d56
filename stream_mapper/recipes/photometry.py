"""The photometry of a recipe: an isochrone or a grid of them, and what is known of its stars besides their distance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stream_mapper.builtin import Isochrone, IsochroneGrid, MassFunction, PowerLawFamily
from stream_mapper.builtin.isochrone.parameters import OFFSET, REDDENING
from stream_mapper.errors import InputError, check_positive
from stream_mapper.params import ModelParameters
from stream_mapper.prior import NormalPrior
from stream_mapper.recipes.knowledge import rounded
from stream_mapper.recipes.ranges import Range

_REACH = 4.0  # sigmas of what is known of a parameter, from its mean to the edge of its range


@dataclass(frozen=True)
class Photometry:
    """Stars on an isochrone, and the parameters of them that are the same all along the stream.

    Arguments:
        isochrone: The isochrone, or a grid of them, whose [Fe/H] and age are then parameters.
        mass_function: How the stars are spread along it; that of a family has a slope, which is then a parameter.
        scatter: Scatter about it [mag].
        reddening: Extinction of each band over E(B-V), which is then a parameter.
        population: Mean and sigma of a normal prior, by parameter: ``feh`` [dex], ``age`` [Gyr], ``mass-slope``,
            ``ebv`` [mag], and the error of a zero point, ``offset.{band}`` [mag], which is a parameter if it is here.
        bounds: Ranges that were given, by parameter.

    Raises:
        InputError: If a prior is of no parameter or outside the isochrones, or E(B-V) has none.
    """

    isochrone: Isochrone | IsochroneGrid
    mass_function: MassFunction | PowerLawFamily | None = None
    scatter: float = 0.0
    reddening: Mapping[str, float] = field(default_factory=dict)
    population: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    bounds: Mapping[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what is known."""
        if unknown := [name for name in self.population if name not in self._possible]:
            raise InputError(
                f"population has {unknown}; these stars have {self._possible}: an IsochroneGrid gives feh and age, a "
                "PowerLawFamily mass-slope, and reddening ebv."
            )
        if self.reddening and REDDENING not in self.parameters:
            raise InputError(
                "reddening makes E(B-V) a parameter: say what is known of it, such as population: {ebv: [0, 0.02]}."
            )
        for name, (mean, sigma) in self.population.items():
            check_positive(f"the sigma of {name} in population", sigma)
            low, high = self.parameters[name]
            if not low <= mean <= high:
                raise InputError(f"population has {name} {mean:g}; its range is {low:g} to {high:g}.")

    @property
    def parameters(self) -> dict[str, Range]:
        """Range of each of the parameters: that which was given, that of the isochrones, or about what is known."""
        around = {name: self._around(name) for name in self.population}
        given = {name: self.bounds[name] for name in self._possible if name in self.bounds}
        return around | self._axes | given

    def arguments(self, shared: bool) -> dict[str, Any]:
        """What a density of magnitudes is to have.

        Arguments:
            shared: Whether it has the parameters of the population from another component.
        """
        found: dict[str, Any] = {
            "isochrone": self.isochrone,
            "scatter": self.scatter,
            "mass_function": self.mass_function,
            "reddening": dict(self.reddening) or None,
        }
        return found if shared or not self.parameters else found | {"constants": ModelParameters(self.parameters)}

    def priors(self) -> list[NormalPrior]:
        """What is known of the parameters, as priors of the part that has them."""
        return [NormalPrior(name, mean, sigma) for name, (mean, sigma) in self.population.items()]

    @property
    def _possible(self) -> list[str]:
        """Parameters that there may be."""
        offsets = [OFFSET + band for band in self.isochrone.bands]
        return [*self._axes, *([REDDENING] if self.reddening else []), *offsets]

    @property
    def _axes(self) -> dict[str, Range]:
        """Parameters of the grid and the family, and the ranges in which they are known."""
        axes = dict(self.isochrone.axes) if isinstance(self.isochrone, IsochroneGrid) else {}
        axes |= self.mass_function.axes if isinstance(self.mass_function, PowerLawFamily) else {}
        return {name: (nodes[0], nodes[-1]) for name, nodes in axes.items()}

    def _around(self, name: str) -> Range:
        """The range of a parameter by what is known of it; dust makes no star brighter."""
        mean, sigma = self.population[name]
        low, high = rounded(mean - _REACH * sigma), rounded(mean + _REACH * sigma)
        return (max(low, 0.0), high) if name == REDDENING else (low, high)
