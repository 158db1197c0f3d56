"""The names that the examples in docstrings use without importing them, and the modules they cannot be read from."""

import math
from importlib.util import find_spec

import pytest
import torch

import stream_mapper

NEEDS = {"stream_mapper/lsdb.py": "lsdb"}  # module: the optional library without which it cannot be imported
collect_ignore = [module for module, library in NEEDS.items() if find_spec(library) is None]


@pytest.fixture(autouse=True, scope="session")
def example_names(doctest_namespace):
    """An example starts with these names, and with those of its own module."""
    doctest_namespace.update(math=math, torch=torch, stream_mapper=stream_mapper, sml=stream_mapper)
