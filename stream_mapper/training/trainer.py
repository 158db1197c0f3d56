"""Lightning's trainer as a fit uses it, from the command line or from Python."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from stream_mapper.training.callbacks import FitProgress, StopOnNonFinite
from stream_mapper.training.length import BY_STARS
from stream_mapper.training.recording import Recorder
from stream_mapper.training.whole_files import EpochCheckpoint, without_requeue

_LOGGERS = ("lightning.pytorch", "lightning.fabric")

MONITOR = {"monitor": "val/ln_likelihood", "mode": "max"}
BEST_EPOCH = {
    "filename": "best_epoch",
    "save_last": True,
    "auto_insert_metric_name": False,
    "enable_version_counter": False,  # a fit that goes on finds its own
    **MONITOR,
}
"""The checkpoint of the best epoch so far, of which the end of a fit makes ``best.ckpt``."""

DEFAULTS = {
    "max_epochs": BY_STARS,
    "gradient_clip_val": 10.0,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}


def callbacks() -> list[Callback]:
    """A guard, a bar, and what TensorBoard is shown."""
    return [StopOnNonFinite(), FitProgress(), Recorder()]


def make_trainer(root: str, *, logger: bool, **options: Any) -> L.Trainer:
    """A trainer for a fit from Python.

    Arguments:
        root: Folder of its checkpoints and, if there are some, of its events.
        logger: Whether it writes events for TensorBoard.
        **options: Arguments of Lightning's ``Trainer``, in place of the defaults.
    """
    dirpath = f"{root}/checkpoints"
    best = EpochCheckpoint(dirpath, **BEST_EPOCH)  # type: ignore[arg-type]
    chosen = options.pop("callbacks", None) or callbacks()
    events = board(Path(root)) if logger else False
    given = {"default_root_dir": root, "logger": events, **DEFAULTS, **without_requeue(), **options}
    return L.Trainer(callbacks=[*chosen, best], **given)


def board(folder: Path) -> TensorBoardLogger:
    """What writes events for TensorBoard into a run folder."""
    return TensorBoardLogger(folder.parent, name="", version=folder.name, default_hp_metric=False)


@contextmanager
def only_warnings() -> Iterator[None]:
    """Inside, Lightning says nothing below warnings, unless our own messages are told to the last."""
    if logging.getLogger("stream_mapper").isEnabledFor(logging.DEBUG):
        yield
        return
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
