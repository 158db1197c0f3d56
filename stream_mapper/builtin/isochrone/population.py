"""Stars spread along a piecewise linear copy of an isochrone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stream_mapper.builtin.isochrone.curve import Isochrone
from stream_mapper.builtin.isochrone.mass import MassDensity, MassFunction
from stream_mapper.builtin.isochrone.whitening import bands
from stream_mapper.errors import InputError

_SUBDIVISION = 8  # of each arc of the original curve, over which the mass function's change counts
_NO_STAR = 1e-200  # what an arc without stars counts as in the mean of a segment without stars
_STEEPEST = 0.95  # a density that reached zero at one end would have an infinite logarithm there

Array = NDArray[np.float64]
Scatter = float | Sequence[float] | Sequence[Sequence[float]]


class Population(NamedTuple):
    """Straight segments and the stars on them.

    The density of stars is linear on each segment: 1 + 2 c (t - 1/2) at the fraction t of its length.

    Where it differs from star to star, the first three have a first axis N.

    Arguments:
        nodes: Absolute magnitudes of the segments' ends, shape (K+1, F) or (N, K+1, F).
        ln_weights: ln of the fraction of stars on each segment, shape (K,) or (N, K).
        tilts: Tilt c of each segment, -1 < c < 1, shape (K,) or (N, K).
        scatter: Intrinsic scatter about the curve in mag, shape (F,), or (K, F) if it changes along it.
    """

    nodes: Tensor
    ln_weights: Tensor
    tilts: Tensor
    scatter: Tensor

    def to(self, like: Tensor) -> Population:
        """The same numbers with the precision and on the device of a tensor."""
        return Population(*(values.to(like) for values in self))

    def stars(self, rows: Tensor) -> Population:
        """The population of some of the stars."""
        if self.ln_weights.ndim == 1:
            return self
        return self._replace(nodes=self.nodes[rows], ln_weights=self.ln_weights[rows], tilts=self.tilts[rows])

    def bands(self, index: list[int]) -> Population:
        """The population in some of the bands."""
        return self._replace(nodes=bands(self.nodes, index), scatter=bands(self.scatter, index))


def populate(isochrone: Isochrone, mass_function: MassFunction, segments: int, scatter: Scatter = 0.0) -> Population:
    """Stars of a mass function on a curve of at most ``segments`` segments.

    Each segment has the number of stars, their mean position and their mean square scatter of the stretch of the
    original curve it stands for.

    Arguments:
        isochrone: The curve, of M points in F bands.
        mass_function: How the stars are spread along it.
        segments: Largest number of them, placed by `Isochrone.nodes`.
        scatter: Intrinsic scatter about the curve in mag: one number, F of them, or one at each point of the curve,
            shape (M,) or (M, F). (If M equals F, a plain list is by band.)

    Returns:
        In double precision, on the CPU.

    Raises:
        InputError: If the mass function leaves no star on the isochrone or needs masses that it lacks, or the scatter
            does not fit it.
    """
    return populate_nodes(isochrone, isochrone.nodes(segments), mass_function, scatter)


def populate_nodes(
    isochrone: Isochrone, curve: Isochrone, mass_function: MassFunction, scatter: Scatter = 0.0
) -> Population:
    """As `populate`, on given nodes: ``curve`` is the isochrone thinned."""
    if isinstance(mass_function, MassDensity) and not isochrone.has_masses:
        raise InputError(f"{mass_function} needs an isochrone with masses; this one has none: use UniformMassFunction.")
    nodes, edges = (b.double().cpu().numpy() for b in (curve.magnitudes, curve.mass))
    arcs = _arcs(isochrone, mass_function)
    k = np.searchsorted(edges[1:-1], arcs.mass, side="right")
    steps = np.diff(nodes, axis=0)
    along = ((arcs.magnitudes - nodes[k]) * steps[k]).sum(-1) / (steps[k] ** 2).sum(-1)
    weights = np.bincount(k, arcs.weights, len(steps))

    share = arcs.weights.clip(min=_NO_STAR)

    def mean(values: Array) -> Array:
        means: Array = np.bincount(k, share * values) / np.bincount(k, share)
        return means

    tilts = (6 * (mean(along.clip(0, 1)) - 0.5)).clip(-_STEEPEST, _STEEPEST)
    spread = _scatter(scatter, isochrone)
    if spread.ndim == 2:
        spread = np.sqrt(np.stack([mean(_middle(_finer(band)) ** 2) for band in spread.T], -1))
    return Population(*(torch.from_numpy(v) for v in (nodes, np.log(weights), tilts, spread)))


def _scatter(scatter: Scatter, isochrone: Isochrone) -> Array:
    """The scatter of each band, (F,), or of each point of the curve and band, (M, F)."""
    values = np.asarray(scatter, dtype=np.float64)
    points, bands = isochrone.magnitudes.shape
    fits = values.shape in {(), (bands,), (points,), (points, bands)}
    if not fits or not (np.isfinite(values) & (values >= 0)).all():
        raise InputError(
            f"scatter must be 0 or more: one number, one for each of the {bands} bands, or one for each of the "
            f"{points} points of the isochrone, ({points},) or ({points}, {bands}); found {scatter!r}."
        )
    along_the_curve = values.shape == (points,) != (bands,)
    return np.broadcast_to(values[:, None], (points, bands)) if along_the_curve else values + np.zeros(bands)


class _Arcs(NamedTuple):
    """Short arcs of the original curve: their middles' mass (P,) and magnitudes (P, F), fraction of stars (P,)."""

    mass: Array
    magnitudes: Array
    weights: Array


def _arcs(isochrone: Isochrone, mass_function: MassFunction) -> _Arcs:
    columns = (b.double().cpu().numpy() for b in (isochrone.mass, *isochrone.magnitudes.unbind(-1)))
    mass, *bands = (_finer(column) for column in columns)
    magnitudes = np.stack(bands, axis=-1)
    weights = mass_function.segment_weights(torch.from_numpy(mass), torch.from_numpy(magnitudes))
    return _Arcs(_middle(mass), _middle(magnitudes), weights.numpy())


def _finer(values: Array) -> Array:
    """A column of the curve at the ends of its arcs, (P+1,)."""
    return np.interp(np.arange((len(values) - 1) * _SUBDIVISION + 1) / _SUBDIVISION, np.arange(len(values)), values)


def _middle(values: Array) -> Array:
    return 0.5 * (values[1:] + values[:-1])
