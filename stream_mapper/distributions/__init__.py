"""Distributions that torch and zuko lack."""

from stream_mapper.distributions.truncated import TruncatedExponential, TruncatedNormal

__all__ = ["TruncatedExponential", "TruncatedNormal"]
