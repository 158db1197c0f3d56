"""What a run shows and keeps: progress, and a guard."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ProgressBar
from torch import Tensor
from torch.nn.utils import get_total_norm
from tqdm import tqdm

from stream_mapper.devices import sync_is_cheap
from stream_mapper.errors import DivergedError
from stream_mapper.models.components import part_name
from stream_mapper.models.known import Batch
from stream_mapper.progress import is_shown
from stream_mapper.training.diverged import explain

_KEPT = "the checkpoints are those of the epochs before"
_NEVER = 2**62  # a step that no fit reaches


class StopEarly(EarlyStopping):
    """Stops a fit once the held-out stars have long become no likelier; by default it does not.

    The learning rate falls to zero over the whole fit: one that is stopped has not settled.

    Arguments:
        patience: Epochs without a better one; None never to stop.
        monitor: What is looked at.
        mode: Whether the better is the larger, ``max``, or the smaller, ``min``.
        min_delta: Least change that counts.
    """

    def __init__(
        self,
        patience: int | None = None,
        monitor: str = "val/ln_likelihood",
        mode: str = "max",
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(monitor, min_delta, sys.maxsize if patience is None else patience, mode=mode)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Stop again a fit that goes on after the epoch that stopped it."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class StopOnNonFinite(Callback):
    """Stops the fit when a gradient is not finite, and names the weights it was first seen at.

    On a device that has to be waited for, the gradients are looked at now and then, and whenever an epoch ends.

    Arguments:
        every_n_steps: Steps between two looks, there.
    """

    def __init__(self, every_n_steps: int = 100) -> None:
        self.every_n_steps = every_n_steps
        self._batch: Batch | None = None
        self._since: Tensor | None = None  # step at which each weight's gradient was first not finite

    def on_train_batch_start(
        self,
        trainer: L.Trainer,  # noqa: ARG002
        pl_module: L.LightningModule,  # noqa: ARG002
        batch: Any,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Remember the stars of the step."""
        self._batch = batch if isinstance(batch, Batch) else None

    def on_before_optimizer_step(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        optimizer: torch.optim.Optimizer,  # noqa: ARG002
    ) -> None:
        """Note the gradients that are not finite from this step on."""
        step = trainer.global_step
        grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if grads and sync_is_cheap(grads[0].device) and get_total_norm(grads).isfinite():
            return
        finite = torch.stack([_finite(p) for p in pl_module.parameters() if p.requires_grad])
        since = torch.where(finite, _NEVER, step)
        self._since = since if self._since is None else torch.minimum(self._since, since)
        if sync_is_cheap(since.device) or (step + 1) % self.every_n_steps == 0:
            self._look(pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Look before a checkpoint is written."""
        self._look(pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Look at the end of an epoch that has no validation."""
        self._look(pl_module)

    def _look(self, module: L.LightningModule) -> None:
        """Raise DivergedError for the first gradients that were not finite, by one transfer from the device."""
        since = [] if self._since is None else self._since.tolist()
        self._since = None
        if since and (first := min(since)) < _NEVER:
            names = [part_name(name) for name, p in module.named_parameters() if p.requires_grad]
            bad = [name for name, step in zip(names, since, strict=True) if step == first]
            raise DivergedError(f"step {first}: the gradient of {bad[:3]} is not finite; {self._why(module)}.")

    def _why(self, module: L.LightningModule) -> str:
        """What it began with, and what can be done."""
        model: Any = module.model
        fits: Any = getattr(module, "ensemble", ())
        began = explain(model, self._batch) if self._batch is not None and len(fits) < 2 else "of several fits"
        return f"{began}. Look at that star, at the bounds and guides, or lower model.learning_rate ({_KEPT})"


def _finite(weight: Tensor) -> Tensor:
    """Whether the gradient of a weight is finite where there is one, a scalar."""
    return weight.new_ones((), dtype=torch.bool) if weight.grad is None else weight.grad.isfinite().all()


class FitProgress(ProgressBar):
    """One bar over the epochs on a terminal, with the loss and the expected members among the training stars."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None
        self._enabled = True

    def disable(self) -> None:
        """Show no bar on this process."""
        self._enabled = False

    def enable(self) -> None:
        """Show a bar on this process."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Open the bar."""
        self._bar = tqdm(
            total=trainer.max_epochs,
            initial=trainer.current_epoch,
            disable=not (self._enabled and is_shown()),
            desc="fit",
            unit="epoch",
            mininterval=1.0,
        )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Move the bar one step; the numbers are read from the device every tenth epoch only."""
        self._bar.update(1)
        if self._bar.n % 10 == 0 or self._bar.n == trainer.max_epochs:
            values = trainer.callback_metrics
            shown = {"loss": "train/loss", "held-out ln p": "val/ln_likelihood", "members (training)": "train/members"}
            self._bar.set_postfix(
                {k: f"{values[v].item():.4g}" for k, v in shown.items() if v in values}, refresh=False
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Close the bar."""
        self._bar.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
