"""Maps of what the fit does not explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from stream_mapper.inference.checks.base import Check, Outcome
from stream_mapper.inference.checks.flips import Comparison, Counts, binned, counts
from stream_mapper.inference.checks.inspection import Inspection
from stream_mapper.inference.checks.predictive import Column, colours, column

SCALES = (8, 16, 28)  # bins a side
FLIPS = 100
P_LIMIT = 1e-4
EXCESS_MEMBERS, EXCESS_DIAGRAM = 0.15, 0.07  # of the expected members at these places, and of all
EXCESS_ALL = 0.05  # of the stars at these places
_LEAST = 8.0  # effective number of stars and draws in a cell that counts
_FEWEST = 10.0  # expected members with which there is something to compare

Plane = tuple[str, str]


def planes(inspection: Inspection) -> list[Plane]:
    """The maps: each coordinate along the stream, pairs of proper motions, and the colour-magnitude diagrams."""
    names = inspection.model.coord_names
    motions = [name for name in names if name.startswith("pm")]
    shades = colours(inspection)
    along = [(inspection.along, name) for name in names]
    return [*along, *pairwise(motions), *((shade, shade.split(" - ")[0]) for shade in shades)]


def residuals(inspection: Inspection) -> list[Check]:
    """The largest excess of each map: of all stars, and of those that are like a stream in all other coordinates."""
    maps = [_of_all(inspection, plane) for plane in planes(inspection)]
    checks = [_worst([_all_check(inspection, found) for found in _tried(maps)])]
    for component in inspection.evidence.streams:
        if inspection.fitted.p(component).sum() >= _FEWEST:
            maps = [_of_members(inspection, component, plane) for plane in planes(inspection)]
            checks.append(_worst([_member_check(inspection, found, component) for found in _tried(maps)]))
    return checks


@dataclass(frozen=True)
class Map:
    """The cell of a map in which stars and draws differ most.

    Attributes:
        plane: What the map is of.
        p_value: Probability that chance makes any cell differ as much.
        stars: Weighted stars in the cell.
        draws: Weighted draws in it.
        cell: Edges of the cell, by coordinate.
    """

    plane: Plane
    p_value: float
    stars: float
    draws: float
    cell: dict[str, tuple[float, float]]

    @property
    def where(self) -> str:
        """The cell in words."""
        return " and ".join(f"{name} {low:.4g}..{high:.4g}" for name, (low, high) in self.cell.items())


def _columns(inspection: Inspection, plane: Plane) -> list[Column]:
    along = inspection.places, inspection.places
    everywhere = torch.ones_like(inspection.places, dtype=torch.bool)
    first = Column(inspection.along, along, (everywhere, everywhere))
    return [first if name == inspection.along else column(inspection, name) for name in plane]


def _of_all(inspection: Inspection, plane: Plane) -> Map:
    x, y = _columns(inspection, plane)
    weights = [(a & b).double() for a, b in zip(x.where, y.where, strict=True)]
    return largest(inspection, x, y, inspection.sampled((weights[0], weights[1])))


def _of_members(inspection: Inspection, component: str, plane: Plane) -> Map:
    x, y = _columns(inspection, plane)
    names = [name for part in plane for name in part.split(" - ") if name != inspection.along]
    aside = dict.fromkeys(n for name in names for n in inspection.group(component, name))
    kept = [w * a * b for w, a, b in zip(inspection.weights(component, tuple(aside)), x.where, y.where, strict=True)]
    return largest(inspection, x, y, (kept[0], kept[1]))


def largest(inspection: Inspection, x: Column, y: Column, weights: tuple[Tensor, Tensor]) -> Map:
    """The cell with the largest difference, among cells of several sizes."""
    found: list[Counts] = []
    grids = []
    for size in SCALES:
        edges = [each.edges(weights, size) for each in (x, y)]
        across, up = (binned(each.values, e) for each, e in zip((x, y), edges, strict=True))
        cells = across[0] * size + up[0], across[1] * size + up[1]
        found.append(counts(cells, weights, size * size, FLIPS, inspection.evidence.seed))
        grids.append(edges)
    test = Comparison(torch.cat([_scores(each) for each in found], -1))
    scale, cell = _locate(test.largest)
    table = found[scale]
    return Map(
        (x.name, y.name),
        test.p_value,
        table.stars[cell].item(),
        table.draws[cell].item(),
        {
            x.name: _cell(x, grids[scale][0], cell // SCALES[scale]),
            y.name: _cell(y, grids[scale][1], cell % SCALES[scale]),
        },
    )


def _locate(number: int) -> tuple[int, int]:
    for scale, size in enumerate(SCALES):
        if number < size * size:
            return scale, number
        number -= size * size
    raise IndexError(number)


def _scores(found: Counts) -> Tensor:
    """Difference of each cell in its standard deviations, (F + 1, C); zero for a cell with few."""
    squares = found.variance
    total = (found.stars + found.draws).square() / squares.clamp(min=1e-30)  # effective number
    scores = found.differences / squares.sqrt().clamp(min=1e-15).float()
    return torch.where((total >= _LEAST) & (squares > 0), scores.abs(), 0.0)


def _cell(data: Column, edges: Tensor, place: int) -> tuple[float, float]:
    low = edges[place - 1].item() if place > 0 else data.values[0][data.where[0]].min().item()
    high = edges[place].item() if place < len(edges) else data.values[0][data.where[0]].max().item()
    return low, high


def _excess(found: Map) -> float:
    return abs(found.stars - found.draws)


def _all_check(inspection: Inspection, found: Map) -> Check:
    share = _excess(found) / max(int(_there(inspection, found).sum()), 1)
    return _check("", found, share, EXCESS_ALL, "of the stars at these places")


def _member_check(inspection: Inspection, found: Map, component: str) -> Check:
    """The excess is a share of the members at the places of the cell, or of a tenth of all, if there are fewer."""
    p = inspection.fitted.p(component)
    members = max(p[_there(inspection, found)].sum().item(), 0.1 * p.sum().item())
    limit = EXCESS_MEMBERS if inspection.along in found.plane else EXCESS_DIAGRAM
    return _check(component, found, _excess(found) / members, limit, f"of the members of {component} at these places")


def _there(inspection: Inspection, found: Map) -> Tensor:
    """Stars at the places of the cell, (N,): all, if the map does not go along the stream."""
    low, high = found.cell.get(inspection.along, (-torch.inf, torch.inf))
    return (inspection.places >= low) & (inspection.places <= high)


def _check(component: str, found: Map, share: float, limit: float, of: str) -> Check:
    bad, matters = found.p_value < P_LIMIT, share > limit
    name = " and ".join(found.plane)
    side = "more" if found.stars > found.draws else "fewer"
    kind = f"stars like {component} in all else" if component else "stars"
    text = f"map of {name}, {kind}: {found.stars:.0f}, where the fit draws {found.draws:.0f}, at {found.where}"
    if not bad:
        text += f"; chance makes as much (p = {found.p_value:.2g})"
    else:
        advice = _advice(component, found) if matters else "too little to matter"
        text += f": {side} by {share:.0%} {of} (p = {found.p_value:.1e}); {advice}"
    outcome: Outcome = "ok" if not bad else ("fail" if matters else "note")
    return Check("residuals", component, outcome, found.p_value, P_LIMIT, text)


def _advice(component: str, found: Map) -> str:
    if not component:
        return "the background does not describe this region: mask it, or give the background a richer density"
    if found.stars > found.draws:
        return "a further component there, such as a spur, may be missing, or the background is too low"
    return f"{component} is not so bright or so wide there: look at its guides and its weight"


def _tried(maps: Sequence[Map]) -> list[Map]:
    """The maps, with p-values for as many tries as there are maps."""
    return [replace(found, p_value=min(1.0, found.p_value * len(maps))) for found in maps]


def _worst(checks: Sequence[Check]) -> Check:
    order = {"ok": 0, "note": 1, "fail": 2}
    return max(checks, key=lambda one: (order[one.verdict], -one.value))
