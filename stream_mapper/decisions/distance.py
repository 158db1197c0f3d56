"""The distance of a stream that nobody has measured: where stars on the track are more than those beside it.

A matched filter in colour and magnitude (Rockosi et al. 2002, AJ 124, 349): each star counts by the density of the
stream there, at a distance modulus, over that of the field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stream_mapper.builtin import Isochrone, IsochroneMVNorm
from stream_mapper.catalog import KnownStream, Source, TableFacts
from stream_mapper.data import Data
from stream_mapper.decisions.choice import Choice, Range, digits
from stream_mapper.decisions.edges import SKY, STREAM
from stream_mapper.decisions.sky import from_track
from stream_mapper.track import Track

Values = NDArray[np.float64]
Chosen = NDArray[np.bool_]

LEAST_SIGNIFICANCE = 5.75
"""Of a distance that is taken for that of a stream; the largest of 100 fields of 30,000 stars without one was 5.51, the
next 4.32."""

FOUND = "a scan of the table's stars"
"""What `Decisions.sources` calls such a distance."""

_MODULI = np.arange(10.0, 21.01, 0.1)  # mag: 1 to 160 kpc
_DRIFTS = np.linspace(-1.0, 1.0, 9)  # mag of change from the middle of the field to its end
_SLICES = 5  # of the field along the stream
_MAGNITUDE, _COLOUR = 0.1, 0.05  # mag: the cells
_INNER = (0.5, 99.5)  # percentiles of magnitude and colour
_BLUR = (2.0, 1.5)  # cells, of the field
_SPREAD = 0.1  # mag: depth of the stream, and of what is not known of its isochrone
_SCATTER = 0.03  # mag about the isochrone
_FLOOR = 4.0  # variance in stars of the highest weight: a few stars where none is expected are no stream
_ON, _LEAST_ON = 1.5, 0.2  # widths of the stream that are on it, and deg
_LEAST_BESIDE = 1.0  # stars beside the track for each one on it: of fewer, what is expected is not known
_MOVING, _WITHOUT = 0.1, 0.02  # share of the stream in stars on it that move with it, and in those without a motion
_ERRORS, _MOST = 2.0, 0.4  # standard errors and dispersions about the motion, and mas/yr of the latter at most
_OF_MOTION = 1.0  # mas/yr: half-width about a motion that was found
_SHARES = np.geomspace(0.003, 0.7, 12)  # of the stream in the stars on it, that may be
_NEARLY = 0.8  # of the least significance, that of the likeliest distance at least
_LIKELY = 4.0  # nats below the highest: some three standard errors
_HALF = 0.75  # mag: half-width of a guide about the peak at least


class Peak(NamedTuple):
    """A distance at which stars on a track are more than those beside it.

    Arguments:
        distmod: Distance modulus at the middle of the field [mag].
        drift: Its change from there to the middle of the last slice [mag].
        half: Half the range of moduli that are about as likely [mag].
        significance: The most that an excess of stars is of its standard error.
    """

    distmod: float
    drift: float
    half: float
    significance: float


class Cells(NamedTuple):
    """Stars in cells of colour and magnitude.

    Arguments:
        on: Stars on the track, by slice of the field and cell, shape (K, C).
        off: Those beside it.
        field: Density of the stars beside it, normalised, 1 / [mag^2], shape (C,).
        share: Share of the stream in the stars on it, by which the filter is made.
    """

    on: Values
    off: Values
    field: Values
    share: float

    def scan(self, densities: Values) -> Scan:
        """The stars on the track, beside what is expected without and with a stream.

        Arguments:
            densities: Density of the stream at M moduli, 1 / [mag^2], shape (M, C).
        """
        weights = self.share * densities / ((1 - self.share) * self.field + self.share * densities)
        ratio = self.on.sum(-1, keepdims=True) / np.maximum(self.off.sum(-1, keepdims=True), 1)
        expected = ratio * self.off
        more = densities / self.field - 1
        smooth = self.off.sum(-1, keepdims=True) * self.field / self.field.sum()
        seen = self.on + ratio * (smooth - self.off)  # as if the field were as smooth as its density
        gains = np.stack([seen @ np.log1p(share * more).T for share in _SHARES], -1)
        return Scan((self.on - expected) @ weights.T, ((1 + ratio) * expected) @ (weights**2).T, (gains,))


class Scan(NamedTuple):
    """What K slices of a field say of M distance moduli.

    Arguments:
        excess: Stars on the track less those expected of the ones beside it, which count by the ratio of the numbers
            of all of the slice, weighted, shape (K, M).
        variance: Its variance.
        gains: What a share S of the stream in the stars on it gains in log likelihood, of each group of stars that may
            have a share of its own, (K, M, S) each.
    """

    excess: Values
    variance: Values
    gains: tuple[Values, ...]

    def __add__(self, other: Scan) -> Scan:  # type: ignore[override]
        return Scan(self.excess + other.excess, self.variance + other.variance, self.gains + other.gains)

    def peak(self, moduli: Values = _MODULI) -> Peak | None:
        """The likeliest distance modulus, which may change evenly along the field; None without a significant excess.

        Whether there is a stream is for the excess to say, which the stars beside the track check; it has a peak where
        no other stars are, and not always at the right distance. That is for the likelihood, where the excess is nearly
        significant.

        Arguments:
            moduli: The moduli, evenly spaced [mag].
        """
        moved = [self._moved(drift, moduli) for drift in _DRIFTS]
        ratios = np.stack([self._ratio(at) for at in moved])
        if ratios.max() < LEAST_SIGNIFICANCE:
            return None
        gains = np.where(ratios > _NEARLY * LEAST_SIGNIFICANCE, [self._gain(at) for at in moved], -np.inf)
        i, j = (int(k) for k in np.unravel_index(int(gains.argmax()), gains.shape))
        likely = moduli[gains.max(0) > gains.max() - _LIKELY]
        return Peak(float(moduli[j]), float(_DRIFTS[i]), float(np.ptp(likely)) / 2, float(ratios.max()))

    def _moved(self, drift: float, moduli: Values) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Slices, and the indices of the moduli in them if they change along the field, that index (K, M)."""
        slices = np.arange(len(self.excess))[:, None]
        steps = drift * np.linspace(-1, 1, len(slices)) / (moduli[1] - moduli[0])
        columns = np.arange(len(moduli)) + np.round(steps).astype(np.int64)[:, None]
        return slices, np.clip(columns, 0, len(moduli) - 1)

    def _ratio(self, at: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Values:
        """The excess over its standard error, (M,)."""
        return np.asarray(self.excess[at].sum(0) / np.sqrt(self.variance[at].sum(0) + _FLOOR))

    def _gain(self, at: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Values:
        """What the likeliest shares gain, none among them [nats], (M,)."""
        return np.sum([np.maximum(gains[at].sum(0).max(-1), 0) for gains in self.gains], axis=0)


def scanned(
    stream: KnownStream, facts: TableFacts, width: float, off: float, isochrone: Isochrone, limits: Range
) -> Choice[Track | None]:
    """The distance of a stream by the stars of a table.

    Arguments:
        stream: The stream, whose distance is not known.
        facts: The table.
        width: Width of the stream [deg].
        off: Distance from the track beyond which stars are beside it [deg].
        isochrone: That of the stream.
        limits: Bright and faint limit in its first band [mag].

    Returns:
        A track of ``distmod``, with its half-widths, at the places of the stream's; None without a peak, and why.
    """
    bands = [band for band in isochrone.bands if band in facts.ranges]
    if len(bands) < 2:
        return Choice(None, "The table has no two bands of the isochrone.")
    if not limits[0] < limits[1]:
        return Choice(None, f"No star is within the limits of the survey, {limits[0]:g} to {limits[1]:g} mag.")
    found = scan(stream, facts, width, off, _of_two(isochrone, bands), limits).peak()
    if found is None:
        return Choice(None, "No track knows it, and at no distance are stars on the track more than those beside it.")
    low, high = facts.ranges["phi1"]
    along = (2 * np.asarray(stream.track.phi1) - low - high) / (high - low)
    drift = found.drift * _SLICES / (_SLICES - 1)  # to the end: that of a peak is to the middle of the last slice
    moduli = [digits(found.distmod + drift * float(x)) for x in np.clip(along, -1, 1)]
    half = digits(max(_HALF, 2 * found.half))
    reason = (
        f"Stars on the isochrone at modulus {found.distmod:.4g} are more on the track than beside it, by "
        f"{found.significance:.1f} sigma; no track knows it."
    )
    return Choice(Track(stream.track.phi1, {"distmod": moduli}, {"distmod": [half] * len(moduli)}), reason)


def with_distance(stream: KnownStream, found: Track) -> KnownStream:
    """The stream with a distance that was found."""
    return _completed(stream, found.coordinates, found.widths, distance=Source(FOUND, is_mean=True))


def with_motion(stream: KnownStream, found: Track) -> KnownStream:
    """The stream with a motion that was found, for a scan of its distance."""
    phi1 = stream.track.phi1
    motion = {name: np.interp(phi1, found.phi1, found.values(name)).tolist() for name in STREAM}
    widths = dict.fromkeys(STREAM, [_OF_MOTION] * len(phi1))
    return _completed(stream, motion, widths, motion=Source(FOUND, is_mean=False))


def _completed(
    stream: KnownStream,
    coordinates: Mapping[str, Sequence[float]],
    widths: Mapping[str, Sequence[float]],
    **sources: Source,
) -> KnownStream:
    """The stream with coordinates at the places of its track, their half-widths, and where they come from."""
    track = stream.track
    track = Track(track.phi1, {**track.coordinates, **coordinates}, {**track.widths, **widths})
    return replace(stream, track=track, sources={**stream.sources, **sources})


def _of_two(isochrone: Isochrone, bands: Sequence[str]) -> Isochrone:
    """The isochrone in the first and the last of some bands alone."""
    two = bands[0], bands[-1]
    columns = [isochrone.bands.index(band) for band in two]
    mass = isochrone.mass if isochrone.has_masses else None
    return Isochrone(mass, isochrone.magnitudes[:, columns], two)


def scan(stream: KnownStream, facts: TableFacts, width: float, off: float, isochrone: Isochrone, limits: Range) -> Scan:
    """What the stars of a table say of each distance; arguments as of `scanned`, with an isochrone of two bands."""
    first, last = (facts.values[band] for band in isochrone.bands)
    seen = np.isfinite(first - last) & (first > limits[0]) & (first < limits[1])
    distance = np.abs(from_track(stream, facts))
    on, off_stream = distance < max(_ON * width, _LEAST_ON), distance > off
    seen &= _are_beside_too(facts, seen & on, seen & off_stream & ~on)
    found = Scan(np.zeros((_SLICES, len(_MODULI))), np.zeros((_SLICES, len(_MODULI))), ())
    for chosen, share in _groups(stream, facts):
        stars = seen & chosen & (on | off_stream)
        cells, centres = _cells(facts, first[stars], (first - last)[stars], on[stars], stars, share)
        found = found + cells.scan(_densities(isochrone, facts, centres, limits))
    return found


def _are_beside_too(facts: TableFacts, on: Chosen, beside: Chosen) -> Chosen:
    """Whether a star is in a slice of the field where enough are beside the track to say what is expected on it."""
    slices, phi1 = _slices(facts), facts.values["phi1"]
    numbers = [np.histogram(phi1[rows], slices)[0] for rows in (on, beside)]
    place = np.clip(np.searchsorted(slices, phi1, side="right") - 1, 0, _SLICES - 1)
    return np.asarray((numbers[1] >= _LEAST_BESIDE * numbers[0])[place])


def _groups(stream: KnownStream, facts: TableFacts) -> list[tuple[Chosen, float]]:
    """Stars that move with the stream and those without a motion, or all, each with the share of the stream."""
    if "motion" not in stream.sources or not set(STREAM) <= set(facts.values):
        return [(np.ones(facts.size, dtype=bool), _WITHOUT)]
    known = np.isfinite([facts.values[name] for name in STREAM]).all(0)
    return [(known & np.all([_moves(stream, facts, name) for name in STREAM], axis=0), _MOVING), (~known, _WITHOUT)]


def _moves(stream: KnownStream, facts: TableFacts, name: str) -> Chosen:
    """Whether a star has the stream's motion in a coordinate, within the guide and its error."""
    phi1, track = facts.values["phi1"], stream.track
    centre = np.interp(phi1, track.phi1, track.values(name))
    spread = np.minimum(np.interp(phi1, track.phi1, track.half_width(name)) / 2, _MOST)
    error = facts.values.get(f"{name}_err", facts.values.get(f"{SKY[STREAM.index(name)]}_err", np.zeros(facts.size)))
    return np.asarray(np.abs(facts.values[name] - centre) < _ERRORS * np.hypot(spread, np.nan_to_num(error)))


def _cells(
    facts: TableFacts, magnitude: Values, colour: Values, on: Chosen, stars: Chosen, share: float
) -> tuple[Cells, Values]:
    """The cells, and the magnitude and colour of their centres, (C, 2)."""
    edges = [_edges(magnitude, _MAGNITUDE), _edges(colour, _COLOUR)]
    columns = [facts.values["phi1"][stars], magnitude, colour]
    counts = [np.histogramdd([x[rows] for x in columns], [_slices(facts), *edges])[0] for rows in (on, ~on)]
    field = _blurred(counts[1].sum(0))
    field += 1e-3 * field.mean() + 1e-12
    field /= field.sum() * _MAGNITUDE * _COLOUR
    centres = np.stack(np.meshgrid(*(0.5 * (e[1:] + e[:-1]) for e in edges), indexing="ij"), -1)
    on_cells, off_cells = (count.reshape(_SLICES, -1) for count in counts)
    return Cells(on_cells, off_cells, field.reshape(-1), share), centres.reshape(-1, 2)


def _slices(facts: TableFacts) -> Values:
    """Edges of the slices of the field along the stream."""
    return np.linspace(*facts.ranges["phi1"], _SLICES + 1)


def _blurred(cells: Values) -> Values:
    """Stars in cells, each spread over those around it."""
    for size, blur in zip(cells.shape, _BLUR, strict=True):
        places = np.arange(size)
        kernel = np.exp(-0.5 * ((places[:, None] - places) / blur) ** 2)
        cells = (kernel / kernel.sum(0)) @ cells
        cells = cells.T
    return cells


def _edges(values: Values, size: float) -> Values:
    """Edges of cells of a size about all but the outermost values; there is one without any."""
    low, high = np.percentile(values, _INNER).tolist() if len(values) else (0.0, 0.0)
    return np.asarray(low + size * np.arange(math.floor((high - low) / size) + 2))


@torch.no_grad()
def _densities(isochrone: Isochrone, facts: TableFacts, centres: Values, limits: Range) -> Values:
    """Density of the stream in each cell at each modulus, of stars with the errors that are usual there, (M, C)."""
    first, last = isochrone.bands
    errors = [f"{band}_err" for band in (first, last)]
    there = all(name in facts.values for name in errors)
    model = IsochroneMVNorm(
        isochrone=isochrone,
        phot_err_names=errors if there else None,
        phot_bounds={first: limits},
        scatter=_SCATTER,
    ).double()
    columns = {first: centres[:, 0], last: centres[:, 0] - centres[:, 1]}
    columns["phi1"] = np.zeros(len(centres))
    columns |= {name: _usual(facts, first, name, centres[:, 0]) for name in errors} if there else {}
    cells = Data({name: torch.from_numpy(values) for name, values in columns.items()})
    one = torch.ones(len(centres), dtype=torch.float64)
    spread = math.log(_SPREAD) * one
    found = [model.ln_likelihood({"distmod.mu": m * one, "distmod.ln-sigma": spread}, cells) for m in _MODULI.tolist()]
    return torch.stack(found).exp().nan_to_num().numpy()


def _usual(facts: TableFacts, band: str, error: str, magnitudes: Values) -> Values:
    """The error of a star of a magnitude: the median of those in its bin of half a magnitude."""
    values, errors = facts.values[band], facts.values[error]
    known = np.isfinite(values) & np.isfinite(errors)
    edges = np.arange(magnitudes.min(initial=0.0), magnitudes.max(initial=1.0) + 0.5, 0.5)
    bins = np.digitize(values[known], edges)
    there = [i for i in range(1, len(edges) + 1) if (bins == i).any()]
    medians = [float(np.median(errors[known][bins == i])) for i in there]
    return np.interp(magnitudes, [edges[i - 1] + 0.25 for i in there], medians) if there else np.zeros(len(magnitudes))
