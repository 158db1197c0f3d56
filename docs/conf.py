"""Sphinx configuration."""

import sys
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
    "sphinx.ext.viewcode",
    "myst_parser",
    "executed",  # beside this file
]
myst_enable_extensions = ["dollarmath"]
html_theme = "furo"
html_title = "stream_mapper"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_custom_sections = [("Arguments", "params_style")]
exclude_patterns = ["_build"]
viewcode_line_numbers = True
