"""What is to be logged of the stars of a catalogue: counted chunk by chunk, logged once."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from warnings import WarningMessage

from stream_mapper.catalog import warn_unmeasured
from stream_mapper.data import Data
from stream_mapper.models import MixtureModel
from stream_mapper.windows import Bounds

_log = logging.getLogger("stream_mapper")

Span = tuple[float, float]

_COUNT = re.compile(r"for (\d+) of \d+ stars")
_OPEN = "for ... stars"


@dataclass
class Tally:
    """Counts over the stars of a catalogue or of a part of one; they add.

    Arguments:
        stars: Number of stars.
        inside: Those inside the model's window.
        beyond: Those beyond the range the networks were trained on, by coordinate.
        measured: Those that have a value, by column.
        spans: Lowest and highest value of each column.
        remarks: What the model warned of, with the number of stars left open, to that number.
    """

    stars: int = 0
    inside: int = 0
    beyond: Counter[str] = field(default_factory=Counter)
    measured: Counter[str] = field(default_factory=Counter)
    spans: dict[str, Span] = field(default_factory=dict)
    remarks: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, model: MixtureModel, stars: Data) -> Tally:
        """The counts of some stars."""
        measured = Counter({name: int(stars.where[name].sum()) for name in stars.names})
        values = {name: stars[name][stars.where[name]] for name, count in measured.items() if count}
        spans = {name: (v.min().item(), v.max().item()) for name, v in values.items()}
        names = model.weights.indep_scaler.names
        beyond = Counter({name: _outside(stars, name, *_range(model, name)) for name in names})
        return cls(len(stars), int(model.in_window(stars).sum()), beyond, measured, spans)

    @classmethod
    def from_dict(cls, counts: Mapping[str, Any]) -> Tally:
        """The counts that :meth:`to_dict` gave."""
        spans = {name: (low, high) for name, (low, high) in counts["spans"].items()}
        beyond, measured, remarks = (Counter(counts[name]) for name in ("beyond", "measured", "remarks"))
        return cls(counts["stars"], counts["inside"], beyond, measured, spans, remarks)

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain numbers."""
        return dict(vars(self))

    def __add__(self, other: Tally) -> Tally:
        spans = {**self.spans, **other.spans}
        for name in self.spans.keys() & other.spans.keys():
            spans[name] = min(self.spans[name][0], other.spans[name][0]), max(self.spans[name][1], other.spans[name][1])
        beyond, measured = _sum(self.beyond, other.beyond), _sum(self.measured, other.measured)
        remarks = _sum(self.remarks, other.remarks)
        return Tally(self.stars + other.stars, self.inside + other.inside, beyond, measured, spans, remarks)

    def add_warnings(self, warned: Iterable[WarningMessage]) -> None:
        """Count what the model warned of these stars."""
        for text in (str(one.message) for one in warned if one.category is UserWarning):
            counted = _COUNT.search(text)
            self.remarks[_COUNT.sub(_OPEN, text)] += int(counted[1]) if counted else 0

    def log(self, model: MixtureModel, window: Mapping[str, Bounds], path: str, absent: Iterable[str] = ()) -> None:
        """Warn of what an astronomer would want to know, once.

        Arguments:
            model: The model the memberships are by.
            window: Its window, by coordinate.
            path: What the warnings call the catalogue.
            absent: Columns of which it has been said that the catalogue has none.
        """
        warn_unmeasured([name for name, count in self.measured.items() if not count and name not in set(absent)], path)
        for name, count in self.beyond.items():
            if count:
                _log.warning(
                    "%d of %d stars lie beyond the fitted range, %s %.2f to %.2f; there the fit's values at its ends "
                    "hold.",
                    *(count, self.stars, name, *_range(model, name)),
                )
        for text, count in self.remarks.items():
            _log.warning("%s", text.replace(_OPEN, f"for {count} of {self.stars} stars"))
        self._log_outside(window)

    def _log_outside(self, window: Mapping[str, Bounds]) -> None:
        if not self.inside:
            spans = {n: tuple(round(edge, 4) for edge in self.spans[n]) for n in window if n in self.spans}
            text = "none of the %d stars is inside the fitted window %s, so every membership is zero; "
            _log.warning(text + "the table spans %s.", self.stars, window, spans)
        elif self.inside < self.stars:
            text = "%d of %d stars are outside the fitted window %s; their membership is zero."
            _log.warning(text, self.stars - self.inside, self.stars, window)


def _sum(first: Counter[str], second: Counter[str]) -> Counter[str]:
    """Sums by name; those that are zero are kept, as they tell that a column was read."""
    return Counter({name: first[name] + second[name] for name in {**first, **second}})


def _range(model: MixtureModel, name: str) -> tuple[float, float]:
    """The range of a coordinate that the networks were trained on."""
    scaler = model.weights.indep_scaler
    i = scaler.names.index(name)
    return scaler.low[i].item(), scaler.high[i].item()


def _outside(stars: Data, name: str, low: float, high: float) -> int:
    """Number of stars beyond a range by more than a hundredth of it."""
    margin = 0.01 * (high - low)
    beyond = stars.where[name] & ((stars[name] < low - margin) | (stars[name] > high + margin))
    return int(beyond.sum())
