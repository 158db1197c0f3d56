"""Multivariate normal laws of a few coordinates, one covariance a star, unrolled over the coordinates.

A covariance C is never formed: it is kept as rows A, F tensors of shape (N, K), with C = A A^T, so that covariances add
by putting their rows side by side. Their triangular factor L, C = L L^T, follows by orthogonalisation, which loses the
square root of the digits that a Cholesky decomposition of C loses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from stream_mapper.distributions._stable import HALF_LN_2PI

Triangle = list[list[Tensor]]
"""Lower triangle of a matrix a star: entry (i, j), j <= i, of shape (N,)."""

_MOST = 1 - 1e-5  # largest correlation; no catalogue's is known better, and float32 still has digits left


def correlation_triangle(
    size: int, correlations: Mapping[tuple[int, int], Tensor], like: Tensor, *, partial: bool
) -> Triangle:
    r"""Triangular factor of a correlation matrix, always of a valid one.

    With the canonical partial correlations :math:`z_{ij}`, of i and j given all before j (Lewandowski, Kurowicka & Joe
    2009, J. Multivar. Anal. 100, 1989),

    .. math:: L_{ij} = z_{ij} \prod_{k < j} \sqrt{1 - z_{ik}^2}, \quad L_{ii} = \prod_{k < i} \sqrt{1 - z_{ik}^2}

    Plain correlations are turned into partial ones on the way. Partial correlations are kept just inside -1..1, so
    plain ones that contradict each other become the nearest in this order that do not.

    Arguments:
        size: Number of coordinates F.
        correlations: By pair (i, j), j < i, shape (N,); zero where left out.
        like: A tensor of shape (N,), for what is left out.
        partial: Whether they are partial correlations; plain ones must not require gradients.

    Returns:
        Rows of unit length.
    """
    zero, rows = torch.zeros_like(like), list[list[Tensor]]()
    for i in range(size):
        row, rest = list[Tensor](), torch.ones_like(like)
        for j in range(i):
            z = correlations.get((i, j), zero)
            if not partial:
                explained = sum((a * b for a, b in zip(row, rows[j], strict=False)), zero)
                z = (z - explained) / (rows[j][-1] * rest)
            z = z.clamp(-_MOST, _MOST)
            row.append(z * rest)
            rest = rest * torch.sqrt((1 - z) * (1 + z))
        rows.append([*row, rest])
    return rows


def scaled_rows(scales: Sequence[Tensor], triangle: Triangle) -> list[Tensor]:
    """Rows (N, F) of the covariance with these standard deviations (N,) and this factor of the correlations."""
    zero, size = torch.zeros_like(scales[0]), len(scales)
    padded = [[*row, *[zero] * (size - len(row))] for row in triangle]
    return [scale[:, None] * torch.stack(row, -1) for scale, row in zip(scales, padded, strict=True)]


def triangle(rows: Sequence[Tensor], where: Sequence[Tensor] | None = None) -> Triangle:
    """Triangular factor of the covariance A A^T, by the modified Gram-Schmidt process.

    Arguments:
        rows: F rows of A, shape (N, K), those of measured coordinates independent of each other.
        where: Whether each coordinate is measured, F masks of shape (N,); the others count as standard normal and
            independent of all. All are measured where left out.
    """
    masks = where or [torch.ones_like(row[:, 0], dtype=torch.bool) for row in rows]
    directions, out = list[Tensor](), list[list[Tensor]]()
    for row, measured in zip(rows, masks, strict=True):
        left, entries = torch.where(measured[:, None], row, 0), list[Tensor]()
        for direction in directions:
            entries.append((left * direction).sum(-1))
            left = left - entries[-1][:, None] * direction
        length = torch.where(measured, left.square().sum(-1), 1).sqrt()
        directions.append(left / length[:, None])
        out.append([*entries, length])
    return out


def ln_normal_density(residuals: Sequence[Tensor], rows: Sequence[Tensor], where: Sequence[Tensor]) -> Tensor:
    """Log density of a multivariate normal law over the measured coordinates, shape (N,), in nats.

    Arguments:
        residuals: Distances from the mean, F tensors of shape (N,).
        rows: Rows of the covariance, F tensors of shape (N, K).
        where: Whether each coordinate is measured, F masks of shape (N,); a star without any has zero.
    """
    lower = triangle(rows, where)
    white = _whitened(residuals, lower, where)
    terms = [
        -0.5 * value.square() - entries[-1].log() - HALF_LN_2PI * measured.to(value.dtype)
        for value, entries, measured in zip(white, lower, where, strict=True)
    ]
    return torch.stack(terms).sum(0)


def conditional(residuals: Sequence[Tensor], rows: Sequence[Tensor], where: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean, as a distance from that of the law, and standard deviation of one more coordinate given others, (N,) each.

    Arguments:
        residuals: Distances of the others from the mean, F - 1 tensors of shape (N,).
        rows: Rows of the covariance, F tensors of shape (N, K), that of the coordinate last.
        where: Whether each of the others is measured, F - 1 masks of shape (N,).
    """
    lower = triangle(rows, [*where, torch.ones_like(rows[-1][:, 0], dtype=torch.bool)])
    white = _whitened(residuals, lower[:-1], where)
    *entries, scale = lower[-1]
    return sum((a * b for a, b in zip(entries, white, strict=True)), torch.zeros_like(scale)), scale


def _whitened(residuals: Sequence[Tensor], lower: Triangle, where: Sequence[Tensor]) -> list[Tensor]:
    """The measured coordinates as independent standard normal ones, F tensors of shape (N,); zero for the others."""
    white = list[Tensor]()
    for residual, entries, measured in zip(residuals, lower, where, strict=True):
        left = torch.where(measured, residual, 0)
        for entry, known in zip(entries, white, strict=False):
            left = left - entry * known
        white.append(left / entries[-1])
    return white
