"""Errors of the parser in a line: where in the configuration, what was found, and what was perhaps meant.

Of a value that fits none of several types the parser tells all their errors, indented; here the deepest is told.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from textwrap import dedent
from typing import Any

from stream_mapper.errors import InputError

_KEY = re.compile(r'Parser key "([^"]+)"[^:\n]*:[ \n](.*)', re.DOTALL)
_CLASS = re.compile(r"Problem with given class_path '([^']+)':[ \n](.*)", re.DOTALL)
_UNION = re.compile(
    r"Does not validate against any of the Union subtypes\n.*?^Errors:\n(.*?)^Given value type:", re.S | re.M
)
_VALUE = re.compile(r"^Given value: (.*)\Z", re.DOTALL | re.MULTILINE)
_TYPE = re.compile(r"Expected an? (?:<class '([^']+)'>|(\S+?))(?:\. Got value: (.*))?", re.DOTALL)
_ARGUMENT = re.compile(
    r"(?:Option|Key|Group) '([^']+)' (?:is not (?:accepted|expected)|does not accept (?:option|nested key) '([^']+)')"
)
_UNKNOWN = re.compile(r"[Uu]nrecognized arguments: (-\S+)")
_FAILED = "Validation failed: "
_ATTRIBUTE = re.compile(r"module '([^']+)' has no attribute '([^']+)'")
_NOT_OF_CLASS = "Not a valid subclass of"
_NOTHING = "NoneType"
_DEEPEST = 20  # exceptions that are made of each other


@dataclass(frozen=True)
class _Cause:
    """What is wrong in one place: the keys that lead there, the class whose argument it is, and how telling it is."""

    text: str
    keys: tuple[str, ...] = ()
    made_by: str = ""
    types: tuple[str, ...] = ()
    value: str | None = None
    rank: int = 3

    def __str__(self) -> str:
        place = ".".join(self.keys) + (f" ({self.made_by})" if self.made_by else "")
        return f"{place}: {self.said}" if place else self.said

    @property
    def said(self) -> str:
        """What is wrong, without the place."""
        if not self.types:
            return self.text
        several = {"tuple", "list"} & set(self.types) and self.value and re.fullmatch(r"[^\[({]*,[^\[({]*", self.value)
        advice = f"; write [{self.value}]" if several else ""
        return f"expected {' or '.join(sorted(set(self.types)))}; got {self.value}{advice}"


def explained(message: str, options: Iterable[str] = ()) -> str:
    """The innermost cause of an error of the parser.

        >>> explained('Parser key "data.seed": Expected a int. Got value: one')
        'data.seed: expected int; got one'
        >>> explained('Parser key "phi1": Expected a tuple. Got value: -20,10')
        'phi1: expected tuple; got -20,10; write [-20,10]'

    Arguments:
        message: What the parser says, on its lines.
        options: Names that the parser knows, ``data.path`` and so on, for what is misspelt.
    """
    return str(_with_suggestion(_cause(message), tuple(options)))


def like(name: str, names: Iterable[str]) -> str:
    """A question after the nearest of some names, or nothing.

    >>> like("simulat", ["fit", "simulate"])
    '; did you mean simulate?'
    """
    found = get_close_matches(name, list(names), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def input_error(error: BaseException) -> InputError | None:
    """The error of the input that an exception is or was made of: libraries wrap what they do not know."""
    seen: BaseException | None = error
    for _ in range(_DEEPEST):
        if seen is None or isinstance(seen, InputError):
            break
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    if not isinstance(seen, InputError) and isinstance(error, ValueError) and _UNION.match(str(error)):
        return InputError(explained(str(error)))
    return seen if isinstance(seen, InputError) else None


def _cause(message: str) -> _Cause:
    text = dedent(message).strip().removeprefix(_FAILED)
    if found := _KEY.match(text):
        inner = _cause(found[2])
        return replace(inner, keys=(*found[1].split("."), *inner.keys))
    if found := _CLASS.match(text):
        inner = _cause(found[2])
        return replace(inner, made_by=inner.made_by or found[1])
    if found := _UNION.match(text):
        return _of_union(found[1], _VALUE.search(text))
    if found := _TYPE.fullmatch(text):
        name = (found[1] or found[2]).rpartition(".")[2]
        return _Cause(text, types=(name,), value=found[3], rank=0 if name == _NOTHING else 1)
    return _Cause(" ".join(text.split()), rank=0 if text.startswith(_NOT_OF_CLASS) else 3)


def _of_union(errors: str, value: re.Match[str] | None) -> _Cause:
    """The error of several that says most; where all name a type, the types together."""
    causes = [_cause(item) for item in _items(errors)]
    best = max(causes, key=lambda cause: (cause.rank + len(cause.keys), cause.value is not None))
    if not best.types or best.value is not None:
        return best
    given = None if value is None else " ".join(value[1].split())
    simple = [name for cause in causes for name in cause.types if not cause.keys and name != _NOTHING]
    return replace(best, types=tuple(simple) or best.types, value=given)


def _items(errors: str) -> list[str]:
    """Each item of a list of errors, without its bullet."""
    lines = dedent(errors).splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("- ")]
    return [
        "\n".join([lines[a][2:], dedent("\n".join(lines[a + 1 : b]))])
        for a, b in zip(starts, [*starts[1:], None], strict=True)
    ]


def _with_suggestion(cause: _Cause, options: Sequence[str]) -> _Cause:
    """The cause with what was perhaps meant by a name that is not known."""
    if found := _UNKNOWN.match(cause.text):
        name = found[1].split("=", maxsplit=1)[0]
        return replace(cause, text=f"no option {name}{like(name, [f'--{option}' for option in options])}")
    if found := _ATTRIBUTE.fullmatch(cause.text):
        text = f"there is no {found[2]} in {found[1]}{like(found[2], dir(importlib.import_module(found[1])))}"
        return replace(cause, text=text, made_by="")
    if not (found := _ARGUMENT.match(cause.text)):
        return cause
    name = f"{found[1]}.{found[2]}" if found[2] else found[1]
    if cause.made_by:
        name = name.split(".", maxsplit=1)[0]
        return replace(cause, text=f"no argument {name}{like(name, _arguments(cause.made_by))}")
    return replace(cause, text=f"no option {name}{_like_option(name, options)}")


def _like_option(name: str, options: Sequence[str]) -> str:
    """The nearest option; where not even its group is known, the nearest group."""
    group = name.split(".", maxsplit=1)[0]
    groups = {option.split(".", maxsplit=1)[0] for option in options}
    return like(name, options) if group in groups else like(group, groups)


def _arguments(path: str) -> list[str]:
    """Names of the arguments of a class or a function, those of the classes it is made of included."""
    module, _, name = path.rpartition(".")
    thing: Any = getattr(_imported(module), name, None)
    makers = [vars(kind).get("__init__") for kind in inspect.getmro(thing)] if inspect.isclass(thing) else [thing]
    return [name for maker in makers if callable(maker) for name in _parameters(maker)]


def _imported(path: str) -> Any:
    """A module, or a class in one."""
    try:
        return importlib.import_module(path)
    except ImportError:
        module, _, name = path.rpartition(".")
        return getattr(_imported(module), name, None) if module else None


def _parameters(maker: Any) -> list[str]:
    try:
        return list(inspect.signature(maker).parameters)
    except (TypeError, ValueError):
        return []
