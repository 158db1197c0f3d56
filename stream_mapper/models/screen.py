"""Components of a mixture computed only for the stars they may hold."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.models.base import Model
from stream_mapper.models.members import Members
from stream_mapper.models.mixture import BACKGROUND, MixtureModel, held_column
from stream_mapper.models.scores import evaluating

_CHUNK = 8192  # stars whose densities are computed at once


def screened(model: MixtureModel, stars: Data, threshold: float, certain: float = 0.0) -> Data:
    """The stars, with the log density of a component beside each star it has less than ``threshold`` of.

    The mixture then takes that number instead of computing it. A star's part in the derivatives of a component is in
    proportion to its membership, so what such stars would add is negligible until the parameters have moved far;
    the weights, which are not part of the number, keep their derivatives.

    Arguments:
        model: The mixture, at its present parameters.
        stars: N stars; numbers of an earlier screening are replaced.
        threshold: Membership in a component below which its density is held.
        certain: Membership, by the numbers of an earlier screening, below which these are left as they are.
    """
    return stars.with_columns(held_columns(model, stars, threshold, certain))


@torch.no_grad()
def held_columns(model: MixtureModel, stars: Data, threshold: float, certain: float = 0.0) -> dict[str, Tensor]:
    """The columns that `screened` adds, (N,), NaN for a star whose density of that component is to be computed."""
    with evaluating(model):
        parts = [_held(model, _opened(model, part, certain), threshold) for part in stars.split(_CHUNK)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def held_of_each(
    model: MixtureModel, stars: Data, threshold: float, certain: float = 0.0, *, members: Members
) -> dict[str, Tensor]:
    """The columns that `screened` adds for each member of an ensemble, side by side, (N, K)."""
    each = []
    for index, member in enumerate(members(model)):
        own = _with(stars, {name: values[:, index] for name, values in _numbers(model, stars).items()})
        with member:
            each.append(held_columns(model, own, threshold, certain))
    return {name: torch.stack([own[name] for own in each], -1) for name in each[0]}


def screened_for_all(model: MixtureModel, stars: Data, threshold: float, members: Members) -> Data:
    """The stars, with the first member's log densities where :func:`screened` holds those of every member, (N,)."""
    each = held_of_each(model, stars, threshold, members=members)
    return stars.with_columns({n: torch.where(v.isnan().any(-1), torch.nan, v[:, 0]) for n, v in each.items()})


def repeated(model: Model, stars: Data, count: int) -> Data:
    """The N stars ``count`` times over, each time with what `held_of_each` has of another member, (count N,)."""
    held = _numbers(model, stars)
    rows = torch.arange(len(stars), device=stars.device).repeat(count)
    return _with(stars.without(*held)[rows], {name: values.T.flatten() for name, values in held.items()})


def _numbers(model: Model, stars: Data) -> dict[str, Tensor]:
    """What is held beside the stars, by column, NaN where nothing is."""
    components = model.components if isinstance(model, MixtureModel) else ()
    names = [name for name in map(held_column, components) if name in stars]
    return {name: torch.where(stars.where[name], stars[name], torch.nan) for name in names}


def _with(stars: Data, columns: dict[str, Tensor]) -> Data:
    """The stars with columns, if there are any."""
    return stars.with_columns(columns) if columns else stars


def _opened(model: MixtureModel, stars: Data, certain: float) -> Data:
    """The stars without the numbers that are to be replaced."""
    held = {held_column(q): i for i, q in enumerate(model.components) if held_column(q) in stars}
    if certain == 0 or not held:
        return stars.without(*held)
    p = model.ln_joint(model(stars), stars).softmax(-1)
    left = {name: stars.where[name] & (p[:, i] < certain) for name, i in held.items()}
    return stars.with_columns({name: torch.where(kept, stars[name], torch.nan) for name, kept in left.items()})


def _held(model: MixtureModel, stars: Data, threshold: float) -> dict[str, Tensor]:
    """Log densities of the components but the background by column, NaN where they are to be computed, (N,)."""
    params = model(stars)
    joint = model.ln_joint(params, stars)
    negligible = joint - joint.logsumexp(-1, keepdim=True) < math.log(threshold)
    out = {}
    for i, q in enumerate(model.components):
        if q != BACKGROUND:
            ln_weight = params[f"{q}.ln-weight"]
            ln_p = torch.where(ln_weight.isneginf(), 0.0, joint[:, i] - ln_weight)  # of a component switched off: any
            out[held_column(q)] = torch.where(negligible[:, i], ln_p, torch.nan)
    return out
