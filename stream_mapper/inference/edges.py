"""Where a component begins and ends, by the likelihood itself on a grid.

A sharp edge lies somewhere between the last star outside and the first inside: its posterior is no normal law. Of the
two parameters of an edge all values can be tried, the densities of the stars being what they are, and the smooth weight
what suits each (:mod:`stream_mapper.inference.smooth_weight`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from stream_mapper.inference.ascent import Prior
from stream_mapper.inference.functions import Functions
from stream_mapper.inference.smooth_weight import Best, EdgeStars, SmoothWeight
from stream_mapper.models.base import Model
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import BACKGROUND, MixtureModel
from stream_mapper.nn import grid_position
from stream_mapper.params.bounds import SigmoidBounds

_PLACES, _WIDTHS = 121, 13  # of an edge that are tried
_FEW_PLACES, _FEW_WIDTHS = 31, 5  # of these beside which the smooth weight is looked for
_REACH = 8.0  # widths from an edge beyond which the weight is as it is far inside, or nothing
_AT_ONCE, _TOGETHER = 4096, 1 << 17  # stars of which all edges are tried, and whose densities are computed, at once
_NOTHING = 1e-7  # density of a component over that of the background which is none
_CELL = 0.1  # of the width of the sharpest edge: stars of no component are put together where they are so close
_COARSE = 800  # cells of the range in which stars hardly of the component are, for the smooth weight


class Edge(NamedTuple):
    """An edge of a component, by the names of its two parameters.

    Arguments:
        place: That of its place, such as ``stream.begin``.
        width: That of the logarithm of its width.
    """

    place: str
    width: str

    @property
    def component(self) -> str:
        """Name of the component."""
        return self.place.rpartition(".")[0]

    def ln_shares(self, at: Tensor, places: Tensor, ln_widths: Tensor) -> Tensor:
        """Log of the share of the weight that edges at these places leave at others; the arguments broadcast."""
        sign = 1.0 if self.place.endswith("begin") else -1.0
        return logsigmoid(sign * (at - places) / ln_widths.exp())


class EdgeDraws(NamedTuple):
    """S draws of the edges of a mixture.

    Arguments:
        edges: Outputs of the constants that stand for them, before the bounds, (S,) by name of the parameter.
        weights: What the output of each smooth weight is then above the fitted one, (S, G) by name of its parameter.
        more: How much more the stars then say of it about each node than with the edges as fitted, alike.
    """

    edges: dict[str, Tensor]
    weights: dict[str, Tensor]
    more: dict[str, Tensor]


def edges_of(model: Model, functions: Functions) -> list[Edge]:
    """The edges that can be drawn: those of which place and width are fitted, of a mixture with a background."""
    if not isinstance(model, MixtureModel) or BACKGROUND not in model.components:
        return []
    params, fitted = model.ends.params, [name for path, name in functions.names if path == "ends"]
    edges = [Edge(name, _width_of(name)) for name in fitted if not name.endswith("-width")]
    bounded = [name for name in fitted if isinstance(params[name].bounds, SigmoidBounds)]
    return [edge for edge in edges if all(name in bounded for name in edge)]


def rows_of_edges(model: Model, functions: Functions) -> list[int]:
    """Which of the functions are constants that stand for edges that can be drawn."""
    names = {("ends", name) for edge in edges_of(model, functions) for name in edge}
    return [row for row, name in enumerate(functions.names) if name in names]


def _width_of(place: str) -> str:
    component, _, side = place.rpartition(".")
    return f"{component}.ln-{side}-width"


@torch.no_grad()
def edge_draws(
    model: MixtureModel, batches: Sequence[Batch], functions: Functions, prior: Prior, count: int
) -> EdgeDraws:
    """Draws of the beginnings and ends of the components, of their widths, and of the smooth weights with them.

    Every place and every logarithm of a width within the bounds is as likely beforehand. The other edges, the other
    weights and the densities are those of the fit.

    Arguments:
        model: The fitted mixture.
        batches: All the training stars.
        functions: The outputs of its networks.
        prior: Their priors.
        count: Number of draws, S.
    """
    out, generator = EdgeDraws({}, {}, {}), torch.Generator().manual_seed(0)
    for edge in edges_of(model, functions):
        name, grid = f"{edge.component}.ln-weight", _Grid.of(model, edge)
        stars = EdgeStars.cat([_stars_of(model, some, edge) for batch in batches for some in batch.split(_TOGETHER)])
        beside = grid.beside(stars, _smooth_weight(model, name, functions, prior))
        shares = _drawn(grid.ln_likelihood(stars) + beside.at(grid.pairs()).ln_p, count, generator)
        then, now = beside.at(grid.values(shares)), beside.at(_as_fitted(functions, edge, grid))
        out.edges.update(zip(edge, shares.logit().unbind(-1), strict=True))
        more = (then.information - now.information).clamp(min=0)
        for kept, new in ((out.weights, then.outputs - now.outputs), (out.more, more)):
            kept[name] = kept[name] + new if name in kept else new
    return out


class _Grid(NamedTuple):
    """The places of an edge that are tried, and the logarithms of its widths: middles of equal parts of intervals."""

    edge: Edge
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, model: MixtureModel, edge: Edge) -> _Grid:
        """That between the bounds of an edge."""
        bounds = [_interval(model.ends.params[name].bounds) for name in edge]
        return cls(edge, *torch.tensor(bounds, dtype=torch.float64).T)

    def values(self, shares: Tensor) -> Tensor:
        """Places and logarithms of widths (..., 2) at these shares of their intervals."""
        return self.low + (self.high - self.low) * shares

    def axes(self, *sizes: int) -> list[Tensor]:
        """So many places, and so many logarithms of widths."""
        shares = [(torch.arange(size, dtype=torch.float64) + 0.5) / size for size in sizes]
        return [low + (high - low) * share for low, high, share in zip(self.low, self.high, shares, strict=True)]

    def pairs(self) -> Tensor:
        """Every place with every width, (places x widths, 2)."""
        return torch.cartesian_prod(*self.axes(_PLACES, _WIDTHS))

    def ln_likelihood(self, stars: EdgeStars) -> Tensor:
        """Log likelihood of the stars with each of the pairs, in nats, all else being as fitted."""
        places, ln_widths = self.axes(_PLACES, _WIDTHS)
        reach = _REACH * ln_widths[-1].exp()
        near = stars.of((stars.place > places[0] - reach) & (stars.place < places[-1] + reach))
        total = torch.zeros(len(places), len(ln_widths), dtype=torch.float64)
        nothing = (near.gain == -1) & (near.rest <= 1)
        for some in near.binned(nothing, _CELL * ln_widths[0].exp().item()).split(_AT_ONCE):
            for j, ln_width in enumerate(ln_widths):
                total[:, j] += some.ln_p(self.edge.ln_shares(some.place, places[:, None], ln_width)) @ some.number
        return total.flatten()

    def beside(self, stars: EdgeStars, weight: SmoothWeight) -> _Beside:
        """The smooth weight beside some of the edges."""
        hardly, cell = (stars.gain < 0) & (stars.rest <= 1), weight.range / _COARSE
        few, axes = stars.binned(hardly, cell), self.axes(_FEW_PLACES, _FEW_WIDTHS)
        places, ln_widths = torch.cartesian_prod(*axes).T

        def ln_shares(at: Tensor) -> Tensor:
            return self.edge.ln_shares(at, places[:, None], ln_widths[:, None])

        best = weight.best(few, ln_shares, len(places))
        return _Beside(axes, best._replace(ln_p=best.ln_p - few.ln_p(ln_shares(few.place)) @ few.number))


class _Beside(NamedTuple):
    """The smooth weight beside edges of these places and widths, and what the log posterior has of it."""

    axes: list[Tensor]
    best: Best

    def at(self, edges: Tensor) -> Best:
        """Beside other edges (S, 2), by means over the four about each."""
        sizes = [len(axis) for axis in self.axes]
        found = [grid_position(x, a[[0, -1]], len(a)) for x, a in zip(edges.unbind(-1), self.axes, strict=True)]
        (i, right), (j, above) = found

        def mean(values: Tensor) -> Tensor:
            grid = values.view(*sizes, -1)
            lower = torch.lerp(grid[i, j], grid[i + 1, j], right[:, None])
            upper = torch.lerp(grid[i, j + 1], grid[i + 1, j + 1], right[:, None])
            return torch.lerp(lower, upper, above[:, None])

        return Best(mean(self.best.ln_p)[:, 0], mean(self.best.outputs), mean(self.best.information))


def _interval(bounds: object) -> tuple[float, float]:
    if not isinstance(bounds, SigmoidBounds):
        raise TypeError(f"an edge has SigmoidBounds; got {type(bounds).__name__}.")
    return bounds.lower, bounds.upper


def _as_fitted(functions: Functions, edge: Edge, grid: _Grid) -> Tensor:
    """Place and logarithm of the width of an edge as fitted, (1, 2)."""
    rows = [functions.names.index(("ends", name)) for name in edge]
    return grid.values(functions.values()[rows, 0].sigmoid())[None]


def _smooth_weight(model: MixtureModel, name: str, functions: Functions, prior: Prior) -> SmoothWeight:
    """The smooth weight of a component, by the name of its parameter; one that is not fitted is as it is."""
    ln_weight = copy.deepcopy(model.weights.params[name]).cpu().double()
    if ("weights", name) not in functions.names:
        return SmoothWeight.fixed(functions.ends, ln_weight)
    row = functions.names.index(("weights", name))
    return SmoothWeight(functions.ends, functions.values()[row], ln_weight, prior.roots[row], prior.centres[row])


def _stars_of(model: MixtureModel, batch: Batch, edge: Edge) -> EdgeStars:
    """The stars of a batch; the weight of the edge's component without this edge is the smooth one."""
    params, names = model(batch.stars), list(model.components)
    own, background = names.index(edge.component), names.index(BACKGROUND)
    others = [i for i in range(len(names)) if i not in (own, background)]
    ln_weights = torch.stack([params[f"{q}.ln-weight"] for q in names], -1).double().cpu()
    f, none = ln_weights[:, others].exp(), ln_weights.isneginf()
    ln_joint = model.ln_joint(params, batch.stars, batch.known).double().cpu()
    ln_shares = model.ln_shares(params, batch.stars, batch.known).double().cpu()
    ratio, seen = (_over(torch.where(none, -torch.inf, x - ln_weights), background) for x in (ln_joint, ln_shares))
    ratio = torch.where(ratio < _NOTHING, 0.0, ratio)
    rest, rest_seen = (1 + (f * (x[:, others] - 1)).sum(-1) for x in (ratio, seen))
    at = batch.stars[model.weights.indep_coord_names[0]].double().cpu()
    smooth = ln_weights[:, own] - edge.ln_shares(at, *(params[name].double().cpu() for name in edge))
    return EdgeStars(at, smooth, rest, ratio[:, own] - 1, rest_seen, seen[:, own] - 1, torch.ones_like(at))


def _over(ln_p: Tensor, which: int) -> Tensor:
    """Ratios of the densities (N, K) to one of them."""
    return (ln_p - ln_p[:, [which]]).clamp(max=80.0).exp()


def _drawn(ln_p: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draws of the shares of their intervals that place and width are at, (S, 2), by a log posterior of the pairs."""
    cells = torch.multinomial(ln_p.softmax(0), count, replacement=True, generator=generator)
    at = torch.stack([cells // _WIDTHS, cells % _WIDTHS], -1) + torch.rand(count, 2, generator=generator)
    return (at / torch.tensor([_PLACES, _WIDTHS])).double().clamp(1e-4, 1 - 1e-4)
