"""The stages of a fit, and what each leaves in the run folder, so that a fit that was stopped goes on.

========== ===================================== ==========================================================
stage      leaves, when it is over               if it was stopped
========== ===================================== ==========================================================
background ``stages/background.<i>.ckpt``        the density that was being trained is trained anew
copies     ``stages/copies.<density>.<i>.ckpt``  so is the copy that was being trained
mixture    ``stages/mixture.ckpt``               goes on after its last epoch, ``checkpoints/last.ckpt``
polish     ``stages/polish.ckpt``                is done anew
posterior  ``stages/posterior.ckpt``             is done anew
writing    tables, figures; last, metrics.json   is done anew
========== ===================================== ==========================================================

What is done anew begins with the weights and the random numbers that the stage before it left. A complete run has no
folder ``stages`` any more.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from astropy.table import Table
from torch import nn

from stream_mapper.catalog import remove_unfinished, replace_file
from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.results.checkpoint import save_whole
from stream_mapper.results.random_state import random_state, set_random_state

BACKGROUND, COPIES, MIXTURE, POLISH, POSTERIOR = "background", "copies", "mixture", "polish", "posterior"
"""Names of the stages that leave a file; the first two leave one a density."""

COMPLETE = "metrics.json"
"""The last file of a run: one that has it is complete."""

CONFIG, LAST = "config.yaml", Path("checkpoints") / "last.ckpt"

_FOLDER, _INPUTS = "stages", "inputs.json"

Found = TypeVar("Found")


class Stages:
    """Takes stages that are over from the run folder, and keeps those that end; by default it keeps nothing.

    Arguments:
        begin: Makes the folder of a new run, once there is something to keep.
        folder: The folder of a run that goes on.
        writes: Whether this process keeps what it does: the first of those that fit together.
    """

    def __init__(
        self, begin: Callable[[], Path] | None = None, folder: Path | None = None, *, writes: bool = True
    ) -> None:
        self._begin, self.folder, self._writes = begin, folder, writes
        self.goes_on = folder is not None
        self._inputs: dict[str, str] = {}

    @property
    def keeps(self) -> bool:
        """Whether there is, or will be, a folder to go on from."""
        return self.folder is not None or self._begin is not None

    def check(self, what: str, value: Callable[[], str]) -> None:
        """Remember what a fit is of, such as a table, by its digest, or compare it with what it was.

        Arguments:
            what: What it is, in words.
            value: Finds its digest; it is not asked where nothing is kept.

        Raises:
            InputError: If the fit goes on and it is another.
        """
        if not self.keeps:
            return
        self._inputs[what] = value()
        if self.goes_on and self.folder is not None and self._before.get(what) != self._inputs[what]:
            raise InputError(
                f"{self.folder}: {what} has changed since this fit began, so that it cannot go on; fit again."
            )

    def begin(self) -> None:
        """Make the folder of a new run, if it is not made yet."""
        if self.folder is None and self._begin is not None and self._writes:
            self.folder = self._begin()
            (self.folder / _FOLDER).mkdir(exist_ok=True)
            text = json.dumps(self._inputs, indent=1) + "\n"
            replace_file(self.folder / _FOLDER / _INPUTS, lambda new: new.write_text(text))

    def do(self, stage: str, module: nn.Module, work: Callable[[], Found]) -> Found:
        """What a stage finds, with the module as it leaves it: by its file if it was over, else by its work.

        Arguments:
            stage: Its name, with the number of a density.
            module: What the work changes.
            work: Does it; numbers and text, lists and dicts of them.
        """
        if self.goes_on and self.folder is not None and (path := _file(self.folder, stage)).is_file():
            return _taken(path, module)
        found = work()
        self.begin()
        if self.folder is not None and self._writes:
            state = {name: values.cpu() for name, values in module.state_dict().items()}
            entries = {"state": state, "found": found, "random": random_state()}
            save_whole(_file(self.folder, stage), entries)
        return found

    def last_epoch(self) -> Path | None:
        """The checkpoint after which the training of the mixture goes on, if there is one."""
        if not self.goes_on or self.folder is None or not (self.folder / LAST).is_file():
            return None
        return self.folder / LAST

    def end(self) -> None:
        """Remove what nobody needs once the run is complete."""
        if self.folder is not None:
            drop_stages(self.folder)

    @property
    def _before(self) -> Mapping[str, str]:
        """What the fit was of when it began."""
        path = Path(self.folder or "") / _FOLDER / _INPUTS
        try:
            before: Mapping[str, str] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error}), so that this fit cannot go on; fit again.") from error
        return before


def left_of(folder: Path) -> str | None:
    """What to do about a run that is not complete, in one line; None of a complete one and of other folders."""
    if is_complete(folder) or not is_run(folder):
        return None
    if not can_go_on(folder):
        return f"{folder} is not complete, and has not what a fit needs to go on: fit again"
    if training_is_over(folder):
        return f"{folder} is not complete: stream-mapper finish {folder} computes what is missing"
    return f"{folder} is not complete: stream-mapper fit --resume {folder} goes on with it"


def can_go_on(folder: Path) -> bool:
    """Whether a run that is not complete has what it needs to go on."""
    return (folder / CONFIG).is_file() and (folder / _FOLDER / _INPUTS).is_file() and not is_complete(folder)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a fit, complete or not."""
    return (folder / CONFIG).is_file() or (folder / LAST).is_file()


def is_complete(folder: Path) -> bool:
    """Whether a run has its last file."""
    return (folder / COMPLETE).is_file()


def training_is_over(folder: Path) -> bool:
    """Whether the mixture of a run that is not complete has been trained."""
    return _file(folder, MIXTURE).is_file()


def check_complete(folder: Path) -> None:
    """Raise InputError if a folder is that of a fit that is not complete."""
    if left := left_of(folder):
        raise InputError(f"{left}.")


def drop_run(folder: Path) -> None:
    """Remove that by which a folder would be that of an earlier fit: one that is reused holds what that has left."""
    for name in (COMPLETE, LAST):
        (folder / name).unlink(missing_ok=True)
    drop_stages(folder)
    remove_unfinished(folder)


def drop_stages(folder: Path) -> None:
    """Remove what the stages of a run have left."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)


def digest_of(*parts: Table | Data | str) -> str:
    """SHA-256 of tables, stars and texts: names, numbers, and what is missing."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
        else:
            for name, values in _columns(part):
                digest.update(f"{name} {values.dtype} {values.shape};".encode())
                digest.update(_bytes(values))
    return digest.hexdigest()


def _columns(part: Table | Data) -> list[tuple[str, np.ndarray]]:
    """Columns by name, each followed by where it has values."""
    if isinstance(part, Data):
        pairs = [(name, part[name].cpu().numpy(), part.where[name].cpu().numpy()) for name in part.names]
    else:
        pairs = [(n, np.ma.getdata(part[n]), ~np.ma.getmaskarray(part[n])) for n in part.colnames]
    return [(name, np.asarray(values)) for name, *both in pairs for values in both]


def _bytes(values: np.ndarray) -> bytes | memoryview:
    if values.dtype.hasobject:
        return repr(values.tolist()).encode()
    return np.ascontiguousarray(values).view(np.uint8).data if values.size else b""


def _file(folder: Path, stage: str) -> Path:
    return folder / _FOLDER / f"{stage}.ckpt"


def _taken(path: Path, module: nn.Module) -> Any:
    """What a stage found, its weights and its random numbers, from its file."""
    try:
        entries = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(entries["state"])
        set_random_state(entries["random"])
        return entries["found"]
    except Exception as error:  # whatever torch says of a file that is damaged
        raise InputError(f"{path}: cannot be read; remove it, and its stage is done anew.") from error
