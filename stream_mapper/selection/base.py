"""What every selection is: a question that a star answers with yes, no, or not known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.description import Described
from stream_mapper.errors import InputError
from stream_mapper.windows import Bounds, overlap

Counts = dict[str, list[str] | list[int]]


class Answer(NamedTuple):
    """Stars that are certainly in and stars that are certainly out, each (N,); the others are not known."""

    yes: Tensor
    no: Tensor


class Selection(Described, ABC):
    """Which stars take part.

    A star is left out if what was measured of it says so: what was not measured passes, also through `Not`. Selections
    combine as ``a & b``, ``a | b`` and ``~a``, or in a configuration by `All`, `Any` and `Not`.
    """

    @abstractmethod
    def answer(self, data: Data) -> Answer:
        """Which stars are in, and which are out.

        Raises:
            InputError: If the data lacks a column that is read.
        """

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Columns it reads."""

    def __call__(self, data: Data) -> Tensor:
        """Whether each star takes part, shape (N,); True where that is not known."""
        return ~self.answer(data).no

    def __and__(self, other: Selection) -> Selection:
        return All([self, other])

    def __or__(self, other: Selection) -> Selection:
        return Any([self, other])

    def __invert__(self) -> Selection:
        return Not(self)

    def window(self) -> dict[str, Bounds]:
        """What it leaves of each column that it cuts to an interval, alike for all stars or along the stream."""
        return {}

    def parts(self) -> list[Selection]:
        """The selections that all have to pass, one after the other."""
        return [self]

    def counts(self, data: Data) -> Counts:
        """How many stars each part removes.

        Returns:
            Columns of a table with a row for each part: ``cut`` (what it is), ``alone`` (stars it removes by itself),
            ``removed`` (those that were left by the parts above it), ``left`` and ``unknown`` (stars it cannot judge,
            which pass it).
        """
        left = torch.ones(len(data), dtype=torch.bool, device=data.device)
        counts: dict[str, list[int]] = {name: [] for name in ("alone", "removed", "left", "unknown")}
        for part in self.parts():
            yes, no = part.answer(data)
            counts["alone"].append(int(no.sum()))
            counts["removed"].append(int((no & left).sum()))
            counts["unknown"].append(int((~yes & ~no).sum()))
            left = left & ~no
            counts["left"].append(int(left.sum()))
        return {"cut": [repr(part) for part in self.parts()], **counts}


class All(Selection):
    """Stars that pass every selection.

    Arguments:
        selections: One or more.

    Raises:
        InputError: If there is none.
    """

    def __init__(self, selections: list[Selection]) -> None:
        self.selections = _one_or_more(self, selections)

    def answer(self, data: Data) -> Answer:
        """Stars are in where every selection has them in, out where any has them out."""
        yes, no = zip(*(selection.answer(data) for selection in self.selections), strict=True)
        return Answer(torch.stack(yes).all(0), torch.stack(no).any(0))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of all."""
        return _columns(self.selections)

    def window(self) -> dict[str, Bounds]:
        """Where the windows overlap."""
        out: dict[str, Bounds] = {}
        for selection in self.selections:
            for name, bounds in selection.window().items():
                out[name] = overlap(out[name], bounds) if name in out else bounds
        return out

    def parts(self) -> list[Selection]:
        """The parts of all."""
        return [part for selection in self.selections for part in selection.parts()]

    def __repr__(self) -> str:
        return f"All({', '.join(map(repr, self.selections))})"


class Any(Selection):
    """Stars that pass one selection or more. Arguments and errors as of `All`."""

    def __init__(self, selections: list[Selection]) -> None:
        self.selections = _one_or_more(self, selections)

    def answer(self, data: Data) -> Answer:
        """Stars are in where any selection has them in, out where all have them out."""
        yes, no = zip(*(selection.answer(data) for selection in self.selections), strict=True)
        return Answer(torch.stack(yes).any(0), torch.stack(no).all(0))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of all."""
        return _columns(self.selections)

    def __repr__(self) -> str:
        return f"Any({', '.join(map(repr, self.selections))})"


class Not(Selection):
    """Stars that a selection leaves out; those that it cannot judge pass this one too.

    Arguments:
        selection: What is turned round.
    """

    def __init__(self, selection: Selection) -> None:
        self.selection = selection

    def answer(self, data: Data) -> Answer:
        """Stars are in where the selection has them out, and the other way round."""
        yes, no = self.selection.answer(data)
        return Answer(no, yes)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the selection."""
        return self.selection.columns

    def __repr__(self) -> str:
        return f"Not({self.selection!r})"


def judged(known: Tensor, inside: Tensor) -> Answer:
    """The answer of a selection that knows some stars, (N,), and which of them are inside, (N,)."""
    return Answer(known & inside, known & ~inside)


def value(data: Data, name: str, asked_by: str) -> tuple[Tensor, Tensor]:
    """A column and where it was measured, (N,) each; ``a - b`` is the difference of two columns, such as a colour.

    Raises:
        InputError: If the data lacks it.
    """
    (first, *rest) = columns_of(name) if name not in data else (name,)
    if missing := [column for column in (first, *rest) if column not in data]:
        advice = "list it in data.columns, or correct the name"
        raise InputError(f"{asked_by}: no column {missing[0]!r}; the data has {list(data.names)}: {advice}.")
    if not rest:
        return data[first], data.where[first]
    return data[first] - data[rest[0]], data.where[first] & data.where[rest[0]]


def columns_of(name: str) -> tuple[str, ...]:
    """The two columns of a difference, or the one column."""
    terms = tuple(term.strip() for term in name.split(" - "))
    return terms if len(terms) == 2 else (name,)


def _one_or_more(asked_by: object, selections: Sequence[Selection]) -> list[Selection]:
    if not selections:
        raise InputError(f"{type(asked_by).__name__} needs one selection or more; got none.")
    return list(selections)


def _columns(selections: Sequence[Selection]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for selection in selections for name in selection.columns))
