"""Batches of stars by one index operation each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.models.known import Batch


class Batches:
    """Whole batches cut from tensors that may already be on the device.

    Under several processes every process sees the same order and takes its share of each batch. The order is that of
    the epoch, which `StreamModule` takes from its trainer: a training that goes on in another process has the orders
    that it would have had.

    Arguments:
        stars: The stars, with what is known of their densities, if anything is.
        batch_size: Stars in a batch, over all processes; None for all stars at once.
        shuffle: Whether each epoch has an order of its own.
        seed: Seed of that order.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        InputError: If a batch has not one star for each process.
    """

    def __init__(
        self,
        stars: Data | Batch,
        batch_size: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.whole = stars if isinstance(stars, Batch) else Batch(stars)
        self.shuffle, self.seed = shuffle, seed
        self.rank, self.world_size = rank, world_size
        self.sizes = batch_sizes(len(stars), batch_size, world_size)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """From now on, give the order of this epoch, counted from zero."""
        self.epoch = epoch

    @property
    def n_stars(self) -> int:
        """Number of stars, over all processes."""
        return len(self.whole)

    def skip(self, skipped: Mapping[str, Tensor]) -> None:
        """From now on, the batches have these densities (N,) by component, which need not be computed."""
        self.whole = Batch(self.whole.stars, self.whole.known.with_skipped(skipped))

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Batch]:
        if len(self) == 1 and self.world_size == 1:
            yield self.whole
            return
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.n_stars, generator=generator) if self.shuffle else torch.arange(self.n_stars)
        for rows in order.to(self.whole.stars.device).split(self.sizes):
            yield self.whole[rows[self.rank :: self.world_size]]


def batch_sizes(n_stars: int, batch_size: int | None = None, processes: int = 1, which: str = "stars") -> list[int]:
    """Number of stars in each batch over all processes, as even as can be.

    Arguments:
        n_stars: Stars in all, 1 or more.
        batch_size: Stars in a batch at most; None for all at once.
        processes: Processes that share each batch.
        which: What stars they are, for the error.

    Raises:
        InputError: If a batch has not one star for each process.
    """
    count = math.ceil(n_stars / min(batch_size or n_stars, n_stars))
    smallest, larger = divmod(n_stars, count)
    if smallest < processes:
        raise InputError(
            f"{n_stars} {which} in batches of {batch_size or n_stars} leave {smallest} for {processes} processes to "
            "share; use fewer devices or larger batches."
        )
    return [smallest + (i < larger) for i in range(count)]
