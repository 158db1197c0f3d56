"""Sphinx configuration."""

import stream_mapper

project = "stream_mapper"
author = "The stream_mapper developers"
release = stream_mapper.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "myst_parser",
]
myst_enable_extensions = ["dollarmath"]
html_theme = "furo"
html_title = "stream_mapper"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_custom_sections = [("Arguments", "params_style")]
exclude_patterns = ["_build"]
