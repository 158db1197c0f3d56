"""The training of a mixture by Lightning, and the stars that its end looks at."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import lightning as L
import torch

from stream_mapper.errors import InputError
from stream_mapper.inference.screening import screened, together
from stream_mapper.models.base import Model
from stream_mapper.models.known import Batch, KnownDensities
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.results.stages import MIXTURE, Stages
from stream_mapper.training.datamodule import CatalogueDataModule, FitStars
from stream_mapper.training.goes_on import GoesOn
from stream_mapper.training.length import set_length
from stream_mapper.training.module import StreamModule
from stream_mapper.training.screening import SKIP_BELOW
from stream_mapper.training.whole_files import write_whole

BATCH = 20_000  # stars whose densities are computed at once

_log = logging.getLogger("stream_mapper")


@dataclass(frozen=True)
class Trained:
    """How a training went.

    Arguments:
        seconds: Time it took.
        epochs: Epochs it ran.
        asked: Epochs it was to run.
        best_epoch: Epoch of the weights, from 1, where those of the best are kept; None for those of the end.
        step: Steps of the optimiser.
        learning_rate: Learning rate of the last step, as a share of the highest.
        folder: Where its events and checkpoints are.
    """

    seconds: float
    epochs: int
    asked: int
    best_epoch: int | None
    step: int
    learning_rate: float
    folder: Path


def train(
    trainer: L.Trainer,
    module: StreamModule,
    datamodule: CatalogueDataModule,
    stars: FitStars,
    known: KnownDensities,
    stages: Stages | None = None,
) -> Trained:
    """Train with Lightning; the module then has the weights it keeps."""
    stages = stages or Stages()
    datamodule.serve(stars, known)
    set_length(trainer, len(stars.train_rows), datamodule.batch_size)
    write_whole(trainer)
    stages.begin()
    work = partial(_trained, trainer, module, datamodule, stages.last_epoch())
    trained = Trained(*stages.do(MIXTURE, module, work), Path(trainer.log_dir or "."))  # all processes ask for log_dir
    if trainer.is_global_zero:
        _log.info("%s", which_weights(trained))
    return trained


def _trained(
    trainer: L.Trainer, module: StreamModule, datamodule: CatalogueDataModule, last_epoch: Path | None
) -> tuple[float, int, int, int | None, int, float]:
    """Train, from the start or after an epoch, and take the weights that are kept; how it went, but for the folder."""
    trainer.fit(module, datamodule, ckpt_path=last_epoch)
    best = Path(getattr(trainer.checkpoint_callback, "best_model_path", "") or "none")
    of_best = module.weights == "best" and best.is_file()
    state = torch.load(best, map_location="cpu", weights_only=True) if of_best else None
    if state is not None:
        module.load_state_dict(state["state_dict"])
    return (
        next(each.seconds for each in trainer.callbacks if isinstance(each, GoesOn)),  # type: ignore[attr-defined]
        trainer.current_epoch,
        trainer.max_epochs or 0,
        None if state is None else state["epoch"] + 1,
        trainer.global_step,
        trainer.optimizers[0].param_groups[0]["lr"] / module.learning_rate,
    )


def which_weights(trained: Trained) -> str:
    """Which epoch the weights are of, and whether the training went to its end."""
    ran, asked = trained.epochs, trained.asked
    end = f"ran all {ran} epochs" if ran == asked else f"stopped early, after {ran} of {asked} epochs"
    if trained.best_epoch is None:
        return f"the weights are those of the end; the fit {end}."
    return f"the weights are those of epoch {trained.best_epoch}, the best on the held-out stars; the fit {end}."


def training_batches(module: StreamModule, stars: FitStars, known: KnownDensities) -> list[list[Batch]]:
    """All the training stars for each fit of the ensemble, in batches, without the densities that cannot matter."""
    model = mixture_of(module.model)
    whole = Batch(stars.stars, known)[stars.train_rows].to(module.device)
    out = []
    for one in module.ensemble.fits(model):
        with one:
            out.append(together([screened(model, batch, 0.1 * SKIP_BELOW) for batch in whole.split(BATCH)], BATCH))
    return out


def mixture_of(model: Model) -> MixtureModel:
    """The model, which a fit takes for a mixture.

    Raises:
        InputError: If it is none.
    """
    if not isinstance(model, MixtureModel):
        raise InputError(f"a fit needs a MixtureModel, which has memberships; got a {type(model).__name__}.")
    return model
