"""Densities of which a part was seen."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from stream_mapper.data import Data
from stream_mapper.distributions.interval import draw_between, ln_interval
from stream_mapper.errors import InputError
from stream_mapper.footprint import Footprint
from stream_mapper.models.base import Model

_TRIES = (2, 8, 32, 128, 512, 2048)  # draws for each star that has none yet, round by round


class SeenLaw:
    r"""A law given that the variable is where the survey looked.

    .. math:: p(x) = \frac{f(x)}{\sum_k F(b_k) - F(a_k)}

    over the strips :math:`[a_k, b_k]` at the place of the star.

    Arguments:
        law: The law f of each star, batch shape (N,).
        low: Lower edge of its window, (N,), maybe -inf.
        high: Upper edge, maybe inf.
        footprint: The strips.
        data: The stars, of which the places are read.
    """

    def __init__(self, law: Distribution, low: Tensor, high: Tensor, footprint: Footprint, data: Data) -> None:
        self.law = law
        self.low, self.high, self.seen = strips_inside(footprint, low, high, data)

    def ln_shares(self) -> Tensor:
        """Log probability of each strip, (N, K); -inf for those that were not seen."""
        edges = zip(self.low.unbind(-1), self.high.unbind(-1), strict=True)
        return torch.where(self.seen, torch.stack([ln_interval(self.law, a, b) for a, b in edges], -1), -torch.inf)

    def ln_share(self) -> Tensor:
        """Log probability of what was seen, (N,); -inf where nothing was."""
        return ln_sum(self.ln_shares(), self.seen)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density in nats, (N,); -inf where the survey did not look."""
        inside = (self.seen & (x[:, None] >= self.low) & (x[:, None] <= self.high)).any(-1)
        ln_share = torch.where(inside, self.ln_share(), 0.0)
        return torch.where(inside, self.law.log_prob(x) - ln_share, -torch.inf)

    def sample(self) -> Tensor:
        """One draw for each star, (N,).

        Raises:
            InputError: If nothing was seen at the place of some star.
        """
        if unseen := int((~self.seen.any(-1)).sum()):
            raise InputError(f"to sample, every star needs a place where the survey looked; {unseen} have none.")
        strip = torch.multinomial(self.ln_shares().softmax(-1), 1)
        return draw_between(self.law, self.low.gather(-1, strip)[:, 0], self.high.gather(-1, strip)[:, 0])


class SeenModel(Model):
    """A density that is normalised over what a survey saw of one of its coordinates, where it has a ``footprint``."""

    footprint: Footprint | None

    def _take_footprint(self, footprint: Footprint | None) -> None:
        # a copy, for a footprint is that of many models, of which one may be moved to another device
        self.footprint = copy.deepcopy(footprint)
        seen = self.footprint
        if seen is not None and not (seen.coord in self.coord_names and seen.along in self.indep_coord_names):
            raise InputError(
                f"{type(self).__name__} over {list(self.coord_names)}, which depends on "
                f"{list(self.indep_coord_names)}, has a footprint of {seen.coord} along {seen.along}."
            )

    @property
    def has_footprint(self) -> bool:
        """Whether a footprint was given."""
        return self.footprint is not None

    def _in_own_window(self, data: Data) -> Tensor:
        """Whether the star has a place, is inside the windows and where the survey looked, (N,)."""
        inside = super()._in_own_window(data)
        return inside if self.footprint is None else inside & self.footprint.holds(data)


def strips_inside(footprint: Footprint, low: Tensor, high: Tensor, data: Data) -> tuple[Tensor, Tensor, Tensor]:
    """The strips inside windows (N,) at the places of stars: both edges and whether there is one, each (N, K).

    Where there is none the edges are those of some interval in the window.
    """
    bottom, top, seen = footprint.strips_of(data, low.dtype)
    bottom, top = torch.maximum(bottom, low[:, None]), torch.minimum(top, high[:, None])
    first, last = footprint.extent
    seen = seen & (bottom < top)
    below = torch.where(low.isfinite(), low, (high - 1).clamp(max=first))
    above = torch.where(high.isfinite(), high, (low + 1).clamp(min=last))
    return torch.where(seen, bottom, below[:, None]), torch.where(seen, top, above[:, None]), seen


def ln_sum(ln_shares: Tensor, seen: Tensor) -> Tensor:
    """Log of the sum over the strips that were seen, (N,), from (N, K); -inf where none was."""
    nothing = ~seen.any(-1)
    kept = torch.where(seen, ln_shares, -torch.inf)
    return torch.where(nothing, -torch.inf, torch.where(nothing[:, None], 0.0, kept).logsumexp(-1))


def draw_seen(
    draw: Callable[[Tensor], dict[str, Tensor]], holds: Callable[[Data], Tensor], data: Data
) -> dict[str, Tensor]:
    """One draw for each star, (N,) by name, from a law of which a part was seen: others are drawn anew.

    Arguments:
        draw: One draw from the whole law for each of some stars, from their row numbers.
        holds: Whether stars are where the survey looked, from the stars, (M,).
        data: The stars.

    Raises:
        InputError: If for some star no draw of thousands is where the survey looked.
    """
    drawn = draw(torch.arange(len(data), device=data.device))
    left = (~holds(data.with_columns(drawn))).nonzero()[:, 0]
    for tries in _TRIES:
        rows = left.repeat_interleave(tries)
        new = draw(rows)
        held = holds(data[rows].with_columns(new)).view(-1, tries)
        chosen = (held.int().argmax(-1) + torch.arange(len(left), device=left.device) * tries)[held.any(-1)]
        drawn = {name: x.index_put((rows[chosen],), new[name][chosen]) for name, x in drawn.items()}
        left = left[~held.any(-1)]
        if not len(left):
            return drawn
    raise InputError(
        f"to sample, every star needs a place where the survey looked; {len(left)} have none, or the density is nearly "
        "all elsewhere there."
    )
