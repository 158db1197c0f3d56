"""Densities whose engine lives in another library, and a kernel density."""

from stream_mapper.builtin.compat.flow_model import FlowModel
from stream_mapper.builtin.compat.kde import KDEModel
from stream_mapper.builtin.compat.zuko import ZukoFlowModel, flow

__all__ = ["FlowModel", "KDEModel", "ZukoFlowModel", "flow"]
