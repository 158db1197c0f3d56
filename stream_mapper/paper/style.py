"""How the figures for a paper look: widths of a journal's columns, small type, colours for everybody."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from stream_mapper.results import figures
from stream_mapper.results.figures import COLOURS, SHOWN, axis_label
from stream_mapper.results.residual_figures import ONE_COLUMN, TWO_COLUMNS

Array = NDArray[np.float64]

__all__ = [
    "BAND",
    "BANDS",
    "COLOURS",
    "INNER",
    "MEMBERSHIP",
    "ONE_COLUMN",
    "RC",
    "TWO_COLUMNS",
    "band",
    "legend",
    "points",
    "short_label",
    "span",
    "styled",
    "with_kpc",
]

RC: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # letters stay letters, which journals ask for
}
_TICKS: dict[str, Any] = {"direction": "in", "top": True, "labelsize": 7, "width": 0.6, "which": "both"}
_FAINT: dict[str, Any] = {"s": 0.6, "color": "0.78", "rasterized": True, "linewidths": 0}
_BRIGHT: dict[str, Any] = {"s": 3.5, "cmap": "viridis", "vmin": 0, "vmax": 1, "rasterized": True, "linewidths": 0}
BAND, INNER = "band: 5-95 %", "16-84 %"
BANDS = {BAND: 0.25, INNER: 0.45}
"""Bands of a posterior, and how dark they are drawn."""
MEMBERSHIP = f"membership (coloured above {SHOWN})"

_Arguments = ParamSpec("_Arguments")


def styled(draw: Callable[_Arguments, Figure]) -> Callable[_Arguments, Figure]:
    """A function that draws a figure, with the type, lines and ticks of a paper."""

    @wraps(draw)
    def drawn(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Figure:
        with rc_context(RC):
            figure = draw(*args, **kwargs)
        for axes in figure.axes:
            axes.tick_params(**_TICKS, right=not axes.child_axes)  # ticks are made later, with the settings of others
        return figure

    return drawn


def points(axes: Axes, x: Array, y: Array, p: Array) -> Any:
    """All stars in grey, likely members on top, in points of a figure for a paper; what colours the latter."""
    return figures.points(axes, x, y, p, _FAINT, _BRIGHT)


def band(axes: Axes, phi1: Array, low: Array, high: Array, colour: str, label: str = BAND, **options: Any) -> None:
    """A band of a posterior along the stream; its label is one of `BANDS`, by which it is as dark as they are."""
    axes.fill_between(phi1, low, high, color=colour, alpha=BANDS[label], lw=0, label=label, **options)


def span(values: Array, margin: float = 0.08) -> tuple[float, float]:
    """Range of all but the outermost values, with a margin on each side, a share of the range; 0 to 1 of none."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [0.2, 99.8]) if len(known) else (0.0, 1.0)
    beyond = margin * (high - low) or 0.5
    return float(low - beyond), float(high + beyond)


def legend(figure: Figure, *last: str) -> None:
    """One legend for all panels, above them, each label once.

    Arguments:
        figure: The figure, with a constrained layout.
        *last: Labels that come after the others, as far as they are there.
    """
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        handles |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    handles |= {label: Patch(color="0.4", alpha=alpha, lw=0) for label, alpha in BANDS.items() if label in handles}
    for label in last:
        if label in handles:
            handles[label] = handles.pop(label)
    if handles:
        fitting = int(figure.get_figwidth())  # a label takes about an inch
        columns: dict[str, Any] = {"ncols": min(len(handles), fitting), "loc": "outside upper right"}
        figure.legend(list(handles.values()), list(handles), **columns)


def short_label(name: str) -> str:
    """Name and unit of a coordinate in a low panel."""
    return "modulus [mag]" if name == "distmod" else axis_label(name)


def with_kpc(axes: Axes) -> None:
    """A second axis with the distance of the modulus that the first one has."""
    right = axes.secondary_yaxis("right", functions=(_to_kpc, _to_modulus))
    right.set_ylabel("distance [kpc]")
    right.tick_params(direction="in", labelsize=7, width=0.6)


def _to_kpc(modulus: Any) -> Any:
    return 10 ** (np.asarray(modulus) / 5 - 2)


def _to_modulus(kpc: Any) -> Any:
    return 5 * np.log10(np.maximum(kpc, 1e-9)) + 10
