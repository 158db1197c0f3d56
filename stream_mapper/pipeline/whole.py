"""A fit from the table to the run folder, every step of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from astropy.table import Table
from lightning.pytorch.loggers import TensorBoardLogger

from stream_mapper.catalog import Columns, Reading
from stream_mapper.fitted import Fit
from stream_mapper.inference.kernels import Kernel
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.pipeline.beginning import check_inputs, pretrain, read, start
from stream_mapper.pipeline.ending import collect, judge, settings_of, show_end, write
from stream_mapper.pipeline.functions import polish, posterior
from stream_mapper.pipeline.mixture import mixture_of, train, training_batches
from stream_mapper.results.annotation import Intake
from stream_mapper.results.run_folder import ResultOptions
from stream_mapper.results.stages import POLISH, POSTERIOR, Stages
from stream_mapper.training.background import BackgroundStage, Hardware
from stream_mapper.training.datamodule import CatalogueDataModule
from stream_mapper.training.module import StreamModule
from stream_mapper.training.off_stream import with_off_stream
from stream_mapper.training.trainer import make_trainer, only_warnings
from stream_mapper.training.whole_files import beside_nothing


def fit(
    model: MixtureModel,
    table: Table | str,
    reading: Reading | Columns | None = None,
    *,
    background: BackgroundStage | None = None,
    data: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
    results: ResultOptions | None = None,
    folder: str | Path | None = None,
    seed: int | None = 0,
) -> Fit:
    """Fit a mixture to a table of stars; what the command ``fit`` does, from Python.

    Arguments:
        model: The mixture; it is trained in place, and is the model of the result.
        table: The table, or its path.
        reading: How the stars are read; or what it reads, see :class:`stream_mapper.catalog.Reading`; by default the
            columns that the model reads, by their internal names.
        background: How the densities that are trained beforehand are trained, and on which stars.
        data: ``batch_size``, ``val_fraction``, ``seed``, ``selection`` and ``id``, as of
            :class:`stream_mapper.training.CatalogueDataModule`.
        training: ``learning_rate``, ``ensemble_size`` and more, as of :class:`stream_mapper.training.StreamModule`.
        trainer: ``max_epochs`` and any other argument of Lightning's ``Trainer``.
        results: Numbers of draws, and what a run folder holds.
        folder: Run folder to write; by default nothing is written, and :meth:`stream_mapper.fitted.Fit.save` writes it.
        seed: Seed of the training; None leaves the state of torch's generator. Weights that the model has are kept.

    Returns:
        The fit.

    Raises:
        InputError: If the table cannot be used with this model.
    """
    mixture_of(model)
    if seed is not None:
        L.seed_everything(seed, verbose=False)
    options = dict(data or {})
    taken = Intake.of_model(model).reading if reading is None else reading
    taken = taken if isinstance(taken, Reading) else Reading(taken)
    intake = Intake(taken, options.pop("selection", None), options.pop("id", None))
    datamodule = CatalogueDataModule.of_table(table, intake, **options)
    module = StreamModule(model, **(training or {}))
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(str(folder)) as root:
        with only_warnings():
            lightning = make_trainer(root, logger=folder is not None, **(trainer or {}))
        stage = background or BackgroundStage()
        finished = run(module, datamodule, lightning, stage, results, write_it=folder is not None)
    if finished is None:
        raise SystemExit(0)  # a process that is not the first, whose work is done
    return finished


def run(
    module: StreamModule,
    datamodule: CatalogueDataModule,
    trainer: L.Trainer,
    stage: BackgroundStage,
    options: ResultOptions | None = None,
    hardware: Hardware | None = None,
    write_it: bool = True,
    stages: Stages | None = None,
) -> Fit | None:
    """Every step of a fit.

    Arguments:
        module: The model and how it is trained.
        datamodule: Its stars.
        trainer: Trains it.
        stage: How the densities that are trained beforehand are trained.
        options: What the run folder holds.
        hardware: What the background is trained on; one process on the CPU by default.
        write_it: Whether to write the run folder.
        stages: Keeps the stages that are over, or has them; by default they are not kept.

    Returns:
        The fit; None in every process but the first.
    """
    model, ensemble, hardware = mixture_of(module.model), module.ensemble, hardware or Hardware(beside_nothing())
    options, stage, stages = options or ResultOptions(), with_off_stream(stage, model), stages or Stages()
    stars = read(model, ensemble, datamodule, hardware.processes)
    check_inputs(stages, model, stars)
    with only_warnings():
        pretrained = pretrain(model, ensemble, stars, stage, hardware, datamodule.intake, stages)
        known = pretrained.known
        start(model, ensemble)
        trained = train(trainer, module, datamodule, stars, known, stages)
    if not trainer.is_global_zero:
        return None
    module.to(trainer.strategy.root_device)
    batches = training_batches(module, stars, known)
    polished = stages.do(POLISH, module, lambda: _plain(polish(model, ensemble, batches)))
    priors = [[Kernel(*numbers) for numbers in each] for each in polished]
    stages.do(POSTERIOR, module, partial(posterior, model, ensemble, batches, priors))
    fitted, tables = collect(module, datamodule, stars, pretrained, trained, options)
    fitted = replace(fitted, off_stream=stage.off_stream if stage.path is None else None)
    fitted = judge(fitted, stars, pretrained, trained)
    if not write_it:
        return fitted
    write(fitted, replace(tables, checks=fitted.checks), trained)
    if isinstance(trainer.logger, TensorBoardLogger):
        show_end(fitted, tables, trained, pretrained, settings_of(module, datamodule, stage, trained.asked))
    stages.end()
    return replace(fitted, folder=trained.folder)


def _plain(priors: Sequence[Sequence[Kernel]]) -> list[list[tuple[float, ...]]]:
    """The numbers of the priors of each fit."""
    return [[astuple(kernel) for kernel in each] for each in priors]
