"""What depends on the device that computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LOOKS = {"cpu"}


def may_look(device: torch.device) -> bool:
    """Whether a step of the training may look at its numbers, such as to leave out rows that need no computation.

    On a CPU that saves time. Any other device would have to be waited for, which costs more than to compute all.
    """
    return device.type in _LOOKS


@contextmanager
def not_looking() -> Iterator[None]:
    """Inside, a CPU computes what another device would; for tests."""
    _LOOKS.discard("cpu")
    try:
        yield
    finally:
        _LOOKS.add("cpu")
