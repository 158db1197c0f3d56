"""The stars of a simulated field: a stream along a track, a disc and a halo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stream_mapper.distributions._stable import ln_normal
from stream_mapper.mock.base import Stars, normal, uniform
from stream_mapper.mock.survey.background import Background, Colour, ProperMotion
from stream_mapper.mock.survey.measurement import Passbands, Window
from stream_mapper.mock.survey.stream import Stream
from stream_mapper.track import Track

_TAPER = 0.1  # of the length, at each end


class Kind(NamedTuple):
    """Laws of the disc or the halo.

    Arguments:
        decay: Decay rates of phi1, phi2 [1/deg] and the first magnitude [1/mag].
        motions: Laws of pm_phi1 and pm_phi2.
        correlation: Correlation of the two.
        parallax: Mean of the exponential law of the parallax [mas].
    """

    decay: tuple[float, float, float]
    motions: tuple[ProperMotion, ProperMotion]
    correlation: float
    parallax: float


DISC = Kind((0.008, 0.06, -0.25), (ProperMotion(-2.5, 0.0, 4.2), ProperMotion(-3.5, 0.0, 3.4)), 0.35, 0.5)
HALO = Kind((0.0, 0.0, -0.75), (ProperMotion(-1.0, 0.0, 2.2), ProperMotion(-2.0, 0.0, 2.0)), 0.1, 0.15)


@dataclass(frozen=True)
class Along:
    """A stream along a track, tapered over a tenth of its length at both ends; a shape of `mock.survey.stream.Stream`.

    Arguments:
        track: Where it runs: phi2 [deg], pm_phi1, pm_phi2 [mas/yr] and distmod [mag].
        sigma: Its width in phi2 [deg].
        dispersion: Dispersion of each proper motion [mas/yr].
    """

    track: Track
    sigma: float
    dispersion: float

    @property
    def extent(self) -> tuple[float, float]:
        """First and last phi1 of the track [deg]."""
        return self.track.phi1[0], self.track.phi1[-1]

    def centre(self, phi1: Tensor) -> Stars:
        """The track at phi1 [deg], (N,) each."""
        return {name: self.track.at(name, phi1) for name in ("phi2", "pm_phi1", "pm_phi2", "distmod")}

    def width(self, phi1: Tensor) -> Tensor:
        """The same at every phi1."""
        return torch.full_like(phi1, self.sigma)

    def number(self, phi1: Tensor) -> Tensor:
        """Relative to that in the middle; zero beyond the ends."""
        low, high = self.extent
        length = _TAPER * (high - low)
        rise = torch.minimum(phi1 - low, high - phi1).clamp(0, length) / length
        return torch.sin(0.5 * math.pi * rise).square()


class TrackStream(Stream):
    """Stars about a track; the parallax of each is that of the track at its phi1."""

    def sample(self, generator: torch.Generator) -> Stars:
        """All the stars."""
        stars = super().sample(generator)
        return stars | {"parallax": self._parallax(stars["phi1"])}

    def ln_parallax(self, stars: Stars) -> Tensor:
        """Log density of the parallax."""
        return ln_normal(stars["parallax"], self._parallax(stars["phi1"]), stars["parallax_err"])

    def _parallax(self, phi1: Tensor) -> Tensor:
        return 10 ** (2 - self.shape.centre(phi1)["distmod"] / 5)


class FieldStars(Background):
    r"""Disc or halo of a field: a `Background` with a parallax, exponential before its error, and maybe a third band.

    Colours are wider by the errors of faint stars.

    Arguments:
        size: Number of stars.
        kind: Its laws.
        colours: Laws of the first magnitude less the second one.
        third: Law of the first magnitude less the third one, given that colour (its mean is at zero colour).
        passbands: The bands.
        window: Where the stars are.
    """

    def __init__(
        self,
        size: int,
        kind: Kind,
        colours: Sequence[Colour],
        third: Colour | None,
        passbands: Passbands,
        window: Window,
    ) -> None:
        laws = kind.decay, colours, kind.motions, kind.correlation
        super().__init__(size, *laws, passbands=passbands, window=window)
        self.third, self.errors, self.mean_parallax = third, passbands.errors, kind.parallax

    def sample(self, generator: torch.Generator) -> Stars:
        """All the stars."""
        stars = super().sample(generator)
        stars["parallax"] = -self.mean_parallax * torch.log1p(-uniform(self.size, 0, 1, generator))
        if self.third is not None:
            noise = self._third_spread(stars) * normal(self.size, generator)
            stars[self.bands[2]] = stars[self.bands[0]] - self._third(stars) - noise
        return stars

    def ln_photometry(self, stars: Stars) -> Tensor:
        """Log density of the magnitudes."""
        two = super().ln_photometry(stars)
        if self.third is None:
            return two
        colour = stars[self.bands[0]] - stars[self.bands[2]]
        return two + ln_normal(colour, self._third(stars), self._third_spread(stars))

    def ln_parallax(self, stars: Stars) -> Tensor:
        """Log density of the parallax: the exponential law convolved with the error."""
        rate, x, error = 1 / self.mean_parallax, stars["parallax"], stars["parallax_err"]
        tail = torch.special.log_ndtr(x / error - rate * error)
        return math.log(rate) - rate * x + 0.5 * (rate * error).square() + tail

    def _spread(self, g: Tensor, law: Colour) -> Tensor:
        """Width of a law of the colour: that of the stars and the error of the second band at this magnitude."""
        return (law.sigma**2 + self.errors[1].variance(g)).sqrt()

    def _third_spread(self, stars: Stars) -> Tensor:
        """Width of the law of the first magnitude less the third: that of the stars, and errors of both colours."""
        if self.third is None:
            return torch.zeros_like(stars["phi1"])
        g = stars[self.bands[0]]
        errors = self.errors[2].variance(g) + self.third.slope**2 * self.errors[1].variance(g)
        return (self.third.sigma**2 + errors).sqrt()

    def _third(self, stars: Stars) -> Tensor:
        """Mean of the first magnitude less the third."""
        if self.third is None:
            return torch.zeros_like(stars["phi1"])
        return self.third.mean + self.third.slope * (stars[self.bands[0]] - stars[self.bands[1]])
