"""The LightningDataModule of a star catalogue."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from astropy.table import Table

from stream_mapper.catalog import Column, Columns, Corrections, Reading, SkyFrame, check_ids, id_column, to_table
from stream_mapper.data import Data
from stream_mapper.errors import InputError, check_at_least, check_share
from stream_mapper.mock import Simulator
from stream_mapper.models import MixtureModel, Model
from stream_mapper.results.membership import membership_names, set_aside
from stream_mapper.selection import Selection
from stream_mapper.training.batches import Batches, batch_sizes
from stream_mapper.training.cuts import SELECTED, counts_of_cuts, say_cuts, warn_unlike_window, windows_of

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
        id: Column that tells stars apart, which no two may share; by default found by its name, such as source_id,
            and '' for none.
        source: Where to get the table, for the error when neither path nor simulator is given.
        selection: The stars that are fitted; the others are kept in every output, with ``selected`` False.
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
        selection: Selection | None = None,
        id: str | None = None,
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
        self.source, self.selection, self.id = source, selection, id

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
        self._check_table(model)
        if isinstance(model, MixtureModel):
            results = [*membership_names(model), *self.result_names]
            self.table = set_aside(self.table, results, self.path)
        self.inside = model.in_window(self.stars)
        rows = (self.inside & self._select(model)).nonzero()[:, 0]
        if len(rows) < 2:
            chosen = "" if self.selection is None else "selected and "
            raise InputError(
                f"{len(rows)} of {len(self.stars)} stars are {chosen}inside the model's window {windows_of(model)}; "
                f"the table spans {spans(self.stars, tuple(windows_of(model)))}; a fit needs 2 or more."
            )
        if outside := int((~self.inside).sum()):
            text = "%d of %d stars are outside the model's window %s: not fitted, and in_window is False for them."
            _log.info(text, outside, len(self.stars), windows_of(model))
        order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed))]
        n_val = max(1, round(self.val_fraction * len(rows)))
        self.train_rows, self.val_rows = order[n_val:].sort().values, order[:n_val].sort().values

    def _select(self, model: Model) -> torch.Tensor:
        """Whether each star is selected, (N,); what each cut removes is kept in ``cuts`` and said."""
        self.selected, self.cuts = torch.ones_like(self.inside), None
        if self.selection is not None:
            self.selected = self.selection(self.stars)
            self.cuts = counts_of_cuts(self.selection, self.stars, self.inside)
            say_cuts(self.cuts)
            warn_unlike_window(self.selection, model)
        return self.selected

    def selected_column(self, stars: Data) -> dict[str, torch.Tensor]:
        """Whether the selection lets each star in, as a column of the memberships; none without a selection."""
        return {} if self.selection is None else {SELECTED: self.selection(stars).cpu()}

    @property
    def result_names(self) -> list[str]:
        """Names of the columns that are added to the memberships here."""
        return [] if self.selection is None else [SELECTED]

    def _check_table(self, model: Model) -> None:
        """Raise InputError if two stars have one identifier, or a column of the model has no value at all."""
        path = self.path or "the simulated table"
        if self.id_column is not None:
            check_ids(self.table, self.id_column, path)
        if lost := [name for name in sorted(set(model.columns)) if not self.stars.where[name].any()]:
            wish = "give a table that has them, or a model without"
            raise InputError(f"{path}: not one value is measured in {lost}, which the model reads; {wish}.")

    @property
    def id_column(self) -> str | None:
        """The column of the table that tells stars apart, if there is one."""
        return id_column(self.table.colnames, self.id)

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


def spans(stars: Data, names: tuple[str, ...]) -> Mapping[str, tuple[float, float]]:
    """Lowest and highest measured value of each of these columns that has any."""
    measured = {name: stars[name][stars.where[name]] for name in names}
    return {n: (round(v.min().item(), 4), round(v.max().item(), 4)) for n, v in measured.items() if len(v)}
