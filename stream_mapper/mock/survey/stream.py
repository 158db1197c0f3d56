"""The stream of a simulated survey: its track and its density."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stream_mapper.distributions import TruncatedNormal
from stream_mapper.errors import InputError
from stream_mapper.mock.base import Gap, Stars, kept_by_gaps, ln_binormal, normal, uniform
from stream_mapper.mock.survey.measurement import PHI2, PROPER_MOTIONS, motion_covariance
from stream_mapper.mock.survey.photometry import CurvePhotometry
from stream_mapper.mock.survey.population import Population

# Polynomials in phi1 / (40 deg), the constant first.
TRACK = {
    "phi2": (0.9, 0.0, -1.9, 0.8),  # deg
    "pm_phi1": (-6.9, 0.5, 1.9),  # mas/yr
    "pm_phi2": (-2.2, -0.4, -0.6, 0.2),  # mas/yr
    "distmod": (14.55, 0.6, 0.4),  # mag
}
_BATCH = 8  # places tried at a time, for each star
_PLACES = 1001  # at which the share inside the window is computed; linear between, to 1e-7
_LEAST_SHARE = 1e-4  # of its stars inside the window, with which they can still be drawn


def track(phi1: Tensor) -> Stars:
    """Centre of the stream at phi1 [deg] in phi2, both proper motions and the distance modulus, each (N,)."""
    return {name: polynomial(phi1 / 40, coefficients) for name, coefficients in TRACK.items()}


class Shape(Protocol):
    """Where the stars of a stream are, and how they move."""

    @property
    def extent(self) -> tuple[float, float]:
        """First and last phi1 [deg] of any star."""

    @property
    def dispersion(self) -> float:
        """Intrinsic dispersion of each proper motion [mas/yr]."""

    def centre(self, phi1: Tensor) -> Stars:
        """Centre of the stream at phi1, as `track`."""

    def width(self, phi1: Tensor) -> Tensor:
        """Intrinsic width in phi2 [deg] at phi1, (N,)."""

    def number(self, phi1: Tensor) -> Tensor:
        """Number of stars of any magnitude at phi1, (N,), in any unit of which there is at most one."""


@dataclass(frozen=True)
class Tapered:
    """The survey's track, thinned by gaps and tapered at both ends.

    Arguments:
        extent: First and last phi1 [deg], between which the number of stars rises from zero and falls to zero.
        taper: Length of the rise, and of the fall, as a sine squared [deg].
        width_phi2: Intrinsic width in phi2 [deg].
        dispersion: Intrinsic dispersion of each proper motion [mas/yr].
        gaps: (centre [deg], width [deg], depth in 0..1) of each gap.
        offset: What is added to the track, by coordinate.
    """

    extent: tuple[float, float]
    taper: float
    width_phi2: float
    dispersion: float
    gaps: Sequence[Gap] = ()
    offset: Mapping[str, float] = field(default_factory=dict)

    def centre(self, phi1: Tensor) -> Stars:
        """The track with the offset."""
        return {name: values + self.offset.get(name, 0.0) for name, values in track(phi1).items()}

    def width(self, phi1: Tensor) -> Tensor:
        """The same at every phi1."""
        return torch.full_like(phi1, self.width_phi2)

    def number(self, phi1: Tensor) -> Tensor:
        """Relative to that without taper and gaps."""
        low, high = self.extent
        rise = torch.minimum(phi1 - low, high - phi1).clamp(0, self.taper) / self.taper
        return torch.sin(0.5 * math.pi * rise).square() * kept_by_gaps(phi1, self.gaps)


def truth_of(shape: Shape, at: Tensor, depth: float) -> tuple[Stars, Stars]:
    """Centres of a stream at places (N,), its distance [kpc] among them, and its widths, ``phi2_sigma`` and so on.

    Arguments:
        shape: Where its stars are.
        at: Places [deg], (N,).
        depth: Spread of the distance modulus [mag].
    """
    centre = shape.centre(at)
    distance = 10 ** (centre["distmod"] / 5 - 2)
    sigmas = {"phi2": shape.width(at), "distmod": torch.full_like(at, depth)}
    sigmas |= dict.fromkeys(PROPER_MOTIONS, torch.full_like(at, shape.dispersion))
    sigmas["distance"] = distance * math.log(10) / 5 * depth
    return {**centre, "distance": distance}, {f"{name}_sigma": sigma for name, sigma in sigmas.items()}


class Stream(Population):
    """Stars about a track, with the photometry of an isochrone.

    Arguments:
        size: Number of stars inside the window.
        shape: Where they are.
        photometry: Their observed magnitudes.
        expected: Number of stars that the density is of, as of `Population`.
        phi2: Least and greatest phi2 of the window [deg].

    Raises:
        InputError: If the limits of the survey leave almost no star.
    """

    def __init__(
        self,
        size: int,
        shape: Shape,
        photometry: CurvePhotometry,
        expected: float | None = None,
        phi2: tuple[float, float] = PHI2,
    ) -> None:
        super().__init__(size, expected, photometry.passbands.bands)
        self.shape, self.photometry, self.phi2 = shape, photometry, phi2
        self.places = torch.linspace(*shape.extent, _PLACES, dtype=torch.float64)
        self.shares = photometry.share(shape.centre(self.places)["distmod"])
        if not bool((self.shares > _LEAST_SHARE).all()):
            low, high = photometry.passbands.limits
            limits = f"{low} < {self.bands[0]} < {high} mag"
            raise InputError(f"no star of the isochrone is inside {limits} everywhere along the stream.")
        self.total = torch.trapezoid(shape.number(self.places) * self.shares, self.places)

    def sample(self, generator: torch.Generator) -> Stars:
        """All the stars: as many as needed are made, and those that the survey does not see are left out."""
        batches = [self._tried(generator)]
        while sum(len(batch["phi1"]) for batch in batches) < self.size:
            batches.append(self._tried(generator))
        return {name: torch.cat([batch[name] for batch in batches])[: self.size] for name in batches[0]}

    def ln_number(self, phi1: Tensor) -> Tensor:
        """Ln of the expected stars per deg of phi1; -inf beyond the ends."""
        return (self.shape.number(phi1) * self._share(phi1) * self.expected / self.total).log()

    def ln_phi2(self, stars: Stars) -> Tensor:
        """Log density of phi2."""
        return self._across(stars["phi1"]).log_prob(stars["phi2"])

    def ln_proper_motion(self, stars: Stars) -> Tensor:
        """Log density of both proper motions."""
        centre = self.shape.centre(stars["phi1"])
        x, y = (stars[name] - centre[name] for name in PROPER_MOTIONS)
        var_x, var_y, cov = motion_covariance(stars)
        return ln_binormal(x, y, var_x + self.shape.dispersion**2, var_y + self.shape.dispersion**2, cov)

    def ln_photometry(self, stars: Stars) -> Tensor:
        """Log density of the magnitudes."""
        distmod = self.shape.centre(stars["phi1"])["distmod"]
        magnitudes = torch.stack([stars[band] for band in self.bands], -1)
        return self.photometry.ln_density(magnitudes, distmod) - self._share(stars["phi1"]).log()

    def _tried(self, generator: torch.Generator) -> Stars:
        """Stars inside the window, out of a batch."""
        size = _BATCH * self.size
        phi1 = uniform(size, *self.shape.extent, generator)
        phi1 = phi1[uniform(size, 0, 1, generator) < self.shape.number(phi1)]
        magnitudes = self.photometry.sample(self.shape.centre(phi1)["distmod"], generator)
        seen = self.photometry.seen(magnitudes)
        phi1, size = phi1[seen], int(seen.sum())
        phi2 = self._across(phi1).icdf(uniform(size, 0, 1, generator))
        centre = self.shape.centre(phi1)
        pm = {name: centre[name] + self.shape.dispersion * normal(size, generator) for name in PROPER_MOTIONS}
        bands = dict(zip(self.bands, magnitudes[seen].unbind(-1), strict=True))
        return {"phi1": phi1, "phi2": phi2, **pm, **bands}

    def _across(self, phi1: Tensor) -> TruncatedNormal:
        """Law of phi2."""
        return TruncatedNormal(self.shape.centre(phi1)["phi2"], self.shape.width(phi1), *self.phi2)

    def _share(self, phi1: Tensor) -> Tensor:
        """Probability that the survey sees a star of any magnitude."""
        return torch.from_numpy(np.interp(phi1.numpy(), self.places.numpy(), self.shares.numpy()))


def polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """A polynomial of its coefficients, the constant first, at x, (N,)."""
    value = torch.zeros_like(x)
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value
