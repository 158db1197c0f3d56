"""Windows of coordinates: the lowest and highest value a star can have, alike everywhere or along the stream."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.description import Described
from stream_mapper.errors import InputError
from stream_mapper.track import Track, linear

Interval = tuple[float, float]


class Window(Described, nn.Module):
    """An interval of a coordinate, edges included, the same everywhere.

    Arguments:
        low: Lower edge, in the coordinate's unit; may be -inf.
        high: Upper edge; may be inf.
    """

    moves = False
    """Whether the edges depend on the place."""
    along: str | None = None
    """Column of the places on which the edges depend."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.extent: Interval = (float(low), float(high))
        self.widest = self.extent[1] - self.extent[0]
        self.middle = self.extent

    @property
    def bounds(self) -> Bounds:
        """The window as it is given to a model: an interval, or itself if it moves."""
        return self.extent

    @property
    def nodes(self) -> list[float]:
        """Places between which the edges are straight."""
        return []

    def at(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper edge at places (N,), of their shape and type, which is a floating one."""
        low, high = self.extent
        return torch.full_like(places, low), torch.full_like(places, high)

    def edges(self, data: Data, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Lower and upper edge for each star, (N,), in a floating type."""
        if self.along is None:
            return self.at(torch.zeros(len(data), dtype=dtype, device=data.device))
        return self.at(data[self.along].to(dtype))

    def extra_repr(self) -> str:
        """What is shown of it."""
        return f"{self.extent[0]}, {self.extent[1]}"


Bounds = Interval | Window
"""What a model takes as the window of a coordinate."""

_OPEN = Window(-math.inf, math.inf)


class WindowAlong(Window):
    """A window that follows the stream: edges at some places, linear in between and constant beyond them.

        >>> window = WindowAlong(phi1=[-10.0, 10.0], low=[-2.0, 0.0], high=[2.0, 4.0])
        >>> window.at(torch.tensor([0.0, 90.0]))
        (tensor([-1.,  0.]), tensor([3., 4.]))

    Arguments:
        phi1: Places, increasing, M of them, in the unit of ``along``.
        low: Lower edge at each place, in the coordinate's unit: M numbers, or one for all; None leaves that side open.
        high: Upper edge likewise.
        along: Column of the places; the first independent coordinate of most models.

    Raises:
        InputError: If the places do not increase, a number is not finite, the lengths differ, or some window has no
            width.
    """

    places: Tensor
    values: Tensor
    moves = True

    def __init__(
        self,
        phi1: Sequence[float],
        low: Sequence[float] | float | None,
        high: Sequence[float] | float | None,
        along: str = "phi1",
    ) -> None:
        self._nodes = [float(x) for x in phi1]
        if not self._nodes or not all(map(math.isfinite, self._nodes)) or any(b <= a for a, b in pairwise(self._nodes)):
            raise InputError(f"WindowAlong needs places along {along} that increase, one or more; got {self._nodes}.")
        lows, highs = (_column(name, side, self._nodes) for name, side in (("low", low), ("high", high)))
        super().__init__(min(lows), max(highs))
        self.along = along
        _check_order(self._nodes, lows, highs)
        self.widest = max(b - a for a, b in zip(lows, highs, strict=True))
        self.middle = (math.fsum(lows) / len(lows), math.fsum(highs) / len(highs))
        self._open = low is None, high is None
        finite = [[0.0 if math.isinf(edge) else edge for edge in side] for side in (lows, highs)]
        self.register_buffer("places", torch.tensor(self._nodes), persistent=False)
        self.register_buffer("values", torch.tensor(finite), persistent=False)

    @classmethod
    def about(
        cls, track: Track, coord: str, half_width: Sequence[float] | float | None = None, along: str = "phi1"
    ) -> WindowAlong:
        """A window about a track.

            >>> track = stream_mapper.Track([-10.0, 10.0], {"phi2": [0.0, 2.0]})
            >>> WindowAlong.about(track, "phi2", 1.5)
            WindowAlong(-1.5..0.5 to 1.5..3.5 along phi1)

        Arguments:
            track: The track, as `stream_mapper.catalog.read_track` reads it.
            coord: The coordinate.
            half_width: Half-widths in its unit: one number, one a place of the track, or None for those the track has.
            along: Column of the places.

        Raises:
            InputError: If the track lacks the coordinate or its widths.
        """
        rows = list(zip(track.values(coord), track.half_width(coord, half_width), strict=True))
        return cls(track.phi1, [x - width for x, width in rows], [x + width for x, width in rows], along)

    @property
    def bounds(self) -> Bounds:
        """Itself."""
        return self

    @property
    def nodes(self) -> list[float]:
        """The places it was given."""
        return self._nodes

    def at(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper edge at places (N,), of their shape and type, which is a floating one."""
        low, high = linear(places, self.places.to(places.dtype), self.values.to(places.dtype)).unbind(0)
        below, above = self._open
        return torch.full_like(low, -math.inf) if below else low, torch.full_like(high, math.inf) if above else high

    def extra_repr(self) -> str:
        """What is shown of it."""
        low, high = (f"{min(side):g}..{max(side):g}" for side in self.values.tolist())
        below, above = self._open
        return f"{'open' if below else low} to {'open' if above else high} along {self.along}"


class _Overlap(Window):
    """Where two windows are both."""

    moves = True

    def __init__(self, first: Window, second: Window) -> None:
        super().__init__(max(first.extent[0], second.extent[0]), min(first.extent[1], second.extent[1]))
        self.first, self.second = first, second
        self.along = first.along or second.along

    @property
    def bounds(self) -> Bounds:
        """Itself."""
        return self

    @property
    def nodes(self) -> list[float]:
        """The places of both."""
        return sorted({*self.first.nodes, *self.second.nodes})

    def at(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper edge at places (N,)."""
        (low, high), (other_low, other_high) = self.first.at(places), self.second.at(places)
        return torch.maximum(low, other_low), torch.minimum(high, other_high)

    def __repr__(self) -> str:
        return f"{self.first!r} and {self.second!r}"


def as_window(bounds: Bounds) -> Window:
    """The window that was given as such or as an interval."""
    return bounds if isinstance(bounds, Window) else Window(*bounds)


def overlap(first: Bounds, second: Bounds) -> Bounds:
    """The part of a coordinate that is inside two windows."""
    a, b = as_window(first), as_window(second)
    if a.moves or b.moves:
        return first if is_within(first, second) else second if is_within(second, first) else _Overlap(a, b)
    return max(a.extent[0], b.extent[0]), min(a.extent[1], b.extent[1])


def is_within(inner: Bounds, outer: Bounds, tolerance: float = 1e-5) -> bool:
    """Whether a window is nowhere wider than another, but for a rounding [widths of the inner one]."""
    a, b = as_window(inner), as_window(outer)
    places = torch.tensor(sorted({*a.nodes, *b.nodes}) or [0.0], dtype=torch.float64)
    (low, high), (lowest, highest) = a.at(_finer(places)), b.at(_finer(places))
    slack = tolerance * torch.where((high - low).isfinite(), high - low, 0.0)
    return bool(((low >= lowest - slack) & (high <= highest + slack)).all())


class Windows(nn.Module):
    """The windows of some of the coordinates of a model, by name.

    Arguments:
        owner: What an error calls the model.
        coord_names: Its coordinates.
        indep_coord_names: Coordinates that it depends on.
        bounds: The windows.

    Raises:
        InputError: If an interval is none, or a window is of another coordinate or along one that is not known.
    """

    def __init__(
        self, owner: str, coord_names: Sequence[str], indep_coord_names: Sequence[str], bounds: Mapping[str, Bounds]
    ) -> None:
        super().__init__()
        self.names = tuple(bounds)
        # copies, for a window may be that of several models, of which one is moved to another device
        self._windows = nn.ModuleList(copy.deepcopy(as_window(given)) for given in bounds.values())
        for name, window in self.items():
            low, high = window.extent
            if name not in coord_names or not low < high:
                raise InputError(
                    f"{owner}: coord_bounds {name}: ({low}, {high}) needs low < high "
                    f"and a name among {list(coord_names)}."
                )
            if window.along is not None and window.along not in indep_coord_names:
                raise InputError(
                    f"{owner}: the window of {name} is along {window.along!r}, but the model depends on "
                    f"{list(indep_coord_names)}; set the window's along to one of these."
                )

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Window:
        """The window of a coordinate, open where it has none."""
        windows = cast("Iterable[Window]", self._windows)
        return dict(zip(self.names, windows, strict=True)).get(name, _OPEN)

    def items(self) -> Iterator[tuple[str, Window]]:
        """Each coordinate and its window."""
        return ((name, self[name]) for name in self.names)

    @property
    def move(self) -> bool:
        """Whether any of them moves."""
        return any(window.moves for _, window in self.items())

    def bounds(self) -> dict[str, Bounds]:
        """The windows as they are given to a model."""
        return {name: window.bounds for name, window in self.items()}

    def edges(self, name: str, data: Data, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Edges of a coordinate's window for each star, (N,); infinite where it has none."""
        return self[name].edges(data, dtype)

    def hold(self, data: Data) -> Tensor:
        """Whether every coordinate that was measured is in its window, edges included, (N,)."""
        inside = torch.ones(len(data), dtype=torch.bool, device=data.device)
        for name, window in self.items():
            x = data[name]
            low, high = window.edges(data, torch.result_type(x, 1.0))
            inside = inside & (~data.where[name] | ((x >= low) & (x <= high)))
        return inside

    def straight(self) -> dict[str, Interval]:
        """An interval for each coordinate, to which `straighten` takes its window."""
        return {name: window.middle for name, window in self.items()}

    def straighten(self, data: Data) -> Data:
        """The stars, each coordinate moved and scaled such that its window does not move; see `straight`."""
        moved = {}
        for name, (low, high, left, right) in self._moving(data).items():
            x = left + (right - left) * ((data[name] - low) / (high - low))
            moved[name] = torch.where(data.where[name], x, torch.nan)
        return data.with_columns(moved) if moved else data

    def bend(self, columns: Mapping[str, Tensor], data: Data) -> dict[str, Tensor]:
        """The way back from `straighten`: columns (N,) by name, those of windows that move inside these again."""
        bent = dict(columns)
        for name, (low, high, left, right) in self._moving(data, columns).items():
            x = low + (high - low) * ((columns[name] - left) / (right - left))
            bent[name] = torch.minimum(torch.maximum(x, low), high)
        return bent

    def ln_slope(self, data: Data) -> Tensor | float:
        """Log of the derivative of `straighten`, over the coordinates that were measured, (N,) or zero."""
        total: Tensor | float = 0.0
        for name, (low, high, left, right) in self._moving(data).items():
            total = total + torch.where(data.where[name], math.log(right - left) - (high - low).log(), 0.0)
        return total

    def _moving(self, data: Data, columns: Mapping[str, Tensor] | None = None) -> dict[str, tuple[Any, ...]]:
        """Edges of each window that moves, (N,), and of the one it is taken to."""
        moving = [(name, window) for name, window in self.items() if window.moves]
        kinds = {name: torch.result_type((columns or data)[name], 1.0) for name, _ in moving}
        return {name: (*window.edges(data, kinds[name]), *self.straight()[name]) for name, window in moving}


def _column(name: str, side: Sequence[float] | float | None, nodes: Sequence[float]) -> list[float]:
    """An edge at each place."""
    if side is None:
        return [-math.inf if name == "low" else math.inf] * len(nodes)
    values = [float(side)] * len(nodes) if isinstance(side, int | float) else [float(x) for x in side]
    if len(values) != len(nodes) or not all(map(math.isfinite, values)):
        raise InputError(f"WindowAlong: {name} needs {len(nodes)} finite numbers, one a place, or one; got {values}.")
    return values


def _check_order(nodes: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> None:
    for place, low, high in zip(nodes, lows, highs, strict=True):
        if not low < high:
            raise InputError(f"WindowAlong: at {place:g} the window ({low:g}, {high:g}) needs low < high.")


def _finer(places: Tensor) -> Tensor:
    """Places (M,) with more between them, where the edges of an overlap may cross."""
    steps = torch.arange(8, dtype=places.dtype) / 8
    return torch.cat([(places[:-1, None] + places.diff()[:, None] * steps).flatten(), places[-1:]])
