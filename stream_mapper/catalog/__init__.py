"""Catalogues: read, named, converted to internal units, rotated into the frame of a stream. Astropy stays here."""

from stream_mapper.catalog.columns import Column, Columns, Errors, to_data
from stream_mapper.catalog.frames import SkyFrame, load
from stream_mapper.catalog.io import check_target, read_table, replace_file, table_format, write_table
from stream_mapper.catalog.schema import default_unit, find_column
from stream_mapper.catalog.selection import cut
from stream_mapper.catalog.tables import to_table, with_units

__all__ = [
    "Column",
    "Columns",
    "Errors",
    "SkyFrame",
    "check_target",
    "cut",
    "default_unit",
    "find_column",
    "load",
    "read_table",
    "replace_file",
    "table_format",
    "to_data",
    "to_table",
    "with_units",
    "write_table",
]
