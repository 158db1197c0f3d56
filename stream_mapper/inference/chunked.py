"""The density of many stars, a bounded number at a time, with its derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stream_mapper.devices import sync_is_cheap
from stream_mapper.models.base import ParametricModel, Params
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import MixtureModel, ln_total

_STARS = 16_384  # at once on a CPU: what they need fits a core's cache
_STARS_ELSEWHERE = 1_000_000
_LEAST_SHARE = 1 / 8  # of the stars, for which alone the components are computed; as if it were so much, if less


def ln_terms(model: MixtureModel, params: Params, batch: Batch) -> tuple[Tensor, Tensor]:
    """Terms of a mixture and their total, of any number of stars in little memory.

    A star's density depends on its own parameters alone, so its derivatives in them are computed along with it, and no
    more is kept than one number a star and parameter. It has no second derivatives.

    Arguments:
        model: The mixture.
        params: Its parameters at the stars, (N,) by name.
        batch: N stars.

    Returns:
        ``model.ln_joint``, shape (N, K), which has no derivatives, and ``model.ln_likelihood``, shape (N,), in nats.
    """
    size = _at_once(batch)
    if len(batch) <= size or not _through_parameters(model):
        joint = model.ln_joint(params, batch.stars, batch.known)
        return joint.detach(), ln_total(joint)
    values = [value.expand(len(batch)) for value in params.values()]
    joint, total = _InChunks.apply(model, batch, size, tuple(params), *values)  # type: ignore[no-untyped-call]
    return joint, total


def _at_once(batch: Batch) -> int:
    """Stars in a chunk: more, if a screening has left few to be computed."""
    if not sync_is_cheap(batch.stars.device):
        return _STARS_ELSEWHERE
    computed = [values.isnan().float().mean().item() for values in batch.known.skipped.values()]
    return int(_STARS / max(max(computed, default=1.0), _LEAST_SHARE))


def _through_parameters(model: MixtureModel) -> bool:
    """Whether everything that is trained acts through the parameters: not so with a flow that is not frozen."""
    nets = [part.net for part in model.parts() if isinstance(part, ParametricModel) and part.net is not None]
    known = {id(weight) for net in nets for weight in net.parameters()}
    return all(id(weight) in known for weight in model.parameters() if weight.requires_grad)


class _InChunks(torch.autograd.Function):
    """`ln_terms` and the derivatives of the total in each parameter."""

    @staticmethod
    def forward(
        ctx: Any, model: MixtureModel, batch: Batch, size: int, names: tuple[str, ...], *values: Tensor
    ) -> tuple[Tensor, Tensor]:
        wanted = list(ctx.needs_input_grad[4:])
        chunks = zip(batch.split(size), *(value.split(size) for value in values), strict=True)
        terms = [_of_chunk(model, chunk, dict(zip(names, given, strict=True)), wanted) for chunk, *given in chunks]
        joint, total, *slopes = (torch.cat(column) for column in zip(*terms, strict=True))
        ctx.save_for_backward(*slopes)
        ctx.mark_non_differentiable(joint)
        return joint, total

    @staticmethod
    def backward(ctx: Any, _: Tensor, grad: Tensor) -> tuple[Tensor | None, ...]:
        slopes = iter(ctx.saved_tensors)
        return None, None, None, None, *(grad * next(slopes) if w else None for w in ctx.needs_input_grad[4:])


def _of_chunk(model: MixtureModel, batch: Batch, params: Params, wanted: list[bool]) -> list[Tensor]:
    """Terms, total and the wanted derivatives of some stars."""
    leaves = {name: value.detach().requires_grad_(w) for (name, value), w in zip(params.items(), wanted, strict=True)}
    free = [leaf for leaf in leaves.values() if leaf.requires_grad]
    with torch.enable_grad():
        joint = model.ln_joint(leaves, batch.stars, batch.known)
        total = ln_total(joint)
        slopes = torch.autograd.grad(total.sum(), free, materialize_grads=True) if free else ()
    return [joint.detach(), total.detach(), *slopes]
