"""Stream coordinates: positions, proper motions and their errors rotated into the frame of a stream."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy import units
from astropy.coordinates import (
    BaseCoordinateFrame,
    SkyCoord,
    UnitSphericalCosLatDifferential,
    UnitSphericalRepresentation,
)
from astropy.table import Column as TableColumn
from astropy.table import Table
from numpy.typing import NDArray

from stream_mapper.catalog.columns import (
    Column,
    ColumnReader,
    Errors,
    Values,
    approximate_errors,
)
from stream_mapper.catalog.io import one_line
from stream_mapper.catalog.schema import default_unit, find_column
from stream_mapper.errors import InputError

logger = logging.getLogger("stream_mapper")

PROPER_MOTION = ("pmra", "pmdec")
CORRELATION = "pm_phi1_pm_phi2_corr"


class SkyFrame:
    """The frame of a stream, and where a table holds what is rotated into it.

        >>> SkyFrame("gala.coordinates.GD1Koposov10").frame
        'gala.coordinates.GD1Koposov10'

    Arguments:
        frame: Import path of an astropy frame class; it has to be a rotation of ICRS.
        ra, dec: Columns of the ICRS position.
        pmra, pmdec: Columns of the proper motion, ``pmra`` with cos(dec); the table may lack them.
        pm_corr: Correlation of the errors of ``pmra`` and ``pmdec`` for stars without ``pmra_pmdec_corr``.

    Raises:
        InputError: If ``pm_corr`` is not in -1..1.
    """

    def __init__(
        self,
        frame: str = "gala.coordinates.GD1Koposov10",
        ra: str = "ra",
        dec: str = "dec",
        pmra: str = "pmra",
        pmdec: str = "pmdec",
        *,
        pm_corr: float = 0.0,
    ) -> None:
        if not -1 <= pm_corr <= 1:
            raise InputError(f"pm_corr = {pm_corr}; a correlation is in -1..1.")
        self.frame = frame
        self.names = {"ra": ra, "dec": dec, "pmra": pmra, "pmdec": pmdec}
        self.pm_corr = pm_corr

    def add_stream_coordinates(self, table: Table, errors: Errors | None = None, path: str = "table") -> Table:
        """A copy of the table with phi1 in -180..180 and phi2 [deg], ``pm_angle`` [rad], and what else can be rotated.

        ``pm_angle`` is the angle theta from the axes of the stream to those of the catalogue at each star: pmra =
        cos(theta) pm_phi1 - sin(theta) pm_phi2 and pmdec = sin(theta) pm_phi1 + cos(theta) pm_phi2.

        With proper motions: ``pm_phi1`` (cos(phi2) included), ``pm_phi2`` [mas/yr]. With their errors, found in the
        table or given: ``pm_phi1_err``, ``pm_phi2_err`` [mas/yr] and ``pm_phi1_pm_phi2_corr``.

        Arguments:
            table: N stars; columns of the same names are replaced in the copy.
            errors: Errors of ``pmra`` and ``pmdec`` that the table lacks, see `to_data`.
            path: What messages call the table.

        Raises:
            InputError: If a column is missing or unusable, or the frame is not a rotation of ICRS.
        """
        reader = ColumnReader(table, path)
        found = self._find(reader)
        position = {name: reader.values(name, found[name]) for name in ("ra", "dec")}
        _refuse_latitude(position["dec"], path)
        phi1, phi2, rotation = rotate(frame_class(self.frame), position["ra"], position["dec"])
        added = {"phi1": phi1, "phi2": phi2, "pm_angle": angle_of(rotation)}
        if set(PROPER_MOTION) <= set(found):
            motion = np.stack([reader.values(name, found[name]) for name in PROPER_MOTION], axis=-1)
            added["pm_phi1"], added["pm_phi2"] = np.einsum("nij,nj->in", rotation, motion)
            added |= self._errors(reader, found, errors or {}, rotation)
        reader.log_assumed()
        return _with_columns(table, added, path)

    def columns(self, names: Sequence[str]) -> dict[str, str]:
        """Columns of a table of these names that are rotated, by internal name, whether they are there or not."""
        asked = {**self.names, **{f"{name}_err": f"{self.names[name]}_err" for name in PROPER_MOTION}}
        asked["pmra_pmdec_corr"] = "pmra_pmdec_corr"
        return {name: find_column(spelt, names) or spelt for name, spelt in asked.items()}

    def _find(self, reader: ColumnReader) -> dict[str, Column]:
        """Columns by internal name: the position, and the proper motion with errors where the table has them."""
        columns = self.columns(reader.names)
        return reader.find(columns, [name for name in columns if name not in ("ra", "dec")])

    def _errors(
        self, reader: ColumnReader, found: dict[str, Column], errors: Errors, rotation: Values
    ) -> dict[str, Values]:
        """Errors of the rotated proper motion, none if the table has none."""
        rules = {name: errors[name] for name in PROPER_MOTION if name in errors}
        sigma = approximate_errors(reader, rules, found, PROPER_MOTION)
        names = [f"{name}_err" for name in PROPER_MOTION]
        sigma |= {name: reader.values(name, found[name]) for name in names if name in found}
        if len(sigma) == 1:
            logger.warning("%s: only %s is there; proper-motion errors need both.", reader.path, list(sigma))
        if len(sigma) < 2:
            return {}
        return rotate_errors(rotation, sigma[names[0]], sigma[names[1]], self._correlation(reader, found))

    def _correlation(self, reader: ColumnReader, found: dict[str, Column]) -> Values:
        """Correlation of pmra and pmdec, the constant where a star has none, shape (N,)."""
        name = "pmra_pmdec_corr"
        if name not in found:
            return np.full(len(reader.table), self.pm_corr)
        values = reader.values(name, found[name])
        if (np.abs(values) > 1).any():
            largest = np.nanmax(np.abs(values))
            raise InputError(f"{reader.path}: {found[name].column!r} reaches {largest}; a correlation is in -1..1.")
        return np.where(np.isnan(values), self.pm_corr, values)


def frame_class(path: str) -> type[BaseCoordinateFrame]:
    """The frame class of an import path.

    Raises:
        InputError: If it cannot be imported or is no frame.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        wish = "give the import path of a frame; those of gala need: pip install 'stream_mapper[frames]'"
        raise InputError(f"frame {path!r} cannot be imported ({one_line(error)}); {wish}.") from error
    if not (isinstance(found, type) and issubclass(found, BaseCoordinateFrame)):
        raise InputError(f"frame {path!r} is {found!r}; a frame class of astropy coordinates is needed.")
    return found


def rotate(frame: type[BaseCoordinateFrame], ra: Values, dec: Values) -> tuple[Values, Values, Values]:
    """Positions in a frame, and how directions on the sky turn there; exact, from the images of east and north.

    Arguments:
        frame: A rotation of ICRS.
        ra: Right ascensions [deg], shape (N,).
        dec: Declinations [deg], shape (N,).

    Returns:
        phi1 in -180..180 and phi2 [deg], shape (N,), and the rotation of (pmra, pmdec), shape (N, 2, 2).

    Raises:
        InputError: If the frame is not a rotation of ICRS.
    """
    ones, zeros = np.ones(ra.shape), np.zeros(ra.shape)
    phi1, phi2, east = _transform(frame, ra, dec, ones, zeros)
    _, _, north = _transform(frame, ra, dec, zeros, ones)
    rotation = np.stack([east, north], axis=-1)
    product = np.einsum("nij,nik->njk", rotation, rotation)
    mirrored = east[:, 0] * north[:, 1] < east[:, 1] * north[:, 0]
    if (np.abs(product - np.eye(2)) > 1e-6).any() or mirrored.any():
        raise InputError(f"frame {frame.__name__} does not keep angles on the sky; a rotation of ICRS is needed.")
    return phi1, phi2, rotation / np.linalg.norm(rotation, axis=1, keepdims=True)


def angle_of(rotation: Values) -> Values:
    """Angle [rad] from the axes of the stream to those of the catalogue, shape (N,), from `rotate`'s rotation."""
    return np.arctan2(rotation[:, 0, 1], rotation[:, 0, 0])


def rotate_errors(rotation: Values, sigma_ra: Values, sigma_dec: Values, correlation: Values) -> dict[str, Values]:
    """Errors and correlation of the rotated proper motion: R C R^T.

    Arguments:
        rotation: From `rotate`, shape (N, 2, 2).
        sigma_ra: Errors of pmra [mas/yr], shape (N,).
        sigma_dec: Errors of pmdec [mas/yr], shape (N,).
        correlation: Their correlation, shape (N,).

    Returns:
        ``pm_phi1_err``, ``pm_phi2_err`` [mas/yr] and ``pm_phi1_pm_phi2_corr``, shape (N,).
    """
    cross = correlation * sigma_ra * sigma_dec
    matrix = np.stack([np.stack([sigma_ra**2, cross], -1), np.stack([cross, sigma_dec**2], -1)], -1)
    rotated = rotation @ matrix @ rotation.transpose(0, 2, 1)
    err1, err2 = (np.sqrt(np.maximum(rotated[:, i, i], 0)) for i in (0, 1))
    scale = err1 * err2
    corr = np.divide(rotated[:, 0, 1], scale, out=scale.copy(), where=~(scale == 0))
    return {"pm_phi1_err": err1, "pm_phi2_err": err2, CORRELATION: corr.clip(-1, 1)}


def _transform(frame: type[BaseCoordinateFrame], ra: Values, dec: Values, pm_ra: Values, pm_dec: Values) -> Any:
    """Longitude and latitude [deg], shape (N,), and proper motion, shape (N, 2), in a frame."""
    speed = units.mas / units.yr
    try:
        motion = {"pm_ra_cosdec": pm_ra * speed, "pm_dec": pm_dec * speed}
        stars = SkyCoord(ra * units.deg, dec * units.deg, **motion, frame="icrs").transform_to(frame())
        turned = stars.frame.represent_as(UnitSphericalRepresentation, s=UnitSphericalCosLatDifferential)
    except Exception as error:  # whatever the frame's own code raises
        raise InputError(
            f"frame {frame.__name__} cannot be used: {one_line(error)}; give a rotation of ICRS."
        ) from error
    motion = turned.differentials["s"]
    out = np.stack([motion.d_lon_coslat.to_value(speed), motion.d_lat.to_value(speed)], axis=-1)
    return turned.lon.wrap_at(180 * units.deg).deg, turned.lat.deg, out


def _refuse_latitude(dec: NDArray[np.float64], path: str) -> None:
    if (np.abs(dec) > 90).any():
        raise InputError(f"{path}: declinations reach {np.nanmax(np.abs(dec))} deg; check the column and its unit.")


def _with_columns(table: Table, added: dict[str, Values], path: str) -> Table:
    """A copy of the table with columns added, in their default units."""
    if replaced := sorted(set(added) & set(table.colnames)):
        logger.warning("%s: columns %s are computed anew from the sky position.", path, replaced)
    out = table.copy(copy_data=False)
    for name, values in added.items():
        out[name] = TableColumn(values, name=name, unit=default_unit(name) or None)
    return out
