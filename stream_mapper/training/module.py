"""The LightningModule around a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.devices import may_look
from stream_mapper.errors import InputError, check_positive
from stream_mapper.models import MixtureModel, Model, ParametricModel
from stream_mapper.models.climb import climb
from stream_mapper.models.mixture import BACKGROUND
from stream_mapper.models.pieces import ln_terms
from stream_mapper.models.posterior import FunctionPosterior
from stream_mapper.models.screen import held_columns, screened
from stream_mapper.nn import draw as draw_dropout
from stream_mapper.nn import has_dropout
from stream_mapper.results.posterior import Draw
from stream_mapper.training.batches import Batches
from stream_mapper.training.literal import literal
from stream_mapper.training.processes import together

_NEGLIGIBLE = 1e-5  # membership below which a component's density is not computed in every step
_CERTAIN = 1e-14  # and below which it is not even looked at whenever others are


class StreamModule(L.LightningModule):
    r"""Maximises the posterior of a model on batches of stars.

    The loss of a batch of B of N stars is :math:`-\frac{1}{B} \sum_n \ln p_n - \frac{1}{N} \ln p_\mathrm{prior}`: the
    prior counts once whatever the number of stars.

    Arguments:
        model: The density to train.
        learning_rate: Peak of the one-cycle schedule of AdamW.
        weight_decay: Weight decay of AdamW.
        warm_up: Share of the steps in which the learning rate rises.
        screen_every: Epochs after which it is found anew which stars the components of a mixture may hold; the others'
            densities are not computed in between. 0 computes every density in every step. On a CPU only.

    Raises:
        InputError: If the learning rate is not positive, the decay negative, or the share not in 0..1.
    """

    def __init__(
        self,
        model: Model,
        learning_rate: float = 1e-2,
        weight_decay: float = 0.0,
        warm_up: float = 0.1,
        screen_every: int = 5,
    ) -> None:
        super().__init__()
        check_positive("model.learning_rate", learning_rate)
        if not (0 <= weight_decay < math.inf and 0 <= warm_up < 1):
            raise InputError(
                f"model.weight_decay must be 0 or more and model.warm_up in 0..1; got {weight_decay} and {warm_up}."
            )
        self.save_hyperparameters()
        self.model = model
        self.posterior = FunctionPosterior()
        self.learning_rate, self.weight_decay, self.warm_up = learning_rate, weight_decay, warm_up
        self.screen_every = screen_every
        self._kept: dict[str, Tensor] = {}

    def on_train_epoch_start(self) -> None:
        """Find anew which of the training stars each component may hold, if that is due."""
        self._screen(self.trainer.train_dataloader)

    def on_validation_epoch_start(self) -> None:
        """The same for the held-out stars."""
        self._screen(self.trainer.val_dataloaders)

    def _screen(self, batches: object) -> None:
        """Every epoch in the first fifth of the fit, then now and then; those far from any limit less often.

        On a CPU only: elsewhere, to choose rows is to wait for the device.
        """
        epoch, every = self.current_epoch, self.screen_every
        if every <= 0 or not may_look(self.device):
            return
        early = epoch <= max(every, (self.trainer.max_epochs or 0) // 5)  # while the parameters move far
        if (early or epoch % every == 0) and isinstance(self.model, MixtureModel) and isinstance(batches, Batches):
            certain = 0.0 if epoch % (every if early else 4 * every) == 0 else _CERTAIN
            held = partial(held_columns, self.model, threshold=_NEGLIGIBLE, certain=certain)
            batches.data = batches.data.with_columns(together(held, batches.data, self.device))

    def training_step(self, data: Data, batch_idx: int) -> Tensor:
        """Minus the log posterior per star of one batch, in nats."""
        batches: Any = self.trainer.train_dataloader
        size = batches.sizes[batch_idx]
        joint, ln_p = self._terms(data)
        loss = -(self._mean(ln_p, size) + self.model.ln_prior() / batches.n_stars)
        self._keep({"train/loss": loss.detach(), **self._members(joint, size, batches.n_stars)}, size, batch_idx)
        return loss

    def validation_step(self, data: Data, batch_idx: int) -> None:
        """Logs the bare mean log-likelihood of held-out stars, in nats."""
        batches: Any = self.trainer.val_dataloaders
        size = batches.sizes[batch_idx]
        _, ln_p = self._terms(data)
        self.log("val/ln_likelihood", self._mean(ln_p, size), batch_size=size, sync_dist=True)

    def _mean(self, terms: Tensor, size: int) -> Tensor:
        """Mean over the ``size`` stars of a batch, of which this process has these (N,).

        It is the average over the processes, of which some have one star more, that is the mean; gradients and what is
        logged are averaged.
        """
        return terms.sum() * (self.trainer.world_size / size)

    def _terms(self, data: Data) -> tuple[Tensor, Tensor]:
        """Logs of the terms of a mixture (N, K), or of the density alone (N, 1), and of their sum (N,)."""
        params = self.model(data)
        if isinstance(self.model, MixtureModel):
            return ln_terms(self.model, params, data)
        ln_p = self.model.ln_likelihood(params, data)
        return ln_p[:, None].detach(), ln_p

    def _members(self, joint: Tensor, size: int, n_stars: int) -> dict[str, Tensor]:
        """Expected number of members among all the training stars, if there is a background."""
        names = list(self.model.components) if isinstance(self.model, MixtureModel) else []
        if BACKGROUND not in names:
            return {}
        return {"train/members": n_stars * self._mean(1 - joint.softmax(-1)[:, names.index(BACKGROUND)], size)}

    def _keep(self, values: dict[str, Tensor], size: int, batch_idx: int) -> None:
        """Log the means over an epoch, once: to log each step takes longer than the step of a small batch."""
        batches: Any = self.trainer.train_dataloader
        kept = self._kept if batch_idx else {}
        self._kept = {name: kept.get(name, 0) + value * (size / batches.n_stars) for name, value in values.items()}
        if batch_idx == len(batches.sizes) - 1:
            self.log_dict(self._kept, batch_size=1, on_step=False, on_epoch=True, sync_dist=True)

    def fit_posterior(self, batches: Sequence[Data]) -> None:
        """Bring the last layers to the top and fit their posterior about it, unless the model draws by dropout."""
        if not self._draws_by_dropout:
            if isinstance(self.model, MixtureModel):
                batches = [screened(self.model, stars, 0.1 * _NEGLIGIBLE) for stars in batches]
            climb(self.model, batches)
            self.posterior.fit(self.model, batches)

    @property
    def _draws_by_dropout(self) -> bool:
        """Whether every network has dropout: in draws of it, one without would seem to be known exactly."""
        parts = [part for part in self.model.modules() if isinstance(part, ParametricModel)]
        nets = [part.net for part in parts if part.net is not None]
        return bool(nets) and all(has_dropout(net) for net in nets)

    @property
    def draw(self) -> Draw | None:
        """Draws of the parameter functions: by dropout if all networks have it, else from the fitted posterior."""
        if self._draws_by_dropout:
            return draw_dropout
        return self.posterior.draw if self.posterior.factor is not None else None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with a one-cycle learning rate over the whole fit."""
        trainable = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=self.learning_rate, weight_decay=self.weight_decay)
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise InputError(
                "the learning rate falls over a known number of steps: give --trainer.max_epochs N, N > 0."
            )
        total = max(4, int(steps))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.learning_rate,
            total_steps=total,
            pct_start=max(self.warm_up, 2 / total),  # the schedule divides by the steps of the rise, less one
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the hyper-parameters plain: no modules, and no files that may be gone when the checkpoint is read."""
        hyper = checkpoint.get("hyper_parameters", {})
        checkpoint["hyper_parameters"] = literal({k: v for k, v in hyper.items() if not isinstance(v, nn.Module)})
