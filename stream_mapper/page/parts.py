"""The parts of the page below the stars: pictures and tables."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from stream_mapper.page.labels import rounded
from stream_mapper.page.numbers import banded

OUTCOMES = ("fail", "note", "ok")
"""Outcomes of checks, the worst first."""
_TITLES = {
    "residuals": ("Data, model and residuals", ("residual", "slices")),
    "track": ("Track, width and distance", ("track", "width")),
    "density": ("Density", ("density", "weight")),
    "membership": ("Memberships", ("membership",)),
    "pictures": ("Other pictures", ("",)),
}
"""Parts of pictures, and what the names of theirs begin with; the last takes those that are left."""


@dataclass(frozen=True)
class Grid:
    """A table of plain text.

    Arguments:
        head: Heads of the columns, none for a list of names and values.
        rows: Its rows.
        folded: What is clicked on to see it; '' if it is seen at once.
        marked: Whether outcomes of checks are coloured.
    """

    head: list[str]
    rows: list[list[str]]
    folded: str = ""
    marked: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure as PNG, in base64."""

    name: str
    data: str


@dataclass(frozen=True)
class Part:
    """A part of the page, under a heading.

    Arguments:
        id: Its place in the page.
        title: Its heading.
        text: A sentence on it.
        figures: Its pictures.
        plots: Its figures of Bokeh, as HTML.
        tables: Its tables.
    """

    id: str
    title: str
    text: str = ""
    figures: list[Picture] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    tables: list[Grid] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not (self.figures or self.plots or any(table.rows for table in self.tables))


def pictures(folder: Path, shown: Iterable[str] = ()) -> list[Part]:
    """The PNGs of a folder by subject, without those that the page shows otherwise."""
    left = {path.stem: path for path in sorted(folder.glob("*.png")) if path.stem not in set(shown)}
    parts = []
    for key, (title, beginnings) in _TITLES.items():
        names = [name for name in left if name.startswith(beginnings)]
        parts.append(Part(key, title, figures=[_picture(left.pop(name)) for name in names]))
    return parts


def checks_part(table: Table | None) -> Part:
    """Every check, those that failed first, and a map of checks and coordinates."""
    title, text = "Checks", "What each check asks, and what its limits are, is in the documentation of the checks."
    if table is None:
        return Part("checks", title)
    order = sorted(range(len(table)), key=lambda row: OUTCOMES.index(str(table["verdict"][row])))
    names = ("verdict", "name", "component", "value", "limit", "message")
    rows = [[text_of(table[name][row]) for name in names] for row in order]
    return Part("checks", title, text, tables=[by_component(table), Grid(list(names), rows, "every check", True)])


def by_component(table: Table) -> Grid:
    """The worst outcome of each check of each component."""
    names = list(dict.fromkeys(str(name) for name in table["name"]))
    whose = list(dict.fromkeys(text_of(component) for component in table["component"]))
    worst: dict[tuple[str, str], str] = {}
    for row in table:
        key = str(row["name"]), text_of(row["component"])
        worst[key] = min(worst.get(key, "ok"), str(row["verdict"]), key=OUTCOMES.index)
    rows = [[name, *(worst.get((name, q), "") for q in whose)] for name in names]
    return Grid(["check", *(q or "all stars" for q in whose)], rows, marked=True)


def table_part(key: str, title: str, table: Table | None, text: str = "", folded: str = "") -> Part:
    """A table of the run with units in its heads, folded away under a word if one is given.

    A number and its quantiles are one column.
    """
    if table is None or not len(table):
        return Part(key, title)
    with_band = [name for name in table.colnames if {f"{name}_05", f"{name}_95"} <= set(table.colnames)]
    quantiles = {f"{name}_{end}" for name in with_band for end in ("05", "95")}
    names = [name for name in table.colnames if name not in quantiles]
    head = [f"{name} [{unit}]" if (unit := str(table[name].unit or "")) else name for name in names]
    rows = [[banded(row, name) if name in with_band else text_of(row[name]) for name in names] for row in table]
    return Part(key, title, text, tables=[Grid(head, rows, folded)])


def list_part(key: str, title: str, rows: Mapping[str, Any], text: str = "", folded: str = "") -> Part:
    """Names and values, folded away under a word if one is given."""
    return Part(key, title, text, tables=[Grid([], [[name, text_of(value)] for name, value in rows.items()], folded)])


def text_of(value: Any) -> str:
    """A value as a table shows it; nothing for what is missing.

    >>> text_of(0.123456), text_of(float("nan")), text_of("a"), text_of(3)
    ('0.1235', '', 'a', '3')
    """
    if np.ma.is_masked(value):
        return ""
    return rounded(float(value)) if isinstance(value, float | np.floating) else str(value)


def _picture(path: Path) -> Picture:
    return Picture(path.stem.replace("_", " "), base64.b64encode(path.read_bytes()).decode())
