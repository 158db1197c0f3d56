"""Files of tables: their formats by suffix, where one may be written, and writing all or nothing."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}-")


def check_target(path: Path) -> str:
    """Format of a table that is to be written.

    Raises:
        InputError: If the path is a folder, its folder does not exist, or its suffix is unknown.
    """
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else "its folder does not exist"
        raise InputError(f"{path}: {problem}; give the path of a file in a folder that exists.")
    return table_format(path)


def stamp(path: Path) -> list[int]:
    """Size [bytes] and time of a file, in whole seconds, which tell it from one that takes its place."""
    told = path.stat()
    return [told.st_size, int(told.st_mtime)]


def replace_file(target: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file in the same folder, then put it in the place of ``target``.

    The file is on the disk before it gets its name: neither a kill nor a failure of power leaves a part of one.
    """
    target = target.resolve()
    new = target.with_name(f".{uuid.uuid4().hex}-{target.name}")
    try:
        write(new)
        _sync(new)
        new.replace(target)
        _sync(target.parent)
    except Exception as error:
        _speak_of(target, new, error)
        raise
    finally:
        new.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files that `replace_file` left in a folder, and in those inside, when it was killed.

    Folders that were being written as a whole are removed, too.
    """
    for path in [path for path in folder.rglob(".*") if _TEMPORARY.match(path.name)]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def check_apart(target: Path, *inputs: Path) -> None:
    """Raise InputError if a file that is to be written is one that is read, by whatever name or link."""
    for source in inputs:
        same = target.resolve() == source.resolve()
        if same or (target.exists() and source.exists() and target.samefile(source)):
            raise InputError(f"{target}: is {source}, which is read; give the output a name of its own.")


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk; some file systems cannot say."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES):
            raise
    finally:
        os.close(descriptor)


def _speak_of(target: Path, new: Path, error: Exception) -> None:
    """Let an exception name the file that was asked for where it names the temporary one."""
    error.args = tuple(arg.replace(str(new), str(target)) if isinstance(arg, str) else arg for arg in error.args)
    of_system = isinstance(error, OSError) and error.errno is not None  # others have no place for a name
    if isinstance(error, OSError) and of_system and str(error.filename) in ("None", str(new)):
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
