"""Writes the page of an atlas, which leads to the reports of its streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.table import Table

from stream_mapper.catalog import replace_file
from stream_mapper.page.labels import rounded
from stream_mapper.page.parts import text_of
from stream_mapper.page.writer import environment

_COLOURS = {"believable": "ok", "doubtful": "note", "no stream": "fail", "failed": "fail"}
_SHOWN = {
    "members": "members",
    "phi1_begin": "from φ₁",
    "phi1_end": "to φ₁",
    "distance": "distance",
    "phi2_sigma": "width",
    "width": "width",
    "mean_p_member": "mean p of members",
}
_LONG = 300  # letters of a reason


@dataclass(frozen=True)
class AtlasRow:
    """A stream, as the page shows it.

    Arguments:
        report: Where its report is, seen from the page; '' if there is none.
        values: Its row of the summary.
    """

    report: str
    values: Mapping[str, Any]


def write_atlas_page(path: Path, title: str, rows: Sequence[AtlasRow], summary: Table, files: Sequence[str]) -> None:
    """Write the page, which needs nothing from the network.

    Arguments:
        path: The file.
        title: Name of the atlas.
        rows: Its streams, in order.
        summary: The summary of all, which has the units.
        files: Names of the tables that are beside it.
    """
    templates = environment()
    outcomes = [str(row.values.get("verdict") or row.values["status"]) for row in rows]
    page = templates.get_template("atlas.html.jinja").render(
        title=title,
        style=templates.get_template("page.css").render(),
        counted=[(outcome, count) for outcome in _COLOURS if (count := Counter(outcomes)[outcome])],
        size=len(rows),
        head=[_head(name, label, summary) for name, label in _SHOWN.items()],
        files=list(files),
        rows=[_line(row, outcome) for row, outcome in zip(rows, outcomes, strict=True)],
    )
    replace_file(path, lambda new: new.write_text(page, encoding="utf-8"))


def _head(name: str, label: str, summary: Table) -> str:
    unit = str(summary[name].unit or "")
    return f"{label} [{unit}]" if unit else label


def _line(row: AtlasRow, outcome: str) -> dict[str, Any]:
    """What the template shows of a stream."""
    reason = str(row.values.get("reason") or row.values.get("doubts") or "")
    return {
        "stream": row.values["stream"],
        "report": row.report,
        "outcome": outcome,
        "colour": _COLOURS.get(outcome, ""),
        "cells": [_cell(row.values, name) for name in _SHOWN],
        "reason": reason if len(reason) <= _LONG else f"{reason[:_LONG]}...",
    }


def _cell(values: Mapping[str, Any], name: str) -> str:
    """A number with its band."""
    if name not in values:
        return ""
    band = [values[f"{name}_{end}"] for end in ("05", "95") if f"{name}_{end}" in values]
    if name == "members" and len(band) == 2:
        return f"{values[name]:,.0f} ({band[0]:,.0f} to {band[1]:,.0f})"
    return rounded(float(values[name]), *band) if len(band) == 2 else text_of(float(values[name]))
