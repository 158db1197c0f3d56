"""Models of the ordinary parts, from what an astronomer knows of a stream."""

from stream_mapper.recipes.components import Component
from stream_mapper.recipes.stream import Stream

__all__ = ["Component", "Stream"]
