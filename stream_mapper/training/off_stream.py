"""The stars off the stream, where nobody says which these are: those away from the guides of its position."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

from torch import nn

from stream_mapper.models.base import Model, ParametricModel, is_pretrained, windows_of
from stream_mapper.prior import ControlRegions
from stream_mapper.selection import All, OffStream, Selection
from stream_mapper.training.background import BackgroundStage, pretrained_parts
from stream_mapper.utils import significant
from stream_mapper.windows import as_window

_log = logging.getLogger("stream_mapper")

_WIDTHS = 2.0  # of the stream, at its widest, beyond the guides
_GUIDES = 2.0  # half-widths beyond the guides, where the width of the stream has no bound
_OF_WINDOW = 0.375  # at most on each side of the guides, so that a quarter of the window is left


def with_off_stream(stage: BackgroundStage, model: Model) -> BackgroundStage:
    """The stage with the off-stream stars of the model's guides, if it names neither stars nor another table."""
    needs_none = stage.off_stream is not None or stage.path is not None or not pretrained_parts(model)
    chosen = None if needs_none else off_stream_of(model)
    if chosen is None:
        return stage
    _log.info("the background is trained on the stars off the guides: %s", chosen.parts())
    return replace(stage, off_stream=chosen)


def off_stream_of(model: Model) -> Selection | None:
    """Stars away from the guides of every component, in the coordinates that no density is trained on beforehand.

    A star is off a component's guides if it is further from their centres than their half-widths and twice the largest
    width that the component may have, but never further than three eighths of the coordinate's window: the hole stays
    out of what is trained, for that is over other coordinates.

    Returns:
        The selection; None if there are no such guides.
    """
    trained = {coord for part in pretrained_parts(model) for coord in part.coord_names}
    found: list[Selection] = [
        _beyond(guide, coord, part, model)
        for part, guide in model.held_priors()
        if isinstance(guide, ControlRegions) and (coord := guide.param.removesuffix(".mu")) in part.coord_names
        if coord != guide.param and coord not in trained and not is_pretrained(part)
    ]
    return found[0] if len(found) == 1 else All(found) if found else None


def _beyond(guide: ControlRegions, coord: str, part: Model, model: Model) -> OffStream:
    widths = guide.width.tolist()
    widest = _widest(part, coord)
    reach = [w + (_GUIDES * w if widest is None else _WIDTHS * widest) for w in widths]
    window = windows_of(model).get(coord)
    most = math.inf if window is None else _OF_WINDOW * as_window(window).widest
    return OffStream(
        coord,
        [significant(min(w, most), 3) for w in reach],
        phi1=[significant(x, 6) for x in guide.phi1.tolist()],
        center=[significant(x, 6) for x in guide.center.tolist()],
    )


def _widest(part: Model, coord: str) -> float | None:
    """The largest width that a part may have in a coordinate, in its unit; None if it has no bound."""
    name = f"{coord}.ln-sigma"
    if not isinstance(part, ParametricModel) or name not in part.params:
        return None
    bounds: nn.Module = part.params[name].bounds
    upper = getattr(bounds, "upper", None)
    return None if upper is None else math.exp(upper)
