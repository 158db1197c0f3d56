"""Work that the processes of a fit share."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, distributed

from stream_mapper.data import Data
from stream_mapper.models.known import Batch

Stars = TypeVar("Stars", Data, Batch)


def gather_rows(compute: Callable[[Stars], dict[str, Tensor]], stars: Stars, device: torch.device) -> dict[str, Tensor]:
    """Columns (N, ...) of all the stars, of which each process computes those of its own share.

    What one process would find is found exactly; by one process alone, if it is alone.

    Arguments:
        compute: Columns of some of the stars, floating-point numbers, by name.
        stars: N stars, the same in every process.
        device: Where the processes exchange them: that of the fit.
    """
    if not _are_several():
        return compute(stars)
    rank, size = distributed.get_rank(), distributed.get_world_size()
    first, last = (len(stars) * i // size for i in (rank, rank + 1))
    share = compute(stars[first:last])
    return {name: _gathered(values, first, last, len(stars), device) for name, values in share.items()}


def _gathered(share: Tensor, first: int, last: int, size: int, device: torch.device) -> Tensor:
    """A column (N, ...) from each process's share of it: the others add zero, which changes nothing, not even NaN."""
    column = share.new_zeros(size, *share.shape[1:], device=device)
    column[first:last] = share.to(device)
    distributed.all_reduce(column)
    return column.to(share.device)


def of_each(value: Any) -> list[Any]:
    """What each process has, in their order; all of them ask for it."""
    if not _are_several():
        return [value]
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def ones_own(values: list[Any]) -> Any:
    """Of what each process had, that of this one; of the first if they were not as many."""
    if _are_several() and len(values) == distributed.get_world_size():
        return values[distributed.get_rank()]
    return values[0]


def end_alone(status: int) -> None:
    """Let this process, if it is one of several, end without waiting for the others, which wait for it.

    Arguments:
        status: The exit status that it will have.
    """
    if _are_several():
        atexit.register(_end, status)


def _end(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _are_several() -> bool:
    return distributed.is_available() and distributed.is_initialized()
