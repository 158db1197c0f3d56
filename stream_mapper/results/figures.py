"""Figures of a fitted model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

Array = NDArray[np.float64]

_FAINT: dict[str, Any] = {"s": 1, "color": "0.75", "rasterized": True, "linewidths": 0}
_BRIGHT: dict[str, Any] = {"s": 6, "cmap": "viridis", "vmin": 0, "vmax": 1, "rasterized": True, "linewidths": 0}
_SHOWN = 0.1  # stars above this membership are coloured
_LABELS = {
    "phi1": r"$\phi_1$ [deg]",
    "phi2": r"$\phi_2$ [deg]",
    "pm_phi1": r"$\mu_{\phi_1} \cos\phi_2$ [mas/yr]",
    "pm_phi2": r"$\mu_{\phi_2}$ [mas/yr]",
    "parallax": "parallax [mas]",
    "distance": "distance [kpc]",
}


def figures(
    stars: dict[str, Array], p: Array, track: Table, density: Table, photometry: list[str]
) -> Iterator[tuple[str, Figure]]:
    """Name and figure of everything the columns allow.

    Arguments:
        stars: Measured values by internal name, NaN where not measured, each (N,).
        p: Membership of each star, (N,).
        track: Table of :func:`stream_mapper.results.track.track_table`.
        density: Table of :func:`stream_mapper.results.track.density_table`.
        photometry: Names of the magnitudes, blue to red.
    """
    track = track[np.asarray(track["supported"])]
    stars = {name: _where(values, stars, name) for name, values in stars.items()}
    if "phi2" in stars:
        yield "sky", sky(stars, p, track)
    if {"pm_phi1", "pm_phi2"} <= stars.keys():
        yield "proper_motions", scatter(stars, p, "pm_phi1", "pm_phi2")
    if len(photometry) > 1:
        yield "colour_magnitude", colour_magnitude(stars, p, track, photometry)
    yield "weight", along(density, "weight", stars)
    yield "density", along(density, "density", stars)
    yield "track", tracks(stars, p, track)


def sky(stars: dict[str, Array], p: Array, track: Table) -> Figure:
    """Positions coloured by membership, above the track of each component."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, sharey=True)
    _points(top, stars, p, "phi1", "phi2", figure)
    _points(bottom, stars, p, "phi1", "phi2", None)
    for name, part in _components(track):
        if "phi2" in part.colnames:
            _band(bottom, part, "phi2", name)
    bottom.legend(loc="best", fontsize="small")
    top.set_xlabel("")
    bottom.set_ylim(np.nanmin(stars["phi2"]), np.nanmax(stars["phi2"]))
    return figure


def scatter(stars: dict[str, Array], p: Array, x: str, y: str) -> Figure:
    """Two columns, coloured by membership."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    _points(figure.subplots(), stars, p, x, y, figure)
    return figure


def colour_magnitude(stars: dict[str, Array], p: Array, track: Table, photometry: list[str]) -> Figure:
    """Colour and magnitude, as observed and moved to the distance of the first component at each phi1."""
    blue, red = photometry[0], photometry[-1]
    colour = stars[blue] - stars[red]
    _, first = next(_components(track))
    apparent = {**stars, "colour": colour}
    figure = Figure(figsize=(10, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _points(left, apparent, p, "colour", blue, None)
    shift = 0.0
    if "distmod" in first.colnames:
        shift = np.interp(stars["phi1"], np.asarray(first["phi1"]), np.asarray(first["distmod"]))
    _points(right, {**apparent, blue: stars[blue] - shift}, p, "colour", blue, figure)
    left.set(xlabel=f"{blue} - {red} [mag]", ylabel=f"{blue} [mag]", title="as observed")
    right.set(xlabel=f"{blue} - {red} [mag]", ylabel=f"{blue} - modulus [mag]", title="at the stream's distance")
    for axes in (left, right):
        axes.set_xlim(_span(colour))
        axes.invert_yaxis()
    return figure


def along(density: Table, column: str, stars: dict[str, Array]) -> Figure:
    """A column of the density table along phi1, with its 90 % band and the truth where it is known."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for name, part in _components(density):
        _band(axes, part, column, name)
    if f"true_{column}" in stars:
        order = np.argsort(stars["phi1"])
        axes.plot(stars["phi1"][order], stars[f"true_{column}"][order], "k--", lw=1, label="truth")
    axes.set(xlabel=_LABELS["phi1"], ylabel=f"{column} of the component" + (" [1/deg]" if column == "density" else ""))
    axes.set_ylim(0, 1.5 * np.max(density[column]))
    axes.legend(fontsize="small")
    return figure


def tracks(stars: dict[str, Array], p: Array, track: Table) -> Figure:
    """Every coordinate of the track along phi1, over the stars."""
    names = [n for n in track.colnames if f"{n}_sigma" in track.colnames]
    figure = Figure(figsize=(9, 2.6 * len(names)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(names), 1, sharex=True))
    for axes, name in zip(panels, names, strict=True):
        if name in stars:
            _points(axes, stars, p, "phi1", name, None)
        for component, part in _components(track):
            if np.isfinite(part[name]).all():
                _band(axes, part, name, component)
        if f"true_{name}" in stars:
            order = np.argsort(stars["phi1"])
            axes.plot(stars["phi1"][order], stars[f"true_{name}"][order], "k--", lw=1, label="truth")
        axes.set(ylabel=_LABELS.get(name, f"{name} [mag]"), xlabel="")
    panels[0].legend(fontsize="small")
    panels[-1].set_xlabel(_LABELS["phi1"])
    return figure


def _where(values: Array, stars: dict[str, Array], name: str) -> Array:
    """A truth only where there is a stream."""
    if not name.startswith("true_") or "true_weight" not in stars or name == "true_weight":
        return values
    return np.where(stars["true_weight"] > 0, values, np.nan)


def _span(values: Array) -> tuple[float, float]:
    """Range of all but the outermost stars, with a margin."""
    low, high = np.nanpercentile(values, [0.2, 99.8])
    margin = 0.1 * (high - low)
    return low - margin, high + margin


def _points(axes: Axes, stars: dict[str, Array], p: Array, x: str, y: str, figure: Figure | None) -> None:
    """All stars in grey, likely members on top in the order of their membership."""
    axes.scatter(stars[x], stars[y], **_FAINT)
    order = np.argsort(p)
    order = order[p[order] > _SHOWN]
    points = axes.scatter(stars[x][order], stars[y][order], c=p[order], **_BRIGHT)
    axes.set(xlabel=_LABELS.get(x, x), ylabel=_LABELS.get(y, y))
    if figure is not None:
        figure.colorbar(points, ax=axes, label="membership")


def _band(axes: Axes, part: Table, column: str, label: str) -> None:
    phi1, centre = np.asarray(part["phi1"]), np.asarray(part[column])
    (line,) = axes.plot(phi1, centre, lw=1, label=label)
    axes.fill_between(phi1, part[f"{column}_05"], part[f"{column}_95"], alpha=0.3, color=line.get_color())


def _components(table: Table) -> Iterator[tuple[str, Table]]:
    names = np.asarray(table["component"]).astype(str)
    for name in dict.fromkeys(names.tolist()):
        yield name, table[names == name]
