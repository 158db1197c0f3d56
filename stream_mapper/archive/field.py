"""The field on the sky: a window in stream coordinates, its slices along phi1, and polygons in ICRS around them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from stream_mapper.catalog.sky.frames import SkyFrame
from stream_mapper.errors import InputError, check_positive

Values = NDArray[np.float64]

# Longest edge of a polygon along phi1 [deg].
STEP = 2.0
# What a polygon has beyond its slice on every side [deg]: much more than the rounding here and in the archive.
PAD = 1e-4
# What a box has beyond its polygon on every side [deg]: more than the arc between two points along an edge bulges.
BOX_PAD = 0.01
_PER_EDGE = 1025
_STEEPEST = 89.9
# Beyond this latitude a slice is a wedge around the pole of the frame.
HIGHEST_PHI2 = 80.0
WIDEST_SLICE = 60.0

# Three directions at right angles, none at a pole of ICRS, where angles have no meaning.
_AXES = np.array([[40.0, 35.0], [130.0, 0.0], [220.0, 55.0]])


class Slice(NamedTuple):
    """A part of the field: phi1 from ``low`` (included) to ``high`` [deg]; only the last slice includes it."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"phi1 {self.low:g} to {self.high:g}"

    def halves(self) -> tuple[Slice, Slice]:
        """The slice cut in the middle."""
        middle = (self.low + self.high) / 2
        return Slice(self.low, middle), Slice(middle, self.high)


class Field:
    """A window in the coordinates of a stream.

    Arguments:
        frame: The frame of the stream.
        phi1: Lowest and highest longitude [deg], at most 360 apart; they may lie beyond 180.
        phi2: Lowest and highest latitude [deg].

    Raises:
        InputError: If the window is empty, too large or around a pole of the frame, or the frame cannot be used.
    """

    def __init__(self, frame: SkyFrame, phi1: tuple[float, float], phi2: tuple[float, float]) -> None:
        if not (np.isfinite([*phi1, *phi2]).all() and phi1[0] < phi1[1] <= phi1[0] + 360 and phi2[0] < phi2[1]):
            advice = "give the lower end first, and at most 360 deg of phi1"
            raise InputError(f"the window phi1 {list(phi1)}, phi2 {list(phi2)} is not one; {advice}.")
        if max(-phi2[0], phi2[1]) > HIGHEST_PHI2:
            raise InputError(
                f"phi2 {list(phi2)} reaches beyond {HIGHEST_PHI2:g} deg, to a pole of the frame; narrow it."
            )
        self.phi1 = (float(phi1[0]), float(phi1[1]))
        self.phi2 = (float(phi2[0]), float(phi2[1]))
        self.matrix = _rotation(frame)

    def slices(self, width: float) -> list[Slice]:
        """Slices of equal width, at most ``width`` [deg], in the order of phi1.

        Raises:
            InputError: If the width is not above zero, or is more than 60 deg.
        """
        check_positive("slice_width", width)
        if width > WIDEST_SLICE:
            raise InputError(f"slice_width = {width:g}; at most {WIDEST_SLICE:g} deg, a polygon has to be small.")
        low, high = self.phi1
        edges = np.linspace(low, high, max(1, math.ceil((high - low) / width - 1e-9)) + 1).tolist()
        return [Slice(a, b) for a, b in pairwise(edges)]

    def polygon(self, piece: Slice) -> Values:
        """Corners, ra and dec [deg], shape (V, 2), of a polygon of great circles around a slice.

        An edge of constant phi2 is no great circle. An arc between two points of it bulges to the pole, by
        tan(phi2) = tan(phi2 of the ends) / cos(half of its length in phi1); where that is into the slice, the ends are
        moved outward by as much. The corners run counterclockwise for who looks at the sky, as DALI wants it.
        """
        pad = PAD / math.cos(math.radians(max(map(abs, self.phi2))))
        low, high = piece.low - pad, piece.high + pad
        phi1 = np.linspace(low, high, math.ceil((high - low) / STEP) + 1)
        half = math.radians(phi1[1] - phi1[0]) / 2
        bottom, top = -_outside(PAD - self.phi2[0], half), _outside(self.phi2[1] + PAD, half)
        corners = [(x, bottom) for x in phi1[::-1]] + [(x, top) for x in phi1]
        lon, lat = np.array(corners).T
        return np.stack(_angles(self.matrix.T, lon, lat), axis=-1)

    def coordinates(self, ra: Values, dec: Values) -> tuple[Values, Values]:
        """phi1, from the field's low end to 360 more, and phi2 [deg] of stars, shape (N,).

        Everything is done star by star: a star gets the same numbers whichever slice it comes with.
        """
        lon, lat = _angles(self.matrix, ra, dec)
        return self.phi1[0] + (lon - self.phi1[0]) % 360, lat

    def inside(self, asked: Slice, ra: Values, dec: Values) -> NDArray[np.bool_]:
        """Which stars belong to a slice, shape (N,): every star of the field belongs to exactly one of its slices."""
        phi1, phi2 = self.coordinates(ra, dec)
        below = (phi1 < asked.high) | ((phi1 == asked.high) & (asked.high == self.phi1[1]))
        return (phi1 >= asked.low) & below & (phi2 >= self.phi2[0]) & (phi2 <= self.phi2[1])

    def contains(self, ra: Values, dec: Values) -> NDArray[np.bool_]:
        """Which stars are in the field, shape (N,)."""
        return self.inside(Slice(*self.phi1), ra, dec)

    def may_touch(self, ra: Values, dec: Values, radius: float) -> NDArray[np.bool_]:
        """Which circles of a radius [deg] about some places [deg] may have a part of the field in them, shape (N,).

        None that has is left out; of the others some are kept near the corners.
        """
        phi1, phi2 = self.coordinates(ra, dec)
        across = np.maximum(self.phi2[0] - phi2, phi2 - self.phi2[1])
        beyond = np.minimum(phi1 - self.phi1[1], self.phi1[0] + 360 - phi1)  # the way to the nearer end, along phi1
        sine = np.sin(np.radians(np.clip(beyond, 0, 90))) * np.cos(np.radians(phi2))
        return (across <= radius) & (np.degrees(np.arcsin(sine)) <= radius)


def box(polygon: Values) -> tuple[tuple[float, float], tuple[float, float]]:
    """Least and greatest ra and dec [deg] of a polygon of great circles, all that is in it included.

    The ra of a box over the end at 360 begins at a higher value than it ends with.

    Arguments:
        polygon: ra and dec [deg] of its corners, shape (V, 2).
    """
    x, y, z = _along_edges(np.stack(_directions(*polygon.T), axis=-1))
    ra, dec = np.unwrap(np.degrees(np.arctan2(y, x)).ravel(), period=360), np.degrees(np.arctan2(z, np.hypot(x, y)))
    around = round((ra[-1] - ra[0]) / 360)
    low, high = float(dec.min()) - BOX_PAD, float(dec.max()) + BOX_PAD
    if around:
        return (0.0, 360.0), ((low, 90.0) if around < 0 else (-90.0, high))
    pad = BOX_PAD / math.cos(math.radians(min(max(-low, high), _STEEPEST)))
    first, last = float(ra.min()) - pad, float(ra.max()) + pad
    return ((0.0, 360.0) if last - first >= 360 else (first % 360, last % 360)), (max(low, -90.0), min(high, 90.0))


def _along_edges(corners: Values) -> tuple[Values, Values, Values]:
    """Directions along the edges of a polygon, three of shape (V * points,), from its corners, shape (V, 3)."""
    following = np.roll(corners, -1, axis=0)
    angle = np.arctan2(np.linalg.norm(np.cross(corners, following), axis=1), (corners * following).sum(1))
    part = np.linspace(0, 1, _PER_EDGE)[:, None] * angle
    weights = np.sin(angle - part)[..., None] * corners + np.sin(part)[..., None] * following
    x, y, z = (weights / np.sin(angle)[:, None]).transpose(2, 1, 0).reshape(3, -1)
    return x, y, z


def _rotation(frame: SkyFrame) -> Values:
    """Matrix from ICRS to the frame, shape (3, 3): where the frame takes three directions at right angles.

    The matrices of gala's frames are rotations to some 1e-8 (a few mas); this is the rotation next to the frame.
    """
    names = [frame.names["ra"], frame.names["dec"]]
    table = Table(dict(zip(names, _AXES.T, strict=True)), units=["deg", "deg"])
    turned = frame.add_stream_coordinates(table, path="the frame")
    images = _directions(np.asarray(turned["phi1"]), np.asarray(turned["phi2"]))
    left, _, right = np.linalg.svd(np.array(images) @ np.array(_directions(*_AXES.T)).T)
    return left @ right


def _outside(latitude: float, half: float) -> float:
    """Latitude [deg] of the ends of arcs of 2 ``half`` [rad] of longitude that stay above ``latitude``."""
    if latitude >= 0:
        return latitude
    return math.degrees(math.atan(math.tan(math.radians(latitude)) * math.cos(half)))


def _directions(lon: Values, lat: Values) -> tuple[Values, Values, Values]:
    """Unit vectors, three of shape (N,), of angles [deg]."""
    lon, lat = np.radians(lon), np.radians(lat)
    return np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)


def _angles(matrix: Values, lon: Values, lat: Values) -> tuple[Values, Values]:
    """Angles [deg], the first in 0..360, of directions that are rotated; no sums over stars, no BLAS."""
    x, y, z = _directions(lon, lat)
    a, b, c = (row[0] * x + row[1] * y + row[2] * z for row in matrix)
    return np.degrees(np.arctan2(b, a)) % 360, np.degrees(np.arctan2(c, np.hypot(a, b)))
