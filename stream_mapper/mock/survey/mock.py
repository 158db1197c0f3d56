"""The survey mock: a thin, faint stream that errors and a dense background all but hide."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stream_mapper.builtin.isochrone import Isochrone, PowerLawMassFunction
from stream_mapper.errors import check_at_least
from stream_mapper.mock.base import Column, Gap, Simulator, Stars, check_shares, shuffled
from stream_mapper.mock.survey.background import disc, halo
from stream_mapper.mock.survey.measurement import measure
from stream_mapper.mock.survey.photometry import CurvePhotometry
from stream_mapper.mock.survey.population import Population
from stream_mapper.mock.survey.stream import Stream, Tapered, track


class SurveyMock(Simulator):
    r"""A stream of less than 1 % of the stars of a survey, whose best possible membership is known exactly.

    Each star has phi1, phi2, two proper motions, g and r, the errors of the last four, and lacks some of them. The
    window is phi1 -40..40 deg, phi2 -4..4 deg and 15..21.2 mag in the observed g. With u = phi1 / 40 deg:

    - Stream (1,000 stars): phi2 = 0.9 - 1.9 u^2 + 0.8 u^3 deg, 0.1 deg wide; pm_phi1 = -6.9 + 0.5 u + 1.9 u^2 and
      pm_phi2 = -2.2 - 0.4 u - 0.6 u^2 + 0.2 u^3 mas/yr, each with a dispersion of 0.03; distance modulus
      14.55 + 0.6 u + 0.4 u^2 mag (7.3 to 11.6 kpc within its ends) with a depth of 0.03, common to both bands;
      absolute magnitudes of the synthetic isochrone with :math:`dN/dm \propto m^{-1/2}` and a scatter of 0.015 in each
      band. It runs from phi1 = -32 to 33 deg, tapers over 8 deg at both ends, and has three Gaussian gaps.
    - Spur (150 stars): phi1 -8..9 deg, tapered over 5 deg, without gaps; 0.8 deg above the stream and 0.15 deg wide;
      pm_phi1 larger by 0.3 mas/yr; all else as the stream.
    - Disc (75 % of the 118,000 background stars): phi1, phi2 and g exponential, :math:`e^{-0.008 \phi_1}`,
      :math:`e^{-0.12 \phi_2}` and :math:`e^{0.25 g}`; g - r = 1.35 +- 0.12 for 45 % of them and
      0.45 + 0.09 (g - 18) +- 0.16 for the others; proper motions (-2.5 + 0.03 phi1, -3.5 - 0.015 phi1) mas/yr with
      dispersions of 4.2 and 3.4 and a correlation of 0.35.
    - Halo (the other 25 %): phi1 and phi2 uniform, g as :math:`e^{0.75 g}`, g - r = 0.3 + 0.025 (g - 18) +- 0.08;
      proper motions (-6 + 0.01 phi1, -2.6) mas/yr with dispersions of 1.8 and 1.6 and a correlation of 0.1.

    The background's laws of g and r are those of the observed magnitudes; every intrinsic proper motion is blurred by
    its error. Errors grow with the magnitude as Gaia's do (`mock.survey.measurement`): of a proper motion 0.03 mas/yr
    at g = 16, 0.16 at 19 and 0.53 at 20.5; of a magnitude 0.009 at 18 and 0.026 at 20, and 0.13 from 22. The noise of a
    stream star's magnitude is that of its place on the isochrone at the modulus of the track, before scatter and depth;
    the error reported is that of the observed magnitude. Of the stars inside the window 8 % lack g and r, and 4 % the
    proper motions, at random; the proper-motion errors of the former tell nothing (`measure`).

    Numbers of stars are those inside the window, exactly; ``true_weight`` is the share of the stream (without the spur)
    expected among them at that phi1, zero beyond its ends. ``true_p_member`` is the probability of the stream or the
    spur, ``true_p_stream`` and ``true_p_spur``, by the densities of all that was measured of the star; over what was
    not they are integrated exactly. Truth ``true_<coordinate>`` is of the stream.

    Arguments:
        seed: Seed of the random numbers.
        n_background: Background stars.
        n_stream: Stars of the stream; may be zero.
        n_spur: Stars of the spur; may be zero.
        halo_share: Share of the halo in the background.
        gaps: (centre [deg], width [deg], depth in 0..1) of each gap of the stream.
        width: Intrinsic width of the stream in phi2 [deg].
        dispersion: Intrinsic dispersion of each proper motion of stream and spur [mas/yr].
        depth: Spread of the distance modulus [mag].
        scatter: Intrinsic scatter about the isochrone in each band [mag].
        missing_photometry: Probability that a star lacks both magnitudes.
        missing_pm: Probability that a star lacks both proper motions.
        isochrone: Absolute magnitudes in g and r; the package's synthetic curve by default.

    Raises:
        InputError: If a number or share is out of range, or the isochrone has other bands or no star in the window.
    """

    def __init__(
        self,
        seed: int = 0,
        n_background: int = 118_000,
        n_stream: int = 1000,
        n_spur: int = 150,
        halo_share: float = 0.25,
        gaps: Sequence[Gap] = ((-20.0, 1.0, 0.95), (-4.0, 3.0, 0.6), (15.0, 1.8, 0.85)),
        width: float = 0.1,
        dispersion: float = 0.03,
        depth: float = 0.03,
        scatter: float = 0.015,
        missing_photometry: float = 0.08,
        missing_pm: float = 0.04,
        isochrone: Isochrone | None = None,
    ) -> None:
        check_at_least("n_background", n_background)
        check_at_least("n_stream", n_stream, 0)
        check_at_least("n_spur", n_spur, 0)
        check_shares("SurveyMock", halo_share=halo_share, missing_photometry=missing_photometry, missing_pm=missing_pm)
        self.seed, self.width, self.dispersion, self.depth = seed, width, dispersion, depth
        self.missing_photometry, self.missing_pm = missing_photometry, missing_pm
        curve = isochrone or Isochrone.synthetic(bands=("g", "r"))
        photometry = CurvePhotometry(curve, PowerLawMassFunction(-0.5), scatter, depth)
        long = Tapered((-32.0, 33.0), 8.0, width, dispersion, tuple(gaps))
        short = Tapered((-8.0, 9.0), 5.0, 0.15, dispersion, offset={"phi2": 0.8, "pm_phi1": 0.3})
        n_halo = round(halo_share * n_background)
        self.populations: list[tuple[str, Population]] = [
            ("stream", Stream(n_stream, long, photometry)),
            ("spur", Stream(n_spur, short, photometry)),
            ("background", disc(n_background - n_halo)),
            ("background", halo(n_halo)),
        ]

    def simulate(self) -> dict[str, Column]:
        """Stars in random order, with their truth."""
        generator = torch.Generator().manual_seed(self.seed)
        samples = [
            (name, measure(population.sample(generator), self.missing_photometry, self.missing_pm, generator))
            for name, population in self.populations
        ]
        return shuffled(samples, self._truth, generator)

    def _truth(self, stars: Stars) -> Stars:
        populations = [population for _, population in self.populations]
        p = torch.stack([population.ln_density(stars) for population in populations], -1).softmax(-1)
        shares = torch.stack([population.ln_number(stars["phi1"]) for population in populations], -1).softmax(-1)
        columns = {"p_member": p[:, 0] + p[:, 1], "p_stream": p[:, 0], "p_spur": p[:, 1], "weight": shares[:, 0]}
        return {f"true_{name}": values for name, values in (columns | self._track(stars["phi1"])).items()}

    def _track(self, phi1: Tensor) -> Stars:
        """Centre and width of the stream in every coordinate."""
        centre = track(phi1)
        distance = 10 ** (centre["distmod"] / 5 - 2)
        sigmas = {"phi2": self.width, "pm_phi1": self.dispersion, "pm_phi2": self.dispersion, "distmod": self.depth}
        widths = {f"{name}_sigma": torch.full_like(phi1, sigma) for name, sigma in sigmas.items()}
        return {
            **centre,
            "distance": distance,
            **widths,
            "distance_sigma": distance * math.log(10) / 5 * self.depth,
        }
