"""What the page has of each star."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from stream_mapper.catalog import find_column
from stream_mapper.results.run_folder import RunTables, photometry, rows_selected

Array = NDArray[np.float64]

MOST = 100_000
"""Stars on a page; of more than that the likely members are all shown, of the others some."""
_LIKELY = 0.01  # membership above which a star is always shown
_SEED = 1
_P = ("p_member", "p_member_05", "p_member_95")


@dataclass(frozen=True)
class Stars:
    """Stars inside the window that the selection lets in, in the order of their membership.

    Arguments:
        along: Name of the coordinate along the stream.
        coordinates: Measured values by internal name, NaN where not measured, each (N,).
        p: Membership and its 5 and 95 % quantiles, (N, 3); NaN for quantiles that were not computed.
        components: Probability of each stream, if there are several, by name, each (N,).
        id: What tells stars apart, as text, (N,).
        id_name: The column that it is of; ``row`` for the place in the table, from 0.
        icrs: Right ascension and declination [deg], (N, 2); None where the table does not have them.
        photometry: Magnitudes of the isochrone, blue to red; none without one.
        curve: Absolute magnitudes along the isochrone, (M, F).
        total: Number of stars that the ``N`` shown are of.
    """

    along: str
    coordinates: dict[str, Array]
    p: Array
    components: dict[str, Array]
    id: list[str]
    id_name: str
    icrs: Array | None
    photometry: list[str]
    curve: Array | None
    total: int

    @property
    def sampled(self) -> str:
        """What the reader is told where not all stars are shown; '' where all are."""
        shown = len(self.id)
        if shown == self.total:
            return ""
        return (
            f"{shown:,} of {self.total:,} stars are shown: every one above {_LIKELY} in membership, and of the others "
            "a part taken at random. memberships.parquet has all."
        )

    @property
    def lowest(self) -> float:
        """The lowest threshold above which every star is shown."""
        return _LIKELY if self.sampled else 0.0


def stars_of(tables: RunTables, most: int = MOST) -> Stars:
    """The stars of a run that its page shows.

    Arguments:
        tables: The tables of the run.
        most: Number of stars above which those that are no members are sampled.
    """
    table, values = tables.shown()
    rows = _chosen(np.asarray(table["p_member"], dtype=float), most)
    names = [name for name in (tables.place, *tables.model.coord_names, "parallax") if name in values]
    streams = [name for name in tables.model.components if name != "background"]
    several = streams if len(streams) > 1 else []
    of_id = tables.intake.id_of(table.colnames)
    magnitudes, curve = photometry(tables.model)
    part = table[rows]
    return Stars(
        tables.place,
        {name: np.asarray(values[name], dtype=float)[rows] for name in dict.fromkeys(names)},
        np.stack([np.asarray(part[name], dtype=float) for name in _P], -1),
        {name: np.asarray(part[f"p_{name}"], dtype=float) for name in several},
        _texts(part, of_id, _places(tables.memberships)[rows]),
        of_id or "row",
        _icrs(part),
        magnitudes,
        curve,
        len(table),
    )


def _chosen(p: Array, most: int) -> NDArray[np.intp]:
    """Rows that are shown, the likeliest last, so that they are drawn above the others."""
    rows = np.argsort(p, kind="stable")
    rows = rows[np.isfinite(p[rows])]
    unlikely = int((p[rows] <= _LIKELY).sum())
    spare = max(0, most - (len(rows) - unlikely))
    if unlikely <= spare:
        return rows
    kept = np.sort(np.random.default_rng(_SEED).choice(unlikely, spare, replace=False))
    return np.concatenate([rows[kept], rows[unlikely:]])


def _places(table: Table) -> NDArray[np.intp]:
    """Rows of a table of memberships that are inside the window and that the selection lets in."""
    return np.flatnonzero(rows_selected(table) & np.asarray(table["in_window"]))


def _texts(part: Table, of_id: str | None, places: NDArray[np.intp]) -> list[str]:
    """What tells stars apart: their identifiers, or without any their rows in the table."""
    if of_id is None:
        return [str(row) for row in places.tolist()]
    return ["" if np.ma.is_masked(value) else str(value) for value in part[of_id]]


def _icrs(part: Table) -> Array | None:
    """Right ascension and declination by the columns that are called so."""
    names = [find_column(name, part.colnames) for name in ("ra", "dec")]
    if not all(name is not None and part[name].dtype.kind == "f" for name in names):
        return None
    return np.stack([np.ma.filled(part[name].astype(float), np.nan) for name in names], -1)
