"""The few numbers that people quote of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from stream_mapper.page.labels import name_of, rounded, unit_of
from stream_mapper.results.metrics import THRESHOLDS

_ALL = "member"  # how the table of components calls all of them together
_AT_PLACE = (*("phi2", "pm_phi1", "pm_phi2", "parallax", "distmod", "distance", "radial_velocity", "feh"),)
_OF_COMPONENT = {
    "members": ("members", ""),
    "begin": ("begins at", "deg"),
    "end": ("ends at", "deg"),
    "feh": ("[Fe/H] of the isochrone", "dex"),
    "age": ("age", "Gyr"),
    "ebv": ("E(B-V)", "mag"),
}


@dataclass(frozen=True)
class Row:
    """A quantity of each component.

    Arguments:
        label: What it is.
        unit: Its unit, '' for none.
        cells: The number of each component with its band, '' where it has none.
    """

    label: str
    unit: str
    cells: list[str]


@dataclass(frozen=True)
class Numbers:
    """A small table.

    Arguments:
        components: Heads of its columns.
        rows: Its rows.
        note: What the reader has to know of them.
    """

    components: list[str]
    rows: list[Row]
    note: str


def quoted(metrics: Mapping[str, Any], tables: Mapping[str, Table]) -> Numbers:
    """Members, ends, and the track where the stream is densest, with 90 % bands.

    Arguments:
        metrics: Numbers of the run.
        tables: Its tables by name; ``components``, ``track`` and ``density`` are read, as far as they are there.
    """
    names = _names(tables)
    rows = [*_counts(metrics, len(names)), *_of_components(tables.get("components"), names)]
    places = _densest(tables, names)
    rows += list(_of_track(tables.get("track"), names, places))
    note = f"The track and its widths are where each component is densest, {_said(places)}." if places else ""
    return Numbers(["all" if q == _ALL else q for q in names], rows, note)


def _names(tables: Mapping[str, Table]) -> list[str]:
    """Components, and all of them together where the table has that."""
    found = next((tables[name] for name in ("components", "density", "track") if name in tables), None)
    return [] if found is None else list(dict.fromkeys(np.asarray(found["component"]).astype(str).tolist()))


def _counts(metrics: Mapping[str, Any], size: int) -> Iterator[Row]:
    """Numbers of stars, in the last column, which is that of all."""
    shown = {"in_window": "stars in the window"} | {f"above_{cut}": f"stars with p > {cut}" for cut in THRESHOLDS}
    for key, label in shown.items():
        if key in metrics:
            yield Row(label, "", [""] * (size - 1) + [f"{metrics[key]:,}"])


def _of_components(table: Table | None, names: Sequence[str]) -> Iterator[Row]:
    """Members, ends and population."""
    for key, (label, unit) in _OF_COMPONENT.items():
        if table is not None and key in table.colnames:
            rows = {str(row["component"]): row for row in table}
            form = _counted if key == "members" else banded
            cells = [form(rows[name], key) if name in rows else "" for name in names]
            yield Row(label, unit, cells)


def _of_track(table: Table | None, names: Sequence[str], places: Mapping[str, float]) -> Iterator[Row]:
    """Centre and width of each coordinate at a place of each component."""
    if table is None:
        return
    along = table.colnames[1]
    rows = {}
    for name in names:
        own = table[np.asarray(table["component"]).astype(str) == name]
        if name in places and len(own):
            rows[name] = own[int(np.abs(np.asarray(own[along]) - places[name]).argmin())]
    for key in _AT_PLACE:
        for column, label in ((key, name_of(key)), (f"{key}_sigma", f"width in {name_of(key)}")):
            if column in table.colnames:
                yield Row(label, unit_of(key), [banded(rows[q], column) if q in rows else "" for q in names])


def _densest(tables: Mapping[str, Table], names: Sequence[str]) -> dict[str, float]:
    """Where each component is densest among the places of which its track is supported."""
    if not {"track", "density"} <= tables.keys() or len(tables["track"]) != len(tables["density"]):
        return {}
    track, density, out = tables["track"], tables["density"], {}
    whose, there = np.asarray(density["component"]).astype(str), np.asarray(track["supported"])
    for name in names:
        rows = np.flatnonzero((whose == name) & there)
        if len(rows):
            best = rows[np.nanargmax(np.asarray(density["density"])[rows])]
            out[name] = float(density[density.colnames[1]][best])
    return out


def _said(places: Mapping[str, float]) -> str:
    return ", ".join(f"{name} at {name_of('phi1')} = {at:.2f}" for name, at in places.items())


def banded(row: Any, key: str) -> str:
    """A number of a row with its band."""
    return rounded(*_with_quantiles(row, key))


def _counted(row: Any, key: str) -> str:
    """A number of stars with its band."""
    value, low, high = _with_quantiles(row, key)
    return f"{value:,.0f}" + (f" ({low:,.0f} to {high:,.0f})" if np.isfinite([low, high]).all() else "")


def _with_quantiles(row: Any, key: str) -> tuple[float, float, float]:
    """A number of a row with its 5 and 95 % quantiles, NaN for what is missing."""
    values = [row[name] if name in row.colnames else np.nan for name in (key, f"{key}_05", f"{key}_95")]
    value, low, high = (np.nan if np.ma.is_masked(value) else float(value) for value in values)
    return value, low, high
