"""A fitted model as a function of tables."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from stream_mapper.data import Data
from stream_mapper.models import MixtureModel
from stream_mapper.results.membership import membership_arrays, membership_names, membership_types, memberships
from stream_mapper.results.tally import Tally
from stream_mapper.training import checkpoint as checkpoints
from stream_mapper.training.datamodule import check_columns, windows_of
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
        draws: Draws of the posterior for the quantiles.

    Raises:
        InputError: If the checkpoint cannot be used.
    """

    def __init__(self, checkpoint: str, draws: int = 32) -> None:
        self.checkpoint, self.draws = checkpoint, draws
        module, self.datamodule = checkpoints.load_run(checkpoint)
        self.model, self.draw = cast("MixtureModel", module.model), module.draw
        self.members = module.members
        self.optional = checkpoints.photometric_columns(self.model)

    @property
    def names(self) -> list[str]:
        """Names of the columns of the memberships."""
        return membership_names(self.model)

    @property
    def types(self) -> dict[str, np.dtype[Any]]:
        """Their types."""
        return membership_types(self.model)

    def say_without_draws(self) -> None:
        """Warn if there is no posterior to draw from."""
        if self.draw is None:
            text = "%s has no posterior, so the quantiles are NaN; best.ckpt of a finished fit has one."
            _log.warning(text, self.checkpoint)

    def columns(self, names: Sequence[str]) -> list[str]:
        """Columns of a table of these names that are read."""
        return self.datamodule.reading.columns_read(names)

    def read(self, table: Any, path: str) -> Data:
        """The stars of a table, or of some rows of one.

        Arguments:
            table: A table of astropy.
            path: What messages call it.

        Raises:
            InputError: If the table cannot be used with this model.
        """
        stars, _ = self.datamodule.reading.load(table, optional=self.optional, path=path, part=True)
        check_columns(self.model, stars)
        return stars

    def __call__(self, stars: Data) -> dict[str, NDArray[Any]]:
        """Membership columns of the stars, by name."""
        columns = memberships(self.model, stars, self.draw, self.draws, self._prepare, self.members)
        return membership_arrays(columns)

    def tally(self, stars: Data) -> Tally:
        """What is to be said of some stars."""
        return Tally.of(self.model, stars)

    def say(self, tally: Tally, path: str, names: Sequence[str]) -> None:
        """Say it, of a catalogue with columns of these names."""
        absent = self.datamodule.reading.absent(names, self.optional)
        tally.say(self.model, windows_of(self.model), path, absent)

    def _prepare(self, stars: Data) -> Data:
        return with_frozen_densities(self.model, stars)
