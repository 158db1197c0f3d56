"""Memberships of a catalogue: ``python -m stream_mapper.predict --checkpoint ... --catalogue ... --output ...``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from stream_mapper.commands import parse, run
from stream_mapper.errors import check_at_least

if TYPE_CHECKING:
    from stream_mapper.data import Data
    from stream_mapper.models import MixtureModel

_log = logging.getLogger("stream_mapper")


def predict(checkpoint: str, catalogue: str, output: str, draws: int = 32) -> Path:
    """Write the catalogue with the membership of each of its stars.

    Arguments:
        checkpoint: A checkpoint that a fit wrote; everything else is read from it.
        catalogue: A table with the columns the fit had, in any order: FITS, ECSV, CSV or Parquet. Magnitudes may be
            missing.
        output: The table to write; the ending gives the format.
        draws: Draws of the posterior for the quantiles.

    Raises:
        InputError: If the checkpoint or the table cannot be used.
    """
    from stream_mapper.catalog import check_target, write_table  # noqa: PLC0415
    from stream_mapper.results.membership import membership_names, membership_table, memberships, set_aside  # noqa: PLC0415
    from stream_mapper.training.checkpoint import load_run, photometric_columns  # noqa: PLC0415
    from stream_mapper.training.datamodule import check_columns  # noqa: PLC0415
    from stream_mapper.training.stages import with_frozen_densities  # noqa: PLC0415

    check_at_least("draws", draws)
    check_target(Path(output))
    module, datamodule = load_run(checkpoint)
    model = cast("MixtureModel", module.model)
    datamodule.path = catalogue
    stars, table = datamodule.read(optional=photometric_columns(model))
    check_columns(model, stars)
    table = set_aside(table, membership_names(model), catalogue)
    _warn_beyond(model, stars)
    _warn_outside(model, stars)
    if module.draw is None:
        _log.warning("%s has no posterior, so the quantiles are NaN; best.ckpt of a finished fit has one.", checkpoint)
    stars = with_frozen_densities(model, stars)
    write_table(membership_table(table, memberships(model, stars, module.draw, draws)), output)
    return Path(output)


def _warn_beyond(model: MixtureModel, stars: Data) -> None:
    """Say how many stars lie beyond the range the networks were trained on."""
    scaler = model.weights.indep_scaler
    for i, name in enumerate(scaler.names):
        low, high = scaler.low[i].item(), scaler.high[i].item()
        margin = 0.01 * (high - low)
        beyond = stars.where[name] & ((stars[name] < low - margin) | (stars[name] > high + margin))
        if beyond.any():
            _log.warning(
                "%d of %d stars lie beyond the fitted range, %s %.2f to %.2f; there the fit's values at its ends hold.",
                *(int(beyond.sum()), len(stars), name, low, high),
            )


def _warn_outside(model: MixtureModel, stars: Data) -> None:
    """Say how many stars are outside the window."""
    from stream_mapper.training.datamodule import spans, windows_of  # noqa: PLC0415

    inside, window = int(model.in_window(stars).sum()), windows_of(model)
    if not inside:
        text = "none of the %d stars is inside the fitted window %s, so every membership is zero; the table spans %s."
        _log.warning(text, len(stars), window, spans(stars, tuple(window)))
    elif inside < len(stars):
        text = "%d of %d stars are outside the fitted window %s; their membership is zero."
        _log.warning(text, len(stars) - inside, len(stars), window)


def main(args: Sequence[str] | None = None) -> None:
    """Command-line entry: a clear line and exit status 2 for unusable input."""
    path = run(lambda: predict(**parse(predict, args)))
    print(f"memberships: {path}")


if __name__ == "__main__":
    main()
