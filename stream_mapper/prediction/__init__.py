"""Memberships of catalogues of any size: chunk by chunk, in one process or many."""

from stream_mapper.prediction.predictor import Predictor
from stream_mapper.prediction.survey import predict_parts
from stream_mapper.prediction.work import Share, Work

__all__ = ["Predictor", "Share", "Work", "predict_parts"]
