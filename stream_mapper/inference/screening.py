"""Finding the stars for which a component of a mixture need not be computed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stream_mapper.inference.ensemble import Fits
from stream_mapper.inference.scores import evaluating
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import BACKGROUND, MixtureModel

_CHUNK = 8192  # stars whose densities are computed at once
_TOGETHER = 1 << 17  # stars that are looked at together, where few of their densities are computed


def screened(model: MixtureModel, batch: Batch, skip_below: float, recheck_below: float = 0.0) -> Batch:
    """The stars, with the log density of a component known where a star has less than ``skip_below`` of it.

    The mixture then takes that number instead of computing it. A star's part in the derivatives of a component is in
    proportion to its membership, so what such stars would add is negligible until the parameters have moved far;
    the weights, which are not part of the number, keep their derivatives.

    Arguments:
        model: The mixture, at its present parameters.
        batch: N stars; what an earlier screening has skipped is found anew.
        skip_below: Membership in a component below which its density is skipped.
        recheck_below: Membership, by the numbers of an earlier screening, below which these are left as they are.
    """
    return Batch(batch.stars, batch.known.with_skipped(skipped(model, batch, skip_below, recheck_below)))


@torch.no_grad()
def skipped(model: MixtureModel, batch: Batch, skip_below: float, recheck_below: float = 0.0) -> dict[str, Tensor]:
    """Log densities (N,) by component, NaN for a star for which it is to be computed; see :func:`screened`."""
    with evaluating(model):
        chunks = [_skipped(model, _reopened(model, chunk, recheck_below), skip_below) for chunk in batch.split(_CHUNK)]
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


def skipped_by_each(
    model: MixtureModel, batch: Batch, skip_below: float, recheck_below: float = 0.0, *, fits: Fits
) -> dict[str, Tensor]:
    """What :func:`skipped` finds for each fit of an ensemble, side by side, (N, K)."""
    each = []
    for index, fit in enumerate(fits(model)):
        before = {name: values[:, index] for name, values in batch.known.skipped.items()}
        with fit:
            known = batch.known.with_skipped(before)
            each.append(skipped(model, Batch(batch.stars, known), skip_below, recheck_below))
    return {name: torch.stack([one[name] for one in each], -1) for name in each[0]}


def repeated(batch: Batch, count: int) -> Batch:
    """The N stars ``count`` times over, each time with what :func:`skipped_by_each` has of another fit."""
    rows = torch.arange(len(batch), device=batch.stars.device).repeat(count)
    skipped = {name: values.T.flatten() for name, values in batch.known.skipped.items()}
    return Batch(batch.stars[rows], batch.known.with_skipped({})[rows].with_skipped(skipped))


def together(batches: Sequence[Batch], computed: int) -> list[Batch]:
    """Screened stars in as few batches as may be: small ones spend their time between the operations.

    Arguments:
        batches: The stars, in order.
        computed: Stars of a batch of which the density of some component has to be computed, at most, unless one of
            ``batches`` has more.
    """
    groups: list[list[Batch]] = [[]]
    for batch in batches:
        grown = [*groups[-1], batch]
        if sum(map(len, grown)) <= _TOGETHER and sum(map(_computed, grown)) <= computed:
            groups[-1].append(batch)
        else:
            groups.append([batch])
    return [Batch.cat(group) for group in groups if group]


def _computed(batch: Batch) -> int:
    """Stars of which the density of some component has to be computed."""
    skipped = list(batch.known.skipped.values())
    return int(torch.stack(skipped).isnan().any(0).sum()) if skipped else len(batch)


def _reopened(model: MixtureModel, batch: Batch, recheck_below: float) -> Batch:
    """The stars without the numbers that are to be found anew."""
    before = batch.known.skipped
    if recheck_below == 0 or not before:
        return Batch(batch.stars, batch.known.with_skipped({}))
    p = model.ln_joint(model(batch.stars), batch.stars, batch.known).softmax(-1)
    kept = {
        name: torch.where(p[:, i] < recheck_below, before[name], torch.nan)
        for i, name in enumerate(model.components)
        if name in before
    }
    return Batch(batch.stars, batch.known.with_skipped(kept))


def _skipped(model: MixtureModel, batch: Batch, skip_below: float) -> dict[str, Tensor]:
    """Log densities of the components but the background, NaN where they are to be computed, (N,)."""
    params = model(batch.stars)
    joint = model.ln_joint(params, batch.stars, batch.known)
    shares = model.ln_shares(params, batch.stars, batch.known)
    negligible = joint - joint.logsumexp(-1, keepdim=True) < math.log(skip_below)
    out = {}
    for i, q in enumerate(model.components):
        if q != BACKGROUND:
            ln_weight = shares[:, i]
            ln_p = torch.where(ln_weight.isneginf(), 0.0, joint[:, i] - ln_weight)  # of a component switched off: any
            out[q] = torch.where(negligible[:, i], ln_p, torch.nan)
    return out
