"""Stars counted in cells of proper motion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

EDGE, BIN = 15.0, 0.2  # mas/yr: the range on both sides of zero, and the width of a cell
CENTRES = -EDGE + BIN * (np.arange(round(2 * EDGE / BIN)) + 0.5)
"""Middles of the cells along one axis [mas/yr]."""


def counted(motions: Values) -> Values:
    """Stars in each cell, of their motions (N, 2)."""
    edges = np.arange(-EDGE, EDGE + BIN / 2, BIN)
    counts, _, _ = np.histogram2d(motions[:, 0], motions[:, 1], bins=(edges, edges))
    return np.asarray(counts, dtype=np.float64)


def blurred(cells: Values, sigma: float) -> Values:
    """Cells as a Gaussian of height one sums them."""
    places = BIN * np.arange(len(cells))
    kernel = np.exp(-0.5 * ((places[:, None] - places) / sigma) ** 2)
    return np.asarray(kernel @ cells @ kernel)


def density(motions: Values, sigma: float) -> Values:
    """Sum over stars of a Gaussian law about each, in each cell, 1 / (mas/yr)^2."""
    return blurred(counted(motions), sigma) / (2 * np.pi * sigma**2)


def at(cells: Values, motions: Values) -> Values:
    """What the cells have at motions (N, 2), those beyond the range in the outermost cell."""
    rows, columns = np.clip(np.floor((motions + EDGE) / BIN).astype(int), 0, len(cells) - 1).T
    return np.asarray(cells[rows, columns])
