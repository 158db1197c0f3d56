"""What TensorBoard is shown while a mixture is trained; the tags are in the documentation of the run folder."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.inference.ensemble import mean_over
from stream_mapper.inference.membership import p_member
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import MixtureModel

if TYPE_CHECKING:
    from stream_mapper.training.module import StreamModule

_ROWS = 20_000  # stars whose memberships are computed at once
_CELLS = (160, 48)  # of the picture of the sky, along the stream and across
_PIXELS = 4  # of a cell
_MEMBERS, _FIELD = (0.84, 0.37, 0.0), 0.45  # the colour of members, and how dark the field is at its densest


class Recorder(Callback):
    """Learning rate, weights, expected members, and what the memberships look like, to TensorBoard.

    Arguments:
        every_n_epochs: Epochs between two numbers of a component, from the held-out stars.
        pictures_every_n_epochs: Epochs between two histograms, and two pictures of the sky, of the training stars.
    """

    def __init__(self, every_n_epochs: int = 10, pictures_every_n_epochs: int = 50) -> None:
        self.every_n_epochs, self.pictures_every_n_epochs = every_n_epochs, pictures_every_n_epochs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Add the learning rate of the last step."""
        if (board := _board(trainer)) is not None:
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            board.add_scalar("train/learning_rate", rate, trainer.global_step - 1)

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add what is due, on the first process."""
        board, epoch = _board(trainer), trainer.current_epoch
        if board is None or trainer.sanity_checking or not isinstance(pl_module.model, MixtureModel):
            return
        module = cast("StreamModule", pl_module)
        if epoch % self.every_n_epochs == 0:
            self._numbers(trainer, module, board)
        if epoch % self.pictures_every_n_epochs == 0:
            self._pictures(trainer, module, board)

    def _numbers(self, trainer: L.Trainer, module: StreamModule, board: Any) -> None:
        """Mean weight of each component, and its expected number among the training stars."""
        model = cast("MixtureModel", module.model)
        held_out, training = _whole(trainer.val_dataloaders), _whole(trainer.train_dataloader)
        if held_out is None or training is None:
            return
        stars = held_out.stars
        p = _memberships(module, held_out).mean(0)
        for q, share in zip(model.components, p.tolist(), strict=True):
            weight = mean_over(module.ensemble.fits, model, partial(_weight, model, q, stars))
            board.add_scalar(f"weight/{q}", weight.item(), trainer.global_step - 1)
            board.add_scalar(f"members/{q}", share * len(training), trainer.global_step - 1)

    def _pictures(self, trainer: L.Trainer, module: StreamModule, board: Any) -> None:
        """Histogram of the memberships, and the members on the sky."""
        model, training = cast("MixtureModel", module.model), _whole(trainer.train_dataloader)
        if training is None:
            return
        member = p_member(model, _memberships(module, training))
        board.add_histogram("memberships/training", member, trainer.global_step - 1)
        along = model.indep_coord_names[0]
        if "phi2" in model.coord_names:
            where = training.stars.where["phi2"].cpu().numpy()
            places, across = (training.stars[name].cpu().numpy()[where] for name in (along, "phi2"))
            image = sky(places, across, member.cpu().numpy()[where])
            board.add_image("memberships/sky", image, trainer.global_step - 1, dataformats="HWC")


def sky(along: NDArray[Any], across: NDArray[Any], p: NDArray[Any]) -> NDArray[np.float32]:
    """A picture of stars on the sky, the field in grey and members in colour, (H, W, 3) from 0 to 1.

    Arguments:
        along: Place along the stream, (N,).
        across: Place across it, (N,).
        p: Membership, (N,).
    """
    counts, *edges = np.histogram2d(along, across, _CELLS)
    members = np.histogram2d(along, across, edges, weights=p)[0]
    grey = np.sqrt((counts - members).clip(0) / max(counts.max(), 1))
    share = np.sqrt(members / max(members.max(), 1))[..., None]
    colours = (1 - _FIELD * grey)[..., None] * (1 - share) + np.array(_MEMBERS) * share
    upright = colours.transpose(1, 0, 2)[::-1]
    return np.repeat(np.repeat(upright, _PIXELS, 0), _PIXELS, 1).astype(np.float32)


def _memberships(module: StreamModule, batch: Batch) -> Tensor:
    """Memberships of stars, every density computed, (N, K)."""
    model, every = cast("MixtureModel", module.model), Batch(batch.stars, batch.known.with_skipped({}))
    parts = every.split(_ROWS)
    return torch.cat([mean_over(module.ensemble.fits, model, partial(_of, model, part)) for part in parts])


def _weight(model: MixtureModel, component: str, stars: Data) -> Tensor:
    """Mean weight of a component at the places of stars, a scalar."""
    return model(stars)[f"{component}.ln-weight"].exp().mean()


def _of(model: MixtureModel, part: Batch) -> Tensor:
    return model.membership(model(part.stars), part.stars, part.known)


def _whole(batches: Any) -> Batch | None:
    """All the stars of a loader of ours; None of others."""
    found = getattr(batches, "whole", None)
    return found if isinstance(found, Batch) else None


def _board(trainer: L.Trainer) -> Any:
    """The writer of TensorBoard, on the first process; None without."""
    ours = trainer.is_global_zero and isinstance(trainer.logger, TensorBoardLogger)
    return trainer.logger.experiment if ours else None  # type: ignore[union-attr]
