"""Several chunks of stars at once on a CPU, where one is too small to be shared out among threads itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from itertools import islice
from typing import TypeVar

import torch

from stream_mapper.devices import sync_is_cheap

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 2  # results of each thread that may wait to be fetched


class Threads:
    """Computes the same of several items, each in a thread.

    Arguments:
        pool: The threads; without them there is one item after the other.
        count: Their number.
    """

    def __init__(self, pool: ThreadPoolExecutor | None = None, count: int = 1) -> None:
        self._pool, self._count = pool, count

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """``function`` of each item, in order, without derivatives; a few results wait in memory, no more.

        Arguments:
            function: What is computed; it changes nothing.
            items: What it is computed of.
        """
        alone = torch.no_grad()(function)
        return map(alone, items) if self._pool is None else _in_order(self._pool, alone, items, _AHEAD * self._count)


@contextmanager
def threads_on(device: torch.device) -> Iterator[Threads]:
    """Inside, there are as many threads as torch had for each operation, which has one for itself.

    The numbers are the same whatever their number, as each item is computed as if it were alone.

    Arguments:
        device: Where the numbers are; on any but a CPU everything stays in this thread.
    """
    count = torch.get_num_threads()
    if count == 1 or not sync_is_cheap(device):
        yield Threads()
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count) as pool:
            yield Threads(pool, count)
    finally:
        torch.set_num_threads(count)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Sequence[Item], ahead: int
) -> Iterator[Result]:
    """Results in the order of the items, so many of which are begun before they are asked for."""
    waiting: deque[Future[Result]] = deque()
    rest = iter(items)
    try:
        for item in islice(rest, ahead):
            waiting.append(pool.submit(copy_context().run, function, item))
        while waiting:
            result = waiting.popleft().result()
            for item in islice(rest, 1):
                waiting.append(pool.submit(copy_context().run, function, item))
            yield result
    finally:
        for future in waiting:
            future.cancel()
