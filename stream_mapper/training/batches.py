"""Batches of stars by one index operation each."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from stream_mapper.data import Data


class Batches:
    """Whole batches cut from tensors that may already be on the device.

    Under several processes every process sees the same order and takes its share of each batch.

    Arguments:
        data: The stars.
        batch_size: Stars in a batch, over all processes; None for all stars at once.
        shuffle: Whether to draw a new order each epoch.
        seed: Seed of that order.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        data: Data,
        batch_size: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.data, self.shuffle, self.seed = data, shuffle, seed
        self.batch_size = min(batch_size or len(data), len(data))
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    @property
    def n_stars(self) -> int:
        """Number of stars, over all processes."""
        return len(self.data)

    def __len__(self) -> int:
        return math.ceil(self.n_stars / self.batch_size)

    def __iter__(self) -> Iterator[Data]:
        if len(self) == 1 and self.world_size == 1:
            yield self.data
            return
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        self.epoch += 1
        order = torch.randperm(self.n_stars, generator=generator) if self.shuffle else torch.arange(self.n_stars)
        for rows in order.to(self.data.device).tensor_split(len(self)):  # even: no process is left without stars
            yield self.data[rows[self.rank :: self.world_size]]
