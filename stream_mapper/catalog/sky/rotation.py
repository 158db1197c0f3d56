"""Rotations of the sky: their matrices, and what they do to positions, proper motions and the errors of these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream_mapper.catalog.columns import Values
from stream_mapper.errors import InputError

_SMALL = 1e-8  # below this a vector has no direction


def directions(lon: Values, lat: Values) -> tuple[Values, Values, Values]:
    """Unit vectors towards places on the sky, and of east and north there.

    Arguments:
        lon: Longitudes [rad], shape (...).
        lat: Latitudes [rad], shape (...).

    Returns:
        Three arrays of shape (..., 3).
    """
    cos_lon, sin_lon, cos_lat, sin_lat = np.cos(lon), np.sin(lon), np.cos(lat), np.sin(lat)
    place = np.stack([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat], axis=-1)
    east = np.stack([-sin_lon, cos_lon, np.zeros_like(cos_lat * sin_lon)], axis=-1)
    north = np.stack([-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat * np.ones_like(cos_lon)], axis=-1)
    return place, east, north


def towards(place: Sequence[float]) -> Values:
    """Unit vector towards (longitude, latitude) in deg.

    Raises:
        InputError: If that is no place on the sky.
    """
    try:
        numbers = np.asarray(place, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if numbers.shape != (2,) or not (np.abs(numbers) <= (360, 90)).all():
        raise InputError(f"{place} is no place on the sky; give [ra, dec] in deg.")
    return directions(*np.deg2rad(numbers))[0]


def place_of(vector: Values) -> tuple[Values, Values]:
    """Longitude in -180..180 and latitude [deg] of vectors (..., 3)."""
    x, y, z = np.moveaxis(vector, -1, 0)
    return np.rad2deg(np.arctan2(y, x)), np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def matrix_of(pole: Values, origin: Values) -> Values:
    """Matrix (3, 3) of the rotation to the frame with this pole and, as its origin, the place next to ``origin``.

    Raises:
        InputError: If the pole and the origin are in line.
    """
    second = np.cross(pole, origin)
    if np.linalg.norm(second) < _SMALL:
        raise InputError("the origin is at a pole of the frame, or there is no pole; give an origin on its equator.")
    second = second / np.linalg.norm(second)
    return np.stack([np.cross(second, pole), second, pole])


def matrix_of_meridian(pole: Values, ra0: float) -> Values:
    """Matrix of the frame with this pole whose equator has longitude zero at right ascension ``ra0`` [deg].

    Raises:
        InputError: If all the equator, or none of it, has that right ascension.
    """
    lon = np.deg2rad(ra0)
    origin = np.cross(pole, [-np.sin(lon), np.cos(lon), 0.0])
    if np.linalg.norm(origin) < _SMALL or abs(pole[2]) < _SMALL:
        raise InputError(f"the great circle runs along a meridian, so ra0 = {ra0} has no place on it; give an origin.")
    ahead = origin @ [np.cos(lon), np.sin(lon), 0.0] > 0
    return matrix_of(pole, origin if ahead else -origin)


def pole_between(first: Values, second: Values) -> Values:
    """Pole of the great circle through two places, which runs from the first to the second.

    Raises:
        InputError: If they are one place, or opposite.
    """
    pole = np.cross(first, second)
    if np.linalg.norm(pole) < _SMALL:
        raise InputError("the two endpoints are one place, or opposite; no single great circle goes through them.")
    return pole / np.linalg.norm(pole)


def rotate(matrix: Values, ra: Values, dec: Values) -> tuple[Values, Values, Values]:
    """Positions in a frame, and how directions on the sky turn there.

    Arguments:
        matrix: Rotation from ICRS, shape (3, 3).
        ra: Right ascensions [deg], shape (N,).
        dec: Declinations [deg], shape (N,).

    Returns:
        phi1 in -180..180 and phi2 [deg], shape (N,), and the rotation of (pmra, pmdec), shape (N, 2, 2).
    """
    place, east, north = directions(np.deg2rad(ra), np.deg2rad(dec))
    turned = place @ matrix.T
    phi1, phi2 = place_of(turned)
    _, along, across = directions(np.deg2rad(phi1), np.deg2rad(phi2))
    here = np.stack([east, north], axis=1) @ matrix.T
    there = np.stack([along, across], axis=1)
    length = np.linalg.norm(turned, axis=-1)[:, None, None]  # one, but for a matrix that is a rotation to 1e-8
    return phi1, phi2, there @ here.transpose(0, 2, 1) / length


def angle_of(rotation: Values) -> Values:
    """Angle [rad] from the axes of the stream to those of the catalogue, shape (N,), from `rotate`'s rotation."""
    return np.arctan2(rotation[:, 0, 1], rotation[:, 0, 0])


def rotate_errors(
    rotation: Values, sigma_ra: Values, sigma_dec: Values, correlation: Values
) -> tuple[Values, Values, Values]:
    """Errors and correlation of the rotated proper motion, of the covariance R C R^T.

    C is the product of a matrix of two columns with its transpose; each error is the length of a row of the rotated
    matrix, so that no variance can be negative, whatever the rounding.

    Arguments:
        rotation: From `rotate`, shape (N, 2, 2).
        sigma_ra: Errors of pmra [mas/yr], shape (N,).
        sigma_dec: Errors of pmdec [mas/yr], shape (N,).
        correlation: Their correlation, in -1..1, shape (N,).

    Returns:
        The errors along phi1 and phi2 [mas/yr] and their correlation, 0 where an error is, shape (N,).
    """
    free = np.sqrt((1 - correlation) * (1 + correlation))
    first = rotation[:, :, 0] * sigma_ra[:, None] + rotation[:, :, 1] * (correlation * sigma_dec)[:, None]
    second = rotation[:, :, 1] * (free * sigma_dec)[:, None]
    err1, err2 = np.hypot(first, second).T
    cross = first[:, 0] * first[:, 1] + second[:, 0] * second[:, 1]
    return err1, err2, _ratio(cross, err1 * err2)


def rotate_correlations(
    rotation: Values, sigmas: tuple[Values, Values], correlations: tuple[Values, Values], errors: tuple[Values, Values]
) -> tuple[Values, Values]:
    """Correlations of another quantity's error with those of the rotated proper motion.

    Arguments:
        rotation: From `rotate`, shape (N, 2, 2).
        sigmas: Errors of pmra and pmdec, shape (N,).
        correlations: Those of the quantity with pmra and pmdec, shape (N,).
        errors: Those of the rotated proper motion, from `rotate_errors`.

    Returns:
        Correlations with the proper motion along phi1 and phi2, shape (N,).
    """
    cross = np.stack([corr * sigma for corr, sigma in zip(correlations, sigmas, strict=True)], axis=-1)
    turned = np.einsum("nij,nj->in", rotation, cross)
    return _ratio(turned[0], errors[0]), _ratio(turned[1], errors[1])


def _ratio(cross: Values, scale: Values) -> Values:
    """A correlation from a covariance and the product of the errors; 0 without errors."""
    return np.divide(cross, scale, out=np.where(scale == 0, 0.0, np.nan), where=scale > 0).clip(-1, 1)
