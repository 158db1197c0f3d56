"""The law for every input: it is right, or it is refused in one line; nothing hangs and nothing is half written."""

from __future__ import annotations

import contextlib
import io
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from stream_mapper.catalog import read_table
from stream_mapper.commands import run
from stream_mapper.errors import InputError

SECONDS = 20
"""That an input may keep the processor; on a machine that others use ten times as long may pass."""

USED, REFUSED = "used", "refused"


class Hung(BaseException):
    """An input that keeps the program for longer than it may; no ``except Exception`` ends it."""


def outcome(use: Callable[[], object]) -> str:
    """What becomes of an input.

    Arguments:
        use: What reads it; it asserts that what it was given is right.

    Returns:
        That it was used, or refused.

    Raises:
        Exception: Whatever else it ends in.
        Hung: If it takes too long.
    """
    with _limited(SECONDS), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            use()
        except InputError as error:
            if not str(error).strip():
                raise AssertionError("an error that says nothing") from error
            return REFUSED
    return USED


def commanded(command: Callable[[list[str]], object], args: list[str]) -> None:
    """Run a command; its refusal, which has to be one line and exit status 2, is an InputError."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            run(command, args)
    except SystemExit as stop:
        raise InputError(_the_line(stop.code, said.getvalue())) from None


def _the_line(status: object, said: str) -> str:
    """The one line in which a command refuses its input."""
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    if status != 2 or len(lines) != 1 or "Traceback" in said:
        raise AssertionError(f"exit status {status}, and not one line: {said}")
    return lines[0]


def check_whole(folder: Path, output: Path, before: set[Path], refused: bool) -> None:
    """Assert that a command left its output, whole, or nothing."""
    left = set(folder.rglob("*")) - before
    assert left <= ({output} if not refused else set()), f"left {sorted(map(str, left))}"
    if not refused:
        read_table(output)


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Inside, Hung is raised after that time of the processor, and again, should a callback lose it."""

    def stop(*_: object) -> None:
        raise Hung(f"longer than {seconds} s")

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, seconds), (signal.SIGALRM, signal.ITIMER_REAL, 10 * seconds))
    before = [signal.signal(number, stop) for number, _, _ in timers]
    for _, timer, limit in timers:
        signal.setitimer(timer, limit, 1)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def where(error: BaseException) -> str:
    """The innermost line of ours that an exception passed, by which failures are told apart."""
    place, trace = "?", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "stream_mapper" in name or "faults" in name:
            place = f"{Path(name).parent.name}/{Path(name).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {place}"
