"""Memberships of a HATS catalogue by LSDB, on the workers of Dask: ``pip install 'stream_mapper[lsdb]'``."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pandas as pd

from stream_mapper.catalog import from_frame
from stream_mapper.prediction.predictor import Predictor, quietly
from stream_mapper.results.annotation import clashes

if TYPE_CHECKING:
    from lsdb.catalog.catalog import Catalog

_loaded = threading.local()  # a draw changes a model while it lasts, so threads cannot share one


def predict_catalog(checkpoint: str, catalog: Catalog, draws: int = 32) -> Catalog:
    """A catalogue with the membership of each of its stars, computed when it is asked for.

        >>> catalog = lsdb.open_catalog("gaia_hats")  # doctest: +SKIP
        >>> members = predict_catalog("best.ckpt", catalog).query("p_member > 0.5").compute()  # doctest: +SKIP

    The example needs a catalogue and a checkpoint on disk, so the tests skip it. The columns need their default units,
    as HATS notes none. Each worker loads the checkpoint once, so it has to be where all of them find it.

    Arguments:
        checkpoint: A checkpoint that a fit wrote.
        catalog: The catalogue; of the columns it was opened with, those of the fit are read.
        draws: Draws of the posterior for the quantiles.

    Raises:
        InputError: If the checkpoint cannot be used.
    """
    predictor = Predictor(checkpoint, draws)
    predictor.warn_without_draws()
    meta = catalog.meta
    renamed = clashes(list(meta.columns), predictor.annotation.names, "the catalogue")
    empty = {name: pd.Series([], dtype=kind) for name, kind in predictor.annotation.types.items()}
    meta = meta.rename(columns=renamed).assign(**empty)
    return catalog.map_partitions(_predict, checkpoint, draws, renamed, meta=meta)


def _predict(frame: pd.DataFrame, checkpoint: str, draws: int, renamed: dict[str, str]) -> pd.DataFrame:
    """The stars of one partition with their memberships."""
    predictor = _predictor(checkpoint, draws)
    result = frame.rename(columns=renamed)
    if not len(frame):
        return result.assign(**{name: pd.Series([], dtype=kind) for name, kind in predictor.annotation.types.items()})
    with quietly():
        stars = predictor.annotation.read(
            from_frame(frame[predictor.annotation.columns_read(list(frame.columns))]), "the catalogue"
        )
    return result.assign(**predictor(stars))


def _predictor(checkpoint: str, draws: int) -> Predictor:
    """The model, loaded once in each thread of a worker."""
    if getattr(_loaded, "of", None) != (checkpoint, draws):
        _loaded.of, _loaded.predictor = (checkpoint, draws), Predictor(checkpoint, draws)
    predictor: Predictor = _loaded.predictor
    return predictor
