"""TAP services that have Gaia's stars, and the surveys that each can join to them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from stream_mapper.archive.archive import GAIA_ARCHIVE


class Service(NamedTuple):
    """A TAP service, and what is particular to its queries.

    Arguments:
        name: What messages call it.
        url: Its address.
        tables: What it calls the catalogues that it has, where that is not the Gaia archive's name; empty for all.
        geometry: Whether it knows the polygons of ADQL; others are asked for a box in ra and dec.
        nan: Whether its missing numbers are NaN, which it takes for greater than any number.
    """

    name: str
    url: str
    tables: Mapping[str, str] = MappingProxyType({})
    geometry: bool = True
    nan: bool = False


GAIA = Service("the Gaia archive", GAIA_ARCHIVE)
DATA_LAB = Service(
    "the Astro Data Lab",
    "https://datalab.noirlab.edu/tap",
    {"gaiadr3.gaia_source": "gaia_dr3.gaia_source"},
    False,
    True,
)


class CrossMatch(NamedTuple):
    """What another survey says of Gaia's stars.

    Arguments:
        service: Where it can be joined to them.
        alias: What a query calls its table.
        columns: Its columns, ``name`` or ``name AS other``.
        neighbour: Columns of the table of matches, ``xmatch``.
        joins: Tables to join, each with its condition, for a release such as ``gaiadr3``; ``{release}`` is its name.
        releases: The same for those releases whose tables have other columns.
        single: Whether a star has one row at most. Otherwise the row that is nearest on the sky is kept, by
            ``survey_ra`` and ``survey_dec``, and of those the one with the least ``vrad_err``, as far as it has these.
    """

    service: Service
    alias: str
    columns: tuple[str, ...]
    neighbour: tuple[str, ...]
    joins: tuple[str, ...]
    releases: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    single: bool = True

    def tables(self, catalogue: str) -> list[str]:
        """What a query of a catalogue joins."""
        release = catalogue.partition(".")[0]
        return [f"LEFT OUTER JOIN {one.format(release=release)}" for one in self.releases.get(release, self.joins)]

    @property
    def selected(self) -> list[str]:
        """What a query selects."""
        return [*(f"xmatch.{name}" for name in self.neighbour), *(f"{self.alias}.{name}" for name in self.columns)]

    @property
    def names(self) -> list[str]:
        """Columns of the answer."""
        return [name.rpartition(" ")[2] for name in (*self.neighbour, *self.columns)]


_PS1, _2MASS = "gaiadr2.panstarrs1_original_valid", "gaiadr1.tmass_original_valid"
_PLACE = ("ra AS survey_ra", "dec AS survey_dec")


def _matched(alias: str, release: str, table: str, key: str, spelling: str, bands: str) -> CrossMatch:
    """A survey whose stars the Data Lab has matched with Gaia's, with its magnitudes and their errors."""
    magnitudes = tuple(spelling.format(what=what, band=band) for band in bands for what in ("mag", "magerr"))
    joins = (
        f"{release}.x1p5__{table}__gaia_dr3__gaia_source AS xmatch ON xmatch.id2 = gaia.source_id",
        f"{release}.{table} AS {alias} ON {alias}.{key} = xmatch.id1",
    )
    return CrossMatch(DATA_LAB, alias, (*_PLACE, *magnitudes), (), joins, single=False)


CROSSMATCHES = {
    "panstarrs1": CrossMatch(
        GAIA,
        "ps1",
        tuple(f"{band}_mean_psf_{what}" for band in "grizy" for what in ("mag", "mag_error")),
        ("original_ext_source_id", "angular_distance", "number_of_neighbours", "number_of_mates"),
        (
            "{release}.panstarrs1_best_neighbour AS xmatch ON xmatch.source_id = gaia.source_id",
            f"{_PS1} AS ps1 ON ps1.obj_id = xmatch.original_ext_source_id",
        ),
    ),
    "twomass": CrossMatch(
        GAIA,
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
    "des": _matched("des", "des_dr2", "main", "coadd_object_id", "wavg_{what}_psf_{band}", "grizy"),
    "delve": _matched("delve", "delve_dr2", "objects", "quick_object_id", "{what}_psf_{band}", "griz"),
}
"""Surveys of photometry by name. Pan-STARRS1 is the copy of its DR1 that Gaia's best neighbours point to."""

SPECTRA = {
    "desi": CrossMatch(
        DATA_LAB,
        "desi",
        ("vrad", "vrad_err", "feh", "feh_err"),
        (),
        ("desi_dr1.mws AS desi ON desi.source_id = gaia.source_id AND desi.rvs_warn = 0 AND desi.program <> 'backup'",),
        single=False,
    ),
}
"""Surveys of spectra by name. DESI's velocities of its backup programme are left out, which its release warns of."""
