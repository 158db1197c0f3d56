"""What happens before the mixture is trained: the frozen densities, and a start from the guides."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import lightning as L
import torch
from torch import Tensor

from stream_mapper.builtin.compat import FlowModel, KDEModel
from stream_mapper.data import Data
from stream_mapper.errors import InputError, check_at_least, check_positive, check_share
from stream_mapper.models import Model
from stream_mapper.prior import ControlRegions
from stream_mapper.training.batches import Batches
from stream_mapper.training.datamodule import CatalogueDataModule
from stream_mapper.training.module import StreamModule

_log = logging.getLogger("stream_mapper")


class OffStream:
    """Selects the stars away from a track: those with ``|coord - centre(phi1)| > width(phi1)``.

    Arguments:
        coord: Coordinate the track is in, such as "phi2".
        phi1: Positions along the stream [deg], increasing.
        center: Centre of the track there, in the coordinate's unit; linear in between, constant beyond the ends.
        width: Half-width of the band left out, in the coordinate's unit; one number serves all.
    """

    def __init__(
        self, coord: str, phi1: Sequence[float], center: Sequence[float], width: Sequence[float] | float
    ) -> None:
        self.widths = [float(width)] * len(phi1) if isinstance(width, int | float) else list(width)
        if not len(phi1) == len(center) == len(self.widths) > 0 or any(b <= a for a, b in pairwise(phi1)):
            raise InputError(
                f"OffStream: phi1 must increase and have as many values as center and width; got {list(phi1)}, "
                f"{list(center)} and {self.widths}."
            )
        self.coord, self.phi1, self.center = coord, list(phi1), list(center)

    def __call__(self, data: Data) -> Tensor:
        """Mask of the off-stream stars, shape (N,)."""
        at = data["phi1"]
        nodes = torch.tensor(self.phi1).to(at)
        distance = (data[self.coord] - _interpolate(at, nodes, self.center)).abs()
        return data.where[self.coord] & (distance > _interpolate(at, nodes, self.widths))


def _interpolate(x: Tensor, nodes: Tensor, values: Sequence[float]) -> Tensor:
    y = torch.tensor(values).to(x)
    if len(nodes) == 1:
        return y.expand_as(x)
    right = torch.searchsorted(nodes, x).clamp(1, len(nodes) - 1)
    share = ((x - nodes[right - 1]) / (nodes[right] - nodes[right - 1])).clamp(0, 1)
    return torch.lerp(y[right - 1], y[right], share)


@dataclass
class BackgroundStage:
    """Training of the flows, before the mixture.

    Arguments:
        off_stream: The stars they are trained on; all of them by default, which lets the stream leak into the
            background.
        max_epochs: Passes through those stars.
        batch_size: Stars in a batch.
        learning_rate: Peak learning rate.
        val_fraction: Share of the stars that chooses the best epoch.
        seed: Seed of the split and of the batches.
    """

    off_stream: OffStream | None = None
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


def prepare(model: Model, datamodule: CatalogueDataModule, stage: BackgroundStage, accelerator: str = "auto") -> None:
    """Everything before the mixture is trained: read, scale, train and freeze the background, start from the guides.

    Arguments:
        model: What is to be trained.
        datamodule: Its stars; they are read here.
        stage: How the flows are trained.
        accelerator: What they are trained on, as in Lightning's ``Trainer``.

    Raises:
        InputError: If the table cannot be used with this model.
    """
    datamodule.prepare(model)
    rehearse(model, datamodule.train_stars)
    train_background(model, datamodule.train_stars, stage, accelerator)
    model.fit_scalers(datamodule.train_stars)
    datamodule.stars = with_frozen_densities(model, datamodule.stars)
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


def train_background(model: Model, stars: Data, stage: BackgroundStage, accelerator: str = "auto") -> None:
    """Train each flow of ``model`` on the off-stream stars that have all its coordinates, then freeze it.

    A kernel density takes those stars as its points.

    Raises:
        InputError: If fewer than ten such stars are left.
    """
    flows = flows_of(model)
    if flows and stage.off_stream is None:
        _log.warning("no off_stream selection: the background is trained on all stars, those of the stream included.")
    off = stars if stage.off_stream is None else stars[stage.off_stream(stars)]
    for flow in flows.values():
        complete = off[off.where[flow.coord_names].all(-1) & flow.in_window(off)].select(flow.columns)
        if len(complete) < 10:
            wish = "10 off-stream stars that have them all, or more"
            raise InputError(f"the flow over {list(flow.coord_names)} needs {wish}; found {len(complete)}.")
        _log.info("training the flow over %s on %d off-stream stars", ", ".join(flow.coord_names), len(complete))
        if isinstance(flow, KDEModel):
            flow.fit_points(complete)
        else:
            flow.fit_scalers(complete)
            _train_flow(flow, complete, stage, accelerator)
            flow.requires_grad_(False)


def _train_flow(flow: FlowModel, stars: Data, stage: BackgroundStage, accelerator: str) -> None:
    order = torch.randperm(len(stars), generator=torch.Generator().manual_seed(stage.seed)).to(stars.device)
    n_val = max(1, int(stage.val_fraction * len(stars)))
    trainer = L.Trainer(
        max_epochs=stage.max_epochs,
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        gradient_clip_val=10.0,
        callbacks=[_KeepBest()],
    )
    train = Batches(stars[order[n_val:]], stage.batch_size, shuffle=True, seed=stage.seed)
    trainer.fit(StreamModule(flow, learning_rate=stage.learning_rate), train, Batches(stars[order[:n_val]]))


@torch.no_grad()
def with_frozen_densities(model: Model, stars: Data) -> Data:
    """The stars with the log density of every frozen flow as a column, which the flows then use."""
    for name, flow in flows_of(model).items():
        flow.cache_name = None
        if not any(p.requires_grad for p in flow.parameters()):
            stars = stars.with_columns({f"ln_p:{name}": flow.ln_likelihood({}, model.measured(stars))})
            flow.cache_name = f"ln_p:{name}"
    return stars


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
