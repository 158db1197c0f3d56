"""A Gaussian posterior of the networks, as functions along the stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor, nn

from stream_mapper.inference.ascent import PRIOR_WIDTH, Prior, ascend
from stream_mapper.inference.centre import centre
from stream_mapper.inference.edges import EdgeDraws, edge_draws, rows_of_edges
from stream_mapper.inference.expansion import Expansion, expand
from stream_mapper.inference.functions import GRID, Functions, correction_of
from stream_mapper.inference.kernels import Kernel
from stream_mapper.inference.resampled import Resampled, shares_of, with_differences
from stream_mapper.inference.scores import evaluating
from stream_mapper.models.base import Model, ParametricModel
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.nn import GridFunction
from stream_mapper.utils import with_dots, without_dots

_OVER = 8  # draws over which the information is averaged
_NEARBY = 0.5  # how far from the middle they may be: where nearly no posterior is, the stars say much against it
_EDGES = 512  # draws of them that are kept
_NEXT_TO_NOTHING = 1e-3  # information, over what there is, that changes no draw
_SEED = 1 << 41  # where the seeds of their noise begin, away from those of the functions and the copies


class FunctionPosterior(nn.Module):
    r"""Normal approximation of the posterior of the outputs of all networks, as functions along the stream.

    With :math:`K = R R^T` the covariance of the Gaussian process prior of the functions on a grid (see
    :class:`stream_mapper.inference.kernels.Kernel`) and H the information of the stars (see
    :func:`stream_mapper.inference.expansion.expand`), their covariance is
    :math:`(K^{-1} + H)^{-1} = R (1 + R^T H R)^{-1} R^T`. H is the mean over draws of the functions near the middle: the
    normal law nearest to a posterior has its mean curvature (Opper & Archambeau 2009, equation 7), and squared scores,
    too small at the top, for the functions there follow the stars, are right on average over the posterior. Further
    than 0.5 from the middle, before the bounds, no draw goes for this: the stars say much against what is nearly
    excluded, and a width that is hardly known would seem to be known well.

    A draw adds one function to each network's output, before the bounds. Where densities were trained again on
    resampled stars, the functions move with each copy, by one step of Newton's; a draw has its share of these, as of
    the copies (:class:`stream_mapper.inference.resampled.Resampled`).

    The edges of components, which are sharp, are drawn from the likelihood, and the smooth weights move with them:
    :mod:`stream_mapper.inference.edges`. All else is drawn as it is beside the edges as fitted.
    Networks of more than one independent coordinate stay as they are. Guides that are kept are flat.

    Arguments:
        prior_width: Prior standard deviation of the constant part of a network's output, in the unit before the bounds.
    """

    factor: Tensor
    moves: Tensor
    edges: Tensor
    edge_rows: Tensor
    weights: Tensor
    weight_rows: Tensor

    def __init__(self, prior_width: float = PRIOR_WIDTH) -> None:
        super().__init__()
        self.prior_width = prior_width
        self.register_buffer("factor", torch.zeros(0, 0))
        self.register_buffer("moves", torch.zeros(0, 0))
        self.register_buffer("edges", torch.zeros(0, 0))  # draws (S, E) of rows of the corrections, those of edges
        self.register_buffer("edge_rows", torch.zeros(0, dtype=torch.long))
        self.register_buffer("weights", torch.zeros(0, 0, 0))  # what those of weights move by with these, (S, W, G)
        self.register_buffer("weight_rows", torch.zeros(0, dtype=torch.long))
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
        """Fit the posterior, and bring the functions to its mean.

        Arguments:
            model: The model, at the top for these priors.
            batches: All the training stars.
            kernels: The priors, one an output; by default the top is looked for, with those of the most evidence.
            resampled: Copies of the densities that were trained beforehand.
        """
        if kernels is None:
            kernels = ascend(model, batches, self.prior_width)
        functions = Functions(model, batches)
        if not len(functions):
            return
        prior, edges = Prior.of(kernels, functions.size), rows_of_edges(model, functions)
        root = torch.block_diag(*prior.roots)
        with evaluating(model):
            functions.set(functions.values())
            of_top = expand(model, functions, batches)
            pulls = _pulls(model, functions, batches, resampled) if resampled else []
            centre(model, batches, kernels, of_top)
            self._spread(prior.precision(of_top.without(edges)), root)
            self._keep(functions, kernels)
            information = self._mean_information(model, functions, batches, of_top, edges)
            precision = prior.precision(information.without(edges))
            self._spread(precision, root)
            moves = [root @ torch.cholesky_solve(root.T @ pull.flatten()[:, None], precision) for pull in pulls]
            self.moves = torch.cat([root.new_zeros(len(root), 0), *moves], -1).float()
            if isinstance(model, MixtureModel):
                self._keep_edges(functions, edge_draws(model, batches, functions, prior, _EDGES))

    def _spread(self, precision: Tensor, root: Tensor) -> None:
        """Take the root of the precision of the priors' coordinates, and what the functions are of these."""
        self.factor = torch.linalg.solve_triangular(precision, root.T, upper=False).T.float()

    def _mean_information(
        self, model: Model, functions: Functions, batches: Sequence[Batch], nearby: Expansion, fixed: list[int]
    ) -> Expansion:
        """What the stars say of the functions, on average over draws of all but some rows."""
        middle, each = functions.values(), []
        for index in range(_OVER // 2):
            noise = self._noise(index).double().cpu()
            noise[fixed] = 0
            noise = noise.clamp(-_NEARBY, _NEARBY)
            for sign in (-1, 1):
                functions.set(middle + sign * noise)
                each.append(expand(model, functions, batches, nearby))
        functions.set(middle)
        return Expansion.mean(each)

    def _noise(self, index: int) -> Tensor:
        """What draw number ``index`` adds to the functions, (F, G), beside the edges as fitted."""
        noise = torch.randn(self.factor.shape[1], generator=torch.Generator().manual_seed(index))
        return (self.factor @ noise.to(self.factor)).view(-1, GRID)

    @contextmanager
    def draw(self, model: Model, index: int) -> Iterator[None]:
        """Inside, every network of ``model`` gives draw number ``index``; the same index, the same draw anywhere.

        Where edges are drawn there are 512 draws, and these again.
        """
        if not self.is_fitted:
            raise RuntimeError("the posterior has not been fitted.")
        corrections = self._corrections(model)
        which = index % len(self.edges) if len(self.edges) else index
        moved = self.moves @ shares_of(index, self.moves.shape[1]).to(self.moves)
        before = [correction.values for correction in corrections]
        shifts = self._noise(which) + moved.view(-1, GRID)
        values = torch.cat([v.to(shifts) for v in before]) + shifts
        if len(self.edges):
            values[self.weight_rows] += self.weights[which]
            values[self.edge_rows] = self.edges[which][:, None]
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

    def _keep_edges(self, functions: Functions, drawn: EdgeDraws) -> None:
        rows = {name: row for row, (path, name) in enumerate(functions.names) if path in ("ends", "weights")}
        networks = torch.cat(functions.networks)
        edges = {rows[name]: values - networks[rows[name], 0] for name, values in drawn.edges.items()}
        moved = {
            rows[n]: by + self._better_known(rows[n], drawn.more[n]) for n, by in drawn.weights.items() if n in rows
        }
        self.edge_rows, self.weight_rows = (torch.tensor(list(x), dtype=torch.long) for x in (edges, moved))
        self.edges = torch.stack(list(edges.values()), -1).float() if edges else self.factor.new_zeros(0, 0)
        self.weights = self.factor.new_zeros(len(self.edges), len(moved), functions.size)
        for column, values in enumerate(moved.values()):
            self.weights[:, column] = values.float()

    def _better_known(self, row: int, more: Tensor) -> Tensor:
        """What each draw of a function changes by when the stars say so much more of it about the nodes, (S, G).

        A draw x of a normal law of mean zero and covariance C becomes one that knows, with the information d, of a
        value of zero by :math:`x - C (C + d^{-1})^{-1} (x + d^{-1/2} e)`, e of independent normal numbers (Matheron's
        rule; Wilson et al. 2020, equation 12).
        """
        factor = self.factor.view(-1, more.shape[1], self.factor.shape[1])[row].double()
        covariance, out = factor @ factor.T, torch.zeros_like(more)
        noise = torch.randn(more.shape, dtype=more.dtype, generator=torch.Generator().manual_seed(_SEED + row))
        for index, information in enumerate(more):
            at = (information * covariance.diagonal() > _NEXT_TO_NOTHING).nonzero()[:, 0]
            if len(at):
                error = information[at].rsqrt()
                off = self._noise(index)[row, at].double() + error * noise[index, at]
                out[index] = -covariance[:, at] @ torch.linalg.solve(covariance[at][:, at] + error.square().diag(), off)
        return out

    def _set_kernels(self, kernels: dict[str, Tensor]) -> None:
        self.kernels = nn.Module()
        for path, rows in kernels.items():
            self.kernels.register_buffer(without_dots(path), rows)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Load the state of a posterior of any networks; in older ones no weights moved with the edges."""
        if not any(f"{prefix}{name}" in state_dict for name in ("weights", "weight_rows")):
            edges = state_dict.get(f"{prefix}edges", self.edges)
            state_dict[f"{prefix}weights"] = edges.new_zeros(len(edges), 0, GRID)
            state_dict[f"{prefix}weight_rows"] = self.weight_rows[:0]
        for name in ("factor", "moves", "edges", "edge_rows", "weights", "weight_rows"):
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
