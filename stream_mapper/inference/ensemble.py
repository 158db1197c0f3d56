"""Several fits of one model, from different starts, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from stream_mapper.data import Data
from stream_mapper.errors import InputError, check_at_least
from stream_mapper.inference.draws import Draw, FunctionDraws
from stream_mapper.inference.laplace import FunctionPosterior
from stream_mapper.inference.resampled import Resampled
from stream_mapper.inference.scores import trained_parts
from stream_mapper.models.base import Model, ParametricModel, Params, is_pretrained
from stream_mapper.nn import GridFunction, has_dropout, redraw
from stream_mapper.nn import draw as draw_dropout
from stream_mapper.utils import without_dots

Fits = Callable[[Model], Sequence[AbstractContextManager[None]]]
"""From a model to contexts, one a fit of an ensemble, inside each of which the model has the weights of that fit."""


def alone(model: Model) -> Sequence[AbstractContextManager[None]]:  # noqa: ARG001
    """One fit: the model as it is."""
    return [nullcontext()]


def mean_over(fits: Fits, model: Model, function: Callable[[], Tensor]) -> Tensor:
    """Mean of ``function()`` over the fits of ``model``."""
    values = []
    for fit in fits(model):
        with fit:
            values.append(function())
    return torch.stack(values).mean(0)


class Ensemble(nn.Module):
    """Fits of one model from different starts: their weights, but for the first's, and their posteriors.

    All of them know the copies of the densities that were trained beforehand, of which draws have a share.

    The first fit's weights are the model's own. The fits share everything else: the frozen densities, the scalers, the
    priors. The model is given to each method, as it is not part of this module.

    Arguments:
        model: The first fit; the weights of the others are drawn anew, but where its layers know no way to.
        size: Number of fits, the first included.
        copies: Copies of each density that is trained beforehand.

    Raises:
        InputError: If there is none.
    """

    def __init__(self, model: Model, size: int = 1, copies: int = 0) -> None:
        super().__init__()
        check_at_least("model.ensemble_size", size)
        self.weights = nn.ModuleList(_copied(model) for _ in range(1, size))
        self.corrections = nn.ModuleList(nn.ModuleList(map(deepcopy, _corrections(model))) for _ in range(1, size))
        self.posteriors = nn.ModuleList(FunctionPosterior() for _ in range(size))
        self.resampled = Resampled(model, copies)
        nets = [part.net for part in trained_parts(model).values() if part.net is not None]
        for fit in self.fits(model)[1:]:
            with fit:
                for net in nets:
                    redraw(net)

    def __len__(self) -> int:
        return 1 + len(self.weights)

    def fits(self, model: Model) -> Sequence[AbstractContextManager[None]]:
        """Contexts, one a fit, inside each of which ``model`` has the weights of that fit."""
        return [self._fit(model, index) for index in range(len(self))]

    @contextmanager
    def _fit(self, model: Model, index: int) -> Iterator[None]:
        if index == 0:
            yield
            return
        weights = self.weights_of(model)
        of_fit = {weight: weights[index][name] for name, weight in weights[0].items()}
        named = [(module, leaf, w) for module in model.modules() for leaf, w in module.named_parameters(recurse=False)]
        replaced = [(module, leaf, weight) for module, leaf, weight in named if weight in of_fit]
        for module, leaf, weight in replaced:
            setattr(module, leaf, of_fit[weight])
        self._swap_corrections(model, index)
        try:
            yield
        finally:
            self._swap_corrections(model, index)
            for module, leaf, weight in replaced:
                setattr(module, leaf, weight)

    def _swap_corrections(self, model: Model, index: int) -> None:
        """Exchange the corrections of the model's networks for those of a fit, which keeps what is made of them."""
        own = cast("nn.ModuleList", self.corrections[index - 1])
        for function, other in zip(_corrections(model), cast("list[GridFunction]", list(own)), strict=True):
            function.values, other.values = other.values, function.values
            function.ends, other.ends = other.ends, function.ends

    def draw_of(self, model: Model) -> Draw | None:
        """Draws of the model's parameter functions: number i is one of fit i % K.

        They are of dropout if all networks have it, else of the fitted posteriors; None if these were not fitted.
        """
        if draws_by_dropout(model):
            return self._in_turn([draw_dropout] * len(self))
        posteriors = cast("list[FunctionPosterior]", list(self.posteriors))
        fitted = all(posterior.is_fitted for posterior in posteriors)
        if not fitted:
            return None
        return FunctionDraws(self._in_turn([posterior.draw for posterior in posteriors]), len(self))

    def _in_turn(self, draws: Sequence[Draw]) -> Draw:
        @contextmanager
        def drawn(model: Model, index: int) -> Iterator[None]:
            which = index % len(self)
            with self._fit(model, which), draws[which](model, index):
                yield

        return drawn

    def evaluate(self, model: Model, stars: Data) -> tuple[Params, Tensor]:
        """Parameters (K N,) of the N stars by name, fit after fit, and the log prior of each fit, (K,).

        Raises:
            InputError: If a hook or a prior asks for the value of a parameter, of which there are several here.
        """
        params, ln_prior = self._at_once(model, stars)
        shape = len(self), len(stars)
        flat = {name: value.reshape(len(self), -1).expand(shape).flatten() for name, value in params.items()}
        return flat, ln_prior.to(stars.device)

    def _at_once(self, model: Model, stars: Data) -> tuple[Params, Tensor]:
        """Parameters (K, N) by name, and log priors (K,), by one evaluation of the networks."""
        of_fits = self.weights_of(model)
        stacked = {f"model.{name}": torch.stack([weights[name] for weights in of_fits]) for name in of_fits[0]}
        functions = _Functions(model)
        try:
            return vmap(lambda weights: functional_call(functions, weights, (stars,)), randomness="different")(stacked)
        except RuntimeError as error:
            if not str(error).startswith("vmap"):
                raise
            asks = "a hook, a prior or a network of this model asks for the value of a parameter, as an `if` does"
            raise InputError(f"{asks}; give model.ensemble_size=1, or use torch.where. {error}") from error

    def weights_of(self, model: Model) -> list[dict[str, nn.Parameter]]:
        """The weights of each fit, by their names in the model."""
        first = _trained(model)
        return [first, *({name: weights[without_dots(name)] for name in first} for weights in self.weights)]  # type: ignore[index]


def draws_by_dropout(model: Model) -> bool:
    """Whether every network has dropout: in draws of it, one without would seem to be known exactly."""
    parts = [part for part in model.parts() if isinstance(part, ParametricModel)]
    nets = [part.net for part in parts if part.net is not None]
    return bool(nets) and all(has_dropout(net) for net in nets)


class _Functions(nn.Module):
    """What the weights decide: the parameters at each star, and the log prior."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, stars: Data) -> tuple[Params, Tensor]:
        return self.model(stars), self.model.ln_prior()


def _trained(model: Model) -> dict[str, nn.Parameter]:
    """The weights that are trained with the mixture, by name: those of no density that is trained before."""
    frozen = {weight for part in model.parts() if is_pretrained(part) for weight in part.parameters()}
    return {name: parameter for name, parameter in model.named_parameters() if parameter not in frozen}


def _corrections(model: Model) -> list[GridFunction]:
    return [module for module in model.modules() if isinstance(module, GridFunction)]


def _copied(model: Model) -> nn.ParameterDict:
    return nn.ParameterDict(
        {without_dots(n): nn.Parameter(w.detach().clone(), w.requires_grad) for n, w in _trained(model).items()}
    )
