"""A Gaussian posterior of the networks, as functions along the stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor, nn

from stream_mapper.inference.ascent import PRIOR_WIDTH, Prior, ascend
from stream_mapper.inference.edges import edge_draws
from stream_mapper.inference.expansion import expand
from stream_mapper.inference.functions import Functions, correction_of
from stream_mapper.inference.kernels import Kernel
from stream_mapper.inference.resampled import Resampled, shares_of, with_differences
from stream_mapper.inference.scores import evaluating
from stream_mapper.models.base import Model, ParametricModel
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.nn import GridFunction
from stream_mapper.utils import with_dots, without_dots

_EDGES = 1000  # draws of them that are kept


class FunctionPosterior(nn.Module):
    r"""Laplace approximation of the outputs of all networks, as functions of the coordinate along the stream.

    With :math:`K = R R^T` the covariance of the Gaussian process prior of the functions on a grid (see
    :class:`stream_mapper.inference.kernels.Kernel`) and H the information of the stars (see
    :func:`stream_mapper.inference.expansion.expand`), their covariance is
    :math:`(K^{-1} + H)^{-1} = R (1 + R^T H R)^{-1} R^T`. A draw adds one function to each network's output, before the
    bounds. Where densities were trained again on resampled stars, the functions move with each copy, by one step of
    Newton's; a draw has its share of these, as of the copies (:class:`stream_mapper.inference.resampled.Resampled`).

    The edges of components, which are sharp, are drawn from the likelihood: :mod:`stream_mapper.inference.edges`.
    Networks of more than one independent coordinate stay as they are. Guides that are kept are flat.

    Arguments:
        prior_width: Prior standard deviation of the constant part of a network's output, in the unit before the bounds.
    """

    factor: Tensor
    moves: Tensor
    edges: Tensor
    edge_rows: Tensor

    def __init__(self, prior_width: float = PRIOR_WIDTH) -> None:
        super().__init__()
        self.prior_width = prior_width
        self.register_buffer("factor", torch.zeros(0, 0))
        self.register_buffer("moves", torch.zeros(0, 0))
        self.register_buffer("edges", torch.zeros(0, 0))  # draws of the rows of the corrections that are of edges
        self.register_buffer("edge_rows", torch.zeros(0, dtype=torch.long))
        self.kernels = nn.Module()  # a buffer (F, 6) for each network, by the path of its part

    @property
    def is_fitted(self) -> bool:
        """Whether there is a posterior to draw from."""
        return self.factor.numel() > 0

    def fit(
        self,
        model: Model,
        batches: Sequence[Batch],
        kernels: Sequence[Kernel] | None = None,
        resampled: Resampled | None = None,
    ) -> None:
        """Fit the posterior about the functions as they are.

        Arguments:
            model: The model, at the top for these priors, or in the middle of the posterior.
            batches: All the training stars.
            kernels: The priors, one an output; by default the top is looked for, with those of the most evidence.
            resampled: Copies of the densities that were trained beforehand.
        """
        if kernels is None:
            kernels = ascend(model, batches, self.prior_width)
        functions = Functions(model, batches)
        if not len(functions):
            return
        prior = Prior.of(kernels, functions.size)
        root = torch.block_diag(*prior.roots)
        with evaluating(model):
            functions.set(functions.values())
            precision = prior.precision(expand(model, functions, batches))
            pulls = _pulls(model, functions, batches, resampled) if resampled else []
            self._keep_edges(model, functions, batches)
        self.factor = torch.linalg.solve_triangular(precision, root.T, upper=False).T.float()
        moves = [root @ torch.cholesky_solve(root.T @ pull.flatten()[:, None], precision) for pull in pulls]
        self.moves = torch.cat([root.new_zeros(len(root), 0), *moves], -1).float()
        self._keep(functions, kernels)

    @contextmanager
    def draw(self, model: Model, index: int) -> Iterator[None]:
        """Inside, every network of ``model`` gives draw number ``index``; the same index, the same draw anywhere."""
        if not self.is_fitted:
            raise RuntimeError("the posterior has not been fitted.")
        noise = torch.randn(self.factor.shape[1], generator=torch.Generator().manual_seed(index)).to(self.factor)
        corrections = self._corrections(model)
        moved = self.moves @ shares_of(index, self.moves.shape[1]).to(self.moves)
        shifts = (self.factor @ noise + moved).view(sum(len(c.values) for c in corrections), -1)
        before = [correction.values for correction in corrections]
        values = torch.cat([v.to(shifts) for v in before]) + shifts
        if len(self.edges):
            values[self.edge_rows] = self.edges[index % len(self.edges)][:, None]
        for correction, block in zip(corrections, values.split([len(v) for v in before]), strict=True):
            correction.values = block.to(correction.values)
        try:
            yield
        finally:
            for correction, values in zip(corrections, before, strict=True):
                correction.values = values

    def priors(self, span: float = 1.0) -> dict[str, list[Kernel]]:
        """The prior of each output of each network, by the path of its part.

        Arguments:
            span: What the scales are a share of, in the unit of the coordinate; 1 for scales in that unit.
        """
        named = self.kernels.named_buffers()
        return {with_dots(key): [Kernel(*_scaled(row, 1 / span)) for row in rows.tolist()] for key, rows in named}

    def _corrections(self, model: Model) -> list[GridFunction]:
        parts = [model.get_submodule(with_dots(key)) for key, _ in self.kernels.named_buffers()]
        return [correction_of(part) for part in parts if isinstance(part, ParametricModel)]

    def _keep(self, functions: Functions, kernels: Sequence[Kernel]) -> None:
        span = functions.ends[1] - functions.ends[0]
        rows = iter([_scaled(astuple(kernel), span) for kernel in kernels])
        self._set_kernels(
            {path: torch.tensor([next(rows) for _ in p.params.names]) for path, p in functions.parts.items()}
        )

    def _keep_edges(self, model: Model, functions: Functions, batches: Sequence[Batch]) -> None:
        drawn = edge_draws(model, batches, _EDGES) if isinstance(model, MixtureModel) else {}
        rows = [i for i, (path, name) in enumerate(functions.names) if path == "ends" and name in drawn]
        columns = [drawn[functions.names[row][1]] - torch.cat(functions.networks)[row, 0] for row in rows]
        self.edges = torch.stack(columns, -1).float() if columns else self.factor.new_zeros(0, 0)
        self.edge_rows = torch.tensor(rows, dtype=torch.long)

    def _set_kernels(self, kernels: dict[str, Tensor]) -> None:
        self.kernels = nn.Module()
        for path, rows in kernels.items():
            self.kernels.register_buffer(without_dots(path), rows)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Load the state of a posterior of any networks."""
        for name in ("factor", "moves", "edges", "edge_rows"):
            if f"{prefix}{name}" in state_dict:
                setattr(self, name, torch.zeros_like(state_dict[f"{prefix}{name}"], device=self.factor.device))
        below = f"{prefix}kernels."
        kernels = {with_dots(key.removeprefix(below)): state_dict[key] for key in state_dict if key.startswith(below)}
        self._set_kernels({path: torch.zeros_like(rows, device=self.factor.device) for path, rows in kernels.items()})
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _pulls(model: Model, functions: Functions, batches: Sequence[Batch], resampled: Resampled) -> list[Tensor]:
    """What each copy of the densities changes in the gradient of the log likelihood, (F, G) a copy."""
    open_ones = [with_differences(model, batch, resampled) for batch in batches]
    first = expand(model, functions, open_ones).gradient
    pulls = []
    for share in torch.eye(len(resampled)):
        blended = [Batch(batch.stars, batch.known.blended(share)) for batch in open_ones]
        pulls.append(expand(model, functions, blended).gradient - first)
    return pulls


def _scaled(kernel: Sequence[float], span: float) -> tuple[float, ...]:
    """The numbers of a kernel, its scales times a span."""
    offset, amplitude, scale, centre, rough, rough_scale = kernel
    return offset, amplitude, span * scale, centre, rough, span * rough_scale
