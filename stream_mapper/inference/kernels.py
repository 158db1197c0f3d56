"""Gaussian process priors of functions along the stream, and their evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from stream_mapper.nn import Constant, OnGrid

SCALES = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Scales of variation that are tried, as shares of the range of the stars."""

AMPLITUDES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Amplitudes that are tried, in the unit of a network's output before the bounds."""

ROUGH, ROUGH_SCALES = (0.5, 1.0, 2.0), (0.015, 0.03)
"""How much gaps and peaks are tried in the logarithm of a weight, and of which scales, as shares of the range."""

_RANK = 1e-7  # share of a kernel's largest eigenvalue below which another counts as none


@dataclass(frozen=True)
class Kernel:
    r"""Prior of a function of a network's output, before the bounds, over a range of one.

    A constant of standard deviation ``offset``, and beside it a Gaussian process with the covariance of Matérn with
    :math:`\nu = 5/2`, :math:`a^2 (1 + s + s^2/3) e^{-s}`, :math:`s = \sqrt 5 |x - x'| / l` (Rasmussen & Williams
    2006, equation 4.17); or, of a linear map, a slope.

    Arguments:
        offset: Standard deviation of the constant.
        amplitude: That of the process, a; or of the slope over half the range.
        scale: Scale of variation, l, as a share of the range; infinite for a straight line or a constant.
        centre: Mean of the prior.
        rough: Standard deviation of another such process, of a small scale: what a component's weight may have of gaps
            and peaks wherever it is smooth besides.
        rough_scale: Its scale, as a share of the range.
    """

    offset: float
    amplitude: float = 0.0
    scale: float = math.inf
    centre: float = 0.0
    rough: float = 0.0
    rough_scale: float = 0.03

    def root(self, size: int) -> Tensor:
        """R (G, rank) in float64, with R R^T the covariance at G even nodes."""
        return _root(replace(self, centre=0.0), size)


@cache
def _root(kernel: Kernel, size: int) -> Tensor:
    x = torch.linspace(0, 1, size, dtype=torch.float64)
    if math.isinf(kernel.scale):
        columns = [kernel.offset * torch.ones_like(x), kernel.amplitude * (2 * x - 1)]
        return torch.stack(columns[: 1 + (kernel.amplitude > 0)], -1)
    matrix = kernel.offset**2 + kernel.amplitude**2 * _matern(x, kernel.scale)
    if kernel.rough > 0:
        matrix += kernel.rough**2 * _matern(x, kernel.rough_scale)
    value, vector = torch.linalg.eigh(matrix)
    kept = value > _RANK * value[-1]
    return vector[:, kept] * value[kept].sqrt()


def _matern(x: Tensor, scale: float) -> Tensor:
    """Correlations of the places x (G,), (G, G)."""
    s = math.sqrt(5) * (x[:, None] - x).abs() / scale
    return (1 + s + s.square() / 3) * (-s).exp()


def roughened(kernel: Kernel, unit: float) -> list[Kernel]:
    """A prior with more and more of gaps and peaks, and of several scales of each; of a line or a constant, itself."""
    if math.isinf(kernel.scale):
        return [kernel]
    scales = [scale for scale in ROUGH_SCALES if scale < kernel.scale] or [min(ROUGH_SCALES)]
    return [kernel, *(replace(kernel, rough=r * unit, rough_scale=scale) for r in ROUGH for scale in scales)]


def candidates(
    net: nn.Module | None, width: float, span: float, centre: float = 0.0, unit: float = 1.0
) -> list[Kernel]:
    """The priors that may hold for the outputs of a network: what it can be, and how fast it may vary.

    Arguments:
        net: The network. A constant stays one, a single linear layer a straight line.
        width: Standard deviation of the constant, in units.
        span: Range of the stars, in the unit of the coordinate.
        centre: Mean of the prior.
        unit: Unit of the outputs.
    """
    inner = net.net if isinstance(net, OnGrid) else net
    layers = list(inner) if isinstance(inner, nn.Sequential) else [inner]
    offset = width * unit
    if isinstance(layers[-1], Constant):
        return [Kernel(offset, centre=centre)]
    if len(layers) == 1 and isinstance(layers[0], nn.Linear):
        return [Kernel(offset, offset, centre=centre)]
    given = net.scale if isinstance(net, OnGrid) else None
    scales = SCALES if given is None else (given / span,)
    return [Kernel(offset, amplitude * unit, scale, centre) for scale in scales for amplitude in AMPLITUDES]


def first_of(kernels: Sequence[Kernel], scale: float) -> Kernel:
    """The prior of about this scale, as a share of the range, that hinders no function much, to begin a fit with."""
    return min(
        kernels, key=lambda k: (abs(k.amplitude - 2), abs(math.log(k.scale / scale)) if k.scale < math.inf else 0)
    )


def ln_evidence(information: Tensor, pull: Tensor) -> float:
    r"""Log evidence of a prior, up to a constant that all priors share, in nats.

    Of a log likelihood with gradient b and information A in the prior's own coordinates, about zero, it is
    :math:`b^T (1 + A)^{-1} b / 2 - \ln |1 + A| / 2`.

    Arguments:
        information: A, (rank, rank).
        pull: b, (rank,).
    """
    root = torch.linalg.cholesky(torch.eye(len(pull), dtype=pull.dtype) + information)
    whitened = torch.linalg.solve_triangular(root, pull[:, None], upper=False)
    return (0.5 * whitened.square().sum() - root.diagonal().log().sum()).item()
