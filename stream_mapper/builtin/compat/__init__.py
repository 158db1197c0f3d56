"""Densities whose engine lives in another library."""

from stream_mapper.builtin.compat.flow_model import FlowModel
from stream_mapper.builtin.compat.zuko import ZukoFlowModel, flow

__all__ = ["FlowModel", "ZukoFlowModel", "flow"]
