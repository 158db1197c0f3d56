"""A stream in one figure: its weight and every coordinate along it, as in Starkman, Nibauer et al. 2025."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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
from stream_mapper.paper.subject import Component, Subject
from stream_mapper.results.figures import axis_label
from stream_mapper.utils import floats

Array = NDArray[np.float64]

_ROW, _EDGES = 1.15, 0.7  # heights in inches


@styled
def overview(subject: Subject) -> Figure:
    """The weight of each stream and, below it, every coordinate with the stars by their membership and the track.

    Arguments:
        subject: What it is of; of GD-1 and of Pal 5 it is the figure of Starkman, Nibauer et al. 2025, arXiv
            2311.16960, as one fit of ours has it.
    """
    names = subject.coordinates
    height = _ROW * (len(names) + 1) + _EDGES
    figure = Figure((TWO_COLUMNS, height), layout="constrained")
    top, *panels = figure.subplots(len(names) + 1, 1, sharex=True, squeeze=False)[:, 0]
    for one in subject.components:
        _weight(top, one)
    top.set(ylabel="weight", ylim=(0, None))
    shade: Any = None
    for axes, name in zip(panels, names, strict=True):
        shade = _coordinate(axes, subject, name) or shade
    last = panels[-1] if panels else top
    last.set(xlabel=axis_label(subject.along), xlim=subject.ends)
    if shade is not None:
        figure.colorbar(shade, ax=[top, *panels], label=MEMBERSHIP, aspect=60, pad=0.01, fraction=0.03)
    legend(figure, BAND)
    figure.align_ylabels()
    return figure


def _weight(axes: Axes, one: Component) -> None:
    phi1 = floats(one.density[one.along])
    axes.plot(phi1, floats(one.density["weight"]), color=one.colour, label=one.name)
    if "weight_05" in one.density.colnames:
        band(axes, phi1, floats(one.density["weight_05"]), floats(one.density["weight_95"]), one.colour)


def _coordinate(axes: Axes, subject: Subject, name: str) -> Any:
    """A coordinate with its track; what colours the stars, None where they have none."""
    shade = None
    if name in subject.stars:
        shade = points(axes, subject.places, subject.stars[name], subject.p)
        axes.set_ylim(_range(subject.stars[name], subject.p))
    for one in subject.components:
        if one.has(name):
            phi1 = one.of(one.along)
            axes.plot(phi1, one.of(name), color=one.colour, lw=0.8, label=one.name)
            if one.has(f"{name}_05"):
                band(axes, phi1, one.of(f"{name}_05"), one.of(f"{name}_95"), one.colour)
    axes.set_ylabel(short_label(name))
    if name == "distmod":
        with_kpc(axes)
    return shade


def _range(values: Array, p: Array) -> tuple[float, float]:
    """Where the likely members are, with as much of the field on both sides; all of it without any."""
    low, high = span(values)
    likely = values[p > 0.5]
    if not np.isfinite(likely).any():
        return low, high
    inner = span(likely, 0.8)
    return max(low, inner[0]), min(high, inner[1])
