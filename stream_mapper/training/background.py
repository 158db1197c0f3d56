"""The densities that are trained before the mixture, on stars off the stream."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.errors import InputError, check_at_least, check_positive, check_share
from stream_mapper.inference.resampled import Resampled
from stream_mapper.models.base import Learned, Model, is_pretrained
from stream_mapper.models.components import frozen_parts
from stream_mapper.paths import FilePath
from stream_mapper.progress import counted, progress
from stream_mapper.results.stages import BACKGROUND, COPIES, Stages
from stream_mapper.selection import Selection
from stream_mapper.training.batches import Batches, batch_sizes
from stream_mapper.training.length import STEPS, STEPS_A_COORDINATE, epochs_for
from stream_mapper.training.module import StreamModule

_log = logging.getLogger("stream_mapper")

_LEAST = 10  # stars a density is trained on


@dataclass
class BackgroundStage:
    """Training of the flows, before the mixture.

    Arguments:
        off_stream: The stars they are trained on, of those that are fitted or of another table. By default those of
            :func:`stream_mapper.training.off_stream.off_stream_of`, away from the model's guides; of another table, and
            of a model without guides of position, all of them, which lets a stream that is there leak into the
            background.
        path: Another table to train them on, such as a control field beside the stream; it is read as the one that is
            fitted, and is to be cut as that one was.
        max_epochs: Passes through those stars; by default as many as make 300 steps for each coordinate of a density,
            and 600 at least, see :func:`stream_mapper.training.length.epochs_for`.
        batch_size: Stars in a batch.
        learning_rate: Peak learning rate.
        val_fraction: Share of the stars that chooses the best epoch.
        seed: Seed of the split and of the batches.
        copies: How often each density is trained again, from where it is, on stars drawn anew from these with
            replacement: what the copies differ in is in the bands of a fit. 0 for none.
        copy_share: Share of the epochs in which a copy is trained.
    """

    off_stream: Selection | None = None
    path: FilePath | None = None
    max_epochs: int | None = None
    batch_size: int = 1024
    learning_rate: float = 1e-2
    val_fraction: float = 0.1
    seed: int = 0
    copies: int = 3
    copy_share: float = 1 / 6

    def __post_init__(self) -> None:
        """Refuse numbers that leave nothing to do."""
        check_at_least("background.max_epochs", self.max_epochs)
        check_at_least("background.batch_size", self.batch_size)
        check_share("background.val_fraction", self.val_fraction)
        check_at_least("background.copies", self.copies, 0)
        check_positive("background.copy_share", self.copy_share)
        check_positive("background.learning_rate", self.learning_rate)


class _KeepBest(L.Callback):
    """Gives the model the weights of its best epoch when training ends, and notes how it went, epoch by epoch."""

    def __init__(self, curve: list[list[float]], step: Callable[[], object]) -> None:
        self.best, self.curve, self.step = -float("inf"), curve, step
        self.weights: dict[str, Tensor] | None = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        value = trainer.callback_metrics["val/ln_likelihood"].item()
        if not trainer.sanity_checking and value > self.best:
            self.best, self.weights = value, copy.deepcopy(pl_module.state_dict())

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        values = trainer.callback_metrics
        self.curve.append([values[name].item() for name in ("train/loss", "val/ln_likelihood")])
        self.step()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        if self.weights is not None:
            pl_module.load_state_dict(self.weights)


@dataclass(frozen=True)
class Hardware:
    """What a training runs on.

    Arguments:
        options: Arguments of Lightning's ``Trainer``, such as its ``accelerator``.
        processes: Processes that share each batch.
        device: That of this process.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    processes: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class BackgroundTraining:
    """Trains densities as a stage says, on some hardware; see :meth:`stream_mapper.models.Model.pretrain`.

    Arguments:
        stage: How.
        hardware: On what.
        length: Share of the stage's epochs.
        steps: Steps of each training it has made so far.
        curve: Loss and mean log density of held-out stars of each epoch so far.
    """

    stage: BackgroundStage
    hardware: Hardware = field(default_factory=Hardware)
    length: float = 1.0
    steps: list[int] = field(default_factory=list)
    curve: list[list[float]] = field(default_factory=list)

    def maximise(self, model: Model, stars: Data) -> None:
        """Bring the weights of a density to those of its best epoch on held-out stars."""
        stage = self.stage
        chosen, held_out = _split(stars, stage)
        steps = max(STEPS, STEPS_A_COORDINATE * len(model.coord_names))
        epochs = stage.max_epochs or epochs_for(len(chosen), stage.batch_size, steps)
        epochs = math.ceil(self.length * epochs)
        with counted(f"density of {', '.join(model.coord_names)}, epochs", epochs) as step:
            self._train(model, chosen, held_out, epochs, step)

    def _train(self, model: Model, chosen: Data, held_out: Data, epochs: int, step: Callable[[], object]) -> None:
        """Train with Lightning; a step is told after each epoch."""
        stage = self.stage
        trainer = L.Trainer(
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            gradient_clip_val=10.0,
            callbacks=[_KeepBest(self.curve, step)],
            **{"devices": 1, **self.hardware.options},
        )
        device = trainer.strategy.root_device
        share = partial(Batches, rank=trainer.global_rank, world_size=trainer.world_size)
        train = share(chosen.to(device), stage.batch_size, shuffle=True, seed=stage.seed)
        trainer.fit(StreamModule(model, learning_rate=stage.learning_rate), train, share(held_out.to(device)))
        self.steps.append(trainer.global_step)

    def held_out(self, stars: Data) -> Data:
        """The stars of the split that `maximise` chooses the best epoch on."""
        return _split(stars, self.stage)[1]


def train_background(
    model: Model,
    stars: Data,
    stage: BackgroundStage,
    hardware: Hardware | None = None,
    stages: Stages | None = None,
) -> dict[str, Learned]:
    """Train each density of ``model`` that is trained beforehand, then freeze it.

    Under several processes they share the training. Lightning starts the others when the first of these trainings
    begins, so that an input that cannot be used stops one process alone.

    Arguments:
        model: The model.
        stars: The stars that are fitted, or those of another table, of which the off-stream ones are taken that have
            all a density's coordinates.
        stage: How they are trained.
        hardware: On what; one process on the CPU by default.
        stages: Keeps the densities that are trained, or has them.

    Returns:
        How the training of each density went, by its coordinates.

    Raises:
        InputError: If fewer than ten such stars are left, or too few for each process.
    """
    hardware, stages = hardware or Hardware(), stages or Stages()
    densities = pretrained_parts(model)
    if densities and stage.off_stream is None and stage.path is None:
        _log.warning("no off_stream selection: the background is trained on all stars, those of the stream included.")
    off = stars[off_stream(stars, stage)]
    complete = [_complete(density, off, stage, hardware.processes) for density in densities]
    found: dict[str, Learned] = {}
    for i, (density, chosen) in enumerate(zip(densities, complete, strict=True)):
        work = partial(_train, density, chosen, stage, hardware)
        found[",".join(density.coord_names)] = Learned(*stages.do(f"{BACKGROUND}.{i}", density, work))
        density.requires_grad_(False)
    return found


def _train(
    density: Model, chosen: Data, stage: BackgroundStage, hardware: Hardware
) -> tuple[float, int, list[list[float]]]:
    """Train a density on its stars; its mean log density of those held out, the steps it took, and how it went."""
    _log.info("training the flow over %s on %d off-stream stars", ", ".join(density.coord_names), len(chosen))
    training = BackgroundTraining(stage, hardware)
    density.pretrain(chosen, training)
    density.requires_grad_(False)
    return _ln_held_out(density, chosen, stage), sum(training.steps), training.curve


def train_copies(
    model: Model,
    stars: Data,
    stage: BackgroundStage,
    hardware: Hardware | None = None,
    stages: Stages | None = None,
) -> Resampled:
    """Copies of the densities of ``model`` that were trained beforehand, each trained again on resampled stars.

    Stars that chose the best epoch of a density choose that of its copies; the others are drawn with replacement, the
    same for every density that has as many.

    Arguments:
        model: The model, with its densities trained.
        stars: As of :func:`train_background`.
        stage: How they are trained.
        hardware: On what.
        stages: Keeps the copies that are trained, or has them.
    """
    hardware, stages, copies = hardware or Hardware(), stages or Stages(), Resampled(model, stage.copies)
    off = stars[off_stream(stars, stage)]
    for k, (name, densities) in enumerate(copies.items()):
        complete = _complete(frozen_parts(model)[name], off, stage, hardware.processes)
        _log.info("training %d copies of the density of %s", len(copies), ", ".join(densities[0].coord_names))
        for i, density in enumerate(progress(densities, f"copies of the density of {name}", len(copies))):
            work = partial(_train_copy, density, complete, stage, hardware, stage.seed + i + 1)
            stages.do(f"{COPIES}.{k}.{i}", density, work)
    return copies


def _train_copy(density: Model, stars: Data, stage: BackgroundStage, hardware: Hardware, seed: int) -> None:
    """Train a copy of a density, from where it is, on stars drawn from these."""
    density.train().requires_grad_(True)
    density.pretrain(_resampled(stars, stage, seed), BackgroundTraining(stage, hardware, stage.copy_share))
    density.requires_grad_(False)


def _resampled(stars: Data, stage: BackgroundStage, seed: int) -> Data:
    """The stars, those that a density is trained on drawn with replacement, each other in its place."""
    order = _order(stars, stage)
    trained = order[_held_out(stars, stage) :]
    generator = torch.Generator().manual_seed(seed)
    drawn = trained[torch.randint(len(trained), (len(trained),), generator=generator).to(trained.device)]
    return stars[torch.arange(len(stars), device=stars.device).index_copy(0, trained, drawn)]


def off_stream(stars: Data, stage: BackgroundStage) -> Tensor:
    """Whether the densities are trained on each star, (N,), if it has their coordinates."""
    everything = torch.ones(len(stars), dtype=torch.bool, device=stars.device)
    return everything if stage.off_stream is None else stage.off_stream(stars)


def pretrained_parts(model: Model) -> list[Model]:
    """The densities inside a model that are trained before the mixture."""
    return [part for part in model.parts() if is_pretrained(part)]


def _complete(density: Model, stars: Data, stage: BackgroundStage, processes: int) -> Data:
    """The stars inside the density's window that have all its coordinates; enough of them to train it."""
    rows = stars.where[density.coord_names].all(-1) & density.in_window(stars)
    complete = stars[rows].select(tuple(dict.fromkeys(density.columns)))
    if len(complete) < _LEAST:
        needed = f"{_LEAST} off-stream stars that have them all, or more"
        raise InputError(f"the flow over {list(density.coord_names)} needs {needed}; found {len(complete)}.")
    if any(weight.requires_grad for weight in density.parameters()):
        n_val = _held_out(complete, stage)
        batch_sizes(len(complete) - n_val, stage.batch_size, processes, "off-stream stars")
        batch_sizes(n_val, None, processes, "held-out off-stream stars")
    return complete


@torch.no_grad()
def _ln_held_out(density: Model, stars: Data, stage: BackgroundStage) -> float:
    """Mean log density of the held-out stars, which is logged."""
    _, held_out = _split(stars, stage)
    ln_p = density.ln_likelihood(density(held_out), held_out).mean().item()
    text = "the flow over %s has a mean ln p of %.4f for %d held-out stars"
    _log.info(text, ", ".join(density.coord_names), ln_p, len(held_out))
    return ln_p


def _split(stars: Data, stage: BackgroundStage) -> tuple[Data, Data]:
    """The stars that a density is trained on, and those held out."""
    order, n_val = _order(stars, stage), _held_out(stars, stage)
    return stars[order[n_val:]], stars[order[:n_val]]


def _order(stars: Data, stage: BackgroundStage) -> Tensor:
    """A random order of the stars, of which the first are held out."""
    return torch.randperm(len(stars), generator=torch.Generator().manual_seed(stage.seed)).to(stars.device)


def _held_out(stars: Data, stage: BackgroundStage) -> int:
    return max(1, int(stage.val_fraction * len(stars)))
