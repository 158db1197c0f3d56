"""Marginals of a density over coordinates that were not measured."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from stream_mapper.errors import InputError

_REACH = 6.0  # a missing coordinate is integrated over this many standard deviations about its mean
_TRAPEZOID_NODES = {1: 193, 2: 65, 3: 33}  # a coordinate, by the number of missing ones
_LATTICE_NODES = {1: 128, 2: 144, 3: 512}
_ROWS = {"cpu": 16_000}  # given to a flow at once: what a core's cache holds
_ROWS_ELSEWHERE = 500_000

LnDensity = Callable[[Tensor, Tensor], Tensor]


def at_once(like: Tensor) -> int:
    """Rows to give to a flow at once, on the device of a tensor."""
    return _ROWS.get(like.device.type, _ROWS_ELSEWHERE)


def check_count(missing: int, coord_names: tuple[str, ...]) -> None:
    """Raise InputError if a star lacks more coordinates than can be integrated over."""
    if missing > max(_TRAPEZOID_NODES):
        raise InputError(
            f"a star lacks {missing} of the coordinates {list(coord_names)} of one flow; "
            f"at most {max(_TRAPEZOID_NODES)} can be integrated over."
        )


def over_nodes(x: Tensor, context: Tensor, nodes: Tensor, ln_weights: Tensor, ln_density: LnDensity) -> Tensor:
    """Log of a weighted sum over M nodes for each star, a bounded number of rows at once, shape (N,) or (W, N).

    Arguments:
        x: Coordinates (N, F); what was not measured is any finite number.
        context: What the density is conditioned on, (N, D).
        nodes: Nodes (M, S).
        ln_weights: Their ln-weights (M,), or of W rules (W, M).
        ln_density: From rows [x, node] (N M, F + S) and their contexts to a log density (N M,).
    """
    step = max(1, at_once(x) // len(nodes))
    sums = [x.new_zeros(*ln_weights.shape[:-1], 0)]
    for stars, given in zip(x.split(step), context.split(step), strict=True):
        n, m = len(stars), len(nodes)
        rows = torch.cat([stars.repeat_interleave(m, 0), nodes.repeat(n, 1)], -1)
        ln_p = ln_density(rows, given.repeat_interleave(m, 0)).view(n, m)
        sums.append((ln_p + ln_weights[..., None, :]).logsumexp(-1))
    return torch.cat(sums, -1)


def trapezoid(dimensions: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (M, dimensions) and ln-weights (2, M) of the trapezoidal rule in standardised coordinates.

    The second rule uses every other node. Where a density is smooth over the steps both agree, the first far better.
    """
    line = torch.linspace(-_REACH, _REACH, _TRAPEZOID_NODES[dimensions], device=like.device, dtype=like.dtype)
    ln_line = torch.full_like(line, math.log(2 * _REACH / (len(line) - 1)))
    ln_line[[0, -1]] -= math.log(2)
    every_other = torch.arange(len(line), device=line.device) % 2 == 0
    rules = ln_line, torch.where(every_other, ln_line + math.log(2), -torch.inf)
    nodes = torch.cartesian_prod(*[line] * dimensions).view(-1, dimensions)
    products = [torch.cartesian_prod(*[rule] * dimensions).view(-1, dimensions).sum(-1) for rule in rules]
    return nodes, torch.stack(products)


def normal_lattice(dimensions: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (M, dimensions) and ln-weights (M,) of the mean over standard normal variables.

    A lattice of equal weights, each coordinate spread evenly over its probability: a density drawn by a network has
    kinks, of which Gauss-Hermite nodes make more. The steps are powers of the generalised golden ratio, the root of
    x^d = x + 1 (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences").
    """
    size = _LATTICE_NODES[dimensions]
    i = torch.arange(size, device=like.device, dtype=torch.float64)[:, None]
    golden = 2.0
    for _ in range(60):
        golden = (1 + golden) ** (1 / dimensions)
    steps = torch.tensor([golden**-k for k in range(1, dimensions)], device=like.device, dtype=torch.float64)
    shares = torch.cat([(i + 0.5) / size, (0.5 + i * steps) % 1], -1)
    return torch.special.ndtri(shares).to(like), like.new_full((size,), -math.log(size))
