"""Memberships of catalogues of any size: chunk by chunk, in one process or on many workers."""

from stream_mapper.prediction.part_folder import PartFolder
from stream_mapper.prediction.predictor import Predictor
from stream_mapper.prediction.streamed import predict_parts

__all__ = ["PartFolder", "Predictor", "predict_parts"]
