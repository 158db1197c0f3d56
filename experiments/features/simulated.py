"""Simulated numbers of stars, as a fit gives them: places, odds ratios and the weight of the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Gap = tuple[float, float, float]


@dataclass(frozen=True)
class Stream:
    """A stream in a field of 100 deg, whose stars differ from the others by one Gaussian number.

    Attributes:
        stars: Stars expected of the stream before gaps take theirs.
        contamination: Others for each, within the length of the stream, nine in ten of which are far from it.
        density: ``flat``, ``gradient`` (a factor of three), ``waves`` (two, of a half) or ``hump``.
        ends: ``sharp``, ``soft`` (over 2 deg) or ``none`` (it leaves the field).
        separation: Distance of the two Gaussians of unit spread.
        gaps: (centre [deg], width [deg], depth) of gaps; a peak has a negative depth.
    """

    stars: float
    contamination: float = 4.0
    density: str = "flat"
    ends: str = "sharp"
    separation: float = 4.0
    gaps: Sequence[Gap] = ()

    @property
    def span(self) -> tuple[float, float]:
        """Where it begins and ends [deg]."""
        return (0.0, 100.0) if self.ends == "none" else (25.0, 75.0)

    def profile(self, phi1: Tensor) -> Tensor:
        """Relative density at places, without gaps."""
        low, high = self.span
        u = (phi1 - low) / (high - low)
        shapes = {
            "flat": torch.ones_like(u),
            "gradient": 3.0 ** (u.clamp(0, 1) - 0.5),
            "waves": 1 + 0.5 * (2 * torch.pi * 2 * u).sin(),
            "hump": (-0.5 * ((u - 0.4) / 0.3).square()).exp(),
        }
        if self.ends == "none":
            return shapes[self.density]
        if self.ends == "soft":
            return shapes[self.density] * ((phi1 - low) / 2).sigmoid() * ((high - phi1) / 2).sigmoid()
        return shapes[self.density] * ((u >= 0) & (u <= 1))

    def kept(self, phi1: Tensor) -> Tensor:
        """Share that the gaps leave at places."""
        share = torch.ones_like(phi1)
        for centre, width, depth in self.gaps:
            share = share * (1 - depth * (-0.5 * ((phi1 - centre) / width).square()).exp())
        return share

    def simulate(self, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Places, ln odds ratios and ln odds of the smooth truth of stars, each (N,)."""
        generator = torch.Generator().manual_seed(seed)
        grid = torch.linspace(0, 100, 20_001, dtype=torch.float64)
        low, high = self.span
        shape = self.profile(grid)
        norm = self.stars / (shape.mean() * 100)
        others = self.stars * self.contamination / (high - low)
        stream = self._places(norm * shape * self.kept(grid), grid, generator)
        rest = self._places(torch.full_like(grid, others), grid, generator)
        near = torch.rand(len(rest), generator=generator, dtype=torch.float64) < 0.1
        x_stream, x_rest = (torch.randn(n, generator=generator, dtype=torch.float64) for n in (len(stream), len(rest)))
        far = torch.where(near, self.separation + x_rest, 50.0)
        x, phi1 = torch.cat([x_stream, far]), torch.cat([stream, rest])
        ln_ratio = -0.5 * x.square() + 0.5 * (x - self.separation).square() - torch.tensor(0.1).log()
        ln_ratio = torch.where(x > 40, -40.0, ln_ratio)
        smooth = norm * self.profile(phi1) * self.kept(phi1) / others
        return phi1, ln_ratio, smooth.clamp(min=1e-6).log()

    def _places(self, density: Tensor, grid: Tensor, generator: torch.Generator) -> Tensor:
        """Places of a Poisson number of stars with a density on a grid."""
        steps = (density * (grid[1] - grid[0])).cumsum(0)
        number = int(torch.poisson(steps[-1:], generator=generator).item())
        at = torch.rand(number, generator=generator, dtype=torch.float64)
        rows = torch.searchsorted(steps, at * steps[-1]).clamp(max=len(grid) - 1)
        jitter = torch.rand(number, generator=generator, dtype=torch.float64) - 0.5
        return (grid[rows] + jitter * (grid[1] - grid[0])).clamp(0, 100)
