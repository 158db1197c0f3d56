"""Which stars were fitted, and which of them have trained the background."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stream_mapper.errors import InputError
from stream_mapper.paper.style import TWO_COLUMNS, legend, span, styled
from stream_mapper.paper.subject import Subject
from stream_mapper.results.figures import axis_label

Array = NDArray[np.float64]

_ROW, _EDGES = 1.25, 0.65  # heights in inches
_POINT: dict[str, Any] = {"s": 0.8, "linewidths": 0, "rasterized": True}
_OUTSIDE, _FITTED, _ALONE, _OFF = "not fitted", "fitted", "fitted, not trained on", "trained the background"
_COLOURS = {_OUTSIDE: "0.8", _FITTED: "#56b4e9", _ALONE: "#e69f00", _OFF: "#56b4e9"}
_PLACES = 200


@styled
def windows_and_guides(subject: Subject) -> Figure:
    """Every coordinate that has a window or guides along the stream, with the edges of the window and the guides.

    Stars that have trained the background, where that is known, are told from those that were only fitted and from
    those that were left out.

    Raises:
        InputError: If there is neither a window nor a guide.
    """
    names = _names(subject)
    if not names:
        raise InputError("the fit has no window and no guides to show.")
    figure = Figure((TWO_COLUMNS, _ROW * len(names) + _EDGES), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        _stars(axes, subject, name)
        _edges(axes, subject, name)
        _guides(axes, subject, name)
        axes.set(ylabel=axis_label(name), ylim=_range(subject, name))
    panels[-1].set(xlabel=axis_label(subject.along), xlim=_places(subject)[[0, -1]])
    legend(figure)
    figure.align_ylabels()
    return figure


def _names(subject: Subject) -> list[str]:
    """Coordinates with a window that is not open, or with guides; not the place itself."""
    closed = [name for name, window in subject.windows.items() if any(math.isfinite(x) for x in window.extent)]
    named = dict.fromkeys([*closed, *(guide.name for guide in subject.guides)])
    return [name for name in named if name in subject.stars and name != subject.along]


def _places(subject: Subject) -> Array:
    """Places over all the stars, the ones that were left out too, but the outermost."""
    beyond = subject.outside.get(subject.along, np.empty(0))
    low, high = span(beyond, 0.0) if np.isfinite(beyond).any() else subject.ends
    return np.linspace(min(low, subject.ends[0]), max(high, subject.ends[1]), _PLACES)


def _stars(axes: Axes, subject: Subject, name: str) -> None:
    """The stars by what became of them."""
    if name in subject.outside:
        _points(axes, subject.outside[subject.along], subject.outside[name], _OUTSIDE)
    off, values = subject.off_stream, subject.stars[name]
    if off is None:
        _points(axes, subject.places, values, _FITTED)
        return
    for rows, label in ((off, _OFF), (~off, _ALONE)):
        _points(axes, subject.places[rows], values[rows], label)


def _points(axes: Axes, x: Array, y: Array, label: str) -> None:
    if np.isfinite(x + y).any():
        axes.scatter(x, y, color=_COLOURS[label], **_POINT)
        axes.scatter([], [], s=12, linewidths=0, color=_COLOURS[label], label=label)


def _edges(axes: Axes, subject: Subject, name: str) -> None:
    """The edges of a window, along the stream."""
    if name in subject.windows:
        places = _places(subject)
        for edge in subject.windows[name].at(torch.from_numpy(places)):
            if edge.isfinite().all():
                axes.plot(places, edge.numpy(), color="k", lw=0.8, label="window")


def _guides(axes: Axes, subject: Subject, name: str) -> None:
    """The guides of each component, in its colour."""
    for one in subject.components:
        for guide in subject.guides:
            if guide.name == name and guide.component == one.name:
                style: dict[str, Any] = {"fmt": "o", "ms": 2, "elinewidth": 1, "capsize": 2, "zorder": 3}
                style |= {"color": one.colour, "label": f"guides of {one.name}"}
                axes.errorbar(guide.phi1, guide.center, guide.width, **style)


def _range(subject: Subject, name: str) -> tuple[float, float]:
    """The window with a margin; of a side that is open, where the stars are."""
    low, high = span(subject.stars[name], 0.0)
    edges = subject.windows[name].extent if name in subject.windows else (low, high)
    bottom, top = (edge if math.isfinite(edge) else end for edge, end in zip(edges, (low, high), strict=True))
    margin = 0.12 * (top - bottom)
    return bottom - margin, top + margin
