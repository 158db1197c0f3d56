"""Cuts: intervals, polygons, bands about a track, circles on the sky."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.errors import InputError, check_positive
from stream_mapper.selection.base import Answer, Selection, columns_of, judged, value
from stream_mapper.track import Track, interpolate
from stream_mapper.windows import Bounds, Interval, WindowAlong

Edge = float | None
_ERROR = "_err"


class Cut(Selection):
    """Stars inside intervals, edges included.

        >>> cut = Cut({"g": (16, 21)})
        >>> cut(stream_mapper.Data({"g": torch.tensor([17.0, 22.0, torch.nan])}))
        tensor([ True, False,  True])

    Arguments:
        bounds: Column to its lowest and highest value [unit of the column]; None leaves that side open. A column
            ``g - i`` is the difference of two.
        errors: Standard errors by which a star may be outside; above zero, the errors are read, ``parallax_err`` of
            ``parallax``, and a star without one is not known to be outside.

    Raises:
        InputError: If there are none, or they are not in order, or ``errors`` is below zero.
    """

    def __init__(self, bounds: Mapping[str, tuple[Edge, Edge]], errors: float = 0.0) -> None:
        if not 0 <= errors < math.inf:
            raise InputError(f"Cut: errors must be 0 or more standard errors; got {errors}.")
        self.errors = float(errors)
        self.bounds: dict[str, Interval] = {
            name: (-math.inf if low is None else float(low), math.inf if high is None else float(high))
            for name, (low, high) in bounds.items()
        }
        for name, (low, high) in self.bounds.items():
            if not low < high:
                raise InputError(f"Cut on {name!r}: the bounds are ({low}, {high}); give the lower one first.")
        if not self.bounds:
            raise InputError("Cut needs the bounds of one column or more; got none.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns with bounds, and their errors if these are read."""
        names = [column for name in self.bounds for column in columns_of(name)]
        return (*names, *(name + _ERROR for name in names if self.errors))

    def answer(self, data: Data) -> Answer:
        """Stars are in where every value is measured and inside, out where one is outside."""
        yes = torch.ones(len(data), dtype=torch.bool, device=data.device)
        no = ~yes
        for name, (low, high) in self.bounds.items():
            x, known = value(data, name, "Cut")
            reach, sure = self._reach(data, name, x)
            known = known & sure
            inside = (x >= low - reach) & (x <= high + reach)
            yes, no = yes & known & inside, no | (known & ~inside)
        return Answer(yes, no)

    def window(self) -> dict[str, Bounds]:
        """The bounds; none if stars may be outside by their errors."""
        return {} if self.errors else dict(self.bounds)

    def parts(self) -> list[Selection]:
        """One cut a column."""
        cuts = [Cut({name: edges}, self.errors) for name, edges in self.bounds.items()]
        return [self] if len(cuts) == 1 else list(cuts)

    def _reach(self, data: Data, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """How far each star of values ``x`` may be outside, and whether that is known, (N,) each."""
        if not self.errors:
            return torch.zeros_like(x), torch.ones_like(x, dtype=torch.bool)
        errors, known = zip(*(value(data, column + _ERROR, "Cut") for column in columns_of(name)), strict=True)
        return self.errors * torch.stack(errors).square().sum(0).sqrt(), torch.stack(known).all(0)

    def __repr__(self) -> str:
        bounds = ", ".join(f"{name}: {low:g} to {high:g}" for name, (low, high) in self.bounds.items())
        return f"Cut({bounds}, within {self.errors:g} errors)" if self.errors else f"Cut({bounds})"


class Polygon(Selection):
    """Stars inside a polygon in the plane of two columns.

        >>> triangle = Polygon("g - i", "g", [(0.0, 16.0), (1.0, 16.0), (0.0, 20.0)])

    Arguments:
        x: A column, or the difference of two, such as ``g - i``.
        y: Another.
        vertices: Corners (x, y), three or more, in order round it; it closes itself. Where it crosses itself, a point
            is inside if a line from it to infinity meets the boundary an odd number of times.

    Raises:
        InputError: If there are fewer than three corners, or one is not two finite numbers.
    """

    def __init__(self, x: str, y: str, vertices: Sequence[tuple[float, float]]) -> None:
        self.x, self.y = x, y
        self.vertices = [tuple(map(float, vertex)) for vertex in vertices]
        if len(self.vertices) < 3 or any(len(v) != 2 or not all(map(math.isfinite, v)) for v in self.vertices):
            raise InputError(f"Polygon in {x!r} and {y!r} needs three corners (x, y) or more; got {self.vertices}.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the plane."""
        return (*columns_of(self.x), *columns_of(self.y))

    def answer(self, data: Data) -> Answer:
        """Stars are in where both are measured and inside."""
        (x, has_x), (y, has_y) = (value(data, name, "Polygon") for name in (self.x, self.y))
        inside = torch.zeros_like(has_x)
        for (x1, y1), (x2, y2) in pairwise([*self.vertices, self.vertices[0]]):
            if y1 != y2:
                crosses = (y < y1) != (y < y2)
                inside = inside ^ (crosses & (x < x1 + (y - y1) * ((x2 - x1) / (y2 - y1))))
        return judged(has_x & has_y, inside)

    def __repr__(self) -> str:
        return f"Polygon({self.x}, {self.y}, {len(self.vertices)} corners)"


class TrackBand(Selection):
    """Stars near a track in one coordinate: ``|coord - centre(phi1)| <= width(phi1)``.

    The track is linear between its places and constant beyond them. It is a `Track`, as
    `stream_mapper.catalog.read_track` reads it, or given by ``phi1`` and ``center``.

    Arguments:
        coord: The coordinate, such as ``phi2`` or ``pm_phi1``.
        width: Half-width, in the coordinate's unit: one number, one a place, or None for those of the track.
        track: The track.
        phi1: Places [deg], increasing.
        center: The coordinate there.

    Raises:
        InputError: If there is no track or two, its lengths differ, or a width is not positive.
    """

    def __init__(
        self,
        coord: str,
        width: Sequence[float] | float | None = None,
        track: Track | None = None,
        phi1: Sequence[float] | None = None,
        center: Sequence[float] | None = None,
    ) -> None:
        if (track is None) == (phi1 is None) or (phi1 is None) != (center is None):
            raise InputError(
                f"{type(self).__name__} on {coord!r} needs a track, or phi1 and center; got {track}, {phi1}."
            )
        self.coord = coord
        self.track = track if track is not None else Track(phi1 or (), {coord: center or ()})
        self.center, self.width = self.track.values(coord), self.track.half_width(coord, width)
        for one in self.width:
            check_positive(f"the width of {type(self).__name__} on {coord!r}", one)

    @property
    def columns(self) -> tuple[str, ...]:
        """The coordinate and phi1."""
        return ("phi1", *columns_of(self.coord))

    def answer(self, data: Data) -> Answer:
        """Stars are in where both are measured and near."""
        (phi1, placed), (x, known) = (value(data, name, type(self).__name__) for name in ("phi1", self.coord))
        off = (x - interpolate(phi1, self.track.phi1, self.center)).abs()
        return judged(placed & known, off <= interpolate(phi1, self.track.phi1, self.width))

    def window(self) -> dict[str, Bounds]:
        """The band, as a window along the stream, such as the parts of a model take (``coord_bounds``)."""
        return {self.coord: WindowAlong.about(self.track, self.coord, self.width)}

    def __repr__(self) -> str:
        low, high = min(self.width), max(self.width)
        width = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        return f"{type(self).__name__}({self.coord} within {width} of the track)"


class OffStream(TrackBand):
    """Stars away from a track: ``|coord - centre(phi1)| > width(phi1)``.

    Unlike ``Not(TrackBand(...))`` it leaves out the stars without the coordinate: a background has to be learned from
    stars that are known to be off the stream. Arguments and errors as of `TrackBand`.
    """

    def answer(self, data: Data) -> Answer:
        """Stars are in where both are measured and far."""
        _, far = super().answer(data)
        return Answer(far, ~far)

    def window(self) -> dict[str, Bounds]:
        """None: what is away from a track is no interval."""
        return {}

    def __repr__(self) -> str:
        return super().__repr__().replace("within", "beyond")


class ClusterMask(Selection):
    """Stars outside a circle on the sky, such as one about a globular cluster.

    Arguments:
        radius: Radius of the circle [deg].
        ra: Right ascension of the centre [deg]; ``ra`` and ``dec`` are then among the columns of the data.
        dec: Its declination [deg].
        phi1: Its longitude in the frame of the stream [deg], in place of ``ra`` and ``dec``.
        phi2: Its latitude there [deg].
        name: What the table of cuts calls it.

    Raises:
        InputError: If the centre is not given by either pair, or the radius is not positive.
    """

    def __init__(
        self,
        radius: float,
        ra: float | None = None,
        dec: float | None = None,
        phi1: float | None = None,
        phi2: float | None = None,
        name: str = "cluster",
    ) -> None:
        check_positive(f"the radius of the ClusterMask {name!r}", radius)
        given = {"ra": ra, "dec": dec, "phi1": phi1, "phi2": phi2}
        self.center = {axis: float(x) for axis, x in given.items() if x is not None}
        if list(self.center) not in (["ra", "dec"], ["phi1", "phi2"]):
            raise InputError(
                f"ClusterMask {name!r}: give its centre as ra and dec, or phi1 and phi2; got {self.center}."
            )
        if abs(list(self.center.values())[1]) > 90:
            raise InputError(f"ClusterMask {name!r}: {list(self.center)[1]} is in -90..90 deg; got {self.center}.")
        self.radius, self.name = radius, name

    @property
    def columns(self) -> tuple[str, ...]:
        """The two coordinates on the sky."""
        return tuple(self.center)

    @property
    def circle(self) -> tuple[float, float, float]:
        """Its centre in the frame of the stream and its radius [deg], as a hole of a `stream_mapper.Footprint`.

        Raises:
            InputError: If its centre was given as ra and dec.
        """
        if "phi1" not in self.center:
            raise InputError(f"{self!r}: a footprint is in the frame of the stream; give the centre as phi1 and phi2.")
        return self.center["phi1"], self.center["phi2"], self.radius

    def answer(self, data: Data) -> Answer:
        """Stars are in where the position is known and further than the radius."""
        (lon, has_lon), (lat, has_lat) = (value(data, axis, f"ClusterMask {self.name!r}") for axis in self.center)
        return judged(has_lon & has_lat, separation(lon, lat, *self.center.values()) > self.radius)

    def __repr__(self) -> str:
        centre = ", ".join(f"{axis} {x:g}" for axis, x in self.center.items())
        return f"ClusterMask({self.name}: {self.radius:g} deg about {centre})"


def separation(lon: Tensor, lat: Tensor, lon0: float, lat0: float) -> Tensor:
    """Angle on the sky [deg] of points (N,) from one point, by the haversine formula in double precision."""
    lon, lat = torch.deg2rad(lon.double()), torch.deg2rad(lat.double())
    lon0, lat0 = math.radians(lon0), math.radians(lat0)
    share = torch.sin((lat - lat0) / 2).square()
    share = share + torch.cos(lat) * math.cos(lat0) * torch.sin((lon - lon0) / 2).square()
    return torch.rad2deg(2 * torch.asin(share.clamp(0, 1).sqrt()))
