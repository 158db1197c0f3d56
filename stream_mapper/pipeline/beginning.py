"""What comes before the training of a mixture: its stars, its background, and where the guides are."""

from __future__ import annotations

import json
import logging
from functools import partial

from stream_mapper import __version__
from stream_mapper.data import Data
from stream_mapper.description import describe
from stream_mapper.errors import InputError
from stream_mapper.inference.ensemble import Ensemble, draws_by_dropout
from stream_mapper.inference.frozen import known_densities
from stream_mapper.models.base import Model
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.paths import FilePath
from stream_mapper.results.annotation import Intake, check_columns
from stream_mapper.results.background import Pretrained
from stream_mapper.results.stages import Stages, digest_of
from stream_mapper.selection import Selection
from stream_mapper.training.background import BackgroundStage, Hardware, off_stream, train_background, train_copies
from stream_mapper.training.datamodule import CatalogueDataModule, FitStars
from stream_mapper.training.places import warn_of_places
from stream_mapper.training.processes import gather_rows
from stream_mapper.training.start import dry_run, start_from_guides

_log = logging.getLogger("stream_mapper")


def read(model: Model, ensemble: Ensemble, datamodule: CatalogueDataModule, processes: int = 1) -> FitStars:
    """The stars of a fit, after one pass over two of them, which finds what does not fit together.

    Raises:
        InputError: If the table cannot be used with this model, or leaves too few stars for each process.
    """
    stars = datamodule.read(model)
    stars.check_shares(datamodule.batch_size, processes)
    dry_run(model, stars.train)
    warn_of_places(model, stars.stars[stars.fitted])
    if len(ensemble) > 1:
        ensemble.evaluate(model, stars.train[:2])
    return stars


def check_inputs(stages: Stages, model: Model, stars: FitStars) -> None:
    """Raise InputError if a fit that goes on is of another table or model, or was begun by another version."""
    stages.check("the version of stream_mapper", lambda: __version__)
    stages.check("the catalogue", lambda: digest_of(stars.table, stars.stars, str(stars.train_rows.tolist())))
    stages.check("the model, or a file that it is made of,", lambda: digest_of(_described(model)))


def _described(model: Model) -> str:
    """What a model is made of, as text; nothing of one that cannot be described."""
    try:
        return json.dumps(describe(model), default=str)
    except InputError:
        return ""


def pretrain(
    model: Model,
    ensemble: Ensemble,
    stars: FitStars,
    stage: BackgroundStage,
    hardware: Hardware,
    intake: Intake,
    stages: Stages | None = None,
) -> Pretrained:
    """Train and freeze the densities that come before the mixture, fit the scalers; what is then known of the stars.

    Arguments:
        model: The model.
        ensemble: Its fits, which take copies of the densities, unless the model draws by dropout.
        stars: The stars that are fitted.
        stage: How the densities are trained.
        hardware: On what.
        intake: How the stars are read from another table, if the stage names one.
        stages: Keeps the densities that are trained, or has them.

    Raises:
        InputError: If that table cannot be used, or too few stars are left.
    """
    stages = stages or Stages()
    source = stars.train if stage.path is None else read_beside(model, stage.path, intake)
    if stage.path is not None:
        stages.check("the table of the background", partial(digest_of, source))
    found = train_background(model, source, stage, hardware, stages)
    if not draws_by_dropout(model):
        ensemble.resampled = train_copies(model, source, stage, hardware, stages)
    model.fit_scalers(stars.train)
    count_unjudged(model, stars, stage, intake.selection)
    known = known_densities(model, stars.stars, hardware.device, gather_rows)
    off = off_stream(source, stage)
    return Pretrained(known, source[off], stars.train_rows[off] if stage.path is None else None, found)


def count_unjudged(model: Model, stars: FitStars, stage: BackgroundStage, selection: Selection | None) -> None:
    """Count the stars that lack coordinates, which their windows did not judge: off the stream, if that is known."""
    if not isinstance(model, MixtureModel):
        return
    source = stars.stars
    model.unjudged.count(model, source[off_stream(source, stage)] if stage.path is None else source, selection)
    for text in model.unjudged.told():
        _log.info("%s", text)


def read_beside(model: Model, path: FilePath, intake: Intake) -> Data:
    """The stars of another table that the selection lets in, read as those that are fitted."""
    stars, _ = intake.reading.load(path)
    check_columns(model, stars)
    return stars if intake.selection is None else stars[intake.selection(stars)]


def start(model: Model, ensemble: Ensemble) -> None:
    """Bring every fit to the guides."""
    for one in ensemble.fits(model):
        with one:
            start_from_guides(model)
    model.train()
