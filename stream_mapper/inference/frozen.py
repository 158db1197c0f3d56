"""The densities of stars that are computed once, as they are no longer trained."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.models.base import Model
from stream_mapper.models.components import frozen_parts
from stream_mapper.models.known import KnownDensities

_ROWS = 200_000  # stars on the device at once

Share = Callable[[Callable[[Data], dict[str, Tensor]], Data, torch.device], dict[str, Tensor]]
"""From a function of stars, stars and a device to columns of all of them, of which a process computes its own."""


def _alone(compute: Callable[[Data], dict[str, Tensor]], stars: Data, device: torch.device) -> dict[str, Tensor]:  # noqa: ARG001
    return compute(stars)


@torch.no_grad()
def known_densities(
    model: Model, stars: Data, device: torch.device | None = None, share: Share = _alone
) -> KnownDensities:
    """The log density of every frozen density of a model at stars.

    Arguments:
        model: The model; it stays where it is.
        stars: N stars.
        device: Where the densities are computed; by default where the stars are.
        share: How several processes share the work.
    """
    device = device or stars.device
    frozen: dict[str, Tensor] = {}
    for name, part in frozen_parts(model).items():
        if not any(weight.requires_grad for weight in part.parameters()):

            def compute(rows: Data, part: Model = part, name: str = name) -> dict[str, Tensor]:
                return {name: _ln_density(part, rows, device)}

            frozen |= share(compute, model.measured(stars), device)
    return KnownDensities(frozen)


def _ln_density(part: Model, stars: Data, device: torch.device) -> Tensor:
    """The log density of a part, (N,), where the stars are."""
    home = next((values.device for values in (*part.buffers(), *part.parameters())), stars.device)
    part.to(device)
    chunks = (chunk.to(device) for chunk in stars.split(_ROWS))
    ln_p = [part.ln_likelihood(part(chunk), chunk).to(stars.device) for chunk in chunks]
    part.to(home)
    return torch.cat(ln_p)
