"""Fit a stream: ``python -m stream_mapper.fit --config experiments/mock/config.yaml``.

As ``stream_mapper.fit(model, table, ...)`` this module is the same from Python: see :func:`stream_mapper.pipeline.fit`.
"""

from __future__ import annotations

import gc
import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stream_mapper.commands import INTERRUPTED, UNUSABLE, run
from stream_mapper.messages import input_error
from stream_mapper.signals import TERMINATED, Terminated, sigterm_came

if TYPE_CHECKING:
    from lightning.pytorch.cli import ArgsType

    from stream_mapper.fitted import Fit
    from stream_mapper.results.stages import Stages

PRINT_SCHEMA = "--print_schema"


def fit_command(args: ArgsType = None) -> Fit | None:
    """Read the stars, train the background, then the mixture; write the run folder.

    Arguments:
        args: Command-line arguments, or a configuration as a dict; by default those of the process.

    Returns:
        The fit; None in every process but the first, with ``--expand`` or ``--print_schema``, and of a run that is
        complete already.

    Raises:
        InputError: If the configuration or the table cannot be used.
        KeyboardInterrupt: On Ctrl-C, with what is left.
    """
    from stream_mapper import pipeline  # noqa: PLC0415 (Lightning takes seconds to load)
    from stream_mapper.results.summary import summary  # noqa: PLC0415
    from stream_mapper.training.cli import StreamCLI  # noqa: PLC0415
    from stream_mapper.training.resuming import complete_run  # noqa: PLC0415
    from stream_mapper.training.trainer import only_warnings  # noqa: PLC0415

    if isinstance(args, list) and PRINT_SCHEMA in args:
        from stream_mapper.training.schema import fit_schema  # noqa: PLC0415

        print(json.dumps(fit_schema(), indent=1))
        return None
    if (run_folder := complete_run(args)) is not None:
        logging.getLogger("stream_mapper").info("%s is complete.", run_folder)
        return None
    start = time.monotonic()
    gc.freeze()  # what the imports made is not searched for cycles again and again
    with only_warnings():
        cli = StreamCLI(args)
    if (text := cli.expanded()) is not None:
        sys.stdout.write(text)
        return None
    given, stages = cli.config_init, cli.stages()
    with _interruptible(stages):
        fit = pipeline.run(
            cli.model, cli.datamodule, cli.trainer, given.background, given.results, cli.hardware(), stages=stages
        )
    if fit is not None and fit.folder is not None:
        print(summary({**fit.metrics, "seconds": time.monotonic() - start}, fit.folder))
    return fit


@contextmanager
def _interruptible(stages: Stages) -> Iterator[None]:
    """Ctrl-C and SIGTERM say what is left; Lightning would make a silent exit of it."""
    from stream_mapper.training.claims import give_back  # noqa: PLC0415
    from stream_mapper.training.processes import end_alone  # noqa: PLC0415

    try:
        yield
    except BaseException as stop:
        status, told = _told(stop, stages.folder)
        end_alone(status)
        if told is not None:
            raise told from None
        raise
    finally:
        if stages.folder is not None:
            give_back(stages.folder)


def _told(stop: BaseException, folder: Path | None) -> tuple[int, BaseException | None]:
    """The exit status after an exception, and the one that says what is left, if it was stopped from outside."""
    if sigterm_came():
        return TERMINATED, Terminated(_left(folder))
    if isinstance(stop, KeyboardInterrupt) or _is_of_ctrl_c(stop):
        return INTERRUPTED, KeyboardInterrupt(_left(folder))
    if isinstance(stop, SystemExit) and isinstance(stop.code, int):
        return stop.code, None
    return (1 if input_error(stop) is None else UNUSABLE), None


def _is_of_ctrl_c(stop: BaseException) -> bool:
    """Whether Lightning has made an exit of Ctrl-C."""
    return isinstance(stop, SystemExit) and isinstance(stop.__context__, KeyboardInterrupt)


def _left(folder: Path | None) -> str:
    """What a fit that is stopped leaves, and how to go on."""
    from stream_mapper.results.stages import left_of  # noqa: PLC0415

    return "nothing was written" if folder is None else left_of(folder) or f"{folder} is complete"


def main(args: ArgsType = None) -> Fit | None:
    """Command-line entry: a clear line and exit status 2 for unusable input."""
    return run(fit_command, args)


class _Callable(ModuleType):
    """This module, which is called as the function of its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Fit:
        """See :func:`stream_mapper.pipeline.fit`."""
        from stream_mapper.pipeline import fit  # noqa: PLC0415

        return fit(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    main()
