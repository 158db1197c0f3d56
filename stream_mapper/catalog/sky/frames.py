"""Stream coordinates: positions, proper motions and their errors rotated into the frame of a stream."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from astropy.table import Column as TableColumn
from astropy.table import Table
from numpy.typing import NDArray

from stream_mapper.catalog.columns import Column, ColumnReader, Errors, Values, approximate_errors
from stream_mapper.catalog.schema import default_unit, find_column
from stream_mapper.catalog.sky.orientation import FrameOfTrack, Orientation, check_setting, orientation
from stream_mapper.catalog.sky.reflex import Reflex
from stream_mapper.catalog.sky.rotation import angle_of, rotate, rotate_correlations, rotate_errors
from stream_mapper.errors import InputError

logger = logging.getLogger("stream_mapper")

PROPER_MOTION = ("pmra", "pmdec")
PARALLAX_CORRELATIONS = ("parallax_pmra_corr", "parallax_pmdec_corr")
_REFLEX = "_reflex"


class SkyFrame:
    """The frame of a stream, and where a table holds what is rotated into it.

        >>> SkyFrame({"pole": [34.6, 29.7], "ra0": 200}).metadata()["pole"]
        [34.6, 29.7]

    Arguments:
        frame: Name of a frame of gala, import path of a frame class, a track of galstreams ``{track: GD-1-I21}``, a
            pole ``{pole: [ra, dec], ra0: degrees}`` or two endpoints ``{endpoints: [[ra, dec], [ra, dec]]}``; see
            :func:`stream_mapper.catalog.sky.orientation.orientation`. It has to be a rotation of ICRS.
        ra, dec: Columns of the ICRS position.
        pmra, pmdec: Columns of the proper motion, ``pmra`` with cos(dec); the table may lack them.
        pm_corr: Correlation of the errors of ``pmra`` and ``pmdec`` for stars without ``pmra_pmdec_corr``.
        reflex: The motion of the Sun and the distance of the stream. Proper motions freed of it are added under names
            of their own, ``pm_phi1_reflex`` and so on.

    Raises:
        InputError: If ``pm_corr`` is not in -1..1, or the frame is not given as one of these.
    """

    def __init__(
        self,
        frame: str | FrameOfTrack | dict[str, Any] = "gala.coordinates.GD1Koposov10",
        ra: str = "ra",
        dec: str = "dec",
        pmra: str = "pmra",
        pmdec: str = "pmdec",
        *,
        pm_corr: float = 0.0,
        reflex: Reflex | None = None,
    ) -> None:
        if not -1 <= pm_corr <= 1:
            raise InputError(f"pm_corr = {pm_corr}; a correlation is in -1..1.")
        check_setting(frame)
        self.frame = frame
        self.names = {"ra": ra, "dec": dec, "pmra": pmra, "pmdec": pmdec}
        self.pm_corr = pm_corr
        self.reflex = Reflex(**reflex) if isinstance(reflex, Mapping) else reflex

    @cached_property
    def orientation(self) -> Orientation:
        """Name and rotation matrix of the frame.

        Raises:
            InputError: If the frame cannot be found or is not a rotation of ICRS.
        """
        return orientation(self.frame)

    def metadata(self) -> dict[str, Any]:
        """What every output says of its frame, in plain numbers and text.

        ``matrix`` has the unit vectors of the frame's axes in ICRS as its rows; ``origin`` and ``pole`` are (ra, dec)
        [deg] of the first and the last. ``reflex`` has the distances [kpc] and the motion of the Sun, if it is used.
        """
        frame = self.orientation
        out: dict[str, Any] = {"name": frame.name, "matrix": frame.matrix.tolist()}
        out |= {"origin": _rounded(frame.axis(0)), "pole": _rounded(frame.axis(2))}
        return out | ({"reflex": self.reflex.settings(frame)} if self.reflex else {})

    def settings(self) -> dict[str, Any]:
        """Arguments that make this frame again, with nothing left to import or to read from other files."""
        frame = self.orientation
        reflex = self.reflex.settings(frame) if self.reflex else None
        plain = {"frame": {"matrix": frame.matrix.tolist(), "name": frame.name}}
        return {**plain, **self.names, "pm_corr": self.pm_corr, "reflex": reflex}

    def add_stream_coordinates(self, table: Table, errors: Errors | None = None, path: str = "table") -> Table:
        """A copy of the table with phi1 in -180..180 and phi2 [deg], ``pm_angle`` [rad], and what else can be rotated.

        ``pm_angle`` is the angle theta from the axes of the stream to those of the catalogue at each star: pmra =
        cos(theta) pm_phi1 - sin(theta) pm_phi2 and pmdec = sin(theta) pm_phi1 + cos(theta) pm_phi2.

        With proper motions: ``pm_phi1`` (cos(phi2) included), ``pm_phi2`` [mas/yr]. With their errors, found in the
        table or given: ``pm_phi1_err``, ``pm_phi2_err`` [mas/yr] and ``pm_phi1_pm_phi2_corr``; with the correlations of
        Gaia's parallaxes, too, ``parallax_pm_phi1_corr`` and ``parallax_pm_phi2_corr``. With ``reflex`` all of these
        once more for ``pm_phi1_reflex`` and ``pm_phi2_reflex``; the errors are the same, the distance counts as known.

        The frame's `metadata` is added to those of the table as ``frame``.

        Arguments:
            table: N stars; columns of the same names are replaced in the copy.
            errors: Errors of ``pmra`` and ``pmdec`` that the table lacks, see `to_data`.
            path: What messages call the table.

        Raises:
            InputError: If a column is missing or unusable, or the frame is not a rotation of ICRS.
        """
        reader = ColumnReader(table, path)
        sources = self._find(reader)
        position = {name: reader.values(name, sources[name]) for name in ("ra", "dec")}
        _refuse_latitude(position["dec"], path)
        phi1, phi2, rotation = rotate(self.orientation.matrix, position["ra"], position["dec"])
        added = {"phi1": phi1, "phi2": phi2, "pm_angle": angle_of(rotation)}
        if set(PROPER_MOTION) <= set(sources):
            motion = np.stack([reader.values(name, sources[name]) for name in PROPER_MOTION], axis=-1)
            added["pm_phi1"], added["pm_phi2"] = np.einsum("nij,nj->in", rotation, motion)
            added |= self._errors(reader, sources, errors or {}, rotation)
            added |= self._without_sun(added)
        reader.log_assumed()
        out = _with_columns(table, added, path)
        out.meta["frame"] = self.metadata()
        return out

    def columns(self, names: Sequence[str]) -> dict[str, str]:
        """Columns of a table of these names that are rotated, by internal name, whether they are there or not."""
        asked = {**self.names, **{f"{name}_err": f"{self.names[name]}_err" for name in PROPER_MOTION}}
        asked |= {name: name for name in ("pmra_pmdec_corr", *PARALLAX_CORRELATIONS)}
        return {name: find_column(spelt, names) or spelt for name, spelt in asked.items()}

    def _find(self, reader: ColumnReader) -> dict[str, Column]:
        """Columns by internal name: the position, and the proper motion with errors where the table has them."""
        columns = self.columns(reader.names)
        return reader.find(columns, [name for name in columns if name not in ("ra", "dec")])

    def _errors(
        self, reader: ColumnReader, sources: dict[str, Column], errors: Errors, rotation: Values
    ) -> dict[str, Values]:
        """Errors of the rotated proper motion, none if the table has none."""
        rules = {name: errors[name] for name in PROPER_MOTION if name in errors}
        sigma = approximate_errors(reader, rules, sources, PROPER_MOTION)
        names = [f"{name}_err" for name in PROPER_MOTION]
        sigma |= {name: reader.values(name, sources[name]) for name in names if name in sources}
        if len(sigma) == 1:
            logger.warning("%s: only %s is there; proper-motion errors need both.", reader.path, list(sigma))
        if len(sigma) < 2:
            return {}
        sigmas = sigma[names[0]], sigma[names[1]]
        corr = _correlation(reader, sources, "pmra_pmdec_corr", self.pm_corr)
        err1, err2, turned = rotate_errors(rotation, *sigmas, corr)
        out = {"pm_phi1_err": err1, "pm_phi2_err": err2, "pm_phi1_pm_phi2_corr": turned}
        if set(PARALLAX_CORRELATIONS) <= set(sources):
            first, second = (_correlation(reader, sources, name, np.nan) for name in PARALLAX_CORRELATIONS)
            both = rotate_correlations(rotation, sigmas, (first, second), (err1, err2))
            out["parallax_pm_phi1_corr"], out["parallax_pm_phi2_corr"] = both
        return out

    def _without_sun(self, rotated: dict[str, Values]) -> dict[str, Values]:
        """The rotated proper motions, freed of the motion of the Sun, and their errors; nothing without ``reflex``."""
        if self.reflex is None:
            return {}
        shift = self.reflex.shift(self.orientation, rotated["phi1"], rotated["phi2"]).T
        out = {with_reflex(name): values for name, values in rotated.items() if name.endswith(("_err", "_corr"))}
        for name, added in zip(("pm_phi1", "pm_phi2"), shift, strict=True):
            out[with_reflex(name)] = rotated[name] + added
        return out


def with_reflex(name: str) -> str:
    """Name of a column of proper motions that are freed of the motion of the Sun.

    >>> with_reflex("pm_phi1_pm_phi2_corr")
    'pm_phi1_reflex_pm_phi2_reflex_corr'
    """
    return name.replace("pm_phi1", f"pm_phi1{_REFLEX}").replace("pm_phi2", f"pm_phi2{_REFLEX}")


def _correlation(reader: ColumnReader, sources: Mapping[str, Column], name: str, instead: float) -> Values:
    """A correlation, the constant where a star has none, shape (N,)."""
    if name not in sources:
        return np.full(len(reader.table), instead)
    values = reader.values(name, sources[name])
    return np.where(np.isnan(values), instead, values)


def _rounded(place: Sequence[float]) -> list[float]:
    """Degrees to the tenth decimal: a matrix gives them back no better."""
    return [round(number, 10) for number in place]


def _refuse_latitude(dec: NDArray[np.float64], path: str) -> None:
    if (np.abs(dec) > 90).any():
        raise InputError(f"{path}: declinations reach {np.nanmax(np.abs(dec))} deg; check the column and its unit.")


def _agree(column: Any, values: Values) -> bool:
    """Whether a column of a table says the same as what is computed, to single precision."""
    given = np.ma.asarray(column)
    numbers = given.filled(np.nan) if given.dtype.kind == "f" else None
    return numbers is not None and bool(np.allclose(numbers, values, rtol=1e-5, atol=1e-4, equal_nan=True))


def _with_columns(table: Table, added: dict[str, Values], path: str) -> Table:
    """A copy of the table with columns added, in their default units."""
    there = sorted(set(added) & set(table.colnames))
    if replaced := [name for name in there if not _agree(table[name], added[name])]:
        logger.warning("%s: columns %s are computed anew from the sky position.", path, replaced)
    out = table.copy(copy_data=False)
    for name, values in added.items():
        out[name] = TableColumn(values, name=name, unit=default_unit(name) or None)
    return out
