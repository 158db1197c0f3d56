"""What a training that was stopped goes on with besides Lightning's states."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from stream_mapper.results.random_state import random_state, set_random_state
from stream_mapper.training.processes import of_each, ones_own


class GoesOn(Callback):
    """Keeps what a training goes on with that nobody else keeps: the random numbers, and the time it has taken."""

    def __init__(self) -> None:
        self._before, self._random = 0.0, dict[str, Any]()
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since the training began, that before it was stopped included, without what was lost."""
        return self._before + time.monotonic() - self._began

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Put the generators where they were."""
        self._began = time.monotonic()
        self._put_back()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """So they are also after a training that had no epoch left."""
        self._put_back()

    def _put_back(self) -> None:
        if self._random:
            set_random_state(self._random)
        self._random = {}

    def state_dict(self) -> dict[str, Any]:
        """The random numbers to come in each process, and the time so far."""
        return {"random": of_each(random_state()), "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take those of the epoch after which the training goes on."""
        self._random, self._before = ones_own(state_dict["random"]), state_dict["seconds"]
