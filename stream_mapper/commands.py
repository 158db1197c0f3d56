"""What the commands share: errors of the input are one line, not a traceback."""

from __future__ import annotations

import inspect
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

import jsonargparse
from jsonargparse.typing import register_type

from stream_mapper.configuration import check_text, strict
from stream_mapper.errors import InputError
from stream_mapper.messages import explained, input_error
from stream_mapper.paths import FilePath, NameOrFile, absolute, absolute_if_file
from stream_mapper.ranks import first_has_ended, is_first, launched_with_the_first
from stream_mapper.signals import heeding_sigterm, sigterm_came
from stream_mapper.trust import allow

Result = TypeVar("Result")

UNUSABLE, INTERRUPTED = 2, 130
"""Exit status after an input that cannot be used, and after Ctrl-C."""


def _register_paths() -> None:
    """Paths of a configuration start at its file, where the parser stands while it reads one."""
    readers = {FilePath: absolute, NameOrFile: absolute_if_file, Path: lambda path: Path(absolute(path))}
    for kind, read in readers.items():
        register_type(kind, str, read, type_check=lambda *_: False, fail_already_registered=False)


_register_paths()


def one_line(message: object) -> str:
    """The message on one line."""
    return " ".join(str(message).split())


# Lightning's remarks on what is done here on purpose.
_EXPECTED = (
    r".*LightningCLI's args parameter is intended.*",
    r".*is an instance of `nn.Module` and is already saved during checkpointing.*",
    r".*does not have many workers.*",
    r".*is smaller than the logging interval.*",
    r".*treespec, LeafSpec.*",
    r".*Checkpoint directory .* exists and is not empty.*",
)


def ignore_expected() -> None:
    """Silence what Lightning remarks on what is done on purpose, in this process."""
    for message in _EXPECTED:
        warnings.filterwarnings("ignore", message=message)


_LEVELS = {"-q": logging.WARNING, "--quiet": logging.WARNING, "-v": logging.DEBUG, "--verbose": logging.DEBUG}
VERBOSITY = {
    "-q, --quiet": "only warnings, errors and the result",
    "-v, --verbose": "what the libraries say, too, and where an error comes from",
}
"""Options of every command."""


def _verbosity(args: Any) -> tuple[Any, int]:
    """The arguments without those that say how much is told, and the level of messages."""
    if not isinstance(args, Sequence):
        return args, logging.INFO
    asked = [_LEVELS[arg] for arg in args if arg in _LEVELS]
    return [arg for arg in args if arg not in _LEVELS], (asked[-1] if asked else logging.INFO)


def _set_up_messages(level: int) -> None:
    """Our messages plainly on the error stream, Lightning's only if they are warnings; the first process' alone."""
    if level > logging.DEBUG:
        ignore_expected()
    ours = logging.getLogger("stream_mapper")
    ours.setLevel(level if is_first() else logging.ERROR)
    if not ours.handlers:
        ours.addHandler(logging.StreamHandler())
    if not is_first():
        warnings.filterwarnings("ignore")


def run(command: Callable[[Any], Result], args: Any = None) -> Result:
    """Run a command; an unusable input is printed as one line, and the exit status is 2.

    It is 130 after Ctrl-C, and 143 after SIGTERM.

    Arguments:
        command: What is called with the arguments.
        args: Arguments of the command line, by default those of the process; ``-v`` and ``-q`` among them are heeded
            here.
    """
    with heeding_sigterm(until_exit=args is None):
        given, level = _verbosity(sys.argv[1:] if args is None else args)
        _set_up_messages(level)
        try:
            return command(given)
        except KeyboardInterrupt as stop:
            if is_first():
                sys.stderr.write(f"interrupted: {one_line(stop) or 'nothing was written'}\n")
            raise SystemExit(INTERRUPTED) from None
        except Exception as error:
            _refuse(error, level)


def _refuse(error: Exception, level: int) -> NoReturn:
    """Print what cannot be used, in a line; what is no fault of the input is raised again."""
    told = error if isinstance(error, OSError | MemoryError) else input_error(error)
    if told is None and first_has_ended():
        raise SystemExit(1) from None  # what waited for it says nothing new
    if told is None or sigterm_came():
        raise error
    if level == logging.DEBUG:
        traceback.print_exc()
    if is_first() or not launched_with_the_first():
        sys.stderr.write(f"error: {one_line(told) or 'the memory is not enough'}\n")
    raise SystemExit(UNUSABLE) from None


ALLOW = "--allow"
ALLOW_HELP = "A package or module of your own whose classes the configuration may name; name only what you trust."
_DENIED = re.compile(r"Importing '([\w.]+)' is not allowed.*?to allow it\.")


def take_allowed(args: Sequence[str]) -> list[str]:
    """Register what ``--allow`` names, and the arguments without it: a file of configuration cannot say it.

    Raises:
        InputError: If no name follows.
    """
    rest: list[str] = []
    waiting = list(args)
    while waiting:
        word, equals, value = waiting.pop(0).partition("=")
        if word != ALLOW:
            rest.append(word + equals + value)
            continue
        if not equals and not waiting:
            raise InputError(f"{ALLOW}: no name follows; give a package or a module, such as my_package.models.")
        names = value if equals else waiting.pop(0)
        allow(*(name.strip(" '\"") for name in names.strip("[] ").split(",")))
    return rest


class OneLineErrors(jsonargparse.ArgumentParser):
    """A parser whose errors are one line, and which imports only what a configuration may name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"parser_mode": strict(), "allow_abbrev": False, **kwargs})

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        """The values of a file, which has to be text in UTF-8."""
        check_text(Path(path))
        return super().parse_path(path, *args, **kwargs)

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """The values of a command line."""
        return self._without_nulls(super().parse_args(*args, **kwargs))

    def parse_object(self, *args: Any, **kwargs: Any) -> Any:
        """The values of a dictionary."""
        return self._without_nulls(super().parse_object(*args, **kwargs))

    def _without_nulls(self, values: Any) -> Any:
        """The values, of which none is null where its type knows no null: jsonargparse takes it as a value left out."""
        for action in self._actions:
            kind = getattr(action, "_typehint", None)
            needed = kind not in (None, Any, type(None)) and type(None) not in get_args(kind)
            if needed and action.default is not None and values.get(action.dest, action.default) is None:
                self.error(f"{action.dest}: null is no value for it; leave it out for {action.default}.")
        return values

    def instantiate_classes(self, *args: Any, **kwargs: Any) -> Any:
        """What the values describe.

        Raises:
            InputError: If something cannot be built of its values, whichever exception says so.
        """
        try:
            return super().instantiate_classes(*args, **kwargs)
        except Exception as error:
            if (cause := input_error(error)) is not None:
                raise cause from error
            raise InputError(f"the configuration cannot be used: {_words(error)}.") from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and stop, unless this parser is to raise."""
        if not self.exit_on_error:
            super().error(message, ex)
        said = explained(_DENIED.sub(_not_allowed, message), [action.dest for action in self._actions])
        sys.stderr.write(f"error: {one_line(said)}\n")
        sys.exit(2)


def _not_allowed(denied: re.Match[str]) -> str:
    """What jsonargparse says of a name that may not be given, in our words."""
    return f"{denied[1]} is not among what a configuration may name; if you trust it, say {ALLOW} with its module."


def _words(error: Exception) -> str:
    """An exception in words, its kind with it, as some say a number or a key alone."""
    return f"{type(error).__name__}: {one_line(error).rstrip('.')}"


def add_verbosity(parser: jsonargparse.ArgumentParser) -> None:
    """List the options of every command among those of this one; `run` has taken them by the time it parses."""
    group = parser.add_argument_group("how much is told")
    for names, meaning in VERBOSITY.items():
        group.add_argument(*names.split(", "), action="help", help=meaning)


def parse(function: Callable[..., Any], args: Sequence[str] | None = None) -> dict[str, Any]:
    """Keyword arguments of ``function`` from the command line, by the names and types of its signature."""
    description = (function.__doc__ or "").split("\n", maxsplit=1)[0]
    given = take_allowed(sys.argv[1:] if args is None else args)
    parser = OneLineErrors(prog=f"stream-mapper {function.__name__}", description=description)
    parser.add_argument("-c", "--config", action="config", help="A configuration file in YAML.")
    parser.add_function_arguments(function, as_positional=False, fail_untyped=True)
    takes_it = "allow" in inspect.signature(function).parameters
    if not takes_it:
        parser.add_argument(ALLOW, type=list[str], default=[], help=ALLOW_HELP)
    add_verbosity(parser)
    config = parser.instantiate_classes(parser.parse_args(given))
    return {
        name: value for name, value in config.as_dict().items() if name != "config" and (takes_it or name != "allow")
    }
