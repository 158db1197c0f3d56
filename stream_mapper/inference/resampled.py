"""The densities that are trained before the mixture, trained again on other draws of their stars."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.models.base import Model
from stream_mapper.models.components import frozen_parts
from stream_mapper.models.known import Batch, KnownDensities
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.utils import with_dots, without_dots

_NEGLIGIBLE = 1e-6  # probability of all components but one below which no density matters
_SEEDS = 1 << 40  # where the seeds of these draws begin, away from those of the functions


class Resampled(nn.Module):
    r"""Copies of the densities of a model that are trained beforehand, each trained on resampled off-stream stars.

    How the copies differ from the density itself is how it may differ from the truth (Efron 1979, the bootstrap). With
    K copies :math:`p_k` a draw of the density p is :math:`\ln p + \sum_k c_k (\ln p_k - \ln p)`, with c of Student's
    law of K degrees of freedom and scale :math:`K^{-1/2}`: few copies tell a spread but roughly.

    Arguments:
        model: The model, whose densities are copied as they are.
        count: Copies, K.
    """

    def __init__(self, model: Model, count: int = 0) -> None:
        super().__init__()
        self.count = count
        parts = frozen_parts(model) if count else {}
        self.copies = nn.ModuleDict()
        for name, part in parts.items():
            self.copies[without_dots(name)] = nn.ModuleList([copy.deepcopy(part) for _ in range(count)])
        self.requires_grad_(False)

    def __len__(self) -> int:
        return self.count if len(self.copies) else 0

    def of(self, name: str) -> list[Model]:
        """The copies of a density, by its name in `KnownDensities`."""
        return cast("list[Model]", list(cast(nn.ModuleList, self.copies[without_dots(name)])))

    def items(self) -> Iterator[tuple[str, list[Model]]]:
        """Names of the densities, and their copies."""
        for key in self.copies:
            yield with_dots(key), self.of(with_dots(key))

    @torch.no_grad()
    def differences(self, stars: Data, ln_p: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each copy's log density of stars is above that of the density itself, (N, K) by name, in nats.

        Arguments:
            stars: N stars, where the copies are, without the coordinates that some component cannot take.
            ln_p: Log densities (N,) by the densities themselves, by name.
        """
        out = {}
        for name, copies in self.items():
            each = torch.stack([one.ln_likelihood(one(stars), stars) for one in copies], -1)
            out[name] = (each - ln_p[name][:, None]).nan_to_num(0.0, 0.0, 0.0)
        return out


@torch.no_grad()
def with_differences(model: Model, batch: Batch, resampled: Resampled) -> Batch:
    """The stars to which the densities matter, with what the copies say of them.

    Arguments:
        model: The mixture, at its present parameters.
        batch: N stars, with their frozen densities.
        resampled: The copies.
    """
    if not isinstance(model, MixtureModel):
        raise TypeError(f"only a MixtureModel has copies of its densities; got a {type(model).__name__}.")
    p = model.ln_joint(model(batch.stars), batch.stars, batch.known).softmax(-1)
    rows = (p.max(-1).values < 1 - _NEGLIGIBLE).nonzero()[:, 0]
    return with_copies(model, batch[rows], resampled)


@torch.no_grad()
def with_copies(model: Model, batch: Batch, resampled: Resampled | None) -> Batch:
    """The stars, with what the copies say of them, if there are any."""
    if not resampled:
        return batch
    differences = resampled.differences(model.measured(batch.stars), batch.known.frozen)
    return Batch(batch.stars, batch.known.with_differences(differences))


def drawn_of(batch: Batch, indices: Sequence[int]) -> Batch:
    """The N stars once a draw, one draw after the other, each with its share of the copies' differences."""
    rows = torch.arange(len(batch), device=batch.stars.device).repeat(len(indices))
    known = batch.known
    if not known.differences:
        return batch[rows]
    copies = next(iter(known.differences.values())).shape[-1]
    each = [known.blended(shares_of(index, copies)) for index in indices]
    return Batch(batch.stars[rows], KnownDensities.cat(each))


def shares_of(index: int, count: int) -> Tensor:
    """How much of each copy's difference is in draw number ``index``, (count,), in float64."""
    generator = torch.Generator().manual_seed(_SEEDS + index)
    normal, squares = torch.randn(2, count, generator=generator, dtype=torch.float64)
    return normal / squares.square().sum().sqrt() if count else normal
