"""A fit as a function of tables, with what is to be logged of their stars."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from numpy.typing import NDArray

from stream_mapper.data import Data
from stream_mapper.devices import device_of
from stream_mapper.errors import InputError
from stream_mapper.loading import load
from stream_mapper.models.base import windows_of
from stream_mapper.results.annotation import Annotation
from stream_mapper.results.tally import Tally

_log = logging.getLogger("stream_mapper")
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def _passes(record: logging.LogRecord) -> bool:
    return not _quiet.get() or record.levelno >= logging.ERROR


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, the package logs nothing in this thread: an earlier chunk has been logged."""
    token = _quiet.set(True)
    _log.addFilter(_passes)  # once, however many threads are inside
    try:
        yield
    finally:
        _quiet.reset(token)


class Predictor:
    """Memberships by a checkpoint.

    Arguments:
        checkpoint: A checkpoint that a fit wrote.
        draws: Draws of the posterior for the quantiles, which are NaN without.
        device: Name of the device that computes them.

    Raises:
        InputError: If the checkpoint cannot be used, or there is no such device.
    """

    def __init__(self, checkpoint: str, draws: int = 32, device: str = "cpu") -> None:
        self.checkpoint, self.draws, self.device = checkpoint, draws, device
        where = device_of(device)
        self.fit = load(checkpoint).to(where)

    @property
    def annotation(self) -> Annotation:
        """What is added to a table."""
        return self.fit.annotation

    def __call__(self, stars: Data) -> dict[str, NDArray[Any]]:
        """Membership columns of the stars, by name."""
        return self.annotation.arrays(stars, self.fit.membership_columns(stars, self.draws))

    def warn_without_draws(self) -> None:
        """Warn if there is no posterior to draw from."""
        if self.draws and self.fit.draw is None:
            text = "%s has no posterior, so the quantiles are NaN; best.ckpt of a finished fit has one."
            _log.warning(text, self.checkpoint)

    def tally(self, stars: Data) -> Tally:
        """What is to be logged of some stars."""
        return Tally.of(self.fit.model, stars.to(self.device))

    def log(self, tally: Tally, path: str, names: Sequence[str]) -> None:
        """Log a tally of a catalogue with columns of these names.

        Raises:
            InputError: If no star has what the model's functions are of, such as phi1.
        """
        model = self.fit.model
        lost = [name for name in model.weights.indep_scaler.names if not tally.measured[name]]
        if lost:
            raise InputError(
                f"{path}: not one value is measured in {lost}; without it no star can be told from another."
            )
        tally.log(model, windows_of(model), path, self.annotation.absent(names))
