"""Simulated streams whose every density is known, so that the best possible membership is known too."""

from stream_mapper.mock.base import Simulator
from stream_mapper.mock.field import TrackMock
from stream_mapper.mock.pal5 import Pal5Mock
from stream_mapper.mock.random_mock import RandomMock
from stream_mapper.mock.survey import SurveyMock
from stream_mapper.mock.tailored import TailoredMock
from stream_mapper.mock.truth import Dip, StreamTruth

__all__ = ["Dip", "Pal5Mock", "RandomMock", "Simulator", "StreamTruth", "SurveyMock", "TailoredMock", "TrackMock"]
