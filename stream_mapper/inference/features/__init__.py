"""Gaps and peaks of the linear density of a component along a stream."""
