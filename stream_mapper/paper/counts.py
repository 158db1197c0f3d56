"""Weight, linear density and widths along the stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stream_mapper.paper.style import BAND, INNER, ONE_COLUMN, TWO_COLUMNS, band, legend, short_label, styled
from stream_mapper.paper.subject import Component, Subject
from stream_mapper.results.figures import axis_label, counted
from stream_mapper.utils import floats

Array = NDArray[np.float64]

_COUNTED = "members counted"


@styled
def density_and_weight(subject: Subject) -> Figure:
    """Weight and linear density of each stream along phi1 with their bands; the members counted, gaps and peaks marked.

    The members of a bin are the sum of their probabilities, with its root as the bar.
    """
    figure = Figure((TWO_COLUMNS, 3.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [1, 1.5]})
    for axes, column in ((top, "weight"), (bottom, "density")):
        heights = [_along_density(axes, one, column) for one in subject.components]
        _truth(axes, subject, column)
        axes.set_ylim(0, 1.08 * max([*heights, *_known(subject.stars.get(f"true_{column}"))], default=0) or 1)
    for one in subject.components:
        _counted(bottom, subject, one)
    _marked((top, bottom), subject)
    top.set_ylabel("weight")
    bottom.set(xlabel=axis_label(subject.along), ylabel="density [1/deg]", xlim=subject.ends)
    legend(figure, BAND, INNER, _COUNTED, "truth")
    figure.align_ylabels()
    return figure


@styled
def widths(subject: Subject) -> Figure:
    """The intrinsic width of every coordinate along the stream, with its bands of 68 and 90 %."""
    names = subject.coordinates
    figure = Figure((ONE_COLUMN, 1.05 * len(names) + 0.75), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        tops = [_width(axes, one, f"{name}_sigma") for one in subject.components if one.has(f"{name}_sigma")]
        _truth(axes, subject, f"{name}_sigma")
        axes.set_ylim(0, 1.1 * max([*tops, *_known(subject.stars.get(f"true_{name}_sigma"))], default=0) or 1)
        axes.set_ylabel(rf"$\sigma$ of {short_label(name)}".replace(" [", "\n["))
    panels[-1].set(xlabel=axis_label(subject.along), xlim=subject.ends)
    legend(figure, BAND, INNER, "truth")
    figure.align_ylabels()
    return figure


def _along_density(axes: Axes, one: Component, column: str) -> float:
    """A column of the density with its bands; how high the band is where the component is supported."""
    phi1 = floats(one.density[one.along])
    axes.plot(phi1, floats(one.density[column]), color=one.colour, label=one.name, zorder=3)
    for low, high, label in _bands(column):
        if low in one.density.colnames:
            band(axes, phi1, floats(one.density[low]), floats(one.density[high]), one.colour, label, zorder=2)
    there = np.isin(phi1, one.of(one.along))
    top = floats(one.density[f"{column}_95"])[there] if f"{column}_95" in one.density.colnames else np.empty(0)
    return max([*floats(one.density[column]), *_known(top)], default=0.0)


def _width(axes: Axes, one: Component, column: str) -> float:
    """A width of a component with its bands; its largest value, or that of its band where this is no wider than it."""
    phi1, values = one.of(one.along), one.of(column)
    axes.plot(phi1, values, color=one.colour, label=one.name, zorder=3)
    for low, high, label in _bands(column):
        if one.has(low):
            band(axes, phi1, one.of(low), one.of(high), one.colour, label, zorder=2)
    return float(np.percentile(one.of(f"{column}_95"), 95)) if one.has(f"{column}_95") else float(values.max())


def _bands(column: str) -> Iterator[tuple[str, str, str]]:
    """Columns of the lower and upper edge of each band, and what the legend calls it."""
    yield f"{column}_05", f"{column}_95", BAND
    yield f"{column}_16", f"{column}_84", INNER


def _counted(axes: Axes, subject: Subject, one: Component) -> None:
    """Members in bins, the sum of their probabilities, with Poisson's bars."""
    style: dict[str, Any] = {"fmt": "o", "ms": 2.2, "lw": 0.7, "color": one.colour, "mec": "k", "mew": 0.3, "zorder": 1}
    counted(axes, subject.places, one.p, subject.ends, label=_COUNTED, **style)


def _marked(panels: tuple[Axes, ...], subject: Subject) -> None:
    """Each gap and peak, within its width, hatched in the colour of its component."""
    colours = {one.name: one.colour for one in subject.components}
    for row in subject.features if subject.features is not None else ():
        edges = float(row["phi1"] - row["width"]), float(row["phi1"] + row["width"])
        for axes in panels:
            marks: dict[str, Any] = {
                "hatch": "////",
                "fc": "none",
                "ec": colours[str(row["component"])],
                "alpha": 0.35,
                "lw": 0,
            }
            axes.axvspan(*edges, **marks)
        place: dict[str, Any] = {"x": row["phi1"], "y": 0.97, "transform": panels[-1].get_xaxis_transform()}
        panels[-1].text(s=str(row["kind"]), ha="center", va="top", fontsize=7, **place)


def _truth(axes: Axes, subject: Subject, column: str) -> None:
    """The truth of a simulation."""
    if (truth := subject.stars.get(f"true_{column}")) is not None:
        order = np.argsort(subject.places)
        axes.plot(subject.places[order], truth[order], "k--", lw=0.8, label="truth", zorder=4)


def _known(values: Array | None) -> Array:
    """The finite ones of some numbers."""
    return np.empty(0) if values is None else values[np.isfinite(values)]
