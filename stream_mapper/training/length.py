"""How long a training takes: in steps, whatever the number of stars."""

from __future__ import annotations

import math

import lightning as L

from stream_mapper.training.batches import batch_sizes

BY_STARS = -1
"""Number of epochs that stands for as many as the number of stars asks for."""

STEPS = 600
"""Steps of a training of the mixture, and of a density before it at least."""

STEPS_A_COORDINATE = 300
"""Steps of a density before it for each of its coordinates: with half as many what a flow does not know yet still makes
members where there are none."""

FEWEST = 5
"""Epochs at least: of a large table, each star is seen a few times."""


def epochs_for(n_stars: int, batch_size: int | None = None, steps: int = STEPS) -> int:
    """Epochs that take as many steps as a training needs.

        >>> epochs_for(13_000, 2048), epochs_for(2_000_000, 2048)
        (86, 5)

    Arguments:
        n_stars: Stars that are trained on.
        batch_size: Stars in a step; None for all of them.
        steps: Steps that it needs.
    """
    return max(FEWEST, math.ceil(steps / len(batch_sizes(n_stars, batch_size))))


def set_length(trainer: L.Trainer, n_stars: int, batch_size: int | None) -> None:
    """Give a trainer without a number of epochs, or with steps alone, the epochs it is to run."""
    if trainer.max_epochs != BY_STARS:
        return
    per_epoch = len(batch_sizes(n_stars, batch_size))
    asked = math.ceil(trainer.max_steps / per_epoch) if trainer.max_steps > 0 else epochs_for(n_stars, batch_size)
    trainer.fit_loop.max_epochs = asked
