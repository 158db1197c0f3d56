"""The folder of a run: tables, numbers and figures of a finished fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from astropy.table import Table
from matplotlib.figure import Figure
from matplotlib.image import imread

from stream_mapper.catalog import escaped, replace_file, with_units, write_table
from stream_mapper.data import Data
from stream_mapper.errors import InputError, check_at_least
from stream_mapper.models.base import Model
from stream_mapper.models.mixture import BACKGROUND, MixtureModel
from stream_mapper.progress import progress
from stream_mapper.results.annotation import SELECTED, Intake
from stream_mapper.results.exports import check_formats, write_galstreams, write_memberships
from stream_mapper.results.figures import figures
from stream_mapper.results.members import best_members, write_latex
from stream_mapper.results.metrics import bare_magnitudes, membership_metrics, track_metrics, truth_metrics
from stream_mapper.results.projections import projections
from stream_mapper.results.provenance import Facts, internal_names, with_facts
from stream_mapper.results.residual_figures import memberships, residual_maps

_TOP = 20  # best members shown in TensorBoard
_NOT_OF_STARS = ("selection", "checks")  # tables with columns called by words of their own

Page = Callable[[Mapping[str, Table]], object]
"""What writes the page of a run from its tables."""


@dataclass(frozen=True)
class ResultOptions:
    """What a run folder holds.

    Arguments:
        draws: Draws of the posterior for the quantiles of the memberships.
        track_draws: Draws for the quantiles of the track, of the density and of the number of members.
        false_alarm: In which share of streams without gaps and peaks one or more may be listed.
        formats: Formats of the membership table: parquet, ecsv, fits, votable.
        best: Members in the short table for a paper, ``members.ecsv`` and ``members.tex``.
        name: Name of the stream, for the metadata of the tables.
        figures: Whether the figures and the page are drawn, which takes a few seconds; ``report`` draws them later.

    Raises:
        InputError: If a number is below 1, the share is not between 0 and 1, or a format is not known.
    """

    draws: int = 32
    track_draws: int = 200
    false_alarm: float = 0.003
    formats: Sequence[str] = ("parquet",)
    best: int = 50
    name: str = ""
    figures: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        for key in ("draws", "track_draws", "best"):
            check_at_least(f"results.{key}", getattr(self, key))
        if not 0 < self.false_alarm < 1:
            raise InputError(f"results.false_alarm is a probability between 0 and 1; got {self.false_alarm}.")
        check_formats(self.formats)


@dataclass(frozen=True)
class RunTables:
    """Tables of a fit, and the stars they are of.

    Arguments:
        model: The fitted mixture.
        intake: How the stars were taken from their table.
        memberships: The table the fit was of, with the memberships, N rows.
        track: The track of each component.
        density: The density of each component, at the same places.
        stars: The N stars.
        cuts: What each cut of the selection removed, if there is one.
        checks: The judgement of the fit, if there is one.
        features: Gaps and peaks of the density, if they were looked for.
        components: Members and ends of each component, if they were found.
    """

    model: MixtureModel
    intake: Intake
    memberships: Table
    track: Table
    density: Table
    stars: Data
    cuts: Table | None = None
    checks: Table | None = None
    features: Table | None = None
    components: Table | None = None

    @property
    def place(self) -> str:
        """Name of the coordinate along the stream."""
        return self.model.indep_coord_names[0]

    def selected(self) -> tuple[Table, Data]:
        """The memberships and the stars that the selection lets in: numbers and figures are of these."""
        return only_selected(self.memberships, self.stars)

    def metrics(self) -> dict[str, Any]:
        """Numbers of the run, and how they compare with the truth where the table carries it."""
        table, stars = self.selected()
        out: dict[str, Any] = membership_metrics(table, self.components) | {"stars": len(self.memberships)}
        out |= {"selected": len(table)} if self.cuts is not None else {}
        out["magnitudes_without_errors"] = bare_magnitudes(self.model, self.stars)
        out |= truth_metrics(table, _incomplete(self.model, stars))
        return out | track_metrics(table, self._fitted(stars))

    def shown(self) -> tuple[Table, dict[str, np.ndarray]]:
        """The memberships of the stars inside the window that the selection lets in, and their values by internal name.

        The values are NaN where not measured; those of the truth are called ``true_<name>``.
        """
        table, stars = self.selected()
        inside = np.asarray(table["in_window"])
        return table[inside], {name: values[inside] for name, values in _values(stars, table).items()}

    def stars_shown(self) -> Data:
        """The stars inside the window that the selection lets in."""
        table, stars = self.selected()
        return stars[torch.from_numpy(np.asarray(table["in_window"]).nonzero()[0]).to(stars.device)]

    def figures(self) -> dict[str, Figure]:
        """Figures of everything the columns allow, by name."""
        table, shown = self.shown()
        p = np.asarray(table["p_member"])
        drawn = figures(shown, p, self.track, self.density, *photometry(self.model), features=self.features)
        maps = list(projections(self.model, self.stars_shown()))
        return {**dict(drawn), "membership": memberships(p)} | ({"residuals": residual_maps(maps)} if maps else {})

    def best(self, count: int) -> Table:
        """The stars of the highest membership, with units."""
        table, stars = self.selected()
        internal = internal_names(table.colnames, self.intake.reading)
        of_id = self.intake.id_of(table.colnames)
        members = best_members(table, stars, internal, count, of_id, photometry(self.model)[0])
        members.meta = dict(table.meta)
        return with_facts(with_units(members), {}, {name: name for name in members.colnames})

    def _fitted(self, stars: Data) -> dict[str, np.ndarray]:
        """The first component's track and weight at each star."""
        at = stars[self.place].cpu().numpy()
        out: dict[str, np.ndarray] = {}
        for table in (self.track, self.density):
            first = table[table["component"] == table["component"][0]]
            names = [n for n in first.colnames if first[n].dtype.kind == "f" and n != self.place]
            out |= {name: np.interp(at, first[self.place], first[name]) for name in names}
        return out


class Board(Protocol):
    """What shows figures while a fit goes on: the writer of TensorBoard."""

    def add_image(self, tag: str, img_tensor: np.ndarray, global_step: int, *, dataformats: str) -> None:
        """Show a picture."""

    def add_histogram(self, tag: str, values: np.ndarray, global_step: int) -> None:
        """Show a histogram."""

    def add_text(self, tag: str, text_string: str, global_step: int) -> None:
        """Show a text."""

    def add_pr_curve(self, tag: str, labels: np.ndarray, predictions: np.ndarray, global_step: int) -> None:
        """Show precision and recall."""


def write_run(
    folder: Path, tables: RunTables, facts: Facts, metrics: Mapping[str, Any], options: ResultOptions, page: Page
) -> dict[str, Figure]:
    """Write the tables, the figures, the page and, last, the numbers, by which a complete run is known.

    Arguments:
        folder: The folder; it is made where it is missing.
        tables: The tables of the run.
        facts: What they say of their origin.
        metrics: Numbers of the run.
        options: What the folder holds.
        page: Writes the page of the run, given its tables by name.

    Returns:
        The figures, if they are asked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_memberships(tables.memberships, folder, options.formats)
    found = {
        "track": tables.track,
        "density": tables.density,
        "components": tables.components,
        "features": tables.features,
    }
    found |= {"selection": tables.cuts, "checks": tables.checks}
    for name, table in found.items():
        if table is not None:
            of_stars = {} if name in _NOT_OF_STARS else {n: n for n in table.colnames}
            write_table(with_facts(table, facts, of_stars), folder / f"{name}.ecsv")
    members = _write_members(folder, tables, options)
    reading = tables.intake.reading
    write_galstreams(tables.track, reading.frame, options.name, folder, reading.columns)
    drawn: dict[str, Figure] = {}
    if options.figures:
        drawn = tables.figures()
        (folder / "figures").mkdir(exist_ok=True)
        for name, figure in progress(drawn.items(), "figures", len(drawn)):
            replace_file(folder / "figures" / f"{name}.png", partial(figure.savefig, dpi=130, format="png"))
        page({name: table for name, table in found.items() if table is not None} | {"members": members})
    text = json.dumps(metrics, indent=2) + "\n"
    replace_file(folder / "metrics.json", lambda new: new.write_text(text))
    return drawn


def show(board: Board, tables: RunTables, folder: Path, step: int) -> None:
    """Show the figures of a run folder, the memberships and the best members on a board.

    Where the table has labels, ``true_component``, also precision and recall.
    """
    table, _ = tables.selected()
    p = np.asarray(table["p_member"])
    for path in sorted((folder / "figures").glob("*.png")):  # drawn once: to draw them again takes seconds
        board.add_image(f"figures/{path.stem}", imread(path), step, dataformats="HWC")
    board.add_histogram("memberships/all", p[np.isfinite(p)], step)
    board.add_text("memberships/best", _markdown(table, p), step)
    if "true_component" in table.colnames:
        member = np.asarray(table["true_component"]).astype(str) != BACKGROUND
        board.add_pr_curve("memberships/precision_recall", member[np.isfinite(p)], p[np.isfinite(p)], step)


def only_selected(table: Table, stars: Data) -> tuple[Table, Data]:
    """The rows of a table of memberships, and of its stars, that the selection lets in; all without a selection."""
    if SELECTED not in table.colnames:
        return table, stars
    kept = rows_selected(table)
    return table[kept], stars[torch.from_numpy(kept)]


def rows_selected(table: Table) -> np.ndarray:
    """Whether the selection lets in each row of a table of memberships, (N,)."""
    return np.asarray(table[SELECTED]) if SELECTED in table.colnames else np.ones(len(table), dtype=bool)


def photometry(model: Model) -> tuple[list[str], np.ndarray | None]:
    """Magnitudes of the first part that has a curve in them, in its order, and the curve, (M, F)."""
    curve = next((curve for part in model.parts() if (curve := part.curve()) is not None), None)
    return ([], None) if curve is None else (list(curve[0]), curve[1].cpu().numpy())


def _write_members(folder: Path, tables: RunTables, options: ResultOptions) -> Table:
    """The short table of the best members, written for programs and for a paper."""
    members = tables.best(options.best)
    write_table(members, folder / "members.ecsv")
    caption = (
        f"The {len(members)} stars of the highest membership{' of ' + escaped(options.name) if options.name else ''}."
    )
    write_latex(members, folder / "members.tex", caption)
    return members


def _incomplete(model: MixtureModel, stars: Data) -> dict[str, np.ndarray]:
    """Stars that lack some coordinates, by which: those that are always missing together are named together."""
    where = model.measured(stars).where
    lacking: dict[bytes, list[str]] = {}
    for name in model.coord_names:
        rows = (~where[name]).cpu().numpy()
        if rows.any():
            lacking.setdefault(rows.tobytes(), []).append(name)
    return {f"without_{'_'.join(names)}_": np.frombuffer(rows, dtype=bool) for rows, names in lacking.items()}


def _values(stars: Data, table: Table) -> dict[str, np.ndarray]:
    """Every column of the stars and of the truth, NaN where not measured."""
    columns = {n: np.where(stars.where[n].cpu(), stars[n].cpu(), np.nan) for n in stars.names if stars[n].ndim == 1}
    truth = [name for name in table.colnames if name.startswith("true_") and table[name].dtype.kind == "f"]
    return columns | {name: np.asarray(table[name]) for name in truth}


def _markdown(table: Table, p: np.ndarray) -> str:
    """The best members as a Markdown table."""
    rows = np.argsort(-p)[:_TOP]
    names = [name for name in table.colnames if table[name].ndim == 1]
    lines = ["|".join(names), "|".join("---" for _ in names)]
    return "\n".join(lines + ["|".join(str(table[name][row]) for name in names) for row in rows])
