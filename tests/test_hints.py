"""Whether a value is of a type: a table of both."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from stream_mapper.errors import InputError
from stream_mapper.hints import check_arguments, fits

FITTING = [
    (1, float),
    (torch.ones(()), float),
    (True, bool),
    ("a", str | None),
    (None, str | None),
    ([1, 2.5], Sequence[float]),
    ((1, "a"), tuple[int, str]),
    ([1, 2, 3], tuple[int, ...]),
    ([], tuple[int, ...]),
    (torch.ones(3), Sequence[float]),
    ([[1.0], [2.0]], Tensor),
    ({"a": [1, 2]}, Mapping[str, Sequence[int]]),
    (nn.Identity(), nn.Module),
    (len, Callable[[Any], int]),
    ("end", Literal["end", "best"]),
    ({"anything": 1}, Any),
]
ODD = [
    ("1", float),
    (None, float),
    (0.5, int),
    (3, str | None),
    ("ab", Sequence[str]),
    (["a", 0.5], Sequence[str]),
    ((1,), tuple[int, str]),
    ({"a": 1}, Mapping[str, Sequence[int]]),
    ({1: [1]}, Mapping[str, Sequence[int]]),
    ([], nn.Module),
    ([1], Callable[[Any], int]),
    ("last", Literal["end", "best"]),
]


@pytest.mark.parametrize(("value", "hint"), FITTING)
def test_what_fits(value, hint):
    assert fits(value, hint)


@pytest.mark.parametrize(("value", "hint"), ODD)
def test_what_does_not(value, hint):
    assert not fits(value, hint)


def made_of(count: int, *rest: int, name: str = "a", **others: float) -> None:
    """What is checked."""


def test_arguments_are_those_of_the_signature():
    check_arguments(made_of, [1], {"name": "b"})
    check_arguments(made_of, [1, "what is gathered"], {"other": "is not looked at"})
    check_arguments(made_of, [], {"unknown": 1})  # the call says it
    with pytest.raises(InputError, match="made_of: count cannot be 'x'"):
        check_arguments(made_of, ["x"], {})
    with pytest.raises(InputError, match=r"made_of: name cannot be \[0, 1, 2, .*\.\.\."):
        check_arguments(made_of, [1], {"name": list(range(100))})
