"""Parts of a stream where its bands may differ: smooth stretches, gaps and their flanks, its ends, and beyond."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_mapper.mock import Dip, StreamTruth

ZONES = ("smooth", "gap", "flank", "end", "beyond")
_NEAR_END = 1.5  # deg, or two widths of the edge
_BESIDE_HARD = 1.0  # deg outside a hard edge that are its flank
_CORE = 0.8  # of the half width of a hard gap: further out is the flank


def zones_of(truth: StreamTruth, phi1: NDArray[np.float64]) -> NDArray[np.str_]:
    """Zone of each place, (N,).

    A gap is its core: within a standard deviation of the centre, or eight tenths of the way to a hard edge. Its flanks
    go on to where little is missing, 1 deg past a hard edge. Within 1.5 deg of an end, or two widths of its edge, is
    the end. Nearer things win: an end over a gap, a gap over a flank.
    """
    out = np.full(len(phi1), "smooth", dtype="<U6")
    for gap in truth.gaps:
        off = np.abs(phi1 - gap.centre)
        out[(off < _flank(gap)) & (out == "smooth")] = "flank"
        out[off < _core(gap)] = "gap"
    for place, width, outwards in ((truth.begin, truth.begin_width, -1), (truth.end, truth.end_width, 1)):
        past, near = outwards * (phi1 - place), max(_NEAR_END, 2 * width)
        out[np.abs(past) <= near] = "end"
        out[past > near] = "beyond"
    return out


def _core(gap: Dip) -> float:
    return _CORE * gap.reach if gap.hard else gap.width


def _flank(gap: Dip) -> float:
    return gap.reach + _BESIDE_HARD if gap.hard else gap.reach
