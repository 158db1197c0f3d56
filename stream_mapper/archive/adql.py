"""What is asked of the archive, in ADQL."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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


class CrossMatch(NamedTuple):
    """Photometry of another survey, for the stars that Gaia's table of best neighbours has there.

    Arguments:
        table: The survey's own table.
        alias: What a query calls it.
        magnitudes: Its columns.
        neighbour: Columns of the table of best neighbours, ``xmatch``.
        joins: Tables to join, each with its condition, for a release such as ``gaiadr3``; ``{release}`` is its name.
            A best neighbour is one row a source, and its identifier one row of the survey.
        releases: The same for those releases whose tables have other columns.
    """

    table: str
    alias: str
    magnitudes: tuple[str, ...]
    neighbour: tuple[str, ...]
    joins: tuple[str, ...]
    releases: Mapping[str, tuple[str, ...]] = MappingProxyType({})

    def tables(self, catalogue: str) -> list[str]:
        """What a query of a catalogue joins."""
        release = catalogue.partition(".")[0]
        return [f"LEFT OUTER JOIN {one.format(release=release)}" for one in self.releases.get(release, self.joins)]


_NEIGHBOUR = ("original_ext_source_id", "angular_distance", "number_of_neighbours", "number_of_mates")
_PS1, _2MASS = "gaiadr2.panstarrs1_original_valid", "gaiadr1.tmass_original_valid"

CROSSMATCHES = {
    "panstarrs1": CrossMatch(
        _PS1,
        "ps1",
        tuple(f"{band}_mean_psf_{what}" for band in "grizy" for what in ("mag", "mag_error")),
        _NEIGHBOUR,
        (
            "{release}.panstarrs1_best_neighbour AS xmatch ON xmatch.source_id = gaia.source_id",
            f"{_PS1} AS ps1 ON ps1.obj_id = xmatch.original_ext_source_id",
        ),
    ),
    "twomass": CrossMatch(
        _2MASS,
        "tmass",
        tuple(f"{band}_{what}" for band in ("j", "h", "ks") for what in ("m", "msigcom")),
        ("original_ext_source_id", "angular_distance", "number_of_mates"),
        (
            "{release}.tmass_psc_xsc_best_neighbour AS xmatch ON xmatch.source_id = gaia.source_id",
            "{release}.tmass_psc_xsc_join AS xjoin ON xjoin.clean_tmass_psc_xsc_oid = xmatch.clean_tmass_psc_xsc_oid",
            f"{_2MASS} AS tmass ON tmass.designation = xjoin.original_psc_source_id",
        ),
        {
            "gaiadr2": (
                "{release}.tmass_best_neighbour AS xmatch ON xmatch.source_id = gaia.source_id",
                f"{_2MASS} AS tmass ON tmass.tmass_oid = xmatch.tmass_oid",
            )
        },
    ),
}
"""The surveys by name. Pan-STARRS1 is the copy of its DR1 that the best neighbours of all releases point to."""

PANSTARRS1_MAGNITUDES = CROSSMATCHES["panstarrs1"].magnitudes

_NAME = re.compile(r"[A-Za-z_]\w*")
_QUALIFIED = re.compile(r"(gaia\.|xmatch\.|ps1\.|tmass\.)?[A-Za-z_]\w*")

Bounds = tuple[float | None, float | None]


class Request:
    """Columns, cuts and cross-match; a polygon makes a query of it.

    Arguments:
        catalogue: One of ``CATALOGUES``.
        columns: Its columns; those it has by default if left out. ``source_id``, ``ra`` and ``dec`` are always there.
        cuts: Column to its lowest and highest value, edges included, null for no limit. A star without a value is cut.
            Columns of other surveys are called ``ps1.g_mean_psf_mag`` and ``tmass.j_m``.
        where: A further condition in ADQL; the tables are called ``gaia``, ``xmatch``, ``ps1`` and ``tmass``.
        crossmatch: One of ``CROSSMATCHES``, the photometry of whose best neighbour is added, where there is one.

    Raises:
        InputError: If the catalogue is unknown, a name is none, or bounds are not in order.
    """

    def __init__(
        self,
        catalogue: str = "gaiadr3.gaia_source",
        columns: Sequence[str] | None = None,
        cuts: Mapping[str, Bounds] | None = None,
        where: str | None = None,
        *,
        crossmatch: str | None = None,
    ) -> None:
        if catalogue not in CATALOGUES:
            raise InputError(f"catalogue {catalogue!r} is unknown; use one of {', '.join(CATALOGUES)}.")
        if crossmatch is not None and crossmatch not in CROSSMATCHES:
            raise InputError(f"crossmatch {crossmatch!r} is unknown; use one of {', '.join(CROSSMATCHES)}.")
        asked = CATALOGUES[catalogue] if columns is None else tuple(columns)
        if strange := [name for name in asked if not _NAME.fullmatch(name)]:
            raise InputError(f"columns {strange} are no names of columns; give those of {catalogue}.")
        self.catalogue, self.crossmatch = catalogue, CROSSMATCHES[crossmatch] if crossmatch else None
        self.columns = tuple(dict.fromkeys((*REQUIRED, *asked)))
        self.conditions = [_condition(name, bounds) for name, bounds in (cuts or {}).items()]
        self.conditions += [_free(where)] if where else []

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of the answer."""
        cross = self.crossmatch
        return (*self.columns, *cross.neighbour, *cross.magnitudes) if cross else self.columns

    def adql(self, polygon: NDArray[np.float64]) -> str:
        """The query for the stars in a polygon, given by ra and dec [deg] of its corners, shape (V, 2)."""
        corners = ",\n    ".join(f"{ra:.8f}, {dec:.8f}" for ra, dec in polygon)
        inside = f"1 = CONTAINS(POINT('ICRS', gaia.ra, gaia.dec), POLYGON('ICRS',\n    {corners}))"
        conditions = "\n  AND ".join([inside, *self.conditions])
        return f"SELECT {self._selected()}\nFROM {self._tables()}\nWHERE {conditions}"

    def _selected(self) -> str:
        names = [f"gaia.{name}" for name in self.columns]
        if cross := self.crossmatch:
            names += [f"xmatch.{name}" for name in cross.neighbour]
            names += [f"{cross.alias}.{name}" for name in cross.magnitudes]
        return ",\n  ".join(names)

    def _tables(self) -> str:
        """The catalogue, and what is joined to it."""
        joined = self.crossmatch.tables(self.catalogue) if self.crossmatch else []
        return "\n  ".join([f"{self.catalogue} AS gaia", *joined])


def _condition(name: str, bounds: Bounds) -> str:
    """A cut in ADQL."""
    if not _QUALIFIED.fullmatch(name):
        raise InputError(f"cuts: {name!r} is no name of a column; write other conditions in 'where'.")
    low, high = bounds
    given = [bound for bound in bounds if bound is not None]
    if not given or not all(map(math.isfinite, given)) or (low is not None and high is not None and not low <= high):
        raise InputError(f"cuts: {name} has the bounds {list(bounds)}; give a lower and a higher one, null for none.")
    spelt = name if "." in name else f"gaia.{name}"
    if low is not None and high is not None:
        return f"{spelt} BETWEEN {low:.12g} AND {high:.12g}"
    return f"{spelt} >= {low:.12g}" if low is not None else f"{spelt} <= {high:.12g}"


def _free(where: str) -> str:
    """A condition that the user wrote, on one line."""
    if "--" in where or ";" in where or not where.strip():
        raise InputError(f"where: {where!r} is no condition; give one without comments and semicolons.")
    return f"({' '.join(where.split())})"
