"""The probability of each component for each star, with its quantiles."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.devices import sync_is_cheap
from stream_mapper.inference.draws import Draw, drawn_params, quantiles
from stream_mapper.inference.ensemble import Fits, alone, mean_over
from stream_mapper.inference.frozen import known_densities
from stream_mapper.inference.limits import have_limits, is_of_background, limits
from stream_mapper.inference.reach import REACHED, Reach, reach_of
from stream_mapper.inference.resampled import Resampled, drawn_of, with_copies
from stream_mapper.inference.screening import screened
from stream_mapper.inference.threads import Threads, threads_on
from stream_mapper.models.base import Params, scope
from stream_mapper.models.components import undivided_parts
from stream_mapper.models.known import Batch, KnownDensities
from stream_mapper.models.mixture import BACKGROUND, MixtureModel
from stream_mapper.progress import progress
from stream_mapper.quantiles import QUANTILE_NAMES

Told = TypeVar("Told")

_CHUNK, _CHUNK_ELSEWHERE = 16_384, 1 << 19  # stars whose densities are computed at once: what a CPU's cache holds
_BLOCK = 16_384  # stars whose parameters under all draws are in memory at once
_AT_ONCE = 4096  # stars whose memberships under all draws are: a flow of fewer is slow
_LARGEST = 1 << 24  # numbers that torch finds quantiles of at once
_NEGLIGIBLE = 1e-7  # membership of a fit below which only draws that reach far may raise it
_NO_REACH = math.log(1e-6 * REACHED)  # of the ratio of the others to the background: beside REACHED a rounding
_FIRST = 8  # draws that every uncertain star is given
_ALIKE = 1e-4  # range of these over which more draws tell something


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
    draws reach (:mod:`stream_mapper.inference.reach`), and their memberships are the means over the draws: what the
    data say of a star, whatever the functions are. Eight draws do for a star whose memberships vary by less than 1e-4
    over them. Any other star has the membership of the fit's own functions, which is all its quantiles too. The 90 %
    band is stretched to p_member where it lies beyond.

    Arguments:
        model: The fitted mixture.
        stars: N stars.
        draw: Draws of the parameter functions; without it there are no quantiles, and memberships are those of the
            fit's own functions.
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
    with threads_on(device) as threads:
        columns = _columns(model, whole, draw, draws, fits, resampled, threads)
    placed = stars.where[model.indep_coord_names].all(-1).cpu()
    columns |= {name: torch.where(placed, columns[name], torch.nan) for name in columns if name != "in_window"}
    columns["n_missing"] = (~model.measured(stars).where[model.coord_names]).sum(-1)
    columns["in_window"] = columns.pop("in_window")
    return {name: column.cpu() for name, column in columns.items()}


def _columns(
    model: MixtureModel,
    whole: Data | Batch,
    draw: Draw | None,
    draws: int,
    fits: Fits,
    resampled: Resampled | None,
    threads: Threads,
) -> dict[str, Tensor]:
    """The columns of memberships, and ``in_window``."""
    reach = None if draw is None else reach_of(model, draw, draws)
    device = next(model.parameters()).device
    parts: list[Data | Batch] = list(whole.split(_at_once(device)))
    find = lambda chunk: _of_chunk(model, chunk.to(device), fits, reach)  # noqa: E731
    found = threads.map(find, parts) if len(fits(model)) == 1 else map(find, parts)  # fits take turns in the model
    chunks = list(progress(found, "memberships", len(parts)))
    inside, p = (torch.cat([getattr(chunk, name) for chunk in chunks]).cpu() for name in ("inside", "p"))
    rows = torch.cat([chunk.uncertain for chunk in chunks]).nonzero()[:, 0].cpu()
    bands = None
    if draw is not None and len(rows):
        open_ones = Batch.cat([chunk.open_ones for chunk in chunks if chunk.open_ones is not None])
        means, bands = _spread(model, open_ones, draw, draws, resampled, threads)
        p = p.index_copy(0, rows, means.to(p))
    columns = {f"p_{name}": p[:, i] for i, name in enumerate(model.components)}
    columns["p_member"] = p_member(model, p)
    spread = columns["p_member"] if draw is not None else torch.full((len(p),), torch.nan)
    spread = spread.expand(len(QUANTILE_NAMES), -1)
    if bands is not None:
        spread = spread.index_copy(1, rows, _stretched(bands.to(p), columns["p_member"][rows]))
    return columns | {f"p_member_{q}": spread[i] for i, q in enumerate(QUANTILE_NAMES)} | {"in_window": inside}


def _of_chunk(model: MixtureModel, chunk: Data | Batch, fits: Fits, reach: Reach | None) -> _Chunk:
    """Where there is a background, the stars outside the window belong to it, and nothing is computed for them.

    Nor for those inside that limits of the densities show to be of it.
    """
    stars = chunk.stars if isinstance(chunk, Batch) else chunk
    inside = model.in_window(stars)
    wanted = inside if BACKGROUND in model.components else torch.ones_like(inside)
    outside = torch.tensor([float(name == BACKGROUND) for name in model.components], device=inside.device)
    p, uncertain = outside.repeat(len(stars), 1), torch.zeros_like(inside)
    at, batch = _undecided(model, chunk, wanted.nonzero()[:, 0], fits, reach)
    if not len(batch):
        return _Chunk(inside, p, uncertain, None)
    p_computed = mean_over(fits, model, lambda: model.membership(model(batch.stars), batch.stars, batch.known))
    p = p.to(p_computed).index_copy(0, at, p_computed)
    if reach is None or BACKGROUND not in model.components:
        return _Chunk(inside, p, uncertain, None)
    farthest = _farthest(model, batch, reach, p_computed)
    rows = _uncertain(model, p_computed, farthest).nonzero()[:, 0]
    open_ones = _screened(model, batch[rows], torch.maximum(farthest, p_computed)[rows]) if len(rows) else None
    return _Chunk(inside, p, uncertain.index_fill(0, at[rows], True), open_ones)


def _undecided(
    model: MixtureModel, chunk: Data | Batch, wanted: Tensor, fits: Fits, reach: Reach | None
) -> tuple[Tensor, Batch]:
    """Those of the wanted stars whose densities are needed, by their places, and they with the frozen ones."""
    some = chunk[wanted]
    if len(wanted) and BACKGROUND in model.components and sync_is_cheap(wanted.device) and have_limits(model):
        stars = some.stars if isinstance(some, Batch) else some
        known = some.known if isinstance(some, Batch) else limits(model, model.measured(stars))
        if known is None:
            some = Batch(stars, known_densities(model, stars))
            known = some.known
        rows = _is_open(model, Batch(stars, known), fits, reach).nonzero()[:, 0]
        wanted, some = wanted[rows], some[rows]
    if isinstance(some, Batch):
        return wanted, some
    return wanted, Batch(some, known_densities(model, some) if len(some) else KnownDensities())


def _is_open(model: MixtureModel, batch: Batch, fits: Fits, reach: Reach | None) -> Tensor:
    """Whether limits of the densities, or these themselves, leave a star to others than the background, (N,)."""
    is_open = torch.zeros(len(batch), dtype=torch.bool, device=batch.stars.device)
    for fit in fits(model):
        with fit:
            is_open |= ~is_of_background(model, model(batch.stars), batch)
    return is_open if reach is None else is_open | ~is_of_background(model, reach(batch.stars), batch, _NO_REACH)


def _farthest(model: MixtureModel, batch: Batch, reach: Reach, p: Tensor) -> Tensor:
    """Memberships (N, K) where the draws reach; of stars that are uncertain without, by (N, K), these may do."""
    open_already = p_member(model, p) > _NEGLIGIBLE
    if len(model.components) > 2 or not sync_is_cheap(p.device):
        return model.membership(reach(batch.stars), batch.stars, batch.known)
    rows = (~open_already).nonzero()[:, 0]
    if not len(rows):
        return p
    rest = batch[rows]
    return p.index_copy(0, rows, model.membership(reach(rest.stars), rest.stars, rest.known).to(p))


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


def _spread(
    model: MixtureModel, batch: Batch, draw: Draw, draws: int, resampled: Resampled | None, threads: Threads
) -> tuple[Tensor, Tensor]:
    """Means of the memberships over the draws, (N, K), and quantiles of p_member, (Q, N)."""
    blocks, tell = progress(batch.split(_BLOCK), "quantiles of the memberships"), partial(_spread_of, model)
    spread = [pair for block in blocks for pair in _told(model, block, draw, draws, resampled, threads, tell)]
    means, bands = zip(*spread, strict=True)
    return torch.cat(means), torch.cat(bands, -1)


def _spread_of(model: MixtureModel, batch: Batch, params: Params) -> tuple[Tensor, Tensor]:
    """The same of few stars: by a few of their draws, and by the others where these are not alike."""
    draws = len(next(iter(params.values())))
    first = _of_draws(model, batch, params, range(min(_FIRST, draws)))
    means, bands = first.mean(0), quantiles(p_member(model, first))
    open_ones = ((first.amax(0) - first.amin(0)).amax(-1) >= _ALIKE).nonzero()[:, 0]
    if draws <= _FIRST or not len(open_ones):
        return means, bands
    others = _of_draws(model, batch[open_ones], _of_rows(params, open_ones), range(_FIRST, draws))
    every = torch.cat([first[:, open_ones], others])
    bands = bands.index_copy(1, open_ones, quantiles(p_member(model, every)))
    return means.index_copy(0, open_ones, every.mean(0)), bands


@torch.no_grad()
def drawn_memberships(
    model: MixtureModel, batch: Batch, draw: Draw, draws: int = 32, resampled: Resampled | None = None
) -> Tensor:
    """The p_member of N stars under each of D draws, (D, N), on the CPU; arguments as of :func:`memberships`."""
    if not len(batch):
        return torch.zeros(draws, 0)
    device = next(model.parameters()).device
    tell = lambda some, params: p_member(model, _of_draws(model, some, params, range(draws)))  # noqa: E731
    with threads_on(device) as threads:
        parts = [_told(model, b.to(device), draw, draws, resampled, threads, tell) for b in batch.split(_BLOCK)]
    return torch.cat([found.cpu() for part in parts for found in part], -1)


def _told(
    model: MixtureModel,
    block: Batch,
    draw: Draw,
    draws: int,
    resampled: Resampled | None,
    threads: Threads,
    tell: Callable[[Batch, Params], Told],
) -> list[Told]:
    """What is told of stars, with the copies of their densities, and of their parameters (D, n); some in each thread.

    Elsewhere than on a CPU many are taken at once.
    """
    drawn = drawn_params(model, draw, range(draws), block.stars)
    size = min(_AT_ONCE if sync_is_cheap(block.stars.device) else _BLOCK, max(1, _LARGEST // draws))

    def found(rows: slice) -> Told:
        return tell(with_copies(model, block[rows], resampled), _of_rows(drawn, rows))

    return list(threads.map(found, _slices(len(block), size)))


def _slices(count: int, size: int) -> list[slice]:
    return [slice(first, first + size) for first in range(0, count, size)]


def _of_rows(params: Params, rows: slice | Tensor) -> Params:
    """Parameters by draw, (D, N), of some stars."""
    return {name: values[:, rows] for name, values in params.items()}


def _of_draws(model: MixtureModel, batch: Batch, drawn: Params, indices: range) -> Tensor:
    """Memberships (D, N, K) of stars by those of their draws, whose parameters are (all draws, N)."""
    size = max(1, _at_once(batch.stars.device) // len(indices))

    def found(rows: slice) -> Tensor:
        few, some = batch[rows], drawn_of(batch[rows], indices)
        each = {name: values[indices.start : indices.stop] for name, values in _of_rows(drawn, rows).items()}
        some = Batch(some.stars, some.known.with_frozen(_quick_densities(model, each, few)))
        params = {name: values.flatten() for name, values in each.items()}
        return model.membership(params, some.stars, some.known).view(len(indices), len(few), -1)

    return torch.cat([found(rows) for rows in _slices(len(batch), size)], 1)


def _quick_densities(model: MixtureModel, params: Params, batch: Batch) -> dict[str, Tensor]:
    """Densities of the N stars under D draws of the parameters, (D, N), that are quicker for all draws at once, (D N,).

    Zero where the component they are of is skipped.
    """
    found, stars = {}, model.measured(batch.stars)
    for path, part in undivided_parts(model).items() if sync_is_cheap(stars.device) else ():
        skipped = batch.known.skipped.get(path.partition(".")[0])
        rows = torch.arange(len(stars), device=stars.device) if skipped is None else skipped.isnan().nonzero()[:, 0]
        each = scope(params, path)
        if path in batch.known.frozen or not len(rows):
            continue
        ln_p = part.ln_draws({name: values[:, rows] for name, values in each.items()}, stars[rows])
        if ln_p is not None:
            found[path] = ln_p.new_zeros(len(ln_p), len(stars)).index_copy(1, rows, ln_p).flatten()
    return found


def p_member(model: MixtureModel, p: Tensor) -> Tensor:
    """Probability (..., N) of any component but the background, from (..., N, K), without the rounding of 1 - p."""
    return p[..., [i for i, name in enumerate(model.components) if name != BACKGROUND]].sum(-1)
