"""Objects as plain values, by which they are built again: what a checkpoint keeps of a model.

An object is described by its class and the arguments it was made with, as ``class_path`` and ``init_args`` of a
configuration. Numbers that change afterwards, such as weights, are not part of it: they are its state.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from types import BuiltinFunctionType, FunctionType
from typing import Any, ParamSpec, Self, TypeVar

import torch
from torch import Tensor, nn

from stream_mapper.errors import InputError
from stream_mapper.hints import check_arguments
from stream_mapper.trust import at, may_describe, resolve

Call = ParamSpec("Call")
Made = TypeVar("Made")

_CLASS, _ARGUMENTS, _IN_ORDER, _FUNCTION = "class_path", "init_args", "args", "function"
_DESCRIBED: set[str] = set()  # paths of what this process itself has described, which it may build again
_OTHERS: dict[str, Callable[[Any], dict[str, Any] | None]] = {}
_PLAIN = (bool, int, float, str, type(None))


class _OfConstructor:
    """The signature of a class: that of its constructor, where Python before 3.11.3 takes that of ``__new__``."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")  # an instance that can be called has another
        signature = inspect.signature(owner.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class Described:
    """An object that remembers the arguments it was made with."""

    __signature__ = _OfConstructor()
    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the arguments."""
        made = super().__new__(cls)
        made.__dict__["_arguments"] = (args, kwargs)
        return made


def factory(function: Callable[Call, Made]) -> Callable[Call, Made]:
    """A function whose results remember the arguments it was called with; a description may call it."""

    @wraps(function)
    def remembering(*args: Call.args, **kwargs: Call.kwargs) -> Made:
        made = function(*args, **kwargs)
        made.__dict__["_made_by"] = (remembering, args, kwargs)
        return made

    remembering.__dict__["is_factory"] = True
    return remembering


def describes(package: str) -> Callable[[Callable[[Any], dict[str, Any] | None]], None]:
    """Decorate a function that describes objects of a package which do not say how they were made.

    It gives a dotted path as ``class_path`` and ``init_args``, or None if it cannot tell.
    """

    def register(function: Callable[[Any], dict[str, Any] | None]) -> None:
        _OTHERS[package] = function

    return register


def describe(value: Any, place: str = "the model") -> Any:
    """A value as plain numbers, text, lists and dicts.

        >>> describe(stream_mapper.params.bounds.SigmoidBounds(0, 1))["init_args"]
        {'lower': 0.0, 'upper': 1.0}

    Arguments:
        value: Numbers, text, tensors, containers of these, functions and objects that can be imported.
        place: What an error calls it.

    Raises:
        InputError: If something in it cannot be made again from plain values.
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor) or hasattr(value, "__array__"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [describe(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {str(key): describe(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return {_FUNCTION: _path_of(value, place)}
    return _describe_object(value, place)


def build(plain: Any) -> Any:
    """What a description describes.

        >>> build({"class_path": "stream_mapper.params.bounds.SigmoidBounds", "init_args": {"lower": 0, "upper": 1}})
        SigmoidBounds(0.0, 1.0)

    Arguments:
        plain: What :func:`describe` gave.

    Raises:
        InputError: If it names something that cannot be imported or is not allowed, see
            :func:`stream_mapper.trust.allow`.
    """
    if isinstance(plain, list | tuple):
        return [build(item) for item in plain]
    if not isinstance(plain, Mapping):
        return plain
    if set(plain) == {_FUNCTION}:
        return _resolve(plain[_FUNCTION])
    if _CLASS not in plain:
        return {key: build(item) for key, item in plain.items()}
    made_by = _resolve(plain[_CLASS])
    if not (isinstance(made_by, type) or getattr(made_by, "is_factory", False)):
        raise InputError(f"{plain[_CLASS]} is no class; a description is built of classes.")
    args, kwargs = build(plain.get(_IN_ORDER, [])), build(plain.get(_ARGUMENTS, {}))
    check_arguments(made_by, args, kwargs)
    return made_by(*args, **kwargs)


def check_rebuilds(module: nn.Module, plain: Any) -> None:
    """Raise InputError if what a description builds has not the state of the module it is of, name by name."""
    with torch.random.fork_rng(devices=[]):
        again = build(plain)
    before, after = (_shapes(one) for one in (module, again))
    odd = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if odd:
        raise InputError(
            f"built anew from its arguments, {type(module).__name__} has another state: {odd[0]} has the shape "
            f"{after.get(odd[0])}, it was {before.get(odd[0])}; give a network as a class that says its arguments."
        )


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...] | str]:
    """Shape of every weight and buffer by name; of a buffer, which may be filled later, only that it is there."""
    weights = {name: tuple(weight.shape) for name, weight in module.named_parameters()}
    return {**{name: "a buffer" for name in module.state_dict() if name not in weights}, **weights}


def _describe_object(value: Any, place: str) -> dict[str, Any]:
    if "_made_by" in vars_of(value):
        function, args, kwargs = value.__dict__["_made_by"]
        return _call(function, args, kwargs, place)
    if isinstance(value, Described):
        args, kwargs = value.__dict__["_arguments"]
        return _call(type(value), args, kwargs, place)
    if callable(settings := getattr(value, "settings", None)):
        return {_CLASS: _path_of(type(value), place), _ARGUMENTS: describe(settings(), place)}
    other = _OTHERS.get(type(value).__module__.partition(".")[0])
    if other is not None and (plain := other(value)) is not None:
        return plain
    if isinstance(value, nn.Sequential):
        layers = [describe(layer, f"{place}[{i}]") for i, layer in enumerate(value)]
        return {_CLASS: _path_of(type(value), place), _IN_ORDER: layers}
    return {_CLASS: _path_of(type(value), place), _ARGUMENTS: _from_attributes(value, place)}


def vars_of(value: Any) -> dict[str, Any]:
    """The attributes of an object, if it has any of its own."""
    return getattr(value, "__dict__", {})


def _call(made_by: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], place: str) -> dict[str, Any]:
    """The call of a class or of a function, its arguments by name where they have one."""
    bound = inspect.signature(made_by).bind(*args, **kwargs)
    named: dict[str, Any] = {}
    in_order: list[Any] = []
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            in_order += [describe(item, f"{place}.{name}") for item in value]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named |= {key: describe(item, f"{place}.{key}") for key, item in value.items()}
        else:
            named[name] = describe(value, f"{place}.{name}")
    plain = {_CLASS: _path_of(made_by, place), _ARGUMENTS: named}
    return plain | ({_IN_ORDER: in_order} if in_order else {})


def _from_attributes(value: Any, place: str) -> dict[str, Any]:
    """Arguments of the constructor, of an object that keeps them as attributes of the same names, as most do."""
    out = {}
    for parameter in _arguments_of(type(value)):
        if hasattr(value, parameter.name):
            given = getattr(value, parameter.name)
            given = given is not None if parameter.name == "bias" and isinstance(value, nn.Module) else given
            out[parameter.name] = describe(given, f"{place}.{parameter.name}")
        elif parameter.default is parameter.empty:
            raise InputError(
                f"{place}: how a {type(value).__name__} was made cannot be told, as it has no attribute "
                f"{parameter.name!r}; keep the arguments as attributes, or make it by a function with the decorator "
                "stream_mapper.description.factory."
            )
    return out


def _arguments_of(kind: type) -> list[inspect.Parameter]:
    """Arguments of a constructor; none of torch's own, which a class without one has, and which takes none."""
    if kind.__init__ is nn.Module.__init__:  # type: ignore[misc]
        return []
    try:
        return list(inspect.signature(kind).parameters.values())
    except (TypeError, ValueError):
        return []


def _path_of(thing: Any, place: str) -> str:
    """The shortest dotted path by which a class or a function can be imported."""
    module, name = thing.__module__, thing.__qualname__
    steps = module.split(".")
    for count in range(1, len(steps) + 1):
        path = ".".join([*steps[:count], name])
        if at(path) is thing:
            _DESCRIBED.add(path)
            return path
    advice = "define it in a module that can be imported"
    raise InputError(f"{place}: {module}.{name} cannot be imported, so it cannot be kept in a checkpoint; {advice}.")


def _resolve(path: Any) -> Any:
    """The class or function of a dotted path, if descriptions may build it."""
    if not isinstance(path, str):
        raise InputError(f"{path!r} is no dotted path of a class or a function.")
    mine = None if may_describe(path) else _loaded_class(path)
    if mine is None and path in _DESCRIBED:
        mine = at(path)
    return resolve(path) if mine is None else mine


def _loaded_class(path: str) -> type | None:
    """A class of a user's own model of this path, if its module is imported already."""
    waiting = [Described]
    while waiting:
        kind = waiting.pop()
        if f"{kind.__module__}.{kind.__qualname__}" == path:
            return kind
        waiting += kind.__subclasses__()
    return None
