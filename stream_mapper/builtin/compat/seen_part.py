"""The part of a flow that a survey saw."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stream_mapper.builtin.seen import ln_sum
from stream_mapper.distributions._stable import ln_normal_interval

BEYOND = 10.0
"""A standard normal number beyond which there is nothing, for the edge of a window."""


@dataclass(frozen=True)
class SeenPart:
    """What was seen of one coordinate of a flow at the places of N stars.

    At a place the coordinate is a monotonic function of a standard normal number, so that strips of it are intervals
    of that number, and their probabilities are exact. Where nothing was seen it counts as if all was.

    Arguments:
        index: Place of the coordinate among those of the flow.
        low: Lower edges of K strips as standard normal numbers, (N, K).
        high: Upper edges.
        seen: Whether there is such a strip, (N, K); at least one a star.
        ln_broad: Log probability of the strips by the broad law, (N,).
    """

    index: int
    low: Tensor
    high: Tensor
    seen: Tensor
    ln_broad: Tensor

    def __getitem__(self, rows: Tensor) -> SeenPart:
        return SeenPart(self.index, self.low[rows], self.high[rows], self.seen[rows], self.ln_broad[rows])

    def ln_narrow(self) -> Tensor:
        """Log probability of the strips by the flow, (N,)."""
        return ln_sum(ln_normal_interval(self.low, self.high), self.seen)

    def is_missing(self, pattern: Tensor | None) -> bool:
        """Whether a star lacks the coordinate, by which of all it has, (F,)."""
        return pattern is not None and not bool(pattern[self.index])

    def table(self) -> Tensor:
        """Edges of the strips in one table, (N, 2 K); those of strips that were not seen enclose nothing."""
        return torch.cat([self.low, torch.where(self.seen, self.high, self.low)], -1)


def from_the_seen(z: Tensor, table: Tensor) -> Tensor:
    """Standard normal numbers (M,) moved, by their quantiles, into what was seen, edges as of `SeenPart.table`."""
    low, high = table.double().chunk(2, -1)
    below, shares = torch.special.ndtr(low), (torch.special.ndtr(high) - torch.special.ndtr(low)).clamp(min=0)
    ends = shares.cumsum(-1)
    wanted = torch.special.ndtr(z.double()) * ends[:, -1]
    strip = (wanted[:, None] > ends).sum(-1, keepdim=True).clamp(max=low.shape[-1] - 1)
    left = (wanted[:, None] - ends.gather(-1, strip) + shares.gather(-1, strip)).clamp(min=0)
    moved = torch.special.ndtri(below.gather(-1, strip) + left)
    inside = torch.minimum(torch.maximum(moved, low.gather(-1, strip)), high.gather(-1, strip))
    return inside[:, 0].to(z.dtype)
