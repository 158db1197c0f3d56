"""How far something is that takes a while: a line on the terminal, and nothing where there is none."""

from __future__ import annotations

import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")

AFTER = 5.0
"""Seconds after which there is a line."""
_LINE = "{desc}: {n_fmt} of {total_fmt}, {elapsed} gone, {remaining} to go"


def is_quiet() -> bool:
    """Whether no more than warnings is asked for."""
    return logging.getLogger("stream_mapper").level >= logging.WARNING


def is_shown() -> bool:
    """Whether the error stream is a terminal, more than warnings is wanted, and this is no process of a pool."""
    return sys.stderr.isatty() and not is_quiet() and multiprocessing.parent_process() is None


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """The items, with a line such as ``figures: 3 of 25`` on the terminal once they have taken five seconds.

    Arguments:
        items: What is gone through.
        what: What they are, as the line calls it.
        total: Their number; by default their length.
    """
    size = len(items) if total is None and isinstance(items, Sized) else total
    with counted(what, size) as step:
        for item in items:
            yield item
            step()


@contextmanager
def counted(what: str, total: int | None) -> Iterator[Callable[[], object]]:
    """Inside, what is given is called after each of so many steps; see :func:`progress`."""
    if not is_shown():
        yield lambda: None
        return
    from tqdm import tqdm  # noqa: PLC0415 (few programs are at a terminal)

    with tqdm(total=total, desc=what, delay=AFTER, leave=False, bar_format=_LINE) as line:
        update: Any = line.update
        yield update
