"""The LightningDataModule of a star catalogue."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from astropy.table import Table
from torch import Tensor

from stream_mapper.catalog import Blank, Column, Corrections, Reading, SkyFrame, check_ids, id_column, to_table
from stream_mapper.data import Data
from stream_mapper.errors import InputError, check_at_least, check_share
from stream_mapper.mock import Simulator
from stream_mapper.mock.base import simulated
from stream_mapper.models.base import Model, windows_of
from stream_mapper.models.known import Batch, KnownDensities
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.paths import FilePath
from stream_mapper.results.annotation import Intake, check_columns, membership_names, rename_clashes
from stream_mapper.results.metrics import bare_magnitudes
from stream_mapper.selection import Selection
from stream_mapper.selection.base import Counts
from stream_mapper.training.batches import Batches, batch_sizes
from stream_mapper.training.cuts import counts_of_cuts, log_cuts, warn_unlike_window

_log = logging.getLogger("stream_mapper")


@dataclass(frozen=True)
class FitStars:
    """The stars of a fit.

    Arguments:
        table: The table they are from, N rows; its columns that are called like results have other names.
        stars: All its stars, row by row.
        inside: Whether each is inside the model's window, (N,).
        selected: Whether the selection lets each in, (N,).
        train_rows: Rows of those the model is trained on.
        val_rows: Rows of those held out.
        id: The column that tells stars apart, if there is one.
        cuts: What each cut of the selection removes, if there is one.
    """

    table: Table
    stars: Data
    inside: Tensor
    selected: Tensor
    train_rows: Tensor
    val_rows: Tensor
    id: str | None = None
    cuts: Counts | None = None

    @property
    def train(self) -> Data:
        """The stars the model is trained on."""
        return self.stars[self.train_rows]

    @property
    def fitted(self) -> Tensor:
        """Whether each star is inside the window and selected, (N,)."""
        return self.inside & self.selected

    def check_shares(self, batch_size: int | None, processes: int) -> None:
        """Raise InputError if some process would have no star of a batch or of the held-out stars."""
        batch_sizes(len(self.train_rows), batch_size, processes, "training stars")
        batch_sizes(len(self.val_rows), None, processes, "held-out stars")


class CatalogueDataModule(L.LightningDataModule):
    """Reads a catalogue, splits it, and serves whole batches by one index.

    A trainer that is given this and a `StreamModule` reads the stars itself, and fits the model's scalers on them;
    densities that are trained beforehand are trained by :func:`stream_mapper.fit` and the command alone.

    Arguments:
        columns: Names to read, or name to column of the table, or name to column and unit; by default those that the
            model and the selection read, by their internal names.
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
        blank: What counts as missing although the table has it, such as magnitudes fainter than a limit.

    Raises:
        InputError: If a batch would be empty or the held-out share is not between 0 and 1.
    """

    def __init__(
        self,
        columns: list[str] | dict[str, str | Column] | None = None,
        path: FilePath | None = None,
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
        blank: list[Blank] | None = None,
    ) -> None:
        super().__init__()
        check_at_least("data.batch_size", batch_size)
        check_share("data.val_fraction", val_fraction)
        self.intake = Intake(Reading(columns or [], frame, errors, survey, corrections, blank), selection, id)
        self.path = None if path is None else os.fspath(path)
        self.simulator, self.source = simulator, source
        self.batch_size, self.val_fraction, self.seed = batch_size, val_fraction, seed
        self._train, self._val = _NOTHING, _NOTHING

    @classmethod
    def of_table(cls, table: Table | str, intake: Intake, **options: Any) -> CatalogueDataModule:
        """A module of a table that is at hand.

        Arguments:
            table: The table, or its path.
            intake: How the stars are taken from it.
            **options: ``batch_size``, ``val_fraction`` and ``seed``.
        """
        module = cls(list(intake.reading.columns), path=table if isinstance(table, str) else None, **options)
        module.intake = intake
        module._table = None if isinstance(table, str) else table
        return module

    _table: Table | None = None

    def read(self, model: Model) -> FitStars:
        """Read the stars, check them against the model and split those inside its window.

        Raises:
            InputError: If the table cannot be used, the model needs a column that was not read, or no star is inside
                its window.
        """
        self.intake = self.intake.completed(model)
        stars, table = self.intake.reading.load(self._source())
        check_columns(model, stars)
        of_id = id_column(table.colnames, self.intake.id)
        self._check_table(model, stars, table, of_id)
        if isinstance(model, MixtureModel):
            table = rename_clashes(table, [*membership_names(model), *self.intake.result_names], self.path)
        inside = model.in_window(stars)
        selected, cuts = self._select(model, stars, inside)
        train_rows, val_rows = self._split((inside & selected).nonzero()[:, 0], model, stars)
        if bare := bare_magnitudes(model, stars):
            text = "%d of %d stars have a magnitude without its error, so it counts as not measured; see data.errors"
            _log.warning(text, bare, len(stars))
        if outside := int((~inside).sum()):
            text = "%d of %d stars are outside the model's window %s: not fitted, and in_window is False for them."
            _log.info(text, outside, len(stars), windows_of(model))
        return FitStars(table, stars, inside, selected, train_rows, val_rows, of_id, cuts)

    def serve(self, stars: FitStars, known: KnownDensities | None = None) -> None:
        """Let the loaders give the stars of a fit, with what is known of their densities."""
        whole = Batch(stars.stars, known or KnownDensities())
        self._train, self._val = whole[stars.train_rows], whole[stars.val_rows]

    def setup(self, stage: str) -> None:  # noqa: ARG002
        """Read the stars and fit the scalers of the model, for a trainer that is given both."""
        if not len(self._train) and self.trainer is not None:
            model: Any = self.trainer.lightning_module.model
            stars = self.read(model)
            model.fit_scalers(stars.train)
            self.serve(stars)

    def train_dataloader(self) -> Batches:
        """Batches of the training stars, in a new order each epoch."""
        return self._batches(self._train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> Batches:
        """The held-out stars."""
        return self._batches(self._val, None, shuffle=False)

    def _source(self) -> Any:
        """The table or its path."""
        if self._table is not None:
            return self._table
        if self.path is None and self.simulator is None:
            advice = "no table: give --data.path FILE (FITS, ECSV, CSV or Parquet), or data.simulator."
            raise InputError(f"{advice} {self.source}")
        return to_table(simulated(self.simulator)) if self.path is None and self.simulator is not None else self.path

    def _select(self, model: Model, stars: Data, inside: Tensor) -> tuple[Tensor, Counts | None]:
        """Whether each star is selected, (N,), and what each cut removes, which is logged."""
        selection = self.intake.selection
        if selection is None:
            return torch.ones_like(inside), None
        cuts = counts_of_cuts(selection, stars, inside)
        log_cuts(cuts)
        warn_unlike_window(selection, model)
        return selection(stars), cuts

    def _split(self, rows: Tensor, model: Model, stars: Data) -> tuple[Tensor, Tensor]:
        """The rows of the training and of the held-out stars, in order."""
        if len(rows) < 2:
            chosen = "" if self.intake.selection is None else "selected and "
            raise InputError(
                f"{len(rows)} of {len(stars)} stars are {chosen}inside the model's window {windows_of(model)}; "
                f"the table spans {spans(stars, tuple(windows_of(model)))}; a fit needs 2 or more."
            )
        order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed))]
        n_val = max(1, round(self.val_fraction * len(rows)))
        return order[n_val:].sort().values, order[:n_val].sort().values

    def _check_table(self, model: Model, stars: Data, table: Table, of_id: str | None) -> None:
        """Raise InputError if two stars have one identifier, or a column of the model has no value at all."""
        path = self.path or "the simulated table"
        if of_id is not None:
            check_ids(table, of_id, path)
        if lost := [name for name in sorted(set(model.columns)) if not stars.where[name].any()]:
            advice = "give a table that has them, or a model without"
            raise InputError(f"{path}: not one value is measured in {lost}, which the model reads; {advice}.")

    def _batches(self, batch: Batch, batch_size: int | None, *, shuffle: bool) -> Batches:
        strategy, rank, world = None, 0, 1
        if self.trainer is not None:
            strategy, rank, world = self.trainer.strategy, self.trainer.global_rank, self.trainer.world_size
        batch = batch.to(strategy.root_device) if strategy is not None else batch
        return Batches(batch, batch_size, shuffle, self.seed, rank, world)


_NOTHING = Batch(Data({"": torch.zeros(0)}))


def spans(stars: Data, names: tuple[str, ...]) -> Mapping[str, tuple[float, float]]:
    """Lowest and highest measured value of each of these columns that has any."""
    measured = {name: stars[name][stars.where[name]] for name in names}
    return {n: (round(v.min().item(), 4), round(v.max().item(), 4)) for n, v in measured.items() if len(v)}
