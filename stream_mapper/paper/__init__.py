"""Figures of a fit for a paper: one function each, in the widths of a journal's columns."""

from stream_mapper.paper.figures import Figures

__all__ = ["Figures"]
