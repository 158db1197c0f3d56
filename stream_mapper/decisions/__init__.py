"""Decisions that a configuration for a stream needs, each with a reason; `decide` makes them all."""

from stream_mapper.decisions.choice import Choice
from stream_mapper.decisions.decided import Decisions, decide

__all__ = ["Choice", "Decisions", "decide"]
