"""The gaps and peaks of each component of a fitted mixture."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stream_mapper.inference.ensemble import Fits, alone
from stream_mapper.inference.features.search import Feature, find_features
from stream_mapper.inference.frozen import known_densities
from stream_mapper.inference.profile import streams
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import MixtureModel

_CHUNK = 16_384  # stars at once
_LARGEST = 40.0  # of a log odds ratio


@torch.no_grad()
def features(
    model: MixtureModel, batch: Batch, false_alarm: float, fits: Fits = alone, seed: int = 0
) -> dict[str, list[Feature]]:
    """Gaps and peaks of every component but the background; see :func:`find_features`.

    Arguments:
        model: The fitted mixture.
        batch: The stars it was fitted to; frozen densities that are not known are computed.
        false_alarm: In which share of components without features one or more may be listed.
        fits: The fits of an ensemble; the odds ratios are their means.
        seed: Seed of the simulated components.
    """
    device, place = next(model.parameters()).device, model.indep_coord_names[0]
    inside = model.in_window(batch.stars)
    chunks = [_known(model, chunk.to(device)) for chunk in batch[inside.nonzero()[:, 0]].split(_CHUNK)]
    positions = torch.cat([chunk.stars[place].cpu() for chunk in chunks])
    names, out = list(model.components), {}
    for q in streams(model):
        each = [_mean_odds(model, chunk, names.index(q), fits) for chunk in chunks]
        ln_ratio, ln_odds = (torch.cat(column).cpu() for column in zip(*each, strict=True))
        out[q] = find_features(positions, ln_ratio, ln_odds, false_alarm, seed=seed)
    return out


def _known(model: MixtureModel, batch: Batch) -> Batch:
    """Stars with their frozen densities."""
    return batch if batch.known else Batch(batch.stars, known_densities(model, batch.stars))


def _mean_odds(model: MixtureModel, batch: Batch, which: int, fits: Fits) -> tuple[Tensor, Tensor]:
    """The ln odds ratios and ln odds of a component to the rest, (N,), of each the mean over the fits."""
    each = []
    for fit in fits(model):
        with fit:
            each.append(torch.stack(_odds(model, batch, which)))
    ln_ratio, ln_odds = torch.stack(each).logsumexp(0) - math.log(len(each))
    return ln_ratio, ln_odds


def _odds(model: MixtureModel, batch: Batch, which: int) -> tuple[Tensor, Tensor]:
    """The ln odds ratios and ln odds of a component to the rest, (N,); a star that neither allows says nothing."""
    params = model(batch.stars)
    shares = model.ln_shares(params, batch.stars).double()
    joint = model.ln_joint(params, batch.stars, batch.known).double()
    rest = [i for i in range(joint.shape[-1]) if i != which]
    ln_odds = shares[:, which] - shares[:, rest].logsumexp(-1)
    ln_ratio = (joint[:, which] - joint[:, rest].logsumexp(-1)) - ln_odds
    return torch.nan_to_num(ln_ratio, nan=0.0).clamp(-_LARGEST, _LARGEST), ln_odds.clamp(-_LARGEST, _LARGEST)
