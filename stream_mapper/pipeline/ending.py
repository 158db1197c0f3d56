"""What comes after a fit: its numbers and tables, its judgement, and the run folder."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from astropy.table import Table
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from stream_mapper import __version__
from stream_mapper.fitted import Catalogue, Fit, profile_of
from stream_mapper.inference.checks import Evidence, Schedule, verdict
from stream_mapper.inference.checks import judge as judged
from stream_mapper.inference.density import stars_behind
from stream_mapper.inference.membership import drawn_memberships, p_member
from stream_mapper.models.components import frozen_parts
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.pipeline.functions import scales_of
from stream_mapper.pipeline.mixture import BATCH, Trained, mixture_of
from stream_mapper.results.background import Pretrained, background_metrics
from stream_mapper.results.provenance import VERSIONS, facts_of, versions
from stream_mapper.results.run_folder import ResultOptions, RunTables, show
from stream_mapper.results.tables import checks_table
from stream_mapper.training.background import BackgroundStage
from stream_mapper.training.datamodule import CatalogueDataModule, FitStars
from stream_mapper.training.module import StreamModule, ln_mean
from stream_mapper.utils import floats

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
_MAYBE = 1e-3  # membership below which a star is none of those that the order of members is about

_log = logging.getLogger("stream_mapper")


def collect(
    module: StreamModule,
    datamodule: CatalogueDataModule,
    stars: FitStars,
    pretrained: Pretrained,
    trained: Trained,
    options: ResultOptions,
) -> tuple[Fit, RunTables]:
    """The fit, with the memberships of its stars and its numbers, and the tables of the run."""
    model, known = mixture_of(module.eval().model), pretrained.known
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
    chunks = [chunk.to(device) for chunk in batch.split(BATCH)]
    with fit:
        p = [model.membership(model(chunk.stars), chunk.stars, chunk.known) for chunk in chunks]
    return p_member(model, torch.cat(p)).cpu()


def write(fitted: Fit, tables: RunTables, trained: Trained) -> None:
    """Write the run folder."""
    fitted.write(trained.folder, tables)
    _drop_unfinished(trained.folder / "checkpoints")


def _drop_unfinished(folder: Path) -> None:
    """Remove the checkpoint of the best epoch, which best.ckpt completes."""
    for path in folder.glob("best_epoch*.ckpt"):
        path.unlink()


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
