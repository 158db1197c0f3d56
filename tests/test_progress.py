"""A line on the terminal for what takes long, and nothing where there is no terminal."""

import io
import logging
import time

import pytest

from stream_mapper import progress as module
from stream_mapper.progress import counted, progress


class Terminal(io.StringIO):
    """An error stream that says it is one."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def messages():
    logging.getLogger("stream_mapper").setLevel(logging.INFO)
    yield
    logging.getLogger("stream_mapper").setLevel(logging.NOTSET)


def at_terminal(monkeypatch, after, stream=Terminal):
    """The error stream from now on; pytest puts its own there before every test."""
    monkeypatch.setattr(module, "AFTER", after)
    monkeypatch.setattr("sys.stderr", made := stream())
    return made


def slowly(count):
    for i in range(count):
        time.sleep(0.15)  # tqdm writes ten times a second
        yield i


def test_what_takes_long_says_how_far_it_is(monkeypatch):
    terminal = at_terminal(monkeypatch, 0.2)
    assert list(progress(slowly(4), "figures", 4)) == [0, 1, 2, 3]
    assert "figures: 3 of 4" in terminal.getvalue()
    with counted("epochs", 3) as step:
        for _ in slowly(3):
            step()
    assert "epochs: 3 of 3" in terminal.getvalue()


def test_what_is_soon_done_says_nothing(monkeypatch):
    terminal = at_terminal(monkeypatch, 5.0)
    assert list(progress([1, 2], "figures")) == [1, 2]
    assert terminal.getvalue().strip("\r \n") == ""


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["no terminal", "quiet"])
def test_nothing_is_said_where_nobody_reads(stream, monkeypatch):
    terminal = at_terminal(monkeypatch, 0.0, stream)
    if stream is Terminal:
        logging.getLogger("stream_mapper").setLevel(logging.WARNING)
    assert list(progress(slowly(2), "figures", 2)) == [0, 1]
    assert terminal.getvalue() == ""
