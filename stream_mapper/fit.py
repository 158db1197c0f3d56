"""Fit a stream: ``python -m stream_mapper.fit --config experiments/mock/config.yaml``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream_mapper.commands import run
from stream_mapper.results.summary import summary

if TYPE_CHECKING:
    from lightning.pytorch.cli import ArgsType

    from stream_mapper.training.cli import StreamCLI


def fit(args: ArgsType = None) -> StreamCLI:
    """Read the stars, train the background, then the mixture; write the run folder.

    Arguments:
        args: Command-line arguments, or a configuration as a dict; by default those of the process.

    Raises:
        InputError: If the configuration or the table cannot be used.
        KeyboardInterrupt: On Ctrl-C, with what is left.
    """
    from stream_mapper.training.cli import StreamCLI  # noqa: PLC0415 (Lightning takes seconds to load)
    from stream_mapper.training.recorder import RunRecorder  # noqa: PLC0415
    from stream_mapper.training.stages import prepare  # noqa: PLC0415

    start = time.monotonic()
    cli = StreamCLI(args)
    trainer: Any = cli.trainer
    with _interruptible(trainer):
        processes, device = trainer.num_devices * trainer.num_nodes, trainer.strategy.root_device
        stage, ensemble = cli.config_init.background, cli.model.ensemble
        prepare(cli.model.model, cli.datamodule, stage, cli.runs_on(), processes, device, ensemble)
        trainer.fit(cli.model, cli.datamodule)
    if trainer.is_global_zero:
        (recorder,) = (c for c in trainer.callbacks if isinstance(c, RunRecorder))
        if recorder.folder is not None:
            print(summary(recorder.metrics | {"seconds": time.monotonic() - start}, recorder.folder))
    return cli


@contextmanager
def _interruptible(trainer: Any) -> Iterator[None]:
    """Ctrl-C says what is left; Lightning would make a silent exit of it."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt(_what_is_left(Path(getattr(trainer.logger, "log_dir", None) or "none"))) from None


def _what_is_left(folder: Path) -> str:
    if not folder.is_dir():
        return "nothing was written"
    if any(folder.glob("memberships.*")):
        return f"{folder} is not complete"
    return f"nothing complete was written; {folder} holds only checkpoints"


def main(args: ArgsType = None) -> StreamCLI:
    """Command-line entry: a clear line and exit status 2 for unusable input."""
    return run(lambda: fit(args))


if __name__ == "__main__":
    main()
