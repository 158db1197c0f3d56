"""A model that stands for several fits of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from stream_mapper.models.base import Model

Members = Callable[[Model], Sequence[AbstractContextManager[None]]]
"""From a model to contexts, one a member, inside each of which the model has that member's weights."""


def alone(model: Model) -> Sequence[AbstractContextManager[None]]:  # noqa: ARG001
    """One member: the model as it is."""
    return [nullcontext()]


def mean_over(members: Members, model: Model, function: Callable[[], Tensor]) -> Tensor:
    """Mean of ``function()`` over the members of ``model``."""
    values = []
    for member in members(model):
        with member:
            values.append(function())
    return torch.stack(values).mean(0)
