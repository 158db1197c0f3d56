"""The likelihood of the odds of a component along a stream, given what each star says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

BINS = 384
"""Places between which stars are not told apart, over the component and a margin."""

ENDS = (0.01, 0.99)
"""Shares of the members between which the length of a component is measured."""

_MARGIN = 0.2  # beyond the ends, within which stars are taken, as a share of the length
_NEGLIGIBLE = 1e-3  # share of the expected members that the stars left out may have together
_BLOCKS = 64  # of bins, that are smoothed over
_LARGEST = 40.0  # of a log odds ratio


@dataclass(frozen=True)
class BinnedStars:
    """Stars by their bins along the stream; those that are surely not of the component are only counted.

    A star of odds ratio r = p_component / p_rest, where the component has the odds o to the rest, has the likelihood
    (1 + o r) / (1 + o), so that a star of small r says no more than that it is there.

    Arguments:
        low: Where the component begins, about.
        high: Where it ends.
        places: Centres of the bins, (G,): over the component and a fifth of its length on both sides.
        counts: Number of all stars in each, (G,).
        bins: Bin of each of the stars that may be of the component, (R,).
        ln_ratio: Their ln r, (R,).
        members: Membership of these by the fit, (R,), by which they are drawn.
        others: Sum of one minus the membership over all stars.
    """

    low: float
    high: float
    places: Tensor
    counts: Tensor
    bins: Tensor
    ln_ratio: Tensor
    members: Tensor
    others: float

    @classmethod
    def of(cls, positions: Tensor, ln_ratio: Tensor, ln_odds: Tensor, bins: int = BINS) -> BinnedStars:
        """The stars of a fit, in bins.

        Arguments:
            positions: Places of the stars, (N,).
            ln_ratio: ln r of each, (N,).
            ln_odds: ln of the odds of the component to the rest at each, by the fit, (N,).
            bins: Number of bins.
        """
        positions, ln_ratio = positions.double(), ln_ratio.double().clamp(-_LARGEST, _LARGEST)
        p = (ln_odds.double() + ln_ratio).sigmoid()
        low, high = _span(positions, p)
        margin = _MARGIN * (high - low)
        near = (positions >= low - margin) & (positions <= high + margin)
        positions, ln_ratio, p, ln_odds = positions[near], ln_ratio[near], p[near], ln_odds[near].double()
        edges = torch.linspace(positions.min().item(), positions.max().item(), bins + 1, dtype=torch.float64)
        which = (torch.searchsorted(edges, positions, right=True) - 1).clamp(0, bins - 1)
        kept = _not_negligible((ln_odds.max() + ln_ratio).sigmoid())
        return cls(
            low,
            high,
            (edges[1:] + edges[:-1]) / 2,
            torch.bincount(which, minlength=bins).double(),
            which[kept],
            ln_ratio[kept],
            p[kept],
            (1 - p).sum().item(),
        )

    def ln_likelihood(self, ln_odds: Tensor) -> Tensor:
        """Log likelihood of odds in the bins, (..., G), up to a constant, (...), in nats."""
        of_stars = softplus(ln_odds[..., self.bins] + self.ln_ratio).sum(-1)
        return of_stars - (self.counts * softplus(ln_odds)).sum(-1)

    def score(self, ln_odds: Tensor) -> Tensor:
        """Derivative of the log likelihood in the log odds of each bin, (G,): members found less those expected."""
        return self._sum((ln_odds[self.bins] + self.ln_ratio).sigmoid()) - self.counts * ln_odds.sigmoid()

    def information(self, ln_odds: Tensor, reach: float) -> Tensor:
        """Expected information on the log odds of each bin, (G,).

        It is f (1 - f) a star if every star were surely of the one or of the other; of that the share which the odds
        ratios leave is found from all stars within ``reach``.
        """
        f = ln_odds.sigmoid()
        p = (ln_odds[self.bins] + self.ln_ratio).sigmoid()
        found = self._sum((p - f[self.bins]).square() - f[self.bins].square()) + self.counts * f.square()
        best = self.counts * f * (1 - f)
        blocks = self.places.view(_BLOCKS, -1).mean(1)
        near = (-0.5 * ((self.places[:, None] - blocks) / reach).square()).exp()
        found, most = (near @ values.view(_BLOCKS, -1).sum(1) for values in (found, best))
        return best * (found / most.clamp(min=1e-12)).clamp(1e-3, 1)

    def simulated_scores(self, ln_odds: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Scores of stars that are drawn anew with these odds, in the places of all stars, (count, G).

        What each says is drawn from the odds ratios of the stars, by their memberships.
        """
        f = ln_odds.sigmoid()
        stars = self.counts.expand(count, -1).contiguous()
        of_component = torch.binomial(stars, f.expand(count, -1).contiguous(), generator=generator)
        share = (1 - self.members).sum().item() / self.others
        of_rest = torch.binomial(stars - of_component, torch.full_like(stars, min(share, 1.0)), generator=generator)
        drawn = -stars * f
        for number, weights in ((of_component, self.members), (of_rest, 1 - self.members)):
            drawn = drawn + self._drawn_memberships(ln_odds, number, weights, generator)
        return drawn - drawn.mean(0)

    def _drawn_memberships(
        self, ln_odds: Tensor, number: Tensor, weights: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Sum of the memberships of ``number`` stars in each bin, (count, G), drawn with ``weights`` (R,)."""
        cells = torch.arange(number.numel()).repeat_interleave(number.flatten().long())
        steps = weights.cumsum(0)
        at = torch.rand(len(cells), generator=generator, dtype=torch.float64) * steps[-1]
        rows = torch.searchsorted(steps, at).clamp(max=len(steps) - 1)
        p = (ln_odds[cells % number.shape[-1]] + self.ln_ratio[rows]).sigmoid()
        return torch.zeros(number.numel(), dtype=torch.float64).index_add(0, cells, p).view(number.shape)

    def _sum(self, values: Tensor) -> Tensor:
        """Sum of values of the stars, (R,), in each bin."""
        return torch.zeros_like(self.counts).index_add(0, self.bins, values)


def _span(positions: Tensor, p: Tensor) -> tuple[float, float]:
    """The 1 and 99 % quantiles of the places of members."""
    order = positions.argsort()
    share = p[order].cumsum(0)
    low, high = (positions[order[int(torch.searchsorted(share, q * share[-1]))]].item() for q in ENDS)
    return low, high


def _not_negligible(p: Tensor) -> Tensor:
    """The stars without those of the lowest memberships, which have a thousandth of all together."""
    order = p.argsort()
    kept = torch.ones_like(p, dtype=torch.bool)
    kept[order] = p[order].cumsum(0) > _NEGLIGIBLE * p.sum()
    return kept
