"""How much likelier the motions of stars on a track are with a stream among them, each star with its error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_mapper.decisions import cells

Values = NDArray[np.float64]

_CLASSES = (0.0, 0.15, 0.3, 0.6, np.inf)  # mas/yr: stars of like errors have a law beside the track of their own
_FEWEST = 20  # stars beside it from which that is known
_NARROW, _BROAD, _BROAD_SHARE = 0.5, 2.0, 0.15  # mas/yr: that law is a sum of two Gaussians about each of these stars
_NOBODY = 2.0  # stars' worth of an even law, for where none is
_SPREAD = 0.25  # mas/yr: dispersion of a stream, and what steps of its drift leave
_SHARES = np.geomspace(0.004, 0.4, 12)  # of the stars on the track that may be of the stream


class Found(NamedTuple):
    """The likeliest stream about a motion.

    Arguments:
        ln_ratio: Of the likelihoods with it and without it, zero or more.
        stars: Stars of it that are expected.
        motion: Their mean motion [mas/yr].
    """

    ln_ratio: float
    stars: float
    motion: tuple[float, float]


class OnAndBeside:
    """Stars on a track, and the law of those beside it.

    Arguments:
        motions: Of the stars on the track [mas/yr], (N, 2).
        errors: Theirs, (N, 2).
        beside: Motions of the stars beside it, (M, 2).
        errors_beside: Theirs, (M, 2).
    """

    def __init__(self, motions: Values, errors: Values, beside: Values, errors_beside: Values) -> None:
        self.motions, self.variances = motions, errors**2 + _SPREAD**2
        kind, kind_beside = _class_of(errors), _class_of(errors_beside)
        self.ln_beside = np.empty(len(motions))
        for one in np.unique(kind):
            like = beside[kind_beside == one]
            law = _law(like if len(like) > _FEWEST else beside)
            self.ln_beside[kind == one] = np.log(cells.at(law, motions[kind == one]))

    def about(self, motion: tuple[float, float]) -> Found:
        """The likeliest share of stars that move as a stream does, all with one motion, and how likely it is."""
        chi2 = ((self.motions - motion) ** 2 / self.variances).sum(-1)
        ln_stream = -0.5 * (chi2 + np.log(self.variances).sum(-1)) - np.log(2 * np.pi)
        ratio = np.exp(np.minimum(ln_stream - self.ln_beside, 500.0))
        gains = np.log1p(_SHARES[:, None] * (ratio - 1)).sum(-1)
        best = int(gains.argmax())
        belongs = _SHARES[best] * ratio / (1 + _SHARES[best] * (ratio - 1))
        first, second = (belongs @ self.motions / max(float(belongs.sum()), 1e-9)).tolist()
        return Found(max(float(gains[best]), 0.0), float(belongs.sum()), (first, second))


def _class_of(errors: Values) -> NDArray[np.int_]:
    """Which errors are like each other, (N,)."""
    return np.digitize(np.sqrt((errors**2).mean(-1)), _CLASSES)


def _law(motions: Values) -> Values:
    """The law of the motions of stars, in cells."""
    sums = (1 - _BROAD_SHARE) * cells.density(motions, _NARROW) + _BROAD_SHARE * cells.density(motions, _BROAD)
    return np.asarray((sums + _NOBODY / (2 * cells.EDGE) ** 2) / (len(motions) + _NOBODY))
