"""A Gaussian posterior of the networks, as functions of phi1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.models.base import Model, ParametricModel
from stream_mapper.models.scores import Scores, evaluating, guide_scores, hooked, star_scores, trained_parts
from stream_mapper.nn import OnGrid, grid_position

Span = tuple[float, float]

_JITTER = 1e-9  # of the prior's mean variance: the tangent kernel has a low rank
_LEFT_OUT = 1e-6  # share of the posterior's variance that the stored factor may miss
_UNKNOWN_SPAN = (-3.0, 3.0)  # of a network's standardised input, where its range is not known


class FunctionPosterior(nn.Module):
    r"""Linearised Laplace approximation over all weights of all networks, drawn as functions of phi1.

    A small change of a network's weights changes its outputs on a grid of phi1 by the network's Jacobian J. Independent
    Gaussian priors on the weights therefore are a Gaussian process prior on the change of the outputs, with covariance
    :math:`K \propto J J^T` (the tangent kernel), scaled here so that an output has a standard deviation of
    ``prior_width`` on average. With S the scores (the derivatives of each star's log-likelihood with respect to the
    outputs on the grid), the posterior covariance is :math:`(K^{-1} + S^T S)^{-1}`. A draw adds one function to each
    network's output, before the bounds. Immer, Korzepa & Bauer 2021, "Improving predictions of Bayesian neural nets
    via local linearization", arXiv 2008.08400.

    Networks of more than one independent coordinate are held as they are. Guides that are kept are flat.

    Arguments:
        prior_width: Prior standard deviation of a network's output, in the unit before the bounds.
        size: Nodes of the grid.
    """

    def __init__(self, prior_width: float = 2.0, size: int = 256) -> None:
        super().__init__()
        self.prior_width, self.size = prior_width, size
        self.factor: Tensor | None = None
        self.spans: dict[str, Span] = {}

    def fit(self, model: Model, batches: Sequence[Data]) -> None:
        """Fit the posterior about the model's present weights, on all the training stars."""
        found = {n: p for n, p in trained_parts(model).items() if len(p.indep_coord_names) == 1}
        self.spans = {name: _span(part) for name, part in found.items()}
        if not found:
            return
        parts = list(found.values())
        with evaluating(model):
            prior = torch.block_diag(*[self._prior(part) for part in parts])
            precision = torch.zeros_like(prior)
            for scores in self._all_scores(model, parts, batches):
                rows = self._on_grid(parts, scores)
                precision = precision + rows.T @ rows
        self.factor = _low_rank(_posterior_factor(prior, precision)).float().cpu()

    @contextmanager
    def draw(self, model: Model, index: int) -> Iterator[None]:
        """Inside, every network of ``model`` gives draw number ``index``; the same index, the same draw anywhere."""
        if self.factor is None:
            raise RuntimeError("the posterior has not been fitted.")
        noise = torch.randn(self.factor.shape[1], generator=torch.Generator().manual_seed(index))
        shifts = iter((self.factor @ noise).view(-1, self.size))
        with ExitStack() as stack:
            for name, span in self.spans.items():
                part = model.get_submodule(name)
                if isinstance(part, ParametricModel):
                    values = torch.stack([next(shifts) for _ in part.params.names], -1)
                    stack.enter_context(hooked(part, _shifted(values, span)))
            yield

    def get_extra_state(self) -> dict[str, Any]:
        """The factor of the covariance and the networks it is of; travels with the state."""
        return {"factor": self.factor, "spans": self.spans}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` gave."""
        self.factor, self.spans = state["factor"], state["spans"]

    def _prior(self, part: ParametricModel) -> Tensor:
        """Covariance of the outputs on the grid, (F G, F G), by output and then by node, in float64."""
        net = part.net.net if isinstance(part.net, OnGrid) else part.net
        weights = list(part.net.parameters()) if part.net is not None else []
        nodes = torch.linspace(*_span(part), self.size, device=weights[0].device, dtype=weights[0].dtype)[:, None]
        with torch.enable_grad():
            outputs = net(nodes).T.flatten() if net is not None else nodes
            rows = [torch.autograd.grad(o, weights, retain_graph=True, materialize_grads=True) for o in outputs]
        jacobian = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows]).double()
        kernel = jacobian @ jacobian.T
        return kernel * (self.prior_width**2 / kernel.diagonal().mean())

    def _all_scores(
        self, model: Model, parts: list[ParametricModel], batches: Sequence[Data]
    ) -> Iterator[list[Scores]]:
        for stars in batches:
            yield star_scores(model, parts, stars)
        for _, scores in guide_scores(model, parts):
            yield scores

    def _on_grid(self, parts: list[ParametricModel], scores: list[Scores]) -> Tensor:
        """Derivatives with respect to the outputs on the grid, (N, sum of F G), in float64."""
        rows = max(len(s.inputs) for s in scores)
        blocks = []
        for part, (inputs, derivatives) in zip(parts, scores, strict=True):
            block = derivatives.new_zeros(rows, len(part.params), self.size)
            if len(inputs):
                left, weight = grid_position(inputs[:, 0], _span(part), self.size)
                spread = [left[:, None, None].expand(-1, len(part.params), 1) + i for i in (0, 1)]
                block.scatter_add_(2, spread[0], (derivatives * (1 - weight)[:, None])[:, :, None])
                block.scatter_add_(2, spread[1], (derivatives * weight[:, None])[:, :, None])
            blocks.append(block.flatten(1))
        return torch.cat(blocks, -1).double()


def _span(part: ParametricModel) -> Span:
    """First and last node of the grid, in the unit of the network's input."""
    if isinstance(part.net, OnGrid) and part.net.span is not None:
        return part.net.span
    edges = torch.stack([part.indep_scaler.low, part.indep_scaler.high])
    low, high = part.indep_scaler.transform(edges)[:, 0].tolist()
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else _UNKNOWN_SPAN


def _shifted(values: Tensor, span: Span) -> Any:
    """A hook that adds the function with these values (G, F) on the grid."""

    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        shift = values.to(output)
        left, weight = grid_position(inputs[0][:, 0], span, len(values))
        return output + torch.lerp(shift[left], shift[left + 1], weight[:, None])

    return hook


def _posterior_factor(prior: Tensor, precision: Tensor) -> Tensor:
    """A square root L of (K^-1 + Lambda)^-1 = L L^T, without the inverse of K."""
    eye = torch.eye(len(prior), dtype=prior.dtype, device=prior.device)
    root = torch.linalg.cholesky(prior + _JITTER * prior.diagonal().mean() * eye)
    inner = torch.linalg.cholesky(eye + root.T @ precision @ root)
    return torch.linalg.solve_triangular(inner, root.T, upper=False).T


def _low_rank(factor: Tensor) -> Tensor:
    """The leading columns of a factor of the same covariance."""
    left, singular, _ = torch.linalg.svd(factor, full_matrices=False)
    variance = singular.square().cumsum(0) / singular.square().sum()
    kept = int((variance < 1 - _LEFT_OUT).sum()) + 1
    return left[:, :kept] * singular[:kept]
