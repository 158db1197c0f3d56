"""Lightning's checkpoints, each whole or not there, and a scheduler's signals, which a fit answers itself."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from stream_mapper.results.checkpoint import save_whole

_REMOTE = "://"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint under another name, and gives it its own when it is complete."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint of Lightning."""
        if _REMOTE in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_whole(Path(path), checkpoint)


class EpochCheckpoint(ModelCheckpoint):
    """Lightning's checkpoints, with ``last.ckpt`` that of the last epoch, also of one that was not the best."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the best as Lightning does, and the last, if an epoch's checkpoints are written here."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._should_save_on_train_epoch_end(trainer):
            self._save_last_of_epoch(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the best as Lightning does, and the last, if an epoch's checkpoints are written here."""
        super().on_validation_end(trainer, pl_module)
        if not self._should_save_on_train_epoch_end(trainer):
            self._save_last_of_epoch(trainer)

    def _save_last_of_epoch(self, trainer: L.Trainer) -> None:
        """Save the last unless it has just been saved beside the best."""
        if self.save_last is True and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


def write_whole(trainer: L.Trainer) -> None:
    """Let a trainer write its checkpoints whole, unless it has a plugin of its own for them."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeCheckpoints()


def without_requeue() -> dict[str, Any]:
    """Arguments of a trainer that leaves the signals of SLURM alone; none outside of it.

    Lightning would answer SIGUSR1 with a checkpoint in the middle of an epoch and put the job into the queue again,
    where the stars would come in another order, and the next fit from that folder would begin from it as well.
    """
    return {"plugins": [SLURMEnvironment(auto_requeue=False)]} if SLURMEnvironment.detect() else {}


def beside_nothing() -> dict[str, Any]:
    """Arguments of a trainer that neither writes to the working folder nor finds something there."""
    nowhere = Path(tempfile.gettempdir()) / f"stream-mapper-{uuid.uuid4().hex}"  # which is not made
    return {"default_root_dir": str(nowhere), **without_requeue()}
