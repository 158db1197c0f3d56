"""A window as a change of variables: an interval stretched onto the real line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

_SQRT_TAU = math.sqrt(2 * math.pi)
_EDGE = 1e-6  # share of the window at each edge that counts as that distance from it, in float32 and float64 alike


class Stretch(nn.Module):
    r"""Bounded coordinates stretched onto the real line, so that a density there is normalised over the window.

    .. math:: v = \frac{a + b}{2} + \frac{b - a}{\sqrt{2 \pi}} \, \Phi^{-1}\!\left(\frac{x - a}{b - a}\right)

    is the identity to first order at the centre, and turns a uniform density into a normal one. Coordinates without a
    window stay as they are.

    Arguments:
        names: Coordinates, F of them.
        bounds: Window (a, b) by name, in the coordinate's unit.
    """

    low: Tensor
    high: Tensor
    bounded: Tensor

    def __init__(self, names: Sequence[str], bounds: Mapping[str, tuple[float, float]]) -> None:
        super().__init__()
        edges = [bounds.get(name, (0.0, 1.0)) for name in names]
        self.register_buffer("low", torch.tensor([low for low, _ in edges]))
        self.register_buffer("high", torch.tensor([high for _, high in edges]))
        self.register_buffer("bounded", torch.tensor([name in bounds for name in names]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Stretched values and ln ``|dv/dx|`` of each coordinate, (N, F) each; values outside go to the nearer edge."""
        width = self.high - self.low
        share = ((x - self.low) / width).clamp(_EDGE, 1 - _EDGE)
        z = torch.special.ndtri(share)
        v = (self.low + self.high) / 2 + width / _SQRT_TAU * z
        return torch.where(self.bounded, v, x), torch.where(self.bounded, z.square() / 2, 0.0)

    def even(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the normal law that an even one over each window becomes, both (F,)."""
        return (self.low + self.high) / 2, (self.high - self.low) / _SQRT_TAU

    def inverse(self, v: Tensor) -> Tensor:
        """Values in the window from stretched ones, both (N, F)."""
        width = self.high - self.low
        share = torch.special.ndtr((v - (self.low + self.high) / 2) * (_SQRT_TAU / width))
        inside = torch.minimum(torch.maximum(self.low + width * share, self.low), self.high)
        return torch.where(self.bounded, inside, v)
