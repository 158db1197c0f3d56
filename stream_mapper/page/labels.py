"""Names of quantities as a reader of the page knows them."""

from __future__ import annotations

import math

from stream_mapper.catalog import default_unit

_NAMES = {
    "phi1": "φ₁",
    "phi2": "φ₂",
    "pm_phi1": "μ_φ₁ cos φ₂",
    "pm_phi2": "μ_φ₂",
    "pmra": "μ_α cos δ",
    "pmdec": "μ_δ",
    "distmod": "distance modulus",
    "radial_velocity": "radial velocity",
    "feh": "[Fe/H]",
}
_UNITS = {"mas / yr": "mas/yr", "km / s": "km/s", "1 / deg": "1/deg"}


def name_of(column: str) -> str:
    """A column's name.

    >>> name_of("phi1"), name_of("g")
    ('φ₁', 'g')
    """
    return _NAMES.get(column, column)


def unit_of(column: str) -> str:
    """The unit of an internal column, '' for none.

    >>> unit_of("pm_phi1"), unit_of("source_id")
    ('mas/yr', '')
    """
    unit = default_unit(column)
    return _UNITS.get(unit, unit)


def label_of(column: str) -> str:
    """Name and unit, as an axis has them.

    >>> label_of("phi2")
    'φ₂ [deg]'
    """
    unit = unit_of(column)
    return f"{name_of(column)} [{unit}]" if unit else name_of(column)


def rounded(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """A number with its 5 and 95 % quantiles, to two digits of half the band; four digits without a band.

    >>> rounded(8.52341, 8.5012, 8.5467), rounded(1650.998, 1649.0, 1653.0), rounded(0.123456), rounded(math.nan)
    ('8.523 (8.501 to 8.547)', '1651.0 (1649.0 to 1653.0)', '0.1235', '')
    """
    if not math.isfinite(value):
        return ""
    half = (high - low) / 2
    if not half > 0:
        return f"{value:.4g}"
    places = max(0, 1 - math.floor(math.log10(half)))
    return f"{value:.{places}f} ({low:.{places}f} to {high:.{places}f})"
