"""Internal column names: what they mean, their units, and the names other catalogues give them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from stream_mapper.catalog.surveys import ERROR, OF_SPECTRA, Surveys, find_band


class Quantity(NamedTuple):
    """Unit (as astropy spells it) and meaning of an internal column."""

    unit: str
    meaning: str


COLUMNS = {
    "source_id": Quantity("", "identifier of the star"),
    "phi1": Quantity("deg", "longitude along the stream"),
    "phi2": Quantity("deg", "latitude across the stream"),
    "ra": Quantity("deg", "right ascension, ICRS; its error includes cos(dec)"),
    "dec": Quantity("deg", "declination, ICRS"),
    "pm_phi1": Quantity("mas / yr", "proper motion along phi1, cos(phi2) included"),
    "pm_phi2": Quantity("mas / yr", "proper motion along phi2"),
    "pm_phi1_reflex": Quantity("mas / yr", "pm_phi1 freed of the motion of the Sun"),
    "pm_phi2_reflex": Quantity("mas / yr", "pm_phi2 freed of the motion of the Sun"),
    "pm_angle": Quantity("rad", "angle from the axes of pm_phi1 and pm_phi2 to those of pmra and pmdec"),
    "pmra": Quantity("mas / yr", "proper motion in right ascension, cos(dec) included"),
    "pmdec": Quantity("mas / yr", "proper motion in declination"),
    "parallax": Quantity("mas", "parallax"),
    "distmod": Quantity("mag", "distance modulus"),
    "distance": Quantity("kpc", "heliocentric distance"),
    "radial_velocity": Quantity("km / s", "radial velocity, heliocentric"),
    "feh": Quantity("dex", "metallicity [Fe/H]"),
    "age": Quantity("Gyr", "age"),
    "ebv": Quantity("mag", "reddening E(B-V)"),
    "ecl_lat": Quantity("deg", "ecliptic latitude"),
    "nu_eff": Quantity("1 / um", "effective wavenumber of a star with five astrometric parameters"),
    "pseudocolour": Quantity("1 / um", "effective wavenumber found together with the astrometry, of one with six"),
    "n_params": Quantity("", "code of the astrometric parameters solved for: 3, 31 or 95 for two, five or six"),
}
"""The named columns. Every other name is a magnitude, called by its band, or a colour, in mag."""

ALIASES = {
    "source_id": ("Source", "SOURCE_ID"),
    "ra": ("RA", "RA_ICRS", "coord_ra", "raMean", "ALPHAWIN_J2000", "RAJ2000"),
    "dec": ("DEC", "Dec", "DE_ICRS", "coord_dec", "decMean", "DELTAWIN_J2000", "DEJ2000"),
    "pmra": ("pmRA", "pm_ra_cosdec"),
    "pmdec": ("pmDE", "pm_dec"),
    "parallax": ("Plx",),
    "radial_velocity": ("RV", "rv"),
    "pm_phi1": ("pm_phi1_cosphi2",),
    "ebv": ("EBV", "EBV_SFD98", "ebv_sfd98", "E(B-V)"),
    "ecl_lat": ("ELAT",),
    "nu_eff": ("nu_eff_used_in_astrometry", "nueff"),
    "pseudocolour": ("pscol",),
    "n_params": ("astrometric_params_solved", "Solved"),
    "bp_rp": ("BP-RP",),
    "bp_g": ("BP-G",),
    "g_rp": ("G-RP",),
}
"""Names in the Gaia archive, VizieR, gala, and the archives of `surveys.SURVEYS`, which has those of the bands."""

_CDS = {"ra": "RA", "dec": "DE", "parallax": "Plx", "pmra": "pmRA", "pmdec": "pmDE"}
GAIA_CORRELATIONS = {f"{a}_{b}_corr": f"{_CDS[a]}{_CDS[b]}cor" for i, a in enumerate(_CDS) for b in [*_CDS][i + 1 :]}
"""The ten correlations of the errors of Gaia's astrometry, and what VizieR calls them."""

_UNSAID = {"ra_err": "mas", "dec_err": "mas"}
"""Units of columns whose catalogues use another than that of the value."""

CORRELATION = "_corr"


def default_unit(name: str) -> str:
    """Unit of an internal column; that of an error is its column's, a correlation has none.

    >>> default_unit("pm_phi1_err"), default_unit("g"), default_unit("pmra_pmdec_corr")
    ('mas / yr', 'mag', '')
    """
    if name.endswith(CORRELATION):
        return ""
    quantity = COLUMNS.get(name.removesuffix(ERROR))
    return quantity.unit if quantity else "mag"


def assumed_unit(name: str) -> str:
    """Unit of a column of a table that does not say it: the default, or what every catalogue means.

    >>> default_unit("ra_err"), assumed_unit("ra_err")
    ('deg', 'mas')
    """
    return _UNSAID.get(name, default_unit(name))


def is_magnitude(name: str) -> bool:
    """Whether an internal column is a magnitude or a colour.

    >>> is_magnitude("g"), is_magnitude("g_err"), is_magnitude("phi1")
    (True, False, False)
    """
    return not name.endswith((ERROR, CORRELATION)) and name not in COLUMNS


def known_names(name: str) -> tuple[str, ...]:
    """Names under which a table may hold the internal column ``name``, the preferred one first."""
    if name in GAIA_CORRELATIONS:
        return (name, GAIA_CORRELATIONS[name])
    if not name.endswith(ERROR):
        return (name, *ALIASES.get(name, ()))
    values = known_names(name.removesuffix(ERROR))
    return (
        name,
        *(spelt for value in values for spelt in (f"{value}_err", f"{value}_error", f"{value}Err", f"e_{value}")),
    )


def find_column(name: str, table_columns: Iterable[str], surveys: Surveys = None) -> str | None:
    """Column of a table that holds the internal column ``name``.

    >>> find_column("pmra_err", ["source_id", "pmra", "pmra_error"])
    'pmra_error'

    Arguments:
        name: Internal name.
        table_columns: Names in the table.
        surveys: Surveys whose names of magnitudes and of what spectra tell are looked for; by default all of
            `surveys.SURVEYS`.

    Returns:
        The same name if the table has it, else the first known alias it has, else None.

    Raises:
        InputError: If a magnitude, or what spectra tell, is there under more than one name.
    """
    present = list(table_columns)
    column = next((known for known in known_names(name) if known in present), None)
    stem = name.removesuffix(ERROR)
    if column or not (is_magnitude(stem) or stem in OF_SPECTRA):
        return column
    return find_band(name, present, surveys)
