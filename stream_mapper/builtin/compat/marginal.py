"""Marginals of a density over coordinates that were not measured."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from stream_mapper.errors import InputError

_REACH = 6.0  # a missing coordinate is integrated over this many standard deviations about its mean
_TRAPEZOID_NODES = {1: 193, 2: 65, 3: 33}  # a coordinate, by the number of missing ones
_HERMITE_NODES = {1: 48, 2: 16, 3: 10}
ROWS = 200_000  # rows given to a flow at once

LnDensity = Callable[[Tensor, Tensor], Tensor]


def check_count(missing: int, coord_names: tuple[str, ...]) -> None:
    """Raise InputError if a star lacks more coordinates than can be integrated over."""
    if missing > max(_TRAPEZOID_NODES):
        raise InputError(
            f"a star lacks {missing} of the coordinates {list(coord_names)} of one flow; "
            f"at most {max(_TRAPEZOID_NODES)} can be integrated over."
        )


def over_nodes(x: Tensor, context: Tensor, nodes: Tensor, ln_weights: Tensor, ln_density: LnDensity) -> Tensor:
    """Log of a weighted sum over M nodes for each star, a bounded number of rows at once, shape (N,).

    Arguments:
        x: Coordinates (N, F); what was not measured is any finite number.
        context: What the density is conditioned on, (N, D).
        nodes: Nodes (M, S).
        ln_weights: Their ln-weights (M,).
        ln_density: From rows [x, node] (N M, F + S) and their contexts to a log density (N M,).
    """
    step = max(1, ROWS // len(nodes))
    parts = [x.new_zeros(0)]
    for some, given in zip(x.split(step), context.split(step), strict=True):
        n, m = len(some), len(nodes)
        rows = torch.cat([some.repeat_interleave(m, 0), nodes.repeat(n, 1)], -1)
        ln_p = ln_density(rows, given.repeat_interleave(m, 0)).view(n, m)
        parts.append((ln_p + ln_weights).logsumexp(-1))
    return torch.cat(parts)


def trapezoid(dimensions: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (M, dimensions) and ln-weights (M,) of the trapezoidal rule in standardised coordinates."""
    line = torch.linspace(-_REACH, _REACH, _TRAPEZOID_NODES[dimensions], device=like.device, dtype=like.dtype)
    ln_line = torch.full_like(line, math.log(2 * _REACH / (len(line) - 1)))
    ln_line[[0, -1]] -= math.log(2)
    return _product(line, ln_line, dimensions)


def gauss_hermite(dimensions: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (M, dimensions) and ln-weights (M,) of the mean over standard normal variables."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_HERMITE_NODES[dimensions])
    line, ln_line = (torch.from_numpy(values).to(like) for values in (nodes, np.log(weights / weights.sum())))
    return _product(line, ln_line, dimensions)


def _product(line: Tensor, ln_line: Tensor, dimensions: int) -> tuple[Tensor, Tensor]:
    nodes = torch.cartesian_prod(*[line] * dimensions).view(-1, dimensions)
    return nodes, torch.cartesian_prod(*[ln_line] * dimensions).view(-1, dimensions).sum(-1)
