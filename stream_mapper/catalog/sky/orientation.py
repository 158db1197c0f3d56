"""The frame of a stream as a rotation of ICRS, by name, by a track, by a pole or by two endpoints."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

import numpy as np
from astropy import units
from astropy.coordinates import BaseCoordinateFrame, SkyCoord

from stream_mapper.catalog.columns import Values
from stream_mapper.catalog.files import one_line
from stream_mapper.catalog.sky.galstreams import stream_track
from stream_mapper.catalog.sky.rotation import (
    directions,
    matrix_of,
    matrix_of_meridian,
    place_of,
    pole_between,
    towards,
)
from stream_mapper.errors import InputError
from stream_mapper.paths import FilePath
from stream_mapper.trust import check_frame


class FrameOfTrack(TypedDict, total=False):
    """A track of galstreams, and maybe the folder of its files."""

    track: str
    tracks: FilePath


Setting = str | Mapping[str, Any]
"""A frame, as a configuration names it: see `orientation`."""

SPEED = float((units.mas / units.yr * units.kpc).to("km / s", equivalencies=units.dimensionless_angles()))
"""Speed [km/s] of 1 mas/yr at 1 kpc."""

_FRAME_ADVICE = "give an import path, or one of track, pole (with ra0 or origin), endpoints, matrix"
_TURN = 360.0  # deg
_TOLERANCE = 1e-6
_GALA = "gala.coordinates"  # where a bare name is looked for
_KEYS = ("track", "tracks"), ("pole", "ra0", "origin"), ("endpoints", "ra0", "origin"), ("matrix", "name")


class Orientation(NamedTuple):
    """A frame.

    Arguments:
        name: What it is called.
        matrix: Rotation from ICRS, shape (3, 3): unit vectors of its axes in ICRS.
    """

    name: str
    matrix: Values

    def axis(self, index: int) -> list[float]:
        """(ra, dec) [deg] of an axis: 0 is the origin, 2 the pole."""
        lon, lat = place_of(self.matrix[index])
        return [float(lon % 360), float(lat)]


def check_setting(setting: Setting) -> None:
    """Raise InputError if a setting names no frame, before anything is read for it."""
    if not isinstance(setting, Mapping | str):
        raise InputError(f"frame: {setting!r} is no frame; {_FRAME_ADVICE}.")
    if isinstance(setting, Mapping):
        known = [keys for keys in _KEYS if keys[0] in setting]
        if len(known) != 1 or (odd := set(setting) - set(known[0])):
            given = sorted(odd) if len(known) == 1 else list(setting)
            raise InputError(f"frame: {given} of {dict(setting)} is not understood; {_FRAME_ADVICE}.")
        _check_numbers(setting)


def _check_numbers(setting: Mapping[str, Any]) -> None:
    """Raise InputError if an angle of a frame is no angle."""
    ra0 = setting.get("ra0", 0.0)
    if isinstance(ra0, bool) or not isinstance(ra0, int | float) or not -_TURN <= ra0 <= _TURN:
        raise InputError(f"frame: ra0 = {ra0!r} is no right ascension in deg, a number from -360 to 360.")
    for key in ("pole", "origin"):
        if key in setting:
            towards(setting[key])
    for place in _two(setting["endpoints"]) if "endpoints" in setting else ():
        towards(place)


def orientation(setting: Setting) -> Orientation:
    """The frame that is meant.

    Arguments:
        setting: The import path of a frame class of astropy or gala, the name of one in `gala.coordinates`, or one of

            - ``{track: GD-1-I21}``: the frame of a track of galstreams, ``tracks`` being the folder of its files;
            - ``{pole: [ra, dec], ra0: degrees}``: longitude zero is at right ascension ``ra0``;
              ``origin: [ra, dec]`` instead says near which place;
            - ``{endpoints: [[ra, dec], [ra, dec]]}``: phi1 grows from the first to the second and is zero midway,
              unless ``ra0`` or ``origin`` is given;
            - ``{matrix: rows, name: text}``.

    Raises:
        InputError: If it cannot be used.
    """
    check_setting(setting)
    if isinstance(setting, str):
        return Orientation(setting, matrix_of_class(frame_class(setting)))
    if "track" in setting:
        return _of_track(setting)
    if "matrix" in setting:
        return Orientation(str(setting.get("name", "matrix")), _checked(setting["matrix"]))
    kind = "pole" if "pole" in setting else "endpoints"
    return Orientation(f"{kind} {setting[kind]}", _of_circle(setting))


def frame_class(path: str) -> type[BaseCoordinateFrame]:
    """The frame class of an import path, or of a name in `gala.coordinates`.

    Raises:
        InputError: If it is not of astropy or gala and was not allowed, cannot be imported or is no frame.
    """
    module, _, name = path.rpartition(".")
    check_frame(f"{module or _GALA}.{name}")
    try:
        frame = getattr(importlib.import_module(module or _GALA), name)
    except (ImportError, AttributeError, ValueError) as error:
        advice = "give the import path of a frame; those of gala need: pip install 'stream_mapper[frames]'"
        raise InputError(f"frame {path!r} cannot be imported ({one_line(error)}); {advice}.") from error
    if not (isinstance(frame, type) and issubclass(frame, BaseCoordinateFrame)):
        raise InputError(f"frame {path!r} is {frame!r}; a frame class of astropy coordinates is needed.")
    return frame


def matrix_of_class(frame: type[BaseCoordinateFrame]) -> Values:
    """Rotation (3, 3) from ICRS to a frame, as the frame has it: some published matrices are one to 1e-8 only.

    Raises:
        InputError: If the frame is not a rotation of ICRS, for positions and for proper motions.
    """
    corners = np.array([[1, 1, 1], [-1, 2, -1], [1, -3, -2]])
    corners = corners / np.linalg.norm(corners, axis=1, keepdims=True)
    places, motions = _transform(frame, np.concatenate([np.eye(3), corners]))
    matrix = places[:3].T
    _, east, _ = directions(*np.deg2rad(place_of(corners)))
    differ = max(np.abs(places[3:] - corners @ matrix.T).max(), np.abs(motions[3:] - east @ matrix.T).max())
    if not _is_rotation(matrix) or not differ < _TOLERANCE:
        raise InputError(f"frame {frame.__name__} does not keep angles on the sky; give a rotation of ICRS.")
    return matrix


def _of_track(setting: Mapping[str, Any]) -> Orientation:
    track = stream_track(str(setting["track"]), setting.get("tracks"))
    pole, middle = towards(track.pole), towards(track.middle)
    matrix = matrix_of_meridian(pole, track.middle[0])
    if matrix[0] @ middle < 0:
        matrix = matrix * np.array([[-1], [-1], [1]])
    return Orientation(track.name, matrix)


def _of_circle(setting: Mapping[str, Any]) -> Values:
    """Matrix of a frame given by a pole or two endpoints."""
    if "ra0" in setting and "origin" in setting:
        raise InputError(f"frame: ra0 and origin are both given in {dict(setting)}; give one of them.")
    if "pole" in setting:
        pole, middle = towards(setting["pole"]), None
    else:
        first, second = map(towards, _two(setting["endpoints"]))
        pole, middle = pole_between(first, second), first + second
    if "ra0" in setting:
        return matrix_of_meridian(pole, setting["ra0"])
    origin = towards(setting["origin"]) if "origin" in setting else middle
    if origin is None:
        raise InputError("frame: a pole alone leaves open where phi1 is zero; give ra0 or origin, too.")
    return matrix_of(pole, origin)


def _two(endpoints: Any) -> tuple[Any, Any]:
    if not isinstance(endpoints, list | tuple) or len(endpoints) != 2:
        raise InputError(f"frame: endpoints {endpoints}; give two, [[ra, dec], [ra, dec]] in deg.")
    return endpoints[0], endpoints[1]


def _checked(matrix: Any) -> Values:
    try:
        numbers = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if numbers.shape != (3, 3) or not _is_rotation(numbers):
        raise InputError(f"frame: matrix {matrix} is no rotation; its rows are the axes in ICRS.")
    return numbers


def _is_rotation(matrix: Values) -> bool:
    return bool(np.abs(matrix @ matrix.T - np.eye(3)).max() < _TOLERANCE and np.linalg.det(matrix) > 0)


def _transform(frame: type[BaseCoordinateFrame], places: Values) -> tuple[Values, Values]:
    """Vectors [kpc] in a frame, and what becomes there of velocities of 1 mas/yr to the east, shape (N, 3) each."""
    lon, lat = place_of(places)
    ones, mas, km = np.ones(lon.shape), units.mas / units.yr, units.km / units.s
    motion = {"pm_ra_cosdec": ones * mas, "pm_dec": 0 * ones * mas, "radial_velocity": 0 * ones * km}
    try:
        there = SkyCoord(lon * units.deg, lat * units.deg, ones * units.kpc, **motion).transform_to(frame())
        cartesian = there.cartesian
        velocity = cartesian.differentials["s"].d_xyz
    except Exception as error:  # whatever the frame's own code raises
        raise InputError(
            f"frame {frame.__name__} cannot be used: {one_line(error)}; give a rotation of ICRS."
        ) from error
    return cartesian.xyz.to_value("kpc").T, velocity.to_value("km / s").T / SPEED
