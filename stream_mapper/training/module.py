"""The LightningModule around a model."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Literal, get_args

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from stream_mapper.errors import InputError, check_positive
from stream_mapper.inference.chunked import ln_terms
from stream_mapper.inference.ensemble import Ensemble
from stream_mapper.inference.screening import repeated
from stream_mapper.models.base import Model, Params
from stream_mapper.models.components import ln_density
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import BACKGROUND, MixtureModel
from stream_mapper.results.checkpoint import HEADER, header_of
from stream_mapper.signals import take_back_sigterm
from stream_mapper.training.batches import Batches
from stream_mapper.training.goes_on import GoesOn
from stream_mapper.training.screening import ScreenStars

Weights = Literal["end", "best"]
"""Which weights a fit keeps."""

_OF_LIGHTNING = ("hyper_parameters", "hparams_name", "datamodule_hyper_parameters", "datamodule_hparams_name")
_FUSED = {"cpu", "cuda"}  # devices on which AdamW takes all weights in one call


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
        weights: Which weights a fit keeps: those of the ``end`` of its schedule, or those of the epoch ``best`` on the
            held-out stars.
        ensemble_size: Fits of the model that are trained side by side from different starts; what is then said of the
            model is said of their mean.

    Raises:
        InputError: If the learning rate is not positive, the decay negative, the share not in 0..1, the weights are
            others, or there is no fit.
    """

    def __init__(
        self,
        model: Model,
        learning_rate: float = 1e-2,
        weight_decay: float = 0.0,
        warm_up: float = 0.1,
        screen_every: int = 5,
        ensemble_size: int = 1,
        weights: Weights = "end",
    ) -> None:
        super().__init__()
        check_positive("model.learning_rate", learning_rate)
        if not (0 <= weight_decay < math.inf and 0 <= warm_up < 1):
            raise InputError(
                f"model.weight_decay must be 0 or more and model.warm_up in 0..1; got {weight_decay} and {warm_up}."
            )
        if weights not in get_args(Weights):
            raise InputError(f"model.weights must be one of {list(get_args(Weights))}; got {weights!r}.")
        self.save_hyperparameters(ignore=["model"])
        self.model = model
        self.ensemble = Ensemble(model, ensemble_size)
        self.learning_rate, self.weight_decay, self.warm_up = learning_rate, weight_decay, warm_up
        self.screen_every, self.weights = screen_every, weights
        self._sums: dict[str, Any] = {}

    def configure_callbacks(self) -> list[Callback]:
        """What every training of a module does besides."""
        return [ScreenStars(self.screen_every), GoesOn()]

    def on_train_start(self) -> None:
        """Leave Lightning no signal: in a fit of several processes it would wait for the others."""
        take_back_sigterm()

    def on_train_epoch_start(self) -> None:
        """Let the stars come in the order of the epoch, also if the training goes on in another process."""
        batches: Any = self.trainer.train_dataloader
        if isinstance(batches, Batches):
            batches.set_epoch(self.trainer.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Minus the log posterior per star of one batch, in nats: the sum over the fits; their mean is logged."""
        batches: Any = self.trainer.train_dataloader
        size = batches.sizes[batch_idx]
        joint, ln_p, ln_prior = self._terms(batch)
        losses = -(self._mean(ln_p, size) + ln_prior / batches.n_stars)
        values = {"train/loss": losses.detach().mean(), **self._expected(joint, ln_p.detach(), size, batches.n_stars)}
        self._keep(values, size, batch_idx)
        return losses.sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the bare mean log-likelihood of held-out stars, in nats."""
        batches: Any = self.trainer.val_dataloaders
        size = batches.sizes[batch_idx]
        ln_p = ln_mean(self.ln_likelihoods(batch))
        self.log("val/ln_likelihood", self._mean(ln_p, size), batch_size=size, sync_dist=True)

    def ln_likelihoods(self, batch: Batch) -> Tensor:
        """Log density of each star by each of the K fits, shape (K, N), in nats."""
        return self._terms(batch)[1]

    def _mean(self, terms: Tensor, size: int) -> Tensor:
        """Mean over the ``size`` stars of a batch, of which this process has these, (..., N).

        It is the average over the processes, of which some have one star more, that is the mean; gradients and what is
        logged are averaged.
        """
        return terms.sum(-1) * (self.trainer.world_size / size)

    def _terms(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logs of the terms of a mixture, (K, N, Q), and of their sum, (K, N), and log priors, of the K fits.

        Of a density that is no mixture, Q is one. Log priors have the shape (K,), or () of one fit.
        """
        count = len(self.ensemble)
        if count == 1:
            params, ln_prior = self.model(batch.stars), self.model.ln_prior()
        else:
            params, ln_prior = self.ensemble.evaluate(self.model, batch.stars)
            batch = repeated(batch, count)
        joint, ln_p = self._densities(params, batch)
        return joint.view(count, -1, joint.shape[-1]), ln_p.view(count, -1), ln_prior

    def _densities(self, params: Params, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logs of the terms of a mixture (N, Q), or of the density alone (N, 1), and of their sum (N,)."""
        if isinstance(self.model, MixtureModel):
            return ln_terms(self.model, params, batch)
        ln_p = ln_density(self.model, params, batch)
        return ln_p[:, None].detach(), ln_p

    def _expected(self, joint: Tensor, ln_p: Tensor, size: int, n_stars: int) -> dict[str, Tensor]:
        """Expected number of members among all the training stars, if there is a background."""
        names = list(self.model.components) if isinstance(self.model, MixtureModel) else []
        if BACKGROUND not in names:
            return {}
        p = -torch.expm1(joint[..., names.index(BACKGROUND)] - ln_p)
        return {"train/members": n_stars * self._mean(p, size).mean()}

    def _keep(self, values: dict[str, Tensor], size: int, batch_idx: int) -> None:
        """Log the means over an epoch, once: to log each step takes longer than the step of a small batch."""
        sums = {name: value * size for name, value in values.items()} | {"stars": size}
        self._sums = {name: self._sums.get(name, 0) + value for name, value in sums.items()} if batch_idx else sums
        if self.trainer.is_last_batch or self.trainer.global_step + 1 == self.trainer.max_steps:
            means = {name: self._sums[name] / self._sums["stars"] for name in values}
            self.log_dict(means, batch_size=1, on_step=False, on_epoch=True, sync_dist=True)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Cut the gradient of each fit by its own norm, so that it is trained as if it were alone."""
        if len(self.ensemble) == 1 or gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            for weights in self.ensemble.weights_of(self.model):
                nn.utils.clip_grad_norm_(weights.values(), gradient_clip_val)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with a one-cycle learning rate over the whole fit."""
        trainable = [p for p in self.parameters() if p.requires_grad]
        quick = {p.device.type for p in trainable} <= _FUSED and not isinstance(
            self.trainer.precision_plugin, MixedPrecision
        )
        optimizer = torch.optim.AdamW(
            trainable, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True if quick else None
        )
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

    @cached_property
    def _header(self) -> dict[str, Any]:
        """What every checkpoint of a training says of the model, found once."""
        datamodule = getattr(self._trainer, "datamodule", None)
        return header_of(self.model, self.ensemble, getattr(datamodule, "intake", None))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the model as plain values, by which it is built again; see :mod:`stream_mapper.description`."""
        checkpoint[HEADER] = self._header
        for key in _OF_LIGHTNING:
            checkpoint.pop(key, None)


def ln_mean(ln_p: Tensor) -> Tensor:
    """Log of the mean of the densities of K fits, (N,), from their logarithms, (K, N)."""
    return ln_p.logsumexp(0) - math.log(len(ln_p))
