"""A run folder belongs to one fit at a time, whichever processes ask for it at once."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from stream_mapper.errors import InputError
from stream_mapper.results.stages import is_complete

_LOCK = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)  # of some file systems

_held: dict[Path, int] = {}  # descriptors of the locks that this process has: they end with it, however it ends


def new_folder(root: Path) -> Path:
    """Make the next folder ``version_K`` of a root, which no other process gets."""
    root.mkdir(parents=True, exist_ok=True)
    number = 1 + max((_number(path) for path in root.iterdir()), default=-1)
    while True:
        try:
            (root / f"version_{number}").mkdir()
        except FileExistsError:
            number += 1
        else:
            return root / f"version_{number}"


def take(folder: Path) -> bool:
    """Whether a folder is now this process's, which it is until `give_back` or the end of the process."""
    folder = folder.resolve()
    if folder in _held:
        return True
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
    _held[folder] = descriptor
    return True


def check_free(folder: Path) -> None:
    """Take a folder.

    Raises:
        InputError: If another process has it.
    """
    if not take(folder):
        raise InputError(f"{folder}: another fit is being made there; wait for it, or give another folder.")


def give_back(folder: Path) -> None:
    """Let others have a folder."""
    folder = folder.resolve()
    if (descriptor := _held.pop(folder, None)) is not None:
        if is_complete(folder):
            (folder / _LOCK).unlink(missing_ok=True)
        os.close(descriptor)


def _number(path: Path) -> int:
    name, _, number = path.name.partition("version_")
    return int(number) if not name and number.isdecimal() else -1
