"""Everything that Bokeh draws on the page, and its library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from astropy.table import Table
from bokeh.document import Document
from bokeh.embed import components
from bokeh.resources import Resources

from stream_mapper.page.losses import Curve, plots
from stream_mapper.page.stars import Stars
from stream_mapper.page.views import linked

_LIBRARY: list[Any] = ["bokeh", "bokeh-gl"]  # no widgets, tables or formulae


@dataclass(frozen=True)
class Drawn:
    """A view as HTML.

    Arguments:
        name: What it is called in the page.
        title: What the reader is told it is.
        html: Where Bokeh draws it.
    """

    name: str
    title: str
    html: str


@dataclass(frozen=True)
class Plots:
    """What Bokeh draws.

    Arguments:
        views: The linked views of the stars.
        losses: The curves of the training, as HTML.
        facts: Plain values for the script of the page.
        library: The scripts of Bokeh.
        script: What draws it all.
    """

    views: list[Drawn]
    losses: list[str]
    facts: dict[str, Any]
    library: str
    script: str


def draw(curves: dict[str, Curve], stars: Stars | None, tables: Mapping[str, Table]) -> Plots:
    """The views of the stars, if there are any, and the curves of the training, if there are any."""
    of_stars = None if stars is None else linked(stars, tables["track"], tables["density"])
    document = Document() if of_stars is None else of_stars.document
    views = [] if of_stars is None else of_stars.views
    lines = plots(curves)
    with document.models.freeze():
        for line in lines:
            document.add_root(line)
    if not document.roots:
        return Plots([], [], {}, "", "")
    script, html = components([*(view.model for view in views), *lines])
    drawn = [Drawn(view.name, view.title, text) for view, text in zip(views, html, strict=False)]
    facts = {} if of_stars is None else of_stars.facts
    library = Resources(mode="inline", components=_LIBRARY, log_level="warn").render()
    return Plots(drawn, list(html[len(views) :]), facts, library, script)
