"""Parquet with units, metadata and missing values.

Astropy's own reader needs pandas, turns integers with gaps (a source_id) into floats and stops at missing strings; its
writer hides a mask in a second column. Here a missing value is a null, as every other reader expects, and units and
metadata go where astropy keeps them, so that files pass both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from astropy.table import Column, MaskedColumn, Table, represent_mixins_as_columns
from astropy.table.meta import get_header_from_yaml, get_yaml_from_table

from stream_mapper.catalog.formats.voparquet import content_of, with_notes

HEADER = "table_meta_yaml"
MASK = ".mask"
SERIALIZED = "__serialized_columns__"


def read_parquet(path: Path) -> Table:
    """Table of a Parquet file, whoever wrote it; nulls are masked.

    A column of several parts (a SkyCoord that astropy wrote) stays in its parts, such as ``coord.ra``.
    """
    return from_arrow(pq.ParquetFile(path).read())


def from_arrow(arrow: Any) -> Table:
    """Table of one of arrow; nulls are masked, and units are those of astropy's header in its metadata."""
    table = Table({name: _from_arrow(arrow[name]) for name in arrow.column_names})
    header = header_of(arrow.schema)
    return _restore_masks(_apply_header(table, header)) if header else with_notes(table, arrow.schema)


def header_of(schema: Any) -> dict[str, Any] | None:
    """What astropy notes of the columns in the metadata of a file, if it was astropy or this package that wrote it."""
    text = (schema.metadata or {}).get(HEADER.encode())
    return _parse(text) if text else None


def with_header_of(
    schema: Any,
    renamed: Mapping[str, str],
    metadata: dict[bytes, bytes],
    note: Callable[[Table], Table] | None = None,
) -> Any:
    """The schema (with columns renamed and added) with the metadata of the file it was made from, header included.

    Arguments:
        schema: The schema of the result.
        renamed: New names of columns of that file.
        metadata: That file's.
        note: Adds notes to a table of those columns without rows; without it a file without a header stays so.
    """
    header = header_of(schema.with_metadata(metadata))
    if header is None and note is None:
        return schema.with_metadata(metadata or None)
    empty = schema.empty_table()
    table = Table({name: _from_arrow(empty[name]) for name in schema.names})
    if header is None:
        table = with_notes(table, schema.with_metadata(metadata), renamed)
    if header is not None:
        notes = [{**one, "name": renamed.get(one["name"], one["name"])} for one in header["datatype"]]
        table = _apply_header(table, {**header, "datatype": notes})
        table.meta = dict(header.get("meta") or {})
    table = table if note is None else note(table)
    text = "\n".join(get_yaml_from_table(table)).encode()
    return schema.with_metadata({**metadata, HEADER.encode(): text, **content_of(table)})


def write_parquet(table: Table, path: Path) -> None:
    """Write a table; masked values become nulls, units and metadata are kept for astropy."""
    pq.write_table(to_arrow(table), path)


def to_arrow(table: Table) -> Any:
    """Table of arrow of one of astropy; masked values become nulls, units and metadata are kept for astropy."""
    flat = represent_mixins_as_columns(Table(table, copy=False))
    columns = {name: _to_arrow(flat[name]) for name in flat.colnames}
    lengths = {f"table::len::{n}": str(flat[n].dtype.itemsize // 4) for n in flat.colnames if flat[n].dtype.kind == "U"}
    notes: dict[Any, Any] = {HEADER: "\n".join(get_yaml_from_table(flat)), **lengths, **content_of(flat)}
    return pa.table(columns).replace_schema_metadata(notes)


@lru_cache(maxsize=8)
def _parse(text: bytes) -> dict[str, Any]:
    """The header, which is the same in every part of a catalogue, read once."""
    header: dict[str, Any] = get_header_from_yaml(text.decode().split("\n"))
    return header


def _from_arrow(arrow: Any) -> Any:
    """Column of astropy from one of arrow."""
    column = _plain(arrow.combine_chunks())
    kind, missing = column.type, column.null_count > 0
    if pa.types.is_fixed_size_list(kind) and not missing:
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), kind.list_size)
    if not (_is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind)):
        return column.to_numpy(zero_copy_only=False)
    mask = column.is_null().to_numpy(zero_copy_only=False)
    values = (pc.fill_null(column, _blank(kind)) if missing else column).to_numpy(zero_copy_only=False)
    values = values.astype(str) if pa.types.is_string(kind) else values
    return MaskedColumn(values, mask=mask) if missing else values


def _plain(column: Any) -> Any:
    """The same column without categories, decimals or large strings."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return column.cast(pa.float64())
    return column.cast(pa.string()) if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else column


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _blank(kind: Any) -> Any:
    """What stands under the mask of a missing value."""
    if pa.types.is_string(kind):
        return ""
    return pa.scalar(False if pa.types.is_boolean(kind) else np.nan if pa.types.is_floating(kind) else 0, kind)


def _apply_header(table: Table, header: dict[str, Any]) -> Table:
    """Restore what astropy notes of each column."""
    for note in (n for n in header["datatype"] if n["name"] in table.colnames):
        for key in {"unit", "description", "format", "meta"} & set(note):
            setattr(table[note["name"]], key, note[key])
    table.meta.update({key: value for key, value in (header.get("meta") or {}).items() if key != SERIALIZED})
    return table


def _restore_masks(table: Table) -> Table:
    """Put the masks that astropy keeps in columns of their own on the columns they are of."""
    for name in [n for n in table.colnames if n + MASK in table.colnames]:
        mask = np.asarray(table[name + MASK], dtype=bool)
        table[name] = MaskedColumn(table[name], mask=mask | np.ma.getmaskarray(np.ma.asarray(table[name])))
        table.remove_column(name + MASK)
    return table


def _to_arrow(column: Column) -> Any:
    """Column of arrow, native byte order, masked values as nulls."""
    mask = np.ma.getmaskarray(column) if isinstance(column, MaskedColumn) else None
    values = np.asarray(column)
    if values.dtype.kind == "O":
        return pa.array(values.tolist(), mask=mask)
    values = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    if values.ndim == 1:
        return pa.array(values, mask=mask)
    flat = pa.array(values.ravel(), mask=None if mask is None else mask.ravel())
    return pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))
