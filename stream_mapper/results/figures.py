"""Figures of a fitted model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from stream_mapper.catalog import default_unit
from stream_mapper.results.bands import diagram

Array = NDArray[np.float64]

COLOURS = ("#d55e00", "#0072b2", "#cc79a7", "#009e73", "#e69f00")
"""Of the components, in their order, told apart also by those who are colour-blind (Okabe and Ito 2008)."""
SHOWN = 0.1
"""Membership above which a star is coloured."""
_FAINT: dict[str, Any] = {"s": 1, "color": "0.75", "rasterized": True, "linewidths": 0}
_BRIGHT: dict[str, Any] = {"s": 6, "cmap": "viridis", "vmin": 0, "vmax": 1, "rasterized": True, "linewidths": 0}
_MEMBERSHIP = f"membership p (coloured: p > {SHOWN})"
_BAND, _TRUTH = "band: 5-95 %", "truth"
_COUNTED, _BINS = "sum of p in bins", 50
_NAMES = {
    "phi1": r"$\phi_1$",
    "phi2": r"$\phi_2$",
    "pm_phi1": r"$\mu_{\phi_1} \cos\phi_2$",
    "pm_phi2": r"$\mu_{\phi_2}$",
    "pmra": r"$\mu_\alpha \cos\delta$",
    "pmdec": r"$\mu_\delta$",
    "distmod": "distance modulus",
    "radial_velocity": r"$v_\mathrm{r}$",
    "feh": "[Fe/H]",
}


def figures(
    stars: dict[str, Array],
    p: Array,
    track: Table,
    density: Table,
    photometry: Sequence[str] = (),
    isochrone: Array | None = None,
    features: Table | None = None,
) -> Iterator[tuple[str, Figure]]:
    """Name and figure of everything the columns allow.

    Arguments:
        stars: Measured values by internal name, NaN where not measured, and truth as ``true_<name>``, each (N,).
        p: Membership of each star, (N,).
        track: Table of :func:`stream_mapper.results.track.track_table`; it is drawn where it is supported.
        density: Table of :func:`stream_mapper.results.track.density_table` at the same phi1.
        photometry: Names of F magnitudes, blue to red.
        isochrone: Absolute magnitudes along the stream's isochrone, (K, F).
        features: Gaps and peaks, which the figure of the density marks.
    """
    there = np.asarray(track["supported"])
    track = track[there]
    stars = with_truth(stars, density)
    if "phi2" in stars:
        yield "sky", sky(stars, p, track)
    if {"pm_phi1", "pm_phi2"} <= stars.keys():
        yield "proper_motions", scatter(stars, p, "pm_phi1", "pm_phi2")
    if len(photometry) > 1 and np.isfinite(np.subtract(*(stars[band] for band in diagram(photometry)[:2]))).any():
        yield "colour_magnitude", colour_magnitude(stars, p, track, photometry, isochrone)
    yield "weight", along(stars, density, there, "weight", "weight of the component")
    number = along(stars, density, there, "density", "density of the component [1/deg]", p)
    yield "density", number if features is None else _marked(number, density, features)
    names = [name for name in track.colnames if f"{name}_sigma" in track.colnames]
    if names:
        yield "track", tracks(stars, p, track, names)
        yield "widths", widths(stars, track, names)


def sky(stars: dict[str, Array], p: Array, track: Table) -> Figure:
    """Positions coloured by membership, above the track of each component."""
    figure, (top, bottom) = _panels(stars, 2, sharey=True)
    for axes in (top, bottom):
        points = _points(axes, stars, p, "phi1", "phi2")
        axes.set_ylabel(axis_label("phi2"))
    _curves(bottom, track, "phi2")
    bottom.set_ylim(np.nanmin(stars["phi2"]), np.nanmax(stars["phi2"]))
    figure.colorbar(points, ax=[top, bottom], label=_MEMBERSHIP, aspect=40)
    return _with_legend(figure)


def scatter(stars: dict[str, Array], p: Array, x: str, y: str) -> Figure:
    """Two columns, coloured by membership."""
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.subplots()
    points = _points(axes, stars, p, x, y)
    axes.set(xlabel=axis_label(x), ylabel=axis_label(y), xlim=_span(stars[x]), ylim=_span(stars[y]))
    figure.colorbar(points, ax=axes, label=_MEMBERSHIP)
    return figure


def colour_magnitude(
    stars: dict[str, Array], p: Array, track: Table, photometry: Sequence[str], isochrone: Array | None = None
) -> Figure:
    """Colour and magnitude, as observed and, with the isochrone, at the distance of the stream at each phi1.

    The distance is that of the first component that has one.
    """
    bands = diagram(photometry)
    distances = (rows for _, rows in _components(track) if _drawn(rows, "distmod"))
    rows = next(distances, None)
    count = 1 if rows is None else 2
    figure = Figure(figsize=(7.1 if count == 2 else 4.5, 4.8), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    shown = {"colour": stars[bands.blue] - stars[bands.red], "magnitude": stars[bands.magnitude]}
    points = _points(panels[0], shown, p, "colour", "magnitude")
    panels[0].set(ylabel=f"{bands.magnitude} [mag]", title="as observed")
    if rows is not None:
        modulus = np.interp(stars["phi1"], np.asarray(rows["phi1"]), np.asarray(rows["distmod"]))
        _points(panels[1], {**shown, "magnitude": shown["magnitude"] - modulus}, p, "colour", "magnitude")
        panels[1].set(ylabel=f"{bands.magnitude} - modulus [mag]", title="at the stream's distance")
    if rows is not None and isochrone is not None:
        panels[1].plot(*bands.of_curve(photometry, isochrone), "k-", lw=1, label="isochrone")
        panels[1].legend(fontsize="small")
    for axes in panels:
        axes.set(xlabel=f"{bands.colour} [mag]", xlim=_span(shown["colour"]))
        axes.invert_yaxis()
    figure.colorbar(points, ax=list(panels), label=_MEMBERSHIP)
    return figure


def along(
    stars: dict[str, Array],
    density: Table,
    there: NDArray[np.bool_],
    column: str,
    label: str,
    p: Array | None = None,
) -> Figure:
    """A column of the density table along phi1, with its band and the truth where it is known.

    The axis ends above the lines, and above the bands where the components are ``there``. Of a density the members are
    counted by their ``p``.
    """
    figure, (axes,) = _panels(stars, 1)
    _curves(axes, density, column)
    _truth(axes, stars, column)
    high = np.asarray(density[f"{column}_95"])[there]
    top = np.nanmax([*np.asarray(density[column]), *high, *stars.get(f"true_{column}", ())], initial=0)
    axes.set(ylabel=label, ylim=(0, 1.05 * top or 1))
    if p is not None:
        _counted(axes, stars["phi1"], p)
    return _with_legend(figure)


def tracks(stars: dict[str, Array], p: Array, track: Table, names: Sequence[str]) -> Figure:
    """Every coordinate of the track along phi1, over the stars."""
    figure, panels = _panels(stars, len(names))
    for axes, name in zip(panels, names, strict=True):
        if name in stars:
            _points(axes, stars, p, "phi1", name)
            axes.set_ylim(_span(stars[name]))
        _curves(axes, track, name)
        _truth(axes, stars, name)
        axes.set_ylabel(axis_label(name))
    return _with_legend(figure)


def widths(stars: dict[str, Array], track: Table, names: Sequence[str]) -> Figure:
    """The intrinsic width of every coordinate along phi1."""
    figure, panels = _panels(stars, len(names))
    for axes, name in zip(panels, names, strict=True):
        _curves(axes, track, f"{name}_sigma")
        _truth(axes, stars, f"{name}_sigma")
        axes.set_ylabel(f"width of\n{axis_label(name)}")
        axes.set_ylim(bottom=0)
    return _with_legend(figure)


def with_truth(stars: dict[str, Array], density: Table) -> dict[str, Array]:
    """The stars with what follows from their truth; that of the track only where there is a stream.

    Arguments:
        stars: Values by internal name, and truth as ``true_<name>``, each (N,).
        density: The density of each component.
    """
    out = dict(stars)
    if "true_distance" in out and "true_distmod" not in out:
        out["true_distmod"] = 5 * np.log10(out["true_distance"]) + 10
    if {"true_distance", "true_distance_sigma"} <= out.keys() and "true_distmod_sigma" not in out:
        out["true_distmod_sigma"] = 5 / math.log(10) * out["true_distance_sigma"] / out["true_distance"]
    if "true_weight" not in out:
        return out
    there = out["true_weight"] > 0
    out = {name: np.where(there, x, np.nan) if name.startswith("true_") else x for name, x in out.items()}
    _, first = next(_components(density))
    total = np.interp(out["phi1"], np.asarray(first["phi1"]), np.asarray(first["total_density"]))
    return {**out, "true_weight": stars["true_weight"], "true_density": stars["true_weight"] * total}


def _panels(stars: dict[str, Array], count: int, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure with panels along phi1, one below the other."""
    figure = Figure(figsize=(7.1, max(3.4, 2.1 * count)), layout="constrained")
    panels = list(figure.subplots(count, 1, sharex=True, squeeze=False, **options)[:, 0])
    panels[-1].set(xlabel=axis_label("phi1"), xlim=(np.nanmin(stars["phi1"]), np.nanmax(stars["phi1"])))
    return figure, panels


def _points(axes: Axes, stars: dict[str, Array], p: Array, x: str, y: str) -> Any:
    return points(axes, stars[x], stars[y], p, _FAINT, _BRIGHT)


def points(axes: Axes, x: Array, y: Array, p: Array, faint: dict[str, Any], bright: dict[str, Any]) -> Any:
    """All stars in grey, likely members on top in the order of their membership; what colours the latter.

    Arguments:
        axes: Where they are drawn.
        x: One value of each star, (N,).
        y: Another, (N,).
        p: Membership of each, (N,); a star above 0.1 is coloured.
        faint: How matplotlib's ``scatter`` is to draw all of them.
        bright: How it is to draw the likely ones, on top.
    """
    axes.scatter(x, y, **faint)
    order = np.argsort(p)
    order = order[p[order] > SHOWN]
    return axes.scatter(x[order], y[order], c=p[order], **bright)


def _curves(axes: Axes, table: Table, column: str) -> None:
    """The line of each component that has this column, with its band."""
    for i, (name, rows) in enumerate(_components(table)):
        if not _drawn(rows, column):
            continue
        phi1 = np.asarray(rows["phi1"])
        axes.plot(phi1, np.asarray(rows[column]), color=COLOURS[i % len(COLOURS)], lw=1.2, label=name)
        if _drawn(rows, f"{column}_05"):
            low, high = (np.asarray(rows[f"{column}_{q}"]) for q in ("05", "95"))
            axes.fill_between(phi1, low, high, alpha=0.3, color=COLOURS[i % len(COLOURS)], lw=0, label=_BAND)


def _counted(axes: Axes, phi1: Array, p: Array) -> None:
    """Members in bins, the sum of their p, with Poisson's bars."""
    counted(axes, phi1, p, axes.get_xlim(), fmt=".", ms=3, lw=0.8, color="0.35", label=_COUNTED, zorder=1)


def counted(axes: Axes, phi1: Array, p: Array, ends: tuple[float, float], **style: Any) -> None:
    """Members along the stream in bins, the sum of their p over the width of a bin, with Poisson's bars.

    Arguments:
        axes: Where they are drawn; it ends above them.
        phi1: Place of each star, (N,).
        p: Membership of each, (N,).
        ends: Where the bins begin and end.
        **style: How they are drawn, as matplotlib's ``errorbar`` takes it.
    """
    known = np.isfinite(phi1) & np.isfinite(p)
    edges = np.linspace(*ends, _BINS + 1)
    width = edges[1] - edges[0]
    members = np.histogram(phi1[known], edges, weights=p[known])[0]
    some = members > 0.5
    middle = 0.5 * (edges[1:] + edges[:-1])[some]
    values, bars = members[some] / width, np.sqrt(members[some]) / width
    axes.errorbar(middle, values, bars, **style)
    if len(values):
        axes.set_ylim(top=max(axes.get_ylim()[1], 1.05 * float((values + bars).max())))


def _marked(figure: Figure, density: Table, features: Table) -> Figure:
    """The figure with each gap and peak, within its width, in the faint colour of its component."""
    axes, names = figure.axes[0], [name for name, _ in _components(density)]
    for row in features:
        colour = COLOURS[names.index(str(row["component"])) % len(COLOURS)]
        axes.axvspan(row["phi1"] - row["width"], row["phi1"] + row["width"], color=colour, alpha=0.12, lw=0)
        name = {"x": row["phi1"], "y": 0.98, "s": row["kind"], "transform": axes.get_xaxis_transform()}
        axes.text(**name, ha="center", va="top", fontsize="small", color=colour)
    return figure


def _truth(axes: Axes, stars: dict[str, Array], column: str) -> None:
    """The truth, where it is known."""
    if f"true_{column}" in stars:
        order = np.argsort(stars["phi1"])
        axes.plot(stars["phi1"][order], stars[f"true_{column}"][order], "k--", lw=1, label=_TRUTH)


def _with_legend(figure: Figure) -> Figure:
    """The figure with one legend for all its panels, above them: the components, the band, the truth."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        handles |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    if _BAND in handles:
        handles[_BAND] = Patch(color="0.5", alpha=0.3, lw=0)
    last = [label for label in (_BAND, _COUNTED, _TRUTH) if label in handles]
    handles |= {label: handles.pop(label) for label in last}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=len(handles), fontsize="small")
    figure.align_ylabels()
    return figure


def _span(values: Array) -> tuple[float, float]:
    """Range of all but the outermost stars, with a margin."""
    low, high = np.nanpercentile(values, [0.2, 99.8])
    margin = 0.1 * (high - low) or 1.0
    return low - margin, high + margin


def axis_label(name: str) -> str:
    """Name and unit of a coordinate, as an axis has them."""
    return f"{_NAMES.get(name, name)} [{default_unit(name).replace(' ', '')}]"


def _drawn(rows: Table, column: str) -> bool:
    """Whether a component has this column; of several components not every one has all."""
    return column in rows.colnames and bool(np.isfinite(np.ma.filled(rows[column], np.nan)).all())


def _components(table: Table) -> Iterator[tuple[str, Table]]:
    names = np.asarray(table["component"]).astype(str)
    for name in dict.fromkeys(names.tolist()):
        yield name, table[names == name]
