"""Where on the sky the field of a stream is: its range of phi1, its window, and the stars beside the stream."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

from stream_mapper.catalog import KnownStream, TableFacts
from stream_mapper.decisions.choice import Choice, Range, digits
from stream_mapper.decisions.edges import Strip, strip_across
from stream_mapper.errors import InputError

_LEAST_WIDTH, _USUAL_WIDTH = 0.05, 0.3  # deg: the thinnest streams, and where none is known
_LEAST_HALF, _MOST_HALF, _WIDTHS_OF_HALF = 2.0, 15.0, 6.0  # deg, deg, widths from the track to the window's edge
_BENT = 3.0  # half-widths: a box that is higher follows the track instead
_BEYOND, _LEAST_BEYOND, _MOST_BEYOND = 0.1, 1.0, 5.0  # of the length, and deg, of the field beyond each end
_AREA = 1200.0  # deg2 of the largest field
_LEAST_LENGTH = 20.0  # deg of a field that is cut
_OFF_WIDTHS, _LEAST_OFF, _OFF_SHARE = 3.0, 0.5, 0.6  # widths, deg, and of the window's half, at most
_OF_WINDOW = 4.0  # the window is at least so many widths on each side
_LEAST_REACH = 0.2  # deg
_FEW = 2000  # off-stream stars with which a flow is still learned


def width(stream: KnownStream) -> Choice[float]:
    """Width of the stream across the sky [deg]."""
    if "phi2" in stream.widths:
        return Choice(max(stream.widths["phi2"], _LEAST_WIDTH), "of the literature or the members")
    return Choice(_USUAL_WIDTH, "a usual one, as none is known")


def half_window(stream: KnownStream, width: float, facts: TableFacts | None) -> Choice[float]:
    """Half-width of the window about the track [deg]."""
    half = min(max(_LEAST_HALF, _WIDTHS_OF_HALF * width), _MOST_HALF)
    strip = strip_across(facts)
    if strip is not None and (middle := median(b - a for a, b in zip(strip.low, strip.high, strict=True)) / 2) < half:
        return Choice(digits(middle), "the table's own, a strip that moves")
    reach = half if facts is None else _reach(stream, facts)
    if reach < half:
        few = ", too few: fetch a wider field" if reach < _OF_WINDOW * width else ""
        return Choice(digits(reach), f"to the table's edge, {reach / width:.2g} widths of {width:.2g} deg away{few}")
    wide = ", as wide as a field can be" if half == _MOST_HALF else ", of which the outer part trains the field"
    return Choice(half, f"{half:.3g} deg on each side, {half / width:.2g} widths of {width:.2g} deg{wide}")


def field(stream: KnownStream, half: float, asked: Range | None, facts: TableFacts | None) -> Choice[Range]:
    """The range of phi1."""
    first, last = stream.track.phi1[0], stream.track.phi1[-1]
    if asked is not None:
        return Choice(_ordered(asked, "phi1 is asked for"), "As asked.")
    beyond = min(max(_BEYOND * (last - first), _LEAST_BEYOND), _MOST_BEYOND)
    low, high = max(first - beyond, -180.0), min(last + beyond, 180.0)
    if facts is not None:
        return _field_of_table(facts, half, (low, high), stream)
    most = max(_AREA / (2 * half), _LEAST_LENGTH)
    if high - low <= most:
        return Choice(
            (digits(low), digits(high)), f"The track and {beyond:.2g} deg beyond its ends, which a fit then finds."
        )
    middle = min(max(0.0, low + most / 2), high - most / 2)
    chosen = digits(middle - most / 2), digits(middle + most / 2)
    rest = " and ".join(f"[{a:.4g}, {b:.4g}]" for a, b in _rest((low, high), chosen, most))
    large = f"{_AREA:.4g} deg2 have too many kinds of stars for one background"
    return Choice(chosen, f"{most:.3g} deg of {high - low:.3g}: more than {large}. Fit the rest by --phi1 '{rest}'.")


def _ordered(phi1: Range, said: str) -> Range:
    """A range of phi1 that is one.

    Raises:
        InputError: If it does not rise.
    """
    if not phi1[0] < phi1[1]:
        raise InputError(f"{said} from {phi1[0]:g} to {phi1[1]:g} deg; a field is from a lower phi1 to a higher one.")
    return phi1


def _rest(whole: Range, chosen: Range, most: float) -> list[Range]:
    """What a field leaves of the whole, in parts of at most a length, on both sides."""
    parts: list[Range] = []
    for low, high in ((whole[0], chosen[0]), (chosen[1], whole[1])):
        number = math.ceil((high - low) / most - 1e-6)
        edges = np.linspace(low, high, number + 1).tolist() if number > 0 else []
        parts += list(pairwise(edges))
    return parts


def _field_of_table(facts: TableFacts, half: float, field: Range, stream: KnownStream) -> Choice[Range]:
    """The range of phi1 in which the table has stars."""
    half = max(half, _LEAST_HALF)
    inside = (facts.phi1 >= field[0]) & (facts.phi1 <= field[1]) & (np.abs(from_track(stream, facts)) < half)
    if not inside.any():
        low, high = facts.ranges["phi1"]
        raise InputError(
            f"the table has no star within {half:g} deg of {stream.name}: it has phi1 {low:.4g} to {high:.4g} deg in "
            "that frame; give the table of this stream's field."
        )
    low, high = float(facts.phi1[inside].min()), float(facts.phi1[inside].max())
    stars = f"The table has {int(inside.sum())} stars about the track"
    return Choice(_ordered((digits(low), digits(high)), f"{stars},"), f"{stars} there.")


def window(stream: KnownStream, half: Choice[float], facts: TableFacts | None) -> Choice[float | Range | Strip]:
    """The window of phi2: the strip that the table is, about the track if that bends, or a box."""
    values = stream.track.values("phi2")
    if (strip := strip_across(facts)) is not None and half.value < _MOST_HALF:
        return Choice(_about(strip, stream, half.value), f"Its edges move along the stream: {half.reason}.")
    low, high = min(values) - half.value, max(values) + half.value
    if facts is not None:
        least, most = facts.ranges["phi2"]
        low, high = max(low, least), min(high, most)
    if high - low > _BENT * half.value:
        return Choice(
            digits(half.value), f"About the track, which bends by {max(values) - min(values):.2g} deg: {half.reason}."
        )
    return Choice((digits(low), digits(high)), f"A box: {half.reason}.")


def _about(strip: Strip, stream: KnownStream, half: float) -> Strip:
    """The part of a strip that is within a whole window of the track; all of it beyond the ends of the track."""
    places, across = stream.track.phi1, stream.track.values("phi2")
    track = np.interp(strip.phi1, places, across, left=np.nan, right=np.nan)
    low, high = np.fmax(strip.low, track - 2 * half), np.fmin(strip.high, track + 2 * half)
    low, high = np.where(low < high, [low, high], [strip.low, strip.high])
    return Strip(strip.phi1, tuple(low.tolist()), tuple(high.tolist()))


def off_stream(stream: KnownStream, width: float, half: float, facts: TableFacts | None) -> Choice[float]:
    """Distance from the track of the stars that train the background [deg]."""
    off = digits(min(max(_OFF_WIDTHS * width, _LEAST_OFF), _OFF_SHARE * half))
    said = f"Beyond {off / width:.2g} widths there are few stars of the stream"
    if facts is None:
        return Choice(off, f"{said}, and {1 - off / half:.0%} of the field is left.")
    number = int((np.abs(from_track(stream, facts)) > off).sum())
    few = f", too few for a flow (below {_FEW}): fetch a wider field" if number < _FEW else ""
    return Choice(off, f"{said}, and {number} stars of the table are left{few}.")


def from_track(stream: KnownStream, facts: TableFacts) -> NDArray[np.float64]:
    """Distance of the table's stars from the track in phi2 [deg], (N,)."""
    return np.asarray(facts.phi2 - np.interp(facts.phi1, stream.track.phi1, stream.track.values("phi2")))


def _reach(stream: KnownStream, facts: TableFacts) -> float:
    """Distance from the track to the nearer edge of the table in phi2 [deg], at the places where the table is."""
    places, across = stream.track.phi1, stream.track.values("phi2")
    low, high = facts.ranges["phi1"]
    there = [y for x, y in zip(places, across, strict=True) if low <= x <= high] or across
    least, most = facts.ranges["phi2"]
    return max(min(min(there) - least, most - max(there)), _LEAST_REACH)
