"""Smoothed maps of the sky: all the stars, and the members."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stream_mapper.errors import InputError
from stream_mapper.paper.style import TWO_COLUMNS, legend, styled
from stream_mapper.paper.subject import Subject
from stream_mapper.results.figures import axis_label

Array = NDArray[np.float64]

_CELLS = (280, 100)  # along the stream and across
_KERNEL = 2.5  # the least width of the kernel in cells
_REACH = 4.0  # of the kernel, in its widths
_LEAST = 0.15  # of the kernel that has to be inside the window


@styled
def density_map(subject: Subject) -> Figure:
    """Stars per square degree of the sky, smoothed: all that were fitted, and below the members alone.

    The kernel is a Gaussian as wide across as the stream at its narrowest, or a fortieth of the range where that is
    more; it is normalised to what is inside the window.

    Raises:
        InputError: If the model has no phi2.
    """
    if "phi2" not in subject.stars:
        raise InputError(f"a map of the sky needs phi2; the model has {[*subject.stars]}.")
    edges = _edges(subject)
    kernel = _kernel(subject, edges)
    inside = smoothed(_inside(subject, edges), kernel, edges)
    figure = Figure((TWO_COLUMNS, 4.2), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    extent = (edges[0][0], edges[0][-1], edges[1][0], edges[1][-1])
    for axes, weights, title in zip(panels, (None, subject.p), ("all stars", "members"), strict=True):
        counts = np.histogram2d(subject.places, subject.stars["phi2"], edges, weights=weights)[0]
        image = smoothed(counts, kernel, edges) / np.where(inside > _LEAST, inside, np.nan) / _area(edges)
        style: dict[str, Any] = {"origin": "lower", "aspect": "auto", "extent": extent, "cmap": "cividis", "vmin": 0}
        shown = axes.imshow(image.T, **style, vmax=float(np.nanpercentile(image, 99.8)) or 1.0)
        figure.colorbar(shown, ax=axes, label=r"stars per deg$^2$", pad=0.01, aspect=18, extend="max")
        axes.set_title(f"{title}; kernel {kernel[0]:.2g} deg by {kernel[1]:.2g} deg", loc="left")
        axes.set_ylabel(axis_label("phi2"))
    for one in subject.components:
        if one.has("phi2"):
            panels[0].plot(one.of(one.along), one.of("phi2"), color=one.colour, ls="--", lw=0.8, label=one.name)
    panels[-1].set_xlabel(axis_label(subject.along))
    legend(figure)
    return figure


def smoothed(counts: Array, kernel: tuple[float, float], edges: tuple[Array, Array]) -> Array:
    """Counts in cells smoothed by a Gaussian, nothing beyond the edges.

    Arguments:
        counts: The counts, (B, C).
        kernel: Its standard deviation in each direction, in the unit of the edges.
        edges: Edges of the cells, (B + 1,) and (C + 1,).
    """
    for axis, (width, places) in enumerate(zip(kernel, edges, strict=True)):
        steps = width / (places[1] - places[0])
        reach = math.ceil(_REACH * steps)
        law = np.exp(-0.5 * (np.arange(-reach, reach + 1) / steps) ** 2)
        law /= law.sum()
        counts = np.apply_along_axis(_centred, axis, counts, law, counts.shape[axis])
    return counts


def _centred(row: Array, law: Array, size: int) -> Array:
    whole = np.convolve(row, law)
    start = (len(whole) - size) // 2
    return whole[start : start + size]


def _edges(subject: Subject) -> tuple[Array, Array]:
    """Edges of the cells over the window of phi2, as far as there are stars."""
    phi2 = subject.stars["phi2"]
    low, high = float(np.nanmin(phi2)), float(np.nanmax(phi2))
    return np.linspace(*subject.ends, _CELLS[0] + 1), np.linspace(low, high, _CELLS[1] + 1)


def _kernel(subject: Subject, edges: tuple[Array, Array]) -> tuple[float, float]:
    widths = [one.of("phi2_sigma").min() for one in subject.components if one.has("phi2_sigma")]
    least = _KERNEL * (edges[1][1] - edges[1][0])
    return _KERNEL * (edges[0][1] - edges[0][0]), max(least, float(min(widths, default=0.0)))


def _inside(subject: Subject, edges: tuple[Array, Array]) -> Array:
    """Whether the middle of each cell is inside the window of phi2."""
    x, y = (torch.from_numpy(0.5 * (places[1:] + places[:-1])) for places in edges)
    if "phi2" not in subject.windows:
        return np.ones((len(x), len(y)))
    low, high = subject.windows["phi2"].at(x)
    return ((y >= low[:, None]) & (y <= high[:, None])).double().numpy()


def _area(edges: tuple[Array, Array]) -> float:
    return float((edges[0][1] - edges[0][0]) * (edges[1][1] - edges[1][0]))
