"""Nodes of a piecewise linear copy of a curve."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_BISECTIONS = 40
_CROWDING = 0.01  # mag: deviation across the curve that costs as much as stars misplaced by a whole segment
_SUBDIVISION = 8

Array = NDArray[np.float64]


def place(mass: Array, magnitudes: Array, segments: int) -> tuple[Array, Array]:
    """Masses and magnitudes of the nodes of at most ``segments`` pieces; a curve with no more points is kept.

    Points are chosen first: the longest segments whose cost stays below a tolerance are laid one after the other, the
    tolerance is bisected, and what pieces are left over halve the longest segments. A chord lies on the inner side
    of a bend, so the nodes are then moved, by less than that distance, to the least-squares fit.

    Arguments:
        mass: Initial masses, increasing, shape (M,).
        magnitudes: Magnitudes, shape (M, F), in mag; repeated points are dropped.
        segments: Largest number of pieces.

    Returns:
        Shapes (K+1,) and (K+1, F), K <= ``segments``.
    """
    distinct = np.append(True, np.any(np.diff(magnitudes, axis=0) != 0, axis=1))
    m, x = mass[distinct], magnitudes[distinct]
    m[-1] = mass[-1]
    if len(m) <= segments + 1:
        return m, x
    kept = _fill(x, _best(m, x, segments), segments)
    return m[kept], _fitted(x, kept)


def place_together(masses: list[Array], curves: list[Array], segments: int) -> list[tuple[Array, Array]]:
    """Nodes as of `place` of several curves whose points go together, at the same points of each.

    Arguments:
        masses: Initial masses of each, (M,).
        curves: Magnitudes of each, (M, F).
        segments: Largest number of pieces.

    Returns:
        Masses (K+1,) and magnitudes (K+1, F) of each.
    """
    every = np.concatenate(curves, -1) / np.sqrt(len(curves))
    distinct = np.append(True, np.any(np.diff(every, axis=0) != 0, axis=1))
    distinct[-1] = True
    middle, x = masses[len(masses) // 2][distinct], every[distinct]
    if len(x) <= segments + 1:
        return [(mass[distinct], curve[distinct]) for mass, curve in zip(masses, curves, strict=True)]
    kept = _fill(x, _best(middle, x, segments), segments)
    pairs = zip(masses, curves, strict=True)
    return [(mass[distinct][kept], _fitted(curve[distinct], kept)) for mass, curve in pairs]


def _fitted(x: Array, kept: NDArray[np.intp]) -> Array:
    """Magnitudes of nodes at points ``kept`` of a curve, such that the broken line through them fits it best.

    Least squares over the curve's length; the unknowns are the values of the tent functions of its length.
    """
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(x, axis=0), axis=1)))
    index = np.arange((len(x) - 1) * _SUBDIVISION + 1) / _SUBDIVISION
    place = np.interp(index, np.arange(len(x)), length)
    curve = np.stack([np.interp(place, length, band) for band in x.T], axis=-1)
    tents = np.stack([np.interp(place, length[kept], unit) for unit in np.eye(len(kept))], axis=-1)
    weight = np.sqrt(np.gradient(place))[:, None]
    shift, *_ = np.linalg.lstsq(weight * tents, weight * (curve - tents @ x[kept]), rcond=None)
    fitted: Array = x[kept] + shift
    return fitted


def _best(mass: Array, x: Array, segments: int) -> list[int]:
    """The cover with the smallest tolerance that needs no more than ``segments`` pieces."""
    low, high = 0.0, _cost(mass, x, 0, len(mass) - 1)
    kept = [0, len(mass) - 1]
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high) if low else 0.1 * high
        trial = _cover(mass, x, middle, segments)
        if trial is None:
            low = middle
        else:
            high, kept = middle, trial
        if high - low < 0.01 * high:
            break
    return kept


def _cover(mass: Array, x: Array, tolerance: float, segments: int) -> list[int] | None:
    """Segments as long as the tolerance allows, or None if they are more than allowed."""
    kept, last = [0], len(mass) - 1
    while kept[-1] < last:
        if len(kept) > segments:
            return None
        kept.append(_furthest(mass, x, kept[-1], tolerance))
    return kept


def _furthest(mass: Array, x: Array, start: int, tolerance: float) -> int:
    """The last point a segment from ``start`` may reach: doubling steps, then bisection."""
    last = len(mass) - 1
    good, step = start + 1, 1
    while good < last and _cost(mass, x, start, min(good + step, last)) <= tolerance:
        good, step = min(good + step, last), 2 * step
    bad = min(good + step, last + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _cost(mass, x, start, middle) <= tolerance else (good, middle)
    return good


def _cost(mass: Array, x: Array, i: int, j: int) -> float:
    """Worst deviation in mag of the curve from the segment: across it, and along it from an even spread of mass.

    Along the segment, a star is misplaced where equal masses do not take equal lengths. Relative to the length
    that is an error of the density of stars, and is counted in units of `_CROWDING`.
    """
    chord = x[j] - x[i]
    length = float(np.sqrt(chord @ chord))
    offset = x[i + 1 : j] - x[i]
    if not len(offset) or length == 0:
        return float(np.sqrt((offset**2).sum(-1)).max(initial=0.0))
    along = offset @ chord / length
    across = np.sqrt(((offset - along[:, None] * chord / length) ** 2).sum(-1))
    fraction = (mass[i + 1 : j] - mass[i]) / (mass[j] - mass[i])
    return float((across + _CROWDING * np.abs(along / length - fraction)).max())


def _fill(x: Array, kept: list[int], segments: int) -> NDArray[np.intp]:
    """Halve the longest segments, by number of points, until there are ``segments``."""
    nodes = list(kept)
    while len(nodes) < segments + 1:
        lengths = [float(np.linalg.norm(x[b] - x[a])) if b - a > 1 else 0.0 for a, b in pairwise(nodes)]
        k = int(np.argmax(lengths))
        if nodes[k + 1] - nodes[k] < 2:
            break
        nodes.insert(k + 1, (nodes[k] + nodes[k + 1]) // 2)
    return np.array(nodes, dtype=np.intp)
