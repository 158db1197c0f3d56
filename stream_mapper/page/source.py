"""The stars of a page as Bokeh has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource
from numpy.typing import NDArray

from stream_mapper.page.stars import Stars
from stream_mapper.results.bands import diagram

ALONG, COLOUR = "x0", "colour"
"""Columns of the coordinate along the stream and of the colour."""
_P = {"p": "p_member", "p_05": "p_member_05", "p_95": "p_member_95"}


@dataclass(frozen=True)
class Source:
    """The stars, N, column by column.

    Names that a user gave are titles alone: columns have names of ours.

    Arguments:
        model: The source of Bokeh.
        keys: Column of each coordinate, by its internal name.
        titles: Title of each column that is downloaded, in the order of the file.
    """

    model: ColumnDataSource
    keys: dict[str, str]
    titles: dict[str, str]


def source_of(stars: Stars) -> Source:
    """The columns of some stars; numbers are in single precision but those that a place on the sky needs in full."""
    keys = {name: f"x{i}" for i, name in enumerate(stars.coordinates)}
    titles, data = {"id": stars.id_name}, dict[str, Any](id=stars.id)
    if stars.icrs is not None:
        data |= {"ra": stars.icrs[:, 0], "dec": stars.icrs[:, 1]}
        titles |= {"ra": "ra", "dec": "dec"}
    data |= {key: _short(stars.coordinates[name]) for name, key in keys.items()}
    titles |= {key: name for name, key in keys.items()}
    found = [(key, i) for i, key in enumerate(_P) if np.isfinite(stars.p[:, i]).any()]
    data |= {key: _short(stars.p[:, i]) for key, i in found}
    titles |= {key: _P[key] for key, _ in found}
    data |= {f"q{i}": _short(p) for i, p in enumerate(stars.components.values())}
    titles |= {f"q{i}": f"p_{name}" for i, name in enumerate(stars.components)}
    if len(stars.photometry) > 1:
        blue, red = (stars.coordinates[name] for name in diagram(stars.photometry)[:2])
        data[COLOUR] = _short(blue - red)
    blank = np.zeros(len(stars.id), dtype=np.int8)  # filled by the page's script; Bokeh takes uint8 for colours
    return Source(ColumnDataSource(data | {"size": blank, "shade": blank}), keys, titles)


def _short(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)
