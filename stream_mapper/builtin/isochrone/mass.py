"""Mass functions: how the stars of an isochrone are spread along it."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from stream_mapper.builtin.isochrone.curve import Isochrone
from stream_mapper.builtin.isochrone.grid import IsochroneGrid
from stream_mapper.description import Described
from stream_mapper.distributions._quadrature import unit_rule
from stream_mapper.distributions._stable import exponential_icdf, ln_exponential_norm
from stream_mapper.errors import InputError

_log = logging.getLogger("stream_mapper")

_PARTS = 4096  # of the interval whose quantiles are asked for


class MassFunction(Described, nn.Module, ABC):
    r"""A measure along an isochrone, :math:`\pi(\gamma) d\gamma`.

    Most are densities in initial mass (`MassDensity`), whose Jacobian the segments' integrals contain; the
    measure may also be tied to the curve itself (`UniformMassFunction`).
    """

    @abstractmethod
    def segment_measure(self, mass: Tensor, magnitudes: Tensor) -> Tensor:
        """Number of stars on each segment, in any normalisation.

        Arguments:
            mass: Initial masses of the nodes, increasing, shape (K+1,), in solar masses.
            magnitudes: Absolute magnitudes of the nodes, shape (K+1, F).

        Returns:
            Shape (K,), not negative.
        """

    def segment_weights(self, mass: Tensor, magnitudes: Tensor) -> Tensor:
        """Fraction of the isochrone's stars on each segment; arguments as in `segment_measure`, shape (K,).

        Raises:
            InputError: If the mass function leaves no star on the isochrone.
        """
        measure = self.segment_measure(mass, magnitudes)
        total = measure.sum()
        if not bool(total > 0):
            raise InputError(f"{self} has no star between {float(mass[0]):g} and {float(mass[-1]):g} solar masses.")
        return measure / total

    def sample_curve(
        self, n: int, mass: Tensor, magnitudes: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Initial masses of stars drawn along a curve, which should be dense: flat in mass on a segment.

        Arguments:
            n: Number of stars.
            mass: Initial masses of the curve, increasing, shape (M,), in solar masses.
            magnitudes: Absolute magnitudes of the curve, shape (M, F).
            generator: Source of the random numbers.

        Returns:
            Shape (n,), in solar masses.
        """
        u = torch.rand(n, generator=generator, dtype=mass.dtype, device=mass.device)
        return _quantile(u, mass, self.segment_weights(mass, magnitudes))


class UniformMassFunction(MassFunction):
    """Equal weight per unit of length of the curve in magnitude space, whatever the masses."""

    def segment_measure(self, mass: Tensor, magnitudes: Tensor) -> Tensor:  # noqa: ARG002
        """Length of each segment in mag, shape (K,)."""
        return magnitudes.diff(dim=0).square().sum(-1).sqrt()


class MassDensity(MassFunction):
    """A mass function given as a density in initial mass, dN/dm, in any normalisation.

    A subclass needs `forward` alone; where the integral and its inverse are known in closed form, it gives them too.
    """

    @abstractmethod
    def forward(self, mass: Tensor) -> Tensor:
        """dN/dm, shape as ``mass`` (in solar masses)."""

    def integral(self, low: Tensor, high: Tensor) -> Tensor:
        """Number of stars with initial mass in [low, high], shape as the (broadcast) edges.

        By Gauss-Legendre quadrature, 8 nodes on each of 8 parts of the interval, in double precision.

        Raises:
            InputError: If the density is negative or not finite somewhere.
        """
        nodes, weights = _rule(low.double())
        start, width = low.double()[..., None], (high - low).double()[..., None]
        mass = start + width * nodes
        density = self(mass).double()
        bad = ~(density.isfinite() & (density >= 0))
        if bool(bad.any()):
            raise InputError(
                f"{self}: dN/dm must be finite and 0 or more; at {mass[bad][0].item():g} solar masses it is "
                f"{density[bad][0].item():g}."
            )
        return (density * weights * width).sum(-1).to(low.dtype)

    def icdf(self, quantile: Tensor, low: float, high: float) -> Tensor:
        """Mass below which a fraction ``quantile`` of the stars of [low, high] lies, shape as ``quantile``.

        The density counts as constant on each of 4096 parts of the interval.
        """
        edges = torch.linspace(low, high, _PARTS + 1, dtype=torch.float64, device=quantile.device)
        counts = self.integral(edges[:-1], edges[1:])
        return _quantile(quantile.double(), edges, counts / counts.sum()).to(quantile.dtype)

    def segment_measure(self, mass: Tensor, magnitudes: Tensor) -> Tensor:  # noqa: ARG002
        """Integral of dN/dm over each segment, shape (K,)."""
        return self.integral(mass[:-1], mass[1:])

    def sample(
        self,
        n: int,
        low: float,
        high: float,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """Masses drawn from [low, high] solar masses through the inverse of the cdf, shape (n,).

        They are double precision unless told otherwise: a red-giant branch spans 0.003 solar masses.
        """
        device = generator.device if generator is not None else None
        return self.icdf(torch.rand(n, generator=generator, dtype=dtype, device=device), low, high)

    def sample_curve(
        self,
        n: int,
        mass: Tensor,
        magnitudes: Tensor,  # noqa: ARG002
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Initial masses drawn from the density between the ends of the curve, exact for any spacing, shape (n,)."""
        u = torch.rand(n, generator=generator, dtype=mass.dtype, device=mass.device)
        return self.icdf(u, float(mass[0]), float(mass[-1]))


class BrokenPowerLawMassFunction(MassDensity):
    r"""Power laws on adjacent ranges of mass.

    .. math:: \frac{dN}{dm} = c_j \, m^{\alpha_j}, \quad e_j \le m < e_{j+1}

    Between two masses a power law is an exponential law in ln m, which is what keeps the integral and its inverse
    exact for a slope of -1 and near it.

    Arguments:
        edges: Edges e of the ranges, increasing, J + 1 numbers in solar masses; 0 and inf are allowed.
        slopes: Exponents, J numbers.
        factors: Factors c, J numbers, not negative; left out, they make the function continuous.

    Raises:
        InputError: If the lengths do not fit or the edges do not increase.
    """

    edges: Tensor
    slopes: Tensor
    factors: Tensor

    def __init__(self, edges: Sequence[float], slopes: Sequence[float], factors: Sequence[float] | None = None) -> None:
        super().__init__()
        factors = _continuous(edges, slopes) if factors is None else factors
        if not len(edges) - 1 == len(slopes) == len(factors) >= 1:
            raise InputError(f"{len(edges)} edges need {len(edges) - 1} slopes and factors; found {slopes}, {factors}.")
        if any(b <= a for a, b in pairwise(edges)) or min(edges) < 0 or min(factors) < 0:
            raise InputError(f"edges must increase from 0 or more, factors be 0 or more; found {edges}, {factors}.")
        for name, values in (("edges", edges), ("slopes", slopes), ("factors", factors)):
            self.register_buffer(name, torch.tensor(list(values), dtype=torch.float64))

    def extra_repr(self) -> str:
        """Edges and slopes."""
        return f"edges={self.edges.tolist()}, slopes={self.slopes.tolist()}"

    def forward(self, mass: Tensor) -> Tensor:
        """dN/dm, shape as ``mass`` (in solar masses); zero outside the edges."""
        m = mass[..., None]
        slopes, factors, edges = self._like(mass)
        inside = (m >= edges[:-1]) & (m < edges[1:])
        return (inside * factors * torch.where(inside, m, 1) ** slopes).sum(-1)

    def integral(self, low: Tensor, high: Tensor) -> Tensor:
        """Number of stars with initial mass in [low, high] (positive, in solar masses), shape as the edges."""
        return self._pieces(low, high)[0].sum(-1)

    def icdf(self, quantile: Tensor, low: float, high: float) -> Tensor:
        """Mass below which a fraction ``quantile`` of the stars of [low, high] lies, shape as ``quantile``."""
        counts, starts, lengths = self._pieces(*quantile.new_tensor([low, high]))
        edges = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        target = quantile * edges[-1]
        j = torch.searchsorted(edges[1:-1].contiguous(), target.contiguous(), right=True)
        within = ((target - edges[j]) / counts[j]).clamp(0, 1)
        power = self._like(quantile)[0][j] + 1
        return (starts[j] * torch.exp(lengths[j] * exponential_icdf(within, -power * lengths[j]))).clamp(low, high)

    def _pieces(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Number of stars, first mass and ln(last / first) of the part of [low, high] in each range, (..., J)."""
        slopes, factors, edges = self._like(low)
        start = torch.minimum(torch.maximum(low[..., None], edges[:-1]), edges[1:])
        stop = torch.maximum(torch.minimum(high[..., None], edges[1:]), start)
        empty = stop <= start
        safe = torch.where(empty, 1, start)
        length = torch.where(empty, 0, torch.log1p((stop - start) / safe))
        power = slopes + 1
        shape = torch.exp(-ln_exponential_norm(-power * length))
        return factors * safe**power * length * shape, safe, length

    def _like(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        slopes, factors, edges = (b.to(values) for b in (self.slopes, self.factors, self.edges))
        return slopes, factors, edges


def _quantile(quantile: Tensor, edges: Tensor, shares: Tensor) -> Tensor:
    """Quantiles of a law that has these ``shares`` (P,) between ``edges`` (P+1,) and is constant between two."""
    below = torch.cat([shares.new_zeros(1), shares.cumsum(0)])
    k = torch.searchsorted(below[1:-1].contiguous(), quantile.contiguous(), right=True)
    within = ((quantile - below[k]) / (below[k + 1] - below[k])).clamp(0, 1)
    return edges[k] + within * (edges[k + 1] - edges[k])


def _rule(like: Tensor, nodes: int = 8, intervals: int = 8) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, 1], Gauss-Legendre on each of its equal parts."""
    x, weight = unit_rule(nodes, like)
    places = (torch.arange(intervals, device=like.device)[:, None] + x) / intervals
    return places.flatten(), (weight / intervals).repeat(intervals)


def _continuous(edges: Sequence[float], slopes: Sequence[float]) -> list[float]:
    """Factors that make adjacent power laws meet, the first being one."""
    factors = [1.0]
    for edge, left, right in zip(edges[1:-1], slopes[:-1], slopes[1:], strict=True):
        factors.append(factors[-1] * edge ** (left - right))
    return factors


class PowerLawMassFunction(BrokenPowerLawMassFunction):
    r"""One power law, :math:`dN/dm \propto m^\alpha`.

    Arguments:
        slope: Exponent of dN/dm; -2.35 is Salpeter (1955, ApJ 121, 161), and any value is allowed, -1 included.
    """

    def __init__(self, slope: float) -> None:
        super().__init__((0.0, float("inf")), (slope,))


class KroupaMassFunction(BrokenPowerLawMassFunction):
    """The broken power law of Kroupa (2001, MNRAS 322, 231, eq. 2).

    dN/dm has the exponents -0.3 below 0.08, -1.3 up to 0.5 and -2.3 above, in solar masses, and is continuous.
    """

    def __init__(self) -> None:
        super().__init__((0.0, 0.08, 0.5, float("inf")), (-0.3, -1.3, -2.3))


def default_mass_function(isochrone: Isochrone | IsochroneGrid) -> MassFunction:
    """The mass function where nobody names one: Kroupa's, or on an isochrone without masses the uniform one."""
    if isochrone.has_masses:
        return KroupaMassFunction()
    _log.warning(
        "The isochrone has no initial masses: its stars are spread evenly along its length, which makes far too many "
        "of them giants. Take one with masses, or name mass_function=UniformMassFunction to agree."
    )
    return UniformMassFunction()


class CallableMassFunction(MassDensity):
    """Any density in initial mass.

        >>> function = CallableMassFunction(lambda mass: mass**-1.3 * (-mass).exp())
        >>> function.integral(torch.tensor([0.1, 0.5]), torch.tensor([0.5, 0.8]))
        tensor([2.0288, 0.2871])

    In a configuration ``function`` is the dotted path of a function of yours.

    Arguments:
        function: Takes initial masses, a tensor of any shape, in solar masses; returns dN/dm in any normalisation, in
            that shape or one number.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, mass: Tensor) -> Tensor:
        """dN/dm, shape as ``mass`` (in solar masses)."""
        return torch.as_tensor(self.function(mass)).to(mass).expand_as(mass)

    def extra_repr(self) -> str:
        """Name of the function."""
        return getattr(self.function, "__qualname__", repr(self.function))


class StepMassFunction(BrokenPowerLawMassFunction):
    """Constant dN/dm on each range of mass and none outside; one range is a hard cut.

    Arguments:
        edges: Edges of the ranges, increasing, J + 1 numbers in solar masses.
        heights: dN/dm on the ranges, J numbers, in any normalisation.
    """

    def __init__(self, edges: Sequence[float], heights: Sequence[float]) -> None:
        super().__init__(edges, [0.0] * len(heights), heights)
