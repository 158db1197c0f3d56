"""Ranges that a recipe gives the parameters, and the places where components end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TypeGuard

from stream_mapper.errors import InputError
from stream_mapper.models import Ends
from stream_mapper.recipes.knowledge import rounded
from stream_mapper.track import Track
from stream_mapper.windows import Bounds, as_window

Range = tuple[float, float]

LN_WEIGHT = (-10.4, -0.1)
"""Range of the ln-weights: from less than a star in ten thousand to nine in ten; a fit starts from its middle."""
ALONG_THE_SIGHT = ("distmod", "parallax", "radial_velocity", "feh")
"""Coordinates of which a stream is less wide than its centre is uncertain."""
_REACH = 3.0  # half-widths of the guides, from their centres, to the edge of the range
_WIDEST = {"phi2": 1.5} | dict.fromkeys(ALONG_THE_SIGHT, 0.5)  # half-widths of the guides; 1 of all else
_THINNEST = 50.0  # of the widest
_OF_WINDOW = 8.0  # the window is at least four widths on each side
_STEEPEST = 5.0  # e-folds over the window
_OF_LENGTH = 0.2  # of the track on each side of where it ends
_AT_THE_EDGE = 0.05  # of the field


def of_centre(name: str, track: Track | None, window: Bounds | None) -> Range:
    """Range of the centre of a stream in a coordinate: three half-widths of the guides about them, inside the window.

    Without a guide it is the window.

    Arguments:
        name: The coordinate.
        track: The track, with its half-widths, if it has the coordinate.
        window: The window of the coordinate, if it has one.

    Raises:
        InputError: If there is neither, or the track is outside the window.
    """
    low, high = as_window(window).extent if window is not None else (-math.inf, math.inf)
    if has_guide(track, name):
        places = list(zip(track.values(name), track.half_width(name), strict=True))
        least, most = min(x - _REACH * w for x, w in places), max(x + _REACH * w for x, w in places)
        least = max(least, 0.2 * min(track.values(name))) if name == "parallax" else least
        low, high = max(low, rounded(least)), min(high, rounded(most))
    if not -math.inf < low < high < math.inf:
        raise InputError(
            f"the recipe knows no range for the centre in {name!r}: it takes that of a track inside the window; found "
            f"{low:g} to {high:g}. Give the track this coordinate, or bounds {name}.mu."
        )
    return low, high


def of_width(name: str, track: Track | None, window: Bounds | None) -> Range:
    """Range of the ln of the width of a stream in a coordinate.

    The widest is the half-width of the guides (their median), half as much again across the stream on the sky, half of
    it along the line of sight, and an eighth of the window at most; the thinnest is a fiftieth of that.

    Arguments and errors: see :func:`of_centre`.
    """
    widest = as_window(window).widest / _OF_WINDOW if window is not None else math.inf
    if has_guide(track, name):
        widest = min(widest, _WIDEST.get(name, 1.0) * median(track.half_width(name)))
    if not 0 < widest < math.inf:
        raise InputError(
            f"the recipe knows no range for the width in {name!r}: it takes that of guides or of a window. Give the "
            f"track this coordinate, or bounds {name}.ln-sigma."
        )
    return round(math.log(widest / _THINNEST), 3), round(math.log(widest), 3)


def of_slope(window: Bounds) -> Range:
    """Range of the slope of a background across its window, 1 / [unit of the window]."""
    width = as_window(window).widest
    return rounded(-_STEEPEST / width), rounded(_STEEPEST / width)


def has_guide(track: Track | None, name: str) -> TypeGuard[Track]:
    """Whether a track has a coordinate and half-widths of it."""
    return track is not None and name in track.coordinates and name in track.widths


def ends_of(track: Track, phi1: Sequence[float] | None) -> Ends | None:
    """Where a component begins and ends, if its track does so inside the field.

    The intervals reach a fifth of the track's length to each side of its ends. A track that comes within a twentieth
    of the field's length to the field's edge leaves it.

    Arguments:
        track: The track, with all its places.
        phi1: First and last place of the field [deg]; None if nothing is known of it.
    """
    if phi1 is None or len(track.phi1) < 2:
        return None
    (low, high), (first, last) = phi1, (track.phi1[0], track.phi1[-1])
    edge, reach = _AT_THE_EDGE * (high - low), _OF_LENGTH * (last - first)
    begin = (rounded(first - reach), rounded(first + reach)) if first > low + edge else None
    end = (rounded(last - reach), rounded(last + reach)) if last < high - edge else None
    return Ends(begin, end) if begin or end else None
