"""Where a survey looked: the strips of a coordinate that were seen at each place along the stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.description import Described
from stream_mapper.errors import InputError, check_positive

Array = NDArray[np.float64]
Strip = tuple[float, float, float, float]
"""Lower and upper edge at one place, and at the next."""
Corners = Sequence[tuple[float, float]]

_SAME = 1e-9  # places or edges closer than this [deg] are one
_THIN = 1e-6  # of all that was seen: strips narrower than this count as none
_CIRCLE = 256  # corners that stand for a circle, which hold all but 1e-4 of it


class Footprint(Described, nn.Module):
    """Strips of a coordinate that were seen, with straight edges between places along the stream.

    The strips are of measured positions: what the errors of a position do near an edge is part of the density, which
    is convolved with them first. `of_polygons` makes one from polygons with holes, `sampled` from anything that says
    whether a place was seen, and `stream_mapper.catalog.read_footprint` from a MOC or a HEALPix map.

        >>> footprint = Footprint([-10.0, 10.0], [[(-3.0, -1.0, -3.0, 0.0), (1.0, 3.0, 1.0, 3.0)]])
        >>> low, high, seen = footprint.strips(torch.tensor([0.0]))
        >>> low, high
        (tensor([[-3.,  1.]]), tensor([[-0.5000,  3.0000]]))

    Arguments:
        phi1: Places, increasing, C + 1 of them; beyond the first and the last nothing was seen.
        strips: For each of the C stretches between them the strips that were seen, in order and apart: rows of the
            lower and upper edge at the first place of the stretch, and of both at the second.
        coord: The coordinate across the stream.
        along: Column of the places.

    Raises:
        InputError: If the places do not increase, there is not one list of strips for each stretch, edges are out of
            order or nothing was seen at all.
    """

    places: Tensor
    edges: Tensor
    seen: Tensor

    def __init__(
        self,
        phi1: Sequence[float],
        strips: Sequence[Sequence[Strip]],
        coord: str = "phi2",
        along: str = "phi1",
    ) -> None:
        super().__init__()
        self.coord, self.along = coord, along
        _check(phi1, strips)
        most = max(map(len, strips))
        low, high = (f(row[side] for rows in strips for row in rows for side in pair) for f, pair in _OUTER)
        self.extent = float(low), float(high)
        empty = (*self.extent, *self.extent)
        padded = [[*map(tuple, rows), *[empty] * (most - len(rows))] for rows in strips]
        self.register_buffer("places", torch.tensor(phi1, dtype=torch.get_default_dtype()), persistent=False)
        self.register_buffer("edges", torch.tensor(padded, dtype=torch.get_default_dtype()), persistent=False)
        counts = torch.tensor([[i < len(rows) for i in range(most)] for rows in strips])
        self.register_buffer("seen", counts, persistent=False)

    @classmethod
    def of_polygons(
        cls,
        seen: Sequence[Corners],
        holes: Sequence[Corners] = (),
        circles: Sequence[tuple[float, float, float]] = (),
        coord: str = "phi2",
        along: str = "phi1",
    ) -> Footprint:
        """What is inside some polygons and outside others, exactly.

            >>> field = [(-10.0, -3.0), (10.0, -3.0), (10.0, 3.0), (-10.0, 3.0)]
            >>> footprint = Footprint.of_polygons([field], circles=[(0.0, 1.0, 0.5)])
            >>> stars = stream_mapper.Data({"phi1": torch.zeros(2), "phi2": torch.tensor([1.2, 2.0])})
            >>> footprint.holds(stars)
            tensor([False,  True])

        Arguments:
            seen: Polygons that were seen, each of its corners (phi1, phi2) [deg] in order; they may overlap. Sides are
                straight in phi1 and phi2.
            holes: Polygons that were not, inside them.
            circles: Circles on the sky that were not, (phi1, phi2, radius) [deg], such as a `ClusterMask` has as
                ``circle``.
            coord: As of the class.
            along: As of the class.

        Raises:
            InputError: If a polygon has fewer than three corners or a radius is not positive, or nothing is left.
        """
        cut = [*(_corners(hole) for hole in holes), *(_circle(*circle) for circle in circles)]
        places, strips = _trapezoids([_corners(polygon) for polygon in seen], cut)
        return cls(places, strips, coord, along)

    @classmethod
    def sampled(
        cls,
        is_seen: Callable[[Array, Array], NDArray[np.bool_]],
        phi1: tuple[float, float],
        phi2: tuple[float, float],
        step: float = 0.02,
        coord: str = "phi2",
        along: str = "phi1",
    ) -> Footprint:
        """What a function says was seen, to within half a step.

        Arguments:
            is_seen: From places phi1 and phi2 [deg], (M,) each, to whether each was seen, (M,).
            phi1: First and last place.
            phi2: Lowest and highest value of the coordinate.
            step: Size of the squares that are asked for, in their middles [deg].
            coord: As of the class.
            along: As of the class.

        Raises:
            InputError: If the step is not positive, a range is empty, or nothing was seen.
        """
        check_positive("the step of a footprint", step)
        places, levels = (_ticks(name, side, step) for name, side in (("phi1", phi1), ("phi2", phi2)))
        middles = 0.5 * (levels[1:] + levels[:-1])
        strips = []
        for left, right in pairwise(places):
            answer = np.asarray(is_seen(np.full_like(middles, 0.5 * (left + right)), middles), dtype=bool)
            turns = np.flatnonzero(np.diff(np.concatenate([[False], answer, [False]])))
            edges = levels[turns].reshape(-1, 2).tolist()
            strips.append([(low, high, low, high) for low, high in edges])
        return cls(*_merged(places.tolist(), strips), coord, along)

    def strips(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Lower and upper edges of the strips at places (N,), and which of them were seen, each (N, K)."""
        nodes = self.places.to(places.dtype)
        i = (torch.searchsorted(nodes, places.contiguous(), right=True) - 1).clamp(0, len(nodes) - 2)
        share = ((places - nodes[i]) / (nodes[i + 1] - nodes[i]))[:, None]
        low, high, next_low, next_high = self.edges.to(places.dtype)[i].unbind(-1)
        low, high = torch.lerp(low, next_low, share), torch.lerp(high, next_high, share)
        along = (places >= nodes[0]) & (places <= nodes[-1])
        wide = high - low > _THIN * (self.extent[1] - self.extent[0])
        return low, high, self.seen[i] & along[:, None] & wide

    def strips_of(self, data: Data, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """As `strips`, at the places of stars, in a floating type."""
        return self.strips(data[self.along].to(dtype))

    def holds(self, data: Data) -> Tensor:
        """Whether each star is where the survey looked, (N,); one that lacks the coordinate is."""
        x = data[self.coord]
        low, high, seen = self.strips_of(data, torch.result_type(x, 1.0))
        inside = (seen & (x[:, None] >= low) & (x[:, None] <= high)).any(-1)
        return inside | ~data.where[self.coord]

    def extra_repr(self) -> str:
        """What is shown of it."""
        first, last = self.places[0].item(), self.places[-1].item()
        return f"{self.coord} at {self.along} {first:g} to {last:g}, {len(self.edges)} stretches"


_OUTER: tuple[tuple[Callable[..., float], tuple[int, int]], ...] = ((min, (0, 2)), (max, (1, 3)))


def _check(phi1: Sequence[float], strips: Sequence[Sequence[Strip]]) -> None:
    if len(phi1) < 2 or any(not b > a for a, b in pairwise(phi1)):
        raise InputError(f"Footprint: the places must increase, two or more; got {_short(phi1)}.")
    if len(strips) != len(phi1) - 1 or not any(strips):
        raise InputError(
            f"Footprint: {len(phi1)} places need {len(phi1) - 1} lists of strips, some of which were seen; got "
            f"{len(strips)} with {sum(map(len, strips))} strips."
        )
    for place, rows in zip(phi1, strips, strict=False):
        for side in (0, 1):
            edges = [edge for row in rows for edge in row[2 * side : 2 * side + 2]]
            if any(b < a - _SAME for a, b in pairwise(edges)) or not all(map(math.isfinite, edges)):
                raise InputError(f"Footprint: after {place:g} the edges {_short(edges)} are not in order; sort them.")


def _ticks(name: str, side: tuple[float, float], step: float) -> Array:
    low, high = map(float, side)
    if not low < high:
        raise InputError(f"Footprint: {name} is ({low}, {high}); give the lower end first.")
    return np.linspace(low, high, max(1, math.ceil((high - low) / step)) + 1)


def _corners(polygon: Corners) -> Array:
    corners = np.asarray(polygon, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        raise InputError(f"Footprint: a polygon needs three corners (phi1, phi2) or more; got {_short(polygon)}.")
    return corners


def _circle(lon: float, lat: float, radius: float) -> Array:
    """Corners (M, 2) on a circle on the sky."""
    check_positive("the radius of a circle in a footprint", radius)
    turn = np.linspace(0, 2 * np.pi, _CIRCLE, endpoint=False)
    centre, reach = np.deg2rad(lat), np.deg2rad(radius)
    sin_lat = np.sin(centre) * np.cos(reach) + np.cos(centre) * np.sin(reach) * np.cos(turn)
    y, x = np.sin(turn) * np.sin(reach) * np.cos(centre), np.cos(reach) - np.sin(centre) * sin_lat
    return np.stack([lon + np.rad2deg(np.arctan2(y, x)), np.rad2deg(np.arcsin(sin_lat))], -1)


class _Sides:
    """Sides of polygons from left to right; upright ones bound no strip."""

    def __init__(self, polygons: Sequence[Array]) -> None:
        starts, ends = np.concatenate(polygons), np.concatenate([np.roll(p, -1, 0) for p in polygons])
        of = np.repeat(np.arange(len(polygons)), [len(p) for p in polygons])
        kept = np.abs(starts[:, 0] - ends[:, 0]) > _SAME
        starts, ends, self.of = starts[kept], ends[kept], of[kept]
        swap = (starts[:, 0] > ends[:, 0])[:, None]
        self.left, self.right = np.where(swap, ends, starts), np.where(swap, starts, ends)
        self.slope = (self.right[:, 1] - self.left[:, 1]) / (self.right[:, 0] - self.left[:, 0])

    def at(self, place: float, rows: NDArray[np.intp]) -> Array:
        """Heights of some sides at a place."""
        heights: Array = self.left[rows, 1] + self.slope[rows] * (place - self.left[rows, 0])
        return heights

    def places(self) -> Array:
        """Where sides end or cross, in order."""
        found = [self.left[:, 0], self.right[:, 0]]
        level = self.left[:, 1] - self.slope * self.left[:, 0]
        for i in range(len(self.slope)):
            with np.errstate(divide="ignore", invalid="ignore"):
                x = (level[i + 1 :] - level[i]) / (self.slope[i] - self.slope[i + 1 :])
            both = (x > np.maximum(self.left[i, 0], self.left[i + 1 :, 0])) & (
                x < np.minimum(self.right[i, 0], self.right[i + 1 :, 0])
            )
            found.append(x[both])
        places = np.unique(np.concatenate(found))
        return places[np.concatenate([[True], np.diff(places) > _SAME])]


def _trapezoids(seen: Sequence[Array], holes: Sequence[Array]) -> tuple[list[float], list[list[Strip]]]:
    """Places where a side begins, ends or crosses another, and the strips between them."""
    if not seen:
        raise InputError("Footprint: give one polygon that was seen, or more.")
    sides = _Sides([*seen, *holes])
    places = sides.places()
    strips = []
    for a, b in pairwise(places):
        rows = np.flatnonzero((sides.left[:, 0] <= a + _SAME) & (sides.right[:, 0] >= b - _SAME))
        rows = rows[np.argsort(sides.at(0.5 * (a + b), rows), kind="stable")]
        edges = np.stack([sides.at(a, rows), sides.at(b, rows)], -1)
        strips.append(_swept(sides.of[rows], edges, len(seen)))
    return _merged(places.tolist(), strips)


def _swept(of: NDArray[np.intp], edges: Array, seen: int) -> list[Strip]:
    """The strips inside one of the first polygons and none of the others, upwards through the sides (S, 2)."""
    inside: set[int] = set()
    out: list[list[float]] = []
    was = False
    for polygon, edge in zip(of.tolist(), edges.tolist(), strict=True):
        inside ^= {polygon}
        is_seen = bool(inside) and max(inside) < seen
        if is_seen and not was:
            if out and max(abs(out[-1][2] - edge[0]), abs(out[-1][3] - edge[1])) < _SAME:
                out.append(out.pop()[:2])  # it goes on where the last one ended
            else:
                out.append(list(edge))
        elif was and not is_seen:
            out[-1] += edge
        was = is_seen
    return [(a, c, b, d) for a, b, c, d in out if max(c - a, d - b) > _SAME]


def _merged(places: list[float], strips: list[list[Strip]]) -> tuple[list[float], list[list[Strip]]]:
    """Stretches with the same level strips as those before them joined to these."""
    kept: list[int] = []
    for i, rows in enumerate(strips):
        level = all(row[:2] == row[2:] for row in rows)
        if not (kept and level and rows == strips[kept[-1]]):
            kept.append(i)
    return [places[i] for i in kept] + places[-1:], [strips[i] for i in kept]


def _short(values: Sequence[Any]) -> str:
    """A list as a message shows it."""
    return str(list(values)) if len(values) <= 8 else f"[{values[0]}, {values[1]}, ..., {values[-1]}]"
