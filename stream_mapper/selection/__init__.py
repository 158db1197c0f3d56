"""Which stars take part: cuts, polygons, bands about a track or an isochrone, masks, and what is made of them."""

from stream_mapper.selection.base import All, Answer, Any, Not, Selection
from stream_mapper.selection.cuts import ClusterMask, Cut, OffStream, Polygon, TrackBand, separation
from stream_mapper.selection.photometry import IsochroneBand

__all__ = [
    "All",
    "Answer",
    "Any",
    "ClusterMask",
    "Cut",
    "IsochroneBand",
    "Not",
    "OffStream",
    "Polygon",
    "Selection",
    "TrackBand",
    "separation",
]
