"""Lightning's checkpoints, each whole or not there, and a scheduler's signals, which a fit answers itself."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

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

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint of Lightning, as plain values alone."""
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return loaded


class EpochCheckpoint(ModelCheckpoint):
    """Lightning's checkpoints, with ``last.ckpt`` that of the end of the last epoch, of one that was not the best too.

    A fit goes on from it: in the middle of an epoch, or before its validation, there is nothing to go on from.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the best as Lightning does, if it is not saved where a validation ends, and the last."""
        super().on_train_epoch_end(trainer, pl_module)
        if self.save_last is True and trainer.state.fn == TrainerFn.FITTING and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            super()._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def _save_last_checkpoint(self, trainer: L.Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """Save no last one beside the best: an epoch may not be over."""
        if self.save_last is not True:
            super()._save_last_checkpoint(trainer, monitor_candidates)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what was best, also in a run folder that has been moved."""
        found = {**state_dict, "dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            found[name] = self._here(state_dict.get(name, ""))
        found["best_k_models"] = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(found)

    def _here(self, path: str) -> str:
        return os.path.join(self.dirpath or "", os.path.basename(path)) if path else path


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
