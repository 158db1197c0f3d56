"""Parts of a catalogue on a worker, which keeps the model from one to the next."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stream_mapper.catalog import Part, set_threads
from stream_mapper.commands import ignore_expected
from stream_mapper.errors import InputError
from stream_mapper.prediction.part_folder import MANIFEST, digest_of
from stream_mapper.prediction.parts import PartTask, PartWriter
from stream_mapper.results.tally import Tally
from stream_mapper.trust import allow


class _Kept(NamedTuple):
    """What a worker has loaded, and for which task."""

    task: PartTask
    writer: PartWriter


_kept: _Kept | None = None


def compute_part(task: PartTask, folder: Path, part: Part) -> Tally:
    """Write the result for a part below a folder, where every worker finds it under this path.

    Raises:
        InputError: If the checkpoint is not that of the task, the command that asked for the part has ended and removed
            the folder, or as :class:`PartWriter` does.
    """
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder}: is not there for a worker; every worker needs the files under the same path.")
    return _writer(task)(part, folder / part.place)


def _writer(task: PartTask) -> PartWriter:
    """The writer for a task, loaded anew for another one."""
    global _kept  # noqa: PLW0603
    if _kept is None or _kept.task != task:
        _check_checkpoint(task)
        ignore_expected()
        set_threads(1)
        allow(*task.allowed)
        _kept = _Kept(task, PartWriter(task))
    return _kept.writer


def _check_checkpoint(task: PartTask) -> None:
    """Raise InputError if there is another checkpoint here than where the prediction was started."""
    path = Path(task.checkpoint)
    if not path.is_file() or digest_of(task.checkpoint) != task.digest:
        found = "is another file" if path.is_file() else "does not exist"
        raise InputError(f"{path}: {found} for a worker; every worker needs the files under the same path.")
