"""The linked views of a run's stars: what is selected in one lights up in the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from bokeh.document import Document
from bokeh.events import DocumentReady
from bokeh.models import ColumnDataSource, CustomJS, HoverTool, LinearColorMapper, Range1d, RangeTool, Scatter
from bokeh.palettes import Viridis256
from bokeh.plotting import figure
from numpy.typing import NDArray

from stream_mapper.page.labels import label_of, name_of
from stream_mapper.page.source import ALONG, COLOUR, Source, source_of
from stream_mapper.page.stars import Stars
from stream_mapper.results.bands import diagram
from stream_mapper.results.figures import COLOURS
from stream_mapper.utils import floats

_LARGE, _SMALL = 6.0, 2.0  # diameters of the points of stars above and below the threshold, in pixels
_FIELD = "#a8a8a8"
_HEIGHT, _LOW = 360, 150  # of a view and of the overview, in pixels
_BINS = 120
_TOOLS = "pan,wheel_zoom,box_zoom,box_select,lasso_select,tap,reset,save"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """A picture of all the stars.

    Arguments:
        name: What it is called in the page.
        title: What the reader is told it is.
        model: The figure of Bokeh.
    """

    name: str
    title: str
    model: Any


@dataclass(frozen=True)
class Linked:
    """The views of a page, and what its script is told of them.

    Arguments:
        document: The document of Bokeh that they are in.
        views: The views.
        facts: Plain values for the script.
    """

    document: Document
    views: list[View]
    facts: dict[str, Any]


def linked(stars: Stars, track: Table, density: Table) -> Linked:
    """The views of some stars, in one document.

    Arguments:
        stars: The stars, N.
        track: The track of each component.
        density: The density of each component.
    """
    source = source_of(stars)
    places = stars.coordinates[stars.along]
    low, high = float(np.nanmin(places)), float(np.nanmax(places))
    along = Range1d(start=low, end=high)
    track = track[np.asarray(track["supported"])]
    distance = _distance(track, stars.along)
    curve = _curve(stars) if distance["place"] else None
    overview = View("overview", f"Drag or resize the shaded range of {name_of(stars.along)}.", None)
    views = [
        View(overview.name, overview.title, _overview(stars, density, along, (low, high))),
        *_views(stars, source, along, track, curve),
    ]
    facts: dict[str, Any] = {
        "along": ALONG,
        "range": [low, high],
        "columns": list(source.titles.items()),
        "double": ["ra", "dec"],
    }
    facts |= {"large": _LARGE, "small": _SMALL, **distance}
    return Linked(_document(views, source, along, curve), views, facts)


def _document(views: list[View], source: Source, along: Range1d, curve: ColumnDataSource | None) -> Document:
    """A document with the views, which tells the script of the page of what the reader does."""
    document, later = Document(), CustomJS(code="StreamPage.later()")
    along.js_on_change("start", later)
    along.js_on_change("end", later)
    source.model.selected.js_on_change("indices", CustomJS(code="StreamPage.told()"))
    told = {"stars": source.model, "along": along, "curve": curve}
    document.js_on_event(DocumentReady, CustomJS(args=told, code="StreamPage.start({ stars, along, curve })"))
    with document.models.freeze():  # a document looks through all its models whenever it gets one
        for view in views:
            view.model.name = view.name
            document.add_root(view.model)
    return document


def _overview(stars: Stars, density: Table, along: Range1d, whole: tuple[float, float]) -> Any:
    """Counts of stars and linear density of the streams, with the range that the views show."""
    places = stars.coordinates[stars.along]
    low, high = whole
    plot: Any = figure(
        height=_LOW, sizing_mode="stretch_width", tools="", toolbar_location=None, x_range=Range1d(start=low, end=high)
    )
    plot.xaxis.axis_label, plot.yaxis.axis_label = label_of(stars.along), "stars per deg"
    edges = np.linspace(low, high, _BINS + 1)
    width = (high - low) / _BINS or 1.0
    counts = np.histogram(places, edges, weights=stars.p[:, 0])[0] / width
    plot.quad(top=counts, bottom=0, left=edges[:-1], right=edges[1:], color="#cccccc", line_color=None)
    for colour, rows in _components(density):
        plot.line(floats(rows[stars.along]), floats(rows["density"]), color=colour, line_width=1.5)
    plot.y_range.start = 0
    plot.add_tools(RangeTool(x_range=along))
    return plot


def _views(
    stars: Stars, source: Source, along: Range1d, track: Table, curve: ColumnDataSource | None
) -> Iterator[View]:
    """The sky, proper motions, colour and magnitude, and along the stream whatever else there is."""
    left = [name for name in stars.coordinates if name not in (stars.along, *stars.photometry)]
    if "phi2" in left:
        yield _along(stars, source, along, track, "phi2", "sky")
        left.remove("phi2")
    if {"pm_phi1", "pm_phi2"} <= set(left):
        x, y = "pm_phi1", "pm_phi2"
        plot = _scatter(source, source.keys[x], source.keys[y])
        plot.xaxis.axis_label, plot.yaxis.axis_label = label_of(x), label_of(y)
        plot.x_range, plot.y_range = _range(stars.coordinates[x]), _range(stars.coordinates[y])
        yield View("proper-motions", "Proper motions", plot)
        left = [name for name in left if name not in (x, y)]
    if len(stars.photometry) > 1:
        yield _colours(stars, source, curve)
    for name in left:
        yield _along(stars, source, along, track, name, name.replace("_", "-"))


def _along(stars: Stars, source: Source, along: Range1d, track: Table, name: str, called: str) -> View:
    """A coordinate along the stream, with the track of each component that has it."""
    plot = _scatter(source, ALONG, source.keys[name], x_range=along)
    plot.xaxis.axis_label, plot.yaxis.axis_label = label_of(stars.along), label_of(name)
    plot.y_range = _range(stars.coordinates[name])
    for colour, rows in _components(track):
        if name in rows.colnames and np.isfinite(values := floats(rows[name])).any():
            plot.line(floats(rows[stars.along]), values, color=colour, line_width=1.5)
    title = "Sky" if called == "sky" else name_of(name)
    title = title.capitalize() if title.isascii() else title  # a large mu would be a Latin M
    return View(called, f"{title}; lines: the tracks", plot)


def _colours(stars: Stars, source: Source, curve: ColumnDataSource | None) -> View:
    """Colour and magnitude, with the isochrone at the fitted distance."""
    bands = diagram(stars.photometry)
    plot = _scatter(source, COLOUR, source.keys[bands.magnitude])
    plot.xaxis.axis_label, plot.yaxis.axis_label = f"{bands.colour} [mag]", label_of(bands.magnitude)
    bottom, top = _span(stars.coordinates[bands.magnitude])
    plot.x_range = _range(stars.coordinates[bands.blue] - stars.coordinates[bands.red])
    plot.y_range = Range1d(start=top, end=bottom)
    title = "Colour and magnitude"
    if curve is not None:
        plot.line("colour", "magnitude", source=curve, color=COLOURS[0], line_width=1.5)
        title += f"; line: the isochrone at the fitted distance in the middle of the shown {name_of(stars.along)}"
    return View("colour-magnitude", title, plot)


def _scatter(source: Source, x: str, y: str, **options: Any) -> Any:
    """A figure of all the stars, whose sizes and shades are the script's."""
    plot = figure(
        height=_HEIGHT,
        sizing_mode="stretch_width",
        tools=_TOOLS,
        active_drag="box_select",
        output_backend="webgl",
        lod_threshold=None,
        **options,
    )
    plot.toolbar.logo = None
    colours = LinearColorMapper(palette=Viridis256, low=0, high=1, low_color=_FIELD)
    fill: Any = {"field": "shade", "transform": colours}
    glyph = Scatter(x=x, y=y, size="size", fill_color=fill, line_color=None, fill_alpha=0.8)
    faint = Scatter(x=x, y=y, size="size", fill_color=fill, line_color=None, fill_alpha=0.12)
    bright = Scatter(x=x, y=y, size=_LARGE + 1, fill_color=fill, line_color="black", line_width=1, fill_alpha=1.0)
    drawn = plot.add_glyph(source.model, glyph, selection_glyph=bright, nonselection_glyph=faint)
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=_tips(source), limit=3, point_policy="snap_to_data"))
    return plot


def _tips(source: Source) -> list[tuple[str, str]]:
    """Identifier and probabilities of a star that is pointed at."""
    shown = [key for key in source.titles if key == "id" or key[0] in "pq"]
    return [(source.titles[key], f"@{key}" if key == "id" else f"@{key}{{0.0000}}") for key in shown]


def _curve(stars: Stars) -> ColumnDataSource | None:
    """The isochrone, which the script moves to the distance of the stream."""
    if stars.curve is None or len(stars.photometry) < 2:
        return None
    colour, absolute = diagram(stars.photometry).of_curve(stars.photometry, stars.curve.astype(float))
    return ColumnDataSource({"colour": colour, "absolute": absolute, "magnitude": absolute})


def _distance(track: Table, along: str) -> dict[str, list[float]]:
    """The distance modulus of the first component that has one, ``place`` and ``modulus``; empty without."""
    for _, rows in _components(track):
        if "distmod" in rows.colnames and np.isfinite(modulus := floats(rows["distmod"])).all():
            return {"place": floats(rows[along]).tolist(), "modulus": modulus.tolist()}
    return {"place": [], "modulus": []}


def _components(table: Table) -> Iterator[tuple[str, Table]]:
    """Colour and rows of each component."""
    names = np.asarray(table["component"]).astype(str)
    for i, name in enumerate(dict.fromkeys(names.tolist())):
        yield COLOURS[i % len(COLOURS)], table[names == name]


def _range(values: Array) -> Range1d:
    low, high = _span(values)
    return Range1d(start=low, end=high)


def _span(values: Array) -> tuple[float, float]:
    """Lowest and highest of all but the outermost stars, with a margin; 0 and 1 if there is none."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [0.2, 99.8]) if len(known) else (0.0, 1.0)
    margin = 0.08 * (high - low) or 1.0
    return float(low - margin), float(high + margin)
