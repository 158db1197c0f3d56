"""The last steps of a fit: to the top of the posterior, in the networks' last layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stream_mapper.inference.scores import Scores, evaluating, guide_scores, star_scores, trained_parts
from stream_mapper.models.base import Model, ParametricModel
from stream_mapper.models.components import ln_density
from stream_mapper.models.known import Batch
from stream_mapper.nn import Constant, OnGrid

_ENOUGH = 0.01  # a gain in log posterior not worth another step, in nats
_DAMPING_WIDTH = 2.0  # standard deviation of a network's output that the damping stands for
_SHARES = (1.0, 0.5, 0.25, 0.125)  # of a step, tried until one gains


@torch.no_grad()
def polish(model: Model, batches: Sequence[Batch], steps: int = 10) -> float:
    """Bring the last layers to the top of the log posterior of all the stars, by damped Fisher scoring.

    Gradient descent on batches ends near the top, at a distance that no posterior about it knows of. The precision of a
    step is the sum of the outer products of the stars' scores, with the curvature of the guides that are not kept.

    Arguments:
        model: The model, near its top; its last layers are changed in place.
        batches: All the training stars.
        steps: Steps at most.

    Returns:
        The gain in log posterior, in nats, not negative. Networks that do not end in a Linear with a
            bias are left as they are.
    """
    parts = [part for part in trained_parts(model).values() if _can_be_polished(part)]
    with evaluating(model):
        first = last = _ln_posterior(model, batches)
        for _ in range(steps if parts else 0):
            precision, gradient = _expand(model, parts, batches)
            gained = _try(model, parts, torch.linalg.solve(precision, gradient).float(), batches, last)
            if gained - last < _ENOUGH:
                break
            last = gained
    return last - first


def _can_be_polished(part: ParametricModel) -> bool:
    layer = _end(part)
    return isinstance(layer, Constant) or (isinstance(layer, nn.Linear) and layer.bias is not None)


def _try(model: Model, parts: list[ParametricModel], step: Tensor, batches: Sequence[Batch], before: float) -> float:
    """The log posterior after the step, or its half, and so on; where it began if none gains."""
    for share in _SHARES:
        _move(parts, share * step)
        after = _ln_posterior(model, batches)
        if after > before:
            return after
        _move(parts, -share * step)
    return before


def _ln_posterior(model: Model, batches: Sequence[Batch]) -> float:
    """Log likelihood of all the stars plus log prior, in nats."""
    terms = [ln_density(model, model(batch.stars), batch).double().sum() for batch in batches]
    return float(sum(terms) + model.ln_prior())


def _expand(model: Model, parts: list[ParametricModel], batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
    """Precision (P, P), damped, and gradient (P,) of the log posterior in the last layers, in float64."""
    damping = [torch.full((_size(part),), _inputs(part) / _DAMPING_WIDTH**2) for part in parts]
    precision = torch.cat(damping).double().diag().to(next(model.parameters()).device)
    gradient = precision.new_zeros(len(precision))
    for batch in batches:
        rows = _rows(parts, star_scores(model, parts, batch))
        precision, gradient = precision + rows.T @ rows, gradient + rows.sum(0)
    for residuals, scores in guide_scores(model, parts):
        rows = _rows(parts, scores)
        precision, gradient = precision + rows.T @ rows, gradient - residuals.double() @ rows
    return precision, gradient


def _rows(parts: list[ParametricModel], scores: list[Scores]) -> Tensor:
    """Derivatives with respect to the last layers, (N, P), by output, then input, the bias last; in float64."""
    size = max(len(s.inputs) for s in scores)
    blocks = [
        (s.derivatives[:, :, None] * _features(part, s.inputs)[:, None, :]).flatten(1)
        if len(s.inputs)
        else s.derivatives.new_zeros(size, _size(part))
        for part, s in zip(parts, scores, strict=True)
    ]
    return torch.cat(blocks, -1).double()


def _features(part: ParametricModel, x: Tensor) -> Tensor:
    """Inputs (N, H + 1) of the last layer at network inputs x, with a one for the bias."""
    net = part.net.net if isinstance(part.net, OnGrid) else part.net
    ones = torch.ones_like(x[:, :1])
    if isinstance(_last(part), Constant):
        return ones
    return torch.cat([net[:-1](x) if isinstance(net, nn.Sequential) else x, ones], -1)


def _end(part: ParametricModel) -> nn.Module | None:
    """The last layer of the part's network."""
    inner = part.net.net if isinstance(part.net, OnGrid) else part.net
    return inner[-1] if isinstance(inner, nn.Sequential) else inner


def _last(part: ParametricModel) -> nn.Linear | Constant:
    """The last layer of a part that is polished."""
    layer = _end(part)
    if not isinstance(layer, nn.Linear | Constant):
        raise TypeError(f"the network of {type(part).__name__} ends in a {type(layer).__name__}, not in a Linear.")
    return layer


def _size(part: ParametricModel) -> int:
    return sum(p.numel() for p in _last(part).parameters())


def _inputs(part: ParametricModel) -> int:
    """Number of weights of one output of the last layer, the bias included."""
    layer = _last(part)
    return layer.in_features + 1 if isinstance(layer, nn.Linear) else 1


def _move(parts: list[ParametricModel], step: Tensor) -> None:
    """Add a step (P,) to the last layers."""
    for part, change in zip(parts, step.split([_size(part) for part in parts]), strict=True):
        layer = _last(part)
        if isinstance(layer, Constant):
            layer.value.add_(change.to(layer.value) / layer.scale)
            continue
        block = change.to(layer.weight).view(layer.out_features, layer.in_features + 1)
        layer.weight.add_(block[:, :-1])
        layer.bias.add_(block[:, -1])
