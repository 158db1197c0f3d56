"""Weighted counts of stars and of draws from the fit compared, with what chance makes of them.

A star and its draw have the same place and errors, so that under the right model either could have been the star.
To exchange them at random in each pair therefore is what chance does, and needs no other assumption.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_UPPER = 4  # the tail is told from the upper quarter of the exchanges
_CHUNK = 16_384  # pairs whose signs are drawn at once
_APART = 104_729  # between the seed of the draws and that of the exchanges: they must not be of one sequence


@dataclass(frozen=True)
class Counts:
    """Weighted counts of stars and of draws in C cells, and their differences when pairs are exchanged.

    Attributes:
        stars: Weighted counts of the stars, shape (C,).
        draws: Of the draws, shape (C,).
        variance: Variance of their difference, shape (C,).
        differences: Stars minus draws, shape (F + 1, C); the first row as they are, the others after exchanges.
    """

    stars: Tensor
    draws: Tensor
    variance: Tensor
    differences: Tensor


def counts(cells: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor], size: int, flips: int, seed: int) -> Counts:
    """Counts of N pairs in cells.

    Arguments:
        cells: Cell of each star and of its draw, (N,) in 0..size - 1.
        weights: Their weights, (N,); zero where the star is not to be counted.
        size: Number of cells, C.
        flips: Number of exchanges, F.
        seed: Seed of the exchanges; the same for the same N, so that several tables of the same pairs go together.
    """
    rows = ((weights[0] != 0) | (weights[1] != 0)).nonzero()[:, 0]
    a, b = (cell[rows] for cell in cells)
    v, w = (weight[rows].double() for weight in weights)
    each = [v.new_zeros(size).index_add(0, cell, weight) for cell, weight in ((a, v), (b, w))]
    squares = v.new_zeros(size).index_add(0, a, v.square()).index_add(0, b, w.square())
    both = torch.where(a == b, v * w, 0.0)
    variance = squares.index_add(0, a, -2 * both)
    generator = torch.Generator().manual_seed(seed + _APART)
    differences = torch.zeros(size, flips, dtype=torch.float32)
    for some in torch.arange(len(rows)).split(_CHUNK):
        signs = torch.randint(0, 2, (len(some), flips), generator=generator, dtype=torch.int8).float() * 2 - 1
        differences.index_add_(0, a[some], signs * v[some].float()[:, None])
        differences.index_add_(0, b[some], signs * -w[some].float()[:, None])
    first = (each[0] - each[1]).float()
    return Counts(each[0], each[1], variance, torch.cat([first[None], differences.T]))


@dataclass(frozen=True)
class Comparison:
    """The largest of several statistics, against its values after exchanges.

    Attributes:
        statistics: Statistics, shape (F + 1, T), larger where stars and draws differ more; the first row as they are.
    """

    statistics: Tensor

    @cached_property
    def scores(self) -> Tensor:
        """Each statistic's square over its mean over all rows, shape (F + 1, T).

        The tails of squares of such statistics are exponential, as those of the largest of many Gaussian numbers are.
        The first row is in the mean as the others are: if only those were, each would be measured by itself in part,
        and the largest of them would seem smaller than the first by chance alone.
        """
        squares = self.statistics.square()
        mean = squares.mean(0)
        return torch.where(mean > 0, squares / mean.clamp(min=1e-30), 0.0)

    @property
    def largest(self) -> int:
        """Number of the statistic with the largest score."""
        return int(self.scores[0].argmax())

    @property
    def p_value(self) -> float:
        """Probability that chance gives a largest score as large, by those of the exchanges."""
        maxima = self.scores.max(-1).values
        return tail(maxima[0].item(), maxima[1:])


def tail(value: float, maxima: Tensor) -> float:
    r"""Probability of a maximum as large as a value, from a sample of maxima, (F,).

    It is the rank of the value, and beyond the upper quarter, k of F above u, that of an exponential law whose scale is
    known from these k alone, averaged over what it may be:

    .. math:: p = \frac{k}{F} \left(1 + \frac{x - u}{\sum_i (x_i - u)}\right)^{-k}
    """
    ordered = maxima.sort(descending=True).values
    count = max(1, len(ordered) // _UPPER)
    above, edge = ordered[:count].double(), ordered[count].item()
    spread = (above - edge).sum().item()
    if value <= edge or spread <= 0:
        return (1 + int((maxima >= value).sum())) / (1 + len(maxima))
    return count / len(maxima) * (1 + (value - edge) / spread) ** -count


def kolmogorov(counts: Counts, slices: int) -> Tensor:
    """Largest difference of the cumulative counts, of each slice and of all together, shape (F + 1, slices + 1).

    Cells are numbered by slice first. The totals do not count: where they differ, the share of stars and draws together
    is taken from the cumulative counts.
    """
    return cumulative(counts, slices).abs().amax(-1)


def cumulative(counts: Counts, slices: int) -> Tensor:
    """Differences of the cumulative counts without that of the totals, (F + 1, slices + 1, C / slices)."""
    low = _with_all(counts.differences, slices).cumsum(-1)
    both = _with_all((counts.stars + counts.draws).float(), slices).cumsum(-1)
    share = both / both[..., -1:].clamp(min=1e-12)
    return low - share * low[..., -1:]


def _with_all(table: Tensor, slices: int) -> Tensor:
    """A table by slice, and the sum of the slices as one more."""
    table = table.unflatten(-1, (slices, -1))
    return torch.cat([table, table.sum(-2, keepdim=True)], -2)


def edges_of(values: Tensor, size: int) -> Tensor:
    """Edges between ``size`` bins of as many values each, shape (size - 1,)."""
    if len(values) == 0:
        return values.new_zeros(size - 1)
    ordered = values.sort().values
    places = torch.linspace(0, len(ordered) - 1, size + 1)[1:-1].long()
    return ordered[places]


def binned(pair: tuple[Tensor, Tensor], edges: Tensor) -> tuple[Tensor, Tensor]:
    """Bin of each value of two columns."""
    first, second = (torch.bucketize(column.contiguous(), edges) for column in pair)
    return first, second
