"""Holes in the sky that the fit fills with stars."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stream_mapper.errors import InputError
from stream_mapper.inference.checks.base import Check
from stream_mapper.inference.checks.draws import filled, weights_of
from stream_mapper.inference.checks.inspection import Inspection
from stream_mapper.inference.checks.terms import inner
from stream_mapper.models.base import scope

P_LIMIT = 1e-4
HOLE = 0.2
"""Share of the expected stars, below which a place is a hole."""
_DRAWS, _DRAWS_JOINT = 8, 2  # positions drawn for each star, where a position is cheap and where it is not
_MOST = 800_000  # positions drawn, but for one a star
_PIXELS, _PER_STAR = 60_000, 2  # at most, in all and for each star
_SIDES = (3, 4, 6, 8, 11, 15, 20, 28, 40)  # of rectangles, in pixels
_RADII = (2.0, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0)  # of discs, in pixels


def footprint(inspection: Inspection) -> list[Check]:
    """The place on the sky that is most surely emptier than the fit has it."""
    coord = inspection.across
    if coord is None or len(inspection.places) == 0:
        return []
    try:
        drawn = positions(inspection, coord)
    except InputError:  # a component that lies outside its window somewhere cannot be drawn there
        drawn = [inspection.drawn.stars[coord]]
    where = inspection.fitted.stars.where[coord]
    along, across = inspection.places[where], inspection.fitted.stars[coord][where]
    grid = _Grid(along, across)
    stars = grid.count(along, across)
    expected = sum((grid.count(along, one[where]) for one in drawn), torch.zeros_like(stars)) / len(drawn)
    ln_p, box = _emptiest(stars, expected, len(drawn))
    p_value = min(1.0, ln_p.exp().item())
    edges, counts = grid.edges(box), [_inside(table, box) for table in (stars, expected)]
    text = (
        f"the emptiest place, {inspection.along} {edges[0]:.4g}..{edges[1]:.4g} and {coord} {edges[2]:.4g}.."
        f"{edges[3]:.4g}, has {counts[0]:.0f} stars where the fit has {counts[1]:.1f} (p = {p_value:.1e})"
    )
    if p_value >= P_LIMIT:
        return [Check("footprint", "", "ok", p_value, P_LIMIT, text)]
    text += (
        ": the survey did not look there, or a mask took them, and the edge of a hole is read as stream; give the "
        "footprint, or cut this stretch"
    )
    return [Check("footprint", "", "fail", p_value, P_LIMIT, text)]


@torch.no_grad()
def positions(inspection: Inspection, coord: str) -> list[Tensor]:
    """Draws of one coordinate alone, each (N,)."""
    fitted, generator = inspection.fitted, torch.Generator().manual_seed(inspection.evidence.seed)
    weights = weights_of(fitted.model, fitted.params, len(fitted)).cpu()
    parts = {q: inspection.part_of(q, coord) for q in inspection.model.components}
    cheap = all(len(part.coord_names) <= 2 for _, part in parts.values())
    stars, out = filled(fitted.model, fitted.stars), []
    with torch.random.fork_rng([]):
        torch.manual_seed(inspection.evidence.seed)
        for _ in range(max(1, min(_DRAWS if cheap else _DRAWS_JOINT, _MOST // max(len(stars), 1)))):
            which = torch.multinomial(weights, 1, generator=generator)[:, 0].to(fitted.joint.device)
            each = [
                part.simulate(inner(scope(fitted.params, q), path), stars)[coord] for q, (path, part) in parts.items()
            ]
            out.append(torch.stack(each, -1).gather(-1, which[:, None])[:, 0])
    return out


class Box(NamedTuple):
    """A rectangle: its first pixel along and across, and its length and width in pixels."""

    row: int
    column: int
    long: int
    wide: int


class _Grid:
    """Square pixels."""

    def __init__(self, along: Tensor, across: Tensor) -> None:
        self.low = along.min().item(), across.min().item()
        sides = (along.max() - along.min()).item(), (across.max() - across.min()).item()
        area = max(sides[0] * sides[1], 1e-12)
        self.pixel = (area / min(_PER_STAR * len(along), _PIXELS)) ** 0.5
        self.shape = tuple(int(side / self.pixel) + 1 for side in sides)

    def count(self, along: Tensor, across: Tensor) -> Tensor:
        """Number of stars in each pixel, in float64."""
        columns = [
            ((values.double() - low) / self.pixel).long().clamp(0, size - 1)
            for values, low, size in zip((along, across), self.low, self.shape, strict=True)
        ]
        flat = torch.bincount(columns[0] * self.shape[1] + columns[1], minlength=self.shape[0] * self.shape[1])
        return flat.double().view(self.shape)

    def edges(self, box: Box) -> tuple[float, float, float, float]:
        """Edges of a box, along and then across."""
        ends = box.row, box.row + box.long, box.column, box.column + box.wide
        starts = self.low[0], self.low[0], self.low[1], self.low[1]
        a, b, c, d = (start + end * self.pixel for start, end in zip(starts, ends, strict=True))
        return a, b, c, d


def _emptiest(stars: Tensor, expected: Tensor, draws: int) -> tuple[Tensor, Box]:
    """Log of the p-value of the emptiest rectangle or disc, for as many tries as there are, and a box about it."""
    best, where = torch.zeros((), dtype=torch.float64), Box(0, 0, 1, 1)
    tries = 0
    for long, wide, few, many in _shapes(stars, expected):
        tries += few.numel()
        ln_p = torch.where(few < HOLE * many, _ln_binomial(few, many * draws, draws), 0.0)
        if ln_p.min() < best:
            best = ln_p.min()
            row, column = divmod(int(ln_p.argmin()), ln_p.shape[1])
            where = Box(row, column, long, wide)
    return best + torch.tensor(float(max(tries, 1))).log(), where


def _shapes(stars: Tensor, expected: Tensor) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Every shape: its length and its width in pixels, and its sums at all places."""
    both = torch.stack([stars, expected])
    total = nn.functional.pad(both.cumsum(1).cumsum(2), (1, 0, 1, 0))
    for a, b in product(_SIDES, _SIDES):
        if a <= stars.shape[0] and b <= stars.shape[1]:
            few, many = total[:, a:, b:] - total[:, :-a, b:] - total[:, a:, :-b] + total[:, :-a, :-b]
            yield a, b, few.clamp(min=0), many.clamp(min=0)
    for radius in _RADII:
        size = 2 * int(radius) + 1
        if size <= min(stars.shape):
            disc = _disc(radius)[None, None]
            few, many = nn.functional.conv2d(both.float()[:, None], disc)[:, 0].double()
            yield size, size, few.round(), many


def _disc(radius: float) -> Tensor:
    steps = torch.arange(-int(radius), int(radius) + 1).float()
    return (steps[:, None].square() + steps.square() <= radius**2).float()


def _inside(table: Tensor, box: Box) -> float:
    return table[box.row : box.row + box.long, box.column : box.column + box.wide].sum().item()


def _ln_binomial(few: Tensor, many: Tensor, draws: int) -> Tensor:
    """Log of an upper limit of the probability of so few stars, each place being that of a star or of a draw.

    With k stars of n in all and a share q of stars, k < n q, it is n times the divergence of k / n from q (Chernoff).
    """
    total, q = (few + many).clamp(min=1e-9), 1 / (1 + draws)
    share = few / total
    terms = torch.xlogy(share, share / q) + torch.xlogy(1 - share, (1 - share) / (1 - q))
    return torch.where(share < q, -total * terms, 0.0)
