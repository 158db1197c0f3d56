"""The density of many stars, a bounded number at a time, with its derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.devices import may_look
from stream_mapper.models.base import ParametricModel, Params
from stream_mapper.models.mixture import MixtureModel, held_column, ln_total

_STARS = 16_384  # at once on a CPU: what they need fits a core's cache
_STARS_ELSEWHERE = 1_000_000
_LEAST_SHARE = 1 / 8  # of the stars, for which alone the components are computed; as if it were so much, if less


def ln_terms(model: MixtureModel, params: Params, data: Data) -> tuple[Tensor, Tensor]:
    """Terms of a mixture and their total, of any number of stars in little memory.

    A star's density depends on its own parameters alone, so its derivatives in them are computed along with it, and no
    more is kept than one number a star and parameter. It has no second derivatives.

    Arguments:
        model: The mixture.
        params: Its parameters at the stars, (N,) by name.
        data: N stars.

    Returns:
        ``model.ln_joint``, shape (N, K), which has no derivatives, and ``model.ln_likelihood``, shape (N,), in nats.
    """
    size = _at_once(model, data)
    if len(data) <= size or not _through_parameters(model):
        joint = model.ln_joint(params, data)
        return joint.detach(), ln_total(joint)
    values = [value.expand(len(data)) for value in params.values()]
    joint, total = _InPieces.apply(model, data, size, tuple(params), *values)  # type: ignore[no-untyped-call]
    return joint, total


def _at_once(model: MixtureModel, data: Data) -> int:
    """Stars in a piece: more, if a screening has left few to be computed."""
    if not may_look(data.device):
        return _STARS_ELSEWHERE
    held = [data.where[held_column(q)] for q in model.components if held_column(q) in data]
    share = 1 - min((where.float().mean().item() for where in held), default=0.0)
    return int(_STARS / max(share, _LEAST_SHARE))


def _through_parameters(model: MixtureModel) -> bool:
    """Whether everything that is trained acts through the parameters: not so with a flow that is not frozen."""
    nets = [part.net for part in model.parts() if isinstance(part, ParametricModel) and part.net is not None]
    known = {id(weight) for net in nets for weight in net.parameters()}
    return all(id(weight) in known for weight in model.parameters() if weight.requires_grad)


class _InPieces(torch.autograd.Function):
    """`ln_terms` and the derivatives of the total in each parameter."""

    @staticmethod
    def forward(
        ctx: Any, model: MixtureModel, data: Data, size: int, names: tuple[str, ...], *values: Tensor
    ) -> tuple[Tensor, Tensor]:
        wanted = list(ctx.needs_input_grad[4:])
        parts = zip(data.split(size), *(value.split(size) for value in values), strict=True)
        found = [_piece(model, some, dict(zip(names, own, strict=True)), wanted) for some, *own in parts]
        joint, total, *slopes = (torch.cat(column) for column in zip(*found, strict=True))
        ctx.save_for_backward(*slopes)
        ctx.mark_non_differentiable(joint)
        return joint, total

    @staticmethod
    def backward(ctx: Any, _: Tensor, grad: Tensor) -> tuple[Tensor | None, ...]:
        slopes = iter(ctx.saved_tensors)
        return None, None, None, None, *(grad * next(slopes) if w else None for w in ctx.needs_input_grad[4:])


def _piece(model: MixtureModel, stars: Data, params: Params, wanted: list[bool]) -> list[Tensor]:
    """Terms, total and the wanted derivatives of some stars."""
    leaves = {name: value.detach().requires_grad_(w) for (name, value), w in zip(params.items(), wanted, strict=True)}
    free = [leaf for leaf in leaves.values() if leaf.requires_grad]
    with torch.enable_grad():
        joint = model.ln_joint(leaves, stars)
        total = ln_total(joint)
        slopes = torch.autograd.grad(total.sum(), free, materialize_grads=True) if free else ()
    return [joint.detach(), total.detach(), *slopes]
