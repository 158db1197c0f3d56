"""The LightningDataModule of a star catalogue."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from astropy.table import Table

from stream_mapper.catalog import Column, Columns, Corrections, Reading, SkyFrame, to_table
from stream_mapper.data import Data
from stream_mapper.errors import InputError, check_at_least, check_share
from stream_mapper.mock import Simulator
from stream_mapper.models import MixtureModel, Model
from stream_mapper.results.membership import membership_names, set_aside
from stream_mapper.training.batches import Batches, batch_sizes

_log = logging.getLogger("stream_mapper")


class CatalogueDataModule(L.LightningDataModule):
    """Reads a catalogue, splits it, and serves whole batches by one index.

    Arguments:
        columns: Names to read, or name to column of the table, or name to column and unit.
        path: The table: FITS, ECSV, CSV or Parquet.
        simulator: Makes the table where no path is given.
        frame: The stream's frame, for a table with sky coordinates.
        errors: Errors for values that have none; see :func:`stream_mapper.catalog.to_data`.
        batch_size: Stars in a batch over all processes; None for all stars at once.
        val_fraction: Share of the stars held out of the training.
        seed: Seed of the split and of the batches.
        source: Where to get the table, for the error when neither path nor simulator is given.
        survey: Survey or surveys whose names of magnitudes are looked for, such as ``gaia_dr3``; see
            :data:`stream_mapper.catalog.surveys.SURVEYS`.
        corrections: Parallax zero point, extinction and systematic errors.

    Raises:
        InputError: If a batch would be empty or the held-out share is not between 0 and 1.
    """

    def __init__(
        self,
        columns: list[str] | dict[str, str | Column],
        path: str | None = None,
        simulator: Simulator | None = None,
        frame: SkyFrame | None = None,
        errors: dict[str, float | dict[str, Any]] | None = None,
        batch_size: int | None = None,
        val_fraction: float = 0.1,
        seed: int = 0,
        source: str = "",
        survey: str | list[str] | None = None,
        corrections: Corrections | None = None,
    ) -> None:
        super().__init__()
        check_at_least("data.batch_size", batch_size)
        check_share("data.val_fraction", val_fraction)
        self.save_hyperparameters()
        self.reading = Reading(columns, frame, errors, survey, corrections)
        self.path, self.simulator = path, simulator
        self.batch_size, self.val_fraction, self.seed = batch_size, val_fraction, seed
        self.source = source

    def read(self, optional: tuple[str, ...] = ()) -> tuple[Data, Table]:
        """All the stars and the table they come from, row by row.

        Raises:
            InputError: If there is neither a path nor a simulator, or the table cannot be used.
        """
        if self.path is None and self.simulator is None:
            wish = "no table: give --data.path FILE (FITS, ECSV, CSV or Parquet), or data.simulator."
            raise InputError(f"{wish} {self.source}")
        source: Any = self.path
        if self.path is None and self.simulator is not None:
            source = to_table(self.simulator.simulate())
        return self.reading.load(source, optional=optional)

    @property
    def columns(self) -> Columns:
        """The columns that are read."""
        return self.reading.columns

    def prepare(self, model: Model) -> None:
        """Read the stars, check them against the model and split those inside its window.

        Raises:
            InputError: If the model needs a column that was not read, or no star is inside its window.
        """
        self.stars, self.table = self.read()
        check_columns(model, self.stars)
        if isinstance(model, MixtureModel):
            self.table = set_aside(self.table, membership_names(model), self.path)
        self.inside = model.in_window(self.stars)
        rows = self.inside.nonzero()[:, 0]
        if len(rows) < 2:
            raise InputError(
                f"{len(rows)} of {len(self.stars)} stars are inside the model's window {windows_of(model)}; "
                f"the table spans {spans(self.stars, tuple(windows_of(model)))}; a fit needs 2 or more."
            )
        if outside := len(self.stars) - len(rows):
            text = "%d of %d stars are outside the model's window %s: not fitted, and in_window is False for them."
            _log.info(text, outside, len(self.stars), windows_of(model))
        order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed))]
        n_val = max(1, round(self.val_fraction * len(rows)))
        self.train_rows, self.val_rows = order[n_val:].sort().values, order[:n_val].sort().values

    def check_shares(self, processes: int) -> None:
        """Raise InputError if some process would have no star of a batch or of the held-out stars."""
        batch_sizes(len(self.train_rows), self.batch_size, processes, "training stars")
        batch_sizes(len(self.val_rows), None, processes, "held-out stars")

    @property
    def train_stars(self) -> Data:
        """The stars the model is trained on."""
        return self.stars[self.train_rows]

    def train_dataloader(self) -> Batches:
        """Batches of the training stars, in a new order each epoch."""
        return self._batches(self.train_rows, self.batch_size, shuffle=True)

    def val_dataloader(self) -> Batches:
        """The held-out stars."""
        return self._batches(self.val_rows, None, shuffle=False)

    def _batches(self, rows: torch.Tensor, batch_size: int | None, *, shuffle: bool) -> Batches:
        strategy, rank, world = None, 0, 1
        if self.trainer is not None:
            strategy, rank, world = self.trainer.strategy, self.trainer.global_rank, self.trainer.world_size
        stars = self.stars[rows]
        stars = stars.to(strategy.root_device) if strategy is not None else stars
        return Batches(stars, batch_size, shuffle, self.seed, rank, world)


def check_columns(model: Model, stars: Data) -> None:
    """Raise InputError if the model reads a column that the data lacks."""
    missing = sorted(set(model.columns) - set(stars.names))
    if missing:
        raise InputError(f"the model reads the columns {missing}; data.columns has {sorted(stars.names)}.")


def windows_of(model: Model) -> dict[str, tuple[float, float]]:
    """The window of every coordinate of a model: where all its parts that have one overlap."""
    windows: dict[str, tuple[float, float]] = {}
    for part in model.parts():
        for name, (low, high) in part.coord_bounds.items():
            lowest, highest = windows.get(name, (low, high))
            windows[name] = max(low, lowest), min(high, highest)
    return windows


def spans(stars: Data, names: tuple[str, ...]) -> Mapping[str, tuple[float, float]]:
    """Lowest and highest measured value of each of these columns that has any."""
    measured = {name: stars[name][stars.where[name]] for name in names}
    return {n: (round(v.min().item(), 4), round(v.max().item(), 4)) for n, v in measured.items() if len(v)}
