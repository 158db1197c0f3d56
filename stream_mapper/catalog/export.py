"""A track in the format of galstreams (Mateu 2023, MNRAS 520, 5225): ICRS points, and a summary with ends and pole."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy import units as u
from astropy.coordinates import (
    CartesianRepresentation,
    Distance,
    Latitude,
    Longitude,
    SkyCoord,
    UnitSphericalRepresentation,
)
from astropy.table import QTable
from numpy.typing import NDArray

from stream_mapper.catalog.sky.galstreams import STAND_INS

Array = NDArray[np.float64]

_PM = u.mas / u.yr


def to_icrs(matrix: Array, lon: Array, lat: Array, pm_lon: Array, pm_lat: Array) -> dict[str, Array]:
    """Positions [deg] and proper motions [mas/yr] of a rotated frame in ICRS, each (N,).

    Arguments:
        matrix: Unit vectors of the frame's axes in ICRS, one a row, shape (3, 3).
        lon: Longitude [deg].
        lat: Latitude [deg].
        pm_lon: Proper motion along it, with the cosine of the latitude [mas/yr].
        pm_lat: Proper motion across it [mas/yr].
    """
    place, along, across = _directions(np.radians(lon), np.radians(lat))
    x, y, z = (place @ matrix).T
    ra, dec = np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))
    _, east, north = _directions(ra, dec)
    motion = (pm_lon[:, None] * along + pm_lat[:, None] * across) @ matrix
    speed = {"pm_ra_cosdec": (motion * east).sum(-1), "pm_dec": (motion * north).sum(-1)}
    return {"ra": np.degrees(ra) % 360, "dec": np.degrees(dec), **speed}


def _directions(lon: Array, lat: Array) -> tuple[Array, Array, Array]:
    """Unit vectors (N, 3) of places [rad], and there of growing longitude and of growing latitude."""
    cos, sin, up, high = np.cos(lon), np.sin(lon), np.cos(lat), np.sin(lat)
    place = np.stack([up * cos, up * sin, high], -1)
    return place, np.stack([-sin, cos, 0 * lon], -1), np.stack([-high * cos, -high * sin, up], -1)


def galstreams_tables(
    matrix: Array, track: Mapping[str, Array], widths: Mapping[str, float], name: str, short: str
) -> tuple[QTable, QTable]:
    """The track and its summary, as the files ``track.st.*.ecsv`` and ``*.summary.ecsv`` hold them.

    What the track lacks is there as galstreams has it: zero for motions, 1 kpc for the distance; the flags
    (InfoFlags: track, distance, proper motion, radial velocity) are 0 for it. The mid-point is the point in the middle
    of the range of phi1; the pole is that of the great circle along the track there, about which phi1 increases.

    Arguments:
        matrix: Unit vectors of the axes of the track's frame in ICRS, one a row, shape (3, 3).
        track: G points in the order of phi1: ``phi1``, ``phi2`` [deg], and maybe ``pm_phi1``, ``pm_phi2`` [mas/yr],
            ``distance`` [kpc] and ``radial_velocity`` [km/s].
        widths: Intrinsic widths ``phi2`` [deg], ``pm_phi1``, ``pm_phi2`` [mas/yr]; those not known are 0.
        name: Name of the stream.
        short: Its short name.
    """
    none = np.zeros(len(track["phi1"]))
    moving, far, radial = {"pm_phi1", "pm_phi2"} <= track.keys(), "distance" in track, "radial_velocity" in track
    motion = (track["pm_phi1"], track["pm_phi2"]) if moving else (none, none)
    icrs = to_icrs(matrix, track["phi1"], track["phi2"], *motion)
    points = QTable(
        {
            "ra": Longitude(icrs["ra"], u.deg),
            "dec": Latitude(icrs["dec"], u.deg),
            "distance": Distance(track["distance"] if far else none + STAND_INS["distance"][0], u.kpc),
            "pm_ra_cosdec": (icrs["pm_ra_cosdec"] if moving else none) * _PM,
            "pm_dec": (icrs["pm_dec"] if moving else none) * _PM,
            "radial_velocity": (track["radial_velocity"] if radial else none) * u.km / u.s,
        }
    )
    flags = f"1{far:d}{moving:d}{radial:d}"
    return points, _summary(
        points, track["phi1"], widths, {"StreamName": name, "StreamShortName": short, "InfoFlags": flags}
    )


def _summary(points: QTable, phi1: Array, widths: Mapping[str, float], words: Mapping[str, str]) -> QTable:
    """One row: the names, both ends, the mid-point, the pole there and the widths."""
    middle = int(np.abs(phi1 - (phi1[0] + phi1[-1]) / 2).argmin())
    summary = QTable({key: [word] for key, word in words.items()})
    for label, row in (("end_o", 0), ("end_f", len(points) - 1), ("mid", middle)):
        for column in points.colnames:
            summary[f"{label}.{column}"] = points[column][row : row + 1]
    pole = _pole(points, middle)
    summary["pole.ra"], summary["pole.dec"] = Longitude([pole.lon]), Latitude([pole.lat])
    summary["pole.distance"] = [1.0] * u.one
    summary["width_phi2"] = [widths.get("phi2", 0.0)] * u.deg
    summary["width_pm_phi1_cosphi2"] = [widths.get("pm_phi1", 0.0)] * _PM
    summary["width_pm_phi2"] = [widths.get("pm_phi2", 0.0)] * _PM
    return summary


def _pole(points: QTable, row: int) -> UnitSphericalRepresentation:
    """Pole of the great circle through the neighbours of a point."""
    xyz = SkyCoord(points["ra"], points["dec"]).cartesian.xyz.value
    before, after = xyz[:, max(row - 1, 0)], xyz[:, min(row + 1, len(points) - 1)]
    return CartesianRepresentation(np.cross(before, after)).represent_as(UnitSphericalRepresentation)
