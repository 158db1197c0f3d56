"""Whether stated bands are right, from how often those of many fits hold the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LEVELS = (0.68, 0.9)
TOLERANCE = 0.04
"""How far the coverage of a 90 % band may be off; 86 to 94 % is right."""

_HALF = {0.68: 0.99446, 0.9: 1.64485}  # half of a band of a normal law, in standard deviations
_SURE = 2.576  # standard errors: 99 %
_FEWEST = 40  # independent values, with which bands 1.7 times too wide are told from right ones
_MISSED = 1e6  # pull of a truth outside a band of no length
_FARTHEST = 3.0  # to which pulls are cut where their correlation is measured


@dataclass(frozen=True)
class Judgement:
    """What is found of the bands of one quantity.

    Arguments:
        verdict: ``right``, ``too narrow``, ``too wide``, or ``undecided`` where there are too few fits to tell.
        coverage: Share of the values inside their band, by level.
        interval: Lowest and highest coverage of other such fits, 99 %, by level.
        independent: Number of independent values that the values are worth.
    """

    verdict: str
    coverage: dict[float, float]
    interval: dict[float, tuple[float, float]]
    independent: float


def judge(pulls: Sequence[Values], tolerance: float = TOLERANCE) -> Judgement:
    """Whether the bands of one quantity are right.

    The values of one fit depend on each other, so the number of independent ones is found from how alike the pulls of
    a fit are. Bands are called wrong where the coverage of a level is off by more than is tolerated, and by more than
    chance explains. The tolerance of 68 % is that of a band that is as much too long or too short.

    Arguments:
        pulls: For each fit, how far the truth lies from the middle of each band, in halves of the 90 % band; see
            :func:`pulls_of`. Fits without values may be among them.
        tolerance: How far the coverage of the 90 % band may be off.
    """
    used = [values[np.isfinite(values)] for values in pulls]
    used = [values for values in used if len(values)]
    if not used:
        return Judgement("undecided", {}, {}, 0.0)
    worth = independent_values([_HALF[0.9] * np.abs(values) for values in used])
    every = np.concatenate(used)
    coverage = {level: float(np.mean(np.abs(every) * _HALF[0.9] <= _HALF[level])) for level in LEVELS}
    interval = {level: _wilson(share, worth) for level, share in coverage.items()}
    return Judgement(_verdict(coverage, interval, worth, tolerance), coverage, interval, worth)


def pulls_of(truth: Values, low: Values, high: Values, middle: Values | None = None) -> Values:
    """How far the truth lies from the middle of each 90 % band, in halves of it; its own half on each side, (N,).

    Arguments:
        truth: True values, (N,).
        low: Lower ends of the bands.
        high: Upper ends.
        middle: Medians; the middles of the bands by default.
    """
    centre = (low + high) / 2 if middle is None else middle
    half = np.where(truth >= centre, high - centre, centre - low)
    off = truth - centre
    known = np.isfinite(off + half)
    far = np.clip(np.divide(off, half, out=np.sign(off) * _MISSED, where=half > 0), -_MISSED, _MISSED)
    return np.where(known, far, np.nan)


def independent_values(groups: Sequence[Values]) -> float:
    """Number of independent values that those of some groups are worth, by the correlation within a group.

    Of M groups the correlation is taken to be 1 / M or more: less cannot be told from so few.
    """
    cut = [np.minimum(values, _FARTHEST) for values in groups]
    sizes = np.array([len(values) for values in cut], dtype=float)
    total, count = sizes.sum(), len(cut)
    if count in (1, total):
        return float(count)
    means, mean = np.array([values.mean() for values in cut]), np.concatenate(cut).mean()
    between = (sizes * (means - mean) ** 2).sum() / (count - 1)
    within = sum(((values - m) ** 2).sum() for values, m in zip(cut, means, strict=True)) / (total - count)
    size = (total - (sizes**2).sum() / total) / (count - 1)
    spread = between + (size - 1) * within
    alike = float(np.clip((between - within) / spread, 1 / count, 1)) if spread > 0 else 1.0
    return float(total**2 / (sizes * (1 + (sizes - 1) * alike)).sum())


def _verdict(
    coverage: dict[float, float], interval: dict[float, tuple[float, float]], worth: float, tolerance: float
) -> str:
    for level in LEVELS:
        allowed = tolerance * _slope(level) / _slope(0.9)
        if coverage[level] < level - allowed and interval[level][1] < level:
            return "too narrow"
        if coverage[level] > level + allowed and interval[level][0] > level:
            return "too wide"
    return "right" if worth >= _FEWEST else "undecided"


def _slope(level: float) -> float:
    """How fast the coverage of a normal law's band changes with the log of its length."""
    half = _HALF[level]
    return 2 * half * math.exp(-0.5 * half**2) / math.sqrt(2 * math.pi)


def _wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson's interval of a share of so many values."""
    shrink = _SURE**2 / count
    centre = (share + shrink / 2) / (1 + shrink)
    half = _SURE / (1 + shrink) * math.sqrt(share * (1 - share) / count + shrink / (4 * count))
    return centre - half, centre + half
