"""Sphinx configuration."""

import importlib
import inspect
import sys
from functools import reduce
from pathlib import Path

import stream_mapper

sys.path.insert(0, str(Path(__file__).parent))

project = "stream_mapper"
author = "The stream_mapper developers"
release = stream_mapper.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # its files, in place of a CDN
    "sphinx.ext.linkcode",
    "myst_parser",
    "executed",  # beside this file
]
myst_enable_extensions = ["dollarmath"]
html_theme = "furo"
html_title = "stream_mapper"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
suppress_warnings = ["ref.python"]  # a type of a signature that has the name of an attribute, such as slice
napoleon_custom_sections = [("Arguments", "params_style")]
exclude_patterns = ["_build", "_executed"]

_SOURCE = "https://github.com/GalacticDynamics/stream_mapper/blob/main"


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Where the source of something documented is; nothing of what has no lines of its own, such as a constant."""
    try:
        thing = reduce(getattr, info["fullname"].split("."), importlib.import_module(info["module"]))
        thing = inspect.unwrap(thing.fget if isinstance(thing, property) else thing)
        lines, first = inspect.getsourcelines(thing)
        path = Path(inspect.getsourcefile(thing) or "").relative_to(Path(__file__).parent.parent)
    except (AttributeError, ImportError, OSError, TypeError, ValueError):
        return None
    return f"{_SOURCE}/{path}#L{first}-L{first + len(lines) - 1}" if domain == "py" else None
