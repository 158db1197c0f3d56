"""Edges of a table that was cut: a box in one pair of axes or the other, or a strip that moves along the stream."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_mapper.catalog import TableFacts
from stream_mapper.decisions.choice import Range, digits

Values = NDArray[np.float64]

SKY, STREAM = ("pmra", "pmdec"), ("pm_phi1", "pm_phi2")
WIDEST = 16.0  # mas/yr: a wider cut leaves the field around any stream
_BIN, _MOST_BINS = 200, 24  # stars in a bin of phi1, at least, and bins at most
_RIM = 0.05  # of the width of a bin, beside each edge
_SHARP = 0.009  # share of the stars there; 0.05 of an even density, and of a normal one from end to end 0.002
_STILL = 0.1  # of the width, within which an edge that stays in place moves: the noise of the outermost star


class Strip(NamedTuple):
    """A window that moves along phi1: its edges at some places, linear in between."""

    phi1: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __repr__(self) -> str:
        """In a few words: it is a long list."""
        widths = [b - a for a, b in zip(self.low, self.high, strict=True)]
        return f"a strip {min(widths):.3g} to {max(widths):.3g} wide, by {len(widths)} places"

    def settings(self) -> dict[str, Any]:
        """The window as a configuration writes it."""
        columns = {name: [digits(x) for x in values] for name, values in self._asdict().items()}
        return {"class_path": "stream_mapper.WindowAlong", "init_args": columns}


class Edges(NamedTuple):
    """Least and greatest values in bins of phi1.

    Arguments:
        places: Edges of the bins [deg], (B + 1,).
        low: Least value in each bin, (B,).
        high: Greatest value in each bin, (B,).
        sharpness: Share of the stars in the outer twentieth on either side, the smaller one.
    """

    places: Values
    low: Values
    high: Values
    sharpness: float

    @property
    def width(self) -> float:
        """Median width."""
        return float(np.median(self.high - self.low))

    @property
    def is_cut(self) -> bool:
        """Whether stars end at the edges, in place of thinning out towards them."""
        return self.sharpness > _SHARP

    @property
    def is_still(self) -> bool:
        """Whether the edges are the same everywhere."""
        return max(float(np.ptp(self.low)), float(np.ptp(self.high))) < _STILL * self.width

    def box(self) -> Range:
        """The edges that are the same everywhere."""
        return digits(float(self.low.min())), digits(float(self.high.max()))

    def strip(self) -> Strip:
        """A strip inside the edges: where an edge moves evenly, the outermost star of a bin is at its end."""
        low, high = _between(self.low, np.maximum), _between(self.high, np.minimum)
        return Strip(*(tuple(values.tolist()) for values in (self.places, low, high)))


def edges(phi1: Values, values: Values) -> Edges | None:
    """The edges of a coordinate along phi1, shape (N,) each; None of too few stars.

    Bins have equally many stars.
    """
    known = np.isfinite(phi1) & np.isfinite(values)
    phi1, values = phi1[known], values[known]
    number = min(len(phi1) // _BIN, _MOST_BINS)
    if number < 2:
        return None
    order = np.argsort(phi1, kind="stable")
    groups = np.array_split(order, number)
    low, high = (np.array([extreme(values[rows]) for rows in groups]) for extreme in (np.min, np.max))
    starts = np.array([phi1[rows[0]] for rows in groups])
    outer = _RIM * (high - low)
    near = [
        [(values[rows] < a + rim).mean(), (values[rows] > b - rim).mean()]
        for rows, a, b, rim in zip(groups, low, high, outer, strict=True)
    ]
    return Edges(np.append(starts, phi1.max()), low, high, float(np.median(near, axis=0).min()))


def cut_of(facts: TableFacts, names: tuple[str, str], widest: float) -> dict[str, Edges]:
    """The edges of two coordinates in which a table was cut, none if it was not.

    Arguments:
        facts: The table.
        names: The coordinates.
        widest: Width from which on it is no matter [unit of the coordinates].
    """
    if not set(names) <= set(facts.values):
        return {}
    found = {name: edges(facts.phi1, facts.values[name]) for name in names}
    cut = {name: one for name, one in found.items() if one is not None and one.is_cut and one.width < widest}
    return cut if len(cut) == len(names) else {}


class MotionCut(NamedTuple):
    """How a table was cut in proper motion.

    Arguments:
        names: The axes of the cut: ``pmra`` and ``pmdec``, or ``pm_phi1`` and ``pm_phi2``.
        windows: The window of each.
        moves: Whether they move along the stream.
    """

    names: tuple[str, str]
    windows: dict[str, Range | Strip]
    moves: bool

    @property
    def in_the_sky(self) -> bool:
        """Whether the model has to be over the axes of the catalogue."""
        return self.moves and self.names == SKY


def motion_cut(facts: TableFacts | None, known: bool) -> MotionCut | None:
    """How a table was cut in proper motion, None if it was not.

    Arguments:
        facts: The table, if there is one.
        known: Whether a track knows the motion; only then can it be turned into the axes of the catalogue.
    """
    if facts is None:
        return None
    for names in (SKY, STREAM):
        found = cut_of(facts, names, WIDEST)
        if found and all(one.is_still for one in found.values()):
            return MotionCut(names, {name: one.box() for name, one in found.items()}, moves=False)
        if found and (known or names == STREAM):
            return MotionCut(names, {name: one.strip() for name, one in found.items()}, moves=True)
    return None


def strip_across(facts: TableFacts | None) -> Strip | None:
    """The edges of a table in phi2, if they move along phi1."""
    found = None if facts is None else edges(facts.phi1, facts.phi2)
    return found.strip() if found is not None and found.is_cut and not found.is_still else None


def _between(values: Values, inner: np.ufunc) -> Values:
    """An edge at the ends of the bins, (B + 1,): between two bins the inner one, at both ends as it goes on."""
    middle = inner(values[1:], values[:-1])
    first, last = 2 * middle[0] - middle[min(1, len(middle) - 1)], 2 * middle[-1] - middle[max(len(middle) - 2, 0)]
    return np.concatenate([[inner(values[0], first)], middle, [inner(values[-1], last)]])
