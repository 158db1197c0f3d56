"""What a survey measures of a star: its window, its errors, and what it lacks."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from stream_mapper.distributions import TruncatedExponential
from stream_mapper.mock.base import Stars, normal, uniform

PHI1 = (-40.0, 40.0)  # deg
PHI2 = (-4.0, 4.0)  # deg
G = (15.0, 21.2)  # mag, as observed
PROPER_MOTIONS = ("pm_phi1", "pm_phi2")
BANDS = ("g", "r")


class ErrorModel(NamedTuple):
    r"""Standard error against magnitude, :math:`\sqrt{\epsilon_0^2 + (\epsilon_{20} \, 10^{k (m - 20)})^2}`.

    Arguments:
        floor: The error of bright stars.
        at_20: The error at magnitude 20, beside the floor.
        rate: The growth k in dex per mag.
        faintest: Magnitude m beyond which the error grows no more.
    """

    floor: float
    at_20: float
    rate: float
    faintest: float = math.inf

    def __call__(self, magnitude: Tensor) -> Tensor:
        """Error, in the unit of the floor, shape as ``magnitude``."""
        return self.variance(magnitude).sqrt()

    def variance(self, magnitude: Tensor) -> Tensor:
        """Square of the error, shape as ``magnitude``."""
        faint = (2 * math.log(10) * self.rate * (magnitude.clamp(max=self.faintest) - 20)).exp()
        return self.at_20**2 * faint + self.floor**2


PROPER_MOTION_ERROR = ErrorModel(0.027, 0.35, 0.36)  # mas/yr against g: 0.03 at 16, 0.16 at 19, 0.53 at 20.5
# mag against the magnitude of the band. Stars far too faint for the window do not scatter into it: none is detected.
MAGNITUDE_ERROR = ErrorModel(0.008, 0.025, 0.35, faintest=22.0)


class Passbands(NamedTuple):
    """What a survey sees of the light of a star.

    Arguments:
        bands: Names of its bands, first the one by which it is limited.
        limits: Least and greatest observed magnitude in that band.
        errors: Error against the magnitude, of each band.
    """

    bands: tuple[str, ...]
    limits: tuple[float, float]
    errors: tuple[ErrorModel, ...]


class Window(NamedTuple):
    """Where on the sky a survey looks: first and last phi1, and least and greatest phi2 [deg]."""

    phi1: tuple[float, float]
    phi2: tuple[float, float]


PASSBANDS = Passbands(BANDS, G, (MAGNITUDE_ERROR, MAGNITUDE_ERROR))
WINDOW = Window(PHI1, PHI2)
_RISE = -0.6  # decay in the first band of the magnitudes that set the errors of stars without photometry, 1 / mag


def measure(stars: Stars, missing_photometry: float, missing_pm: float, generator: torch.Generator) -> Stars:
    """Errors of stars, and NaN where nothing was measured.

    Stars lack both magnitudes, and both proper motions, at random and whatever they are. Since errors of the proper
    motion tell the magnitude, those of a star without photometry are of another magnitude, drawn from one law for
    all components, and so is the noise.

    Arguments:
        stars: phi1, phi2, the proper motions without noise, and the observed magnitudes, each (N,).
        missing_photometry: Probability that a star lacks both magnitudes and their errors.
        missing_pm: Probability that a star lacks both proper motions and their errors.
        generator: Source of the random numbers.

    Returns:
        phi1 and phi2 as they are; the others with noise, each with its ``_err``.
    """
    size = len(stars["phi1"])
    unseen, unmoved = (uniform(size, 0, 1, generator) < share for share in (missing_photometry, missing_pm))
    pm_error = PROPER_MOTION_ERROR(magnitude_of_errors(stars, unseen, PASSBANDS, generator))
    pm = {name: stars[name] + pm_error * normal(size, generator) for name in PROPER_MOTIONS}
    pm |= {f"{name}_err": pm_error for name in PROPER_MOTIONS}
    bands = {name: stars[name] for name in BANDS}
    bands |= {f"{name}_err": MAGNITUDE_ERROR(stars[name]) for name in BANDS}
    return {"phi1": stars["phi1"], "phi2": stars["phi2"], **without(unmoved, pm), **without(unseen, bands)}


def magnitude_of_errors(stars: Stars, unseen: Tensor, passbands: Passbands, generator: torch.Generator) -> Tensor:
    """The magnitude (N,) that the errors of the astrometry follow: that of the first band.

    For a star whose photometry is missing it is drawn from one law for all, so that it tells nothing.

    Arguments:
        stars: Observed magnitudes, (N,) each.
        unseen: Which stars lack them, (N,).
        passbands: The bands.
        generator: Source of the random numbers.
    """
    law = TruncatedExponential(*torch.tensor([_RISE, *passbands.limits], dtype=torch.float64))
    drawn = law.icdf(uniform(len(unseen), 0, 1, generator))
    return torch.where(unseen, drawn, stars[passbands.bands[0]])


def motion_covariance(stars: Stars) -> tuple[Tensor, Tensor, Tensor]:
    """Variances and covariance of the errors of the proper motions, (N,) each."""
    first, second = (stars[f"{name}_err"] for name in PROPER_MOTIONS)
    correlation = stars.get("pm_phi1_pm_phi2_corr", torch.zeros_like(first))
    return first.square(), second.square(), correlation * first * second


def without(rows: Tensor, columns: Stars) -> Stars:
    """The columns with NaN in some of the rows."""
    return {name: column.masked_fill(rows, torch.nan) for name, column in columns.items()}
