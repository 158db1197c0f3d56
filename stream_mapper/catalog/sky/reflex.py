"""Proper motions freed of the motion of the Sun, at distances given along the stream."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units
from astropy.coordinates import ICRS, CartesianRepresentation, Galactocentric

from stream_mapper.catalog.columns import Values
from stream_mapper.catalog.sky.galstreams import stream_track
from stream_mapper.catalog.sky.orientation import SPEED, Orientation
from stream_mapper.catalog.sky.rotation import directions, rotate
from stream_mapper.errors import InputError, check_positive

logger = logging.getLogger("stream_mapper")


@dataclass(frozen=True)
class Reflex:
    """The motion of the Sun, which is taken out of proper motions.

    The defaults are those of astropy's ``galactocentric_frame_defaults`` v4.0: the distance to the centre of the
    GRAVITY Collaboration (2018), the height of the Sun of Bennett & Bovy (2019) and its velocity of Drimmel & Poggio
    (2018).

    Arguments:
        distance: Distance of the stream [kpc]: a number; or ``{phi1: [...], distance: [...]}``, interpolated linearly
            and constant beyond; or ``{track: GD-1-I21}``, that of a track of galstreams, ``tracks`` being its folder.
        v_sun: Velocity of the Sun [km/s] towards the Galactic centre, along its rotation, and to the north.
        galcen_distance: Distance of the Sun to the Galactic centre [kpc].
        z_sun: Height of the Sun above the plane [pc].

    Raises:
        InputError: If a number is not one that it can be.
    """

    distance: float | dict[str, Any]
    v_sun: tuple[float, float, float] = (12.9, 245.6, 7.78)
    galcen_distance: float = 8.122
    z_sun: float = 20.8

    def __post_init__(self) -> None:
        check_positive("frame.reflex.galcen_distance", self.galcen_distance)
        if len(self.v_sun) != 3 or not np.isfinite([*self.v_sun, self.z_sun]).all():
            raise InputError(f"frame.reflex: v_sun = {self.v_sun}, z_sun = {self.z_sun}; give numbers, v_sun three.")
        if not isinstance(self.distance, Mapping):
            check_positive("frame.reflex.distance", self.distance)
        elif "track" not in self.distance:
            _checked(self.distance)

    def shift(self, frame: Orientation, phi1: Values, phi2: Values) -> Values:
        """What is to be added to the proper motions (pm_phi1, pm_phi2) [mas/yr], shape (N, 2).

        A star at rest in the Galaxy has mu = -v_sun / (k d) across the line of sight; the opposite is added.

        Raises:
            InputError: If the distances cannot be read.
        """
        _, along, across = directions(np.deg2rad(phi1), np.deg2rad(phi2))
        velocity = frame.matrix @ self.velocity_icrs()
        speed = np.stack([along, across], axis=1) @ velocity
        return speed / (SPEED * self.distance_at(frame, phi1))[:, None]

    def velocity_icrs(self) -> Values:
        """Velocity of the Sun [km/s] along the axes of ICRS, shape (3,)."""
        galaxy = Galactocentric(
            galcen_distance=self.galcen_distance * units.kpc,
            z_sun=self.z_sun * units.pc,
            galcen_v_sun=units.Quantity(self.v_sun, "km / s"),
        )
        points = CartesianRepresentation(np.concatenate([np.zeros((3, 1)), np.eye(3)], axis=1) * units.kpc)
        there = galaxy.realize_frame(points).transform_to(ICRS()).cartesian.xyz.to_value("kpc")
        return (there[:, 1:] - there[:, :1]) @ np.asarray(self.v_sun, dtype=np.float64)

    def distance_at(self, frame: Orientation, phi1: Values) -> Values:
        """Distances [kpc] at phi1 [deg], shape (N,)."""
        nodes, distance = self._nodes(frame)
        if len(nodes) > 1 and (outside := int(((phi1 < nodes[0]) | (phi1 > nodes[-1])).sum())):
            text = (
                "%d stars are outside phi1 %.4g to %.4g deg, where the distance of the reflex is given; its ends hold."
            )
            logger.warning(text, outside, nodes[0], nodes[-1])
        return np.where(np.isnan(phi1), np.nan, np.interp(phi1, nodes, distance))

    def settings(self, frame: Orientation) -> dict[str, Any]:
        """All of it as plain numbers, with nothing left to read."""
        nodes, distance = self._nodes(frame)
        table = {"phi1": nodes.tolist(), "distance": distance.tolist()}
        out: dict[str, Any] = {"distance": table if len(nodes) > 1 else float(distance[0])}
        return out | {"v_sun": [float(v) for v in self.v_sun], **self._galaxy()}

    def _galaxy(self) -> dict[str, float]:
        return {"galcen_distance": float(self.galcen_distance), "z_sun": float(self.z_sun)}

    def _nodes(self, frame: Orientation) -> tuple[Values, Values]:
        """phi1 and distance of the nodes, in order."""
        if not isinstance(self.distance, Mapping):
            return np.zeros(1), np.array([float(self.distance)])
        if "track" not in self.distance:
            return _checked(self.distance)
        track = stream_track(str(self.distance["track"]), self.distance.get("tracks"))
        if "distance" not in track.points:
            raise InputError(f"frame.reflex: the track {track.name} has no distances; give another, or numbers.")
        phi1, _, _ = rotate(frame.matrix, track.points["ra"], track.points["dec"])
        order = np.unique(phi1, return_index=True)[1]
        return phi1[order], track.points["distance"][order]


def _checked(table: Mapping[str, Any]) -> tuple[Values, Values]:
    """Nodes of a distance track, in the order of phi1."""
    if set(table) != {"phi1", "distance"}:
        advice = "give a number, {phi1: [...], distance: [...]} or {track: name}"
        raise InputError(f"frame.reflex.distance has {sorted(table)}; {advice}.")
    phi1, distance = (np.asarray(table[name], dtype=np.float64) for name in ("phi1", "distance"))
    fits = phi1.ndim == 1 and phi1.shape == distance.shape and len(phi1) > 0 and (np.diff(phi1) > 0).all()
    if not fits or not (np.isfinite(phi1).all() and np.isfinite(distance).all() and (distance > 0).all()):
        raise InputError("frame.reflex.distance: phi1 has to grow, with one distance above zero for each.")
    return phi1, distance
