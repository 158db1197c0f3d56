"""Which stars and parameters a fit that diverged began with."""

from __future__ import annotations

import torch
from torch import Tensor

from stream_mapper.models.base import Model, Params
from stream_mapper.models.components import ln_density
from stream_mapper.models.known import Batch

_SHOWN = 8  # coordinates of a star, and parameters


def explain(model: Model, batch: Batch) -> str:
    """The first star of a batch that gives no finite log density, or gradient, and what the model makes of it.

    Arguments:
        model: The model as it is, before the step.
        batch: The stars of the step.
    """
    if not bool(torch.isfinite(model.ln_prior().detach())):
        return "the log prior is not finite: look at the guides and their widths"
    if bad := [name for name, weight in model.named_parameters() if not bool(weight.isfinite().all())]:
        return f"the weights {bad[:3]} are not finite"
    with torch.no_grad():
        ln_p = ln_density(model, model(batch.stars), batch)
    unlike = torch.isnan(ln_p) | (ln_p == torch.inf)
    if bool(unlike.any()):
        row, count = int(unlike.int().argmax()), int(unlike.sum())
        where = _star(model, batch[row : row + 1])
        return f"{count} of {len(batch)} stars have a log density of {ln_p[row].item():g}: {where}"
    first = _first_without_gradient(model, batch)
    if first is None:
        return "every star alone has a finite gradient"
    return f"the gradient begins with a star of ln p = {ln_p[first].item():g}: {_star(model, batch[first : first + 1])}"


def _first_without_gradient(model: Model, batch: Batch) -> int | None:
    """The first star whose log density has a gradient that is not finite, found by halves."""
    low, high = 0, len(batch)
    if _has_gradient(model, batch):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _has_gradient(model, batch[low:middle]) else (low, middle)
    return low


def _has_gradient(model: Model, batch: Batch) -> bool:
    """Whether the gradient of the log density of some stars is finite."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    with torch.enable_grad():
        total = ln_density(model, model(batch.stars), batch).nan_to_num(neginf=0.0).sum()
        if not total.requires_grad:
            return True
        grads = torch.autograd.grad(total, weights, allow_unused=True)
    return all(bool(grad.isfinite().all()) for grad in grads if grad is not None)


def _star(model: Model, one: Batch) -> str:
    """The coordinates of a star and the parameters where it is, those that are not finite first."""
    with torch.no_grad():
        params: Params = model(one.stars)
    coordinates = {n: one.stars[n][0] for n in dict.fromkeys(model.columns) if bool(one.stars.where[n][0])}
    ordered = sorted(params.items(), key=lambda item: bool(item[1].isfinite().all()))
    return f"{_listed(coordinates)}, where {_listed({name: value.reshape(-1)[0] for name, value in ordered})}"


def _listed(values: dict[str, Tensor]) -> str:
    shown = [f"{name} = {value.item():.5g}" for name, value in list(values.items())[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(values) > _SHOWN else "")
