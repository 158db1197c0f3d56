"""A Gaussian posterior of the networks, as functions of phi1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from stream_mapper.inference.scores import Scores, evaluating, guide_scores, hooked, star_scores, trained_parts
from stream_mapper.models.base import Model, ParametricModel
from stream_mapper.models.known import Batch
from stream_mapper.nn import OnGrid, grid_position

Span = tuple[float, float]

_RANK = 1e-9  # share of a kernel's largest eigenvalue below which another counts as none
_UNKNOWN_SPAN = (-3.0, 3.0)  # of a network's standardised input, where its range is not known


class FunctionPosterior(nn.Module):
    r"""Linearised Laplace approximation over all weights of all networks, drawn as functions of phi1.

    A small change of a network's weights changes its outputs on a grid of phi1 by the network's Jacobian J. Independent
    Gaussian priors on the weights therefore are a Gaussian process prior on the change of the outputs, with covariance
    :math:`K \propto J J^T` (the tangent kernel), scaled here so that an output has a standard deviation of
    ``prior_width`` on average. With S the scores (the derivatives of each star's log-likelihood with respect to the
    outputs on the grid), the posterior covariance is :math:`(K^{-1} + S^T S)^{-1} = R (1 + R^T S^T S R)^{-1} R^T` with
    :math:`K = R R^T`. A draw adds one function to each
    network's output, before the bounds. Immer, Korzepa & Bauer 2021, "Improving predictions of Bayesian neural nets
    via local linearization", arXiv 2008.08400.

    Networks of more than one independent coordinate stay as they are. Guides that are kept are flat.

    Arguments:
        prior_width: Prior standard deviation of a network's output, in the unit before the bounds.
        size: Nodes of the grid.
    """

    factor: Tensor

    def __init__(self, prior_width: float = 2.0, size: int = 256) -> None:
        super().__init__()
        self.prior_width, self.size = prior_width, size
        self.register_buffer("factor", torch.zeros(0, 0))
        self.spans = nn.Module()  # a buffer (2,) for each network, by the path of its part

    @property
    def is_fitted(self) -> bool:
        """Whether there is a posterior to draw from."""
        return self.factor.numel() > 0

    def fit(self, model: Model, batches: Sequence[Batch]) -> None:
        """Fit the posterior about the model's present weights, on all the training stars."""
        parts = {n: p for n, p in trained_parts(model).items() if len(p.indep_coord_names) == 1}
        if not parts:
            return
        self._set_spans({name: torch.tensor(_span(part)) for name, part in parts.items()})
        with evaluating(model):
            inner, root = self._precision(model, list(parts.values()), batches)
        factor = torch.linalg.solve_triangular(torch.linalg.cholesky(inner), root.T, upper=False).T
        self.factor = factor.float().cpu()

    def _precision(self, model: Model, parts: list[ParametricModel], batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """The matrix 1 + R^T S^T S R (rank, rank) and R, in float64."""
        roots = [_root(self._prior(part)) for part in parts]
        root = torch.block_diag(*roots)
        inner = torch.eye(root.shape[1], dtype=root.dtype, device=root.device)
        for scores in self._all_scores(model, parts, batches):
            rows = self._in_roots(parts, roots, scores)
            inner.addmm_(rows.T, rows)
        return inner, root

    @contextmanager
    def draw(self, model: Model, index: int) -> Iterator[None]:
        """Inside, every network of ``model`` gives draw number ``index``; the same index, the same draw anywhere."""
        if not self.is_fitted:
            raise RuntimeError("the posterior has not been fitted.")
        noise = torch.randn(self.factor.shape[1], generator=torch.Generator().manual_seed(index)).to(self.factor)
        shifts = iter((self.factor @ noise).view(-1, self.size))
        with ExitStack() as stack:
            for key, span in self.spans.named_buffers():
                part = model.get_submodule(_path(key))
                if isinstance(part, ParametricModel):
                    values = torch.stack([next(shifts) for _ in part.params.names], -1)
                    stack.enter_context(hooked(part, _shifted(values, (span[0].item(), span[1].item()))))
            yield

    def _set_spans(self, spans: dict[str, Tensor]) -> None:
        self.spans = nn.Module()
        for path, span in spans.items():
            self.spans.register_buffer(_key(path), span)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Load the state of a posterior of any networks."""
        if f"{prefix}factor" in state_dict:
            self.factor = self.factor.new_zeros(state_dict[f"{prefix}factor"].shape)
        below = f"{prefix}spans."
        spans = {_path(key.removeprefix(below)): state_dict[key] for key in state_dict if key.startswith(below)}
        self._set_spans({path: torch.zeros_like(span, device=self.factor.device) for path, span in spans.items()})
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _prior(self, part: ParametricModel) -> Tensor:
        """Covariance of the outputs on the grid, (F G, F G), by output and then by node, in float64."""
        net = part.net.net if isinstance(part.net, OnGrid) else part.net
        weights = list(part.net.parameters()) if part.net is not None else []
        nodes = torch.linspace(*_span(part), self.size, device=weights[0].device, dtype=weights[0].dtype)[:, None]
        with torch.enable_grad():
            outputs = net(nodes).T if net is not None else nodes
            each = torch.eye(self.size, device=nodes.device, dtype=nodes.dtype)
            rows = [
                torch.autograd.grad(o, weights, each, retain_graph=True, is_grads_batched=True, materialize_grads=True)
                for o in outputs
            ]
        jacobian = torch.cat([torch.cat([g.flatten(1) for g in row], -1) for row in rows]).double()
        kernel = jacobian @ jacobian.T
        return kernel * (self.prior_width**2 / kernel.diagonal().mean())

    def _all_scores(
        self, model: Model, parts: list[ParametricModel], batches: Sequence[Batch]
    ) -> Iterator[list[Scores]]:
        for batch in batches:
            yield star_scores(model, parts, batch)
        for _, scores in guide_scores(model, parts):
            yield scores

    def _in_roots(self, parts: list[ParametricModel], roots: list[Tensor], scores: list[Scores]) -> Tensor:
        """The product S R: a row's derivatives touch two nodes of each output's grid, (N, rank), in float64."""
        rows = max(len(s.inputs) for s in scores)
        blocks = [root.new_zeros(rows, root.shape[1]) for root in roots]
        for block, part, root, (inputs, derivatives) in zip(blocks, parts, roots, scores, strict=True):
            if len(inputs):
                left, weight = grid_position(inputs[:, 0], _span(part), self.size)
                weight = weight.double()[:, None]
                for values, slope in zip(
                    root.unflatten(0, (-1, self.size)), derivatives.double().unbind(-1), strict=True
                ):
                    block.addcmul_(torch.lerp(values[left], values[left + 1], weight), slope[:, None])
        return torch.cat(blocks, -1)


def _key(path: str) -> str:
    """The path of a part without dots, which no name of a buffer may have."""
    return path.replace(".", "/") or "/"


def _path(key: str) -> str:
    return "" if key == "/" else key.replace("/", ".")


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


def _root(kernel: Tensor) -> Tensor:
    """R with R R^T the kernel (n, n), of as many columns as its rank."""
    value, vector = torch.linalg.eigh(kernel)
    kept = value > _RANK * value[-1]
    return vector[:, kept] * value[kept].sqrt()
