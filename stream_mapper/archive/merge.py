"""One table of all slices, a slice at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table.meta import get_yaml_from_table
from numpy.typing import NDArray

from stream_mapper.archive.adql import REQUIRED
from stream_mapper.archive.field import Field
from stream_mapper.archive.work import SliceFile
from stream_mapper.catalog.files import replace_file
from stream_mapper.catalog.formats.parquet import HEADER, read_parquet
from stream_mapper.errors import InputError


def merge(files: Sequence[SliceFile], field: Field, output: Path, provenance: dict[str, Any]) -> int:
    """Write the stars of a field from its slices, in the order of phi1, and count them.

    Arguments:
        files: The slices on disk.
        field: The field; stars beyond it, which a polygon has too, are left out.
        output: The Parquet file, written all or nothing.
        provenance: What goes into its metadata, as ``query``.

    Raises:
        InputError: If no star is in the field, a star is there twice, or slices disagree on a column.
    """
    masks = _masks(files, field)
    full = [(file, mask) for file, mask in zip(files, masks, strict=True) if mask.any()]
    if not full:
        raise InputError("the archive has no star in this field that passes the cuts; nothing is written.")
    schema = _schema([file.path for file, _ in full], provenance)
    replace_file(output, lambda new: _write(full, schema, new))
    return int(sum(mask.sum() for mask in masks))


def _masks(files: Sequence[SliceFile], field: Field) -> list[NDArray[np.bool_]]:
    """The stars of each slice that belong to it."""
    masks, ids = [], []
    for file in files:
        columns = pq.read_table(file.path, columns=list(REQUIRED))
        source, ra, dec = (columns[name].to_numpy() for name in REQUIRED)
        masks.append(field.inside(file.slice, ra, dec))
        ids.append(source[masks[-1]])
    values, counts = np.unique(np.concatenate(ids), return_counts=True)
    if (counts > 1).any():
        examples = values[counts > 1][:3].tolist()
        raise InputError(
            f"{(counts > 1).sum()} stars came more than once, such as source_id {examples}; check the query."
        )
    return masks


def _schema(paths: list[Path], provenance: dict[str, Any]) -> pa.Schema:
    """Names and types of all slices, with the units of the first one, and the provenance."""
    try:
        schema = pa.unify_schemas([pq.read_schema(path).remove_metadata() for path in paths])
    except pa.ArrowInvalid as error:
        raise InputError(f"slices disagree on a column ({error}); remove the working folder.") from error
    table = read_parquet(paths[0])[:0]
    table.meta["query"] = provenance
    return schema.with_metadata({HEADER: "\n".join(get_yaml_from_table(table))})


def _write(full: Sequence[tuple[SliceFile, NDArray[np.bool_]]], schema: pa.Schema, path: Path) -> None:
    """Write the slices one after the other."""
    with pq.ParquetWriter(path, schema) as writer:
        for file, mask in full:
            stars = pq.read_table(file.path).filter(pa.array(mask))
            writer.write_table(stars.replace_schema_metadata(None).cast(schema.remove_metadata()).cast(schema))
