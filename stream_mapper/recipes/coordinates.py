"""Coordinates of a recipe, in the parts that they make, and their windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stream_mapper.builtin import Isochrone, IsochroneGrid, RotatedBox
from stream_mapper.errors import InputError
from stream_mapper.recipes.parts import PHOTOMETRIC
from stream_mapper.track import Track
from stream_mapper.windows import Bounds, Window, WindowAlong

PHOTOMETRY = "photometry"
MOTIONS, SKY_MOTIONS, ANGLE = ("pm_phi1", "pm_phi2"), ("pmra", "pmdec"), "pm_angle"
_GROUP_OF = {
    "phi2": "position",
    **dict.fromkeys((*MOTIONS, *SKY_MOTIONS), "proper_motion"),
    PHOTOMETRY: PHOTOMETRIC,
}
_ORDER = ("position", "proper_motion", "parallax", PHOTOMETRIC)  # that of how seldom they are missing

Groups = dict[str, tuple[str, ...]]


def coordinates_of(asked: Sequence[str] | None, track: Track, isochrone: Isochrone | IsochroneGrid | None) -> list[str]:
    """The coordinates that were asked for; by default phi2, proper motions of the track, photometry by an isochrone.

    Raises:
        InputError: If one is named twice, or photometry and the isochrone do not come together.
    """
    motions = [name for name in MOTIONS if name in track.coordinates]
    names = list(asked) if asked is not None else ["phi2", *motions, *([PHOTOMETRY] if isochrone else [])]
    if len(set(names)) < len(names) or not names:
        raise InputError(f"coordinates must be different ones; got {names}.")
    if (PHOTOMETRY in names) != (isochrone is not None):
        raise InputError(f"the coordinate photometry needs an isochrone, and an isochrone photometry; got {names}.")
    return names


def groups_of(coordinates: Sequence[str]) -> Groups:
    """The coordinates of each part, in the order of the parts; that of the photometry is its distance modulus."""
    found: dict[str, list[str]] = {}
    for name in coordinates:
        found.setdefault(_GROUP_OF.get(name, name), []).append("distmod" if name == PHOTOMETRY else name)
    order = [*(name for name in _ORDER if name in found), *(name for name in found if name not in _ORDER)]
    return {name: tuple(found[name]) for name in order}


def with_bands(groups: Groups, isochrone: Isochrone | IsochroneGrid | None) -> Groups:
    """The same with the bands that the photometry is over."""
    return groups | ({PHOTOMETRIC: isochrone.bands} if isochrone is not None else {})


def windows_of(
    given: Mapping[str, float | Bounds], names: Sequence[str], track: Track
) -> tuple[dict[str, Bounds], RotatedBox | None]:
    """The window of each coordinate and band, and that of proper motions in the axes of the catalogue.

    Arguments:
        given: A window, its lowest and highest value, or its half-width about the track, by name; those of ``pmra`` and
            ``pmdec`` together are a `RotatedBox` of ``pm_phi1`` and ``pm_phi2``, if these are the coordinates.
        names: Coordinates and bands of the model.
        track: The track.

    Raises:
        InputError: If a window is of none of these, phi2 has none, or there is one of two sides of a box.
    """
    windows = {name: _window(name, one, track) for name, one in given.items()}
    sides = [name for name in SKY_MOTIONS if name in windows and name not in names]
    turned = bool(sides) and set(MOTIONS) <= set(names)
    unknown = [name for name in windows if name not in names and not (turned and name in sides)]
    if unknown:
        raise InputError(f"windows are given of {unknown}; the recipe has the coordinates {list(names)}.")
    if "phi2" in names and "phi2" not in windows:
        raise InputError("the recipe needs the window of phi2: its lowest and highest value, or its half-width [deg].")
    return {name: one for name, one in windows.items() if name not in sides}, _box(sides, windows)


def _box(sides: Sequence[str], windows: Mapping[str, Bounds]) -> RotatedBox | None:
    if not sides:
        return None
    edges = [windows[name] for name in sides]
    if len(edges) < 2 or any(isinstance(one, Window) for one in edges):
        raise InputError("the window of proper motions on the sky needs two edges of pmra and two of pmdec.")
    first, second = edges
    return RotatedBox(MOTIONS, ANGLE, first, second)  # type: ignore[arg-type]


def _window(name: str, given: float | Bounds, track: Track) -> Bounds:
    if isinstance(given, Window):
        return given
    if isinstance(given, int | float):
        return WindowAlong.about(track, name, float(given))
    low, high = given
    if not low < high:
        raise InputError(f"the window of {name} needs its lower edge first; got [{low:g}, {high:g}].")
    return float(low), float(high)
