"""Writes what a finished fit found into its run folder."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from astropy.table import Table
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from stream_mapper import __version__
from stream_mapper.builtin import IsochroneMVNorm
from stream_mapper.catalog import replace_file, with_units, write_table
from stream_mapper.data import Data
from stream_mapper.errors import check_at_least
from stream_mapper.models import MixtureModel
from stream_mapper.results.figures import figures
from stream_mapper.results.members import best_members, write_latex
from stream_mapper.results.membership import membership_names, membership_table, memberships
from stream_mapper.results.metrics import membership_metrics, track_metrics, truth_metrics
from stream_mapper.results.outputs import check_formats, write_galstreams, write_memberships
from stream_mapper.results.provenance import (
    CHECKPOINT,
    DATE,
    Facts,
    digest,
    facts_of,
    internal_names,
    now,
    with_facts,
)
from stream_mapper.results.track import density_table, phi1_grid, track_table
from stream_mapper.training.checkpoint import PROVENANCE
from stream_mapper.training.cuts import SELECTED
from stream_mapper.training.module import StreamModule, ln_mean

_TOP = 20  # best members shown in TensorBoard
_BATCH = 20_000  # stars whose scores are held at once

_log = logging.getLogger("stream_mapper")


class RunRecorder(Callback):
    """When the fit ends: the best weights, their posterior, and the tables, figures and numbers of the run.

    Arguments:
        draws: Draws of the posterior for the quantiles of the memberships.
        track_draws: Draws for the quantiles of the track and of the density.
        formats: Formats of the membership table: parquet, ecsv, fits, votable.
        best: Members in the short table for a paper, ``members.ecsv`` and ``members.tex``.
        name: Name of the stream, for the metadata of the tables.

    Raises:
        InputError: If a number is below 1 or a format is not known.
    """

    def __init__(
        self,
        draws: int = 32,
        track_draws: int = 200,
        formats: Sequence[str] = ("parquet",),
        best: int = 50,
        name: str = "",
    ) -> None:
        for key, value in {"draws": draws, "track_draws": track_draws, "best": best}.items():
            check_at_least(f"results.{key}", value)
        check_formats(formats)
        self.draws, self.track_draws = draws, track_draws
        self.formats, self.best, self.name = tuple(formats), best, name
        self.folder: Path | None = None
        self.metrics: dict[str, Any] = {}
        self._start = time.monotonic()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Start the clock of the mixture stage."""
        self._start = time.monotonic()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note in every checkpoint what it is of, for the predictions by it."""
        log_dir = trainer.log_dir
        if log_dir is not None and isinstance(pl_module.model, MixtureModel):
            checkpoint[PROVENANCE] = self._facts(trainer, pl_module.model, Path(log_dir)) | {DATE: now()}

    def _facts(self, trainer: L.Trainer, model: MixtureModel, folder: Path) -> Facts:
        """What the results say of their origin, but for the checkpoint."""
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        return facts_of(model, datamodule.reading.frame, __version__, self.name, folder / "config.yaml")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the run folder, on the first process."""
        model, log_dir = pl_module.model, trainer.log_dir  # every process has to ask for log_dir
        if not trainer.is_global_zero or log_dir is None or not isinstance(model, MixtureModel):
            return
        assert isinstance(pl_module, StreamModule)
        self.folder = Path(log_dir)
        self.metrics = {"seconds_fit": time.monotonic() - self._start, "epochs": trainer.current_epoch}
        self._restore_best(trainer, pl_module)
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        pl_module.eval()
        held_out = datamodule.stars[datamodule.val_rows].to(pl_module.device)
        self._judge(pl_module, held_out)
        tables = self._tables(pl_module, datamodule)
        self._note(trainer, model, tables)
        self._write(trainer, model, datamodule.stars, tables)
        self._export(model, datamodule, tables)

    @torch.no_grad()
    def _judge(self, module: StreamModule, held_out: Data) -> None:
        """Mean log density of the held-out stars, and that by each member of an ensemble: one may be at another top."""
        each = module.ln_likelihoods(held_out)
        self.metrics["val_ln_likelihood"] = ln_mean(each).mean().item()
        if len(each) > 1:
            self.metrics["val_ln_likelihood_members"] = each.mean(1).tolist()

    def _restore_best(self, trainer: L.Trainer, module: StreamModule) -> None:
        """Load the best weights, fit the posterior about them, and keep it in the best checkpoint."""
        checkpoint = trainer.checkpoint_callback
        path = Path(getattr(checkpoint, "best_model_path", "") or "none")
        state = torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None
        self._say_which(trainer, state)
        if state is not None:
            module.load_state_dict(state["state_dict"])
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        train = datamodule.train_stars.to(module.device)
        module.fit_posterior([train[i : i + _BATCH] for i in range(0, len(train), _BATCH)])
        if state is not None:
            state["state_dict"] = module.state_dict()
            replace_file(path, lambda target: torch.save(state, target))

    def _say_which(self, trainer: L.Trainer, state: dict[str, Any] | None) -> None:
        """Which epoch the weights are of, and whether the fit went to its end."""
        ran, asked = trainer.current_epoch, trainer.max_epochs
        end = f"ran all {ran} epochs" if ran == asked else f"stopped early, after {ran} of {asked} epochs"
        if state is None:
            _log.info("the weights are those of the last epoch, as there is no best checkpoint; the fit %s.", end)
            return
        self.metrics["best_epoch"] = state["epoch"] + 1
        _log.info(
            "the weights are those of epoch %d, the best on the held-out stars; the fit %s.", state["epoch"] + 1, end
        )

    def _tables(self, module: StreamModule, datamodule: Any) -> dict[str, Table]:
        model, stars = module.model, datamodule.stars
        assert isinstance(model, MixtureModel)
        draw, members = module.draw, module.members
        phi1 = stars["phi1"][model.in_window(stars) & datamodule.selected].cpu()
        grid = phi1_grid(phi1)
        columns = memberships(model, stars, draw, self.draws, members=members) | datamodule.selected_column(stars)
        return {
            "memberships": membership_table(datamodule.table, columns),
            "track": track_table(model, grid, draw, self.track_draws, members),
            "density": density_table(model, grid, phi1, draw, self.track_draws, members),
            **({"selection": Table(datamodule.cuts)} if datamodule.cuts else {}),
        }

    def _note(self, trainer: L.Trainer, model: MixtureModel, tables: dict[str, Table]) -> None:
        """What the tables say of their origin and of their columns."""
        assert self.folder is not None
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        facts = self._facts(trainer, model, self.folder)
        best = Path(getattr(trainer.checkpoint_callback, "best_model_path", "") or "none")
        facts |= ({CHECKPOINT: digest(best)} if best.is_file() else {}) | {DATE: now()}
        for name, table in tables.items():
            own = {*membership_names(model), *datamodule.result_names} if name == "memberships" else set(table.colnames)
            internal = {column: column for column in own}
            if name == "memberships":
                internal |= internal_names(table.colnames, datamodule.reading.columns, datamodule.reading.frame)
            with_facts(table, facts, internal, datamodule.id_column)

    def _export(self, model: MixtureModel, datamodule: Any, tables: dict[str, Table]) -> None:
        """The best members, and the track for galstreams."""
        assert self.folder is not None
        tables, stars = _selected(tables, datamodule.stars)
        table = tables["memberships"]
        internal = internal_names(table.colnames, datamodule.reading.columns, datamodule.reading.frame)
        bands = _photometry(model)[0]
        members = best_members(table, stars, internal, self.best, datamodule.id_column, bands)
        members.meta = table.meta
        write_table(with_facts(with_units(members), {}, {n: n for n in members.colnames}), self.folder / "members.ecsv")
        caption = f"The {len(members)} stars of the highest membership{' of ' + self.name if self.name else ''}."
        write_latex(members, self.folder / "members.tex", caption)
        write_galstreams(tables["track"], datamodule.reading.frame, self.name, self.folder, datamodule.reading.columns)

    def _write(self, trainer: L.Trainer, model: MixtureModel, stars: Data, tables: dict[str, Table]) -> None:
        assert self.folder is not None
        write_memberships(tables["memberships"], self.folder, self.formats)
        for name in tables.keys() - {"memberships"}:
            write_table(tables[name], self.folder / f"{name}.ecsv")
        self.metrics["stars"] = len(stars)
        tables, stars = _selected(tables, stars)
        if "selection" in tables:
            self.metrics["selected"] = len(stars)
        self.metrics = membership_metrics(tables["memberships"]) | self.metrics
        self.metrics |= truth_metrics(tables["memberships"], _incomplete(model, stars))
        self.metrics |= track_metrics(tables["memberships"], _fitted(stars, tables))
        (self.folder / "metrics.json").write_text(json.dumps(self.metrics, indent=2) + "\n")
        self._draw(trainer, model, stars, tables)

    def _draw(self, trainer: L.Trainer, model: MixtureModel, stars: Data, tables: dict[str, Table]) -> None:
        assert self.folder is not None
        p = np.asarray(tables["memberships"]["p_member"])
        inside = np.asarray(tables["memberships"]["in_window"])
        shown = {name: values[inside] for name, values in _values(stars, tables["memberships"]).items()}
        folder = self.folder / "figures"
        folder.mkdir(exist_ok=True)
        board = trainer.logger.experiment if isinstance(trainer.logger, TensorBoardLogger) else None
        drawn = figures(shown, p[inside], tables["track"], tables["density"], *_photometry(model))
        for name, figure in drawn:
            figure.savefig(folder / f"{name}.png", dpi=130)
            if board is not None:
                board.add_figure(f"figures/{name}", figure, trainer.global_step)
        if board is not None:
            board.add_histogram("memberships/all", p, trainer.global_step)
            board.add_text("memberships/best", _markdown(tables["memberships"], p), trainer.global_step)


def _selected(tables: dict[str, Table], stars: Data) -> tuple[dict[str, Table], Data]:
    """The memberships and the stars that the selection lets in: numbers and figures are of these."""
    members = tables["memberships"]
    if SELECTED not in members.colnames:
        return tables, stars
    kept = np.asarray(members[SELECTED])
    return {**tables, "memberships": members[kept]}, stars[torch.from_numpy(kept)]


def _incomplete(model: MixtureModel, stars: Data) -> dict[str, np.ndarray]:
    """Stars that lack some coordinates, by which: those that are always missing together are named together."""
    where = model.measured(stars).where
    lacking: dict[bytes, list[str]] = {}
    for name in model.coord_names:
        rows = (~where[name]).cpu().numpy()
        if rows.any():
            lacking.setdefault(rows.tobytes(), []).append(name)
    return {f"without_{'_'.join(names)}_": np.frombuffer(rows, dtype=bool) for rows, names in lacking.items()}


def _fitted(stars: Data, tables: dict[str, Table]) -> dict[str, np.ndarray]:
    """The first component's track and weight at each star's phi1."""
    phi1 = stars["phi1"].cpu().numpy()
    out: dict[str, np.ndarray] = {}
    for table in (tables["track"], tables["density"]):
        first = table[table["component"] == table["component"][0]]
        names = [n for n in first.colnames if first[n].dtype.kind == "f" and n != "phi1"]
        out |= {name: np.interp(phi1, first["phi1"], first[name]) for name in names}
    return out


def _values(stars: Data, table: Table) -> dict[str, np.ndarray]:
    """Every column of the stars and of the truth, NaN where not measured."""
    columns = {n: np.where(stars.where[n].cpu(), stars[n].cpu(), np.nan) for n in stars.names if stars[n].ndim == 1}
    truth = [name for name in table.colnames if name.startswith("true_") and table[name].dtype.kind == "f"]
    return columns | {name: np.asarray(table[name]) for name in truth}


def _photometry(model: MixtureModel) -> tuple[list[str], np.ndarray | None]:
    """Magnitudes of the first isochrone in the model, in its order, and the isochrone in them."""
    part = next((part for part in model.parts() if isinstance(part, IsochroneMVNorm)), None)
    if part is None:
        return [], None
    magnitudes = part.applies.bool()  # a colour feels no modulus
    names = [name for name, kept in zip(part.coord_names, magnitudes.tolist(), strict=True) if kept]
    return names, part.nodes[:, magnitudes].cpu().numpy()


def _markdown(table: Table, p: np.ndarray) -> str:
    """The best members as a Markdown table."""
    rows = np.argsort(p)[::-1][:_TOP]
    names = [name for name in table.colnames if table[name].ndim == 1]
    lines = ["|".join(names), "|".join("---" for _ in names)]
    return "\n".join(lines + ["|".join(str(table[name][row]) for name in names) for row in rows])
