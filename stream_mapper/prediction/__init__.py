"""Memberships of catalogues of any size: chunk by chunk, in one process or many."""

from stream_mapper.prediction.part_folder import PartFolder, Share
from stream_mapper.prediction.predictor import Predictor
from stream_mapper.prediction.streamed import predict_parts

__all__ = ["PartFolder", "Predictor", "Share", "predict_parts"]
