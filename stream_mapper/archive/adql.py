"""What is asked of the archive, in ADQL."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stream_mapper.archive.field import box
from stream_mapper.archive.services import CROSSMATCHES, GAIA, SPECTRA, CrossMatch, Service
from stream_mapper.errors import InputError

REQUIRED = ("source_id", "ra", "dec")

_VALUES = ("ra", "dec", "parallax", "pmra", "pmdec")
_ASTROMETRY = (
    *_VALUES,
    *(f"{name}_error" for name in _VALUES),
    *(f"{a}_{b}_corr" for i, a in enumerate(_VALUES) for b in _VALUES[i + 1 :]),
)
_PHOTOMETRY = tuple(f"phot_{band}_mean_{what}" for band in ("g", "bp", "rp") for what in ("mag", "flux_over_error"))
_COMMON = ("source_id", *_ASTROMETRY, *_PHOTOMETRY, "phot_bp_rp_excess_factor", "ecl_lat", "astrometric_params_solved")


_DR3 = (*_COMMON, "nu_eff_used_in_astrometry", "pseudocolour", "ruwe")

CATALOGUES = {"gaiadr4.gaia_source": _DR3, "gaiadr3.gaia_source": _DR3, "gaiadr2.gaia_source": _COMMON}
"""Columns that are asked for by default, by catalogue. With flux over error the error of a magnitude is 2.5 / ln(10) /
(flux over error). Those of DR4 are those of DR3 until it is released."""


_NAME = re.compile(r"[A-Za-z_]\w*")
_QUALIFIED = re.compile(r"((gaia|xmatch|ps1|tmass|des|delve|desi)\.)?[A-Za-z_]\w*")

Bounds = tuple[float | None, float | None]


_BEYOND = 1e30  # less than NaN where that counts as the greatest number, and more than any value


class Request:
    """Columns, cuts and cross-match; a polygon makes a query of it.

    Arguments:
        catalogue: One of ``CATALOGUES``.
        columns: Its columns; those it has by default if left out. ``source_id``, ``ra`` and ``dec`` are always there.
        cuts: Column to its lowest and highest value, edges included, null for no limit. A star without a value is cut.
            Columns of other surveys are called ``ps1.g_mean_psf_mag`` and ``tmass.j_m``.
        where: A further condition in ADQL; the tables are called ``gaia``, ``xmatch``, and ``ps1``, ``tmass``, ``des``,
            ``delve`` and ``desi``.
        crossmatch: One of ``CROSSMATCHES``, the photometry of whose match is added, where there is one.
        spectra: One of ``SPECTRA``, whose radial velocity and [Fe/H] are added, where there are such.

    Raises:
        InputError: If the catalogue is unknown, a name is none, bounds are not in order, or no service has all that is
            asked for.
    """

    def __init__(
        self,
        catalogue: str = "gaiadr3.gaia_source",
        columns: Sequence[str] | None = None,
        cuts: Mapping[str, Bounds] | None = None,
        where: str | None = None,
        *,
        crossmatch: str | None = None,
        spectra: str | None = None,
    ) -> None:
        if catalogue not in CATALOGUES:
            raise InputError(f"catalogue {catalogue!r} is unknown; use one of {', '.join(CATALOGUES)}.")
        asked = CATALOGUES[catalogue] if columns is None else tuple(columns)
        if strange := [name for name in asked if not _NAME.fullmatch(name)]:
            raise InputError(f"columns {strange} are no names of columns; give those of {catalogue}.")
        self.joined = [
            *_known("crossmatch", crossmatch, CROSSMATCHES),
            *_known("spectra", spectra, SPECTRA),
        ]
        self.catalogue, self.service = catalogue, _service(catalogue, self.joined)
        self.columns = tuple(dict.fromkeys((*REQUIRED, *asked)))
        self.conditions = [self._condition(name, bounds) for name, bounds in (cuts or {}).items()]
        self.conditions += [_free(where)] if where else []

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of the answer."""
        return (*self.columns, *(name for one in self.joined for name in one.names))

    def adql(self, polygon: NDArray[np.float64]) -> str:
        """The query for the stars in a polygon, given by ra and dec [deg] of its corners, shape (V, 2)."""
        conditions = "\n  AND ".join([self._inside(polygon), *self.conditions])
        return f"SELECT {self._selected()}\nFROM {self._tables()}\nWHERE {conditions}"

    def _inside(self, polygon: NDArray[np.float64]) -> str:
        """The polygon, or the box around it for a service that knows no polygons."""
        if not self.service.geometry:
            return _in_box(*box(polygon))
        corners = ",\n    ".join(f"{ra:.8f}, {dec:.8f}" for ra, dec in polygon)
        return f"1 = CONTAINS(POINT('ICRS', gaia.ra, gaia.dec), POLYGON('ICRS',\n    {corners}))"

    def _selected(self) -> str:
        names = [f"gaia.{name}" for name in self.columns]
        return ",\n  ".join([*names, *(name for one in self.joined for name in one.selected)])

    def _tables(self) -> str:
        """The catalogue, and what is joined to it."""
        joined = [table for one in self.joined for table in one.tables(self.catalogue)]
        return "\n  ".join([f"{self.service.tables.get(self.catalogue, self.catalogue)} AS gaia", *joined])

    def _condition(self, name: str, bounds: Bounds) -> str:
        """A cut in ADQL."""
        if not _QUALIFIED.fullmatch(name):
            raise InputError(f"cuts: {name!r} is no name of a column; write other conditions in 'where'.")
        low, high = _checked(name, bounds)
        spelt = name if "." in name else f"gaia.{name}"
        if high is None and self.service.nan:
            high = _BEYOND
        if low is not None and high is not None:
            return f"{spelt} BETWEEN {low:.12g} AND {high:.12g}"
        return f"{spelt} >= {low:.12g}" if low is not None else f"{spelt} <= {high:.12g}"


def _checked(name: str, bounds: Bounds) -> Bounds:
    """The bounds of a cut.

    Raises:
        InputError: If there is none, or they are not in order.
    """
    low, high = bounds
    given = [bound for bound in bounds if bound is not None]
    if not given or not all(map(math.isfinite, given)) or given != sorted(given):
        raise InputError(f"cuts: {name} has the bounds {list(bounds)}; give a lower and a higher one, null for none.")
    return low, high


def _known(option: str, name: str | None, there: Mapping[str, CrossMatch]) -> list[CrossMatch]:
    """The survey of a name, if one is given.

    Raises:
        InputError: If it is unknown.
    """
    if name is None:
        return []
    if name not in there:
        raise InputError(f"{option} {name!r} is unknown; use one of {', '.join(there)}.")
    return [there[name]]


def _service(catalogue: str, joined: Sequence[CrossMatch]) -> Service:
    """The one service that has a catalogue and all that is joined to it.

    Raises:
        InputError: If there is none.
    """
    services = list(dict.fromkeys(one.service.name for one in joined))
    if len(services) > 1:
        told = " and ".join(f"{one.alias} is at {one.service.name}" for one in joined)
        raise InputError(f"{told}: no service can join both; leave one out and join it by source_id yourself.")
    service = joined[0].service if joined else GAIA
    if service.tables and catalogue not in service.tables:
        raise InputError(f"{joined[0].alias} is at {service.name}, which has {', '.join(service.tables)} alone.")
    return service


def _in_box(ra: tuple[float, float], dec: tuple[float, float]) -> str:
    """The condition of a box on the sky, whose ra may begin at a higher value than it ends with."""
    heights = f"gaia.dec BETWEEN {dec[0]:.8f} AND {dec[1]:.8f}"
    if ra[0] <= ra[1]:
        return f"gaia.ra BETWEEN {ra[0]:.8f} AND {ra[1]:.8f}\n  AND {heights}"
    return f"(gaia.ra >= {ra[0]:.8f} OR gaia.ra <= {ra[1]:.8f})\n  AND {heights}"


def _free(where: str) -> str:
    """A condition that the user wrote, on one line."""
    if "--" in where or ";" in where or not where.strip():
        raise InputError(f"where: {where!r} is no condition; give one without comments and semicolons.")
    return f"({' '.join(where.split())})"
