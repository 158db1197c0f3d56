"""What Lightning and our callbacks add to the steps: epochs by the Trainer beside the same epochs in a bare loop.

python experiments/benchmarks/lightning_overhead.py --checkpoint runs/version_0/checkpoints/best.ckpt --stars 100000
"""

from __future__ import annotations

import tempfile
import time

import lightning as L
import torch
from common import FIT, fitted, options, report
from lightning.pytorch.loggers import TensorBoardLogger

from stream_mapper.inference.chunked import ln_terms
from stream_mapper.inference.screening import screened
from stream_mapper.models import MixtureModel
from stream_mapper.training import StreamModule
from stream_mapper.training.batches import Batches
from stream_mapper.training.callbacks import FitProgress, StopOnNonFinite
from stream_mapper.training.recording import Recorder
from stream_mapper.training.screening import SKIP_BELOW

_EPOCHS, _CLIP, _RATE = 12, 10.0, 1e-4


class EpochClock(L.Callback):
    """Seconds from the start of the second epoch to the end of the last."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002, D102
        if trainer.current_epoch == 1:
            self.start = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002, D102
        self.seconds = time.perf_counter() - self.start


def by_trainer(model: MixtureModel, batches: Batches) -> float:
    """Seconds by the Trainer of a fit; held-out stars, screening and checkpoints are left out."""
    clock = EpochClock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = L.Trainer(
            max_epochs=_EPOCHS,
            accelerator="gpu" if batches.whole.stars.device.type == "cuda" else "cpu",
            devices=1,
            gradient_clip_val=_CLIP,
            enable_checkpointing=False,
            enable_model_summary=False,
            log_every_n_steps=10,
            logger=TensorBoardLogger(folder),
            callbacks=[StopOnNonFinite(), FitProgress(), Recorder(), clock],
        )
        trainer.fit(StreamModule(model, learning_rate=_RATE, screen_every=0), batches)
    return clock.seconds


def by_hand(model: MixtureModel, batches: Batches) -> float:
    """Seconds of the same steps without Lightning."""
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_EPOCHS * len(batches))
    start = time.perf_counter()
    for epoch in range(_EPOCHS):
        start = time.perf_counter() if epoch == 1 else start
        for batch in batches:
            optimizer.zero_grad()
            total = ln_terms(model, model(batch.stars), batch)[1]
            (-total.mean() - model.ln_prior() / batches.n_stars).backward()
            torch.nn.utils.clip_grad_norm_(weights, _CLIP)
            optimizer.step()
            schedule.step()
    return time.perf_counter() - start


def main() -> None:
    """Print both times as JSON."""
    batch = ("--batch_size", {"type": int, "default": None})
    asked = options(__doc__, *FIT, batch)
    model, stars = fitted(asked)
    stars = screened(model, stars, SKIP_BELOW) if asked.device.type == "cpu" else stars
    batches = Batches(stars, asked.batch_size, shuffle=True)
    found = {"by_trainer": by_trainer(model, batches), "by_hand": by_hand(model, batches)}
    report({"stars": asked.stars, "batch_size": max(batches.sizes), "steps": (_EPOCHS - 1) * len(batches)} | found)


if __name__ == "__main__":
    main()
