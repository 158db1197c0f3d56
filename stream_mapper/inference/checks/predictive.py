"""Draws from the fit against the stars, coordinate by coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from stream_mapper.inference.checks.base import Check
from stream_mapper.inference.checks.flips import Comparison, Counts, binned, counts, cumulative, edges_of, kolmogorov
from stream_mapper.inference.checks.inspection import Inspection, is_photometric
from stream_mapper.inference.checks.scan import slices_of
from stream_mapper.inference.checks.terms import leaves

SLICES, BINS, FLIPS = 6, 48, 100
P_LIMIT = 1e-4
EFFECT_ALL = 0.12  # of all stars of a slice
EFFECT_MEMBERS = 0.18  # of the expected members of a slice
_FEWEST = 10.0  # expected members with which there is something to compare


@dataclass(frozen=True)
class Column:
    """A number of each star, and of each draw.

    Attributes:
        name: What it is.
        values: Of the stars and of the draws, each (N,).
        where: Whether they are known, each (N,).
    """

    name: str
    values: tuple[Tensor, Tensor]
    where: tuple[Tensor, Tensor]

    def edges(self, weights: tuple[Tensor, Tensor], size: int) -> Tensor:
        """Edges between bins of as many of the stars and draws each that have a weight, (size - 1,)."""
        some = [value[weight > 0] for value, weight in zip(self.values, weights, strict=True)]
        return edges_of(torch.cat(some), size)


def column(inspection: Inspection, name: str, component: str = "") -> Column:
    """A coordinate, or the difference "a - b" of two; less the centre of a component, if one is named and has it."""
    values, where = [], []
    for each in (inspection.fitted, inspection.drawn):
        names = name.split(" - ")
        own = [each.stars[n] for n in names]
        value = own[0] - own[1] if len(own) > 1 else own[0]
        centre = inspection.centre(component, name, each) if component and len(own) == 1 else None
        values.append(value if centre is None else value - centre)
        where.append(each.stars.where[names].all(-1))
    return Column(name, (values[0], values[1]), (where[0], where[1]))


def colours(inspection: Inspection) -> list[str]:
    """Differences of neighbouring magnitudes of the first isochrone, if there is one."""
    parts = [part for component in inspection.model.components.values() for _, part in leaves(component)]
    names = next((part.coord_names for part in parts if is_photometric(part)), ())
    return [f"{a} - {b}" for a, b in pairwise(names)]


def predictive(inspection: Inspection) -> list[Check]:
    """One check a coordinate: all the stars, and the likely members of each stream."""
    names = [*inspection.model.coord_names, *colours(inspection)]
    checks = [_of_all(inspection, name) for name in names]
    for component in inspection.evidence.streams:
        if inspection.fitted.p(component).sum() >= _FEWEST:
            checks += [_of_members(inspection, component, name) for name in names]
    return checks


def _of_all(inspection: Inspection, name: str) -> Check:
    data = column(inspection, name)
    weights = inspection.sampled((data.where[0].double(), data.where[1].double()))
    found = compare(inspection, data, weights, weights[0])
    return _check(inspection, "", name, found, EFFECT_ALL)


def _of_members(inspection: Inspection, component: str, name: str) -> Check:
    data = column(inspection, name, component)
    names = inspection.group(component, name.split(" - ", maxsplit=1)[0])
    weights = inspection.weights(component, names)
    kept = weights[0] * data.where[0], weights[1] * data.where[1]
    found = compare(inspection, data, kept, inspection.fitted.p(component) * data.where[0])
    return _check(inspection, component, name, found, EFFECT_MEMBERS)


@dataclass(frozen=True)
class Found:
    """How stars and draws differ in a number.

    Attributes:
        p_value: Probability that chance makes them differ as much, anywhere.
        effect: Stars that are too many or too few on one side, as a share of those expected there.
        slice: The slice of phi1 where they differ most; ``SLICES`` stands for all.
        at: The number at which the cumulative counts differ most there.
        many: Whether there are too many stars below, or too few.
    """

    p_value: float
    effect: float
    slice: int
    at: float
    many: bool


def compare(inspection: Inspection, data: Column, weights: tuple[Tensor, Tensor], expected: Tensor) -> Found:
    """Stars and draws in a number, by their weights; ``expected`` (N,) is what an effect is a share of."""
    edges = data.edges(weights, BINS)
    slices = slices_of(inspection.fitted, SLICES)
    cells = tuple(slices * BINS + each for each in binned(data.values, edges))
    found = counts((cells[0], cells[1]), weights, SLICES * BINS, FLIPS, inspection.evidence.seed)
    test = Comparison(kolmogorov(found, SLICES))
    total = torch.zeros(SLICES, dtype=torch.float64).index_add(0, slices, expected.double())
    total = torch.cat([total, total.sum()[None]])
    effects = test.statistics[0].double() / torch.maximum(total, total[-1] / SLICES).clamp(min=1.0)
    where, at, many = _largest(found, test.largest, edges)
    return Found(test.p_value, effects[where].item(), where, at, many)


def _largest(found: Counts, which: int, edges: Tensor) -> tuple[int, float, bool]:
    low = cumulative(found, SLICES)[0, which]
    place = int(low[:-1].abs().argmax())
    return which, edges[place].item(), bool(low[place] > 0)


def where_of(inspection: Inspection, which: int) -> str:
    """A slice of phi1 in words."""
    if which == SLICES:
        return f"all along {inspection.along}"
    places = inspection.places[slices_of(inspection.fitted, SLICES) == which]
    return f"at {inspection.along} {places.min().item():.3g}..{places.max().item():.3g}"


def _check(inspection: Inspection, component: str, name: str, found: Found, limit: float) -> Check:
    bad = found.p_value < P_LIMIT
    outcome = ("fail" if found.effect > limit else "note") if bad else "ok"
    whose = f"the likely members of {component}" if component else "the stars"
    if not bad:
        text = f"{name} of {whose} is as the fit draws it (p = {found.p_value:.2g})"
    else:
        side = "too many" if found.many else "too few"
        text = (
            f"{name} of {whose} is not as the fit draws it: {side} below {found.at:.4g} "
            f"{where_of(inspection, found.slice)}, {found.effect:.0%} of those expected (p = {found.p_value:.1e}); "
            + (_advice(component) if outcome == "fail" else "too few stars to matter")
        )
    return Check("predictive", component, outcome, found.p_value, P_LIMIT, text)  # type: ignore[arg-type]


def _advice(component: str) -> str:
    if component:
        return "look at the guides, the bounds and the isochrone of this coordinate"
    return "the background does not describe the field: train it longer, on more stars, or give it a richer density"
