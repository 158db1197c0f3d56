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
    """The log density of every frozen density of a model at stars, and what was seen of those with a footprint.

    Arguments:
        model: The model; it stays where it is.
        stars: N stars.
        device: Where the densities are computed; by default where the stars are.
        share: How several processes share the work.
    """
    device = device or stars.device
    own, frozen, seen = model.measured(stars), dict[str, Tensor](), dict[str, Tensor]()
    for name, part in frozen_parts(model).items():
        if not any(weight.requires_grad for weight in part.parameters()):

            def compute(rows: Data, part: Model = part) -> dict[str, Tensor]:
                return _columns(part, rows, device)

            columns = share(compute, own, device)
            frozen[name] = columns["ln_p"]
            seen |= {name: columns["ln_seen"]} if part.has_footprint else {}
    return KnownDensities(frozen, seen=seen)


def _columns(part: Model, stars: Data, device: torch.device) -> dict[str, Tensor]:
    """What is known of a part, (N,) each, where the stars are."""
    home = next((values.device for values in (*part.buffers(), *part.parameters())), stars.device)
    if home != device:  # where it stays, several threads compute with it
        part.to(device)
    kinds = {"ln_p": part.ln_likelihood} | ({"ln_seen": part.ln_seen} if part.has_footprint else {})
    chunks = [chunk.to(device) for chunk in stars.split(_ROWS)]
    columns = {kind: torch.cat([of(part(c), c).to(stars.device) for c in chunks]) for kind, of in kinds.items()}
    if home != device:
        part.to(home)
    return columns
