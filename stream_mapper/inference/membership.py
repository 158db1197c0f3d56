"""The probability of each component for each star, with its quantiles."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.devices import sync_is_cheap
from stream_mapper.inference.draws import Draw, drawn_params, quantiles
from stream_mapper.inference.ensemble import Fits, alone, mean_over
from stream_mapper.inference.frozen import known_densities
from stream_mapper.inference.reach import REACHED, Reach, reach_of
from stream_mapper.inference.resampled import Resampled, drawn_of, with_copies
from stream_mapper.inference.screening import screened
from stream_mapper.models.known import Batch, KnownDensities
from stream_mapper.models.mixture import BACKGROUND, MixtureModel
from stream_mapper.progress import progress
from stream_mapper.quantiles import QUANTILE_NAMES

_CHUNK, _CHUNK_ELSEWHERE = 16_384, 1 << 19  # stars whose densities are computed at once: what a CPU's cache holds
_BLOCK = 16_384  # stars whose draws are in memory at once
_NEGLIGIBLE = 1e-7  # membership of a fit below which only draws that reach far may raise it
_LARGEST = 1 << 24  # numbers that torch finds quantiles of at once


class _Chunk(NamedTuple):
    """What is found of N stars at once.

    Whether each is inside the window, (N,), its memberships, (N, K), whether they are uncertain, (N,), and those stars.
    """

    inside: Tensor
    p: Tensor
    uncertain: Tensor
    open_ones: Batch | None


@torch.no_grad()
def memberships(
    model: MixtureModel,
    stars: Data,
    draw: Draw | None = None,
    draws: int = 32,
    known: KnownDensities | None = None,
    fits: Fits = alone,
    resampled: Resampled | None = None,
) -> dict[str, Tensor]:
    """Membership columns of each star.

    The draws are computed for the stars whose p_member they can change: those with one above 1e-7, and those that the
    draws reach (:mod:`stream_mapper.inference.reach`). Any other has its p_member as all quantiles. The 90 % band is
    stretched to p_member where no draw goes so far.

    Arguments:
        model: The fitted mixture.
        stars: N stars.
        draw: Draws of the parameter functions; without it there are no quantiles.
        draws: Number of draws.
        known: The stars' frozen densities; by default they are computed, for the stars inside the window.
        fits: The fits of an ensemble; their mean is given.
        resampled: Copies of the frozen densities, of which a draw has a share.

    Returns:
        ``p_<component>`` summing to one, ``p_member`` = 1 - p_background, its quantiles ``p_member_05`` to ``_95``
        (NaN without draws), ``n_missing`` (coordinates not measured) and ``in_window``, each (N,), on the CPU. A star
        without one of the independent coordinates, such as phi1, has no membership: NaN.
    """
    device = next(model.parameters()).device
    whole = stars if known is None else Batch(stars, known)
    reach = None if draw is None else reach_of(model, draw, draws)
    parts: list[Data | Batch] = list(whole.split(_at_once(device)))
    pieces = progress(parts, "memberships")
    chunks = [_of_chunk(model, chunk.to(device), fits, reach) for chunk in pieces]
    inside, p = (torch.cat([getattr(chunk, name) for chunk in chunks]).cpu() for name in ("inside", "p"))
    columns = {f"p_{name}": p[:, i] for i, name in enumerate(model.components)}
    columns["p_member"] = p_member(model, p)
    spread = columns["p_member"] if draw is not None else torch.full((len(stars),), torch.nan)
    spread = spread.expand(len(QUANTILE_NAMES), -1)
    rows = torch.cat([chunk.uncertain for chunk in chunks]).nonzero()[:, 0].cpu()
    if draw is not None and len(rows):
        open_ones = Batch.cat([chunk.open_ones for chunk in chunks if chunk.open_ones is not None])
        bands = _spread(model, open_ones, draw, draws, resampled).to(spread)
        spread = spread.index_copy(1, rows, _stretched(bands, columns["p_member"][rows]))
    columns |= {f"p_member_{q}": spread[i] for i, q in enumerate(QUANTILE_NAMES)}
    placed = stars.where[model.indep_coord_names].all(-1).to(inside.device)
    columns = {name: torch.where(placed, values, torch.nan) for name, values in columns.items()}
    columns["n_missing"] = (~model.measured(stars).where[model.coord_names]).sum(-1)
    columns["in_window"] = inside
    return {name: column.cpu() for name, column in columns.items()}


def _of_chunk(model: MixtureModel, chunk: Data | Batch, fits: Fits, reach: Reach | None) -> _Chunk:
    """Where there is a background, the stars outside the window belong to it, and nothing is computed for them."""
    stars = chunk.stars if isinstance(chunk, Batch) else chunk
    inside = model.in_window(stars)
    wanted = inside if BACKGROUND in model.components else torch.ones_like(inside)
    outside = torch.tensor([float(name == BACKGROUND) for name in model.components], device=inside.device)
    p, uncertain = outside.repeat(len(stars), 1), torch.zeros_like(inside)
    if not wanted.any():
        return _Chunk(inside, p, uncertain, None)
    at = wanted.nonzero()[:, 0]
    computed = chunk if wanted.all() else chunk[at]
    batch = computed if isinstance(computed, Batch) else Batch(computed, known_densities(model, computed))
    p_computed = mean_over(fits, model, lambda: model.membership(model(batch.stars), batch.stars, batch.known))
    p = p.to(p_computed).index_copy(0, at, p_computed)
    if reach is None or BACKGROUND not in model.components:
        return _Chunk(inside, p, uncertain, None)
    farthest = model.membership(reach(batch.stars), batch.stars, batch.known)
    rows = _uncertain(model, p_computed, farthest).nonzero()[:, 0]
    open_ones = _screened(model, batch[rows], torch.maximum(farthest, p_computed)[rows]) if len(rows) else None
    return _Chunk(inside, p, uncertain.index_fill(0, at[rows], True), open_ones)


def _uncertain(model: MixtureModel, p: Tensor, farthest: Tensor) -> Tensor:
    """Whether draws can change the p_member (N,) of memberships (N, K), by the fit and where its draws reach."""
    return (p_member(model, p) > _NEGLIGIBLE) | (p_member(model, farthest) > REACHED)


def _screened(model: MixtureModel, batch: Batch, farthest: Tensor) -> Batch:
    """The stars, without the components that no draw gives them; of two, an uncertain star has some of each."""
    if len(model.components) == 2:
        return batch
    skipped = screened(model, batch, REACHED).known.skipped
    of = {name: farthest[:, i] for i, name in enumerate(model.components)}
    known = {name: torch.where(of[name] > REACHED, torch.nan, values) for name, values in skipped.items()}
    return Batch(batch.stars, batch.known.with_skipped(known))


def _stretched(bands: Tensor, p: Tensor) -> Tensor:
    """Quantiles (Q, N), the first and the last stretched to p (N,)."""
    first, last = torch.minimum(bands[0], p), torch.maximum(bands[-1], p)
    return torch.cat([first[None], bands[1:-1], last[None]])


def _at_once(device: torch.device) -> int:
    return _CHUNK if sync_is_cheap(device) else _CHUNK_ELSEWHERE


def _spread(model: MixtureModel, batch: Batch, draw: Draw, draws: int, resampled: Resampled | None) -> Tensor:
    """Quantiles of p_member over the draws, (Q, N)."""
    size = min(_BLOCK, max(1, _LARGEST // draws))
    blocks = [with_copies(model, block, resampled) for block in batch.split(size)]
    drawn = progress(blocks, "quantiles of the memberships")
    return torch.cat([quantiles(_drawn(model, block, draw, draws)) for block in drawn], -1)


def _drawn(model: MixtureModel, batch: Batch, draw: Draw, draws: int) -> Tensor:
    """The p_member of every draw, (D, N): the parameters draw by draw, then all the densities at once."""
    params = drawn_params(model, draw, range(draws), batch.stars)
    repeated = drawn_of(batch, range(draws))
    p, size = [], _at_once(batch.stars.device)
    for i in range(0, len(repeated), size):
        drawn = {name: values.flatten()[i : i + size] for name, values in params.items()}
        rows = repeated[i : i + size]
        p.append(p_member(model, model.membership(drawn, rows.stars, rows.known)))
    return torch.cat(p).view(draws, -1)


def p_member(model: MixtureModel, p: Tensor) -> Tensor:
    """Probability (N,) of any component but the background, from (N, K), without the rounding of one minus it."""
    return p[:, [i for i, name in enumerate(model.components) if name != BACKGROUND]].sum(-1)
