"""Bayesian mixture density networks for stellar streams.

>>> import stream_mapper as sml
"""

from stream_mapper import builtin, nn, params, prior, selection, utils
from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.models import IndependentModels, MixtureModel, Model
from stream_mapper.track import Track

__version__ = "0.1.0"

__all__ = [
    "Data",
    "IndependentModels",
    "InputError",
    "MixtureModel",
    "Model",
    "Track",
    "builtin",
    "nn",
    "params",
    "prior",
    "selection",
    "utils",
]
