"""All that a configuration for a stream needs, decided from its track and, if there is one, from a table of stars."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import Any

from astropy.table import Table

from stream_mapper.builtin import Isochrone
from stream_mapper.catalog import KnownStream, TableFacts, known_stream, table_facts
from stream_mapper.decisions import cuts, distance, light, motion, peak, sky, spectra
from stream_mapper.decisions.choice import Choice, Range, digits
from stream_mapper.decisions.edges import MotionCut, Strip, motion_cut
from stream_mapper.track import Track

_PLACES = 11  # guides along the field


@dataclass(frozen=True)
class Decisions:
    """Everything a configuration says of a stream, each with its reason.

    Arguments:
        track: Full name of the track.
        frame: The frame, as `SkyFrame` takes it.
        phi1: First and last place of the field [deg].
        spacing: Distance of the guides along it [deg].
        coordinates: Coordinates of the model, as `recipes.Stream` names them.
        phi2: Half-width of the window about the track [deg], its lowest and highest phi2, or a strip that moves.
        found_distance: The distance modulus by the stars of the table, with half-widths of its guides, if no track
            knows it.
        found_motion: The motion by the stars of the table, at both ends of the field, if no track knows it.
        motions: Window of ``pm_phi1`` and ``pm_phi2``, or of ``pmra`` and ``pmdec`` if the table was cut in these
            [mas/yr]: lowest and highest value, or a strip that moves.
        guides: Half-widths of the guides by coordinate, one a place of the track (of ``found_motion``, its motions);
            absent where there is no guide.
        bounds: Ranges of the ln of the widths, ``phi2.ln-sigma`` and so on.
        off_stream: Distance from the track beyond which stars train the background [deg].
        survey: Survey of the photometry.
        dereddened: Whether the extinction of its magnitudes is taken out already.
        bands: Bands of the isochrone.
        magnitudes: Bright and faint limit in the first of them [mag].
        absolute: Brightest and faintest absolute magnitude that the survey sees anywhere along the field; the masses of
            the isochrone have to reach it.
        isochrone: Age [Gyr] and [Fe/H] to start from.
        sources: Where each of distance, motion and velocity comes from.
        background: "flow" or "flows", as `recipes.Stream` takes it.
        errors: Coordinates and bands with errors.
        approximate: Rules of errors that the table lacks.
        missing: Coordinates and bands that some stars lack.
        velocity: Whether radial velocities are fitted.
        spectra: Their survey, where no other knows the name of their column.
        correlation: Whether the correlations of the errors of proper motions are read.
        parallax: Largest parallax of a star of the stream [mas], beyond which stars are left out.
        colour: A difference of two bands and its range, outside of which stars are left out.
    """

    track: Choice[str]
    frame: Choice[dict[str, str]]
    phi1: Choice[Range]
    spacing: Choice[float]
    coordinates: Choice[tuple[str, ...]]
    phi2: Choice[float | Range | Strip]
    found_distance: Choice[Track | None]
    found_motion: Choice[Track | None]
    motions: Choice[dict[str, Range | Strip]]
    guides: Choice[dict[str, list[float]]]
    bounds: Choice[dict[str, Range]]
    off_stream: Choice[float]
    survey: Choice[str]
    dereddened: Choice[bool]
    bands: Choice[tuple[str, ...]]
    magnitudes: Choice[Range]
    absolute: Choice[Range | None]
    isochrone: Choice[dict[str, float]]
    sources: Choice[dict[str, str]]
    background: Choice[str]
    errors: Choice[tuple[str, ...]]
    approximate: Choice[dict[str, dict[str, Any]]]
    missing: Choice[tuple[str, ...]]
    velocity: Choice[bool]
    spectra: Choice[str | None]
    correlation: Choice[bool]
    parallax: Choice[float | None]
    colour: Choice[tuple[str, Range] | None]

    def without_photometry(self) -> Decisions:
        """The same for a model that has no isochrone."""
        names = tuple(name for name in self.coordinates.value if name != light.PHOTOMETRY)
        given = self.coordinates
        said = given.reason if names == given.value else "Magnitudes say nothing without an isochrone."
        guides = {name: widths for name, widths in self.guides.value.items() if name != "distmod"}
        return replace(
            self,
            coordinates=Choice(names, said),
            guides=Choice(guides, self.guides.reason),
            isochrone=Choice({}, "There is none."),
        )

    def lines(self) -> list[str]:
        """A line for each decision: its name, what was decided, and why."""
        chosen = [(one.name, getattr(self, one.name)) for one in fields(self)]
        return [f"{name}: {choice.value}. {choice.reason}" for name, choice in chosen]


def decide(
    name: str,
    table: Table | None = None,
    *,
    survey: str | None = None,
    phi1: Range | None = None,
    isochrone: Isochrone | None = None,
    tracks: str | os.PathLike[str] | None = None,
) -> Decisions:
    """Decide what a configuration for a stream needs.

    Arguments:
        name: Name of a stream or a track of galstreams, see `stream_mapper.catalog.known_stream`.
        table: Stars of its field, of which survey, errors, gaps, edges and depth are then read.
        survey: Survey of the photometry; by default that of the table, or Gaia DR3.
        phi1: First and last place of the field [deg].
        isochrone: Of the stream, which gives the colours that its stars may have, and by which its motion is looked for
            in a table if no track knows it.
        tracks: Folder of galstreams' files; by default that of the installed package.

    Raises:
        InputError: If there is no such stream, or survey, or the table has no stars around its track.
    """
    return decided_with_track(name, table, survey, phi1, isochrone, tracks)[0]


def decided_with_track(
    name: str,
    table: Table | None,
    survey: str | None,
    phi1: Range | None,
    isochrone: Isochrone | None,
    tracks: str | os.PathLike[str] | None,
) -> tuple[Decisions, Track]:
    """The decisions, and the track at the places of the guides; arguments and errors as of `decide`."""
    whole = known_stream(name, tracks=tracks)
    facts = None if table is None else table_facts(table, whole.frame, survey)
    used, width = light.survey_of(survey, facts), sky.width(whole)
    half = sky.half_window(whole, width.value, facts)
    field = sky.field(whole, half.value, phi1, facts)
    spacing = digits((field.value[1] - field.value[0]) / (_PLACES - 1))
    stream = known_stream(whole.name, tracks=tracks, phi1=field.value, spacing=spacing)
    limits = light.limits(used, facts, isochrone.bands[0] if isochrone else None)
    off = sky.off_stream(stream, width.value, half.value, facts)
    stream, far, found = _Scans(facts, width.value, off.value, isochrone, limits.value).all_of(stream)
    motion.check_seen(stream, facts)
    cut = motion_cut(facts, "motion" in stream.sources)
    known = _Known(stream, facts, used, width, half, off, limits, isochrone, found, cut)
    decisions = Decisions(
        track=Choice(whole.name, _track_reason(whole)),
        frame=Choice(_frame(whole, tracks), "The great circle of the track: phi1 = 0 is its middle."),
        phi1=field,
        spacing=Choice(spacing, f"{_PLACES} guides along the field follow any bend of a published track."),
        found_distance=far,
        found_motion=found,
        isochrone=Choice({"age": 12.0, "feh": -1.7}, "Halo streams are old and metal-poor; say so if more is known."),
        sources=_sources(stream),
        **known.coordinates(),
        **known.light(),
    )
    return decisions, known.track


@dataclass(frozen=True)
class _Known:
    """What is known of a stream and of a table when the field is decided and the scans are done."""

    stream: KnownStream
    facts: TableFacts | None
    survey: str
    width: Choice[float]
    half: Choice[float]
    off: Choice[float]
    limits: Choice[Range]
    isochrone: Isochrone | None
    found: Choice[Track | None]
    cut: MotionCut | None

    @property
    def track(self) -> Track:
        """The track, with its motion in the axes that the model is over."""
        in_the_sky = self.cut is not None and self.cut.in_the_sky
        return motion.turned(self.stream) if in_the_sky else self.stream.track

    def coordinates(self) -> dict[str, Choice[Any]]:
        """Coordinates of the model, with their windows, guides and ranges."""
        stream, facts, found, cut = self.stream, self.facts, self.found.value, self.cut
        velocity = spectra.velocity(facts, stream, self.off.value)
        modelled = motion.coordinates(
            stream, facts, cut, found=found, isochrone=self.isochrone is not None, velocity=velocity.value
        )
        return {
            "coordinates": modelled,
            "phi2": sky.window(stream, self.half, facts),
            "motions": motion.motions(stream, facts, cut, found),
            "guides": motion.guides(stream, found, cut, velocity.value),
            "bounds": motion.bounds(stream, self.width, self.half.value, modelled.value),
            "off_stream": self.off,
            "errors": light.errors(self.survey, facts, modelled.value),
            "approximate": light.approximate(facts),
            "missing": light.missing(facts),
            "velocity": velocity,
            "spectra": spectra.survey(facts, velocity.value),
            "correlation": light.correlation(facts),
            "parallax": cuts.parallax(stream, facts),
        }

    def light(self) -> dict[str, Choice[Any]]:
        """Survey, bands and magnitudes, and what kind of background goes with them."""
        absolute = light.absolute(self.stream, self.limits.value)
        return {
            "survey": Choice(self.survey, "As asked, or that of the table's magnitudes; Gaia DR3 has all of the sky."),
            "dereddened": light.dereddened(self.facts),
            "bands": light.bands(self.survey, self.facts),
            "magnitudes": self.limits,
            "absolute": absolute,
            "background": light.background(self.survey, self.facts),
            "colour": cuts.colour(self.isochrone, absolute.value, self.facts),
        }


@dataclass(frozen=True)
class _Scans:
    """What no track knows, looked for in the stars of a table; the arguments of the scans."""

    facts: TableFacts | None
    width: float
    off: float
    isochrone: Isochrone | None
    limits: Range

    def all_of(self, stream: KnownStream) -> tuple[KnownStream, Choice[Track | None], Choice[Track | None]]:
        """The stream with the distance that was found, if any, that distance, and the motion that was found."""
        far = self.distance(stream)
        motion = self.motion(stream if far.value is None else distance.with_distance(stream, far.value))
        if far.value is None and motion.value is not None:
            far = self.distance(distance.with_motion(stream, motion.value))
        return (stream if far.value is None else distance.with_distance(stream, far.value)), far, motion

    def distance(self, stream: KnownStream) -> Choice[Track | None]:
        """The distance, if it is needed."""
        if "distance" in stream.sources:
            return Choice(None, "A track of the stream knows its distance.")
        if self.facts is None or self.isochrone is None:
            return Choice(None, "It is looked for in a table, along an isochrone, and these were not given.")
        return distance.scanned(stream, self.facts, self.width, self.off, self.isochrone, self.limits)

    def motion(self, stream: KnownStream) -> Choice[Track | None]:
        """The motion, if it is needed."""
        if "motion" in stream.sources:
            return Choice(None, "A track of the stream knows its motion.")
        if self.facts is None:
            return Choice(None, "It is looked for in a table, and none was given.")
        return peak.scanned(stream, self.facts, self.width, self.off, self.isochrone)


def _track_reason(stream: KnownStream) -> str:
    return f"Of the tracks of {stream.stream} it is the one that was named, or that galstreams' list has switched on."


def _frame(stream: KnownStream, tracks: str | os.PathLike[str] | None) -> dict[str, str]:
    return {"track": stream.name} | ({} if tracks is None else {"tracks": str(tracks)})


def _sources(stream: KnownStream) -> Choice[dict[str, str]]:
    found = {name: f"{source.track}{' (mean)' if source.is_mean else ''}" for name, source in stream.sources.items()}
    return Choice(found, f"{'; '.join(stream.notes)}." if stream.notes else "All is from the track itself.")
