"""One page of HTML on a run, with everything in it."""

from __future__ import annotations

import base64
import html
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from stream_mapper.catalog import read_table, replace_file
from stream_mapper.errors import InputError
from stream_mapper.results.provenance import digest

NAME = "report.html"
_FIRST = ("sky", "track", "density", "colour_magnitude", "proper_motions")
_OUTCOMES = ("fail", "note", "ok")
_PACKAGES = ("torch", "lightning", "zuko", "astropy", "numpy")
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1, h2 { font-weight: 600 } img { max-width: 100% } figure { margin: 1.5rem 0 } figcaption { color: #666 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
td, th { padding: .15rem .7rem; text-align: right } th { border-bottom: 1px solid #999 }
tr td:first-child, tr th:first-child { text-align: left }
pre { background: #f5f5f5; padding: 1rem; overflow-x: auto; font-size: 12px }
"""


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a run folder: verdict, figures, numbers, best members, configuration and versions.

    Arguments:
        folder: The folder of a finished fit.

    Returns:
        The page, which needs no other file and nothing from the network.

    Raises:
        InputError: If the folder is not that of a finished fit.
    """
    metrics = _metrics(folder)
    sections = [
        ("Judgement", _judgement(metrics, folder / "checks.ecsv")),
        ("Summary", _rows(("", ""), [(key, _text(value)) for key, value in metrics.items() if _is_number(value)])),
        ("Figures", "\n".join(_figure(path) for path in _figures(folder / "figures"))),
        ("Best members", _members(folder / "members.ecsv")),
        ("Origin", _rows(("", ""), _origin(folder))),
        ("Configuration", _pre(folder / "config.yaml")),
    ]
    body = "\n".join(f"<h2>{title}</h2>\n{text}" for title, text in sections if text)
    title = html.escape(f"{folder.name}: a fit of stream_mapper")
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n<h1>{title}</h1>\n{body}\n</body></html>\n'
    replace_file(folder / NAME, lambda new: new.write_text(page, encoding="utf-8"))
    return folder / NAME


def _metrics(folder: Path) -> dict[str, Any]:
    """The numbers of the run, by which a finished one is known."""
    advice = "give the folder of a finished fit, such as runs/version_0"
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
    except OSError as error:
        raise InputError(f"{folder}: has no metrics.json that can be read; {advice}.") from error
    except ValueError as error:
        raise InputError(f"{folder / 'metrics.json'}: is not complete ({error}); {advice}.") from error
    if not isinstance(metrics, dict):
        raise InputError(f"{folder / 'metrics.json'}: holds a {type(metrics).__name__}, not numbers by name; {advice}.")
    return metrics


def _figures(folder: Path) -> list[Path]:
    """The figures, those one looks at first in front."""
    order = {name: place for place, name in enumerate(_FIRST)}
    return sorted(folder.glob("*.png"), key=lambda path: (order.get(path.stem, len(order)), path.stem))


def _figure(path: Path) -> str:
    data, name = base64.b64encode(path.read_bytes()).decode(), html.escape(path.stem.replace("_", " "))
    image = f'<img alt="{name}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{name}</figcaption></figure>"


def _judgement(metrics: Mapping[str, Any], path: Path) -> str:
    """The verdict and every check, those that failed first; nothing of a fit that was not judged."""
    if "verdict" not in metrics or not path.is_file():
        return ""
    table: Table = read_table(path)
    names = ("verdict", "name", "component", "message")
    if not set(names) <= set(table.colnames):
        raise InputError(f"{path}: no columns {names}; it has {table.colnames}: a fit writes it.")
    place = {outcome: place for place, outcome in enumerate(_OUTCOMES)}
    order = sorted(range(len(table)), key=lambda row: place.get(str(table["verdict"][row]), len(place)))
    rows = ([_text(table[name][row]) for name in names] for row in order)
    return f"<p><strong>{html.escape(str(metrics['verdict']))}</strong></p>\n{_rows(('', 'check', 'of', ''), rows)}"


def _members(path: Path) -> str:
    """The short table, with units, as far as there is one."""
    if not path.is_file():
        return ""
    table: Table = read_table(path)
    names = [f"{name} [{unit}]" if (unit := table[name].unit) else name for name in table.colnames]
    return _rows(names, ([_text(value) for value in row] for row in table))


def _origin(folder: Path) -> list[tuple[str, str]]:
    """What the tables say of their origin, the versions here, and the hash of the checkpoint as it is now."""
    track = folder / "track.ecsv"
    said: Mapping[str, Any] = read_table(track).meta if track.is_file() else {}
    best = folder / "checkpoints" / "best.ckpt"
    rows = [(key, str(value)) for key, value in said.items()]
    rows += [("SHA-256 of best.ckpt now", digest(best))] if best.is_file() else []
    return [*rows, ("python", platform.python_version()), *((name, _version(name)) for name in _PACKAGES)]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _rows(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of HTML from plain text."""
    first = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = ("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{first}</tr>\n' + "\n".join(lines) + "</table></div>"


def _pre(path: Path) -> str:
    return f"<pre>{html.escape(path.read_text())}</pre>" if path.is_file() else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: object) -> str:
    """A value as a table shows it; nothing for what is missing."""
    if np.ma.is_masked(value):
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.7g}" if np.isfinite(value) else ""
    return str(value)
