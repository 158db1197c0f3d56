"""What depends on the device that computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stream_mapper.errors import InputError

_CHEAP = {"cpu"}


def device_of(name: str) -> torch.device:
    """A device by its name, such as "cpu", "cuda" or "cuda:1".

    Raises:
        InputError: If there is no such device here.
    """
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    known = ["cpu", *(["cuda"] if gpus else []), *gpus]
    if name not in known:
        raise InputError(f"device {name!r} is not to be had here; there are {', '.join(known)}.")
    return torch.device(name)


def sync_is_cheap(device: torch.device) -> bool:
    """Whether reading a value back from the device is cheap, such as to leave out rows that need no computation.

    On a CPU it is. Any other device would have to be waited for, which costs more than to compute all.
    """
    return device.type in _CHEAP


@contextmanager
def without_sync() -> Iterator[None]:
    """Inside, a CPU computes what another device would; for tests."""
    _CHEAP.discard("cpu")
    try:
        yield
    finally:
        _CHEAP.add("cpu")
