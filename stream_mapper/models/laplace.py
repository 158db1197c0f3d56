"""A Gaussian posterior of the networks' last layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.models.base import Model, ParametricModel
from stream_mapper.nn import Constant, OnGrid


class LastLayerLaplace(nn.Module):
    r"""Laplace approximation over the last layers of all networks of a model, jointly.

    The posterior of the last-layer weights about the fit is Gaussian with precision
    :math:`\sum_n s_n s_n^T + \mathrm{diag}(\tau)`, with :math:`s_n` the score of star n (the gradient of its
    log-likelihood). The prior of each of a layer's H + 1 weights is Gaussian about the fit with precision
    :math:`\tau = (H + 1) / s^2`, so that a network's output, which bounds take to the parameter, has a standard
    deviation of about s where no star says anything. A draw of the weights is a draw of every parameter as a function
    of phi1. After Daxberger et al. 2021, "Laplace Redux", arXiv 2106.14806. The hidden layers are taken as known, and
    the guides as flat.

    Arguments:
        prior_width: s, in the unit of the networks' outputs.
    """

    def __init__(self, prior_width: float = 2.0) -> None:
        super().__init__()
        self.prior_width = prior_width
        self.factor: Tensor | None = None
        self.names: list[str] = []

    def fit(self, model: Model, batches: Iterable[Data]) -> None:
        """Accumulate the scores of the stars and factorise the precision."""
        training = model.training
        model.eval()
        self.names = _names(model)
        parts = self._parts(model)
        precision: Tensor | None = None
        for stars in batches:
            scores = _scores(model, parts, stars).double()
            precision = scores.T @ scores + (0.0 if precision is None else precision)
        model.train(training)
        if precision is None or precision.numel() == 0:
            return
        tau = torch.cat([torch.full((_size(part),), _inputs(part) / self.prior_width**2) for part in parts])
        lower = torch.linalg.cholesky(precision + tau.to(precision).diag())
        inverse = torch.linalg.solve_triangular(lower.mT, torch.eye(len(lower)).to(lower), upper=True)
        self.factor = inverse.float().cpu()

    @contextmanager
    def draw(self, model: Model, index: int) -> Iterator[None]:
        """Inside, the last layers of ``model`` hold draw number ``index``; the same index, the same draw anywhere."""
        if self.factor is None:
            raise RuntimeError("the posterior has not been fitted.")
        noise = torch.randn(len(self.factor), generator=torch.Generator().manual_seed(index))
        parts = self._parts(model)
        steps = (self.factor @ noise).split([_size(part) for part in parts])
        layers = [_last(part.net) for part in parts]
        kept = [{n: p.detach().clone() for n, p in layer.named_parameters()} for layer in layers]
        try:
            for layer, step in zip(layers, steps, strict=True):
                _shift(layer, step)
            yield
        finally:
            for layer, values in zip(layers, kept, strict=True):
                layer.load_state_dict(values)

    def _parts(self, model: Model) -> list[ParametricModel]:
        """The parts whose networks are drawn."""
        return [part for part in map(model.get_submodule, self.names) if isinstance(part, ParametricModel)]

    def get_extra_state(self) -> dict[str, Any]:
        """The factor of the covariance and the networks it is of; travels with the state."""
        return {"factor": self.factor, "names": self.names}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` gave."""
        self.factor, self.names = state["factor"], state["names"]


def _names(model: Model) -> list[str]:
    """Paths of the parts that have a network in training."""
    parts = {n: p for n, p in model.named_modules() if isinstance(p, ParametricModel) and p.net is not None}
    return [name for name, p in parts.items() if all(q.requires_grad for q in _last(p.net).parameters())]


def _last(net: nn.Module | None) -> nn.Module:
    """The last layer of a network: a Linear or a Constant."""
    inner = net.net if isinstance(net, OnGrid) else net
    layer = inner[-1] if isinstance(inner, nn.Sequential) else inner
    if not isinstance(layer, nn.Linear | Constant):
        raise TypeError(f"a Laplace posterior needs networks that end in a Linear; found {type(layer).__name__}.")
    return layer


def _size(part: ParametricModel) -> int:
    return sum(p.numel() for p in _last(part.net).parameters())


def _inputs(part: ParametricModel) -> int:
    """Number of weights of one output of the last layer, the bias included."""
    layer = _last(part.net)
    return layer.in_features + 1 if isinstance(layer, nn.Linear) else 1


def _shift(layer: nn.Module, step: Tensor) -> None:
    """Add a step, ordered by output and then by input with the bias last, to a layer's weights."""
    with torch.no_grad():
        if isinstance(layer, nn.Linear):
            block = step.to(layer.weight).view(layer.out_features, layer.in_features + 1)
            layer.weight.add_(block[:, :-1])
            layer.bias.add_(block[:, -1])
        elif isinstance(layer, Constant):
            layer.value.add_(step.to(layer.value))


def _features(part: ParametricModel, x: Tensor) -> Tensor:
    """Inputs (N, H + 1) of the last layer at network inputs x, with a one for the bias."""
    net = part.net.net if isinstance(part.net, OnGrid) else part.net
    ones = torch.ones_like(x[:, :1])
    if isinstance(_last(net), Constant):
        return ones
    return torch.cat([net[:-1](x) if isinstance(net, nn.Sequential) else x, ones], -1)


def _scores(model: Model, parts: list[ParametricModel], stars: Data) -> Tensor:
    """Gradient of each star's log-likelihood with respect to the last layers of the parts, shape (N, P)."""
    seen = dict[int, tuple[Tensor, Tensor]]()

    def cut(i: int) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            leaf = output.detach().requires_grad_()
            seen[i] = (inputs[0].detach(), leaf)
            return leaf

        return hook

    with ExitStack() as stack, torch.enable_grad():
        for i, part in enumerate(parts):
            stack.enter_context(_hooked(part, cut(i)))
        total = model.ln_likelihood(model(stars), stars).sum()
        leaves = [seen[i][1] for i in range(len(parts))]
        gradients = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        blocks = [
            (g[:, :, None] * _features(part, seen[i][0])[:, None, :]).flatten(1)
            for i, (part, g) in enumerate(zip(parts, gradients, strict=True))
        ]
    return torch.cat(blocks, -1)


@contextmanager
def _hooked(part: ParametricModel, hook: Any) -> Iterator[None]:
    handle = part.net.register_forward_hook(hook)  # type: ignore[union-attr]
    try:
        yield
    finally:
        handle.remove()
