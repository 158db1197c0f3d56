"""The colour-magnitude diagram in slices along the stream."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stream_mapper.errors import InputError
from stream_mapper.paper.sky import smoothed
from stream_mapper.paper.style import MEMBERSHIP, TWO_COLUMNS, legend, points, span, styled
from stream_mapper.paper.subject import Component, Subject
from stream_mapper.results.bands import Diagram, diagram
from stream_mapper.results.figures import axis_label

Array = NDArray[np.float64]

_CELLS = (32, 40)  # in colour and in magnitude
_NEAR, _FAR = 2.0, 5.0  # widths of the stream within which a star is on it, and beyond which it is off
_FEWEST = 20  # stars off the stream of which there is a difference


@styled
def colour_magnitude_slices(subject: Subject, slices: int = 4) -> Figure:
    """Colour and magnitude in slices of as many members, with the isochrone at the fitted distance of each.

    Below, the Hess difference: stars within two widths of a stream in every coordinate but the photometry, less those
    five widths away on the sky that are within two in the others, scaled to the field that the fit expects on the
    stream. What the isochrone should look like is thus seen without its own help.

    Arguments:
        subject: What it is of.
        slices: Number of slices.

    Raises:
        InputError: If there is no isochrone, or no component with a distance.
    """
    with_modulus = [one for one in subject.components if one.has("distmod")]
    if len(subject.bands) < 2 or subject.curve is None or not with_modulus:
        raise InputError("colour-magnitude diagrams in slices need an isochrone of two bands and a fitted distance.")
    one, bands = with_modulus[0], diagram(subject.bands)
    edges = _edges(subject, one, slices)
    values = subject.stars[bands.blue] - subject.stars[bands.red], subject.stars[bands.magnitude]
    cells = _cells(subject, values)
    pieces = [(subject.places >= a) & (subject.places <= b) for a, b in pairwise(edges)]
    maps = [_difference(subject, there, values, cells) for there in pieces]
    count = 1 if all(found is None for found in maps) else 2
    figure = Figure((TWO_COLUMNS, 2.75 * count + 0.25), layout="constrained")
    rows = figure.subplots(count, slices, sharex=True, sharey=True, squeeze=False)
    for axes, there in zip(rows[0], pieces, strict=True):
        shade = points(axes, values[0][there], values[1][there], subject.p[there])
    figure.colorbar(shade, ax=list(rows[0]), label=MEMBERSHIP, aspect=25, pad=0.01)
    if count == 2:
        image = _hess(list(rows[1]), maps, cells)
        figure.colorbar(image, ax=list(rows[1]), label="on less off stream [stars in a cell]", aspect=25, pad=0.01)
    for column, low, high in zip(rows.T, edges[:-1], edges[1:], strict=True):
        column[0].set_title(f"{axis_label(subject.along).split(' ')[0]} = {low:.1f} to {high:.1f}")
        for axes in column:
            _isochrone(axes, subject, one, bands, 0.5 * (low + high))
    rows[0, 0].set(xlim=cells[0][[0, -1]], ylim=cells[1][[-1, 0]])
    figure.supylabel(f"{bands.magnitude} [mag]", fontsize=8)
    for axes in rows[-1]:
        axes.set_xlabel(f"{bands.colour} [mag]")
    legend(figure)
    return figure


def _cells(subject: Subject, values: tuple[Array, Array]) -> tuple[Array, Array]:
    """Edges of cells about where the likely members are, and some of the field around."""
    likely = subject.p > 0.5
    ranges = [(span(x[likely], 0.2), span(x, 0.0)) for x in values]
    inside = [(max(a[0], b[0]), min(a[1], b[1])) if likely.any() else b for a, b in ranges]
    widest = inside[0][1] + 0.5 * (inside[0][1] - inside[0][0])  # the field is mostly redder
    inside[0] = inside[0][0], min(widest, ranges[0][1][1])
    made = [np.linspace(low, high, n + 1) for (low, high), n in zip(inside, _CELLS, strict=True)]
    return made[0], made[1]


def _edges(subject: Subject, one: Component, slices: int) -> Array:
    """Edges of slices of as many expected members each, where the component is supported."""
    low, high = one.of(one.along)[[0, -1]]
    there = (subject.places >= low) & (subject.places <= high) & np.isfinite(one.p)
    order = np.argsort(subject.places[there])
    share = np.cumsum(one.p[there][order])
    inner = np.interp(np.linspace(0, share[-1], slices + 1)[1:-1], share, subject.places[there][order])
    return np.array([low, *inner, high])


def _isochrone(axes: Axes, subject: Subject, one: Component, bands: Diagram, place: float) -> None:
    """The isochrone at the fitted distance of a place."""
    if subject.curve is not None:
        colour, magnitude = bands.of_curve(subject.bands, subject.curve)
        magnitude = magnitude + one.at("distmod", np.array(place))
        axes.plot(colour, magnitude, color="k", lw=0.6, label="isochrone at the fitted distance of the middle")


def _difference(
    subject: Subject, there: NDArray[np.bool_], values: tuple[Array, Array], cells: tuple[Array, Array]
) -> Array | None:
    """Stars on the stream less those off it in cells, smoothed over about one; None where none can be off."""
    on, off = on_and_off(subject)
    on, off = on & there, off & there
    known = np.isfinite(values[0]) & np.isfinite(values[1])
    on, off = on & known, off & known
    if off.sum() < _FEWEST:
        return None
    field = 1 - subject.p
    scale = np.nansum(field[on]) / np.nansum(field[off])
    counts = [np.histogram2d(values[0][rows], values[1][rows], cells)[0] for rows in (on, off)]
    widths = cells[0][1] - cells[0][0], cells[1][1] - cells[1][0]
    return smoothed(counts[0] - scale * counts[1], widths, cells)


def on_and_off(subject: Subject) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which stars are on a stream and which are off all of them, photometry aside, each (N,).

    A star is on a stream within two of its widths, errors included, in every coordinate that it has of the track; it
    is off if it is so in all but ``phi2``, and five widths from every stream there.
    """
    on, beside = np.zeros(len(subject.p), dtype=bool), np.zeros(len(subject.p), dtype=bool)
    away = np.ones(len(subject.p), dtype=bool)
    for one in subject.components:
        near = {name: _widths_off(subject, one, name) for name in subject.coordinates if name in subject.stars}
        others = [~(far > _NEAR) for name, far in near.items() if name != "phi2"]
        known = np.isfinite(near.get("phi2", np.zeros_like(subject.p)))
        alike = np.logical_and.reduce([known, *others])
        on |= alike & ~(near.get("phi2", np.zeros_like(subject.p)) > _NEAR)
        beside |= alike
        away &= ~(near.get("phi2", np.zeros_like(subject.p)) < _FAR)
    return on, beside & away


def _widths_off(subject: Subject, one: Component, name: str) -> Array:
    """How far each star is from the track of a component, in its widths with the star's error, NaN beyond its ends."""
    if not one.has(name):
        return np.full(len(subject.p), np.nan)
    width = np.hypot(one.at(f"{name}_sigma", subject.places), subject.error(name))
    return np.abs(subject.stars[name] - one.at(name, subject.places)) / width


def _hess(panels: list[Axes], maps: list[Array | None], cells: tuple[Array, Array]) -> Any:
    """The differences in one scale of colours; what a colour bar is of."""
    there = [found for found in maps if found is not None]
    most = float(np.percentile(np.abs(there), 99.7)) or 1.0
    image = None
    for axes, found in zip(panels, maps, strict=True):
        if found is not None:
            style: dict[str, Any] = {"origin": "lower", "aspect": "auto", "cmap": "PuOr_r", "vmin": -most, "vmax": most}
            extent = (cells[0][0], cells[0][-1], cells[1][0], cells[1][-1])
            image = axes.imshow(found.T, extent=extent, **style)
    return image
