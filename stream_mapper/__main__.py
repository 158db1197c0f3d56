"""The console script: ``stream-mapper init|fit|finish|predict|simulate|report|query|atlas ...``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

from stream_mapper import __version__
from stream_mapper.messages import like
from stream_mapper.signals import heeding_sigterm

_COMMANDS = {
    "init": "begin with a stream by its name: a configuration, and what was decided",
    "fit": "fit a stream; write memberships, track and figures",
    "finish": "what is missing of a fit that was stopped after its training",
    "predict": "memberships of a catalogue, by a checkpoint of a fit",
    "simulate": "a simulated table of stars",
    "report": "one page of HTML on a run, with its figures",
    "query": "stars of a field from the Gaia archive",
    "atlas": "one analysis of many streams: a fit of each, and tables of all",
}


def main(args: Sequence[str] | None = None) -> None:
    """Hand the arguments to the command of that name."""
    with heeding_sigterm(until_exit=args is None):  # before a command is loaded, which takes seconds
        _run(list(sys.argv[1:] if args is None else args))


def _run(given: Sequence[str]) -> None:
    if given and given[0] in _COMMANDS:
        importlib.import_module(f"stream_mapper.{given[0]}").main(given[1:])
    elif given and given[0] in ("-h", "--help"):
        sys.stdout.write(_help())
    elif given and given[0] == "--version":
        sys.stdout.write(_versions())
    elif given and given[0] == "--completion":
        sys.stdout.write(_completion(given[1:]))
    else:
        asked = f"no command {given[0]!r}{like(given[0], _COMMANDS)}" if given else "no command is given"
        sys.stderr.write(f"error: {asked}; the commands are {', '.join(_COMMANDS)}.\n")
        raise SystemExit(2)


def _help() -> str:
    """How it is called, and a line for each command."""
    lines = [f"  {name:<10}{meaning}" for name, meaning in _COMMANDS.items()]
    usage = f"usage: stream-mapper {{{','.join(_COMMANDS)}}} ..."
    after = [
        "stream-mapper COMMAND --help lists the options of a command.",
        "stream-mapper --version names the versions.",
        "source <(stream-mapper --completion bash) completes commands and options in this shell; so does zsh.",
    ]
    return "\n".join([usage, "", *lines, "", *after, ""])


def _completion(shells: Sequence[str]) -> str:
    """The script for the completion in a shell."""
    from stream_mapper.commands import run  # noqa: PLC0415 (the version should come fast)
    from stream_mapper.completion import completion  # noqa: PLC0415

    return run(lambda given: completion(given[0] if given else "", _COMMANDS), list(shells))


def _versions() -> str:
    """The version of the package and of what a fit's numbers depend on most, as installed."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning"))
    return f"stream_mapper {__version__} ({libraries})\n"


if __name__ == "__main__":
    main()
