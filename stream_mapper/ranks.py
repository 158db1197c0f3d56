"""Which of the processes of a fit this one is, as launchers say in the environment."""

from __future__ import annotations

import os
import time

_PARENT = os.getppid()
# Number of this process among those of a fit, as launchers set it: the first that is set holds.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def is_first() -> bool:
    """Whether this process is the first of those that fit together, or is alone."""
    return next((os.environ[name] for name in _RANKS if name in os.environ), "0") == "0"


def launched_with_the_first() -> bool:
    """Whether a cluster started all the processes alike, so that all meet the same errors; else the first did."""
    return any(name in os.environ for name in _RANKS if name != "LOCAL_RANK")


def first_has_ended(seconds: float = 20.0) -> bool:
    """Whether the first process, if it started this one, ends within a time, which has said why if it could."""
    if is_first() or launched_with_the_first():
        return False
    until = time.monotonic() + seconds
    while os.getppid() == _PARENT and time.monotonic() < until:
        time.sleep(0.05)
    return os.getppid() != _PARENT
