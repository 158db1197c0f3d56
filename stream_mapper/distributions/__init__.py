"""Distributions that torch and zuko lack."""

from stream_mapper.distributions.convolved import ConvolvedExponential
from stream_mapper.distributions.skew import SkewNormal, TruncatedSkewNormal
from stream_mapper.distributions.sloped import Sloped
from stream_mapper.distributions.truncated import TruncatedExponential, TruncatedNormal

__all__ = [
    "ConvolvedExponential",
    "SkewNormal",
    "Sloped",
    "TruncatedExponential",
    "TruncatedNormal",
    "TruncatedSkewNormal",
]
