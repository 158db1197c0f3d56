"""What makes a folder of results a HATS catalogue, as the catalogue it was made from was one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from stream_mapper.catalog.files import replace_file
from stream_mapper.catalog.formats.partitions import PROPERTIES, find_parts, is_hats

_COLUMNS = "hats_cols_default"
_SIZE = "hats_estsize"  # in kB
_STATISTICS = "per_partition_statistics.parquet"  # of the columns; readers do without


def complete_hats(source: Path, target: Path, added: Sequence[str], renamed: dict[str, str]) -> None:
    """Give a folder that has the parts of a HATS catalogue, with columns added, the rest of one.

    The rows are the same, so what is said of them holds: the list of partitions and the maps are copied.

    Arguments:
        source: The catalogue the parts were made from; one that is not HATS is left as it is.
        target: The folder of the result, with all its parts.
        added: Names of the columns that were added.
        renamed: Columns of the source that have another name in the result.
    """
    if not is_hats(source):
        return
    files = [part.path for part in find_parts(target)]
    size = sum(path.stat().st_size for path in files) // 1024
    for file in (path for path in source.iterdir() if path.is_file()):
        if file.name in PROPERTIES:
            text = _with_properties(file.read_text(), added, renamed, size)
            replace_file(target / file.name, partial(_write_text, text))
        elif file.name != _STATISTICS:
            replace_file(target / file.name, partial(shutil.copyfile, file))
    _write_metadata(source / "dataset", target / "dataset", files)


def _with_properties(text: str, added: Sequence[str], renamed: dict[str, str], size: int) -> str:
    """The properties with the new columns among those that are read by default, and the new size."""
    lines = []
    for line in text.splitlines():
        key, equals, value = (word.strip() for word in line.partition("="))
        if key == _COLUMNS and value:
            names = [renamed.get(name, name) for name in value.replace(",", " ").split()]
            lines.append(f"{key}={' '.join([*names, *added])}")
        else:
            lines.append(f"{key}={size}" if key == _SIZE and equals else line)
    return "\n".join(lines) + "\n"


def _write_text(text: str, path: Path) -> None:
    path.write_text(text)


def _write_metadata(source: Path, target: Path, files: Sequence[Path]) -> None:
    """The files with the schema, and with the footers of all parts, where the source has them."""
    if (source / "_common_metadata").is_file():
        schema = pq.read_schema(files[0])
        replace_file(target / "_common_metadata", lambda new: pq.write_metadata(schema, new))
    if (source / "_metadata").is_file():
        footers = []
        for path in files:
            footers.append(pq.read_metadata(path))
            footers[-1].set_file_path(path.relative_to(target).as_posix())
        schema = pq.read_schema(files[0])
        replace_file(target / "_metadata", lambda new: pq.write_metadata(schema, new, metadata_collector=footers))
