"""Bayesian mixture density networks for stellar streams.

>>> import stream_mapper as sml
"""

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_mapper import builtin, nn, params, prior, recipes, selection, utils
    from stream_mapper.data import Data
    from stream_mapper.errors import InputError
    from stream_mapper.fitted import Fit
    from stream_mapper.footprint import Footprint
    from stream_mapper.loading import load
    from stream_mapper.models import Ends, IndependentModels, MixtureModel, Model
    from stream_mapper.pipeline import fit
    from stream_mapper.track import Track
    from stream_mapper.trust import allow
    from stream_mapper.windows import WindowAlong

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

_FROM = {
    "Data": "data",
    "Ends": "models",
    "Fit": "fitted",
    "Footprint": "footprint",
    "IndependentModels": "models",
    "InputError": "errors",
    "MixtureModel": "models",
    "Model": "models",
    "Track": "track",
    "WindowAlong": "windows",
    "allow": "trust",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    """What is asked for, when it is: torch, Lightning and astropy take seconds to load.

    A command, for which this is run first, has to answer signals before that.
    """
    if name in _FROM:
        return getattr(importlib.import_module(f"stream_mapper.{_FROM[name]}"), name)
    if not name.startswith("_") and importlib.util.find_spec(f"stream_mapper.{name}") is not None:
        return importlib.import_module(f"stream_mapper.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Every public name, asked for or not."""
    return sorted({*globals(), *__all__})
