"""Parameters of a model: their names, bounds and units."""

from stream_mapper.params import bounds, scaler
from stream_mapper.params.core import ModelParameter, ModelParameters

__all__ = ["ModelParameter", "ModelParameters", "bounds", "scaler"]
