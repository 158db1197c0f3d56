"""Several fits of one model, from different starts, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from stream_mapper.builtin.compat import FlowModel
from stream_mapper.data import Data
from stream_mapper.errors import InputError, check_at_least
from stream_mapper.models import Model
from stream_mapper.models.base import Params
from stream_mapper.models.posterior import FunctionPosterior
from stream_mapper.models.scores import trained_parts
from stream_mapper.nn import redraw
from stream_mapper.results.posterior import Draw


class Ensemble(nn.Module):
    """The weights of all members of an ensemble but the first, whose weights are the model's own.

    The members share everything else: the frozen densities, the scalers, the priors. The model is given to each
    method, as it is not part of this module.

    Arguments:
        model: The first member; the weights of the others are drawn anew, but where its layers know no way to.
        members: Number of members, the first included.

    Raises:
        InputError: If there is no member.
    """

    def __init__(self, model: Model, members: int) -> None:
        super().__init__()
        check_at_least("model.members", members)
        self.weights = nn.ModuleList(_copied(model) for _ in range(1, members))
        self.posteriors = nn.ModuleList(FunctionPosterior() for _ in range(1, members))
        nets = [part.net for part in trained_parts(model).values() if part.net is not None]
        for member in self.members(model)[1:]:
            with member:
                for net in nets:
                    redraw(net)

    def __len__(self) -> int:
        return 1 + len(self.weights)

    def members(self, model: Model) -> Sequence[AbstractContextManager[None]]:
        """Contexts, one a member, inside each of which ``model`` has that member's weights."""
        return [self._member(model, index) for index in range(len(self))]

    @contextmanager
    def _member(self, model: Model, index: int) -> Iterator[None]:
        if index == 0:
            yield
            return
        weights = self.weights_of(model)
        places = {own: weights[index][name] for name, own in weights[0].items()}
        found = [(part, leaf, own) for part in model.modules() for leaf, own in part.named_parameters(recurse=False)]
        changed = [(part, leaf, own) for part, leaf, own in found if own in places]
        for part, leaf, own in changed:
            setattr(part, leaf, places[own])
        try:
            yield
        finally:
            for part, leaf, own in changed:
                setattr(part, leaf, own)

    def draw(self, draws: Sequence[Draw]) -> Draw:
        """Draws of the ensemble from those of its members: number i is that of member i % K."""

        @contextmanager
        def drawn(model: Model, index: int) -> Iterator[None]:
            which = index % len(self)
            with self._member(model, which), draws[which](model, index):
                yield

        return drawn

    def evaluate(self, model: Model, stars: Data) -> tuple[Params, Tensor]:
        """Parameters (K N,) of the N stars by name, member after member, and the log prior of each member, (K,).

        Raises:
            InputError: If a hook or a prior asks for the value of a parameter, of which there are several here.
        """
        params, ln_prior = self._at_once(model, stars)
        shape = len(self), len(stars)
        flat = {name: value.reshape(len(self), -1).expand(shape).flatten() for name, value in params.items()}
        return flat, ln_prior.to(stars.device)

    def _at_once(self, model: Model, stars: Data) -> tuple[Params, Tensor]:
        """Parameters (K, N) by name, and log priors (K,), by one evaluation of the networks."""
        members = self.weights_of(model)
        stacked = {f"model.{name}": torch.stack([weights[name] for weights in members]) for name in members[0]}
        functions = _Functions(model)
        try:
            return vmap(lambda weights: functional_call(functions, weights, (stars,)), randomness="different")(stacked)
        except RuntimeError as error:
            if not str(error).startswith("vmap"):
                raise
            asks = "a hook, a prior or a network of this model asks for the value of a parameter, as an `if` does"
            raise InputError(f"{asks}; give model.members=1, or use torch.where. {error}") from error

    def weights_of(self, model: Model) -> list[dict[str, nn.Parameter]]:
        """The weights of each member, by their names in the model."""
        own = _trained(model)
        return [own, *({name: weights[_key(name)] for name in own} for weights in self.weights)]  # type: ignore[index]


class _Functions(nn.Module):
    """What the weights decide: the parameters at each star, and the log prior."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, stars: Data) -> tuple[Params, Tensor]:
        return self.model(stars), self.model.ln_prior()


def _trained(model: Model) -> dict[str, nn.Parameter]:
    """The weights that are trained with the mixture, by name: those of no flow."""
    flows = [part for part in model.parts() if isinstance(part, FlowModel)]
    frozen = {parameter for flow in flows for parameter in flow.parameters()}
    return {name: parameter for name, parameter in model.named_parameters() if parameter not in frozen}


def _copied(model: Model) -> nn.ParameterDict:
    return nn.ParameterDict(
        {_key(n): nn.Parameter(w.detach().clone(), w.requires_grad) for n, w in _trained(model).items()}
    )


def _key(name: str) -> str:
    """The name of a weight without dots, which no key of a ParameterDict may have."""
    return name.replace(".", "/")
