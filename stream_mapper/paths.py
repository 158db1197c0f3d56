"""Types of arguments that are paths: in a configuration they are relative to its file, and ``~`` is the home folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    FilePath = str | os.PathLike[str]
    NameOrFile = str | os.PathLike[str]
else:

    class FilePath(str):
        """The path of a file or a folder."""

        __slots__ = ()

    class NameOrFile(str):
        """A name that is known, or the path of a file: what is a file, or has the ending of one, is a path."""

        __slots__ = ()


_ENDINGS = (".ecsv", ".csv", ".fits", ".parquet", ".vot")


def absolute(path: str | os.PathLike[str]) -> str:
    """The path from the root, ``~`` expanded; what is relative starts in the working folder.

        >>> absolute("/data/field/../stars.fits")
        '/data/stars.fits'

    Raises:
        TypeError: If it is no text and no path.
    """
    return os.path.abspath(os.path.expanduser(path))


def is_file(source: str | os.PathLike[str]) -> bool:
    """Whether a file is meant and not a name: it is there, or its name ends as that of a table.

    >>> is_file("stars/track.ecsv"), is_file("GD-1.ibata2021")
    (True, False)
    """
    path = Path(source).expanduser()
    return path.is_file() or path.suffix in _ENDINGS


def absolute_if_file(source: str | os.PathLike[str]) -> str:
    """The path from the root of what is meant as a file; a name as it is.

    Raises:
        TypeError: If it is no text and no path.
    """
    return absolute(source) if is_file(source) else os.fspath(source)


def from_here(path: str | os.PathLike[str]) -> Path:
    """The path from the working folder, if it lies in there; else as it is.

    >>> str(from_here("/data/stars.fits"))
    '/data/stars.fits'
    """
    whole, here = Path(path).absolute(), Path.cwd()
    return whole.relative_to(here) if whole.is_relative_to(here) else Path(path)


def written_in(path: str | os.PathLike[str], folder: Path) -> str:
    """A path as a configuration in a folder names it: relative if both lie in the working folder."""
    if from_here(path).is_absolute() or from_here(folder).is_absolute():
        return absolute(path)
    return os.path.relpath(path, folder)
