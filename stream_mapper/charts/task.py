"""One stream of an atlas, from its name to what its fit found: the task of a worker."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from stream_mapper import trust
from stream_mapper.catalog import remove_unfinished, replace_file
from stream_mapper.charts.findings import write_findings
from stream_mapper.charts.plan import MANIFEST, OUTCOME, Plan, short_name
from stream_mapper.charts.stars import begin
from stream_mapper.commands import UNUSABLE, ignore_expected, one_line
from stream_mapper.errors import InputError
from stream_mapper.messages import input_error
from stream_mapper.results.stages import can_go_on, is_complete
from stream_mapper.signals import sigterm_came
from stream_mapper.training.claims import give_back, take

RUNS, LOG = "runs", "log.txt"
FITTED, FAILED = "fitted", "failed"
_ERROR = "error: "
_PATIENCE = 120  # seconds that a process that was killed may need to end

_log = logging.getLogger("stream_mapper")


class UnusableOptionsError(InputError):
    """The options of the fit are none; they are those of all streams."""


@dataclass(frozen=True)
class Chart:
    """What became of a stream.

    Arguments:
        stream: Full name of its track.
        status: "fitted" or "failed".
        reason: Why it failed, in a line.
        seconds: Time that it took, from its name to its tables; that of the part after a stop, if it was stopped.
    """

    stream: str
    status: str
    reason: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, folder: Path) -> Chart | None:
        """What became of the stream of a folder, None if it is not done."""
        try:
            return cls(**json.loads((folder / OUTCOME).read_text()))
        except (OSError, ValueError, TypeError):
            return None


def chart(plan: Plan, output: Path, stream: str) -> Chart:
    """Fit a stream in its folder, or go on with its fit; what cannot be fitted fails with a reason.

    Arguments:
        plan: What is asked for.
        output: The folder of the atlas, which every worker finds under this path.
        stream: Full name of its track.

    Raises:
        InputError: If the folder is not there, another process is at this stream, or the options are none of a fit.
        OSError: If it cannot be written, or an archive be reached: no fault of the stream.
        MemoryError: If the memory is not enough.
    """
    if not (output / MANIFEST).is_file():
        raise InputError(f"{output}: is not there for a worker; every worker needs the files under the same path.")
    folder = plan.folder(output, stream)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if (done := Chart.of(folder)) is not None:
            return done
        start = time.monotonic()
        with _logged(folder / LOG), _one_thread():
            reason = _reason(plan, stream, folder).replace(f"{output}/", "")  # the same wherever the atlas is
        made = Chart(stream, FAILED if reason else FITTED, reason, round(time.monotonic() - start, 1))
        replace_file(folder / OUTCOME, lambda new: new.write_text(json.dumps(asdict(made)) + "\n"))
    return made


def _reason(plan: Plan, stream: str, folder: Path) -> str:
    """Do all of it; why it cannot be done, in a line, and nothing where it was."""
    try:
        trust.allow(*plan.allowed)
        ignore_expected()
        remove_unfinished(folder)
        write_findings(fitted(plan, stream, folder), folder, plan.members)
    except (OSError, MemoryError, UnusableOptionsError):
        raise
    except Exception as error:
        if sigterm_came():  # whose consequence it may be
            raise
        _log.info("%s", traceback.format_exc())
        told = input_error(error)
        return one_line(told) if told is not None else f"{type(error).__name__}: {one_line(error)}"
    finally:
        gc.unfreeze()  # what a fit has frozen, as if it were the only one of its process
        gc.collect()
    return ""


def fitted(plan: Plan, stream: str, folder: Path) -> Path:
    """The run folder of a stream, complete: the fit is begun, or goes on, as far as it is not.

    Raises:
        InputError: If it cannot be fitted.
    """
    from stream_mapper.fit import fit_command  # noqa: PLC0415 (Lightning takes seconds to load)

    runs = folder / RUNS
    if (run := runs / "version_0").is_dir() and is_complete(run):
        return run
    if not can_go_on(run):
        shutil.rmtree(runs, ignore_errors=True)
        begin(plan, stream, folder)
    config = folder / "fit" / "config.yaml"
    given = ["--config", str(config), f"--trainer.default_root_dir={runs}", "--resume=auto", *options(plan, stream)]
    try:
        made = fit_command(given)
    except SystemExit as stop:
        if stop.code != UNUSABLE or sigterm_came():
            raise
        raise UnusableOptionsError(f"fit: {_last_error(folder / LOG)}") from None
    return run if made is None or made.folder is None else made.folder


def _last_error(log: Path) -> str:
    """What a parser has said before it ended."""
    sys.stderr.flush()  # which is the log
    said = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith(_ERROR)]
    return said[-1].removeprefix(_ERROR) if said else "its options cannot be used."


def options(plan: Plan, stream: str) -> list[str]:
    """Options of the fit of a stream, as a command line has them."""
    given = {"results.name": short_name(stream), **plan.fit}
    return [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in given.items()]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Inside, no other process is at this stream; one that was killed is waited for.

    Raises:
        InputError: If another one stays.
    """
    end = time.monotonic() + _PATIENCE
    while not take(folder):
        if time.monotonic() > end:
            raise InputError(f"{folder}: another process is at this stream; wait for it, or give another output.")
        time.sleep(0.2)
    try:
        yield
    finally:
        give_back(folder)


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Inside, the messages of the package and what is printed go to a file, in place of the terminal."""
    handler, before, level = logging.FileHandler(path, encoding="utf-8"), list(_log.handlers), _log.level
    _log.handlers[:], propagates, _log.propagate = [handler], _log.propagate, False
    _log.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        with redirect_stdout(handler.stream), redirect_stderr(handler.stream):
            yield
    finally:
        _log.handlers[:], _log.propagate = before, propagates
        _log.setLevel(level)
        handler.close()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Inside, torch computes in one thread, so that every worker finds the same numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
