"""Simulated streams whose every density is known, so that the best possible membership is known too."""

from stream_mapper.mock.base import Simulator
from stream_mapper.mock.pal5 import Pal5Mock
from stream_mapper.mock.survey import SurveyMock
from stream_mapper.mock.tailored import TailoredMock

__all__ = ["Pal5Mock", "Simulator", "SurveyMock", "TailoredMock"]
