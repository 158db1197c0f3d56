"""The track of a fit beside its guides, its stars and the tracks of others, and what differs from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from stream_mapper.paper.style import (
    BAND,
    MEMBERSHIP,
    TWO_COLUMNS,
    band,
    legend,
    points,
    short_label,
    span,
    styled,
    with_kpc,
)
from stream_mapper.paper.subject import Component, Guide, Subject
from stream_mapper.results.figures import axis_label
from stream_mapper.track import Track

Array = NDArray[np.float64]

_MAIN, _RESIDUAL, _EDGES = 1.15, 0.6, 0.6  # heights in inches
_MOST = 4  # coordinates one below the other
_BINS = 16
_FEWEST = 3.0  # expected members of a bin that is drawn
_LINES = ("--", "-.", ":", (0, (1, 1)), (0, (5, 1)))
WIDTH, GUIDES, MEANS = "width, one sigma", "guides", "mean of members"


@styled
def track_residuals(subject: Subject, literature: Mapping[str, Track] | None = None) -> Figure:
    """Every coordinate of the track along the stream, and below it what differs from the fit.

    Above: the stars, the fitted centre with its band of 90 % and the width about it, the guides with their half-widths
    and the tracks of others. Below, all less the fitted centre: the mean of the members in bins with its error, the
    tracks of others, and the truth of a simulation.

    Arguments:
        subject: What it is of; its track has one coordinate or more.
        literature: Tracks of others in the frame of the stream, by the name that the legend gives them.
    """
    names = subject.coordinates
    columns = 1 if len(names) <= _MOST else 2
    rows = -(-len(names) // columns)
    layout = ConstrainedLayoutEngine(h_pad=0.02, hspace=0.0)
    figure = Figure((TWO_COLUMNS, rows * (_MAIN + _RESIDUAL) + _EDGES), layout=layout)
    heights: dict[str, Any] = {"height_ratios": [_MAIN, _RESIDUAL] * rows}
    panels = figure.subplots(2 * rows, columns, sharex=True, squeeze=False, gridspec_kw=heights)
    shades: list[Any] = []
    for i, name in enumerate(names):
        row, column = divmod(i, columns)
        block = _Block(subject, name, literature or {})
        shades += [block.above(panels[2 * row, column])]
        block.below(panels[2 * row + 1, column])
    for axes in panels.T.flat[2 * len(names) :]:
        axes.set_axis_off()
    for axes in panels[-1]:
        axes.set(xlabel=axis_label(subject.along), xlim=subject.ends)
    coloured = [shade for shade in shades if shade is not None]
    if coloured:
        figure.colorbar(coloured[0], ax=list(panels.flat), label=MEMBERSHIP, aspect=60, pad=0.01, fraction=0.03)
    legend(figure, WIDTH, BAND, GUIDES, MEANS, *(literature or {}), "truth")
    figure.align_ylabels()
    return figure


@dataclass(frozen=True)
class _Block:
    """A coordinate, drawn above itself less the fit."""

    subject: Subject
    name: str
    literature: Mapping[str, Track]

    @property
    def shown(self) -> list[Component]:
        """The components that have the coordinate."""
        return [one for one in self.subject.components if one.has(self.name)]

    @property
    def guides(self) -> Sequence[Guide]:
        return [guide for guide in self.subject.guides if guide.name == self.name]

    @property
    def others(self) -> list[tuple[str, Any, Array, Array]]:
        """Name, line, places and values of each track of others that has the coordinate."""
        lines = zip(self.literature.items(), _LINES * len(self.literature), strict=False)
        there = [(label, line, track) for (label, track), line in lines if self.name in track.coordinates]
        return [(label, line, np.array(t.phi1), np.array(t.values(self.name))) for label, line, t in there]

    def above(self, axes: Axes) -> Any:
        """The coordinate itself; what colours the stars, if they are drawn."""
        subject, values = self.subject, self.subject.stars.get(self.name)
        shade = None if values is None else points(axes, subject.places, values, subject.p)
        for one in self.shown:
            _curve(axes, one, self.name, np.zeros(len(one.track)))
        for guide in self.guides:
            bars: dict[str, Any] = {"fmt": "none", "ecolor": "0.1", "elinewidth": 0.8, "capsize": 2, "zorder": 3}
            axes.errorbar(guide.phi1, guide.center, guide.width, label=GUIDES, **bars)
        for label, line, phi1, centre in self.others:
            axes.plot(phi1, centre, color="k", ls=line, lw=0.8, label=label)
        axes.set(ylabel=short_label(self.name), ylim=self._range(values))
        if self.name == "distmod":
            with_kpc(axes)
        return shade

    def _range(self, values: Array | None) -> tuple[float, float]:
        """Where the track, its guides and its likely members are, with a margin that shows the field around."""
        seen = [one.of(f"{self.name}{q}") for one in self.shown for q in ("", "_05", "_95") if one.has(self.name + q)]
        seen += [guide.center + side * guide.width for guide in self.guides for side in (-1, 1)]
        if values is not None:
            likely = values[self.subject.p > 0.5]
            seen += [np.array(span(likely, 0.3))] if np.isfinite(likely).any() else []
        inside = np.concatenate(seen) if seen else np.array([0.0, 1.0])
        low, high = np.nanmin(inside), np.nanmax(inside)
        margin = 0.06 * (high - low) or 0.5
        return float(low - margin), float(high + margin)

    def below(self, axes: Axes) -> None:
        """The coordinate less the fit."""
        axes.axhline(0, color="0.6", lw=0.6)
        extent = [0.0]
        for one in self.shown:
            extent += _curve(axes, one, self.name, one.of(self.name))
            extent += self._means(axes, one)
        first = next(iter(self.shown), None)
        if first is not None:
            for label, line, phi1, centre in self.others:
                axes.plot(phi1, centre - first.at(self.name, phi1), color="k", ls=line, lw=0.8, label=label)
            self._truth(axes, first)
        most = 1.25 * max(extent) or 1.0
        axes.set(ylim=(-most, most), ylabel=r"$\Delta$")

    def _means(self, axes: Axes, one: Component) -> list[float]:
        """Means of the members of a component in bins, by their errors and its width; how far they lie off."""
        subject, values = self.subject, self.subject.stars.get(self.name)
        if values is None:
            return []
        off, places = values - one.at(self.name, subject.places), subject.places
        known = np.isfinite(off) & np.isfinite(one.p)
        variance = one.at(f"{self.name}_sigma", places) ** 2 + subject.error(self.name) ** 2
        edges = np.linspace(*subject.ends, _BINS + 1)
        sums = [
            np.histogram(places[known], edges, weights=x[known])[0]
            for x in (one.p, one.p / variance, one.p * off / variance)
        ]
        some = sums[0] >= _FEWEST
        middle, mean = 0.5 * (edges[1:] + edges[:-1])[some], (sums[2] / np.where(sums[1] > 0, sums[1], 1))[some]
        error = 1 / np.sqrt(sums[1][some])
        style: dict[str, Any] = {"fmt": "o", "ms": 2.2, "lw": 0.8, "color": one.colour, "mec": "k", "mew": 0.3}
        axes.errorbar(middle, mean, error, label=MEANS, **style)
        return (np.abs(mean) + error).tolist()

    def _truth(self, axes: Axes, first: Component) -> None:
        truth = self.subject.stars.get(f"true_{self.name}")
        if truth is not None:
            order = np.argsort(self.subject.places)
            places = self.subject.places[order]
            axes.plot(places, truth[order] - first.at(self.name, places), "k--", lw=0.8, label="truth")


def _curve(axes: Axes, one: Component, name: str, less: Array) -> list[float]:
    """The centre of a component with its band and its width, less some numbers; how far the band reaches from zero."""
    phi1, centre = one.of(one.along), one.of(name)
    axes.plot(phi1, centre - less, color=one.colour, label=one.name, zorder=4)
    for sign in (-1, 1):
        edge = centre + sign * one.of(f"{name}_sigma") - less
        axes.plot(phi1, edge, color=one.colour, ls=":", lw=0.8, label=WIDTH, zorder=4)
    reach = [1.2 * float(np.nanmedian(one.of(f"{name}_sigma")))]
    if one.has(f"{name}_05"):
        low, high = one.of(f"{name}_05") - less, one.of(f"{name}_95") - less
        band(axes, phi1, low, high, one.colour, zorder=3.5)
        reach.append(float(max(-low.min(), high.max())))
    return reach
