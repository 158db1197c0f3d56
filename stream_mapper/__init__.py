"""Bayesian mixture density networks for stellar streams.

>>> import stream_mapper as sml
"""

from stream_mapper import builtin, nn, params, prior, utils
from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.models import IndependentModels, MixtureModel, Model

__version__ = "0.1.0"

__all__ = [
    "Data",
    "IndependentModels",
    "InputError",
    "MixtureModel",
    "Model",
    "builtin",
    "nn",
    "params",
    "prior",
    "utils",
]
