"""The stars of one origin in a simulated survey, and their density."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from stream_mapper.mock.base import Stars
from stream_mapper.mock.survey.measurement import BANDS


class Population(ABC):
    """Stars of one origin inside the window of the survey.

    Every density is one of the measured values given phi1 (errors included) and normalised over the window; given
    phi1, the position, the proper motion, the parallax and the photometry are independent.

    Arguments:
        size: Number of stars inside the window.
        expected: Number of them that the density is of; by default as many as there are.
        bands: Names of the magnitudes.
    """

    def __init__(self, size: int, expected: float | None = None, bands: tuple[str, ...] = BANDS) -> None:
        self.size, self.expected = size, float(size) if expected is None else expected
        self.bands = bands

    @abstractmethod
    def sample(self, generator: torch.Generator) -> Stars:
        """All the stars: phi1, phi2, motions (and parallax) without noise, and observed magnitudes, each (size,)."""

    @abstractmethod
    def ln_number(self, phi1: Tensor) -> Tensor:
        """Ln of the expected stars per deg of phi1, shape (N,); -inf where there are none."""

    @abstractmethod
    def ln_phi2(self, stars: Stars) -> Tensor:
        """Log density of phi2, shape (N,)."""

    @abstractmethod
    def ln_proper_motion(self, stars: Stars) -> Tensor:
        """Log density of both proper motions, given their errors, shape (N,)."""

    @abstractmethod
    def ln_photometry(self, stars: Stars) -> Tensor:
        """Log density of the magnitudes, shape (N,)."""

    def ln_parallax(self, stars: Stars) -> Tensor:
        """Log density of the parallax, given its error, shape (N,); zero for a population without a law of it."""
        return torch.zeros_like(stars["phi1"])

    def ln_density(self, stars: Stars) -> Tensor:
        """Ln of the expected stars per unit of phi1 and of all that was measured of each star, shape (N,)."""
        number = self.ln_number(stars["phi1"])
        possible = number.isfinite()
        phi2 = _over(possible, self.ln_phi2, stars)
        motion = _over(possible & ~stars["pm_phi1"].isnan(), self.ln_proper_motion, stars)
        photometry = _over(possible & ~stars[self.bands[0]].isnan(), self.ln_photometry, stars)
        unplaced = stars.get("parallax", torch.full_like(number, torch.nan)).isnan()
        parallax = _over(possible & ~unplaced, self.ln_parallax, stars)
        return number + phi2 + motion + photometry + parallax


def _over(rows: Tensor, ln_density: Callable[[Stars], Tensor], stars: Stars) -> Tensor:
    """A log density of some of the stars, zero for the others: its integral over what they lack."""
    out = torch.zeros_like(stars["phi1"])
    if bool(rows.any()):
        out[rows] = ln_density({name: column[rows] for name, column in stars.items()})
    return out
