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
from stream_mapper.models.base import Params
from stream_mapper.models.climb import climb
from stream_mapper.models.members import Members
from stream_mapper.models.mixture import BACKGROUND
from stream_mapper.models.pieces import ln_terms
from stream_mapper.models.posterior import FunctionPosterior
from stream_mapper.models.screen import held_columns, held_of_each, repeated, screened
from stream_mapper.nn import draw as draw_dropout
from stream_mapper.nn import has_dropout
from stream_mapper.results.posterior import Draw
from stream_mapper.training.batches import Batches
from stream_mapper.training.ensemble import Ensemble
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
        members: Fits of the model that are trained side by side from different starts; what is then said of the model
            is said of their mean.

    Raises:
        InputError: If the learning rate is not positive, the decay negative, the share not in 0..1, or there is no
            member.
    """

    def __init__(
        self,
        model: Model,
        learning_rate: float = 1e-2,
        weight_decay: float = 0.0,
        warm_up: float = 0.1,
        screen_every: int = 5,
        members: int = 1,
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
        self.ensemble = Ensemble(model, members)
        self.learning_rate, self.weight_decay, self.warm_up = learning_rate, weight_decay, warm_up
        self.screen_every = screen_every
        self._kept: dict[str, Any] = {}

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
            held = held_columns if len(self.ensemble) == 1 else partial(held_of_each, members=self.members)
            compute = partial(held, self.model, threshold=_NEGLIGIBLE, certain=certain)
            batches.data = batches.data.with_columns(together(compute, batches.data, self.device))

    def training_step(self, data: Data, batch_idx: int) -> Tensor:
        """Minus the log posterior per star of one batch, in nats: the sum over the members; their mean is logged."""
        batches: Any = self.trainer.train_dataloader
        size = batches.sizes[batch_idx]
        joint, ln_p, ln_prior = self._terms(data)
        losses = -(self._mean(ln_p, size) + ln_prior / batches.n_stars)
        values = {"train/loss": losses.detach().mean(), **self._expected(joint, ln_p.detach(), size, batches.n_stars)}
        self._keep(values, size, batch_idx)
        return losses.sum()

    def validation_step(self, data: Data, batch_idx: int) -> None:
        """Logs the bare mean log-likelihood of held-out stars, in nats."""
        batches: Any = self.trainer.val_dataloaders
        size = batches.sizes[batch_idx]
        ln_p = ln_mean(self.ln_likelihoods(data))
        self.log("val/ln_likelihood", self._mean(ln_p, size), batch_size=size, sync_dist=True)

    def ln_likelihoods(self, data: Data) -> Tensor:
        """Log density of each star by each of the K members, shape (K, N), in nats."""
        return self._terms(data)[1]

    def _mean(self, terms: Tensor, size: int) -> Tensor:
        """Mean over the ``size`` stars of a batch, of which this process has these, (..., N).

        It is the average over the processes, of which some have one star more, that is the mean; gradients and what is
        logged are averaged.
        """
        return terms.sum(-1) * (self.trainer.world_size / size)

    def _terms(self, data: Data) -> tuple[Tensor, Tensor, Tensor]:
        """Of each of the K members: logs of the terms of a mixture, (K, N, Q), and of their sum, (K, N), and log prior.

        Of a density that is no mixture, Q is one. Log priors have the shape (K,), or () of one member.
        """
        count = len(self.ensemble)
        if count == 1:
            params, ln_prior = self.model(data), self.model.ln_prior()
        else:
            params, ln_prior = self.ensemble.evaluate(self.model, data)
            data = repeated(self.model, data, count)
        joint, ln_p = self._densities(params, data)
        return joint.view(count, -1, joint.shape[-1]), ln_p.view(count, -1), ln_prior

    def _densities(self, params: Params, data: Data) -> tuple[Tensor, Tensor]:
        """Logs of the terms of a mixture (N, Q), or of the density alone (N, 1), and of their sum (N,)."""
        if isinstance(self.model, MixtureModel):
            return ln_terms(self.model, params, data)
        ln_p = self.model.ln_likelihood(params, data)
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
        self._kept = {name: self._kept.get(name, 0) + value for name, value in sums.items()} if batch_idx else sums
        if self.trainer.is_last_batch or self.trainer.global_step + 1 == self.trainer.max_steps:
            means = {name: self._kept[name] / self._kept["stars"] for name in values}
            self.log_dict(means, batch_size=1, on_step=False, on_epoch=True, sync_dist=True)

    def fit_posterior(self, batches: Sequence[Data]) -> None:
        """Bring the last layers to the top and fit their posterior about it, unless the model draws by dropout."""
        if not self._draws_by_dropout:
            for member, posterior in zip(self.members(self.model), self._posteriors, strict=True):
                with member:
                    self._fit_one(posterior, batches)

    def _fit_one(self, posterior: FunctionPosterior, batches: Sequence[Data]) -> None:
        if isinstance(self.model, MixtureModel):
            batches = [screened(self.model, stars, 0.1 * _NEGLIGIBLE) for stars in batches]
        climb(self.model, batches)
        posterior.fit(self.model, batches)

    @property
    def members(self) -> Members:
        """The fits that were trained side by side, inside each of which the model is that fit; one, most often."""
        return self.ensemble.members

    @property
    def _posteriors(self) -> list[FunctionPosterior]:
        return [self.posterior, *self.ensemble.posteriors]

    @property
    def _draws_by_dropout(self) -> bool:
        """Whether every network has dropout: in draws of it, one without would seem to be known exactly."""
        parts = [part for part in self.model.parts() if isinstance(part, ParametricModel)]
        nets = [part.net for part in parts if part.net is not None]
        return bool(nets) and all(has_dropout(net) for net in nets)

    @property
    def draw(self) -> Draw | None:
        """Draws of the parameter functions: by dropout if all networks have it, else from the fitted posterior.

        Those of an ensemble go round its members.
        """
        if self._draws_by_dropout:
            return self.ensemble.draw([draw_dropout] * len(self.ensemble))
        fitted = all(posterior.factor is not None for posterior in self._posteriors)
        return self.ensemble.draw([posterior.draw for posterior in self._posteriors]) if fitted else None

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Cut the gradient of each member by its own norm, so that it is trained as if it were alone."""
        if len(self.ensemble) == 1 or gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            for weights in self.ensemble.weights_of(self.model):
                nn.utils.clip_grad_norm_(weights.values(), gradient_clip_val)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with a one-cycle learning rate over the whole fit."""
        trainable = [p for p in self.parameters() if p.requires_grad]
        fused = True if len(self.ensemble) > 1 else None  # many small tensors
        optimizer = torch.optim.AdamW(trainable, lr=self.learning_rate, weight_decay=self.weight_decay, fused=fused)
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
        for key in ("hyper_parameters", "datamodule_hyper_parameters"):
            if key in checkpoint:
                given = {k: v for k, v in checkpoint[key].items() if not isinstance(v, nn.Module)}
                checkpoint[key] = literal(given)


def ln_mean(ln_p: Tensor) -> Tensor:
    """Log of the mean of the densities of K members, (N,), from their logarithms, (K, N)."""
    return ln_p.logsumexp(0) - math.log(len(ln_p))
