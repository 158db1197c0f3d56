"""Catalogues of Parquet in parts: one file, a folder of files, or a HATS catalogue.

A HATS catalogue is a folder with a file of properties and a file (or a folder of files) for each of its HEALPix pixels:
``dataset/Norder=k/Dir=d/Npix=n.parquet`` (https://hats.readthedocs.io).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stream_mapper.catalog.files import table_format
from stream_mapper.catalog.formats.chunks import ParquetRows
from stream_mapper.errors import InputError

SUFFIX = ".parquet"
PROPERTIES = ("hats.properties", "properties")
COLLECTION = "collection.properties"
_ROWS = 1_000_000  # of a part of one file, as far as its row groups allow


@dataclass(frozen=True)
class Part:
    """Rows of a catalogue that are read, computed and written together.

    Arguments:
        path: The file.
        place: Where they go, below the folder of the result.
        groups: Row groups of the file; all by default.
    """

    path: Path
    place: str
    groups: tuple[int, ...] | None = None


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
        InputError: If there is no file of Parquet, or it is broken.
    """
    path = Path(path)
    if not path.is_dir():
        return _parts_of_file(path, rows)
    files = _files(path)
    if not files:
        raise InputError(f"{path}: is a folder; give the path of a table, or of a folder with Parquet files in it.")
    return [Part(file, file.relative_to(path).as_posix()) for file in files]


def is_hats(path: Path) -> bool:
    """Whether a folder is a HATS catalogue."""
    return (path / "dataset").is_dir() and any((path / name).is_file() for name in PROPERTIES)


def _refuse_collection(path: Path) -> None:
    """Raise InputError if a folder is a collection of HATS catalogues."""
    if (path / COLLECTION).is_file():
        inside = sorted(folder.name for folder in path.iterdir() if is_hats(folder))
        raise InputError(f"{path}: is a collection of the HATS catalogues {inside}; give one of them.")


def _files(root: Path) -> list[Path]:
    """The data files below a folder, in order; of a HATS catalogue those of its pixels."""
    _refuse_collection(root)
    hats = is_hats(root)
    inside = root / "dataset" if hats else root
    names = sorted(path.relative_to(root) for path in inside.rglob(f"*{SUFFIX}") if path.is_file())
    shown = [name for name in names if not any(component.startswith((".", "_")) for component in name.parts)]
    return [root / name for name in shown if not hats or any(component.startswith("Npix=") for component in name.parts)]


def _parts_of_file(path: Path, rows: int) -> list[Part]:
    """Runs of whole row groups, of as few groups as have so many rows."""
    lengths = ParquetRows(path).lengths
    runs: list[list[int]] = [[]]
    for group in range(len(lengths)):
        if sum(lengths[g] for g in runs[-1]) >= rows:
            runs.append([])
        runs[-1].append(group)
    return [Part(path, f"part-{i:05d}{SUFFIX}", tuple(run)) for i, run in enumerate(runs)]
