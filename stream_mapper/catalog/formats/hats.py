"""What makes a folder of results HATS, a catalogue or a collection, as what it was made from: written by ``hats``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stream_mapper.catalog.files import replace_file
from stream_mapper.catalog.formats.hats_folders import (
    COLLECTION,
    PROPERTIES,
    catalogues_of,
    data_files,
    is_collection,
    is_hats,
    module_of_hats,
    properties_of,
)
from stream_mapper.catalog.formats.parquet import from_arrow
from stream_mapper.catalog.metadata import UCD

_STATISTICS, _THUMBNAIL = "per_partition_statistics.parquet", "data_thumbnail.parquet"
_FOOTERS, _SCHEMA = "_metadata", "_common_metadata"
_OF_DATA = {_STATISTICS, _THUMBNAIL, *PROPERTIES}  # made anew
_NOT_MADE = ("all_indexes", "default_index", "all_extensions")  # of a collection: other tables of the same stars


def complete_hats(source: Path, target: Path, added: Sequence[str], renamed: dict[str, str], builder: str) -> None:
    """Give a folder that has the parts of HATS, with columns added, the rest of it.

    The rows are the same, so the lists of pixels and the maps are copied; what is said of columns and sizes is new.

    Arguments:
        source: The catalogue or collection the parts were made from; one that is not HATS is left as it is.
        target: The folder of the result, with all its parts.
        added: Names of the columns that were added.
        renamed: Columns of the source that have another name in the result.
        builder: What made the result, and its version.
    """
    if not is_hats(source):
        return
    for catalogue in catalogues_of(source):
        _complete_catalogue(catalogue, target / catalogue.relative_to(source), added, renamed, builder)
    if is_collection(source):
        margins = [folder.name for folder in catalogues_of(source)[1:]]
        changed = {"all_margins": " ".join(margins) or None, **dict.fromkeys(_NOT_MADE)}
        if properties_of(source).default_margin not in margins:
            changed["default_margin"] = None
        _write_properties(source, target, builder, changed)


def _complete_catalogue(
    source: Path, target: Path, added: Sequence[str], renamed: dict[str, str], builder: str
) -> None:
    """Make the files of one catalogue beside its data."""
    for file in (path for path in source.iterdir() if path.is_file() and path.name not in _OF_DATA):
        if not file.name.startswith("."):
            replace_file(target / file.name, partial(shutil.copyfile, file))
    shown = properties_of(source).default_columns
    columns = {"hats_cols_default": " ".join([*(renamed.get(name, name) for name in shown), *added])} if shown else {}
    # hats takes for granted that every file has rows
    has_rows = all(pq.read_metadata(target / file.relative_to(source)).num_rows for file in data_files(source))
    module_of_hats("io.parquet_metadata", source).write_parquet_metadata(
        target,
        create_metadata=(source / "dataset" / _FOOTERS).is_file(),
        create_thumbnail=has_rows and (source / _THUMBNAIL).is_file(),
        create_per_partition_stats=has_rows and (source / _STATISTICS).is_file(),
    )
    _describe(target)
    _write_properties(source, target, builder, columns)


def _describe(target: Path) -> None:
    """Note units, UCDs and descriptions of the columns as VOParquet does, in the file with the schema.

    The files themselves have such notes, too. Columns that hats cannot describe, such as lists, leave those in place.
    """
    table = from_arrow(pq.read_schema(target / "dataset" / _SCHEMA).empty_table())
    columns = {name: table[name] for name in table.colnames}
    notes = {
        "field_units": {name: str(column.unit) for name, column in columns.items() if column.unit},
        "field_ucds": {name: ucd for name, column in columns.items() if (ucd := (column.meta or {}).get(UCD))},
        "field_descriptions": {name: column.description for name, column in columns.items() if column.description},
    }
    with suppress(ValueError):
        module_of_hats("io.parquet_metadata", target).write_voparquet_in_common_metadata(target, **notes)


def _write_properties(source: Path, target: Path, builder: str, changed: dict[str, Any]) -> None:
    """The properties of the source with some changed; without a date, as the same command gives the same bytes."""
    properties = properties_of(source)
    size = sum(path.stat().st_size for path in target.rglob("*.parquet")) // 1024  # in kB, as hats counts
    made = {"hats_builder": f"{builder}, hats v{module_of_hats('_version', source).__version__}", "hats_estsize": size}
    values = {**properties.model_dump(by_alias=True, exclude_none=True), "hats_creation_date": None, **made, **changed}
    new = type(properties)(**{name: value for name, value in values.items() if value not in (None, "")})
    names = [COLLECTION] if is_collection(source) else [name for name in PROPERTIES if (source / name).is_file()]
    title = "HATS Collection" if is_collection(source) else "HATS catalog"
    for name in names:
        replace_file(target / name, partial(_to_file, new, title))


def _to_file(properties: Any, title: str, path: Path) -> None:
    properties.to_properties_file_path(path, initial_comments=title)
