"""The probability of each component for each star, with its quantiles."""

from __future__ import annotations

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.devices import sync_is_cheap
from stream_mapper.inference.draws import Draw, quantiles
from stream_mapper.inference.ensemble import Fits, alone, mean_over
from stream_mapper.inference.frozen import known_densities
from stream_mapper.inference.screening import screened_for_all
from stream_mapper.models.base import Params
from stream_mapper.models.known import Batch, KnownDensities
from stream_mapper.models.mixture import BACKGROUND, MixtureModel
from stream_mapper.quantiles import QUANTILE_NAMES

_CHUNK, _CHUNK_ELSEWHERE = 16_384, 1 << 19  # stars whose densities are computed at once: what a CPU's cache holds
_BLOCK = 16_384  # stars whose draws are in memory at once
_NEGLIGIBLE = 1e-7  # membership below which the draws do not compute a component's density anew
_NO_BACKGROUND = 1e-4  # probability of the background below which draws do not matter
_LARGEST = 1 << 24  # numbers that torch finds quantiles of at once


@torch.no_grad()
def memberships(
    model: MixtureModel,
    stars: Data,
    draw: Draw | None = None,
    draws: int = 32,
    known: KnownDensities | None = None,
    fits: Fits = alone,
) -> dict[str, Tensor]:
    """Membership columns of each star.

    The draws are computed for the stars whose p_member they can change: one below 1e-7, or above 0.9999, has its
    p_member as all its quantiles. (Where few stars fix the weight, a draw may raise a low p_member by much.)

    Arguments:
        model: The fitted mixture.
        stars: N stars.
        draw: Draws of the parameter functions; without it there are no quantiles.
        draws: Number of draws.
        known: The stars' frozen densities; by default they are computed, for the stars inside the window.
        fits: The fits of an ensemble; their mean is given.

    Returns:
        ``p_<component>`` summing to one, ``p_member`` = 1 - p_background, its quantiles ``p_member_05`` to ``_95``
        (NaN without draws), ``n_missing`` (coordinates not measured) and ``in_window``, each (N,), on the CPU. A star
        without one of the independent coordinates, such as phi1, has no membership: NaN.
    """
    device = next(model.parameters()).device
    whole = stars if known is None else Batch(stars, known)
    chunks = [_of_chunk(model, chunk.to(device), fits) for chunk in whole.split(_at_once(device))]
    inside, p = torch.cat([chunk[0] for chunk in chunks]), torch.cat([chunk[1] for chunk in chunks])
    columns = {f"p_{name}": p[:, i] for i, name in enumerate(model.components)}
    columns["p_member"] = p_member(model, p)
    spread = columns["p_member"] if draw is not None else torch.full((len(stars),), torch.nan)
    spread = spread.expand(len(QUANTILE_NAMES), -1)
    if draw is not None and len(rows := _uncertain(model, p).nonzero()[:, 0]):
        open_ones = Batch.cat([chunk[2] for chunk in chunks if chunk[2] is not None])
        spread = spread.index_copy(1, rows, _spread(model, open_ones, draw, draws, fits).to(spread))
    columns |= {f"p_member_{q}": spread[i] for i, q in enumerate(QUANTILE_NAMES)}
    placed = stars.where[model.indep_coord_names].all(-1).to(inside.device)
    columns = {name: torch.where(placed, values, torch.nan) for name, values in columns.items()}
    columns["n_missing"] = (~model.measured(stars).where[model.coord_names]).sum(-1)
    columns["in_window"] = inside
    return {name: column.cpu() for name, column in columns.items()}


def _of_chunk(model: MixtureModel, chunk: Data | Batch, fits: Fits) -> tuple[Tensor, Tensor, Batch | None]:
    """Whether each star is inside the window, its memberships (N, K), and the uncertain stars, None if there are none.

    Where there is a background, the stars outside belong to it, and nothing is computed for them.
    """
    stars = chunk.stars if isinstance(chunk, Batch) else chunk
    inside = model.in_window(stars)
    wanted = inside if BACKGROUND in model.components else torch.ones_like(inside)
    outside = torch.tensor([float(name == BACKGROUND) for name in model.components], device=inside.device)
    p = outside.repeat(len(stars), 1)
    if not wanted.any():
        return inside, p, None
    computed = chunk if wanted.all() else chunk[wanted.nonzero()[:, 0]]
    batch = computed if isinstance(computed, Batch) else Batch(computed, known_densities(model, computed))
    p_computed = mean_over(fits, model, lambda: model.membership(model(batch.stars), batch.stars, batch.known))
    rows = _uncertain(model, p_computed).nonzero()[:, 0]
    p = p.to(p_computed).index_copy(0, wanted.nonzero()[:, 0], p_computed)
    return inside, p, batch[rows] if len(rows) else None


def _at_once(device: torch.device) -> int:
    return _CHUNK if sync_is_cheap(device) else _CHUNK_ELSEWHERE


def _uncertain(model: MixtureModel, p: Tensor) -> Tensor:
    """Whether draws can change the p_member (N,) of memberships (N, K): neither negligible nor, in effect, one."""
    names = list(model.components)
    if BACKGROUND not in names:
        return torch.zeros(len(p), dtype=torch.bool, device=p.device)
    return (p_member(model, p) > _NEGLIGIBLE) & (p[:, names.index(BACKGROUND)] > _NO_BACKGROUND)


def _spread(model: MixtureModel, batch: Batch, draw: Draw, draws: int, fits: Fits) -> Tensor:
    """Quantiles of p_member over the draws, (5, N)."""
    if len(model.components) > 2:  # of two, an uncertain star has some of each
        batch = screened_for_all(model, batch, _NEGLIGIBLE, fits)
    size = min(_BLOCK, max(1, _LARGEST // draws))
    return torch.cat([quantiles(_drawn(model, block, draw, draws)) for block in batch.split(size)], -1)


def _drawn(model: MixtureModel, batch: Batch, draw: Draw, draws: int) -> Tensor:
    """The p_member of every draw, (D, N): the parameters draw by draw, then all the densities at once."""
    each: list[Params] = []
    for index in range(draws):
        with draw(model, index):
            each.append(model(batch.stars))
    params = {name: torch.cat([one[name].expand(len(batch)) for one in each]) for name in each[0]}
    star = torch.arange(len(batch), device=batch.stars.device).repeat(draws)
    p, size = [], _at_once(batch.stars.device)
    for i in range(0, len(star), size):
        drawn = {name: values[i : i + size] for name, values in params.items()}
        rows = batch[star[i : i + size]]
        p.append(p_member(model, model.membership(drawn, rows.stars, rows.known)))
    return torch.cat(p).view(draws, -1)


def p_member(model: MixtureModel, p: Tensor) -> Tensor:
    """Probability (N,) of any component but the background, from (N, K), without the rounding of one minus it."""
    return p[:, [i for i, name in enumerate(model.components) if name != BACKGROUND]].sum(-1)
