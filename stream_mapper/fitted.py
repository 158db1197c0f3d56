"""A finished fit: what it says of any star and of any place along the stream."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from astropy.table import Table
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from stream_mapper.catalog import read_table, to_table
from stream_mapper.data import Data
from stream_mapper.description import describe
from stream_mapper.errors import InputError
from stream_mapper.inference.constants import constants
from stream_mapper.inference.density import GRID, counting_draws, density, grid_over, smooth_density
from stream_mapper.inference.draws import Draw, drawn_params
from stream_mapper.inference.ends import ends
from stream_mapper.inference.ensemble import Ensemble
from stream_mapper.inference.features.component import features
from stream_mapper.inference.members import members
from stream_mapper.inference.membership import memberships
from stream_mapper.inference.profile import places, streams
from stream_mapper.inference.track import SHARE, track
from stream_mapper.models.known import Batch, KnownDensities
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.results.annotation import Annotation, Intake, rename_clashes
from stream_mapper.results.checkpoint import header_of, write_checkpoint
from stream_mapper.results.provenance import CHECKPOINT, DATE, FIT_DATE, Facts, digest, now
from stream_mapper.results.run_folder import ResultOptions, RunTables, only_selected, rows_selected, write_run
from stream_mapper.results.tables import component_table, features_table, members_table
from stream_mapper.selection import Selection
from stream_mapper.track import interpolate

if TYPE_CHECKING:
    from stream_mapper.paper import Figures

Places = float | Sequence[float] | NDArray[Any] | Tensor

CHECKPOINT_FILE = Path("checkpoints") / "best.ckpt"
"""Where a run folder keeps its fit."""

_MOST_DRAWS = 64  # of the number of members, most of whose band is of single stars and needs none
_NODES = 4 * (GRID - 1) + 1  # of the density of all stars; every fourth is one of a run's table


@dataclass(frozen=True)
class Catalogue:
    """The stars a fit was of.

    Arguments:
        table: Their table, with the memberships.
        stars: The stars, row by row.
        cuts: What each cut of the selection removed, if there is one.
    """

    table: Table
    stars: Data
    cuts: Table | None = None

    def selected(self) -> tuple[Table, Data]:
        """The memberships and the stars that the selection lets in."""
        return only_selected(self.table, self.stars)


@dataclass(frozen=True)
class Fit:
    """A fitted mixture; :func:`stream_mapper.fit` makes one, and :func:`stream_mapper.load` finds one again.

    Arguments:
        model: The mixture, in evaluation mode.
        ensemble: Its fits and their posteriors.
        intake: How stars are taken from a table.
        facts: What its results say of their origin.
        profile: What :func:`profile_of` gave of all fitted stars, (3, G); None if the fit was stopped.
        checks: The judgement of the fit, a row a check; see :doc:`/checks`.
        metrics: Numbers of the run.
        options: What a run folder of it holds.
        catalogue: The stars it was of, if they are at hand.
        folder: Its run folder, if it has one.
        off_stream: Which of the stars have trained the background, if any have and it is known.
    """

    model: MixtureModel
    ensemble: Ensemble
    intake: Intake
    facts: Facts = field(default_factory=dict)
    profile: Tensor | None = None
    checks: Table | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    options: ResultOptions = field(default_factory=ResultOptions)
    catalogue: Catalogue | None = None
    folder: Path | None = None
    off_stream: Selection | None = None

    @cached_property
    def figures(self) -> Figures:
        """Figures of the run: each by its name, ``fit.figures.track_residuals()``, or all, ``fit.figures()``."""
        from stream_mapper.paper import Figures  # noqa: PLC0415 (a fit does not need them)

        return Figures(self.tables, self.off_stream)

    @property
    def draw(self) -> Draw | None:
        """Draws of the parameter functions, None without a posterior; see `stream_mapper.inference.draws`."""
        return self.ensemble.draw_of(self.model)

    @property
    def annotation(self) -> Annotation:
        """What is added to a table of stars."""
        return Annotation(self.model, self.intake, self.facts)

    @property
    def verdict(self) -> str:
        """``believable``, ``doubtful`` or ``no stream``; ``not judged`` where there are no checks."""
        return str(self.metrics.get("verdict", "not judged"))

    def to(self, device: torch.device | str) -> Fit:
        """The fit itself, moved to a device, such as "cuda", that then computes what is asked of it.

        Tables and their numbers are on the CPU as before. What is random is drawn there too, so that both devices give
        the same to rounding.
        """
        self.model.to(device)
        self.ensemble.to(device)
        return self

    def memberships(
        self, table: Table | str | os.PathLike[str] | Data, draws: int = 32, known: KnownDensities | None = None
    ) -> Table:
        """A table with the membership of each of its stars.

        Arguments:
            table: A table with the columns the fit had, or its path, or stars by internal names; N rows.
            draws: Draws of the posterior for the quantiles; 0 for none, which is several times faster.
            known: The stars' frozen densities, if they are known.

        Returns:
            The rows and columns of the table, with ``p_<component>`` summing to one, ``p_member``, its quantiles,
            ``n_missing`` and ``in_window``.

        Raises:
            InputError: If the table cannot be used with this model.
        """
        label = "the table" if isinstance(table, Table | Data) else os.fspath(table)
        if isinstance(table, Data):
            source, stars = _as_table(table), table
        else:
            source = table if isinstance(table, Table) else read_table(table)
            stars = self.annotation.read(source, label)
        source = rename_clashes(source, self.annotation.names, label)
        columns = self.membership_columns(stars, draws, known)
        return self.annotation.table(source, self.annotation.arrays(stars, columns), label)

    def membership_columns(
        self, stars: Data, draws: int = 32, known: KnownDensities | None = None
    ) -> dict[str, Tensor]:
        """Membership columns (N,) of stars by name; see :func:`stream_mapper.inference.membership.memberships`."""
        draw = self.draw if draws else None
        return memberships(self.model, stars, draw, draws, known, self.ensemble.fits, self.ensemble.resampled)

    def members(self, threshold: float = 0.8) -> Table:
        """The stars of the fitted table whose membership is above a threshold, the likeliest first.

        Raises:
            InputError: If the fitted table is not at hand.
        """
        table, _ = self._catalogue.selected()
        p = np.asarray(table["p_member"])
        order = np.argsort(-p, kind="stable")
        return table[order[p[order] > threshold]]

    def track(self, at: Places | None = None, draws: int | None = None) -> Table:
        """Centre and width of each component in each coordinate at places along the stream.

        Arguments:
            at: Places phi1 [deg], one or more; by default 256 over the range of the fitted stars.
            draws: Draws for the quantiles; by default those of the fit's options.

        Returns:
            ``component, phi1, weight, supported`` and, for every coordinate c, the distance [kpc] included, ``c`` and
            ``c_sigma``, each followed by its quantiles ``_05``, ``_16``, ``_50``, ``_84`` and ``_95``.
        """
        grid, draws = self._places(at), self.options.track_draws if draws is None else draws
        columns = track(self.model, grid, self.draw if draws else None, draws, self.ensemble.fits, self._nearby(grid))
        return component_table(self._place, grid, columns)

    def density(self, at: Places | None = None, draws: int | None = None) -> Table:
        """Weight and linear density of each component at places along the stream; arguments as of :meth:`track`.

        The density of all stars, of which that of a component is its share, is linear between 1021 places. The band
        has the noise of counting in it, see :doc:`/density`.

        Raises:
            InputError: If the fit was stopped before that was found.
        """
        grid, draws = self._places(at), self.options.track_draws if draws is None else draws
        profile = self._profile
        total = interpolate(grid, profile[0].tolist(), profile[1].tolist())
        totals = counting_draws(profile, grid, draws)
        columns = density(self.model, grid, total, self.draw if draws else None, draws, self.ensemble.fits, totals)
        return component_table(self._place, grid, columns)

    def features(self, false_alarm: float | None = None, known: KnownDensities | None = None) -> Table:
        """Gaps and peaks of the linear density of each component; see :doc:`/density`.

        Arguments:
            false_alarm: In which share of streams without any, one or more may be listed; by default that of the
                fit's options.
            known: The frozen densities of the stars of the fit, if they are known.

        Returns:
            A row a gap or peak, none where there is none: ``component, kind, phi1, width, depth, stars``, the quantiles
            ``_05`` and ``_95`` of these four, ``z`` and ``p_chance``; see
            :class:`stream_mapper.inference.features.search.Feature`.

        Raises:
            InputError: If the fitted table is not at hand, or the share is not between 0 and 1.
        """
        of, rate = self._catalogue, self.options.false_alarm if false_alarm is None else false_alarm
        batch = Batch(of.stars) if known is None else Batch(of.stars, known)
        kept = torch.from_numpy(rows_selected(of.table)).nonzero()[:, 0]
        return features_table(self._place, features(self.model, batch[kept], rate, self.ensemble.fits))

    def components(self, draws: int | None = None, known: KnownDensities | None = None) -> Table:
        """Number of members of each component among the fitted stars, and where it begins and ends.

        Arguments:
            draws: Draws for the quantiles; by default those of the fit's options, at most 64.
            known: The frozen densities of the stars of the fitted table, if they are known.

        Returns:
            A row a component but the background and, where there are several, one of all of them, ``member``:
            ``component, members``, where the model has ends ``begin, begin_width, end, end_width`` [deg], and where an
            isochrone has constants ``feh`` [dex], ``age`` [Gyr] and the others by their names, NaN for a component
            without; each followed by its quantiles ``_05``, ``_16``, ``_50``, ``_84`` and ``_95``. The band of
            ``members`` is that of the true number, see :func:`stream_mapper.inference.members.members`.

        Raises:
            InputError: If the fitted table is not at hand.
        """
        table, stars = self._catalogue.table, self._catalogue.stars
        draws = min(self.options.track_draws, _MOST_DRAWS) if draws is None else draws
        rows = torch.from_numpy(rows_selected(table) & np.asarray(table["in_window"])).nonzero()[:, 0]
        p = torch.tensor(np.stack([np.asarray(table[f"p_{q}"]) for q in streams(self.model)], -1))
        batch = Batch(stars) if known is None else Batch(stars, known)
        draw = self.draw if draws else None
        found = members(self.model, batch[rows], p[rows], draw, draws, self.ensemble.resampled)
        at = stars[self._place][rows][:1].cpu()
        more = (of(self.model, at, draw, draws, self.ensemble.fits) for of in (ends, constants))
        return members_table(self._place, found, *more)

    @torch.no_grad()
    def draws(self, count: int = 100, at: Places | None = None) -> dict[str, NDArray[np.float64]]:
        """Functions drawn from the posterior.

        Arguments:
            count: Number of draws, D.
            at: Places phi1 [deg], G of them, as of :meth:`track`.

        Returns:
            The places (G,) and every parameter (D, G), by dotted name.

        Raises:
            InputError: If there is no posterior.
        """
        draw, grid = self.draw, self._places(at)
        if draw is None:
            raise InputError("this fit has no posterior to draw from; best.ckpt of a finished fit has one.")
        params = drawn_params(self.model, draw, range(count), places(self.model, grid))
        return {self._place: grid.numpy(), **{name: values.cpu().numpy() for name, values in params.items()}}

    def sample(self, given: Places | Mapping[str, Any] | Data, seed: int | None = None) -> Table:
        """Stars drawn from the fit.

        Arguments:
            given: A place phi1 [deg] for each star; or columns, by internal name, of the places and of the errors that
                the model reads.
            seed: Seed of the draw.

        Returns:
            Internal names and units, with ``component``, the name of the component each star is of.
        """
        columns = given if isinstance(given, Mapping | Data) else {self._place: np.atleast_1d(np.asarray(given))}
        stars = columns if isinstance(columns, Data) else Data(columns).to(dtype=torch.float32)
        table = _as_table(self.model.sample(stars, seed))
        names = list(self.model.components)
        table["component"] = [names[int(which)] for which in table["component"]]
        return table

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the fit: a checkpoint, if the path ends in .ckpt, else a run folder with all its tables.

        Returns:
            The path.

        Raises:
            InputError: If the model is of classes or functions that cannot be imported; or, for a run folder, if the
                fitted table is not at hand.
        """
        target = Path(path)
        if target.suffix == ".ckpt":
            self.write_checkpoint(target)
        else:
            self.write(target, self.tables())
        return target

    def write_checkpoint(self, path: Path) -> None:
        """Write the checkpoint of this fit."""
        header = header_of(self.model, self.ensemble, self.intake)
        if header["model"] is None:
            raise InputError(header["reason"])
        rows = [] if self.checks is None else list(self.checks)
        checks = [_plain(dict(zip(row.colnames, row, strict=True))) for row in rows]
        kept = {key: value for key, value in self.facts.items() if key != CHECKPOINT}
        kept[DATE] = kept.pop(FIT_DATE, now())
        options = describe(self.options, "the options")
        rest = {"facts": kept, "profile": self.profile, "checks": checks, "options": options}
        rest |= {"off_stream": _described(self.off_stream)}
        path.parent.mkdir(parents=True, exist_ok=True)
        epochs = {"epoch": self.metrics["epochs"] - 1} if "epochs" in self.metrics else {}
        write_checkpoint(path, self.model, self.ensemble, header | rest, **epochs)

    def write(self, folder: Path, tables: RunTables) -> dict[str, Figure]:
        """Write the run folder; the figures are returned.

        Arguments:
            folder: The folder; it is made where it is missing.
            tables: What :meth:`tables` gave.
        """
        self.write_checkpoint(folder / CHECKPOINT_FILE)
        facts = self.facts | {CHECKPOINT: digest(folder / CHECKPOINT_FILE), DATE: now()}
        noted = replace(self, facts=facts).annotation.note(tables.memberships)
        page = partial(_write_page, folder, tables, self.metrics, facts)
        return write_run(folder, replace(tables, memberships=noted), facts, self.metrics, self.options, page)

    def tables(self, known: KnownDensities | None = None) -> RunTables:
        """The tables of a run.

        Arguments:
            known: The frozen densities of the stars of the fitted table, if they are known.

        Raises:
            InputError: If the fitted table is not at hand.
        """
        of = self._catalogue
        return RunTables(
            self.model,
            self.intake,
            of.table,
            self.track(),
            self.density(),
            of.stars,
            of.cuts,
            self.checks,
            self.features(known=known),
            self.components(known=known),
        )

    def _nearby(self, grid: Tensor) -> Tensor | None:
        """Number of all stars in a twentieth of their range about each place, (G,); None if the fit was stopped."""
        if self.profile is None:
            return None
        nodes, values, _ = self.profile
        return interpolate(grid, nodes.tolist(), values.tolist()) * (nodes[-1] - nodes[0]) * SHARE

    @property
    def _catalogue(self) -> Catalogue:
        if self.catalogue is None:
            raise InputError("the stars this fit was of are not at hand; load it from its run folder.")
        return self.catalogue

    @property
    def _place(self) -> str:
        return self.model.indep_coord_names[0]

    @property
    def _profile(self) -> Tensor:
        if self.profile is None:
            raise InputError("this fit was stopped before its density was found; best.ckpt of a finished fit has it.")
        return self.profile

    def _places(self, at: Places | None) -> Tensor:
        if at is None:
            return grid_over(self._profile[0])
        return torch.as_tensor(at, dtype=torch.float32).reshape(-1)


def profile_of(positions: Tensor, counts: Tensor | None = None) -> Tensor:
    """Places along the stream, the density of stars there, and the same with the squares of the counts, (3, G).

    Arguments:
        positions: Places of the stars, (N,).
        counts: How many stars each counts for, (N,); one by default.
    """
    nodes = grid_over(positions, _NODES)
    values = smooth_density(nodes, positions, counts)
    squared = values if counts is None else smooth_density(nodes, positions, counts.square())
    return torch.stack([nodes, values, squared])


def _write_page(
    folder: Path, of: RunTables, metrics: Mapping[str, Any], facts: Facts, tables: Mapping[str, Table]
) -> None:
    """Write the page of a run."""
    from stream_mapper.page import stars_of, write_page  # noqa: PLC0415 (Bokeh takes a while to load)

    write_page(folder, tables, metrics, facts, stars_of(of))


def _as_table(stars: Data) -> Table:
    """Stars as a table with units, NaN where not measured."""
    columns: dict[str, Any] = {}
    for name in stars.names:
        values, known = stars[name].cpu().numpy(), stars.where[name].cpu().numpy()
        columns[name] = np.where(known, values, np.nan) if values.dtype.kind == "f" else values
    return to_table(columns)


def _described(selection: Selection | None) -> Any:
    """A selection as plain values; nothing of one that cannot be made again."""
    try:
        return describe(selection)
    except InputError:
        return None


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table as numbers and text of Python."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
