r"""From the top of the posterior of the functions to where most of it is.

The functions at the top are those that suit these very stars best, so that each star is a little too likely of the
component that it helped to place: components come out too rich and too narrow, the more so the fewer their stars and
the more free their functions. With log posterior :math:`l(\theta)` and information :math:`P(\theta)`, the mean of the
posterior is at the top of :math:`l - \ln |P| / 2`, to first order in what is beyond a Gaussian (Tierney & Kadane 1986;
of the parameters beside the one that is asked for it is the adjustment of Cox & Reid 1987). Of a star with the score s
and the Hessian A in the functions at its place, the second term has the gradient :math:`-A P^{-1} s`: that is what the
score changes, were the functions those of all other stars.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stream_mapper.inference.ascent import Prior, ln_likelihood
from stream_mapper.inference.expansion import Expansion, Places, expand, stacked
from stream_mapper.inference.functions import Functions
from stream_mapper.inference.kernels import Kernel
from stream_mapper.inference.scores import evaluating, hooked, star_scores
from stream_mapper.models.base import Model, ParametricModel
from stream_mapper.models.known import Batch
from stream_mapper.progress import counted

_EVALUATIONS = 14  # of the posterior, at most
_ENOUGH = 0.02  # a gain in nats, or a change in standard deviations, not worth another step
_LEAST = 1e-3  # score in any function below which a star has next to no weight
_NUDGE = 0.05  # of what a star moves the functions, over which the change of its score is taken
_FAR = 1e30  # what is no number


def centre(
    model: Model, batches: Sequence[Batch], kernels: Sequence[Kernel], expansion: Expansion | None = None
) -> None:
    """Bring the outputs of the networks from the top of their posterior to its mean.

    Arguments:
        model: The model, at the top for these priors; the corrections of its networks are set.
        batches: All the training stars.
        kernels: The priors, one an output.
        expansion: That of the functions as they are, if it is known.
    """
    functions = Functions(model, batches)
    if len(functions):
        with evaluating(model):
            _Posterior(model, functions, batches, kernels).climb(expansion)


@dataclass
class _Posterior:
    """The posterior of the functions with some priors."""

    model: Model
    functions: Functions
    batches: Sequence[Batch]
    kernels: Sequence[Kernel]

    def __post_init__(self) -> None:
        self.prior = Prior.of(self.kernels, self.functions.size)
        self.parts = list(self.functions.parts.values())

    def climb(self, expansion: Expansion | None = None) -> None:
        """Raise the log posterior less half the logarithm of the information's determinant.

        The unknowns are those in which the posterior is that of independent normal numbers at the top.
        """
        start, expansion, root = self._start(expansion)
        moved = torch.zeros(len(start), dtype=start.dtype, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [moved],
            max_iter=_EVALUATIONS,
            max_eval=_EVALUATIONS,
            tolerance_change=_ENOUGH,
            line_search_fn="strong_wolfe",
        )
        tried: list[tuple[float, Tensor]] = []

        def closure() -> Tensor:
            z = start + torch.linalg.solve_triangular(root.T, moved.detach()[:, None], upper=True)[:, 0]
            value, slope = self._falls(z, expansion)
            tried.append((value, z))
            step()
            moved.grad = torch.linalg.solve_triangular(root, slope[:, None], upper=False)[:, 0]
            return torch.tensor(value, dtype=start.dtype)

        with counted("posterior, to the middle", _EVALUATIONS) as step:
            optimizer.step(closure)
        _, best = min(tried, key=lambda one: one[0])
        self.functions.set(self.prior.values(best))

    def _start(self, expansion: Expansion | None = None) -> tuple[Tensor, Expansion, Tensor]:
        """The functions as they are, in the priors' coordinates, the expansion there, and the root of the precision."""
        expansion = expansion or expand(self.model, self.functions, self.batches)
        gradient = expansion.gradient + expansion.pull(self.functions.values() - self.prior.centres)
        return self.prior.top(expansion, gradient), expansion, self.prior.precision(expansion)

    def _falls(self, z: Tensor, nearby: Expansion) -> tuple[float, Tensor]:
        """What is raised, with the other sign, up to a constant, and its gradient in the priors' coordinates."""
        self.functions.set(self.prior.values(z))
        value = ln_likelihood(self.model, self.batches) - 0.5 * z.square().sum().item()
        if not math.isfinite(value):
            return _FAR, torch.zeros_like(z)
        telling: list[_Telling] = []
        weights = [where for where, _ in nearby.lacking]
        expansion = expand(
            self.model,
            self.functions,
            self.batches,
            nearby,
            lambda batch, at, slopes: telling.append(_Telling.among(batch, at, slopes, weights)),
        )
        root = self.prior.precision(expansion)
        covariance = _Covariance.of(torch.cholesky_inverse(root), self.prior.roots)
        rising = self.prior.pull(expansion.gradient + self._leverage(covariance, telling)) - z
        return root.diagonal().log().sum().item() - value, -rising

    def _leverage(self, nearby: _Covariance, telling: Sequence[_Telling]) -> Tensor:
        """Gradient of minus half the logarithm of the determinant in the functions, (F, G)."""
        out = nearby.same.new_zeros(len(self.functions), self.functions.size)
        for stars in telling:
            if len(stars.batch):
                change = self._change(stars.batch, nearby.times(stars.at, stars.slopes))
                out += stars.at.summed(change, self.functions.size)
        return out

    def _change(self, batch: Batch, moved: Tensor) -> Tensor:
        """What the scores (N, F) change to first order when the functions at each star are moved by minus (N, F)."""
        lower, upper = (_scores_moved(self.model, self.parts, batch, sign * _NUDGE * moved) for sign in (-1, 1))
        return ((lower - upper) / (2 * _NUDGE)).nan_to_num(0.0, 0.0, 0.0)


class _Telling(NamedTuple):
    """Stars that say something of more than the weights, with their places and scores (N, F).

    The others are of no component.
    """

    batch: Batch
    at: Places
    slopes: Tensor

    @classmethod
    def among(cls, batch: Batch, at: Places, slopes: Tensor, weights: Sequence[slice]) -> _Telling:
        """Those among stars; the weights are these of the functions."""
        beside = torch.ones(slopes.shape[1], dtype=torch.bool)
        for columns in weights:
            beside[columns] = False
        rows = (slopes[:, beside].abs() > _LEAST).any(-1).nonzero()[:, 0]
        return cls(batch[rows.to(batch.stars.device)], at.of(rows), slopes[rows])


class _Covariance(NamedTuple):
    """Covariance of the functions at each node, (G, F, F), and of those at a node with those at the next one."""

    same: Tensor
    next: Tensor

    @classmethod
    def of(cls, covariance: Tensor, roots: Sequence[Tensor]) -> _Covariance:
        """From that of the priors' coordinates (rank, rank), and what the functions are of these, (G, rank) each."""
        sizes, size = [root.shape[1] for root in roots], roots[0].shape[0]
        same = covariance.new_zeros(size, len(roots), len(roots))
        following = same[1:].clone()
        for f, (left, block) in enumerate(zip(roots, covariance.split(sizes), strict=True)):
            for g, (right, columns) in enumerate(zip(roots, block.split(sizes, -1), strict=True)):
                half = left @ columns
                same[:, f, g] = (half * right).sum(-1)
                following[:, f, g] = (half[:-1] * right[1:]).sum(-1)
        return cls(same, following)

    def times(self, at: Places, slopes: Tensor) -> Tensor:
        """The covariance of the functions at N places times slopes (N, F)."""
        out, order = torch.empty_like(slopes), at.left.argsort()
        for node, rows in enumerate(order.split(at.left.bincount().tolist())):
            if len(rows):
                own, far = slopes[rows], at.weight[rows, None]
                here, there = own @ self.same[node], own @ self.same[node + 1]
                both = own @ (self.next[node] + self.next[node].T)
                out[rows] = (1 - far).square() * here + far.square() * there + (1 - far) * far * both
        return out


def _scores_moved(model: Model, parts: list[ParametricModel], batch: Batch, by: Tensor) -> Tensor:
    """Scores (N, F) of stars, the functions at each moved by (N, F)."""
    blocks = by.split([len(part.params) for part in parts], dim=-1)

    def adding(block: Tensor) -> Any:
        return lambda _module, _inputs, output: output + block.to(output)

    with ExitStack() as stack:
        for part, block in zip(parts, blocks, strict=True):
            stack.enter_context(hooked(part, adding(block)))
        return stacked(parts, star_scores(model, parts, batch))
