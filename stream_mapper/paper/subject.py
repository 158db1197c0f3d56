"""What the figures of a fit are of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray

from stream_mapper.models.base import windows_of
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.paper.style import COLOURS
from stream_mapper.prior import ControlRegions
from stream_mapper.results.figures import with_truth
from stream_mapper.results.run_folder import RunTables, photometry, rows_selected
from stream_mapper.selection import Selection
from stream_mapper.utils import floats
from stream_mapper.windows import Window, as_window

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Guide:
    """Where a fit was told that a component is.

    Arguments:
        component: The component.
        name: The coordinate.
        phi1: Places, (K,).
        center: Centres there, (K,).
        width: Half-widths, (K,).
    """

    component: str
    name: str
    phi1: Array
    center: Array
    width: Array


@dataclass(frozen=True)
class Component:
    """A stream of a fit, where it is supported.

    Arguments:
        name: Its name.
        colour: What it is drawn in.
        p: Probability of each of the N stars that it is of this component, (N,).
        along: Name of the coordinate along the stream.
        track: Its rows of the track.
        density: Its rows of the density, everywhere.
    """

    name: str
    colour: str
    p: Array
    along: str
    track: Table
    density: Table

    def has(self, column: str) -> bool:
        """Whether its track has a column, with a number everywhere."""
        return column in self.track.colnames and len(self.track) > 0 and bool(np.isfinite(self.of(column)).all())

    def of(self, column: str) -> Array:
        """A column of its track, NaN where it is masked."""
        return floats(self.track[column])

    def at(self, column: str, places: Array) -> Array:
        """A column of its track at places, linear in between and NaN beyond its ends."""
        return np.interp(places, self.of(self.along), self.of(column), left=np.nan, right=np.nan)


@dataclass(frozen=True)
class Subject:
    """A fit and its stars, as the figures need them.

    Arguments:
        along: Name of the coordinate along the stream.
        stars: Values of the stars in the window by internal name, NaN where not measured; those of the truth are
            called ``true_<name>``, and are NaN where there is no stream. Each (N,).
        p: Membership of each, (N,).
        components: The streams of the fit.
        coordinates: Coordinates of the track of any of them, without the distance, which follows from its modulus.
        features: Gaps and peaks of the density, if they were looked for.
        guides: The guides of all components.
        windows: The windows of the model by coordinate, and of other columns that the selection cuts to a range.
        bands: Magnitudes of the isochrone, blue to red; none without one.
        curve: Absolute magnitudes along the isochrone, (M, F).
        outside: Values of the stars that are outside the window, or that the selection leaves out, by internal name.
        off_stream: Whether each of the N stars has trained the background; None if that is not known.
    """

    along: str
    stars: dict[str, Array]
    p: Array
    components: list[Component]
    coordinates: list[str]
    features: Table | None
    guides: list[Guide]
    windows: dict[str, Window]
    bands: list[str]
    curve: Array | None
    outside: dict[str, Array]
    off_stream: NDArray[np.bool_] | None = None

    @property
    def places(self) -> Array:
        """Place of each star along the stream, (N,)."""
        return self.stars[self.along]

    @property
    def ends(self) -> tuple[float, float]:
        """The first and the last star."""
        return float(np.nanmin(self.places)), float(np.nanmax(self.places))

    def error(self, name: str) -> Array:
        """Error of a coordinate of each star, zero where it has none, (N,)."""
        found = self.stars.get(f"{name}_err")
        return np.zeros(len(self.p)) if found is None else np.nan_to_num(found)


def subject_of(tables: RunTables, off_stream: Selection | None = None) -> Subject:
    """What the figures of a run are of.

    Arguments:
        tables: The tables of the run.
        off_stream: Which stars have trained the background, if that is known.
    """
    table, stars = tables.shown()
    trained = None if off_stream is None else off_stream(tables.stars_shown()).cpu().numpy()
    return Subject(
        tables.place,
        with_truth(stars, tables.density),
        floats(table["p_member"]),
        list(_components(tables, table)),
        _coordinates(tables.track),
        tables.features,
        list(_guides(tables.model)),
        _windows(tables),
        *photometry(tables.model),
        _outside(tables),
        trained,
    )


def _components(tables: RunTables, table: Table) -> Iterator[Component]:
    """The streams of the fit, in the order of the track, with the probabilities of the stars of a table."""
    names = np.asarray(tables.track["component"]).astype(str)
    whose = np.asarray(tables.density["component"]).astype(str)
    for i, name in enumerate(dict.fromkeys(names.tolist())):
        track = tables.track[(names == name) & np.asarray(tables.track["supported"])]
        colour = COLOURS[i % len(COLOURS)]
        yield Component(name, colour, floats(table[f"p_{name}"]), tables.place, track, tables.density[whose == name])


def _coordinates(track: Table) -> list[str]:
    names = [name for name in track.colnames if f"{name}_sigma" in track.colnames]
    return [name for name in names if name != "distance" or "distmod" not in names]


def _guides(model: MixtureModel) -> Iterator[Guide]:
    """The guides of the centres of all components."""
    for component, part in model.components.items():
        for _, prior in part.held_priors():
            if isinstance(prior, ControlRegions) and prior.param.endswith(".mu"):
                name = prior.param.removesuffix(".mu").rpartition(".")[2]
                yield Guide(component, name, *(floats(x.cpu()) for x in (prior.phi1, prior.center, prior.width)))


def _windows(tables: RunTables) -> dict[str, Window]:
    """The window of each coordinate, and of each other column that the selection cuts and the stars have."""
    selection, names = tables.intake.selection, tables.stars.names
    cuts = {} if selection is None else {n: bounds for n, bounds in selection.window().items() if n in names}
    return {name: as_window(bounds) for name, bounds in {**windows_of(tables.model), **cuts}.items()}


def _outside(tables: RunTables) -> dict[str, Array]:
    """Values of the stars that are not fitted."""
    kept = np.asarray(tables.memberships["in_window"]) & rows_selected(tables.memberships)
    rows = torch.from_numpy((~kept).nonzero()[0])
    stars = tables.stars[rows]
    names = [name for name in stars.names if stars[name].ndim == 1]
    return {name: np.where(stars.where[name].cpu(), floats(stars[name].cpu()), np.nan) for name in names}
