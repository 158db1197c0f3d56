"""Completion of ``stream-mapper`` in a shell: ``source <(stream-mapper --completion bash)``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable

from stream_mapper.errors import InputError
from stream_mapper.messages import like

SHELLS = ("bash", "zsh")

_SCRIPT = """\
_stream_mapper() {{
    local words="" word="${{COMP_WORDS[COMP_CWORD]}}"
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}}" in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _stream_mapper stream-mapper
"""
_IN_ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
_EVERYWHERE = ("--help", "--quiet", "--verbose")
_OF_FIT = ("--config", "--print_config", "--expand", "--resume", "--print_schema", "--seed_everything")


def completion(shell: str, commands: Iterable[str]) -> str:
    """A script that completes commands and their options, and files where they end.

    Arguments:
        shell: One of `SHELLS`.
        commands: Names of the commands, which are those of their modules and functions.

    Raises:
        InputError: If there is no script for the shell.
    """
    if shell not in SHELLS:
        raise InputError(f"--completion: no script for {shell!r}{like(shell, SHELLS)}; there are {', '.join(SHELLS)}.")
    names = list(commands)
    cases = "\n".join(f'            {name}) words="{" ".join(_options(name))}" ;;' for name in names)
    script = _SCRIPT.format(commands=" ".join(names), cases=cases)
    return f"{_IN_ZSH if shell == 'zsh' else ''}{script}"


def _options(command: str) -> list[str]:
    """The options of a command, as they are typed."""
    if command == "fit":
        return [*_OF_FIT, *_sections(), *_EVERYWHERE]
    function = getattr(importlib.import_module(f"stream_mapper.{command}"), command)
    names = [] if command in ("report", "finish") else ["config", *inspect.signature(function).parameters]
    return [*(f"--{name}" for name in names), *_EVERYWHERE]


def _sections() -> list[str]:
    """The options of the sections of a fit."""
    from stream_mapper.training.schema import MADE  # noqa: PLC0415 (Lightning takes seconds to load)

    return [f"--{section}.{name}" for section, made in MADE.items() for name in inspect.signature(made).parameters]
