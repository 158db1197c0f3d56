"""What a component would gain if it lay elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stream_mapper.inference.checks.terms import Terms, chunked, inner, leaves, range_of
from stream_mapper.models.base import Model, ParametricModel, Params, scope

_SLICES = 8  # of phi1, each with its own weight
_SHARES = torch.logspace(-5, -0.2, 15)  # weights that are tried
_FAINT = -9.0  # ln of a ratio of densities that no weight makes count
_STARS = {True: 30_000, False: 2_000}  # at most, where a density is cheap and where it is not
_STEPS = 30  # shifts at most
_RANGE = (0.01, 0.99)  # quantiles of a coordinate between which a centre is moved
_MODULI = (-2.5, 2.5, 0.5)  # shifts of a distance modulus [mag]


@dataclass(frozen=True)
class Location:
    """The centre of a component in one coordinate.

    Attributes:
        coord: The coordinate, or "distmod".
        name: Name of the parameter, seen from its part.
        width: Name of the logarithm of its width, seen from there; may be of no parameter.
        part: The part that has it.
        path: Dotted path of that part in the component.
    """

    coord: str
    name: str
    width: str
    part: ParametricModel
    path: str


@dataclass(frozen=True)
class Scan:
    """Gains of a component moved along one coordinate.

    Attributes:
        location: What was moved.
        shifts: How far, shape (S,), in the unit of the coordinate.
        gains: Gain in ln L over a fit without the component, with the best weights, shape (S,), in nats.
        here: That gain where the fit has it.
        step: Distance between two shifts.
        width: Typical width of the component, errors included.
    """

    location: Location
    shifts: Tensor
    gains: Tensor
    here: float
    step: float
    width: float


def locations(model: Model) -> list[Location]:
    """The centres that the networks of a component set, in the order of its coordinates."""
    found = [
        Location(name.removesuffix(".mu"), name, f"{name.removesuffix('.mu')}.ln-sigma", part, path)
        for path, part in leaves(model)
        if isinstance(part, ParametricModel)
        for name in part.params.names
        if name.endswith(".mu")
    ]
    order = {name: i for i, name in enumerate(model.coord_names)}
    return sorted(found, key=lambda location: order.get(location.coord, len(order)))


@contextmanager
def changed(part: ParametricModel, shifts: dict[str, float], floors: dict[str, float] | None = None) -> Iterator[None]:
    """Inside, a part's parameters are shifted, and some are raised to a floor, whatever their bounds."""

    def hook(_: Model, inputs: Any, params: Params) -> Params:  # noqa: ARG001
        out = {name: value + shifts.get(name, 0.0) for name, value in params.items()}
        return out | {name: out[name].clamp(min=low) for name, low in (floors or {}).items() if name in out}

    with ExitStack() as stack:
        stack.callback(part.register_forward_hook(hook).remove)
        yield


class Moved:
    """Log densities of a component whose parameters are changed, of the stars that it may hold.

    Arguments:
        terms: The stars and their terms.
        component: The component.
        part: The part whose parameters are changed.
        names: Those parameters, seen from the part.
    """

    def __init__(self, terms: Terms, component: str, part: ParametricModel, names: Sequence[str]) -> None:
        self.terms, self.component = terms, component
        self.model = terms.model.components[component]
        places = terms.stars[torch.arange(min(2, len(terms)))]
        plain = scope(terms.model(places), component)
        with changed(part, dict.fromkeys(names, 0.01)):
            other = scope(terms.model(places), component)
        self.changed = [name for name in plain if not torch.equal(plain[name], other[name])]
        self.paths = [path for path, _ in leaves(self.model) if _differ(inner(plain, path), inner(other, path))]
        self.cheap = all(leaf.curve() is None for path, leaf in leaves(self.model) if path in self.paths)
        own = torch.stack([terms.parts[component][path] for path in self.paths]).sum(0)
        self.others = terms.ln_density(component) - own
        self.rest = terms.ln_rest(component)
        possible = self.others + own[own.isfinite()].max() - self.rest
        rows = (possible > _FAINT).nonzero()[:, 0]
        if len(rows) > _STARS[self.cheap]:
            rows = rows[possible[rows].topk(_STARS[self.cheap]).indices.sort().values]
        self.rows = rows
        self.stars = terms.stars[rows]
        every = scope(terms.params, component)
        self.params = {name: value.expand(len(terms))[rows] for name, value in every.items()}

    @torch.no_grad()
    def ln_ratio(self) -> Tensor:
        """Log density of the component over that of all others, of the stars in ``rows``, as the model is now."""
        own = self.model(self.stars)
        if not set(self.changed) <= set(own):  # a hook of the mixture sets some
            own = scope(self.terms.model(self.stars), self.component)
        params = self.params | {name: own[name] for name in self.changed}
        ln_p = self.others[self.rows] - self.rest[self.rows]
        for path, leaf in leaves(self.model):
            if path in self.paths:
                ln_p = ln_p + chunked(leaf, inner(params, path), self.stars)
        return ln_p


def _differ(a: Params, b: Params) -> bool:
    return any(not torch.equal(a[name], b[name]) for name in a)


def best_gain(ln_ratio: Tensor, slices: Tensor, others: Tensor) -> float:
    """Gain in ln L of a component with the best weight in each slice of phi1.

    Arguments:
        ln_ratio: Log density of the component over that of all others, (M,).
        slices: Slice of each of these stars, (M,).
        others: Number of further stars in each slice, which the component cannot hold, (S,).
    """
    shares = _SHARES.to(ln_ratio)[:, None]
    each = torch.log1p(shares * torch.expm1(ln_ratio.clamp(max=60)))
    sums = each.new_zeros(len(shares), len(others)).index_add(1, slices, each)
    return (sums + others * torch.log1p(-shares)).amax(0).clamp(min=0).sum().item()


def slices_of(terms: Terms, count: int = _SLICES) -> Tensor:
    """Slice of phi1 of each star, (N,): as many stars in each."""
    place = terms.stars[terms.model.indep_coord_names[0]]
    rank = place.argsort().argsort()
    return rank * count // max(len(rank), 1)


def scan(terms: Terms, component: str, location: Location) -> Scan:
    """The gains of a component moved along one coordinate, everything else as it was fitted."""
    moved = Moved(terms, component, location.part, (location.name, location.width))
    slices = slices_of(terms)
    mine = slices[moved.rows]
    total = torch.bincount(slices, minlength=_SLICES)
    others = total - torch.bincount(mine, minlength=_SLICES)
    shifts, step = _shifts(terms, component, location)
    floors = {location.width: torch.tensor(step / 2).log().item()}
    gains = []
    for shift in shifts.tolist():
        with changed(location.part, {location.name: shift}, floors):
            gains.append(best_gain(moved.ln_ratio(), mine, others))
    here = best_gain(moved.ln_ratio(), mine, others)
    return Scan(location, shifts, torch.tensor(gains), here, step, _width(terms, component, location))


def _shifts(terms: Terms, component: str, location: Location) -> tuple[Tensor, float]:
    """Shifts that leave the centre among the stars for half of the places, and their distance."""
    if location.coord not in terms.stars:
        low, high, step = _MODULI
        shifts = torch.arange(low, high + step / 2, step)
        return shifts[shifts.abs() > step / 2], step
    low, high = range_of(terms.stars, location.coord, _RANGE).tolist()
    centre = inner(scope(terms.params, component), location.path)[location.name].median().item()
    width = _width(terms, component, location)
    step = max((high - low) / _STEPS, 2 * min(width, (high - low) / 10))
    below, above = int((centre - low) / step), int((high - centre) / step)
    numbers = [i for i in range(-below, above + 1) if i != 0]
    return step * torch.tensor(numbers, dtype=torch.float32), step


def _width(terms: Terms, component: str, location: Location) -> float:
    """Typical width of a component in a coordinate, with the errors of the stars, in its unit."""
    params = inner(scope(terms.params, component), location.path)
    own = params[location.width].exp().median().item() if location.width in params else 0.0
    error = location.part.error_names.get(location.coord)
    return math.hypot(own, terms.stars[error][terms.stars.where[error]].median().item()) if error else own
