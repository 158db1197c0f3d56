"""Tables on disk, in whichever format: read with a clear refusal, written all or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from astropy.table import Table

from stream_mapper.catalog.files import check_target, one_line, replace_file, table_format
from stream_mapper.catalog.formats.fits import read_fits, write_fits
from stream_mapper.catalog.formats.parquet import read_parquet, write_parquet
from stream_mapper.catalog.formats.text import CSV, ECSV, read_csv, read_ecsv
from stream_mapper.catalog.formats.votable import read_votable, write_votable
from stream_mapper.errors import InputError

_READERS: dict[str, Callable[[Path], Table]] = {
    "parquet": read_parquet,
    "fits": read_fits,
    "votable": read_votable,
    CSV: read_csv,
    ECSV: read_ecsv,
}
_WRITERS = {"parquet": write_parquet, "fits": write_fits, "votable": write_votable}


def read_table(path: str | os.PathLike[str]) -> Table:
    """Read a table; the suffix tells the format (FITS, ECSV, CSV, Parquet, VOTable).

    Arguments:
        path: The file.

    Returns:
        All rows and columns, missing values masked, text as str.

    Raises:
        InputError: If the file is missing, a folder, of an unknown suffix, broken, without columns, not all of the
            answer to a query that failed, or has two columns of one name.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the path of a table.")
    kind = table_format(path)
    if not path.is_file():
        raise InputError(f"{path}: does not exist; give the path of a table.")
    try:
        table = _READERS[kind](path)
        table.convert_bytestring_to_unicode()
    except InputError:
        raise
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
    target = Path(path).expanduser()
    kind = check_target(target)
    try:
        replace_file(target, lambda new: _write(table, new, kind))
    except Exception as error:
        raise InputError(f"{target}: cannot be written as {kind}: {one_line(error)}.") from error


def _write(table: Table, path: Path, kind: str) -> None:
    if kind in _WRITERS:
        _WRITERS[kind](table, path)
    else:
        table.write(path, format=kind, overwrite=True)
