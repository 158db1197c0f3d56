"""What a file may name: checkpoints and configurations are built of these classes alone.

A name is judged before anything is imported; what it leads to is judged again by where it is defined, as a module also
has the modules that it imports.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from stream_mapper.errors import InputError

_OF_MODELS = ("builtin", "footprint", "models", "nn", "params", "prior", "recipes", "track", "utils", "windows")
_OF_STARS = ("catalog", "mock", "selection", "results")
_LIBRARIES = ("torch.nn", "zuko.flows")
_OF_TRAINERS = tuple(
    f"lightning.{package}.{part}"
    for package in ("pytorch", "fabric")
    for part in ("accelerators", "callbacks", "loggers", "plugins", "profilers", "strategies")
)
_FRAMES = ("astropy.coordinates", "gala.coordinates")
_REGISTERED: set[str] = set()
_OURSELVES = "stream_mapper"
_NO_MODELS = frozenset({*sys.stdlib_module_names, "torch", _OURSELVES})

CONFIGURED = (_OURSELVES, *_LIBRARIES, *_OF_TRAINERS)
"""Packages whose classes a configuration may name."""


def allow(*names: str) -> None:
    """Let checkpoints and configurations build what is in these packages or modules, besides ours and our libraries'.

    Classes of models that are already imported need no permission, nor does what this process itself has described.

        >>> allow("streams_of_mine.densities")

    Arguments:
        names: Dotted names.

    Raises:
        InputError: If one is no such name.
    """
    for name in names:
        if not all(step.isidentifier() for step in name.split(".")):
            raise InputError(
                f"allow: {name!r} is no dotted name; give a package or a module, such as my_package.models."
            )
    _REGISTERED.update(names)


def allowed() -> tuple[str, ...]:
    """The packages and modules that were registered, for another process to allow."""
    return tuple(sorted(_REGISTERED))


def may_describe(path: str) -> bool:
    """Whether a checkpoint may name this path."""
    return _is_of_models(path) or _under(path, (*_LIBRARIES, *_REGISTERED))


def may_configure(path: str) -> bool:
    """Whether a configuration may name this path; what needs no import, such as ``Uniform``, is not judged here."""
    return "." not in path or _under(path, (*CONFIGURED, *_REGISTERED))


def check_configured(path: Any, place: str) -> None:
    """Raise InputError if a configuration may not name a class.

    Arguments:
        path: Its dotted path.
        place: What an error calls where it stands.
    """
    if not isinstance(path, str):
        raise InputError(f"{place}: class_path {path!r} is no text; give the dotted path of a class.")
    if not may_configure(path):
        raise InputError(f"{place}: {_refusal(path)}")


def check_frame(path: str) -> None:
    """Raise InputError if a frame is neither of astropy nor of gala nor registered."""
    if not _under(path, (*_FRAMES, *_REGISTERED)):
        raise InputError(f"frame: {path} is not of {' or '.join(_FRAMES)}. {_advice(path)}")


def check_map(path: str) -> None:
    """Raise InputError if a map of dust is neither of dustmaps nor registered."""
    if not _under(path, ("dustmaps", *_REGISTERED)):
        raise InputError(f"extinction: {path} is not of dustmaps. {_advice(path)}")


def resolve(path: str) -> Any:
    """The class or function of a dotted path that a checkpoint names.

    Raises:
        InputError: If it may not name it, or there is no such thing.
    """
    if not may_describe(path):
        raise InputError(_refusal(path))
    thing = at(path)
    if thing is None:
        raise InputError(
            f"{path} cannot be imported; is its package installed, and of the version that wrote the file?"
        )
    home = f"{getattr(thing, '__module__', None)}.{getattr(thing, '__qualname__', '')}"
    if isinstance(thing, ModuleType) or not may_describe(home):
        raise InputError(f"{path} is {home}. {_refusal(home)}")
    return thing


def at(path: str) -> Any:
    """What a dotted path leads to, by import; None if there is no such thing."""
    *steps, name = path.split(".")
    for count in range(len(steps), 0, -1):
        thing = _imported(".".join(steps[:count]))
        if thing is not None:
            for step in (*steps[count:], name):
                thing = getattr(thing, step, None)
            return thing
    return None


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def _is_of_models(path: str) -> bool:
    """Whether a path is ours: a class at the top, or in a part that models, stars and results are made of."""
    package, _, rest = path.partition(".")
    part, _, below = rest.partition(".")
    return package == _OURSELVES and (part in _OF_MODELS + _OF_STARS or (not below and part[:1].isupper()))


def _under(path: str, names: tuple[str, ...]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in names)


def _refusal(path: str) -> str:
    return f"{path} is not of stream_mapper's models, torch.nn or zuko.flows. {_advice(path)}"


def _advice(path: str) -> str:
    module = path.rpartition(".")[0] or path
    if module.partition(".")[0] in _NO_MODELS:
        return "No model is made of that: find out who wrote the file before you use it."
    return (
        f"If you trust the file that names it, say --allow {module}, or in Python call stream_mapper.allow({module!r})."
    )
