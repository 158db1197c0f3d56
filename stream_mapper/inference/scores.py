"""Derivatives of a model's terms with respect to the outputs of its networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stream_mapper.models.base import Model, ParametricModel
from stream_mapper.models.components import ln_density
from stream_mapper.models.known import Batch
from stream_mapper.prior import SquaredPrior


class Scores(NamedTuple):
    """Inputs of a network, (N, D), and derivatives of each row's term with respect to its outputs, (N, F)."""

    inputs: Tensor
    derivatives: Tensor


def trained_parts(model: Model) -> dict[str, ParametricModel]:
    """The parts that have a network in training, by the path of their module."""
    parts = {n: p for n, p in model.named_modules() if isinstance(p, ParametricModel) and p.net is not None}
    return {n: p for n, p in parts.items() if all(q.requires_grad for q in _net(p).parameters())}


def star_scores(model: Model, parts: list[ParametricModel], batch: Batch) -> list[Scores]:
    """Derivatives of each star's log-likelihood, one entry a part."""
    return _derivatives(parts, lambda: ln_density(model, model(batch.stars), batch))[1]


def guide_scores(model: Model, parts: list[ParametricModel]) -> list[tuple[Tensor, list[Scores]]]:
    """Residuals r of each squared prior, which is -sum r^2 / 2, and their derivatives, one entry a part."""
    guides = [(part, prior) for part, prior in model.held_priors() if isinstance(prior, SquaredPrior)]
    return [_derivatives(parts, lambda g=g, m=m: g.residuals(m)) for m, g in guides]  # type: ignore[misc]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def hooked(part: ParametricModel, hook: Any) -> Iterator[None]:
    """Inside, ``hook`` is called with each output of the part's network, which it may replace."""
    handle = _net(part).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _net(part: ParametricModel) -> nn.Module:
    if part.net is None:
        raise TypeError(f"{type(part).__name__} has no network.")
    return part.net


def _slopes(values: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    """Derivatives of the sum of values; none where no network was asked, as by the guide of a frozen one."""
    return torch.autograd.grad(values.sum(), leaves, allow_unused=True, materialize_grads=True) if leaves else ()


def _derivatives(parts: list[ParametricModel], terms: Callable[[], Tensor]) -> tuple[Tensor, list[Scores]]:
    """The terms (N,), each of which depends on its own row alone, and their derivatives."""
    seen: dict[int, tuple[Tensor, Tensor]] = {}

    def cut(i: int) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            leaf = output.detach().requires_grad_()
            seen[i] = (inputs[0].detach(), leaf)
            return leaf

        return hook

    with ExitStack() as stack, torch.enable_grad():
        for i, part in enumerate(parts):
            stack.enter_context(hooked(part, cut(i)))
        values = terms()
        leaves = [leaf for _, leaf in seen.values()]
        slopes = _slopes(values, leaves)
    by_part = {i: Scores(x, g) for (i, (x, _)), g in zip(seen.items(), slopes, strict=True)}
    empty = Scores(values.new_zeros(0, 1), values.new_zeros(0, 0))
    return values.detach(), [by_part.get(i, empty) for i in range(len(parts))]
