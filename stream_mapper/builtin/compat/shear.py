"""Coordinates that depend on one another, made into numbers that hardly do, before a network sees them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_RANGE = 5.0  # standard deviations: stars beyond count as there
_CONSTANT = 1e-6  # spread of a coordinate over its size, of one that does not vary
_LEAST = 0.01  # width of a number given those before it, at least


class Shear(nn.Module):
    r"""Standardised numbers less what is linear in the coordinates before them, :math:`w_i = (u_i - b_i x_{<i}) / s_i`.

    Two magnitudes of a star are alike to a part in ten, and a network that is to say what is left of the second learns
    slowly: of 10,000 stars of a simulated DES field, a flow of g and i is after 600 steps 0.07 nats a star better on
    sheared numbers, and too low by 1.4 in the mean where a stream is, in place of 1.8. Each number depends on
    coordinates before it alone, so that an autoregressive density of w is one of u. The coordinates :math:`x` are those
    of the data, standardised: one with a window is far away in u near its edges, and not in truth.

    Arguments:
        size: Number of coordinates, F.
    """

    slopes: Tensor
    widths: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.zeros(size, size))
        self.register_buffer("widths", torch.ones(size))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def forward(self, u: Tensor, x: Tensor) -> Tensor:
        """The numbers that the network sees, (N, F).

        Arguments:
            u: Standardised numbers, (N, F).
            x: The coordinates that they are of, (N, F).
        """
        return (u - self._standardised(x) @ self.slopes.T) / self.widths

    def one(self, index: int, w: Tensor, x: Tensor) -> Tensor:
        """A standardised number by what the network sees of it, (N,), and the coordinates before it in x, (N, F)."""
        return w * self.widths[index] + self._standardised(x) @ self.slopes[index]

    def ln_slopes(self) -> Tensor:
        """Log of dw/du of each coordinate given those before it, (F,)."""
        return -self.widths.log()

    def fit_(self, u: Tensor, x: Tensor, ranks: Tensor) -> None:
        """Take what makes the numbers of stars uncorrelated with the coordinates before them.

        Arguments:
            u: Standardised numbers of stars that lack none, (N, F).
            x: Their coordinates, (N, F).
            ranks: Place of each coordinate in the order in which they may depend on one another, (F,).
        """
        if len(self.widths) < 2 or len(u) <= len(self.widths):
            return
        x = x.double()
        spread = x.std(0)
        self.mean.copy_(x.mean(0))
        self.scale.copy_(torch.where(spread > _CONSTANT * x.abs().amax(0), spread, 1.0))
        self.slopes.zero_()
        numbers, before = (v.double().clamp(-_RANGE, _RANGE) for v in (u, self._standardised(x)))
        for i in range(len(ranks)):
            earlier = (ranks < ranks[i]).nonzero()[:, 0]
            given = before[:, earlier] - before[:, earlier].mean(0)
            number = numbers[:, i] - numbers[:, i].mean()
            slope = torch.linalg.pinv(given.T @ given, hermitian=True) @ (given.T @ number)
            self.slopes[i, earlier] = slope.to(self.slopes)
            self.widths[i] = (number - given @ slope).std().clamp_min(_LEAST)

    def _standardised(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        """Read weights; those of before there was a shear have none, which is the identity."""
        none = {prefix + name: buffer for name, buffer in Shear(len(self.widths)).state_dict().items()}
        if not none.keys() & state_dict.keys() and args[1]:  # strict
            state_dict.update(none)
        super()._load_from_state_dict(state_dict, prefix, *args)
