"""Stars spread along a piecewise linear copy of an isochrone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stream_mapper.builtin.isochrone.curve import Isochrone
from stream_mapper.builtin.isochrone.mass import MassFunction

_SUBDIVISION = 8  # of each piece of the original curve, over which the mass function's change counts
_STEEPEST = 0.95  # a density that reached zero at one end would have an infinite logarithm there

Array = NDArray[np.float64]


class Population(NamedTuple):
    """Straight segments and the stars on them.

    The density of stars is linear on each segment: 1 + 2 c (t - 1/2) at the fraction t of its length.

    Arguments:
        nodes: Absolute magnitudes of the segments' ends, shape (K+1, F).
        ln_weights: ln of the fraction of stars on each segment, shape (K,).
        tilts: Tilt c of each segment, -1 < c < 1, shape (K,).
    """

    nodes: Tensor
    ln_weights: Tensor
    tilts: Tensor

    def to(self, like: Tensor) -> Population:
        """The same numbers with the precision and on the device of a tensor."""
        return Population(*(values.to(like) for values in self))


def populate(isochrone: Isochrone, mass_function: MassFunction, segments: int) -> Population:
    """Stars of a mass function on at most ``segments`` pieces of a curve.

    Each segment has the number of stars and the mean position of stars of the part of the original curve it stands for.

    Arguments:
        isochrone: The curve.
        mass_function: How the stars are spread along it.
        segments: Largest number of pieces, placed by `Isochrone.nodes`.

    Returns:
        In double precision, on the CPU.

    Raises:
        InputError: If the mass function leaves no star on the isochrone.
    """
    curve = isochrone.nodes(segments)
    nodes, edges = (b.double().cpu().numpy() for b in (curve.magnitudes, curve.mass))
    pieces = _pieces(isochrone, mass_function)
    k = pieces.segment(edges)
    steps = np.diff(nodes, axis=0)
    along = ((pieces.magnitudes - nodes[k]) * steps[k]).sum(-1) / (steps[k] ** 2).sum(-1)
    weights = np.bincount(k, pieces.weights, len(steps))
    mean = np.bincount(k, pieces.weights * along.clip(0, 1), len(steps)) / np.where(weights > 0, weights, 1)
    tilts = np.where(weights > 0, 6 * (mean - 0.5), 0).clip(-_STEEPEST, _STEEPEST)
    return Population(torch.from_numpy(nodes), torch.from_numpy(weights).log(), torch.from_numpy(tilts))


class _Pieces(NamedTuple):
    """Short pieces of the original curve: their middles' mass (P,) and magnitudes (P, F), fraction of stars (P,)."""

    mass: Array
    magnitudes: Array
    weights: Array

    def segment(self, edges: Array) -> NDArray[np.intp]:
        """Index of the segment, between masses ``edges`` (K+1,), that each piece belongs to."""
        return np.searchsorted(edges[1:-1], self.mass, side="right")


def _pieces(isochrone: Isochrone, mass_function: MassFunction) -> _Pieces:
    points = np.arange((len(isochrone.mass) - 1) * _SUBDIVISION + 1) / _SUBDIVISION
    columns = [b.double().cpu().numpy() for b in (isochrone.mass, *isochrone.magnitudes.unbind(-1))]
    mass, *bands = (np.interp(points, np.arange(len(column)), column) for column in columns)
    magnitudes = np.stack(bands, axis=-1)
    weights = mass_function.segment_weights(torch.from_numpy(mass), torch.from_numpy(magnitudes))
    return _Pieces(_middle(mass), _middle(magnitudes), weights.numpy())


def _middle(values: Array) -> Array:
    return 0.5 * (values[1:] + values[:-1])
