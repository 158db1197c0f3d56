"""What a recipe is told of a component, and the component that it makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stream_mapper.builtin import Parallax2DistMod, ShareParameters
from stream_mapper.errors import InputError
from stream_mapper.models import Ends, IndependentModels, Model
from stream_mapper.paths import NameOrFile
from stream_mapper.recipes import ranges
from stream_mapper.recipes.knowledge import as_track, known, shifted, within
from stream_mapper.recipes.parts import PHOTOMETRIC, STREAM, Ingredients, Law, part_of
from stream_mapper.recipes.photometry import Photometry
from stream_mapper.track import Track

MODULUS = "distmod"


@dataclass
class Component:
    """A component beside the stream, such as a spur, a cocoon or another stream.

    Arguments:
        track: Its own track: of the coordinates in which it differs from the stream. As of :func:`Stream`.
        offset: Or how far it is from the stream, by coordinate, in its unit.
        phi1: First and last place at which it is looked for [deg]; by default those of its track. Its ends lie about
            them.
        shared: Coordinates, or parameters such as ``phi2.mu``, that are those of the stream; by default the coordinates
            that its own track does not have.
        widths: Half-widths of its guides, as of :func:`Stream`.
        bounds: Ranges of its parameters, as of :func:`Stream`.
        ends: Where it begins and ends, as of :func:`Stream`.
    """

    track: Track | NameOrFile | dict[str, list[float]] | None = None
    offset: dict[str, float] = field(default_factory=dict)
    phi1: tuple[float, float] | None = None
    shared: list[str] | None = None
    widths: dict[str, float | list[float] | None] = field(default_factory=dict)
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    ends: Ends | bool = True


@dataclass(frozen=True)
class Planned:
    """A component of which everything is decided.

    Arguments:
        name: Its name.
        track: Its own track in the field, with half-widths, if it has one.
        shared: Coordinates and parameters that are the stream's.
        bounds: Ranges of parameters that were given.
        ends: Where it begins and ends, if that is to be fitted.
        linked: Whether its distance modulus is set by its parallax.
    """

    name: str
    track: Track | None
    shared: tuple[str, ...]
    bounds: Mapping[str, ranges.Range]
    ends: Ends | None
    linked: bool

    def law(self, coords: Sequence[str]) -> Law:
        """What a part over some coordinates is to have."""
        own = {
            f"{coord}.{kind}"
            for coord in coords
            for kind in ("mu", "ln-sigma")
            if coord not in self.shared
            and f"{coord}.{kind}" not in self.shared
            and not (self.linked and coord == MODULUS)
        }
        return Law(own, self.track, self.bounds)

    @property
    def ln_weight(self) -> ranges.Range:
        """Range of its ln-weight."""
        return self.bounds.get("ln-weight", ranges.LN_WEIGHT)


def plan_stream(
    track: Track, bounds: Mapping[str, ranges.Range], ends: Ends | bool, phi1: Sequence[float] | None, linked: bool
) -> Planned:
    """The stream itself, of which the track has its half-widths; arguments as of :func:`plan_beside`."""
    inside = within(track, phi1 or _span(track))
    return Planned(STREAM, inside, (), dict(bounds), _ends(ends, track, phi1), linked)


def plan_beside(
    name: str, told: Component, stream: Track, coords: Sequence[str], phi1: Sequence[float] | None, linked: bool
) -> Planned:
    """A component beside the stream.

    Arguments:
        name: Its name.
        told: What is known of it.
        stream: The track of the stream, with all its places.
        coords: Coordinates of the model, with ``distmod`` if it has photometry.
        phi1: First and last place of the field [deg], if they are known.
        linked: Whether the distance modulus is set by the parallax.

    Raises:
        InputError: If it has nothing of its own, or both a track and an offset.
    """
    if told.track is not None and told.offset:
        raise InputError(f"components.{name}: give a track or an offset from that of the stream, not both.")
    track = None
    if told.track is not None:
        track = known(as_track(told.track, told.phi1 or phi1), told.widths)
    elif told.offset:
        track = known(shifted(known(stream, {}), told.offset, told.phi1), told.widths)
    own = set(track.coordinates) if track is not None else set()
    shared = told.shared if told.shared is not None else [coord for coord in coords if coord not in own]
    if strange := [one for one in shared if one.partition(".")[0] not in coords]:
        raise InputError(f"components.{name} shares {strange}; the recipe's coordinates are {list(coords)}.")
    if set(coords) <= set(shared):
        raise InputError(f"components.{name} has nothing of its own; give it a track, an offset or what is shared.")
    if linked:
        shared = [one for one in shared if one != MODULUS] + [MODULUS] * ("parallax" in shared)
    inside = within(track, told.phi1 or phi1 or _span(track)) if track is not None else None
    ends = _ends(told.ends, _extent(track, told.phi1), phi1)
    return Planned(name, inside, tuple(shared), dict(told.bounds), ends, linked)


def built(
    planned: Planned, groups: Mapping[str, Sequence[str]], given: Ingredients, parts: Mapping[str, Model]
) -> Model:
    """A component: a part a group of coordinates, those in ``parts`` as they were given.

    Arguments:
        planned: What it is.
        groups: Coordinates of each part, by its name.
        given: What the parts are made of.
        parts: Parts that replace those of the recipe, by ``component.part``.
    """
    components = {
        group: parts.get(f"{planned.name}.{group}") or part_of(planned.name, group, coords, planned.law(coords), given)
        for group, coords in groups.items()
    }
    linked = planned.linked and MODULUS not in planned.shared
    hooks = [Parallax2DistMod("parallax.parallax", f"{PHOTOMETRIC}.{MODULUS}")] if linked else []
    return IndependentModels(components, unpack_params_hooks=hooks)


def sharing(
    planned: Sequence[Planned],
    groups: Mapping[str, Sequence[str]],
    parts: Mapping[str, Model],
    light: Photometry | None,
) -> list[ShareParameters]:
    """A hook for what the components have from the stream, if they have anything; a part that was given has its own.

    The stars of all components are of one [Fe/H], age, mass function and reddening.
    """
    shared = {
        f"{one.name}.{path}": f"{STREAM}.{path}"
        for one in planned
        for group, coords in groups.items()
        if not len(getattr(parts.get(f"{one.name}.{group}"), "params", ()))
        for path in _paths(group, coords, one.shared)
    }
    if light is not None and f"{STREAM}.{PHOTOMETRIC}" not in parts:
        shared |= _population([one.name for one in planned if f"{one.name}.{PHOTOMETRIC}" not in parts], light)
    return [ShareParameters(shared)] if shared else []


def _population(names: Sequence[str], light: Photometry) -> dict[str, str]:
    """Parameters of the stars of components, each to that of the stream."""
    places = [f"{PHOTOMETRIC}.{parameter}" for parameter in light.parameters]
    return {f"{name}.{place}": f"{STREAM}.{place}" for name in names for place in places}


def _paths(group: str, coords: Sequence[str], shared: Sequence[str]) -> list[str]:
    """What of a part is shared: the whole part where all of it is."""
    if set(coords) <= set(shared) and coords != (MODULUS,):
        return [group]
    return [f"{group}.{one}" for one in shared if one.partition(".")[0] in coords]


def _ends(given: Ends | bool, track: Track | None, phi1: Sequence[float] | None) -> Ends | None:
    if isinstance(given, Ends):
        return given
    return ranges.ends_of(track, phi1) if given and track is not None else None


def _extent(track: Track | None, phi1: Sequence[float] | None) -> Track | None:
    """A track from the first to the last place at which a component is looked for."""
    return track if phi1 is None else Track(phi1, {"phi1": phi1})


def _span(track: Track) -> tuple[float, float]:
    return track.phi1[0], track.phi1[-1]
