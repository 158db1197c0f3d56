"""Tracks, densities and checks as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
from astropy.table import Table, vstack
from torch import Tensor

from stream_mapper.catalog import with_units
from stream_mapper.inference.checks import Check

_PER_DEGREE = "1 / deg"


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


def checks_table(checks: Sequence[Check]) -> Table:
    """A table with a row a check: ``name, component, verdict, value, limit, message``."""
    return Table(rows=[asdict(check) for check in checks])


def _table(component: str, place: str, at: Tensor, columns: Mapping[str, Tensor]) -> Table:
    table = Table({"component": [component] * len(at), place: at.numpy()})
    for name, values in columns.items():
        table[name] = np.asarray(values)
    return table
