"""Photometry of a stream in a simulated survey, by quadrature along an isochrone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stream_mapper.builtin.isochrone import Isochrone, MassFunction
from stream_mapper.errors import InputError
from stream_mapper.mock.base import interpolated, normal
from stream_mapper.mock.survey.measurement import PASSBANDS, Passbands

_STEP = 0.005  # mag: the longest arc of the curve in the quadrature, a sixth of the narrowest spread along it
_REACH = 7.0  # sigma in the first band beyond which an arc is left out
_CHUNK = 1000  # stars of neighbouring magnitude
_LN_2PI = math.log(2 * math.pi)


class CurvePhotometry:
    r"""Observed magnitudes of stars of an isochrone, by quadrature along the curve.

    .. math:: p(m) = \sum_k w_k \, N(m \mid I_k + \mu a, \;
        \mathrm{diag}(s^2(I_k + \mu a) + \epsilon^2) + \sigma_\mu^2 a a^T), \quad a = (1, \ldots, 1)

    The errors s are those of the magnitude on the curve at the modulus of the track. Each arc of the curve is shorter
    than 0.005 mag and holds its exact share of the stars.

    Arguments:
        isochrone: Absolute magnitudes in the bands of the survey, B of them.
        mass_function: Density of stars along it.
        scatter: Intrinsic scatter of each band [mag].
        depth: Spread of the distance modulus [mag], common to all bands.
        passbands: The survey.

    Raises:
        InputError: If the isochrone's bands are not those of the survey, or it has no masses.
    """

    def __init__(
        self,
        isochrone: Isochrone,
        mass_function: MassFunction,
        scatter: float,
        depth: float,
        passbands: Passbands = PASSBANDS,
    ) -> None:
        if isochrone.bands != passbands.bands:
            raise InputError(f"the mock needs an isochrone in the bands {passbands.bands}; found {isochrone.bands}.")
        if not isochrone.has_masses:
            raise InputError("the mock spreads stars by mass; it needs an isochrone with masses.")
        self.mass, self.magnitudes = _refined(isochrone.mass.double(), isochrone.magnitudes.double(), _STEP)
        self.mass_function, self.scatter, self.depth, self.passbands = mass_function, scatter, depth, passbands
        weights = mass_function.segment_weights(self.mass, self.magnitudes)
        used = weights > 0
        self.points = (0.5 * (self.magnitudes[1:] + self.magnitudes[:-1]))[used]
        self.weights = weights[used]

    def sample(self, distmod: Tensor, generator: torch.Generator) -> Tensor:
        """Observed magnitudes of stars at these moduli, (N,), whether the survey sees them or not; shape (N, B)."""
        size = len(distmod)
        mass = self.mass_function.sample_curve(size, self.mass, self.magnitudes, generator)
        on_curve = interpolated(mass, self.mass, self.magnitudes) + distmod[:, None]
        nearer = self.depth * normal(size, generator)
        noise = torch.stack([normal(size, generator) for _ in self.passbands.bands], -1)
        return on_curve + nearer[:, None] + self._variance(on_curve).sqrt() * noise

    def seen(self, magnitudes: Tensor) -> Tensor:
        """Whether the survey sees stars of these observed magnitudes, (N, B); shape (N,)."""
        low, high = self.passbands.limits
        return (magnitudes[:, 0] >= low) & (magnitudes[:, 0] <= high)

    def share(self, distmod: Tensor) -> Tensor:
        """Probability that the survey sees a star at these moduli, (N,)."""
        magnitude = self.points[:, :1] + distmod
        sigma = (self._variance_of(0, magnitude) + self.depth**2).sqrt()
        below, above = (torch.special.ndtr((edge - magnitude) / sigma) for edge in self.passbands.limits)
        return self.weights @ (above - below)

    def ln_density(self, magnitudes: Tensor, distmod: Tensor) -> Tensor:
        """Log density of observed magnitudes (N, B) of stars at these moduli, over all magnitudes, (N,)."""
        absolute = magnitudes - distmod[:, None]
        order = absolute[:, 0].argsort()
        chunks = [self._ln_chunk(absolute[rows], distmod[rows]) for rows in order.split(_CHUNK)]
        return torch.empty_like(distmod).index_copy_(0, order, torch.cat(chunks))

    def _ln_chunk(self, absolute: Tensor, distmod: Tensor) -> Tensor:
        """Log density of a few stars of about the same magnitude, less their modulus."""
        if not len(absolute):
            return absolute.new_zeros(0)
        near = self._near(absolute[:, 0], distmod.max())
        points = self.points[near]
        variance = self._variance(points + distmod[:, None, None])
        return (self._ln_normal(absolute[:, None] - points, variance) + self.weights[near].log()).logsumexp(-1)

    def _ln_normal(self, off: Tensor, variance: Tensor) -> Tensor:
        """Log density of a centred normal law of this variance in each band, (..., B), and of the common depth."""
        spread = 1 + self.depth**2 * variance.reciprocal().sum(-1)
        common = self.depth**2 * (off / variance).sum(-1).square() / spread
        square = (off.square() / variance + variance.log()).sum(-1)
        return -0.5 * (square - common + spread.log() + off.shape[-1] * _LN_2PI)

    def _near(self, absolute: Tensor, distmod: Tensor) -> Tensor:
        """Whether each point may reach stars of these magnitudes in the first band."""
        points = self.points[:, 0]
        reach = _REACH * (self._variance_of(0, points + distmod) + self.depth**2).sqrt()
        return (points > absolute.min() - reach) & (points < absolute.max() + reach)

    def _variance(self, magnitudes: Tensor) -> Tensor:
        """Variance of observed magnitudes (..., B) whose place on the curve is known, but for the depth."""
        return torch.stack([self._variance_of(i, column) for i, column in enumerate(magnitudes.unbind(-1))], -1)

    def _variance_of(self, band: int, magnitude: Tensor) -> Tensor:
        """The same, of one band."""
        return self.passbands.errors[band].variance(magnitude) + self.scatter**2


def _refined(mass: Tensor, magnitudes: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Nodes of the same piecewise linear curve, closer than ``step`` in every magnitude."""
    lengths = magnitudes.diff(dim=0).abs().amax(-1)
    arcs = (lengths / step).ceil().clamp(min=1).long()
    starts = torch.arange(len(arcs)).repeat_interleave(arcs)
    within = torch.arange(len(starts)) - (arcs.cumsum(0) - arcs)[starts]
    fraction = (within.double() / arcs[starts])[:, None]
    nodes = torch.cat([mass[:, None], magnitudes], -1)
    nodes = torch.cat([nodes[starts] + fraction * (nodes[starts + 1] - nodes[starts]), nodes[-1:]])
    return nodes[:, 0].contiguous(), nodes[:, 1:]
