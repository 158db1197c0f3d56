"""What happens before the mixture is trained: the frozen densities, and a start from the guides."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor

from stream_mapper.builtin.compat import FlowModel, KDEModel
from stream_mapper.data import Data
from stream_mapper.errors import InputError, check_at_least, check_positive, check_share
from stream_mapper.models import Model
from stream_mapper.models.members import alone
from stream_mapper.prior import ControlRegions
from stream_mapper.selection import Selection
from stream_mapper.training.batches import Batches, batch_sizes
from stream_mapper.training.datamodule import CatalogueDataModule
from stream_mapper.training.ensemble import Ensemble
from stream_mapper.training.module import StreamModule
from stream_mapper.training.processes import together

_log = logging.getLogger("stream_mapper")

_LEAST = 10  # stars a flow is trained on
_ROWS = 200_000  # stars on the device at once


@dataclass
class BackgroundStage:
    """Training of the flows, before the mixture.

    Arguments:
        off_stream: The stars they are trained on, of those that are fitted; all of them by default, which lets the
            stream leak into the background.
        max_epochs: Passes through those stars.
        batch_size: Stars in a batch.
        learning_rate: Peak learning rate.
        val_fraction: Share of the stars that chooses the best epoch.
        seed: Seed of the split and of the batches.
    """

    off_stream: Selection | None = None
    max_epochs: int = 60
    batch_size: int = 1024
    learning_rate: float = 1e-2
    val_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that leave nothing to do."""
        check_at_least("background.max_epochs", self.max_epochs)
        check_at_least("background.batch_size", self.batch_size)
        check_share("background.val_fraction", self.val_fraction)
        check_positive("background.learning_rate", self.learning_rate)


class _KeepBest(L.Callback):
    """Gives the model the weights of its best epoch when training ends."""

    def __init__(self) -> None:
        self.best = -float("inf")
        self.weights: dict[str, Tensor] | None = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        value = trainer.callback_metrics["val/ln_likelihood"].item()
        if not trainer.sanity_checking and value > self.best:
            self.best, self.weights = value, copy.deepcopy(pl_module.state_dict())

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        if self.weights is not None:
            pl_module.load_state_dict(self.weights)


def prepare(
    model: Model,
    datamodule: CatalogueDataModule,
    stage: BackgroundStage,
    runs_on: Mapping[str, Any] | None = None,
    processes: int = 1,
    device: torch.device | None = None,
    ensemble: Ensemble | None = None,
) -> None:
    """Everything before the mixture is trained: read, scale, train and freeze the background, start from the guides.

    Under several processes each of them does so, and they share the training of the flows and what the flows say of the
    stars. Lightning starts the others when the first of these trainings begins, so that an input that cannot be used
    stops one process alone.

    Arguments:
        model: What is to be trained.
        datamodule: Its stars; they are read here.
        stage: How the flows are trained.
        runs_on: What they are trained on: arguments of Lightning's ``Trainer``, such as its ``accelerator``.
        processes: Processes that will share each batch.
        device: That of this process; the CPU by default.
        ensemble: The members, if there are several fits of the model; each starts from the guides.

    Raises:
        InputError: If the table cannot be used with this model, or leaves too few stars for each process.
    """
    datamodule.prepare(model)
    datamodule.check_shares(processes)
    rehearse(model, datamodule.train_stars)
    if ensemble is not None and len(ensemble) > 1:
        ensemble.evaluate(model, datamodule.train_stars[:2])
    train_background(model, datamodule.train_stars, stage, runs_on, processes)
    model.fit_scalers(datamodule.train_stars)
    datamodule.stars = with_frozen_densities(model, datamodule.stars, device)
    for member in (ensemble.members if ensemble is not None else alone)(model):
        with member:
            start_from_guides(model)
    model.train()


@torch.no_grad()
def rehearse(model: Model, stars: Data) -> None:
    """Ask the model for everything a fit will ask, so that what does not fit together is found before the training.

    Raises:
        InputError: If a network has not one output a parameter, nobody sets a parameter, a prior's is unknown, or a
            star lacks more of a flow's coordinates than can be integrated over.
    """
    untrained = flows_of(model)
    measured = model.measured(stars)
    for flow in untrained.values():
        _rehearse_marginals(flow, measured)
    stars = stars[:2]
    for name, flow in untrained.items():
        stars = stars.with_columns({f"ln_p:{name}": torch.zeros(len(stars))})
        flow.cache_name = f"ln_p:{name}"
    model.ln_prior()
    model.ln_likelihood(model(stars), stars)
    for flow in untrained.values():
        flow.cache_name = None


def _rehearse_marginals(flow: FlowModel | KDEModel, stars: Data) -> None:
    """One star of each pattern of missing coordinates, through a flow that knows nothing yet."""
    if isinstance(flow, FlowModel):
        _, pattern = stars.where[flow.coord_names].unique(dim=0, return_inverse=True)
        first = [int((pattern == i).nonzero()[0]) for i in pattern.unique()]
        with warnings.catch_warnings(action="ignore"):
            flow.ln_likelihood({}, stars[torch.tensor(first, device=stars.device)])


def flows_of(model: Model) -> dict[str, FlowModel | KDEModel]:
    """The densities inside a model that are trained first, flows and kernels, by the path of their module."""
    return {name: part for name, part in model.named_modules() if isinstance(part, FlowModel | KDEModel)}


def train_background(
    model: Model,
    stars: Data,
    stage: BackgroundStage,
    runs_on: Mapping[str, Any] | None = None,
    processes: int = 1,
) -> None:
    """Train each flow of ``model`` on the off-stream stars that have all its coordinates, then freeze it.

    A kernel density takes those stars as its points. Arguments are those of `prepare`.

    Raises:
        InputError: If fewer than ten such stars are left, or too few for each process.
    """
    flows = flows_of(model)
    if flows and stage.off_stream is None:
        _log.warning("no off_stream selection: the background is trained on all stars, those of the stream included.")
    off = stars if stage.off_stream is None else stars[stage.off_stream(stars)]
    complete = {name: _complete(flow, off, stage, processes) for name, flow in flows.items()}
    for name, flow in flows.items():
        _log.info("training the flow over %s on %d off-stream stars", ", ".join(flow.coord_names), len(complete[name]))
        if isinstance(flow, KDEModel):
            flow.fit_points(complete[name])
        else:
            flow.fit_scalers(complete[name])
            _train_flow(flow, complete[name], stage, runs_on or {})
            flow.requires_grad_(False)


def _complete(flow: FlowModel | KDEModel, stars: Data, stage: BackgroundStage, processes: int) -> Data:
    """The stars inside the flow's window that have all its coordinates; enough of them to train it."""
    complete = stars[stars.where[flow.coord_names].all(-1) & flow.in_window(stars)].select(flow.columns)
    if len(complete) < _LEAST:
        wish = f"{_LEAST} off-stream stars that have them all, or more"
        raise InputError(f"the flow over {list(flow.coord_names)} needs {wish}; found {len(complete)}.")
    if isinstance(flow, FlowModel):
        n_val = _held_out(complete, stage)
        batch_sizes(len(complete) - n_val, stage.batch_size, processes, "off-stream stars")
        batch_sizes(n_val, None, processes, "held-out off-stream stars")
    return complete


def _held_out(stars: Data, stage: BackgroundStage) -> int:
    return max(1, int(stage.val_fraction * len(stars)))


def _train_flow(flow: FlowModel, stars: Data, stage: BackgroundStage, runs_on: Mapping[str, Any]) -> None:
    order = torch.randperm(len(stars), generator=torch.Generator().manual_seed(stage.seed)).to(stars.device)
    n_val = _held_out(stars, stage)
    trainer = L.Trainer(
        max_epochs=stage.max_epochs,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        gradient_clip_val=10.0,
        callbacks=[_KeepBest()],
        **{"devices": 1, **runs_on},
    )
    there = stars.to(trainer.strategy.root_device)
    share = partial(Batches, rank=trainer.global_rank, world_size=trainer.world_size)
    train = share(there[order[n_val:]], stage.batch_size, shuffle=True, seed=stage.seed)
    flow.complete = True
    trainer.fit(StreamModule(flow, learning_rate=stage.learning_rate), train, share(there[order[:n_val]]))
    flow.complete = False


@torch.no_grad()
def with_frozen_densities(model: Model, stars: Data, device: torch.device | None = None) -> Data:
    """The stars with the log density of every frozen flow as a column, which the flows then use.

    Arguments:
        model: The model; it stays where it is.
        stars: The stars, in the memory of the computer.
        device: Where the densities are computed; by default where the stars are.
    """
    device = device or stars.device
    for name, flow in flows_of(model).items():
        flow.cache_name = None
        if not any(p.requires_grad for p in flow.parameters()):
            found = together(partial(_frozen, flow, f"ln_p:{name}", device), model.measured(stars), device)
            stars = stars.with_columns(found)
            flow.cache_name = f"ln_p:{name}"
    return stars


def _frozen(flow: FlowModel | KDEModel, column: str, device: torch.device, stars: Data) -> dict[str, Tensor]:
    """The log density of a flow as a column (N,), where the stars are."""
    home = next(flow.buffers()).device
    flow.to(device)
    found = [flow.ln_likelihood({}, part.to(device)).to(stars.device) for part in stars.split(_ROWS)]
    flow.to(home)
    return {column: torch.cat(found)}


def start_from_guides(model: Model, steps: int = 500, learning_rate: float = 1e-2) -> None:
    """Bring the parameters to the centres of their control regions, by least squares in units of the half-widths."""
    guides = [(part, prior) for part, prior in model.held_priors() if isinstance(prior, ControlRegions)]
    if not guides:
        return
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=learning_rate)
    training = model.training
    model.eval()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.stack([guide.offsets(part).square().mean() for part, guide in guides]).sum()
        if loss.item() < 1e-3:
            break
        loss.backward()
        optimizer.step()
    model.train(training)
