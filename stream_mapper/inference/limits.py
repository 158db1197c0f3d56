"""Stars that the background has whatever their exact densities are: limits of these are enough to see it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.models.base import Model, Params, scope
from stream_mapper.models.components import frozen_parts, undivided_parts
from stream_mapper.models.known import Batch, KnownDensities
from stream_mapper.models.mixture import BACKGROUND, MixtureModel

_NO_MORE = {torch.float32: -105.0, torch.float64: -747.0}
"""Log of a ratio whose exponential is zero, by the type of the numbers."""


def nothing(dtype: torch.dtype) -> float:
    """Log of a ratio of two terms of a mixture below which the membership of the lesser is exactly zero."""
    return _NO_MORE.get(dtype, -torch.inf)


@torch.no_grad()
def limits(model: MixtureModel, stars: Data) -> KnownDensities | None:
    """Limits of the frozen densities: lower ones of the background, upper ones of the others.

    Arguments:
        model: The mixture.
        stars: N stars, without the coordinates that some part cannot take.

    Returns:
        The limits, (N,) each, as if they were the densities; None if one has no limit that is quicker than itself.
    """
    found = {path: _limit(path, part, part(stars), stars) for path, part in frozen_parts(model).items()}
    given = {path: limit for path, limit in found.items() if limit is not None}
    return KnownDensities(given) if len(given) == len(found) else None


def is_of_background(model: MixtureModel, params: Params, batch: Batch, below: float | None = None) -> Tensor:
    """Whether the background has all but a share of a star, by limits of the densities, (N,).

    Arguments:
        model: The mixture.
        params: The parameters at the stars.
        batch: N stars, and the densities, or :func:`limits`, that are known of them.
        below: Log of the ratio of all other components to the background that counts as none; by default that of which
            the memberships have no trace.
    """
    stars, frozen = model.measured(batch.stars), dict(batch.known.frozen)
    for path, part in undivided_parts(model).items():
        if path not in frozen:
            limit = _limit(path, part, scope(params, path), stars)
            frozen |= {} if limit is None else {path: limit}
    joint = model.ln_joint(params, stars, replace(batch.known, frozen=frozen))
    is_background = torch.tensor([name == BACKGROUND for name in model.components], device=joint.device)
    others = torch.where(is_background, -torch.inf, joint).logsumexp(-1)
    ratio = others - joint[:, list(model.components).index(BACKGROUND)]
    return ratio < (nothing(joint.dtype) if below is None else below)


def have_limits(model: MixtureModel) -> bool:
    """Whether any density of a mixture has limits that are quicker than itself."""

    def has_own(path: str, part: Model) -> bool:
        name = "ln_least" if _in_background(path) else "ln_most"
        return getattr(type(part), name) is not getattr(Model, name)

    return any(has_own(path, part) for path, part in undivided_parts(model).items())


def _limit(path: str, part: Model, params: Params, stars: Data) -> Tensor | None:
    return part.ln_least(params, stars) if _in_background(path) else part.ln_most(params, stars)


def _in_background(path: str) -> bool:
    return path.partition(".")[0] == BACKGROUND
