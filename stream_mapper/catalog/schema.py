"""Internal column names: what they mean, their units, and the names other catalogues give them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Quantity(NamedTuple):
    """Unit (as astropy spells it) and meaning of an internal column."""

    unit: str
    meaning: str


COLUMNS = {
    "phi1": Quantity("deg", "longitude along the stream"),
    "phi2": Quantity("deg", "latitude across the stream"),
    "ra": Quantity("deg", "right ascension, ICRS"),
    "dec": Quantity("deg", "declination, ICRS"),
    "pm_phi1": Quantity("mas / yr", "proper motion along phi1, cos(phi2) included"),
    "pm_phi2": Quantity("mas / yr", "proper motion along phi2"),
    "pm_angle": Quantity("rad", "angle from the axes of pm_phi1 and pm_phi2 to those of pmra and pmdec"),
    "pmra": Quantity("mas / yr", "proper motion in right ascension, cos(dec) included"),
    "pmdec": Quantity("mas / yr", "proper motion in declination"),
    "parallax": Quantity("mas", "parallax"),
    "distmod": Quantity("mag", "distance modulus"),
    "distance": Quantity("kpc", "heliocentric distance"),
    "rv": Quantity("km / s", "radial velocity, heliocentric"),
}
"""The named columns. Every other name is a magnitude, called by its band, in mag."""

ALIASES = {
    "ra": ("RA", "RA_ICRS"),
    "dec": ("DEC", "Dec", "DE_ICRS"),
    "pmra": ("pmRA", "pm_ra_cosdec"),
    "pmdec": ("pmDE", "pm_dec"),
    "parallax": ("Plx",),
    "rv": ("radial_velocity", "RV"),
    "pm_phi1": ("pm_phi1_cosphi2",),
    "pmra_pmdec_corr": ("pmRApmDEcor",),
}
"""Names in the Gaia archive, VizieR and gala. Bands have none: `g` and `G` are different filters."""

ERROR = "_err"
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


def known_names(name: str) -> tuple[str, ...]:
    """Names under which a table may hold the internal column ``name``, the preferred one first."""
    if not name.endswith(ERROR):
        return (name, *ALIASES.get(name, ()))
    values = known_names(name.removesuffix(ERROR))
    return (name, *(spelt for value in values for spelt in (f"{value}_err", f"{value}_error", f"e_{value}")))


def find_column(name: str, table_columns: Iterable[str]) -> str | None:
    """Column of a table that holds the internal column ``name``.

    >>> find_column("pmra_err", ["source_id", "pmra", "pmra_error"])
    'pmra_error'

    Arguments:
        name: Internal name.
        table_columns: Names in the table.

    Returns:
        The same name if the table has it, else the first known alias it has, else None.
    """
    present = set(table_columns)
    return next((known for known in known_names(name) if known in present), None)
