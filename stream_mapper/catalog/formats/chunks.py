"""Parquet in chunks: read some rows at a time, columns carried as they are and others added, written as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table
from numpy.typing import NDArray

from stream_mapper.catalog.files import one_line, replace_file
from stream_mapper.catalog.formats.parquet import from_arrow, with_header_of
from stream_mapper.errors import InputError

_BUFFER = 1 << 20  # bytes read at once of each column; without it a row group is read whole

Chunk = Any
"""Rows of a file, all or some of its columns, as a table of arrow."""


class ParquetRows:
    """The rows of a Parquet file, in bounded memory.

    Arguments:
        path: The file.

    Raises:
        InputError: If it is missing or broken, or two of its columns have one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InputError(f"{path}: does not exist; give the path of a table.")
        with _refusal(path):
            self._file = pq.ParquetFile(path, buffer_size=_BUFFER)
            self.schema = self._file.schema_arrow
        names = self.schema.names
        if doubles := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"{path}: more than one column is called {doubles}; give every column a name of its own.")

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema.names)

    @property
    def lengths(self) -> list[int]:
        """Number of rows of each row group."""
        metadata = self._file.metadata
        return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]

    def chunks(
        self, size: int, names: Sequence[str] | None = None, groups: Sequence[int] | None = None
    ) -> Iterator[Chunk]:
        """The rows in order, ``size`` at a time and at the end what is left.

        Arguments:
            size: Rows of a chunk.
            names: Columns; all by default.
            groups: Row groups; all by default.

        Raises:
            InputError: If the file is broken.
        """
        groups = list(range(self._file.metadata.num_row_groups) if groups is None else groups)
        names = self.names if names is None else list(names)
        with _refusal(self.path):
            batches = self._file.iter_batches(batch_size=size, row_groups=groups, columns=names)
            for chunk in _of_one_size(batches, size):
                yield chunk.select(names)

    def check_like(self, other: ParquetRows) -> None:
        """Raise InputError if the columns are not those of another file, of the same types in the same order."""
        ours, theirs = (list(zip(rows.schema.names, rows.schema.types, strict=True)) for rows in (self, other))
        if ours != theirs:
            odd = [f"{name} ({kind})" for name, kind in ours if (name, kind) not in theirs]
            gone = [f"{name} ({kind})" for name, kind in theirs if (name, kind) not in ours]
            difference = f"has {odd} and lacks {gone}" if odd or gone else "has them in another order"
            raise InputError(
                f"{self.path}: its columns are not those of {other.path}: it {difference}; write all alike."
            )


def as_table(chunk: Chunk) -> Table:
    """The chunk as a table of astropy, with units and missing values."""
    return from_arrow(chunk)


def from_frame(frame: Any) -> Table:
    """The rows of a data frame of pandas, missing values masked."""
    return from_arrow(pa.Table.from_pandas(frame, preserve_index=False))


def extended(
    schema: Any | None,
    added: Mapping[str, np.dtype[Any]],
    renamed: Mapping[str, str],
    note: Callable[[Table], Table] | None = None,
) -> Any:
    """The schema of a result: the input's columns as they are but for their names, if any, then the added ones.

    Arguments:
        schema: That of the input.
        added: Types of the added columns.
        renamed: New names of columns of the input.
        note: Adds notes to a table of all these columns without rows, for the header.
    """
    fields = [field.with_name(renamed.get(field.name, field.name)) for field in schema or ()]
    fields += [pa.field(name, pa.from_numpy_dtype(kind)) for name, kind in added.items()]
    return with_header_of(pa.schema(fields), renamed, (schema.metadata if schema else None) or {}, note)


def with_added(chunk: Chunk | None, added: Mapping[str, NDArray[Any]], schema: Any) -> Chunk:
    """The rows of a chunk, if they are carried, with the added columns, by the schema of the result."""
    columns = chunk.columns if chunk is not None else []
    return pa.table([*columns, *map(pa.array, added.values())], schema=schema)


def write_chunks(path: Path, schema: Any, chunks: Iterable[Chunk]) -> None:
    """Write chunks to a file, a row group each; the file is there only when it is complete."""
    replace_file(path, lambda new: _write(new, schema, chunks))


def joined(chunks: Iterable[Chunk], others: Iterable[Chunk], schema: Any) -> Iterator[Chunk]:
    """The columns of two files of the same rows, cut into chunks alike, by the schema of the result."""
    for left, right in zip(chunks, others, strict=True):
        yield pa.table([*left.columns, *right.columns], schema=schema)


def set_threads(count: int) -> None:
    """Number of threads that Parquet is read with."""
    pa.set_cpu_count(count)


def _of_one_size(batches: Iterable[Any], size: int) -> Iterator[Chunk]:
    """The same rows, ``size`` at a time: where arrow cuts depends on the columns that are read."""
    waiting: list[Any] = []
    for batch in batches:
        room, rest = size - sum(map(len, waiting)), batch
        while len(rest) >= room:
            yield pa.Table.from_batches([*waiting, rest.slice(0, room)])
            waiting, rest, room = [], rest.slice(room), size
        waiting += [rest] if len(rest) else []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _write(path: Path, schema: Any, chunks: Iterable[Chunk]) -> None:
    with pq.ParquetWriter(path, schema, use_dictionary=_worth_a_dictionary(schema)) as writer:
        for chunk in chunks:
            writer.write_table(chunk, row_group_size=max(1, len(chunk)))


@contextmanager
def _refusal(path: Path) -> Iterator[None]:
    """What arrow says of a broken file, in one line."""
    try:
        yield
    except Exception as error:
        raise InputError(f"{path}: cannot be read as parquet: {one_line(error)}; is the file complete?") from error


def _worth_a_dictionary(schema: Any) -> list[str]:
    """Columns of text; to look for repeated numbers takes longer than to write them."""
    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)
    return [field.name for field in schema if any(is_text(field.type) for is_text in text)]
