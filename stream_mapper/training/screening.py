"""While a mixture is trained: which stars each component may hold is found now and then."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from stream_mapper.devices import sync_is_cheap
from stream_mapper.inference.screening import skipped, skipped_by_each
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.training.batches import Batches
from stream_mapper.training.processes import gather_rows

SKIP_BELOW = 1e-5
"""Membership below which a component's density is not computed in every step."""

_RECHECK_BELOW = 1e-14  # and below which it is not even looked at whenever others are


class ScreenStars(Callback):
    """Finds anew which of the stars each component may hold; the densities of the others are not computed.

    Every epoch in the first fifth of the fit, then now and then; stars far from any limit less often. On a CPU only:
    elsewhere, to choose rows is to wait for the device.

    Arguments:
        every_n_epochs: Epochs between two screenings; 0 for none.
    """

    def __init__(self, every_n_epochs: int = 5) -> None:
        self.every_n_epochs = every_n_epochs
        self._found: dict[str, dict[str, Tensor]] = {}

    def state_dict(self) -> dict[str, Any]:
        """What was found last of the training and of the held-out stars, for a fit that goes on."""
        return self._found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what was found before the fit was stopped."""
        self._found = state_dict

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Hand the stars what was found before the fit was stopped."""
        for which, batches in (("train", trainer.train_dataloader), ("val", trainer.val_dataloaders)):
            if isinstance(batches, Batches) and (found := self._found.get(which)):
                batches.skip({name: values.to(batches.whole.stars.device) for name, values in found.items()})

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Screen the training stars, if that is due."""
        self._screen(trainer, pl_module, "train", trainer.train_dataloader)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Screen the held-out stars, if that is due."""
        self._screen(trainer, pl_module, "val", trainer.val_dataloaders)

    def _screen(self, trainer: L.Trainer, module: Any, which: str, batches: object) -> None:
        model, epoch, every = module.model, trainer.current_epoch, self.every_n_epochs
        if not (every > 0 and sync_is_cheap(module.device) and isinstance(model, MixtureModel)):
            return
        early = epoch <= max(every, (trainer.max_epochs or 0) // 5)  # while the parameters move far
        if (early or epoch % every == 0) and isinstance(batches, Batches):
            recheck = 0.0 if epoch % (every if early else 4 * every) == 0 else _RECHECK_BELOW
            find = skipped if len(module.ensemble) == 1 else partial(skipped_by_each, fits=module.ensemble.fits)
            compute = partial(find, model, skip_below=SKIP_BELOW, recheck_below=recheck)
            self._found[which] = gather_rows(compute, batches.whole, module.device)
            batches.skip(self._found[which])
