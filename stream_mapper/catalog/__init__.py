"""Catalogues: read, named, converted to internal units, rotated into the frame of a stream. Astropy stays here."""

from stream_mapper.catalog.blank import Blank
from stream_mapper.catalog.columns import Column, Columns, Errors
from stream_mapper.catalog.corrections import Corrections
from stream_mapper.catalog.export import galstreams_tables, to_icrs
from stream_mapper.catalog.extinction import Extinction
from stream_mapper.catalog.facts import TableFacts, survey_bands, table_facts
from stream_mapper.catalog.files import check_apart, check_target, remove_unfinished, replace_file, table_format
from stream_mapper.catalog.formats.chunks import (
    Chunk,
    ParquetRows,
    as_table,
    extended,
    from_frame,
    joined,
    set_threads,
    with_added,
    write_chunks,
)
from stream_mapper.catalog.formats.hats import complete_hats
from stream_mapper.catalog.formats.hats_folders import is_hats
from stream_mapper.catalog.formats.hats_new import can_write_hats, write_hats
from stream_mapper.catalog.formats.hats_region import Region, copy_region, files_near
from stream_mapper.catalog.formats.latex import escaped, write_deluxetable
from stream_mapper.catalog.formats.partitions import Part, find_parts, is_partitioned
from stream_mapper.catalog.io import read_table, write_table
from stream_mapper.catalog.metadata import annotate, check_ids, id_column, identifier
from stream_mapper.catalog.reading import Reading, load, to_data, warn_unmeasured
from stream_mapper.catalog.schema import default_unit, find_column
from stream_mapper.catalog.sky.footprints import read_footprint
from stream_mapper.catalog.sky.frames import SkyFrame
from stream_mapper.catalog.sky.reflex import Reflex
from stream_mapper.catalog.sky.streams import KnownStream, Source, known_stream
from stream_mapper.catalog.sky.tracks import read_track
from stream_mapper.catalog.tables import to_table, with_units

__all__ = [
    "Blank",
    "Chunk",
    "Column",
    "Columns",
    "Corrections",
    "Errors",
    "Extinction",
    "KnownStream",
    "ParquetRows",
    "Part",
    "Reading",
    "Reflex",
    "Region",
    "SkyFrame",
    "Source",
    "TableFacts",
    "annotate",
    "as_table",
    "can_write_hats",
    "check_apart",
    "check_ids",
    "check_target",
    "complete_hats",
    "copy_region",
    "default_unit",
    "escaped",
    "extended",
    "files_near",
    "find_column",
    "find_parts",
    "from_frame",
    "galstreams_tables",
    "id_column",
    "identifier",
    "is_hats",
    "is_partitioned",
    "joined",
    "known_stream",
    "load",
    "read_footprint",
    "read_table",
    "read_track",
    "remove_unfinished",
    "replace_file",
    "set_threads",
    "survey_bands",
    "table_facts",
    "table_format",
    "to_data",
    "to_icrs",
    "to_table",
    "warn_unmeasured",
    "with_added",
    "with_units",
    "write_chunks",
    "write_deluxetable",
    "write_hats",
    "write_table",
]
