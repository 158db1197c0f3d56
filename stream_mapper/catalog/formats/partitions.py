"""Catalogues of Parquet in parts: one file, a folder of files, or a HATS catalogue.

A HATS catalogue is a folder with a file of properties and a file (or a folder of files) for each of its HEALPix pixels:
``dataset/Norder=k/Dir=d/Npix=n.parquet`` (https://hats.readthedocs.io). A collection is a folder of these: a catalogue,
and margins, which repeat the stars around each pixel.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stream_mapper.catalog.files import table_format
from stream_mapper.catalog.formats.chunks import ParquetRows
from stream_mapper.catalog.formats.hats_folders import catalogues_of, data_files, is_hats
from stream_mapper.errors import InputError

SUFFIX = ".parquet"
_ROWS = 1_000_000  # of a part of one file, as far as its row groups allow


@dataclass(frozen=True)
class Part:
    """Rows of a catalogue that are read, computed and written together.

    Arguments:
        path: The file.
        place: Where they go, below the folder of the result.
        groups: Row groups of the file; all by default.
        is_repeated: Whether its rows are in other parts too: those of a margin.
    """

    path: Path
    place: str
    groups: tuple[int, ...] | None = None
    is_repeated: bool = False


def is_partitioned(path: Path) -> bool:
    """Whether a catalogue can be read part by part: a folder, or a file of Parquet."""
    return path.is_dir() or (path.is_file() and table_format(path) == "parquet")


def find_parts(path: str | os.PathLike[str], rows: int = _ROWS) -> list[Part]:
    """The parts of a catalogue, in order: whole files of a folder, row groups of one file.

    Arguments:
        path: A file of Parquet, or a folder with such files, nested ones included; what begins with a dot or an
            underscore is no data.
        rows: Rows of a part of one file; a larger row group is one part.

    Raises:
        InputError: If there is no file of Parquet, it is broken, or a HATS catalogue has not what it says.
    """
    path = Path(path)
    if not path.is_dir():
        return _parts_of_file(path, rows)
    if is_hats(path):
        return _parts_of_hats(path)
    files = _files(path)
    if not files:
        raise InputError(f"{path}: is a folder; give the path of a table, or of a folder with Parquet files in it.")
    return [Part(file, file.relative_to(path).as_posix()) for file in files]


def _parts_of_hats(path: Path) -> list[Part]:
    """The parts of a HATS catalogue, or of a collection: those of its catalogue, then of the margins."""
    primary, *margins = catalogues_of(path)
    files = [(file, False) for file in data_files(primary)]
    files += [(file, True) for margin in margins for file in data_files(margin)]
    return [Part(file, file.relative_to(path).as_posix(), None, repeated) for file, repeated in files]


def _files(root: Path) -> list[Path]:
    """The data files below a folder, in order."""
    names = sorted(path.relative_to(root) for path in root.rglob(f"*{SUFFIX}") if path.is_file())
    return [root / name for name in names if not any(component.startswith((".", "_")) for component in name.parts)]


def _parts_of_file(path: Path, rows: int) -> list[Part]:
    """Runs of whole row groups, of as few groups as have so many rows."""
    lengths = ParquetRows(path).lengths
    runs: list[list[int]] = [[]]
    for group in range(len(lengths)):
        if sum(lengths[g] for g in runs[-1]) >= rows:
            runs.append([])
        runs[-1].append(group)
    return [Part(path, f"part-{i:05d}{SUFFIX}", tuple(run)) for i, run in enumerate(runs)]
