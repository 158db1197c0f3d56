"""A simulated survey: its populations, what it measures of them, and the mock that is made of both."""

from stream_mapper.mock.survey.mock import SurveyMock

__all__ = ["SurveyMock"]
