"""What every result says of its origin, under keywords that FITS keeps too."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from astropy.table import Table

from stream_mapper.catalog import Reading, SkyFrame, annotate, find_column
from stream_mapper.models import MixtureModel

CREATOR, CONFIG, CHECKPOINT, DATE, FIT_DATE = "CREATOR", "CONFHASH", "CKPTHASH", "DATE", "FITDATE"
VERSIONS = "VERSIONS"

_KEYS = {"MODEL", "FRAME", CREATOR, CONFIG, CHECKPOINT, DATE, FIT_DATE, VERSIONS}
_PACKAGES = ("torch", "lightning", "zuko", "astropy", "numpy")

Facts = dict[str, Any]
"""Keyword to what it says: OBJECT, MODEL, FRAME, CREATOR, CONFHASH, CKPTHASH, DATE, VERSIONS."""


def facts_of(
    model: MixtureModel, frame: SkyFrame | None, version: str, name: str = "", config: Path | None = None
) -> Facts:
    """The facts of a fit.

    Arguments:
        model: Its model.
        frame: The frame its stars were rotated into; without one, phi1 and phi2 are as they were read.
        version: Version of this package.
        name: Name of the stream.
        config: Its resolved configuration; without the file there is no hash.
    """
    facts: Facts = {"OBJECT": name} if name else {}
    facts["MODEL"] = f"{type(model).__name__}({', '.join(model.components)})"
    facts |= _of_frame(frame)
    facts[CREATOR] = f"stream_mapper {version}"
    if config is not None and config.is_file():
        facts[CONFIG] = digest(config)
    return facts


def versions() -> str:
    """What this process runs with, such as ``python 3.11.2, torch 2.13.0``."""
    return ", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in _PACKAGES)])


def digest(path: Path) -> str:
    """SHA-256 of a file, as ``sha256sum`` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def now() -> str:
    """Date and time, UTC, as FITS writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def internal_names(names: Sequence[str], reading: Reading) -> dict[str, str]:
    """Internal name of each column of a table of these names that a fit reads."""
    asked = reading.columns
    if not isinstance(asked, Mapping):
        asked = {name: find_column(name, names, reading.survey) or name for name in asked}
    spelt = dict(reading.frame.columns(names)) if reading.frame is not None else {}
    spelt |= {name: column if isinstance(column, str) else column.column for name, column in asked.items()}
    return {column: name for name, column in spelt.items() if column in names}


def with_facts(table: Table, facts: Facts, internal: Mapping[str, str], of_id: str | None = None) -> Table:
    """The table, changed in place, with the facts in its metadata and notes at its columns.

    Arguments:
        table: A result.
        facts: What it says of its origin; it replaces what the input said of its own.
        internal: Internal names of columns of the input, and results by their own.
        of_id: The column that tells stars apart, if there is one.
    """
    kept = {key: value for key, value in table.meta.items() if not _ours(str(key).upper(), facts)}
    table.meta = {**kept, **facts}
    return annotate(table, internal, of_id)


def _ours(key: str, facts: Facts) -> bool:
    """Whether a keyword of an input is one that results have, so that what it says is of an earlier fit."""
    return key in facts or key in _KEYS or key.startswith("FRAME_")


def _of_frame(frame: SkyFrame | None) -> Facts:
    """The frame, by what it says of itself: FRAME, and FRAME_<key> for what else it knows."""
    if frame is None:
        return {"FRAME": "as read"}
    said = frame.metadata()
    facts: Facts = {"FRAME": str(said.pop("name"))}
    plain = {key: value for key, value in said.items() if value is not None}
    for key, value in plain.items():
        facts[f"FRAME_{key}".upper()] = (
            value if isinstance(value, str | int | float) else json.dumps(value, default=str)
        )
    return facts
