"""A field around the track of any stream, in ICRS."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from stream_mapper.builtin.isochrone import Isochrone, PowerLawMassFunction
from stream_mapper.errors import InputError, check_at_least, check_positive
from stream_mapper.mock.base import Column, Simulator, Stars, check_shares, normal, shuffled, uniform
from stream_mapper.mock.field.measurement import measure_field, to_icrs
from stream_mapper.mock.field.populations import DISC, HALO, Along, FieldStars, TrackStream
from stream_mapper.mock.field.surveys import field_survey
from stream_mapper.mock.survey.measurement import PROPER_MOTIONS, Window
from stream_mapper.mock.survey.photometry import CurvePhotometry
from stream_mapper.mock.survey.population import Population
from stream_mapper.mock.survey.stream import truth_of
from stream_mapper.paths import FilePath
from stream_mapper.track import Track

_WIDTH, _WIDTHS = 0.2, (0.05, 1.5)  # deg: where the literature has none, and the least and the greatest that is taken
_MARGIN, _SIGMAS = 2.0, 6.0  # deg and widths between the track and the edges of the window in phi2, the greater of them
_DISTMOD = (15.0, 17.0)  # mag, for a track without
_MOTION = ((-2.0, 3.0), (-2.0, 2.5))  # mean and dispersion of the proper motion of a track without [mas/yr]
_HALO = 0.25  # share of the background


class TrackMock(Simulator):
    r"""A field in ICRS around the track of a stream, as Gaia and a photometric survey see it, and the oracle's answer.

    A star has ``ra``, ``dec`` [deg], ``pmra``, ``pmdec`` [mas/yr] and ``parallax`` [mas] with their errors,
    ``pmra_pmdec_corr``, and magnitudes with errors: G, RP and BP of ``gaia_dr3`` (14 < G < 20.5), g and r of
    ``panstarrs1`` (14.5 < g < 21.8) or g and i of ``des`` (16 < g < 23). Errors grow with the magnitude as theirs do;
    stars beyond 20.7 mag have no astrometry, and a few lack something at random. The window is the range of the track
    in phi1 and a box in phi2 that leaves 2 deg, or six widths, on both sides.

    - Stream: along the track, tapered over a tenth of its length at both ends; Gaussian in phi2 and in both proper
      motions; the isochrone at the distance of the track, with :math:`dN/dm \propto m^{-1/2}`.
    - Field: three quarters disc, one quarter halo; exponential in phi1, phi2, the first magnitude and the parallax,
      normal in colours and proper motions.

    The numbers are those of stars inside the window, exactly. ``true_p_member`` is the probability of the stream by all
    that was measured of the star, over what was not it is integrated; ``true_weight``, ``true_<coordinate>`` and
    ``true_<coordinate>_sigma`` are of the stream at the star's phi1. What the track does not know, a distance or a
    motion, is drawn with the seed.

        >>> track = stream_mapper.Track([-10.0, 10.0], {"phi2": [0.0, 1.0], "distmod": [15.0, 15.2]})
        >>> stars = TrackMock(track, n_stream=20, n_background=100, survey="panstarrs1").simulate()
        >>> len(stars["ra"]), "pmra_err" in stars, "g" in stars
        (120, True, True)

    Arguments:
        track: A track, or the name of a stream or a track of galstreams (`stream_mapper.catalog.known_stream`).
        n_stream: Stars of the stream; may be zero.
        n_background: Stars of the field; may be zero.
        width: Width of the stream in phi2 [deg]; by default that of the literature between 0.05 and 1.5 deg, or 0.2.
        dispersion: Dispersion of each proper motion of the stream [mas/yr].
        isochrone: Absolute magnitudes in the bands of the survey; the package's synthetic curve by default.
        survey: ``gaia_dr3``, ``panstarrs1`` or ``des``.
        seed: Seed of the random numbers.
        phi1: First and last phi1 of the field [deg]; by default those of the track.
        phi2: Least and greatest phi2 of the field [deg].
        depth: Spread of the distance modulus [mag].
        scatter: Intrinsic scatter about the isochrone in each band [mag].
        missing_photometry: Probability that a star lacks its magnitudes.
        missing_astrometry: Probability that a star lacks proper motions and parallax.
        tracks: Folder of galstreams' files, for a track by name; by default that of the installed package.
        matrix: For a track of numbers: the rotation from ICRS to its frame, whose rows are the frame's axes
            (``SkyFrame.metadata()["matrix"]``); by default phi1 and phi2 are ra and dec.

    Raises:
        InputError: If a number is out of range, the track or survey is not known, or no star would be seen.
    """

    def __init__(
        self,
        track: str | Track,
        n_stream: int = 300,
        n_background: int = 30_000,
        width: float | None = None,
        dispersion: float = 0.05,
        isochrone: Isochrone | None = None,
        survey: str = "gaia_dr3",
        seed: int = 0,
        phi1: tuple[float, float] | None = None,
        phi2: tuple[float, float] | None = None,
        depth: float = 0.03,
        scatter: float = 0.015,
        missing_photometry: float = 0.02,
        missing_astrometry: float = 0.02,
        tracks: FilePath | None = None,
        matrix: Sequence[Sequence[float]] | None = None,
    ) -> None:
        check_at_least("n_stream", n_stream, 0)
        check_at_least("n_background", n_background, 0)
        check_shares("TrackMock", missing_photometry=missing_photometry, missing_astrometry=missing_astrometry)
        self.seed, self.depth, self.missing = seed, depth, (missing_photometry, missing_astrometry)
        known, rotation, sigma = _known(track, tracks, phi1, matrix)
        sigma = sigma if width is None else width
        for name, value in {"width": sigma, "dispersion": dispersion}.items():
            check_positive(f"the {name} of TrackMock", value)
        self.rotation = torch.tensor(rotation, dtype=torch.float64)
        self.track, self.survey = _whole(known, seed), field_survey(survey)
        shape = Along(self.track, sigma, dispersion)
        self.window = Window(shape.extent, phi2 or _across(self.track, sigma))
        curve = isochrone or Isochrone.synthetic(self.survey.passbands.bands)
        photometry = CurvePhotometry(curve, PowerLawMassFunction(-0.5), scatter, depth, self.survey.passbands)
        self.stream = TrackStream(n_stream, shape, photometry, phi2=self.window.phi2)
        n_halo, seen = round(_HALO * n_background), self.survey
        kinds = [(n_background - n_halo, DISC, seen.disc), (n_halo, HALO, (seen.halo,))]
        self.background = [FieldStars(*kind, seen.third, seen.passbands, self.window) for kind in kinds]

    @property
    def populations(self) -> list[Population]:
        """The stream, the disc and the halo."""
        return [self.stream, *self.background]

    def simulate(self) -> dict[str, Column]:
        """Stars in random order, with their truth."""
        generator = torch.Generator().manual_seed(self.seed)
        names = ("stream", "background", "background")
        samples = [
            (
                name,
                measure_field(stars.sample(generator), self.survey.passbands, self.missing, self.rotation, generator),
            )
            for name, stars in zip(names, self.populations, strict=True)
        ]
        table = shuffled(samples, self._truth, generator)
        component = table.pop("true_component")
        stars = to_icrs({name: torch.as_tensor(column) for name, column in table.items()}, self.rotation)
        return {**{name: column.numpy() for name, column in stars.items()}, "true_component": component}

    def truth_at(self, phi1: Tensor | Sequence[float]) -> Stars:
        """Truth of the stream at phi1 [deg], each (N,).

        Returns:
            ``phi2``, ``pm_phi1``, ``pm_phi2``, ``distmod`` and ``distance`` [kpc], each with its ``_sigma``,
            ``parallax`` [mas], and ``weight``, the share of the stream among the stars there.
        """
        at = torch.as_tensor(phi1, dtype=torch.float64)
        centre, widths = truth_of(self.stream.shape, at, self.depth)
        numbers = torch.stack([stars.ln_number(at) for stars in self.populations], -1).exp()
        weight = numbers[:, 0] / numbers.sum(-1)
        return {**centre, "parallax": 1 / centre["distance"], **widths, "weight": weight}

    def _truth(self, stars: Stars) -> Stars:
        p = torch.stack([population.ln_density(stars) for population in self.populations], -1).softmax(-1)
        truth = {"p_member": p[:, 0], **self.truth_at(stars["phi1"])}
        return {f"true_{name}": values for name, values in truth.items()}


def _known(
    track: str | Track,
    tracks: str | os.PathLike[str] | None,
    phi1: tuple[float, float] | None,
    matrix: Sequence[Sequence[float]] | None,
) -> tuple[Track, Sequence[Sequence[float]], float]:
    """The track, the rotation from ICRS to its frame, and the width of the stream [deg]."""
    if isinstance(track, Track):
        rows = matrix or torch.eye(3).tolist()
        return (track if phi1 is None else _part(track, phi1)), rows, _WIDTH
    from stream_mapper.catalog import known_stream  # noqa: PLC0415

    stream = known_stream(track, tracks=tracks, phi1=phi1)
    width = min(max(stream.widths.get("phi2", _WIDTH), _WIDTHS[0]), _WIDTHS[1])
    return stream.track, stream.frame.orientation.matrix.tolist(), width


def _part(track: Track, phi1: tuple[float, float]) -> Track:
    """The track between two ends."""
    low, high = max(phi1[0], track.phi1[0]), min(phi1[1], track.phi1[-1])
    if not low < high:
        raise InputError(
            f"no part of the track is in phi1 {phi1}; it runs from {track.phi1[0]} to {track.phi1[-1]} deg."
        )
    places = [low, *(x for x in track.phi1 if low < x < high), high]
    at = torch.tensor(places, dtype=torch.float64)
    return Track(places, {name: track.at(name, at).tolist() for name in track.coordinates})


def _whole(track: Track, seed: int) -> Track:
    """The track with a distance and motions, drawn with the seed where it has none."""
    if len(track.phi1) < 2 or "phi2" not in track.coordinates:
        raise InputError(f"TrackMock needs a track with phi2 at two places or more; got {track}.")
    generator, places = torch.Generator().manual_seed(seed), len(track.phi1)
    drawn = {"distmod": float(uniform(1, *_DISTMOD, generator))}
    for name, (mean, sigma) in zip(PROPER_MOTIONS, _MOTION, strict=True):
        drawn[name] = mean + sigma * float(normal(1, generator))
    columns = {name: [value] * places for name, value in drawn.items()}
    if "distance" in track.coordinates:
        columns["distmod"] = [5 * math.log10(distance) + 10 for distance in track.values("distance")]
    return Track(track.phi1, columns | track.coordinates)


def _across(track: Track, width: float) -> tuple[float, float]:
    """Least and greatest phi2 of the window."""
    margin, values = max(_MARGIN, _SIGMAS * width), track.values("phi2")
    return max(min(values) - margin, -89.0), min(max(values) + margin, 89.0)
