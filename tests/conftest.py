"""What every test shares: seeds, argument checks, and the real data where they are."""

import logging
import os
from pathlib import Path

import pytest
import torch
import zuko  # noqa: F401  (its import turns off the argument checks of torch.distributions; here it comes first)
from torch.distributions import Distribution

torch.set_num_threads(1)  # the tensors are small; on a shared machine more threads wait for each other

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items):
    """Tests that take half a minute or more are run by ``tox -e faults``."""
    if "STREAM_MAPPER_LONG" not in os.environ:
        skip = pytest.mark.skip(reason="set STREAM_MAPPER_LONG, or run tox -e faults: it is long")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def seeded():
    """The same random numbers for a test, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def checked_arguments():
    """Distributions check their arguments, whatever was imported."""
    Distribution.set_default_validate_args(True)


@pytest.fixture
def messages_as_they_were():
    """A command lets messages go to the error stream of its time, which other tests close."""
    ours = logging.getLogger("stream_mapper")
    handlers, level = list(ours.handlers), ours.level
    yield
    ours.handlers[:] = handlers
    ours.setLevel(level)


@pytest.fixture
def shared_data():
    """Folder of the real data; a test that asks for it is skipped where there are none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real data are not at {SHARED_DATA}")
    return SHARED_DATA
