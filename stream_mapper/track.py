"""Where a stream runs: coordinates as functions of phi1, given by numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from stream_mapper.errors import InputError

WIDTH = "_width"
"""Ending of the name of a column that has the half-widths about a coordinate."""

HALF_WIDTHS = {"phi2": 0.5, "pm_phi1": 0.5, "pm_phi2": 0.5, "distmod": 0.3, "radial_velocity": 20.0}
"""Half-widths [deg, mas/yr, mag, km/s] where nothing says better: what published tracks of a stream differ by."""


class Track:
    """Coordinates of a stream at some places along it: linear in between, constant beyond the ends.

        >>> track = Track(phi1=[-10.0, 10.0], coordinates={"phi2": [0.0, 2.0]})
        >>> track.at("phi2", torch.tensor([0.0, 5.0, 90.0]))
        tensor([1.0000, 1.5000, 2.0000])

    `stream_mapper.catalog.read_track` reads one from a file.

    Arguments:
        phi1: Places [deg], increasing, M of them.
        coordinates: Values at the places by name, such as ``phi2``, ``pm_phi1`` or ``distmod``, M each, in the units of
            the package.
        widths: Half-widths about some of them, M each.

    Raises:
        InputError: If the places do not increase, the lengths differ, a number is not finite, or a width is not
            positive or is of something that is no coordinate here.
    """

    def __init__(
        self,
        phi1: Sequence[float],
        coordinates: Mapping[str, Sequence[float]],
        widths: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.phi1 = [float(x) for x in phi1]
        self.coordinates = {name: [float(x) for x in values] for name, values in coordinates.items()}
        self.widths = {name: [float(x) for x in values] for name, values in (widths or {}).items()}
        self._check()

    def __repr__(self) -> str:
        span = f"phi1 {self.phi1[0]:g} to {self.phi1[-1]:g}"
        return f"Track({len(self.phi1)} places, {span}: {', '.join(self.coordinates)})"

    def values(self, name: str) -> list[float]:
        """Values of a coordinate at the places.

        Raises:
            InputError: If the track has no such coordinate.
        """
        if name not in self.coordinates:
            raise InputError(f"the track has no {name!r}; it has {list(self.coordinates)}.")
        return self.coordinates[name]

    def half_width(self, name: str, width: float | Sequence[float] | None = None) -> list[float]:
        """Half-widths at the places: one number for all, one a place, or, if None, those the track has.

        Raises:
            InputError: If there are none, or not as many as places.
        """
        if width is None and name not in self.widths:
            raise InputError(f"the track has no widths of {name!r}; give a width.")
        given = self.widths[name] if width is None else width
        widths = [float(given)] * len(self.phi1) if isinstance(given, int | float) else [float(x) for x in given]
        if len(widths) != len(self.phi1):
            raise InputError(
                f"{len(widths)} widths of {name!r} for {len(self.phi1)} places phi1; give one, or as many."
            )
        return widths

    def at(self, name: str, phi1: Tensor) -> Tensor:
        """A coordinate at phi1, of its shape, dtype and device."""
        return interpolate(phi1, self.phi1, self.values(name))

    def _check(self) -> None:
        if not self.phi1 or not self.coordinates or any(not b > a for a, b in pairwise(self.phi1)):
            raise InputError(
                f"a track needs one coordinate or more, and places phi1 that increase; got {list(self.coordinates)} at "
                f"{_short(self.phi1)}."
            )
        if strange := sorted(set(self.widths) - set(self.coordinates)):
            raise InputError(f"the track has widths of {strange}; its coordinates are {list(self.coordinates)}.")
        columns = {"phi1": self.phi1, **self.coordinates, **{f"the width of {n}": w for n, w in self.widths.items()}}
        for name, values in columns.items():
            if len(values) != len(self.phi1) or not all(map(math.isfinite, values)):
                raise InputError(
                    f"the track's {name} needs {len(self.phi1)} finite values, as many as phi1; got {_short(values)}."
                )
        for name, values in self.widths.items():
            if min(values) <= 0:
                raise InputError(f"the track's widths of {name} must be positive; got {_short(values)}.")


def interpolate(x: Tensor, nodes: Sequence[float], values: Sequence[float]) -> Tensor:
    """Linear interpolation between nodes that increase, constant beyond them; of the shape and type of ``x``."""
    at = torch.tensor(nodes, dtype=x.dtype, device=x.device)
    return linear(x, at, torch.tensor(values, dtype=x.dtype, device=x.device))


def linear(x: Tensor, nodes: Tensor, values: Tensor) -> Tensor:
    """As `interpolate`, from tensors: x ``(*S,)``, nodes (M,) that increase, values ``(*V, M)``; gives ``(*V, *S)``."""
    if len(nodes) == 1:
        return values[..., 0].reshape(*values.shape[:-1], *[1] * x.ndim).expand(*values.shape[:-1], *x.shape)
    right = torch.searchsorted(nodes, x.contiguous()).clamp(1, len(nodes) - 1)
    share = ((x - nodes[right - 1]) / (nodes[right] - nodes[right - 1])).clamp(0, 1)
    return torch.lerp(values[..., right - 1], values[..., right], share)


def _short(values: Sequence[Any]) -> str:
    """A list as a message shows it."""
    return str(list(values)) if len(values) <= 8 else f"[{values[0]}, {values[1]}, ..., {values[-1]}]"
