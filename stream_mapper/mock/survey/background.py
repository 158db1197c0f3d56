"""Background populations of a simulated survey, analytic in everything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stream_mapper.distributions import TruncatedExponential
from stream_mapper.distributions._stable import ln_normal
from stream_mapper.mock.base import Stars, ln_binormal, normal, uniform
from stream_mapper.mock.survey.measurement import (
    PASSBANDS,
    PROPER_MOTIONS,
    WINDOW,
    Passbands,
    Window,
    motion_covariance,
)
from stream_mapper.mock.survey.population import Population

_COLOUR_AT = 18.0


class Colour(NamedTuple):
    """A normal law of a colour, such as g - r, given g: its share, mean at g = 18, the mean's slope in g, its width."""

    share: float
    mean: float
    slope: float
    sigma: float


class ProperMotion(NamedTuple):
    """A normal law of a proper motion [mas/yr]: its mean at phi1 = 0, the mean's drift per deg, its dispersion."""

    mean: float
    drift: float
    sigma: float


class Background(Population):
    """Exponential laws of phi1, phi2 and g over the window, a mixture of colours, and a binormal proper motion.

    The magnitudes are the observed ones: their errors are within these laws. In other surveys g and r are the first and
    the second band.

    Arguments:
        size: Number of stars inside the window.
        decay: Decay rates of phi1, phi2 [1/deg] and g [1/mag]; negative rises, zero is uniform.
        colours: Parts of the law of g - r; their shares sum to one.
        motions: Laws of pm_phi1 and pm_phi2.
        correlation: Correlation of the two.
        expected: Number of stars that the density is of, as of `Population`.
        passbands: The bands, and the limits in the first of them.
        window: Where the stars are.
    """

    def __init__(
        self,
        size: int,
        decay: tuple[float, float, float],
        colours: Sequence[Colour],
        motions: tuple[ProperMotion, ProperMotion],
        correlation: float,
        expected: float | None = None,
        passbands: Passbands = PASSBANDS,
        window: Window = WINDOW,
    ) -> None:
        super().__init__(size, expected, passbands.bands)
        self.phi1, self.phi2, self.g = (
            TruncatedExponential(*torch.tensor([rate, *ends], dtype=torch.float64))
            for rate, ends in zip(decay, (*window, passbands.limits), strict=True)
        )
        self.colours, self.motions, self.correlation = tuple(colours), motions, correlation

    def sample(self, generator: torch.Generator) -> Stars:
        """All the stars."""
        phi1, phi2, g = (law.icdf(uniform(self.size, 0, 1, generator)) for law in (self.phi1, self.phi2, self.g))
        along, across = normal(self.size, generator), normal(self.size, generator)
        noise = along, self.correlation * along + math.sqrt(1 - self.correlation**2) * across
        columns = zip(PROPER_MOTIONS, self._means(phi1), self.motions, noise, strict=True)
        pm = {name: mean + motion.sigma * unit for name, mean, motion, unit in columns}
        first, second = self.bands[:2]
        return {"phi1": phi1, "phi2": phi2, **pm, first: g, second: g - self._colours(g, generator)}

    def ln_number(self, phi1: Tensor) -> Tensor:
        """Ln of the expected stars per deg of phi1."""
        return self.phi1.log_prob(phi1) + phi1.new_tensor(self.expected).log()

    def ln_phi2(self, stars: Stars) -> Tensor:
        """Log density of phi2, the same at every phi1."""
        return self.phi2.log_prob(stars["phi2"])

    def ln_proper_motion(self, stars: Stars) -> Tensor:
        """Log density of both proper motions."""
        x, y = (stars[name] - mean for name, mean in zip(PROPER_MOTIONS, self._means(stars["phi1"]), strict=True))
        var_x, var_y, cov = motion_covariance(stars)
        first, second = (motion.sigma for motion in self.motions)
        return ln_binormal(x, y, var_x + first**2, var_y + second**2, cov + self.correlation * first * second)

    def ln_photometry(self, stars: Stars) -> Tensor:
        """Log density of the magnitudes in the first two bands."""
        g, colour = stars[self.bands[0]], stars[self.bands[0]] - stars[self.bands[1]]
        terms = [
            ln_normal(colour, self._mean_colour(g, law), self._spread(g, law)) + math.log(law.share)
            for law in self.colours
        ]
        return self.g.log_prob(g) + torch.stack(terms).logsumexp(0)

    def _means(self, phi1: Tensor) -> list[Tensor]:
        """Mean of each proper motion at phi1."""
        return [motion.mean + motion.drift * phi1 for motion in self.motions]

    def _mean_colour(self, g: Tensor, law: Colour) -> Tensor:
        return law.mean + law.slope * (g - _COLOUR_AT)

    def _spread(self, g: Tensor, law: Colour) -> Tensor:
        """Width of a law of the colour at g, (N,)."""
        return torch.full_like(g, law.sigma)

    def _colours(self, g: Tensor, generator: torch.Generator) -> Tensor:
        """Draws of g - r."""
        edges = torch.tensor([law.share for law in self.colours], dtype=torch.float64).cumsum(0)[:-1]
        which = torch.searchsorted(edges, uniform(len(g), 0, 1, generator))
        noise = normal(len(g), generator)
        draws = torch.stack([self._mean_colour(g, law) + self._spread(g, law) * noise for law in self.colours], -1)
        return draws.gather(-1, which[:, None])[:, 0]


_RED, _BLUE, _OF_HALO = (1.35, 0.0, 0.12), (0.45, 0.09, 0.16), (0.3, 0.025, 0.08)


def disc(size: int, expected: float | None = None) -> Background:
    """The stars of the disc: two colours, broad proper motions, more of them at low phi1 and phi2."""
    colours = Colour(0.45, *_RED), Colour(0.55, *_BLUE)
    motions = ProperMotion(-2.5, 0.03, 4.2), ProperMotion(-3.5, -0.015, 3.4)
    return Background(size, (0.008, 0.12, -0.25), colours, motions, 0.35, expected)


def halo(size: int, expected: float | None = None) -> Background:
    """The stars of the halo: faint, of one colour and of narrower proper motions, uniform on the sky."""
    motions = ProperMotion(-6.0, 0.01, 1.8), ProperMotion(-2.6, 0.0, 1.6)
    return Background(size, (0.0, 0.0, -0.75), (Colour(1.0, *_OF_HALO),), motions, 0.1, expected)


def well_mixed(size: int, expected: float | None = None) -> Background:
    """Stars of one broad range of colours and proper motions, the same everywhere: what a flow can learn exactly."""
    motions = ProperMotion(-3.4, 0.0, 4.0), ProperMotion(-3.3, 0.0, 3.1)
    return Background(size, (0.008, 0.06, -0.4), (Colour(1.0, 0.6, 0.05, 0.3),), motions, 0.3, expected)
