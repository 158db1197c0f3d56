"""The tables of an atlas, alike for all of its streams, and its page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table, vstack

from stream_mapper import __version__
from stream_mapper.catalog import can_write_hats, default_unit, read_table, write_hats, write_table
from stream_mapper.charts.findings import AT_MIDDLE, BAND, NUMBERS, TABLES
from stream_mapper.charts.plan import Plan, short_name
from stream_mapper.charts.task import FITTED, Chart
from stream_mapper.page import NAME, AtlasRow, write_atlas_page
from stream_mapper.results.provenance import CREATOR, with_facts

SUMMARY, PAGE, HATS = "summary", "index.html", "members_hats"
PRODUCTS = (
    *(f"{name}.{ending}" for name in (SUMMARY, "tracks", "densities") for ending in ("ecsv", "parquet")),
    *("members.parquet", HATS, PAGE),
)
"""What an atlas leaves in its folder: the same stars and the same configuration give the same bytes."""

_TEXTS = {
    "stream": "name of the stream's track in galstreams",
    "status": "fitted, or failed",
    "reason": "why it failed",
    "verdict": "what the checks of the fit say together: believable, doubtful or no stream",
    "doubts": "the checks that fail, with what they found",
}
_COUNTS = {
    "stars": "stars of the table",
    "in_window": "stars inside the window of the fit",
    "listed": "stars in the table of members",
    "true_members": "stars that are of the stream, of a simulation",
}
_NUMBERS = {
    "members": ("", "stars of the stream among those that were fitted"),
    "mean_p_member": ("", "mean probability of the stars in the table of members"),
    "phi1_begin": ("deg", "phi1 where the stream begins; without a band, where its track does"),
    "phi1_end": ("deg", "phi1 where the stream ends; without a band, where its track does"),
    "phi1_middle": ("deg", "phi1 between these two, where the following are"),
    "ra": ("deg", "right ascension of the track, ICRS"),
    "dec": ("deg", "declination of the track, ICRS"),
    "pmra": ("mas / yr", "proper motion of the track in right ascension, cos(dec) included"),
    "pmdec": ("mas / yr", "proper motion of the track in declination"),
}
_WIDTH = ("pc", "intrinsic width across the sky, by the distance in the middle")
_TRUTH = {
    "average_precision": "average precision of the memberships, of a simulation",
    "optimal_average_precision": "that of the oracle, which knows the truth",
    "distance_coverage": "share of the stream over which the distance is in its band, of a simulation",
}

Row = dict[str, Any]


def write_products(plan: Plan, output: Path, charts: Mapping[str, Chart]) -> Table:
    """Write the tables of all streams that are done, and the page that leads to their reports.

    Arguments:
        plan: What the atlas is of.
        output: Its folder.
        charts: What became of each stream, by the full name of its track.

    Returns:
        The summary.
    """
    rows = [_row(plan, output, charts[stream]) for stream in plan.streams]
    table = summary(rows)
    fitted = [one for one in plan.streams if charts[one].status == FITTED]
    for name, file in TABLES.items():
        if fitted:
            tables = {short_name(one): read_table(plan.folder(output, one) / file) for one in fitted}
            _write(_stacked(tables), output, name)
    for ending in ("ecsv", "parquet"):
        write_table(table, output / f"{SUMMARY}.{ending}")
    lines = [AtlasRow(_report(plan, one, row), row) for one, row in zip(plan.streams, rows, strict=True)]
    files = [name for name in PRODUCTS if (output / name).is_file() and name != PAGE]
    write_atlas_page(output / PAGE, output.absolute().name, lines, table, files)
    return table


def summary(rows: Sequence[Row]) -> Table:
    """A row for each stream, with units and what each column is; numbers that are not known are NaN.

    Arguments:
        rows: Values by column, of which those that are not known are left out.
    """
    table = Table()
    for name, text in _TEXTS.items():
        _add(table, name, [str(row.get(name, "")) for row in rows], text)
    for name, text in _COUNTS.items():
        if name != "true_members" or any(name in row for row in rows):
            missing = [name not in row for row in rows]
            values = MaskedColumn([int(row.get(name, 0)) for row in rows], mask=missing, dtype=np.int64)
            _add(table, name, values if any(missing) else values.data, text)
    for name, (unit, text) in _NUMBERS.items():
        _add_banded(table, rows, name, unit, text)
    for name in AT_MIDDLE:
        _add_banded(table, rows, name, None, "")
    _add_banded(table, rows, "width", *_WIDTH)
    for name, text in _TRUTH.items():
        if any(name in row for row in rows):
            _add_banded(table, rows, name, "", text)
    table.meta[CREATOR] = f"stream_mapper {__version__}"
    return with_facts(table, dict(table.meta), {name: name for name in table.colnames})


def _add_banded(table: Table, rows: Sequence[Row], name: str, unit: str | None, text: str) -> None:
    """Add a number and, where any stream has one, its band."""
    for ending in ("", *(f"_{end}" for end in BAND)):
        if ending and not any(name + ending in row for row in rows):
            continue
        values = np.array([row.get(name + ending, np.nan) for row in rows], dtype=np.float64)
        said = f"{int(ending[1:])} % end of the band: {text}" if ending and text else text
        _add(table, name + ending, values, said)
        table[name + ending].unit = (default_unit(name.removesuffix("_sigma")) if unit is None else unit) or None


def _add(table: Table, name: str, values: Any, text: str) -> None:
    table[name] = values
    table[name].description = text or None


def _write(table: Table, output: Path, name: str) -> None:
    """Write a table of all streams in its formats."""
    for ending in ("ecsv", "parquet"):
        if f"{name}.{ending}" in PRODUCTS:
            write_table(table, output / f"{name}.{ending}")
    if name == "members" and {"ra", "dec"} <= set(table.colnames) and can_write_hats():
        placed = np.isfinite(np.asarray(table["ra"]) + np.asarray(table["dec"]))
        if placed.any():
            write_hats(table[placed], output / HATS, name, f"stream_mapper v{__version__}")


def _report(plan: Plan, stream: str, row: Row) -> str:
    """Where the report of a stream is, seen from the folder of the atlas; nothing where there is none."""
    is_drawn = "run" in row and plan.fit.get("results.figures", True)
    return (plan.folder(Path(), stream) / row["run"] / NAME).as_posix() if is_drawn else ""


def _row(plan: Plan, output: Path, made: Chart) -> Row:
    """The row of a stream."""
    row = {"stream": short_name(made.stream), "status": made.status, "reason": made.reason}
    if made.status == FITTED:
        row |= json.loads((plan.folder(output, made.stream) / NUMBERS).read_text())
    return row


def _stacked(tables: Mapping[str, Table]) -> Table:
    """Tables below each other, each with the name of its stream; a number that one of them lacks is NaN."""
    whole = vstack([_named(table, name) for name, table in tables.items()], metadata_conflicts="silent")
    for name in whole.colnames:
        if whole[name].dtype.kind == "f" and isinstance(whole[name], MaskedColumn):
            whole[name] = whole[name].filled(np.nan)
    whole.meta = {CREATOR: f"stream_mapper {__version__}"}
    return whole


def _named(table: Table, name: str) -> Table:
    table.add_column(np.full(len(table), name), name="stream", index=0)
    table["stream"].description = _TEXTS["stream"]
    table.meta.clear()
    return table
