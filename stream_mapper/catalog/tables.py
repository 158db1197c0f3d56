"""Tables made here, with the units of the package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astropy import units as u
from astropy.table import Table

from stream_mapper.catalog.schema import default_unit
from stream_mapper.quantiles import QUANTILE_NAMES

_ENDINGS = ("_sigma", *(f"_{q}" for q in QUANTILE_NAMES))
_UNITLESS = (
    *("p_", "n_", "in_", "weight", "component", "members", "mass_slope"),
    *("true_component", "true_p_", "true_weight"),
)


def to_table(columns: Mapping[str, Any]) -> Table:
    """A table of columns by internal name, in the package's default units."""
    return with_units(Table(dict(columns)))


def with_units(table: Table, units: Mapping[str, str] | None = None) -> Table:
    """The same table with the unit of every column set: the one given, or the default of the name.

    The unit of ``x`` serves ``x_sigma``, ``x_05`` to ``x_95`` and ``true_x`` too; probabilities and counts have none.
    """
    for name in table.colnames:
        if units and name in units:
            table[name].unit = u.Unit(units[name])
        elif table[name].unit is None and table[name].dtype.kind == "f" and not name.startswith(_UNITLESS):
            stem = name.removeprefix("true_")
            for ending in reversed(_ENDINGS):
                stem = stem.removesuffix(ending)
            table[name].unit = u.Unit(default_unit(stem))
    return table
