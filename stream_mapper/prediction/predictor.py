"""A fitted model as a function of tables."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from stream_mapper import __version__
from stream_mapper.catalog import check_ids, id_column
from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.models import MixtureModel
from stream_mapper.results.membership import membership_arrays, membership_names, membership_types, memberships
from stream_mapper.results.provenance import facts_of, internal_names, with_facts
from stream_mapper.results.tally import Tally
from stream_mapper.training import checkpoint as checkpoints
from stream_mapper.training.cuts import windows_of
from stream_mapper.training.datamodule import check_columns
from stream_mapper.training.stages import with_frozen_densities

_log = logging.getLogger("stream_mapper")
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
_log.addFilter(lambda record: not _quiet.get() or record.levelno >= logging.ERROR)


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, the package says nothing in this thread: it has been said of an earlier chunk."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


class Predictor:
    """Memberships by a checkpoint.

    Arguments:
        checkpoint: A checkpoint that a fit wrote.
        draws: Draws of the posterior for the quantiles, which are NaN without.

    Raises:
        InputError: If the checkpoint cannot be used.
    """

    def __init__(self, checkpoint: str, draws: int = 32) -> None:
        self.checkpoint, self.draws = checkpoint, draws
        module, self.datamodule = checkpoints.load_run(checkpoint)
        self.model, self.draw = cast("MixtureModel", module.model), module.draw if draws else None
        self.members = module.members
        self.facts = {
            **facts_of(self.model, self.datamodule.reading.frame, __version__),
            **checkpoints.provenance(checkpoint),
        }
        self.optional = checkpoints.photometric_columns(self.model)

    @property
    def names(self) -> list[str]:
        """Names of the columns of the memberships."""
        return [*membership_names(self.model), *self.datamodule.result_names]

    @property
    def types(self) -> dict[str, np.dtype[Any]]:
        """Their types."""
        return membership_types(self.model) | dict.fromkeys(self.datamodule.result_names, np.dtype(np.bool_))

    def note(self, table: Any) -> Any:
        """A result with the facts of its origin, and notes at the columns that are read and at the memberships."""
        internal = internal_names(table.colnames, self.datamodule.reading.columns, self.datamodule.reading.frame)
        own = {name: name for name in self.names}
        return with_facts(table, self.facts, {**internal, **own}, self._id(table.colnames))

    def _id(self, names: Sequence[str]) -> str | None:
        """The column that tells stars apart, if a table of these names has it."""
        asked = self.datamodule.id
        return None if asked and asked not in names else id_column(names, asked)

    def say_without_draws(self) -> None:
        """Warn if there is no posterior to draw from."""
        if self.draws and self.draw is None:
            text = "%s has no posterior, so the quantiles are NaN; best.ckpt of a finished fit has one."
            _log.warning(text, self.checkpoint)

    def columns(self, names: Sequence[str]) -> list[str]:
        """Columns of a table of these names that are read."""
        read = self.datamodule.reading.columns_read(names)
        return [name for name in names if name in read or name == self._id(names)]

    def read(self, table: Any, path: str) -> Data:
        """The stars of a table, or of some rows of one.

        Arguments:
            table: A table of astropy.
            path: What messages call it.

        Raises:
            InputError: If the table cannot be used with this model, or two of these stars have one identifier.
        """
        self._check_errors(table.colnames, path)
        if of_id := self._id(table.colnames):
            check_ids(table, of_id, path)
        stars, _ = self.datamodule.reading.load(table, optional=self.optional, path=path, part=True)
        check_columns(self.model, stars)
        return stars

    def __call__(self, stars: Data) -> dict[str, NDArray[Any]]:
        """Membership columns of the stars, by name."""
        columns = memberships(self.model, stars, self.draw, self.draws, self._prepare, self.members)
        return membership_arrays(columns | self.datamodule.selected_column(stars))

    def tally(self, stars: Data) -> Tally:
        """What is to be said of some stars."""
        return Tally.of(self.model, stars)

    def say(self, tally: Tally, path: str, names: Sequence[str]) -> None:
        """Say it, of a catalogue with columns of these names.

        Raises:
            InputError: If no star has what the model's functions are of, such as phi1.
        """
        absent = self.datamodule.reading.absent(names, self.optional)
        lost = [name for name in self.model.weights.indep_scaler.names if not tally.measured[name]]
        if lost:
            raise InputError(
                f"{path}: not one value is measured in {lost}; without it no star can be told from another."
            )
        tally.say(self.model, windows_of(self.model), path, absent)

    def _check_errors(self, names: Sequence[str], path: str) -> None:
        """Raise InputError if a table has a magnitude, but not the column of its errors."""
        absent = self.datamodule.reading.absent(names, self.optional)
        pairs = checkpoints.photometric_errors(self.model).items()
        if bare := {name: error for name, error in pairs if error in absent and name not in absent}:
            wish = "add them, or remove the magnitudes to do without"
            raise InputError(f"{path}: no column for the errors {list(bare.values())} of {list(bare)}; {wish}.")

    def _prepare(self, stars: Data) -> Data:
        return with_frozen_densities(self.model, stars)
