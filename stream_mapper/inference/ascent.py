"""The last steps of a fit: to the top of the posterior of the functions along the stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stream_mapper.inference.expansion import Expansion, expand
from stream_mapper.inference.functions import Functions
from stream_mapper.inference.kernels import Kernel, candidates, first_of, ln_evidence, roughened
from stream_mapper.inference.scores import evaluating
from stream_mapper.models.base import Model
from stream_mapper.models.components import ln_density
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.params.bounds import SigmoidBounds
from stream_mapper.progress import progress

PRIOR_WIDTH = 2.0
"""Standard deviation of the constant part of a network's output, before the bounds."""

_ENOUGH = 0.05  # a gain in log posterior not worth another step, in nats
_SHARES = (1.0, 0.5, 0.25, 0.125, 0.03)  # of a step, tried until one gains
_FIRST_SCALES = 0.08, 0.32  # of the first priors, one after the other, as shares of the range
_ROUNDS = 4  # choices of the priors at most, from each
_STEPS, _LAST_STEPS = 10, 40  # of each, and to the last top: far from the truth the steps are short
_HARDLY_MINDED = 4.0  # nats of evidence by which a prior with gaps may be below the one of the most


def ascend(
    model: Model, batches: Sequence[Batch], width: float = PRIOR_WIDTH, kernels: Sequence[Kernel] | None = None
) -> list[Kernel]:
    """Bring the outputs of the networks to the top of their posterior, with the priors that have the most evidence.

    Gradient descent on batches ends near the top, at a distance that no posterior about it knows of, and at a function
    whose roughness is that of its start. Each output is given the prior of :class:`Kernel`; the top is found by Fisher
    scoring in the values on a grid, the scale and amplitude of each output by the evidence, in turns. What the networks
    lack is added as their corrections.

    Arguments:
        model: The model, near its top; the corrections of its networks are set.
        batches: All the training stars.
        width: Standard deviation of the constant part of an output.
        kernels: The priors, one an output; by default they are chosen.

    Returns:
        The priors.
    """
    functions = Functions(model, batches)
    if not len(functions):
        return []
    with evaluating(model):
        if kernels is None:
            return _chosen(model, functions, batches, width)
        return _climb(model, functions, batches, kernels, _LAST_STEPS).kernels


def _choices(model: Model, functions: Functions, batches: Sequence[Batch], width: float) -> list[list[Kernel]]:
    """The priors that may hold for each output.

    Bounds set the unit and the middle of an output. One without is as it is in the model where the stars know of it.
    """
    values, expansion = functions.values(), expand(model, functions, batches)
    span = functions.ends[1] - functions.ends[0]
    nets = [part.net for part in functions.parts.values() for _ in part.params.names]
    out = []
    for f, (net, bounded) in enumerate(zip(nets, functions.bounded, strict=True)):
        information = expansion.diagonal[f, f] + 1e-9
        centre = (values[f] @ information / information.sum()).item()
        spread = ((values[f] - centre).square() @ information / information.sum()).sqrt().item()
        middle = (0.0, 1.0) if bounded else (centre, max(1.0, spread))
        out.append(candidates(net, width, span, *middle))
    return out


def _chosen(model: Model, functions: Functions, batches: Sequence[Batch], width: float) -> list[Kernel]:
    """The priors of the most evidence, of those found; the functions are left at the top with these.

    At a top those that would have the most evidence are guessed, in rounds. A first prior that lets the mean of a thin
    component follow its stars one by one makes it thinner yet, and is then believed; one that is smooth may lose a
    curved track. So both are a start.
    """
    choices = _choices(model, functions, batches, width)
    start = functions.values()
    tops: list[_Top] = []
    for scale in progress(_FIRST_SCALES, "polish, starts"):
        functions.set(start)
        guess = [first_of(each, scale) for each in choices]
        for _ in range(_ROUNDS):
            if guess in [top.kernels for top in tops]:
                break
            tops.append(_climb(model, functions, batches, guess))
            guess = _choose(tops[-1].values, tops[-1].expansion, choices)
    best = max(tops, key=lambda top: top.ln_evidence)
    functions.set(best.values)
    rough = _with_gaps(model, functions, best)
    return _climb(model, functions, batches, rough, _LAST_STEPS).kernels


def _with_gaps(model: Model, functions: Functions, top: _Top) -> list[Kernel]:
    """The priors, those of the weights of a mixture with as much of gaps and peaks as their evidence hardly minds.

    Gaps are few, so that all the stars together say little of how deep another may be.
    """
    out, units = list(top.kernels), _units_of_weights(model, functions)
    for f, unit in units.items():
        kernels = roughened(out[f], unit)
        evidence = _evidence(f, top.values, top.expansion, kernels)
        allowed = [k for k, e in zip(kernels, evidence, strict=True) if e > max(evidence) - _HARDLY_MINDED]
        most = max(kernel.rough for kernel in allowed)
        likely = {k: e for k, e in zip(kernels, evidence, strict=True) if k in allowed and k.rough == most}
        out[f] = max(likely, key=likely.__getitem__)
    return out


def _units_of_weights(model: Model, functions: Functions) -> dict[int, float]:
    """Outputs that are of the weights of a mixture, and what a change of one in ln f is of each at most."""
    if not isinstance(model, MixtureModel):
        return {}
    parts = [(part, name) for part in functions.parts.values() for name in part.params.names]
    bounds = {f: part.params[name].bounds for f, (part, name) in enumerate(parts) if part is model.weights}
    slopes = {f: (b.upper - b.lower) / 4 if isinstance(b, SigmoidBounds) else 1.0 for f, b in bounds.items()}
    return {f: 1 / slope for f, slope in slopes.items()}


def in_prior(expansion: Expansion, roots: Sequence[Tensor]) -> Tensor:
    """The information in the priors' own coordinates, (rank, rank), of all functions together."""
    count = range(len(roots))
    upper = {(f, g): expansion.between(f, g, roots[f], roots[g]) for f in count for g in count if f <= g}
    rows = [torch.cat([upper[f, g] if f <= g else upper[g, f].T for g in count], -1) for f in count]
    return torch.cat(rows)


def root_of_precision(information: Tensor) -> Tensor:
    """Cholesky factor (rank, rank) of one plus the information."""
    return torch.linalg.cholesky(torch.eye(len(information), dtype=information.dtype) + information)


class Prior(NamedTuple):
    """The priors of all functions, by numbers of which each makes independent normal ones, its coordinates.

    Arguments:
        roots: What each function is of its own coordinates, (G, rank) each.
        centres: Means of the functions, (F, 1).
    """

    roots: list[Tensor]
    centres: Tensor

    @classmethod
    def of(cls, kernels: Sequence[Kernel], size: int) -> Prior:
        """That of these kernels, on a grid of so many nodes."""
        centres = torch.tensor([[kernel.centre] for kernel in kernels], dtype=torch.float64)
        return cls([kernel.root(size) for kernel in kernels], centres)

    @property
    def sizes(self) -> list[int]:
        """Number of the coordinates of each function."""
        return [root.shape[1] for root in self.roots]

    def values(self, z: Tensor) -> Tensor:
        """The functions (F, G) of these coordinates (rank,)."""
        rows = [root @ part for root, part in zip(self.roots, z.split(self.sizes), strict=True)]
        return self.centres + torch.stack(rows)

    def pull(self, gradient: Tensor) -> Tensor:
        """A gradient in the functions (F, G), as that in the coordinates (rank,)."""
        return torch.cat([root.T @ row for root, row in zip(self.roots, gradient, strict=True)])

    def precision(self, expansion: Expansion) -> Tensor:
        """Root of the precision of the coordinates, (rank, rank)."""
        return root_of_precision(in_prior(expansion, self.roots))

    def top(self, expansion: Expansion, gradient: Tensor) -> Tensor:
        """The top, in coordinates (rank,), of a quadratic posterior with this gradient at zero, (F, G)."""
        return torch.cholesky_solve(self.pull(gradient)[:, None], self.precision(expansion))[:, 0]


class _Top(NamedTuple):
    """The top with some priors: the functions there (F, G), the expansion near there, and its log posterior."""

    kernels: list[Kernel]
    values: Tensor
    expansion: Expansion
    ln_posterior: float

    @property
    def ln_evidence(self) -> float:
        """Log evidence of the priors by the approximation of Laplace, up to a constant that all share, in nats."""
        precision = Prior.of(self.kernels, self.values.shape[1]).precision(self.expansion)
        return self.ln_posterior - precision.diagonal().log().sum().item()


def _climb(
    model: Model, functions: Functions, batches: Sequence[Batch], kernels: Sequence[Kernel], steps: int = _STEPS
) -> _Top:
    """To the top with these priors."""
    prior = Prior.of(kernels, functions.size)

    def ln_posterior(z: Tensor) -> float:
        functions.set(prior.values(z))
        value = ln_likelihood(model, batches) - 0.5 * z.square().sum().item()
        return value if math.isfinite(value) else -math.inf

    expansion = expand(model, functions, batches)
    z = prior.top(expansion, expansion.pull(functions.values() - prior.centres))
    value = ln_posterior(z)
    for _ in range(steps):
        expansion = expand(model, functions, batches, expansion)
        target = prior.top(expansion, expansion.gradient + expansion.pull(functions.values() - prior.centres))
        for share in _SHARES:
            moved = z + share * (target - z)
            after = ln_posterior(moved)
            if after > value:
                break
        else:
            break
        gain, z, value = after - value, moved, after
        if gain < _ENOUGH:
            break
    functions.set(prior.values(z))
    return _Top(list(kernels), prior.values(z), expansion, value)


def _choose(values: Tensor, expansion: Expansion, choices: Sequence[Sequence[Kernel]]) -> list[Kernel]:
    """The prior of the most evidence for each function, given the others."""
    out = []
    for f, kernels in enumerate(choices):
        evidence = _evidence(f, values, expansion, kernels)
        out.append(kernels[max(range(len(kernels)), key=evidence.__getitem__)])
    return out


def _evidence(f: int, values: Tensor, expansion: Expansion, kernels: Sequence[Kernel]) -> list[float]:
    """Log evidence of each prior of one function, given the others, up to a constant that all share, in nats."""
    off = values[f] - kernels[0].centre
    pull = expansion.gradient[f] + expansion.times(f, f, off[:, None])[:, 0]
    roots = [kernel.root(values.shape[1]) for kernel in kernels]
    return [ln_evidence(expansion.between(f, f, root, root), root.T @ pull) for root in roots]


@torch.no_grad()
def ln_likelihood(model: Model, batches: Sequence[Batch]) -> float:
    """Log likelihood of all the stars plus the log prior of the model, in nats."""
    terms = [ln_density(model, model(batch.stars), batch).double().sum() for batch in batches]
    return float(sum(terms) + model.ln_prior())
