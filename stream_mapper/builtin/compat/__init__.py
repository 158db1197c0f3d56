"""Densities that other libraries provide."""

from stream_mapper.builtin.compat.zuko import ZukoFlowModel, flow

__all__ = ["ZukoFlowModel", "flow"]
