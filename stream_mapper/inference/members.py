"""How many stars of each component there are among some, with the band of the true number."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from stream_mapper.inference.draws import Draw, drawn_params, quantiles, with_quantiles
from stream_mapper.inference.frozen import known_densities
from stream_mapper.inference.profile import Columns, streams
from stream_mapper.inference.resampled import Resampled, drawn_of, with_copies
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import BACKGROUND, MixtureModel

ALL = "member"
"""What all the components of a stream together are called, as in ``p_member``."""

_AT_ONCE = 16_384  # stars
_DOUBTFUL = 0.01  # variance of whether a star is one from which on every star stands for itself
_SPARED = 1000  # stars of less than that from which on only some are looked at
_REALISED = 100  # counts drawn for each draw of the functions


@torch.no_grad()
def members(
    model: MixtureModel,
    batch: Batch,
    p: Tensor,
    draw: Draw | None = None,
    draws: int = 200,
    resampled: Resampled | None = None,
) -> dict[str, Columns]:
    r"""Number of stars of each component, and of all but the background together.

    The band is that of the true number among these very stars, S: under each draw of the functions a star is of a
    component with its membership :math:`p_n` there, so that S has the mean :math:`\sum p_n` and the variance
    :math:`\sum p_n (1 - p_n)`. It holds what is not known of the functions and what is not known of each star.

    How the draws change the sums is found from all stars that are in doubt, and of the others, if there are many, from
    some that stand for all.

    Arguments:
        model: The fitted mixture.
        batch: N stars.
        p: Memberships by the fit, of each component but the background, (N, Q) in the order of the components.
        draw: Draws of the parameter functions; without it the quantiles are NaN.
        draws: Number of draws.
        resampled: Copies of the frozen densities, of which a draw has a share.

    Returns:
        By component, and under ``member`` of all of them, ``members`` and its quantiles ``members_05`` to
        ``members_95``, each (1,).
    """
    p = torch.cat([p, p.sum(-1, keepdim=True)], -1).double()
    best, spread = p.sum(0), None
    if draw is not None:
        spread = quantiles(counts(*_moments(model, batch, p, draw, draws, resampled)))
    columns = zip([*streams(model), ALL], range(len(best)), strict=True)
    return {q: with_quantiles("members", best[[i]], None if spread is None else spread[:, [i]]) for q, i in columns}


def counts(mean: Tensor, variance: Tensor, each: int = _REALISED) -> Tensor:
    r"""Numbers of successes among many trials of different odds, drawn by their mean and variance.

    They are a Poisson number of mean :math:`\sigma^2 + r` above the integer part of :math:`\mu - \sigma^2`, r its rest:
    exact for many odds near zero and for odds of one, and within a star of the quantiles of any.

    Arguments:
        mean: Means of the numbers, (D, Q).
        variance: Their variances, (D, Q), at most the means.
        each: How many numbers are drawn of each; always the same ones.

    Returns:
        The numbers, (D ``each``, Q).
    """
    sure = (mean - variance).floor()
    generator = torch.Generator().manual_seed(0)
    chance = torch.poisson((mean - sure).cpu().repeat(each, 1), generator=generator)
    return sure.cpu().repeat(each, 1) + chance


def _moments(
    model: MixtureModel, batch: Batch, p: Tensor, draw: Draw, draws: int, resampled: Resampled | None
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the number of each column of the memberships (N, Q + 1) under each draw, (D, Q + 1)."""
    rows, size = representatives((p * (1 - p)).amax(1))
    few = batch[rows].to(next(model.parameters()).device)
    few = few if few.known else Batch(few.stars, known_densities(model, few.stars))
    few = with_copies(model, few, resampled)
    change = torch.zeros(draws, 2 * p.shape[1]).double()
    for block, each, before in zip(*(of.split(_AT_ONCE) for of in (few, size[:, None], p[rows])), strict=True):
        now = _drawn(model, block, draw, draws)
        change += torch.cat([(each * (_both(drawn) - _both(before))).sum(1) for drawn in now])
    mean, variance = (_both(p).sum(0) + change).clamp(min=0).chunk(2, -1)
    return mean, variance.minimum(mean)


def _both(p: Tensor) -> Tensor:
    """Mean and variance of whether a star is one, of each membership, (..., 2 Q) of (..., Q)."""
    return torch.cat([p, p * (1 - p)], -1)


def _drawn(model: MixtureModel, batch: Batch, draw: Draw, draws: int) -> Iterator[Tensor]:
    """Memberships of each component but the background, and of all of these, some draws at a time, (d, N, Q + 1)."""
    own = [i for i, name in enumerate(model.components) if name != BACKGROUND]
    for indices in torch.arange(draws).split(max(1, _AT_ONCE // max(len(batch), 1))):
        params = drawn_params(model, draw, indices.tolist(), batch.stars)
        stars = drawn_of(batch, indices.tolist())
        flat = {name: values.flatten() for name, values in params.items()}
        p = model.membership(flat, stars.stars, stars.known)[:, own].double().cpu()
        yield torch.cat([p, p.sum(-1, keepdim=True)], -1).view(len(indices), len(batch), -1)


def representatives(doubt: Tensor) -> tuple[Tensor, Tensor]:
    r"""Rows that stand for all stars, and for how many stars each stands.

    With v = p (1 - p) of the membership p of a star, (N,), one of v > 0.01 stands for itself, and so do all of fewer
    than 1000. Of others, in the order of v, one is taken in each :math:`(0.01 / v)^{1/2}`, or in each of as many as
    leave 1000 of all where that is fewer.
    """
    least = min(1.0, _SPARED / max(len(doubt), 1))
    share, order = (doubt.clamp(min=0) / _DOUBTFUL).sqrt().clamp(least, 1.0).sort()
    reached = (share.cumsum(0) + 0.5).floor()
    taken = reached.diff(prepend=reached.new_zeros(1)) > 0
    return order[taken], 1 / share[taken]
