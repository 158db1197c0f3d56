"""Tracks, densities and checks as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields

import numpy as np
from astropy.table import Table, vstack
from torch import Tensor

from stream_mapper.catalog import default_unit, with_units
from stream_mapper.inference.checks import Check
from stream_mapper.inference.features.search import Feature
from stream_mapper.inference.members import ALL
from stream_mapper.inference.profile import Columns

_PER_DEGREE, _ALONG = "1 / deg", "deg"


def component_table(place: str, at: Tensor, columns: Mapping[str, Mapping[str, Tensor]]) -> Table:
    """A table with the columns (G,) of each component below those of the one before, with units.

    Arguments:
        place: Name of the coordinate along the stream, such as ``phi1``.
        at: Places, (G,).
        columns: By component, columns by name.
    """
    densities = {name: _PER_DEGREE for one in columns.values() for name in one if "density" in name}
    tables = [with_units(_table(q, place, at, values), densities) for q, values in columns.items()]
    return vstack(tables, metadata_conflicts="silent")


def members_table(
    place: str,
    members: Mapping[str, Columns],
    ends: Mapping[str, Columns],
    constants: Mapping[str, Columns] | None = None,
) -> Table:
    """A table with a row a component, and, where there are several, a last one of all of them, called ``member``.

    Arguments:
        place: Name of the coordinate along the stream, of whose unit the ends are.
        members: Columns (1,) of the number of members, by component and of all of them.
        ends: Columns (1,) of the ends of each component, if any has them.
        constants: Columns (1,) of the constants of each component's population, if any has them.
    """
    more = {q: ends.get(q, {}) | (constants or {}).get(q, {}) for q in members}
    rows = {q: columns | more[q] for q, columns in members.items() if q != ALL or len(members) > 2}
    along = {name: default_unit(place) for columns in ends.values() for name in columns}
    tables = [Table({"component": [q]} | {n: values.numpy() for n, values in row.items()}) for q, row in rows.items()]
    return with_units(vstack(tables).filled(np.nan), along)


def checks_table(checks: Sequence[Check]) -> Table:
    """A table with a row a check: ``name, component, verdict, value, limit, message``."""
    return Table(rows=[asdict(check) for check in checks])


def features_table(place: str, found: Mapping[str, Sequence[Feature]]) -> Table:
    """A table with a row a gap or peak: ``component`` and the fields of a feature; without rows where there is none.

    Arguments:
        place: Name of the coordinate along the stream, by which ``phi1`` and its quantiles go.
        found: The features of each component.
    """
    names = [field.name for field in fields(Feature)]
    columns = {"component": [q for q, each in found.items() for _ in each]}
    columns |= {name: [getattr(feature, name) for each in found.values() for feature in each] for name in names}
    table = Table(columns, dtype=[str if name in ("component", "kind") else float for name in columns])
    along = [name for name in names if name.split("_")[0] in ("phi1", "width")]
    table = with_units(table, {name: _ALONG if name in along else "" for name in names[1:]})
    table.rename_columns(along, [name.replace("phi1", place) for name in along])
    return table


def _table(component: str, place: str, at: Tensor, columns: Mapping[str, Tensor]) -> Table:
    table = Table({"component": [component] * len(at), place: at.numpy()})
    for name, values in columns.items():
        table[name] = np.asarray(values)
    return table
