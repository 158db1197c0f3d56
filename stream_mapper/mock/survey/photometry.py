"""Photometry of a stream in a simulated survey, by quadrature along an isochrone."""

from __future__ import annotations

import torch
from torch import Tensor

from stream_mapper.builtin.isochrone import Isochrone, MassFunction
from stream_mapper.errors import InputError
from stream_mapper.mock.base import interpolated, ln_binormal, normal
from stream_mapper.mock.survey.measurement import BANDS, MAGNITUDE_ERROR, G

_STEP = 0.005  # mag: the longest arc of the curve in the quadrature, a sixth of the narrowest spread along it
_REACH = 7.0  # sigma in g beyond which an arc is left out
_CHUNK = 1000  # stars of neighbouring magnitude


class CurvePhotometry:
    r"""Observed (g, r) of stars of an isochrone, by quadrature along the curve.

    .. math:: p(m) = \sum_k w_k \, N(m \mid I_k + \mu a, \;
        \mathrm{diag}(s^2(I_k + \mu a) + \epsilon^2) + \sigma_\mu^2 a a^T), \quad a = (1, 1)

    The errors s are those of the magnitude on the curve at the modulus of the track. Each arc of the curve is shorter
    than 0.005 mag and holds its exact share of the stars.

    Arguments:
        isochrone: Absolute magnitudes in g and r.
        mass_function: Density of stars along it.
        scatter: Intrinsic scatter of each band [mag].
        depth: Spread of the distance modulus [mag], common to both bands.

    Raises:
        InputError: If the isochrone's bands are not g and r, or it has no masses.
    """

    def __init__(self, isochrone: Isochrone, mass_function: MassFunction, scatter: float, depth: float) -> None:
        if isochrone.bands != BANDS:
            raise InputError(f"the mock needs an isochrone in the bands {BANDS}; found {isochrone.bands}.")
        if not isochrone.has_masses:
            raise InputError("the mock spreads stars by mass; it needs an isochrone with masses.")
        self.mass, self.magnitudes = _refined(isochrone.mass.double(), isochrone.magnitudes.double(), _STEP)
        self.mass_function, self.scatter, self.depth = mass_function, scatter, depth
        weights = mass_function.segment_weights(self.mass, self.magnitudes)
        used = weights > 0
        self.points = (0.5 * (self.magnitudes[1:] + self.magnitudes[:-1]))[used]
        self.weights = weights[used]

    def sample(self, distmod: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Observed g and r of stars at these moduli, (N,) each, inside the window or not."""
        size = len(distmod)
        mass = self.mass_function.sample_curve(size, self.mass, self.magnitudes, generator)
        on_curve = interpolated(mass, self.mass, self.magnitudes) + distmod[:, None]
        nearer = self.depth * normal(size, generator)
        noise = torch.stack([normal(size, generator) for _ in range(2)], -1)
        g, r = (on_curve + nearer[:, None] + self._variance(on_curve).sqrt() * noise).unbind(-1)
        return g, r

    def share(self, distmod: Tensor) -> Tensor:
        """Probability that the observed g is inside the window, (N,)."""
        g = self.points[:, 0] + distmod[:, None]
        sigma = (self._variance(g) + self.depth**2).sqrt()
        below, above = (torch.special.ndtr((edge - g) / sigma) for edge in G)
        return (above - below) @ self.weights

    def ln_density(self, g: Tensor, r: Tensor, distmod: Tensor) -> Tensor:
        """Log density of observed magnitudes of stars at these moduli, over all magnitudes, (N,)."""
        absolute = torch.stack([g, r], -1) - distmod[:, None]
        order = absolute[:, 0].argsort()
        chunks = [self._ln_chunk(absolute[rows], distmod[rows]) for rows in order.split(_CHUNK)]
        return torch.empty_like(g).index_copy_(0, order, torch.cat(chunks))

    def _ln_chunk(self, absolute: Tensor, distmod: Tensor) -> Tensor:
        """Log density of a few stars of about the same magnitude, less their modulus."""
        near = self._near(absolute[:, 0], distmod.max())
        points, weights = self.points[near], self.weights[near]
        off_g, off_r = (absolute[:, None] - points).unbind(-1)
        var_g, var_r = (self._variance(points + distmod[:, None, None]) + self.depth**2).unbind(-1)
        return (ln_binormal(off_g, off_r, var_g, var_r, self.depth**2) + weights.log()).logsumexp(-1)

    def _near(self, absolute: Tensor, distmod: Tensor) -> Tensor:
        """Whether each point may reach stars of these magnitudes in g."""
        points = self.points[:, 0]
        reach = _REACH * (self._variance(points + distmod) + self.depth**2).sqrt()
        return (points > absolute.min() - reach) & (points < absolute.max() + reach)

    def _variance(self, magnitude: Tensor) -> Tensor:
        """Variance of an observed magnitude whose place on the curve is known, but for the depth."""
        return MAGNITUDE_ERROR.variance(magnitude) + self.scatter**2


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
