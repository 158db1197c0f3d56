"""Tables on disk: read with a clear refusal, written all or nothing."""

from __future__ import annotations

import csv
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from astropy.table import Table

from stream_mapper.catalog.fits import read_fits, write_fits
from stream_mapper.catalog.parquet import read_parquet, write_parquet
from stream_mapper.catalog.votable import read_votable, write_votable
from stream_mapper.errors import InputError

FORMATS = {
    ".fits": "fits",
    ".fit": "fits",
    ".fits.gz": "fits",
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".parquet": "parquet",
    ".vot": "votable",
}
"""Format by suffix, as astropy names it. CSV keeps neither units nor metadata."""

_READERS: dict[str, Callable[[Path], Table]] = {"parquet": read_parquet, "fits": read_fits, "votable": read_votable}
_WRITERS = {"parquet": write_parquet, "fits": write_fits, "votable": write_votable}


def read_table(path: str | os.PathLike[str]) -> Table:
    """Read a table; the suffix tells the format (FITS, ECSV, CSV, Parquet, VOTable).

    Arguments:
        path: The file.

    Returns:
        All rows and columns, missing values masked, text as str.

    Raises:
        InputError: If the file is missing, a folder, of an unknown suffix, broken, without columns, or a CSV
            with two columns of one name.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the path of a table.")
    kind = table_format(path)
    if not path.is_file():
        raise InputError(f"{path}: does not exist; give the path of a table.")
    if kind == "ascii.csv":
        _refuse_doubles(path)
    try:
        table = _READERS[kind](path) if kind in _READERS else Table.read(path, format=kind)
        table.convert_bytestring_to_unicode()
    except Exception as error:
        raise InputError(f"{path}: cannot be read as {kind}: {one_line(error)}; is the file complete?") from error
    if not table.colnames:
        raise InputError(f"{path}: holds no columns; is the file complete?")
    return table


def write_table(table: Table, path: str | os.PathLike[str]) -> None:
    """Write a table in the format of the suffix; an existing file is replaced only by a complete one.

    Arguments:
        table: What to write; units and metadata are kept, except by CSV.
        path: The file; its folder has to exist.

    Raises:
        InputError: If the suffix is unknown, the folder missing, or the table cannot be written there.
    """
    target = Path(path)
    kind = check_target(target)
    try:
        replace_file(target, lambda new: _write(table, new, kind))
    except Exception as error:
        raise InputError(f"{target}: cannot be written as {kind}: {one_line(error)}.") from error


def check_target(path: Path) -> str:
    """Format of a table that is to be written.

    Raises:
        InputError: If the path is a folder, its folder does not exist, or its suffix is unknown.
    """
    if path.is_dir() or not path.parent.is_dir():
        found = "is a folder" if path.is_dir() else "its folder does not exist"
        raise InputError(f"{path}: {found}; give the path of a file in a folder that exists.")
    return table_format(path)


def replace_file(target: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file in the same folder, then put it in the place of ``target``."""
    target = target.resolve()
    new = target.with_name(f".{uuid.uuid4().hex}-{target.name}")
    try:
        write(new)
        new.replace(target)
    except Exception as error:
        _speak_of(target, new, error)
        raise
    finally:
        new.unlink(missing_ok=True)


def _speak_of(target: Path, new: Path, error: Exception) -> None:
    """Let an exception name the file that was asked for where it names the temporary one."""
    error.args = tuple(arg.replace(str(new), str(target)) if isinstance(arg, str) else arg for arg in error.args)
    if isinstance(error, OSError) and str(error.filename) == str(new):
        error.filename = str(target)


def table_format(path: Path) -> str:
    """Format of a file by its suffix.

    Raises:
        InputError: If the suffix is not one of ``FORMATS``.
    """
    for suffix, kind in FORMATS.items():
        if path.name.lower().endswith(suffix):
            return kind
    raise InputError(f"{path}: unknown suffix {path.suffix!r}; use one of {', '.join(FORMATS)}.")


def one_line(error: Exception) -> str:
    """First line of what an exception says, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".")


def _refuse_doubles(path: Path) -> None:
    """Raise InputError if a CSV has two columns of one name, which astropy would rename."""
    names: list[str] = []
    with path.open(newline="", errors="replace") as file, suppress(csv.Error):  # the reader says what is wrong
        names = [name.strip() for name in next(filter(None, csv.reader(file)), [])]
    if doubles := sorted({name for name in names if name and names.count(name) > 1}):
        raise InputError(f"{path}: more than one column is called {doubles}; give every column a name of its own.")


def _write(table: Table, path: Path, kind: str) -> None:
    if kind in _WRITERS:
        _WRITERS[kind](table, path)
    else:
        table.write(path, format=kind, overwrite=True)
