"""A decision, and what every part of them shares."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from stream_mapper.utils import significant

T = TypeVar("T")
Range = tuple[float, float]


class Choice(NamedTuple, Generic[T]):
    """A decision and, in a sentence, its reason."""

    value: T
    reason: str


def digits(x: float) -> float:
    """A number of four digits, as a person would write it."""
    return significant(x, 4)
