"""A Gaussian posterior of the networks' last layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.models.base import Model, ParametricModel
from stream_mapper.nn import Constant, OnGrid
from stream_mapper.prior import ControlRegions

_ENOUGH = 0.01  # a gain in log posterior not worth another step, in nats


class LastLayerLaplace(nn.Module):
    r"""Laplace approximation over the last layers of all networks of a model, jointly.

    The posterior of the last-layer weights about the fit is Gaussian with precision
    :math:`\sum_n s_n s_n^T + \mathrm{diag}(\tau)`, with :math:`s_n` the score of star n (the gradient of its
    log-likelihood). The prior of each of a layer's H + 1 weights is Gaussian about the fit with precision
    :math:`\tau = (H + 1) / s^2`, so that a network's output, which bounds take to the parameter, has a standard
    deviation of about s where no star says anything. A draw of the weights is a draw of every parameter as a function
    of phi1. Guides that are not kept add their curvature. After Daxberger et al. 2021, "Laplace Redux",
    arXiv 2106.14806. The hidden layers are taken as known.

    Arguments:
        prior_width: s, in the unit of the networks' outputs.
    """

    def __init__(self, prior_width: float = 2.0) -> None:
        super().__init__()
        self.prior_width = prior_width
        self.factor: Tensor | None = None
        self.names: list[str] = []

    def fit(self, model: Model, batches: Sequence[Data]) -> None:
        """Accumulate the scores of the stars and factorise the precision."""
        self.names = _names(model)
        if not self.names:
            return
        with _evaluating(model):
            precision, _ = self._expand(model, batches)
        lower = torch.linalg.cholesky(precision)
        inverse = torch.linalg.solve_triangular(lower.mT, torch.eye(len(lower)).to(lower), upper=True)
        self.factor = inverse.float().cpu()

    def climb(self, model: Model, batches: Sequence[Data], steps: int = 10) -> float:
        """Bring the last layers to the top of the log posterior of all the stars, by damped Fisher scoring.

        Gradient descent on batches stops about there, at a distance that the posterior knows nothing of. Steps that do
        not gain are halved.

        Returns:
            The gain in log posterior, in nats, not negative.
        """
        self.names = _names(model)
        with _evaluating(model), torch.no_grad():
            first = last = _ln_posterior(model, batches)
            for _ in range(steps if self.names else 0):
                precision, gradient = self._expand(model, batches)
                step = torch.linalg.solve(precision, gradient).float()
                gained = self._try(model, step, batches, last)
                if gained - last < _ENOUGH:
                    break
                last = gained
        return last - first

    def _try(self, model: Model, step: Tensor, batches: Sequence[Data], before: float) -> float:
        """The log posterior after the step, or its half, and so on; where it began if none gains."""
        for share in (1.0, 0.5, 0.25, 0.125):
            self._move(model, share * step)
            after = _ln_posterior(model, batches)
            if after > before:
                return after
            self._move(model, -share * step)
        return before

    def _move(self, model: Model, step: Tensor) -> None:
        parts = self._parts(model)
        for part, block in zip(parts, step.split([_size(part) for part in parts]), strict=True):
            _shift(_last(part.net), block)

    def _expand(self, model: Model, batches: Sequence[Data]) -> tuple[Tensor, Tensor]:
        """Precision (P, P), the damping included, and gradient (P,) of the log posterior, in float64."""
        parts = self._parts(model)
        tau = torch.cat([torch.full((_size(part),), _inputs(part) / self.prior_width**2) for part in parts])
        rows, residuals = _guide_rows(model, parts)
        precision, gradient = tau.to(rows).diag() + rows.T @ rows, -residuals @ rows
        for stars in batches:
            scores = _scores(model, parts, stars).double()
            precision, gradient = precision + scores.T @ scores, gradient + scores.sum(0)
        return precision, gradient

    @contextmanager
    def draw(self, model: Model, index: int) -> Iterator[None]:
        """Inside, the last layers of ``model`` hold draw number ``index``; the same index, the same draw anywhere."""
        if self.factor is None:
            raise RuntimeError("the posterior has not been fitted.")
        noise = torch.randn(len(self.factor), generator=torch.Generator().manual_seed(index))
        layers = [_last(part.net) for part in self._parts(model)]
        kept = [{n: p.detach().clone() for n, p in layer.named_parameters()} for layer in layers]
        try:
            self._move(model, self.factor @ noise)
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


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """Inside, the model is in evaluation mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _ln_posterior(model: Model, batches: Sequence[Data]) -> float:
    """Log likelihood of all the stars plus log prior, in nats."""
    terms = [model.ln_likelihood(model(stars), stars).double().sum() for stars in batches]
    return float(sum(terms) + model.ln_prior())


def _guide_rows(model: Model, parts: list[ParametricModel]) -> tuple[Tensor, Tensor]:
    """The guides' residuals r (K,) and their derivatives (K, P) with respect to the last layers, in float64."""
    leaves = [[*_last(part.net).parameters()] for part in parts]
    flat = [p for group in leaves for p in group]
    held = [(part, prior) for part in model.modules() if isinstance(part, Model) for prior in part.own_priors]
    with torch.enable_grad():
        found = [prior.residuals(part) for part, prior in held if isinstance(prior, ControlRegions)]
        residuals = torch.cat(found or [flat[0].new_zeros(0)])
        rows = [_row(residual, flat, leaves) for residual in residuals]
    size = sum(_size(part) for part in parts)
    return (torch.stack(rows) if rows else residuals.new_zeros(0, size)).double(), residuals.detach().double()


def _row(residual: Tensor, flat: list[nn.Parameter], leaves: list[list[nn.Parameter]]) -> Tensor:
    found = iter(torch.autograd.grad(residual, flat, retain_graph=True, allow_unused=True, materialize_grads=True))
    return torch.cat([_in_order([next(found) for _ in group]) for group in leaves])


def _in_order(gradients: list[Tensor]) -> Tensor:
    """Gradients of a weight (F, H) and a bias (F,), or of a value (F,), by output and then input, the bias last."""
    if len(gradients) == 1:
        return gradients[0]
    return torch.cat([gradients[0], gradients[1][:, None]], -1).flatten()


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
