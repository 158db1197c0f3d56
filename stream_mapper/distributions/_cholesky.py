"""Cholesky factors of many small matrices, unrolled: a few operations on whole columns, no loop over stars."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_SMALLEST_PIVOT = 1e-6  # of the diagonal: correlations that no law can have, or that rounding made so, stay finite

Lower = list[list[Tensor]]


def cholesky(matrix: Sequence[Sequence[Tensor]]) -> Lower:
    """Rows of the lower factor L of symmetric matrices, V = L L^T.

    Arguments:
        matrix: Entries of V by row and column, each of shape (*B,); the lower half is read.

    Returns:
        Row i has the i + 1 entries up to the diagonal, each (*B,). A pivot is at least 1e-6 of the diagonal.
    """
    lower: Lower = []
    for i, row in enumerate(matrix):
        entries: list[Tensor] = []
        for j in range(i):
            entries.append((row[j] - _dot(entries, lower[j])) / lower[j][j])
        pivot = row[i] - _dot(entries, entries) if entries else row[i]
        lower.append([*entries, torch.maximum(pivot, _SMALLEST_PIVOT * row[i]).sqrt()])
    return lower


def inverse_of_lower(lower: Lower) -> Lower:
    """Rows of the inverse of a lower factor, which is a lower factor too."""
    inverse: Lower = []
    for i, row in enumerate(lower):
        entries = [-_dot(row[j:i], [inverse[k][j] for k in range(j, i)]) / row[i] for j in range(i)]
        inverse.append([*entries, 1 / row[i]])
    return inverse


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    total = torch.zeros(()) if not a else a[0] * b[0]
    for left, right in zip(a[1:], b[1:], strict=False):
        total = total + left * right
    return total
