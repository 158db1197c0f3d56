"""Figures that ask whether a fit is right: residual maps and the memberships themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stream_mapper.results.figures import axis_label
from stream_mapper.results.projections import Projection

Array = NDArray[np.float64]

TWO_COLUMNS, ONE_COLUMN = 7.1, 3.5
"""Widths of a figure in a journal, in inches."""
_TOP, _ROW, _BOTTOM = 0.3, 1.6, 0.95  # heights in inches
_FAR = 4.0  # residuals beyond which the colour stays
_BINS = 40


def residual_maps(found: Sequence[Projection]) -> Figure:
    """Stars, what the fit draws, and the difference in units of its noise, a row a coordinate.

    Arguments:
        found: One projection or more.
    """
    height = _TOP + _ROW * len(found) + _BOTTOM
    figure = Figure(figsize=(TWO_COLUMNS, height))
    place = {"left": 0.1, "right": 0.98, "top": 1 - _TOP / height, "bottom": _BOTTOM / height, "wspace": 0.08}
    panels = figure.subplots(len(found), 3, squeeze=False, sharex=True, sharey="row", gridspec_kw=place)
    for row, one in zip(panels, found, strict=True):
        top = max(one.stars.max(), one.expected.max(), 1)
        extent = (one.edges[0][0], one.edges[0][-1], one.edges[1][0], one.edges[1][-1])
        counts = {"origin": "lower", "aspect": "auto", "extent": extent, "cmap": "cividis", "vmin": 0, "vmax": top}
        for axes, values in zip(row[:2], (one.stars, one.expected), strict=True):
            axes.imshow(values.T, **counts)
        image = row[2].imshow(one.residuals.T, **counts | {"cmap": "PuOr_r", "vmin": -_FAR, "vmax": _FAR})
        row[0].set_ylabel(axis_label(one.name), fontsize="small")
        row[1].text(0.98, 0.95, f"0 to {top:.0f}", ha="right", va="top", color="w", transform=row[1].transAxes, size=7)
    for axes, title in zip(panels[0], ("stars", "fit", "(stars - fit) / noise"), strict=True):
        axes.set_title(title, fontsize="medium")
    for axes in panels[-1]:
        axes.set_xlabel(axis_label(found[0].along), fontsize="small")
    for axes in panels.flat:
        axes.tick_params(labelsize="small")
    below = figure.add_axes((0.7, 0.3 / height, 0.27, 0.1 / height))
    figure.colorbar(image, cax=below, orientation="horizontal", extend="both").ax.tick_params(labelsize="small")
    return figure


def memberships(p: Array) -> Figure:
    """How many stars have which membership, and how many are above it, with those of them expected not to be members.

    Arguments:
        p: Membership of each star, (N,).
    """
    p = np.sort(p[np.isfinite(p)])
    figure = Figure(figsize=(TWO_COLUMNS, 3.0))
    edges = {"left": 0.1, "right": 0.97, "bottom": 0.17, "top": 0.82, "wspace": 0.3}  # the legend is above
    left, right = figure.subplots(1, 2, gridspec_kw=edges)
    left.hist(p, bins=_BINS, range=(0, 1), color="0.6")
    left.set(yscale="log", xlabel="membership p", ylabel="stars in a bin")
    above = np.arange(len(p), 0, -1)
    right.step(p, above, where="pre", color="C0", label="stars above p")
    others = np.cumsum((1 - p)[::-1])[::-1]
    right.step(p, others, where="pre", color="C1", ls="--", label="of these expected not to be members")
    right.set(yscale="log", xlabel="membership p", ylabel="stars above", xlim=(0, 1))
    right.set_ylim(bottom=0.3)
    right.legend(fontsize="small", loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    return figure
