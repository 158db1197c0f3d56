"""What a track says of a stream: its coordinates and how well each is known, distances in every form."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import torch

from stream_mapper.errors import InputError
from stream_mapper.track import HALF_WIDTHS, WIDTH, Track
from stream_mapper.utils import significant

Given = Track | str | os.PathLike[str] | Mapping[str, Sequence[float]]
"""A track as a recipe takes it: itself, the name of a file or of a track of galstreams, or columns by name."""
Widths = Mapping[str, float | Sequence[float] | None]
"""Half-widths of guides by coordinate: one number, one a place, or None for no guide."""

USUAL = HALF_WIDTHS | {"pmra": 0.5, "pmdec": 0.5, "feh": 0.3}
"""Half-widths of guides where nothing says better, in the units of the package."""
_PER_LN = 5 / math.log(10)  # d(distance modulus) / d(ln distance)
_PLACES = 11  # to which a file's track is thinned: guides enough to follow a bend
_OFFSET_PLACES = 5


def rounded(x: float) -> float:
    """A number of six digits, for what is computed here to be read as if it had been written."""
    return significant(x, 6)


def as_track(given: Given, phi1: Sequence[float] | None = None) -> Track:
    """A track from what was given.

    Arguments:
        given: A track, which is taken with all its places; columns by name, ``phi1`` among them, half-widths as
            ``phi2_width``; or what `stream_mapper.catalog.read_track` reads, at eleven places.
        phi1: First and last place of the field [deg].

    Raises:
        InputError: If it is none, or cannot be read.
    """
    if isinstance(given, Track):
        return given
    if isinstance(given, str | os.PathLike):
        return _read(given, phi1)
    if "phi1" not in given:
        raise InputError(f"a track by its columns needs phi1, places in deg; got {list(given)}.")
    columns = {name: values for name, values in given.items() if name != "phi1" and not name.endswith(WIDTH)}
    widths = {name.removesuffix(WIDTH): values for name, values in given.items() if name.endswith(WIDTH)}
    return Track(given["phi1"], columns, widths)


def _read(source: str | os.PathLike[str], phi1: Sequence[float] | None) -> Track:
    from stream_mapper.catalog import read_track  # noqa: PLC0415 (astropy takes seconds to load)

    ends = None if phi1 is None else (float(phi1[0]), float(phi1[1]))
    whole = read_track(source, phi1=ends)
    places = torch.linspace(whole.phi1[0], whole.phi1[-1], _PLACES, dtype=torch.float64)
    return _at(whole, [rounded(x) for x in places.tolist()]) if len(whole.phi1) > _PLACES else whole


def known(track: Track, widths: Widths) -> Track:
    """The track with its distance in every form, and with a half-width of every coordinate that is to have a guide.

    Half-widths are those given, those of the track, those that follow from another form of the distance, or
    ``USUAL``, the first of these that there is.

    Arguments:
        track: The track.
        widths: Half-widths that were given.

    Raises:
        InputError: If widths are of a coordinate that the track has not, or not as many as places.
    """
    track = _with_distances(track)
    if strange := sorted(name for name, width in widths.items() if width is not None and name not in track.coordinates):
        raise InputError(f"widths are of {strange}; the track has {list(track.coordinates)}.")
    chosen = {name: track.half_width(name, width) for name, width in widths.items() if width is not None}
    found = track.widths | chosen
    found |= _of_distances(track, found, chosen)
    found |= {
        name: [USUAL[name]] * len(track.phi1) for name in track.coordinates if name in USUAL and name not in found
    }
    return Track(
        track.phi1, track.coordinates, {name: w for name, w in found.items() if widths.get(name, 0) is not None}
    )


def within(track: Track, phi1: Sequence[float]) -> Track:
    """The places of a track that are in a field, from the first to the last [deg].

    Raises:
        InputError: If there is none.
    """
    low, high = phi1
    rows = [i for i, place in enumerate(track.phi1) if low <= place <= high]
    if not rows:
        raise InputError(
            f"no place of the track is in phi1 {low:g} to {high:g}; it runs from {track.phi1[0]:g} to "
            f"{track.phi1[-1]:g}."
        )

    def kept(columns: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        return {name: [values[i] for i in rows] for name, values in columns.items()}

    return Track([track.phi1[i] for i in rows], kept(track.coordinates), kept(track.widths))


def shifted(track: Track, offset: Mapping[str, float], phi1: Sequence[float] | None) -> Track:
    """A track beside another: of the coordinates that are shifted, and of these alone.

    Arguments:
        track: The other.
        offset: How far by coordinate, in its unit.
        phi1: First and last place; by default those of the other.

    Raises:
        InputError: If the other has no such coordinate.
    """
    first, last = phi1 or (track.phi1[0], track.phi1[-1])
    beside = Track(track.phi1, {name: track.values(name) for name in offset})
    places = torch.linspace(first, last, _OFFSET_PLACES, dtype=torch.float64).tolist()
    places = [rounded(x) for x in places]
    there = _at(beside, places)
    return Track(
        places, {name: [rounded(x + offset[name]) for x in values] for name, values in there.coordinates.items()}
    )


def _at(track: Track, places: Sequence[float]) -> Track:
    """The track at other places, its half-widths with it."""
    at = torch.tensor(places, dtype=torch.float64)
    return Track(
        places,
        _columns(track, at),
        _columns(Track(track.phi1, track.widths), at) if track.widths else {},
    )


def _columns(track: Track, at: torch.Tensor) -> dict[str, list[float]]:
    return {name: [rounded(x) for x in track.at(name, at).tolist()] for name in track.coordinates}


def _with_distances(track: Track) -> Track:
    """The track with a distance modulus [mag] and a parallax [mas], if it has a distance in any form."""
    moduli = _moduli(track)
    if moduli is None:
        return track
    parallaxes = [rounded(10 ** (2 - mu / 5)) for mu in moduli]
    return Track(track.phi1, {"distmod": moduli, "parallax": parallaxes} | track.coordinates, track.widths)


def _moduli(track: Track) -> list[float] | None:
    given = track.coordinates
    if "distmod" in given:
        return given["distmod"]
    name = next((name for name in ("distance", "parallax") if name in given), None)
    if name is None:
        return None
    if min(given[name]) <= 0:
        raise InputError(f"the track's {name} must be positive; got {min(given[name]):g}.")
    sign = 5 if name == "distance" else -5
    return [rounded(10 + sign * math.log10(x)) for x in given[name]]


def _of_distances(
    track: Track, found: Mapping[str, list[float]], chosen: Mapping[str, list[float]]
) -> dict[str, list[float]]:
    """Half-widths of the modulus and of the parallax, the one that lacks them from another form of the distance."""
    if "distmod" not in track.coordinates:
        return {}
    first = [name for name in ("distmod", "parallax") if name in chosen]
    name = next((name for name in (*first, "distmod", "parallax", "distance") if name in found), None)
    if name is None:
        moduli = [USUAL["distmod"]] * len(track.phi1)
    elif name == "distmod":
        moduli = found[name]
    else:
        moduli = [rounded(_PER_LN * w / x) for w, x in zip(found[name], track.values(name), strict=True)]
    parallaxes = [rounded(w * x / _PER_LN) for w, x in zip(moduli, track.values("parallax"), strict=True)]
    kept = dict(chosen) if first else dict(found)
    return {"distmod": kept.get("distmod", moduli), "parallax": kept.get("parallax", parallaxes)}
