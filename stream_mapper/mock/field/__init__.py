"""A simulated field on the sky around the track of a stream, as Gaia and a photometric survey see it."""

from stream_mapper.mock.field.mock import TrackMock

__all__ = ["TrackMock"]
