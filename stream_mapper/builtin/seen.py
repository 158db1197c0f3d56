"""A one-dimensional law of which a part was seen."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from stream_mapper.data import Data
from stream_mapper.distributions.interval import draw_between, ln_interval
from stream_mapper.errors import InputError
from stream_mapper.footprint import Footprint


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
        bottom, top, seen = footprint.strips_of(data, low.dtype)
        bottom, top = torch.maximum(bottom, low[:, None]), torch.minimum(top, high[:, None])
        first, last = footprint.extent
        self.seen = seen & (bottom < top)
        below = torch.where(low.isfinite(), low, (high - 1).clamp(max=first))  # any interval in the window, where no
        above = torch.where(high.isfinite(), high, (low + 1).clamp(min=last))  # strip was seen
        self.low = torch.where(self.seen, bottom, below[:, None])
        self.high = torch.where(self.seen, top, above[:, None])

    def ln_shares(self) -> Tensor:
        """Log probability of each strip, (N, K); -inf for those that were not seen."""
        edges = zip(self.low.unbind(-1), self.high.unbind(-1), strict=True)
        return torch.where(self.seen, torch.stack([ln_interval(self.law, a, b) for a, b in edges], -1), -torch.inf)

    def ln_share(self) -> Tensor:
        """Log probability of what was seen, (N,); -inf where nothing was."""
        nothing = ~self.seen.any(-1)
        ln_shares = torch.where(nothing[:, None], 0.0, self.ln_shares())
        return torch.where(nothing, -torch.inf, ln_shares.logsumexp(-1))

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
