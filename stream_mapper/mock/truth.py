"""What is true of a stream that is drawn at random."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stream_mapper.mock.base import Stars, kept_by_gaps
from stream_mapper.mock.survey.measurement import PHI1, PHI2
from stream_mapper.mock.survey.stream import polynomial

_SCALE = 40.0  # deg: unit of phi1 in polynomials
_MARGIN = 0.8  # deg between the track and the edge of the window
_DISTMOD = (13.8, 16.0)  # mag
_APART = 3.0  # deg between two gaps, and between a gap and an end
_SEED = 12  # apart from the seeds of the stars
_FINE = 400  # places at which a track is held against its limits


class Dip(NamedTuple):
    """A gap.

    Arguments:
        centre: Its place phi1 [deg].
        width: Standard deviation of a Gaussian gap, full width of one with hard edges [deg].
        depth: Share of the stars that it takes, 0..1.
        hard: Whether its edges are hard.
    """

    centre: float
    width: float
    depth: float
    hard: bool = False

    @property
    def reach(self) -> float:
        """Distance from the centre to where little is missing [deg]."""
        return self.width / 2 if self.hard else 2.5 * self.width

    @property
    def missing(self) -> float:
        """Length of stream that holds as many stars as the gap takes [deg]."""
        return self.depth * self.width * (1.0 if self.hard else math.sqrt(2 * math.pi))

    def kept(self, phi1: Tensor) -> Tensor:
        """Share of the stars that it leaves at phi1, (N,)."""
        if not self.hard:
            return kept_by_gaps(phi1, [self[:3]])
        return 1 - self.depth * ((phi1 - self.centre).abs() <= self.width / 2).to(phi1)


@dataclass(frozen=True)
class StreamTruth:
    r"""Every function of phi1 that a stream is made of; a shape of `mock.survey.stream.Stream`.

    Polynomials are in u = phi1 / 40 deg, the constant first. The number of stars of any magnitude at phi1 goes as
    :math:`e^{t u} \, \mathrm{expit}((\phi_1 - b) / w_b) \, \mathrm{expit}((e - \phi_1) / w_e)`, thinned by gaps.

        >>> truth = StreamTruth.drawn(seed=0)
        >>> 30 <= truth.expected <= 2000
        True

    Arguments:
        track: Polynomials of phi2 [deg], pm_phi1, pm_phi2 [mas/yr] and distmod [mag].
        expected: Number of stars inside the window, in expectation.
        ln_width: Polynomial of the log of the width in phi2 [deg].
        dispersion: Intrinsic dispersion of each proper motion [mas/yr].
        begin: Where half the stars are there [deg]; -inf for a stream that comes from beyond the window.
        end: Where half of them are still there; inf for a stream that goes on beyond the window.
        begin_width: Width w of that edge [deg]; from a tenth to nine tenths are 4.4 w.
        end_width: Width of the other.
        gaps: Its gaps.
        tilt: Growth t of the log of the number of stars per 40 deg.
    """

    track: Mapping[str, tuple[float, ...]]
    expected: float
    ln_width: tuple[float, ...]
    dispersion: float
    begin: float = -math.inf
    end: float = math.inf
    begin_width: float = 0.5
    end_width: float = 0.5
    gaps: tuple[Dip, ...] = ()
    tilt: float = 0.0

    extent = PHI1

    @classmethod
    def drawn(cls, seed: int, richness: tuple[float, float] = (30.0, 2000.0)) -> StreamTruth:
        """A stream at random: 30 to 2,000 stars, 0.05 to 0.4 deg wide, up to four gaps, with two, one or no end.

        Arguments:
            seed: Seed of the draw.
            richness: Least and greatest expected number of stars; its log is uniform.
        """
        rng = np.random.default_rng((_SEED, seed))
        expected = _log_uniform(rng, *richness)
        begin = float(rng.uniform(-36, -10)) if rng.uniform() < 0.75 else -math.inf
        end = float(rng.uniform(10, 36)) if rng.uniform() < 0.75 else math.inf
        begin_width, end_width = _log_uniform(rng, 0.05, 2.0), _log_uniform(rng, 0.05, 2.0)
        low, high = max(begin, PHI1[0]), min(end, PHI1[1])
        track = {"phi2": _between(rng, (1.2, 1.2, 2.0, 0.8), (PHI2[0] + _MARGIN, PHI2[1] - _MARGIN), low, high)}
        track |= {"distmod": _between(rng, (0.8, 0.6, 0.4), _DISTMOD, low, high)}
        track |= {"pm_phi1": _between(rng, (2.0, 0.6, 1.2), (-9.5, -3.5), low, high)}
        track |= {"pm_phi2": _between(rng, (1.2, 0.5, 0.5), (-4.5, -0.5), low, high)}
        ln_width = (math.log(_log_uniform(rng, 0.06, 0.33)), float(rng.uniform(-0.2, 0.2)))
        gaps = _gaps(rng, low, high)
        tilt, dispersion = float(rng.uniform(-0.5, 0.5)), _log_uniform(rng, 0.02, 0.1)
        return cls(track, expected, ln_width, dispersion, begin, end, begin_width, end_width, gaps, tilt)

    def centre(self, phi1: Tensor) -> Stars:
        """Track at phi1 [deg] in phi2, both proper motions and the distance modulus, each (N,)."""
        return {name: polynomial(phi1 / _SCALE, terms) for name, terms in self.track.items()}

    def width(self, phi1: Tensor) -> Tensor:
        """Width in phi2 [deg] at phi1, (N,)."""
        return polynomial(phi1 / _SCALE, self.ln_width).exp()

    def number(self, phi1: Tensor) -> Tensor:
        """Number of stars of any magnitude at phi1, (N,), in a unit of which there is at most one."""
        kept = (self.tilt * phi1 / _SCALE - abs(self.tilt)).exp()
        for gap in self.gaps:
            kept = kept * gap.kept(phi1)
        rise = torch.sigmoid((phi1 - self.begin) / self.begin_width)
        return kept * rise * torch.sigmoid((self.end - phi1) / self.end_width)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def _between(
    rng: np.random.Generator, spread: tuple[float, ...], limits: tuple[float, float], low: float, high: float
) -> tuple[float, ...]:
    """Coefficients of a polynomial that stays between the limits from low to high, the first about their middle."""
    at = np.linspace(low, high, _FINE) / _SCALE
    while True:
        terms = np.mean(limits) * np.eye(len(spread))[0] + rng.uniform(-1, 1, len(spread)) * spread
        values = np.polynomial.polynomial.polyval(at, terms)
        if limits[0] < values.min() and values.max() < limits[1]:
            return tuple(terms.tolist())


def _gaps(rng: np.random.Generator, low: float, high: float) -> tuple[Dip, ...]:
    """Up to four gaps that are clear of each other and of the ends, half of them with hard edges."""
    gaps: list[Dip] = []
    for _ in range(rng.integers(0, 5)):
        hard = bool(rng.uniform() < 0.5)
        width = _log_uniform(rng, 0.7, 4.0) if hard else _log_uniform(rng, 0.4, 2.5)
        gap = Dip(float(rng.uniform(low, high)), width, float(rng.uniform(0.5, 1.0)), hard)
        clear = low + gap.reach + _APART < gap.centre < high - gap.reach - _APART
        if clear and all(abs(gap.centre - g.centre) > gap.reach + g.reach + _APART for g in gaps):
            gaps.append(gap)
    return tuple(gaps)
