"""The tailored mock: a thin stream whose stars have exact distances."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from stream_mapper.builtin.isochrone import Isochrone, PowerLawMassFunction
from stream_mapper.builtin.isochrone.population import populate
from stream_mapper.builtin.isochrone.segments import ln_isochrone
from stream_mapper.mock.base import (
    Column,
    Gap,
    Simulator,
    Stars,
    interpolated,
    kept_by_gaps,
    normal,
    shuffled,
    uniform,
)

_FINE = 400  # segments of the curve the truth is computed with


class TailoredMock(Simulator):
    r"""The tailored mock of Starkman, Nibauer et al. 2025 (arXiv 2311.16960, section 4), made anew.

    Stream: phi1 uniform in -20..30 deg, thinned by Gaussian gaps; phi2 about :math:`\phi_1^2 / 130` with 0.15 deg
    scatter; distance about a line from 7 to 15 kpc with 0.25 kpc scatter; magnitudes from an isochrone with
    :math:`dN/dm \propto m^{-1/2}`, intrinsic scatter and measurement errors. Background: phi1 uniform in -45..50 deg,
    phi2 in -2..10 deg, distance in 5..17 kpc, and a correlated Gaussian in (g, r), red as foreground dwarfs are.
    Each star's distance is known without error, as in the paper, and given as a parallax.

    Arguments:
        seed: Seed of the random numbers.
        n_stream: Stream stars before the gaps take theirs.
        n_background: Background stars.
        gaps: (centre [deg], width [deg], depth in 0..1) of each gap.
        scatter: Intrinsic scatter about the isochrone in each band [mag].
        error: Measurement error of each magnitude [mag].
        isochrone: Absolute magnitudes in g and r; the package's synthetic curve by default.
    """

    stream_phi1 = (-20.0, 30.0)
    background_phi1 = (-45.0, 50.0)
    background_phi2 = (-2.0, 10.0)
    background_distance = (5.0, 17.0)
    width_phi2, width_distance = 0.15, 0.25
    background_magnitudes = MultivariateNormal(
        torch.tensor([20.2, 18.9], dtype=torch.float64),
        torch.tensor([[1.44, 1.38], [1.38, 1.44]], dtype=torch.float64),
    )

    def __init__(
        self,
        seed: int = 0,
        n_stream: int = 2000,
        n_background: int = 13000,
        gaps: Sequence[Gap] = ((-4.0, 1.5, 0.9), (14.0, 2.5, 0.8)),
        scatter: float = 0.02,
        error: float = 0.02,
        isochrone: Isochrone | None = None,
    ) -> None:
        self.seed, self.n_stream, self.n_background = seed, n_stream, n_background
        self.gaps, self.scatter, self.error = tuple(gaps), scatter, error
        self.isochrone = isochrone or Isochrone.synthetic(bands=("g", "r"))
        self.mass_function = PowerLawMassFunction(-0.5)

    def track(self, phi1: Tensor) -> tuple[Tensor, Tensor]:
        """Centre of the stream in phi2 [deg] and distance [kpc] at phi1 [deg]."""
        low, high = self.stream_phi1
        return phi1.square() / 130, 7 + 8 * (phi1 - low) / (high - low)

    def kept(self, phi1: Tensor) -> Tensor:
        """Share of the stream's stars that the gaps leave at phi1."""
        return kept_by_gaps(phi1, self.gaps)

    def weight(self, phi1: Tensor) -> Tensor:
        """Share of the stream among all stars at phi1."""
        low, high = self.stream_phi1
        inside = (phi1 >= low) & (phi1 <= high)
        stream = torch.where(inside, self.n_stream / (high - low) * self.kept(phi1), 0.0)
        start, end = self.background_phi1
        return stream / (stream + self.n_background / (end - start))

    def simulate(self) -> dict[str, Column]:
        """Stars in random order, with their truth."""
        generator = torch.Generator().manual_seed(self.seed)
        samples = [("stream", self._stream(generator)), ("background", self._background(generator))]
        return shuffled(samples, self._truth, generator)

    def _stream(self, generator: torch.Generator) -> Stars:
        phi1 = uniform(self.n_stream, *self.stream_phi1, generator)
        phi1 = phi1[uniform(self.n_stream, 0, 1, generator) < self.kept(phi1)]
        phi2, distance = self.track(phi1)
        phi2 = phi2 + self.width_phi2 * normal(len(phi1), generator)
        distance = distance + self.width_distance * normal(len(phi1), generator)
        return self._stars(phi1, phi2, distance, self._stream_magnitudes(distance, generator))

    def _stream_magnitudes(self, distance: Tensor, generator: torch.Generator) -> Tensor:
        mass = self.isochrone.mass.double()
        drawn = self.mass_function.sample(len(distance), mass[0].item(), mass[-1].item(), generator=generator).double()
        absolute = interpolated(drawn, mass, self.isochrone.magnitudes.double())
        modulus = 5 * torch.log10(distance) + 10
        spread = math.hypot(self.scatter, self.error)
        noise = torch.stack([normal(len(distance), generator) for _ in range(2)], -1)
        return absolute + modulus[:, None] + spread * noise

    def _background(self, generator: torch.Generator) -> Stars:
        size = self.n_background
        phi1, phi2, distance = (
            uniform(size, *window, generator)
            for window in (self.background_phi1, self.background_phi2, self.background_distance)
        )
        law = self.background_magnitudes
        noise = torch.stack([normal(size, generator) for _ in range(2)], -1)
        return self._stars(phi1, phi2, distance, law.loc + noise @ law.scale_tril.T)

    def _stars(self, phi1: Tensor, phi2: Tensor, distance: Tensor, magnitudes: Tensor) -> Stars:
        error = torch.full_like(phi1, self.error)
        g, r = magnitudes.unbind(-1)
        return {"phi1": phi1, "phi2": phi2, "parallax": 1 / distance, "g": g, "r": r, "g_err": error, "r_err": error}

    def _truth(self, stars: Stars) -> Stars:
        phi2, distance = self.track(stars["phi1"])
        weight = self.weight(stars["phi1"])
        odds = weight.log() - (-weight).log1p() + self._ln_stream(stars) - self._ln_background(stars)
        return {
            "true_p_member": odds.sigmoid(),
            "true_weight": weight,
            "true_phi2": phi2,
            "true_parallax": 1 / distance,
            "true_distance": distance,
            "true_phi2_sigma": torch.full_like(phi2, self.width_phi2),
            "true_distance_sigma": torch.full_like(phi2, self.width_distance),
        }

    def _ln_stream(self, stars: Stars) -> Tensor:
        """Ln density of (phi2, distance, g, r) of a stream star at phi1, the magnitudes at its own distance."""
        phi2, distance = self.track(stars["phi1"])
        star_distance = 1 / stars["parallax"]
        population = populate(self.isochrone, self.mass_function, _FINE, self.scatter)
        magnitudes = torch.stack([stars["g"], stars["r"]], -1)
        ln_photometry = ln_isochrone(
            magnitudes,
            torch.full_like(magnitudes, self.error),
            torch.ones_like(magnitudes, dtype=torch.bool),
            5 * torch.log10(star_distance) + 10,
            torch.full_like(star_distance, -12.0),
            magnitudes.new_ones(2),
            **population._asdict(),
        )
        ln_phi2 = Normal(phi2, self.width_phi2).log_prob(stars["phi2"])
        return ln_phi2 + Normal(distance, self.width_distance).log_prob(star_distance) + ln_photometry

    def _ln_background(self, stars: Stars) -> Tensor:
        """Ln density of (phi2, distance, g, r) of a background star."""
        flat = [math.log(high - low) for low, high in (self.background_phi2, self.background_distance)]
        magnitudes = torch.stack([stars["g"], stars["r"]], -1)
        return self.background_magnitudes.log_prob(magnitudes) - sum(flat)
