"""Where a density had stars to learn from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEAST = 1e-3  # quantile of the training stars' own densities below which a star is unlike them
_MOST = 100_000  # stars whose densities that quantile is of


class Support(nn.Module):
    """Range of the numbers a density was trained on, and how unlikely its training stars are; as wide as can be before.

    Arguments:
        size: Count of the numbers of a star, those the density is conditioned on first.
    """

    low: Tensor
    high: Tensor
    ln_least: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.full((size,), -torch.inf))
        self.register_buffer("high", torch.full((size,), torch.inf))
        self.register_buffer("ln_least", torch.tensor(-torch.inf))

    def fit_(self, numbers: Tensor, where: Tensor) -> None:
        """Take the range of the numbers of the training stars, those that are known, both (N, F)."""
        self.low.copy_(torch.where(where, numbers, torch.inf).amin(0))
        self.high.copy_(torch.where(where, numbers, -torch.inf).amax(0))

    def fit_density(self, ln_p: Tensor) -> None:
        """Take the thousandth of the training stars' own log densities (N,)."""
        order = torch.randperm(len(ln_p), generator=torch.Generator().manual_seed(0))[:_MOST]
        self.ln_least.copy_(ln_p[order.to(ln_p.device)].quantile(_LEAST))

    def kept(self, given: Tensor) -> Tensor:
        """The first numbers of stars, (N, D), brought to the range where they are beyond it."""
        size = given.shape[-1]
        return torch.minimum(torch.maximum(given, self.low[:size]), self.high[:size])

    def holds(self, numbers: Tensor, where: Tensor) -> Tensor:
        """Whether each number is in the range, or not known, (N, F)."""
        return ~where | ((numbers >= self.low) & (numbers <= self.high))
