"""Where a component begins and ends, by the likelihood itself on a grid.

A sharp edge lies somewhere between the last star outside and the first inside: its posterior is no normal law. Of the
two parameters of an edge all values can be tried, the densities of the stars being what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from stream_mapper.models.base import Params
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import BACKGROUND, MixtureModel
from stream_mapper.params.bounds import SigmoidBounds

_PLACES, _WIDTHS = 121, 13
_REACH = 8.0  # widths from an edge beyond which the weight is as it is far inside, or nothing
_AT_ONCE, _TOGETHER = 4096, 1 << 17  # stars of which all edges are tried, and whose densities are computed, at once
_NOTHING = 1e-7  # density of a component over that of the background which is none
_CELL = 0.1  # of the width of the sharpest edge: stars of no component are put together where they are so close
_MOST = 0.999  # weight of a component


@torch.no_grad()
def edge_draws(model: MixtureModel, batches: Sequence[Batch], count: int) -> dict[str, Tensor]:
    """Draws of the beginnings and ends of the components, and of their widths, before the bounds.

    Every place and every logarithm of a width within the bounds is as likely beforehand. The other edges, the smooth
    weights and the densities are those of the fit.

    Arguments:
        model: The fitted mixture.
        batches: All the training stars.
        count: Number of draws, S.

    Returns:
        The outputs (S,) of the constants that stand for the edges, by the names of their parameters; none of a mixture
        without ends or without a background.
    """
    names = model.ends.params.names
    sides = [(name, _width_of(name)) for name in names if not name.endswith("-width")]
    if BACKGROUND not in model.components:
        return {}
    out: dict[str, Tensor] = {}
    for place, width in sides:
        bounds = [model.ends.params[name].bounds for name in (place, width)]
        if width in names and all(isinstance(b, SigmoidBounds) for b in bounds):
            grid = [_inside(*b, size) for b, size in zip(map(_edges, bounds), (_PLACES, _WIDTHS), strict=True)]
            ln_p = sum(_ln_likelihood(model, batch, place, width, *grid) for batch in batches)
            drawn = _drawn(torch.as_tensor(ln_p), [len(nodes) for nodes in grid], count)
            out |= dict(zip((place, width), drawn.unbind(-1), strict=True))
    return out


def _width_of(place: str) -> str:
    component, _, side = place.rpartition(".")
    return f"{component}.ln-{side}-width"


def _edges(bounds: object) -> tuple[float, float]:
    if not isinstance(bounds, SigmoidBounds):
        raise TypeError(f"an edge has SigmoidBounds; got {type(bounds).__name__}.")
    return bounds.lower, bounds.upper


def _inside(low: float, high: float, size: int) -> Tensor:
    """The middles of equal parts of an interval, (size,)."""
    return low + (high - low) * (torch.arange(size, dtype=torch.float64) + 0.5) / size


def _ln_likelihood(
    model: MixtureModel, batch: Batch, place: str, width: str, places: Tensor, ln_widths: Tensor
) -> Tensor:
    """Log likelihood of the stars with an edge at each place and of each width, (places, widths), in nats."""
    total = torch.zeros(len(places), len(ln_widths), dtype=torch.float64)
    coordinate = model.weights.indep_coord_names[0]
    reach = _REACH * ln_widths[-1].exp()
    near = (batch.stars[coordinate] > places[0] - reach) & (batch.stars[coordinate] < places[-1] + reach)
    sign, cell = 1.0 if place.endswith("begin") else -1.0, _CELL * ln_widths[0].exp().item()
    for chunk in batch[near.nonzero()[:, 0]].split(_TOGETHER) if near.any() else ():
        of_stars = _of_stars(model, model(chunk.stars), chunk, place, width, sign)
        for at, smooth, rest, gain, number in zip(*(x.split(_AT_ONCE) for x in _binned(of_stars, cell)), strict=True):
            for j, ln_width in enumerate(ln_widths):
                f = (smooth + logsigmoid(sign * (at - places[:, None]) / ln_width.exp())).exp().clamp(max=_MOST)
                total[:, j] += torch.log1p((f * gain - (1 - rest)).clamp(min=-1 + 1e-12)) @ number
    return total


class _Stars(NamedTuple):
    """Of N stars, over the density of the background: what the mixture is as a function of a component's edge.

    It is ``rest``, what the others have, plus ``gain`` times the weight of the component, whose logarithm is ``smooth``
    plus that of the edge at the place. ``number`` is how many stars each stands for.
    """

    place: Tensor
    smooth: Tensor
    rest: Tensor
    gain: Tensor
    number: Tensor


def _binned(stars: _Stars, cell: float) -> _Stars:
    """The stars, those that are of no component put together where they are in the same cell."""
    nothing = (stars.gain == -1) & (stars.rest <= 1)
    cells = ((stars.place - stars.place.min()) / cell).long()[nothing]
    number = cells.bincount().double()
    there = number > 0
    means = [
        torch.zeros_like(number).index_add_(0, cells, x[nothing])[there] / number[there]
        for x in (stars.place, stars.smooth, stars.rest, stars.gain)
    ]
    return _Stars(*(torch.cat([x[~nothing], y]) for x, y in zip(stars, [*means, number[there]], strict=True)))


def _of_stars(model: MixtureModel, params: Params, batch: Batch, place: str, width: str, sign: float) -> _Stars:
    """Stars of a batch, none put together; the edge, of these parameters, is on the left for a sign of one."""
    names, component = list(model.components), place.rpartition(".")[0]
    own, background = names.index(component), names.index(BACKGROUND)
    others = [i for i in range(len(names)) if i not in (own, background)]
    joint = model.ln_joint(params, batch.stars, batch.known).double().cpu()
    ln_weights = torch.stack([params[f"{q}.ln-weight"] for q in names], -1).double().cpu()
    ln_p = torch.where(ln_weights.isneginf(), -torch.inf, joint - ln_weights)
    ratio = (ln_p - ln_p[:, [background]]).clamp(max=80.0).exp()
    ratio = torch.where(ratio < _NOTHING, 0.0, ratio)
    rest = 1 + (ln_weights[:, others].exp() * (ratio[:, others] - 1)).sum(-1)
    at = batch.stars[model.weights.indep_coord_names[0]].double().cpu()
    now = logsigmoid(sign * (at - params[place].double().cpu()) / params[width].double().cpu().exp())
    return _Stars(at, ln_weights[:, own] - now, rest, ratio[:, own] - 1, torch.ones_like(at))


def _drawn(ln_p: Tensor, sizes: Sequence[int], count: int) -> Tensor:
    """Draws of the two outputs, before the bounds, from a log posterior at the middles of cells, (S, 2)."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.multinomial(ln_p.flatten().softmax(0), count, replacement=True, generator=generator)
    at = torch.stack([cells // sizes[1], cells % sizes[1]], -1) + torch.rand(count, 2, generator=generator)
    return (at / torch.tensor(sizes)).double().clamp(1e-4, 1 - 1e-4).logit()
