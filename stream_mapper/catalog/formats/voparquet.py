"""VOParquet: units, UCDs and descriptions of a Parquet file as a VOTable without rows in its metadata.

See https://www.ivoa.net/documents/Notes/VOParquet (version 1.0), which TOPCAT and archives write.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io.votable import from_table, parse
from astropy.table import Column, Table

from stream_mapper.catalog.files import one_line
from stream_mapper.catalog.metadata import UCD

_log = logging.getLogger("stream_mapper")

VERSION, CONTENT = b"IVOA.VOTable-Parquet.version", b"IVOA.VOTable-Parquet.content"
_UNIT = b"unit"
_INSTEAD: dict[str, type] = {  # of types that a VOTable has not, the narrowest that holds the values, or nearly all
    "int8": np.int16,
    "uint16": np.int32,
    "uint32": np.int64,
    "uint64": np.int64,
    "float16": np.float32,
}


def content_of(table: Table) -> dict[bytes, bytes]:
    """The entries of a file's metadata that describe a table's columns."""
    columns = {name: _describable(table[name]) for name in table.colnames}
    text = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy minds units that the standard of VOTables has not
        from_table(Table(columns, copy=False)).to_xml(text)
    return {VERSION: b"1.0", CONTENT: text.getvalue()}


def with_notes(table: Table, schema: Any, renamed: Mapping[str, str] | None = None) -> Table:
    """The table with what the metadata of its file says of the columns; the same table.

    Arguments:
        table: A table without units.
        schema: Schema of arrow, whose fields are called like the table's columns, with the metadata of the file.
        renamed: What columns of the file are called in the table, where it is something else.
    """
    for field in (field for field in schema if field.name in table.colnames and (field.metadata or {}).get(_UNIT)):
        table[field.name].unit = field.metadata[_UNIT].decode("utf-8", "replace")
    for note in _fields(schema.metadata or {}):
        name = (renamed or {}).get(note.name, note.name)
        if name in table.colnames:
            column = table[name]
            column.unit = note.unit if column.unit is None else column.unit
            column.description = " ".join((note.description or "").split()) or None
            column.meta = {**(column.meta or {}), **({UCD: note.ucd} if note.ucd else {})}
    return table


def _fields(metadata: Mapping[bytes, bytes]) -> list[Any]:
    """The fields of the first table in the metadata; none, with a warning, if it cannot be read."""
    text = metadata.get(CONTENT)
    if text is None:
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(parse(io.BytesIO(text)).get_first_table().fields)
    except Exception as error:  # whatever a parser of XML says
        _log.warning("the VOTable in the metadata of a Parquet file cannot be read (%s): no units.", one_line(error))
        return []


def _describable(column: Column) -> Column:
    """The column without rows, of a type that a VOTable has."""
    kind = _INSTEAD.get(column.dtype.name, str if column.dtype.kind in "OMm" else column.dtype)
    empty = Column(np.zeros((0, *column.shape[1:]), dtype=kind), unit=column.unit, description=column.description)
    empty.meta = {UCD: ucd} if (ucd := (column.meta or {}).get(UCD)) else {}
    return empty
