"""What is asked of the archive, in ADQL."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
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


class Catalogue(NamedTuple):
    """A table of sources: the columns asked for by default, and Gaia's table of its best neighbours in Pan-STARRS1."""

    columns: tuple[str, ...]
    panstarrs1: str


CATALOGUES = {
    "gaiadr3.gaia_source": Catalogue(
        (*_COMMON, "nu_eff_used_in_astrometry", "pseudocolour", "ruwe"), "gaiadr3.panstarrs1_best_neighbour"
    ),
    "gaiadr2.gaia_source": Catalogue(_COMMON, "gaiadr2.panstarrs1_best_neighbour"),
}
"""The catalogues by name. With flux over error the error of a magnitude is 2.5 / ln(10) / (flux over error)."""

PANSTARRS1 = "gaiadr2.panstarrs1_original_valid"
"""The copy of Pan-STARRS1 DR1 that the best neighbours of both releases point to."""

PANSTARRS1_MAGNITUDES = tuple(f"{band}_mean_psf_{what}" for band in "grizy" for what in ("mag", "mag_error"))
_NEIGHBOUR = ("original_ext_source_id", "angular_distance", "number_of_neighbours", "number_of_mates")

_NAME = re.compile(r"[A-Za-z_]\w*")
_QUALIFIED = re.compile(r"(gaia\.|xmatch\.|ps1\.)?[A-Za-z_]\w*")

Bounds = tuple[float | None, float | None]


class Request:
    """Columns, cuts and cross-match; a polygon makes a query of it.

    Arguments:
        catalogue: One of ``CATALOGUES``.
        columns: Its columns; those it has by default if left out. ``source_id``, ``ra`` and ``dec`` are always there.
        cuts: Column to its lowest and highest value, edges included, null for no limit. A star without a value is cut.
            Columns of Pan-STARRS1 are called ``ps1.g_mean_psf_mag``.
        where: A further condition in ADQL; the tables are called ``gaia``, ``xmatch`` and ``ps1``.
        panstarrs1: Whether to add the photometry of the best neighbour in Pan-STARRS1, where there is one.

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
        panstarrs1: bool = False,
    ) -> None:
        if catalogue not in CATALOGUES:
            raise InputError(f"catalogue {catalogue!r} is unknown; use one of {', '.join(CATALOGUES)}.")
        asked = CATALOGUES[catalogue].columns if columns is None else tuple(columns)
        if strange := [name for name in asked if not _NAME.fullmatch(name)]:
            raise InputError(f"columns {strange} are no names of columns; give those of {catalogue}.")
        self.catalogue, self.panstarrs1 = catalogue, panstarrs1
        self.columns = tuple(dict.fromkeys((*REQUIRED, *asked)))
        self.conditions = [_condition(name, bounds) for name, bounds in (cuts or {}).items()]
        self.conditions += [_free(where)] if where else []

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of the answer."""
        return (*self.columns, *_NEIGHBOUR, *PANSTARRS1_MAGNITUDES) if self.panstarrs1 else self.columns

    def adql(self, polygon: NDArray[np.float64]) -> str:
        """The query for the stars in a polygon, given by ra and dec [deg] of its corners, shape (V, 2)."""
        corners = ",\n    ".join(f"{ra:.8f}, {dec:.8f}" for ra, dec in polygon)
        inside = f"1 = CONTAINS(POINT('ICRS', gaia.ra, gaia.dec), POLYGON('ICRS',\n    {corners}))"
        conditions = "\n  AND ".join([inside, *self.conditions])
        return f"SELECT {self._selected()}\nFROM {self._tables()}\nWHERE {conditions}"

    def _selected(self) -> str:
        names = [f"gaia.{name}" for name in self.columns]
        if self.panstarrs1:
            names += [f"xmatch.{name}" for name in _NEIGHBOUR] + [f"ps1.{name}" for name in PANSTARRS1_MAGNITUDES]
        return ",\n  ".join(names)

    def _tables(self) -> str:
        """The tables; a best neighbour is one row a source, and its original identifier one row of Pan-STARRS1."""
        tables = [f"{self.catalogue} AS gaia"]
        if self.panstarrs1:
            neighbours = CATALOGUES[self.catalogue].panstarrs1
            tables += [f"LEFT OUTER JOIN {neighbours} AS xmatch ON xmatch.source_id = gaia.source_id"]
            tables += [f"LEFT OUTER JOIN {PANSTARRS1} AS ps1 ON ps1.obj_id = xmatch.original_ext_source_id"]
        return "\n  ".join(tables)


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
