"""Coordinates of a model, their guides, and how wide the stream may be in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stream_mapper.catalog import KnownStream, TableFacts, to_icrs
from stream_mapper.decisions import spectra
from stream_mapper.decisions.choice import Choice, Range, digits
from stream_mapper.decisions.edges import SKY, STREAM, MotionCut, Strip
from stream_mapper.decisions.light import PHOTOMETRY
from stream_mapper.decisions.spectra import VELOCITY
from stream_mapper.errors import InputError
from stream_mapper.track import Track

_GUIDED = ("phi2", "pm_phi1", "pm_phi2", "distmod")
_MOST = {"pm_phi1": 1.5, "pm_phi2": 1.5}  # mas/yr: half-widths of guides
_MOTION = 8.0  # mas/yr of the window on each side of the track
_ANY_MOTION = (-15.0, 15.0)  # mas/yr
_LN_SIGMA_MOTION = (-4.6, -1.2)  # ln of mas/yr
_SPEED, _KM = 8.0, 4.74  # km/s: the hottest thin stream; km/s of 1 mas/yr at 1 kpc
_OF_PEAK = 1.0  # mas/yr: half-width of a guide about the peak of a scan
_OF_WIDTH = 2.5  # the widest that a stream may be, in known widths
_OF_WINDOW = 4.0  # the window is at least so many of the widest widths on each side


def coordinates(
    stream: KnownStream,
    facts: TableFacts | None,
    cut: MotionCut | None,
    *,
    found: Track | None,
    isochrone: bool,
    velocity: bool,
) -> Choice[tuple[str, ...]]:
    """Coordinates of the model.

    A motion that nobody knows and no peak shows is left out where there is photometry: a fit that starts from none
    stays at none, and gives all stars with a motion to the field.

    Arguments:
        stream: The stream.
        facts: The table, if there is one.
        cut: In which motions it was cut, if it was.
        found: The motion that was found in it, if any was looked for and found.
        isochrone: Whether there is one, without which magnitudes say nothing.
        velocity: Whether radial velocities are fitted.
    """
    measured = facts is None or {"pm_phi1", "pm_phi2"} <= set(facts.ranges)
    light = "distance" in stream.sources and (facts is None or len(facts.bands) > 1)
    guided = "motion" in stream.sources or found is not None or cut is not None
    motions = measured and (guided or facts is None or not (light and isochrone))
    moving = dict.fromkeys(SKY if cut is not None and cut.in_the_sky else STREAM, motions)
    wished = {**moving, PHOTOMETRY: light, VELOCITY: velocity}
    names = ("phi2", *(name for name, there in wished.items() if there))
    without = "proper motions" if not measured else "motion that is known or found, and a wrong one loses its stars"
    lacking = [*([] if motions else [without]), *([] if light else ["photometry with a known distance"])]
    return Choice(names, f"Without {' and without '.join(lacking)}." if lacking else "All that nearly every star has.")


def motions(
    stream: KnownStream, facts: TableFacts | None, cut: MotionCut | None, found: Track | None
) -> Choice[dict[str, Range | Strip]]:
    """The window of the proper motions."""
    if cut is not None:
        how = "along the stream, by its edges" if cut.moves else "the same everywhere"
        return Choice(dict(cut.windows), f"The table is cut in {' and '.join(cut.names)}, {how}.")
    names = [name for name in ("pm_phi1", "pm_phi2") if facts is None or name in facts.ranges]
    track = stream.track if "motion" in stream.sources else found
    if track is None:
        reason = (
            "No track knows the motion: look for a peak of on-stream minus off-stream stars, and give it as a guide."
        )
        return Choice(dict.fromkeys(names, _ANY_MOTION), reason)
    windows: dict[str, Range | Strip] = {}
    for name in names:
        values = track.values(name)
        windows[name] = digits(min(values) - _MOTION), digits(max(values) + _MOTION)
    return Choice(windows, f"{_MOTION:g} mas/yr on each side of the track has the field around the stream.")


def guides(
    stream: KnownStream, found: Track | None, cut: MotionCut | None, velocity: bool
) -> Choice[dict[str, list[float]]]:
    """Half-widths of the guides, one a place."""
    names: list[str] = [name for name in _GUIDED if name in stream.track.coordinates]
    halves = {
        name: [digits(min(width, _MOST.get(name, math.inf))) for width in stream.track.half_width(name)]
        for name in names
    }
    if cut is not None and cut.in_the_sky:
        wider = [max(pair) for pair in zip(*(halves.pop(name) for name in STREAM), strict=True)]
        halves |= dict.fromkeys(SKY, wider)
    if velocity and (widths := spectra.guide(stream)):
        halves[VELOCITY] = widths
    if found is not None:
        halves |= {name: [_OF_PEAK] * len(found.phi1) for name in found.coordinates}
    reason = "Twice the width of the stream, within what published tracks differ by; wide where only a mean is known."
    return Choice(halves, reason)


def check_seen(stream: KnownStream, facts: TableFacts | None) -> None:
    """Refuse a table whose stars all move otherwise than the stream, as in another unit.

    Raises:
        InputError: If the track knows the motion, and no star of the table comes near it anywhere.
    """
    if facts is None or "motion" not in stream.sources:
        return
    for name in (name for name in STREAM if name in facts.ranges):
        (low, high), values = facts.ranges[name], stream.track.values(name)
        if min(values) - _MOST[name] > high or max(values) + _MOST[name] < low:
            raise InputError(
                f"{name} of {stream.name} is {min(values):.3g} to {max(values):.3g} mas/yr, that of the table's stars "
                f"{low:.3g} to {high:.3g}: none moves like the stream. Look at the unit of the proper motions, and at "
                "how the table was cut."
            )


def bounds(
    stream: KnownStream, width: Choice[float], half: float, coordinates: Sequence[str]
) -> Choice[dict[str, Range]]:
    """Ranges of the ln of the widths, and of a velocity that no track knows."""
    widest = min(half / _OF_WINDOW, _OF_WIDTH * width.value)
    ranges = {"phi2.ln-sigma": (digits(math.log(min(width.value, widest) / 8)), digits(math.log(widest)))}
    nearest = min(stream.track.coordinates.get("distmod", [math.inf]))
    fastest = math.log(_SPEED / _KM) - math.log(10) * (nearest / 5 - 2)
    highest = max(_LN_SIGMA_MOTION[1], fastest)
    names = SKY if set(SKY) <= set(coordinates) else STREAM
    ranges |= dict.fromkeys([f"{name}.ln-sigma" for name in names], (_LN_SIGMA_MOTION[0], digits(highest)))
    ranges |= spectra.bounds(stream) if VELOCITY in coordinates else {}
    reason = (
        f"phi2: from an eighth of the width ({width.reason}) to {_OF_WIDTH:g}, in a quarter of the window's half; "
        f"motions: up to 0.3 mas/yr, or {_SPEED:g} km/s where that is more: the stream must not swallow the halo."
    )
    return Choice(ranges, reason)


def turned(stream: KnownStream) -> Track:
    """The track with its motion in the axes of the catalogue, too."""
    track = stream.track
    columns = [np.asarray(track.phi1), *(np.asarray(track.values(name)) for name in ("phi2", *STREAM))]
    found = to_icrs(stream.frame.orientation.matrix, *columns)
    motion = {"pmra": found["pm_ra_cosdec"].tolist(), "pmdec": found["pm_dec"].tolist()}
    return Track(track.phi1, track.coordinates | motion, track.widths)
