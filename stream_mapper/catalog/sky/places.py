"""Places along a track: in the frame of a stream, with distances of every kind, and at even places."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy import units as u
from astropy.table import Table

from stream_mapper.catalog.columns import Values
from stream_mapper.catalog.schema import COLUMNS
from stream_mapper.catalog.sky.frames import SkyFrame
from stream_mapper.errors import InputError
from stream_mapper.track import Track

SKY = ("ra", "dec", "pmra", "pmdec")
"""What a frame turns."""

_CLOSE = 0.01  # of the spacing: a place so near to the last is none
_MARGIN = 1e-6  # deg


def in_frame(columns: Mapping[str, Values], frame: SkyFrame, path: str) -> dict[str, Values]:
    """phi1, phi2 and, if there are proper motions, pm_phi1 and pm_phi2 of places on the sky.

    Arguments:
        columns: Those of `SKY` that there are, in internal units, and any others.
        frame: The frame.
        path: What messages call the places.
    """
    there = [name for name in SKY if name in columns]
    sky = Table({frame.names[name]: columns[name] * u.Unit(COLUMNS[name].unit) for name in there})
    turned = frame.add_stream_coordinates(sky, path=path)
    names = [name for name in ("phi1", "phi2", "pm_phi1", "pm_phi2") if name in turned.colnames]
    return {name: np.asarray(turned[name], dtype=np.float64) for name in names}


def with_distances(columns: dict[str, Values]) -> dict[str, Values]:
    """The columns with distance [kpc], distmod [mag] and parallax [mas], from the first of them that is there."""
    if "distance" in columns:
        distance = columns["distance"]
    elif "distmod" in columns:
        distance = 10 ** (columns["distmod"] / 5 - 2)
    elif "parallax" in columns:
        distance = 1 / columns["parallax"]
    else:
        return columns
    return {"distance": distance, "distmod": 5 * np.log10(distance) + 10, "parallax": 1 / distance} | columns


def resampled(
    columns: dict[str, Values],
    widths: dict[str, Values],
    ends: tuple[float, float] | None,
    spacing: float,
    path: str,
) -> Track:
    """The track at even places.

    A track may cross 180 deg, or turn back, outside the ends that are asked for.

    Arguments:
        columns: Coordinates by name at the points of the track, ``phi1`` in -180..180 deg among them, (P,) each.
        widths: Half-widths of some of them, (P,) each.
        ends: First and last place [deg]; by default the ends of the track.
        spacing: Distance of the places [deg].
        path: What messages call the track.

    Raises:
        InputError: If the track turns back, or crosses 180 deg, between the ends, or is not there.
    """
    places = _unwrapped(columns["phi1"], ends, path)
    rows = _between(places, ends, path)
    places = places[rows]
    order = np.arange(len(places))[:: -1 if places[0] > places[-1] else 1]
    furthest = np.maximum.accumulate(places[order])
    turns = bool((np.diff(places[order]) < -_MARGIN).any())
    order = order[np.append(True, furthest[1:] > furthest[:-1])]
    low, high = places[order[0]], places[order[-1]]
    first, last = (low, high) if ends is None else (max(low, ends[0]), min(high, ends[1]))
    if turns or first < -180 - _MARGIN or last > 180 + _MARGIN:
        raise _astray(path)
    grid = np.append(np.arange(first, last - max(_MARGIN, _CLOSE * spacing), spacing), last)

    def at(values: Values) -> list[float]:
        values = values[rows][order]
        known = np.isfinite(values)
        return np.interp(grid, places[order][known], values[known]).tolist()

    given = {name: values for name, values in columns.items() if name != "phi1" and np.isfinite(values[rows]).any()}
    half_widths = {name: at(values) for name, values in widths.items() if name in given}
    return Track(grid.tolist(), {name: at(values) for name, values in given.items()}, half_widths)


def _unwrapped(phi1: Values, ends: tuple[float, float] | None, path: str) -> Values:
    """Places without jumps, by whole turns as many of them between the ends, or in -180..180, as can be."""
    if not np.isfinite(phi1).all():
        raise _astray(path)
    low, high = (-180.0, 180.0) if ends is None else ends
    turns = [np.unwrap(phi1, period=360) + 360 * turn for turn in (0, -1, 1)]
    return max(turns, key=lambda places: int(((places >= low) & (places <= high)).sum()))


def _astray(path: str) -> InputError:
    advice = "choose a frame in which it does not, or give phi1 of a part in which it does not"
    return InputError(f"{path}: the track turns back in phi1, or crosses 180 deg; {advice}.")


def _between(places: Values, ends: tuple[float, float] | None, path: str) -> slice:
    """The points of a track from the last before the ends that are asked for to the first behind them."""
    if ends is None:
        return slice(None)
    inside = np.flatnonzero((places >= ends[0] - _MARGIN) & (places <= ends[1] + _MARGIN))
    crossed = np.flatnonzero((places[1:] - ends[0]) * (places[:-1] - ends[0]) < 0)
    near = np.concatenate([inside, crossed, crossed + 1]) if not len(inside) else inside
    if not len(near):
        low, high = np.nanmin(places), np.nanmax(places)
        raise InputError(f"{path}: no place of the track is in phi1 {ends}; it runs from {low:.4g} to {high:.4g} deg.")
    return slice(max(int(near.min()) - 1, 0), int(near.max()) + 2)
