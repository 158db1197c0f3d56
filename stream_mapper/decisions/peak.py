"""The motion of a stream that nobody has measured: where stars on the track are more than those beside it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stream_mapper.builtin import Isochrone
from stream_mapper.catalog import KnownStream, TableFacts
from stream_mapper.data import Data
from stream_mapper.decisions import cells
from stream_mapper.decisions.choice import Choice, digits
from stream_mapper.decisions.likelihood import OnAndBeside
from stream_mapper.decisions.sky import from_track
from stream_mapper.selection import IsochroneBand
from stream_mapper.track import Track

Values = NDArray[np.float64]
Chosen = NDArray[np.bool_]

LEAST_SIGNIFICANCE = 6.5
"""Of a peak that is taken for a stream; the largest of 240 fields of 1,000 to 100,000 stars without one was 6.48."""

LEAST_RATIO = 6.1
"""Of a peak among stars with errors, as the root of twice the ln of its likelihood ratio.

One in a hundred of 450 fields without a stream has one above 6.04 (experiments/motions); the largest is 6.75.
"""

_KERNEL = 0.4  # mas/yr: the blur of errors and dispersion
_EACH, _JUDGED = 6, 20  # peaks of each drift, and of all those that are judged by the errors of the stars
_DRIFTS = np.linspace(-3.0, 3.0, 7)  # mas/yr of change from the middle of the field to its end
_FLOOR = 4.0  # variance in stars: a few stars where none is expected are no peak
_CORE = 3  # cells about the peak whose excess gives its place
_ON = 2.0  # widths of the stream that are on it
_LEAST_ON = 0.2  # deg
_COLOUR, _ERRORS = 0.08, 1.0  # mag and standard errors about the isochrone


class Peak(NamedTuple):
    """A peak of the stars on a track over those beside it.

    Arguments:
        motion: pm_phi1 and pm_phi2 at the middle of the field [mas/yr].
        drift: Their change from there to its end [mas/yr].
        significance: Excess over its standard error; with errors of the stars, the root of twice the ln of its
            likelihood ratio.
        excess: Stars in it.
    """

    motion: tuple[float, float]
    drift: tuple[float, float]
    significance: float
    excess: float


def motion_peak(along: Values, motions: Values, on: Chosen, off: Chosen, errors: Values | None = None) -> Peak | None:
    """The most significant peak in proper motion, None if there is none that is.

    Stars beside the track count by the ratio of the numbers of all stars on it and beside it. The motion may change
    evenly along the field. Where the errors are known, the highest of such peaks are judged by the likelihood of the
    stars on the track with a stream and without it, each with its own error: a bright star then tells more.

    Arguments:
        along: Places along the field, -1 at one end and 1 at the other, shape (N,).
        motions: pm_phi1 and pm_phi2 [mas/yr], NaN where not measured, shape (N, 2).
        on: Whether a star is on the track, shape (N,).
        off: Whether it is beside it, shape (N,).
        errors: Of the motions [mas/yr], shape (N, 2), if they are known.
    """
    known = np.isfinite(motions).all(-1) & (True if errors is None else np.isfinite(errors).all(-1))
    on, off = on & known, off & known
    if not on.any() or not off.any():
        return None
    share = on.sum() / off.sum()
    peaks: list[Peak] = []
    for drift in product(_DRIFTS, _DRIFTS):
        still = motions - along[:, None] * np.asarray(drift)
        peaks += _peaks(cells.counted(still[on]), share * cells.counted(still[off]), share, drift, _EACH)
    if errors is not None:
        best, least = _likeliest(peaks, along, motions, errors, on, off), LEAST_RATIO
    else:
        best, least = max(peaks, key=_significance), LEAST_SIGNIFICANCE
    return best if best.significance >= least else None


def scanned(
    stream: KnownStream, facts: TableFacts, width: float, off: float, isochrone: Isochrone | None
) -> Choice[Track | None]:
    """The motion of a stream by the stars of a table.

    Arguments:
        stream: The stream, whose motion is not known.
        facts: The table.
        width: Width of the stream [deg].
        off: Distance from the track beyond which stars are beside it [deg].
        isochrone: Stars near it are looked at alone, if the distance is known.

    Returns:
        A track of ``pm_phi1`` and ``pm_phi2`` at both ends of the field, None without a peak, and what was found.
    """
    if not {"pm_phi1", "pm_phi2"} <= set(facts.values):
        return Choice(None, "The table has no proper motions.")
    low, high = facts.ranges["phi1"]
    distance, near = np.abs(from_track(stream, facts)), _near(stream, facts, isochrone)
    on = distance < max(_ON * width, _LEAST_ON)
    beside = (distance > off) & ~on
    motions = np.stack([facts.values["pm_phi1"], facts.values["pm_phi2"]], -1)
    along = (2 * facts.values["phi1"] - low - high) / (high - low)
    spelt = ("pm_phi1_err", "pm_phi2_err")
    errors = np.stack([facts.values[name] for name in spelt], -1) if set(spelt) <= set(facts.values) else None
    peak = motion_peak(along, motions, on & near, beside & near, errors)
    if peak is None:
        advice = "give the isochrone, a narrower field or the motion" if isochrone is None else "give the motion"
        return Choice(None, f"No peak of stars on the track over those beside it: {advice}.")
    ends = [(m - d, m + d) for m, d in zip(peak.motion, peak.drift, strict=True)]
    columns = {name: [digits(x) for x in pair] for name, pair in zip(("pm_phi1", "pm_phi2"), ends, strict=True)}
    reason = f"A peak of {peak.excess:.0f} stars on the track over those beside it, {peak.significance:.1f} sigma."
    return Choice(Track([low, high], columns), reason)


def _near(stream: KnownStream, facts: TableFacts, isochrone: Isochrone | None) -> Chosen:
    """Whether a star is near the isochrone at the distance of the stream; all are without one."""
    bands = () if isochrone is None else [band for band in isochrone.bands if band in facts.values]
    if isochrone is None or len(bands) < 2 or "distmod" not in stream.track.coordinates:
        return np.ones(facts.size, dtype=bool)
    errors = all(f"{band}_err" in facts.values for band in bands[:2])
    band = IsochroneBand(isochrone, stream.track, _COLOUR, (bands[0], bands[1]), errors=_ERRORS if errors else 0.0)
    data = Data({name: torch.from_numpy(facts.values[name]) for name in band.columns})
    return np.asarray(band.answer(data).yes)


def _peaks(on: Values, expected: Values, share: float, drift: tuple[float, float], number: int) -> list[Peak]:
    """The most significant cells, each with what is about it left out for the next."""
    variance = (1 + share) * cells.blurred(expected, _KERNEL / np.sqrt(2))
    ratio = cells.blurred(on - expected, _KERNEL) / np.sqrt(variance + _FLOOR)
    found = []
    for _ in range(number):
        found.append(_peak(on - expected, ratio, drift))
        ratio[_about(ratio.argmax(), len(ratio))] = -np.inf
    return found


def _peak(excess: Values, ratio: Values, drift: tuple[float, float]) -> Peak:
    """The most significant cell."""
    rows, columns = _about(ratio.argmax(), len(ratio))
    core = np.clip(excess, 0, None)[rows, columns]
    weights = core / max(core.sum(), 1e-9)
    first, second = float(weights.sum(1) @ cells.CENTRES[rows]), float(weights.sum(0) @ cells.CENTRES[columns])
    number = float(excess[rows, columns].sum())
    return Peak((first, second), (float(drift[0]), float(drift[1])), float(ratio.max()), number)


def _about(cell: np.intp, size: int) -> tuple[slice, slice]:
    """The cells about one, by its number."""
    first, second = (slice(max(k - _CORE, 0), k + _CORE + 1) for k in divmod(int(cell), size))
    return first, second


def _likeliest(peaks: Sequence[Peak], along: Values, motions: Values, errors: Values, on: Chosen, off: Chosen) -> Peak:
    """Of the most significant peaks the likeliest, by the errors of the stars."""
    judged = []
    highest = sorted(sorted(peaks, key=_significance)[-_JUDGED:], key=_drift)
    for drift, same in groupby(highest, key=_drift):
        still = motions - along[:, None] * np.asarray(drift)
        stars = OnAndBeside(still[on], errors[on], still[off], errors[off])
        for found in (stars.about(peak.motion) for peak in same):
            judged.append(Peak(found.motion, drift, float(np.sqrt(2 * found.ln_ratio)), found.stars))
    return max(judged, key=_significance)


def _significance(peak: Peak) -> float:
    return peak.significance


def _drift(peak: Peak) -> tuple[float, float]:
    return peak.drift
