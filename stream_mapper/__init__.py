"""Bayesian mixture density networks for stellar streams.

>>> import stream_mapper as sml
"""

import importlib
from typing import TYPE_CHECKING, Any

from stream_mapper import builtin, nn, params, prior, recipes, selection, utils
from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.footprint import Footprint
from stream_mapper.models import Ends, IndependentModels, MixtureModel, Model
from stream_mapper.track import Track
from stream_mapper.trust import allow
from stream_mapper.windows import WindowAlong

if TYPE_CHECKING:
    from stream_mapper.fitted import Fit
    from stream_mapper.loading import load
    from stream_mapper.pipeline import fit

__version__ = "0.1.0"

__all__ = [
    "Data",
    "Ends",
    "Fit",
    "Footprint",
    "IndependentModels",
    "InputError",
    "MixtureModel",
    "Model",
    "Track",
    "WindowAlong",
    "allow",
    "builtin",
    "fit",
    "load",
    "nn",
    "params",
    "prior",
    "recipes",
    "selection",
    "utils",
]

_LATE = {"Fit": "fitted", "load": "loading"}


def __getattr__(name: str) -> Any:
    """What takes seconds to load, when it is asked for: Lightning and astropy come with it."""
    if name == "fit":
        return importlib.import_module("stream_mapper.fit")
    if name in _LATE:
        return getattr(importlib.import_module(f"stream_mapper.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
