"""Decisions that a configuration for a stream needs, each with a reason; `stream_mapper.init` makes them all."""

from stream_mapper.decisions.choice import Choice

__all__ = ["Choice"]
