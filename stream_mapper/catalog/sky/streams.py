"""What is known of a stream: one track of it, and what that one lacks from the others, in one frame."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_mapper.catalog.columns import Values
from stream_mapper.catalog.sky.frames import SkyFrame
from stream_mapper.catalog.sky.galstreams import StreamTrack, stream_track
from stream_mapper.catalog.sky.library import Entry, Library
from stream_mapper.catalog.sky.places import in_frame, resampled, with_distances
from stream_mapper.errors import check_positive
from stream_mapper.track import HALF_WIDTHS, Track

_log = logging.getLogger("stream_mapper")

GROUPS = {"distance": ("distance",), "motion": ("pm_phi1", "pm_phi2"), "velocity": ("radial_velocity",)}
"""What a track may lack, and the coordinates that are there, or not, together."""

_OF_POINTS = {
    "distance": "distance",
    "motion": "pmra",
    "velocity": "radial_velocity",
}  # a column of the points that tells a group

WIDE = {"pm_phi1": 1.5, "pm_phi2": 1.5, "distmod": 0.75, "radial_velocity": 100.0}
"""Half-widths about a mean, and beyond the ends of a track that another one is completed with."""

SIGMAS = 2.0
"""Half-widths in widths of the stream, where that is known."""

LEAST = {"phi2": 0.3, "pm_phi1": 0.3, "pm_phi2": 0.3}
"""Half-widths that are never less [deg, mas/yr]: published tracks of a stream differ by that much."""


class Source(NamedTuple):
    """Where a coordinate of a known stream comes from.

    Arguments:
        track: Full name of the track.
        is_mean: Whether no more than a mean is known there.
    """

    track: str
    is_mean: bool


@dataclass(frozen=True)
class KnownStream:
    """A stream as the literature has it.

    Arguments:
        name: Full name of its track.
        stream: Name of the stream.
        frame: The frame that the track is in.
        track: Its coordinates, each with half-widths about it.
        sources: Where the distance, the motion and the velocity come from; what no track knows is absent.
        widths: Widths of the stream itself [deg, mas/yr] in ``phi2``, ``pm_phi1`` and ``pm_phi2``, those known.
        notes: What was taken from elsewhere or not used, and why, a line each.
    """

    name: str
    stream: str
    frame: SkyFrame
    track: Track
    sources: dict[str, Source]
    widths: dict[str, float]
    notes: tuple[str, ...]


def known_stream(
    name: str,
    frame: SkyFrame | None = None,
    *,
    tracks: str | os.PathLike[str] | None = None,
    phi1: tuple[float, float] | None = None,
    spacing: float = 1.0,
) -> KnownStream:
    """A stream of galstreams (Mateu 2023, MNRAS 520, 5225), with all that its tracks know.

    The distance, the motion and the velocity that its track lacks come from another track of the stream that has them,
    rotated into the same frame, by phi1: a track is better than a mean, its own mean better than that of another.
    Values that no stream can have are not used. Half-widths about a coordinate are twice the width of the stream, from
    the literature or from members, and not less than `LEAST`; `HALF_WIDTHS` where there is none; about a mean, and
    beyond the ends of the track that knows, at least `WIDE`.

    Arguments:
        name: Name of a stream or a track, see `stream_mapper.catalog.sky.library.Library.find`.
        frame: The frame to rotate it into; by default that of the track.
        tracks: Folder of galstreams' ``track.*.ecsv`` files; by default that of the installed package.
        phi1: First and last place [deg]; by default the ends of the track.
        spacing: Distance of the places [deg].

    Raises:
        InputError: If there is no such track, its files cannot be read, or it turns back in phi1 in this frame.
    """
    check_positive("the spacing of a track", spacing)
    library = Library(tracks)
    entry = library.find(name)
    if frame is None:
        folder = {} if tracks is None else {"tracks": str(tracks)}
        frame = SkyFrame({"track": entry.name, **folder})
    others = [one for one in library.of_stream(entry.stream) if one != entry]
    read = {one.name: stream_track(one.name, library.folder) for one in (entry, *others)}
    columns, wide, sources = _completed(list(read.values()), frame)
    widths = _stream_widths([entry, *others], read)
    half_widths = _half_widths(columns, wide, widths)
    track = resampled(with_distances(columns), half_widths, phi1, spacing, entry.name)
    notes = tuple(_notes(entry.name, read, sources))
    for note in notes:
        _log.info("%s: %s.", entry.name, note)
    return KnownStream(entry.name, entry.stream, frame, track, sources, widths, notes)


def _completed(
    tracks: Sequence[StreamTrack], frame: SkyFrame
) -> tuple[dict[str, Values], dict[str, NDArray[np.bool_]], dict[str, Source]]:
    """Columns at the points of the first track, where those of each group are wide, and where each comes from."""
    rotated = {track.name: _rotated(track, frame) for track in tracks}
    own = rotated[tracks[0].name]
    columns = {name: own[name] for name in ("phi1", "phi2")}
    wide, sources = {}, {}
    for group, names in GROUPS.items():
        source = _source(tracks, group, rotated)
        if source is None:
            continue
        found = _at(columns["phi1"], rotated[source.track], names) if source.track != tracks[0].name else own
        columns |= {name: found[name] for name in names}
        wide[group] = ~np.isfinite(found[names[0]]) | source.is_mean
        sources[group] = source
    return columns, wide, sources


def _source(tracks: Sequence[StreamTrack], group: str, rotated: Mapping[str, dict[str, Values]]) -> Source | None:
    """The track to take a group from: the first that knows it here, or else the first that has a mean."""
    key, phi1 = _OF_POINTS[group], rotated[tracks[0].name]["phi1"]
    here = [track for track in tracks if key in track.points and _reaches(rotated[track.name]["phi1"], phi1)]
    ranked = sorted(here, key=lambda track: key in track.means)
    return Source(ranked[0].name, key in ranked[0].means) if ranked else None


def _reaches(other: Values, phi1: Values) -> bool:
    """Whether another track is at any of these places."""
    places = _near(other, phi1)
    return bool(((phi1 >= places.min()) & (phi1 <= places.max())).any())


def _near(other: Values, phi1: Values) -> Values:
    """Places of another track by whole turns so that they are near these."""
    return other + 360 * np.round((np.median(phi1) - other) / 360)


def _rotated(track: StreamTrack, frame: SkyFrame) -> dict[str, Values]:
    """Columns of a track in the frame."""
    along = {name: track.points[name] for name in ("distance", "radial_velocity") if name in track.points}
    return in_frame(track.points, frame, track.name) | along


def _at(phi1: Values, other: Mapping[str, Values], names: Sequence[str]) -> dict[str, Values]:
    """Columns of another track at phi1, NaN where it is not."""
    places = _near(other["phi1"], phi1)
    order = np.argsort(places)
    out = {}
    for name in names:
        rows = order[np.isfinite(other[name][order])]
        out[name] = np.interp(phi1, places[rows], other[name][rows], left=np.nan, right=np.nan)
    return out


def _stream_widths(entries: Sequence[Entry], read: Mapping[str, StreamTrack]) -> dict[str, float]:
    """Widths of the stream: by the literature or the members of its track, or else of another one."""
    widths: dict[str, float] = {}
    for entry in entries:
        widths = read[entry.name].widths | entry.widths | widths
    return widths


def _half_widths(
    columns: Mapping[str, Values], wide: Mapping[str, NDArray[np.bool_]], widths: Mapping[str, float]
) -> dict[str, Values]:
    """Half-widths about each coordinate, one a point."""
    ones = np.ones(len(columns["phi1"]))
    usual = HALF_WIDTHS | {name: max(SIGMAS * width, LEAST[name]) for name, width in widths.items()}
    out = {"phi2": usual["phi2"] * ones}
    names = {"distance": ("distmod",), "motion": GROUPS["motion"], "velocity": ("radial_velocity",)}
    for name, rows in ((name, rows) for group, rows in wide.items() for name in names[group]):
        out[name] = np.where(rows, max(usual[name], WIDE[name]), usual[name])
    if "distmod" in out:
        relative = 10 ** (out["distmod"] / 5) - 1
        out["distance"] = np.where(np.isnan(columns["distance"]), np.nanmean(columns["distance"]), columns["distance"])
        out["parallax"] = relative / out["distance"]
        out["distance"] = relative * out["distance"]
    return out


def _notes(name: str, read: Mapping[str, StreamTrack], sources: Mapping[str, Source]) -> list[str]:
    """What a person should know of where the numbers come from."""
    notes = [f"{track.name}: {line}" for track in read.values() for line in track.refused]
    for group in GROUPS:
        source = sources.get(group)
        if source is None:
            notes.append(f"no track of the stream knows its {group}")
        elif source.is_mean or source.track != name:
            kind = "mean" if source.is_mean else "track"
            notes.append(f"the {group} is the {kind} of {source.track}")
    return notes
