"""A fit from the table to the run folder, step by step.

    table --read--> stars --pretrain--> background --start--> guides --train (Lightning)--> weights
    --polish--> top of the posterior --posterior--> its middle, and draws --judge--> checks --write--> run folder

Each step takes what it needs and returns what it found; :func:`run` is all of them. What each leaves in the run folder,
so that a fit that was stopped goes on, is in :mod:`stream_mapper.results.stages`.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import torch
from astropy.table import Table
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from stream_mapper import __version__
from stream_mapper.catalog import Columns, Reading
from stream_mapper.data import Data
from stream_mapper.description import describe
from stream_mapper.errors import InputError
from stream_mapper.fitted import Catalogue, Fit, profile_of
from stream_mapper.inference.ascent import ascend
from stream_mapper.inference.checks import Evidence, Schedule, verdict
from stream_mapper.inference.checks import judge as judged
from stream_mapper.inference.density import stars_behind
from stream_mapper.inference.ensemble import Ensemble, draws_by_dropout
from stream_mapper.inference.frozen import known_densities
from stream_mapper.inference.kernels import Kernel
from stream_mapper.inference.membership import drawn_memberships, p_member
from stream_mapper.inference.screening import screened, together
from stream_mapper.models.base import Model
from stream_mapper.models.components import frozen_parts, part_name
from stream_mapper.models.known import Batch, KnownDensities
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.paths import FilePath
from stream_mapper.progress import progress
from stream_mapper.results.annotation import Intake, check_columns
from stream_mapper.results.background import Pretrained, background_metrics
from stream_mapper.results.provenance import VERSIONS, facts_of, versions
from stream_mapper.results.run_folder import ResultOptions, RunTables, show
from stream_mapper.results.stages import MIXTURE, POLISH, POSTERIOR, Stages, digest_of
from stream_mapper.results.tables import checks_table
from stream_mapper.selection import Selection
from stream_mapper.training.background import BackgroundStage, Hardware, off_stream, train_background, train_copies
from stream_mapper.training.datamodule import CatalogueDataModule, FitStars
from stream_mapper.training.goes_on import GoesOn
from stream_mapper.training.length import set_length
from stream_mapper.training.module import StreamModule, ln_mean
from stream_mapper.training.off_stream import with_off_stream
from stream_mapper.training.places import warn_of_places
from stream_mapper.training.processes import gather_rows
from stream_mapper.training.screening import SKIP_BELOW
from stream_mapper.training.start import dry_run, start_from_guides
from stream_mapper.training.trainer import make_trainer, only_warnings
from stream_mapper.training.whole_files import beside_nothing, write_whole
from stream_mapper.utils import floats

if TYPE_CHECKING:
    from stream_mapper.inference.laplace import FunctionPosterior
    from stream_mapper.models.base import ParametricModel

_COMPARED = (
    "expected_members",
    "val_ln_likelihood",
    "average_precision",
    "completeness",
    "purity",
    "calibration_error",
    "seconds_fit",
)
"""Numbers by which TensorBoard compares runs."""
_BATCH = 20_000  # stars whose densities are computed at once
_MAYBE = 1e-3  # membership below which a star is none of those that the order of members is about

_log = logging.getLogger("stream_mapper")


@dataclass(frozen=True)
class Trained:
    """How a training went.

    Arguments:
        seconds: Time it took.
        epochs: Epochs it ran.
        asked: Epochs it was to run.
        best_epoch: Epoch of the weights, from 1, where those of the best are kept; None for those of the end.
        step: Steps of the optimiser.
        learning_rate: Learning rate of the last step, as a share of the highest.
        folder: Where its events and checkpoints are.
    """

    seconds: float
    epochs: int
    asked: int
    best_epoch: int | None
    step: int
    learning_rate: float
    folder: Path


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
    _mixture(model)
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
    model, ensemble, hardware = _mixture(module.model), module.ensemble, hardware or Hardware(beside_nothing())
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


def train(
    trainer: L.Trainer,
    module: StreamModule,
    datamodule: CatalogueDataModule,
    stars: FitStars,
    known: KnownDensities,
    stages: Stages | None = None,
) -> Trained:
    """Train with Lightning; the module then has the weights it keeps."""
    stages = stages or Stages()
    datamodule.serve(stars, known)
    set_length(trainer, len(stars.train_rows), datamodule.batch_size)
    write_whole(trainer)
    stages.begin()
    work = partial(_trained, trainer, module, datamodule, stages.last_epoch())
    trained = Trained(*stages.do(MIXTURE, module, work), Path(trainer.log_dir or "."))  # all processes ask for log_dir
    if trainer.is_global_zero:
        _log.info("%s", which_weights(trained))
    return trained


def _trained(
    trainer: L.Trainer, module: StreamModule, datamodule: CatalogueDataModule, last_epoch: Path | None
) -> tuple[float, int, int, int | None, int, float]:
    """Train, from the start or after an epoch, and take the weights that are kept; how it went, but for the folder."""
    trainer.fit(module, datamodule, ckpt_path=last_epoch)
    best = Path(getattr(trainer.checkpoint_callback, "best_model_path", "") or "none")
    of_best = module.weights == "best" and best.is_file()
    state = torch.load(best, map_location="cpu", weights_only=True) if of_best else None
    if state is not None:
        module.load_state_dict(state["state_dict"])
    return (
        next(each.seconds for each in trainer.callbacks if isinstance(each, GoesOn)),  # type: ignore[attr-defined]
        trainer.current_epoch,
        trainer.max_epochs or 0,
        None if state is None else state["epoch"] + 1,
        trainer.global_step,
        trainer.optimizers[0].param_groups[0]["lr"] / module.learning_rate,
    )


def which_weights(trained: Trained) -> str:
    """Which epoch the weights are of, and whether the training went to its end."""
    ran, asked = trained.epochs, trained.asked
    end = f"ran all {ran} epochs" if ran == asked else f"stopped early, after {ran} of {asked} epochs"
    if trained.best_epoch is None:
        return f"the weights are those of the end; the fit {end}."
    return f"the weights are those of epoch {trained.best_epoch}, the best on the held-out stars; the fit {end}."


def training_batches(module: StreamModule, stars: FitStars, known: KnownDensities) -> list[list[Batch]]:
    """All the training stars for each fit of the ensemble, in batches, without the densities that cannot matter."""
    model = _mixture(module.model)
    whole = Batch(stars.stars, known)[stars.train_rows].to(module.device)
    out = []
    for one in module.ensemble.fits(model):
        with one:
            out.append(together([screened(model, batch, 0.1 * SKIP_BELOW) for batch in whole.split(_BATCH)], _BATCH))
    return out


def polish(model: Model, ensemble: Ensemble, batches: Sequence[Sequence[Batch]]) -> list[list[Kernel]]:
    """Bring the functions of every fit to the top of their posterior, unless the model draws by dropout.

    Returns:
        The priors of each fit, which its stars chose.
    """
    if draws_by_dropout(model):
        return [[] for _ in ensemble.fits(model)]
    priors = []
    for one, fit_batches in progress(zip(ensemble.fits(model), batches, strict=True), "polish, fits", len(ensemble)):
        with one:
            priors.append(ascend(model, fit_batches))
    return priors


def _plain(priors: Sequence[Sequence[Kernel]]) -> list[list[tuple[float, ...]]]:
    """The numbers of the priors of each fit."""
    return [[astuple(kernel) for kernel in each] for each in priors]


def posterior(
    model: Model, ensemble: Ensemble, batches: Sequence[Sequence[Batch]], priors: Sequence[Sequence[Kernel]]
) -> None:
    """Fit the posterior of every fit, and bring it to the middle of that, unless the model draws by dropout."""
    if draws_by_dropout(model):
        return
    posteriors = cast("list[FunctionPosterior]", list(ensemble.posteriors))
    each = zip(ensemble.fits(model), posteriors, batches, priors, strict=True)
    for one, laplace, fit_batches, kernels in progress(each, "posterior, fits", len(ensemble)):
        with one:
            laplace.fit(model, fit_batches, kernels, ensemble.resampled)


def collect(
    module: StreamModule,
    datamodule: CatalogueDataModule,
    stars: FitStars,
    pretrained: Pretrained,
    trained: Trained,
    options: ResultOptions,
) -> tuple[Fit, RunTables]:
    """The fit, with the memberships of its stars and its numbers, and the tables of the run."""
    model, known = _mixture(module.eval().model), pretrained.known
    facts = facts_of(model, datamodule.intake.reading.frame, __version__, options.name, trained.folder / "config.yaml")
    facts |= {VERSIONS: versions()}
    seen = stars.stars[stars.fitted]
    profile = profile_of(seen[model.indep_coord_names[0]].cpu(), stars_behind(model, seen))
    fitted = Fit(model, module.ensemble, datamodule.intake, facts, profile, options=options)
    columns = fitted.membership_columns(stars.stars, options.draws, known)
    table = fitted.annotation.table(stars.table, fitted.annotation.arrays(stars.stars, columns))
    catalogue = Catalogue(table, stars.stars, Table(stars.cuts) if stars.cuts else None)
    fitted = replace(fitted, catalogue=catalogue)
    tables = fitted.tables(known)
    metrics = tables.metrics() | {"seconds_fit": trained.seconds, "epochs": trained.epochs}
    metrics |= {} if trained.best_epoch is None else {"best_epoch": trained.best_epoch}
    rows = pretrained.rows
    p_off = _p_beside(fitted, pretrained) if rows is None else columns["p_member"][rows.cpu()]
    metrics |= background_metrics(model, stars.stars[stars.fitted], pretrained, p_off)
    metrics |= {"scales": scales_of(model, module.ensemble)}
    held_out = Batch(stars.stars, known)[stars.val_rows].to(module.device)
    return replace(fitted, metrics=metrics | held_out_metrics(module, held_out)), tables


def scales_of(model: MixtureModel, ensemble: Ensemble) -> dict[str, list[float]]:
    """Scale of variation, in the unit of the coordinate, and amplitude of the prior of each output that varies.

    They are those of the first fit, by the path of the part and the name of the parameter.
    """
    first = cast("FunctionPosterior", ensemble.posteriors[0])
    parts = {path: cast("ParametricModel", model.get_submodule(path)) for path in first.priors()}
    return {
        f"{part_name(path)}.{name}": [kernel.scale, kernel.amplitude]
        for path, kernels in first.priors().items()
        for name, kernel in zip(parts[path].params.names, kernels, strict=True)
        if math.isfinite(kernel.scale)
    }


def _p_beside(fitted: Fit, pretrained: Pretrained) -> Tensor:
    """Membership of the stars of another table that the background was trained on, (M,)."""
    return fitted.membership_columns(pretrained.off_stream, draws=0)["p_member"]


@torch.no_grad()
def held_out_metrics(module: StreamModule, held_out: Batch) -> dict[str, Any]:
    """Mean log density of the held-out stars, and that by each fit of an ensemble: one may be at another top."""
    each = module.ln_likelihoods(held_out)
    metrics: dict[str, Any] = {"val_ln_likelihood": ln_mean(each).mean().item()}
    return metrics | ({"val_ln_likelihood_ensemble": each.mean(1).tolist()} if len(each) > 1 else {})


def judge(fitted: Fit, stars: FitStars, pretrained: Pretrained, trained: Trained) -> Fit:
    """The fit with its judgement: every check, and what they say together."""
    checks = judged(evidence(fitted, stars, pretrained, trained))
    for check in checks:
        if check.verdict == "fail":
            _log.warning("%s: %s.", check.name, check.message)
    return replace(fitted, checks=checks_table(checks), metrics={**fitted.metrics, "verdict": verdict(checks)})


def evidence(fitted: Fit, stars: FitStars, pretrained: Pretrained, trained: Trained) -> Evidence:
    """All that the checks look at, in the memory of the computer."""
    batch = Batch(stars.stars, pretrained.known)[stars.fitted]
    fits = fitted.ensemble.fits(fitted.model)
    each = [_p_member(fitted.model, one, batch) for one in fits] if len(fits) > 1 else None
    model, here = copy.deepcopy(fitted.model).cpu().eval(), batch.to("cpu")
    schedule = Schedule(trained.asked, trained.epochs, trained.learning_rate)
    off_stream = pretrained.off_stream if frozen_parts(model) else None
    steps = {names: one.steps for names, one in pretrained.learned.items()}
    drawn = _drawn(fitted, Batch(stars.stars, pretrained.known), stars.fitted)
    return Evidence(model, here.stars, here.known, off_stream, schedule, steps, each, drawn)


def _drawn(fitted: Fit, batch: Batch, chosen: Tensor) -> Tensor | None:
    """``p_member`` (D, M) of the fitted stars that may be members, under each draw of the posterior."""
    if fitted.draw is None or fitted.catalogue is None:
        return None
    p = torch.from_numpy(floats(fitted.catalogue.table["p_member"]))
    rows = (chosen.cpu() & (p > _MAYBE)).nonzero()[:, 0].to(batch.stars.device)
    resampled = fitted.ensemble.resampled
    return drawn_memberships(fitted.model, batch[rows], fitted.draw, fitted.options.draws, resampled)


@torch.no_grad()
def _p_member(model: MixtureModel, fit: AbstractContextManager[None], batch: Batch) -> Tensor:
    """``p_member`` of each star by one fit, (N,), on the CPU."""
    device = next(model.parameters()).device
    chunks = [chunk.to(device) for chunk in batch.split(_BATCH)]
    with fit:
        p = [model.membership(model(chunk.stars), chunk.stars, chunk.known) for chunk in chunks]
    return p_member(model, torch.cat(p)).cpu()


def write(fitted: Fit, tables: RunTables, trained: Trained) -> None:
    """Write the run folder."""
    fitted.write(trained.folder, tables)
    _drop_unfinished(trained.folder / "checkpoints")


def show_end(
    fitted: Fit, tables: RunTables, trained: Trained, pretrained: Pretrained, settings: Mapping[str, Any]
) -> None:
    """Show TensorBoard how the background was trained, the figures, and the settings with the final numbers."""
    with SummaryWriter(str(trained.folder)) as writer:
        for names, learned in pretrained.learned.items():
            for epoch, (loss, ln_p) in enumerate(learned.curve):
                writer.add_scalar(f"background/loss/{names}", loss, epoch)
                writer.add_scalar(f"background/ln_likelihood/{names}", ln_p, epoch)
        show(writer, tables, trained.folder, trained.step)
        found = {f"final/{name}": fitted.metrics[name] for name in _COMPARED if name in fitted.metrics}
        writer.add_hparams(dict(settings), found, run_name=".", global_step=trained.step)


def settings_of(
    module: StreamModule, datamodule: CatalogueDataModule, stage: BackgroundStage, epochs: int
) -> dict[str, Any]:
    """The settings by which runs are compared, as plain values."""
    groups = {"model": dict(module.hparams), "background": vars(stage)}
    given = {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}
    given |= {"data.batch_size": datamodule.batch_size, "trainer.max_epochs": epochs}
    kept = {name: value for name, value in given.items() if isinstance(value, bool | int | float | str)}
    return {name: value for name, value in kept.items() if "._" not in name}


def _drop_unfinished(folder: Path) -> None:
    """Remove the checkpoint of the best epoch, which best.ckpt completes."""
    for path in folder.glob("best_epoch*.ckpt"):
        path.unlink()


def _mixture(model: Model) -> MixtureModel:
    if not isinstance(model, MixtureModel):
        raise InputError(f"a fit needs a MixtureModel, which has memberships; got a {type(model).__name__}.")
    return model
