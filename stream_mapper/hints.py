"""Whether values are of the types that a signature asks for, as far as they can be told apart."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from numbers import Number
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor

from stream_mapper.errors import InputError

_SEVERAL = (list, tuple, set, frozenset, Tensor)
_SHOWN = 60


def check_arguments(made_by: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise InputError if an argument is of another type than the signature says; what it does not say may be anything.

    Arguments:
        made_by: A class or function.
        args: Its arguments in order.
        kwargs: And by name.
    """
    signature, hints = _signature(made_by), _hints(made_by)
    if signature is None:
        return
    for name, value in _bound(signature, args, kwargs).items():
        if not fits(value, hints.get(name, Any)):
            said = repr(value)
            said = said if len(said) <= _SHOWN else f"{said[:_SHOWN]}..."
            raise InputError(f"{getattr(made_by, '__name__', made_by)}: {name} cannot be {said}.")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type.

        >>> fits([1, 2.5], Sequence[float]), fits(["a", 3], Sequence[str]), fits(None, int | None)
        (True, False, True)

    Arguments:
        value: Anything.
        hint: A type as in an annotation. A list is also a tuple, a number or a list an array, a whole number a
            fraction, and a mapping a dataclass that has its keys as fields.
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if kind is Literal:
        return value in inner
    if not isinstance(kind or hint, type):
        return True
    if is_dataclass(hint) and isinstance(value, Mapping):
        return set(value) <= {field.name for field in fields(hint)}
    return _is_of(value, kind or hint, inner)


def _is_of(value: Any, kind: type, inner: tuple[Any, ...]) -> bool:
    if issubclass(kind, Mapping):
        keys, values = inner if len(inner) == 2 else (Any, Any)
        return isinstance(value, Mapping) and all(fits(k, keys) and fits(v, values) for k, v in value.items())
    if kind is not str and issubclass(kind, Iterable) and kind.__module__ in ("builtins", "collections.abc"):
        return isinstance(value, _SEVERAL) and _each_fits(value, kind, inner)
    if kind is float:
        return isinstance(value, Number) or (isinstance(value, Tensor) and value.numel() == 1)
    if kind is Callable:  # type: ignore[comparison-overlap]
        return callable(value)
    try:
        return isinstance(value, (*_SEVERAL, Number) if kind is Tensor else kind)
    except TypeError:  # a protocol that nothing can be held against
        return True


def _each_fits(value: Any, kind: type, inner: tuple[Any, ...]) -> bool:
    """Whether each of several is of its type; an array holds numbers, which need no look."""
    if isinstance(value, Tensor) or not inner:
        return True
    if kind is tuple and inner[-1] is not Ellipsis:
        return len(value) == len(inner) and all(map(fits, value, inner))
    return all(fits(one, inner[0]) for one in value)


@cache
def _signature(made_by: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(made_by)
    except (TypeError, ValueError):
        return None


@cache
def _hints(made_by: Callable[..., Any]) -> dict[str, Any]:
    """Types of the arguments; none where they cannot be found, as of names that only a type checker imports."""
    try:
        return get_type_hints(inspect.unwrap(made_by.__init__ if isinstance(made_by, type) else made_by))  # type: ignore[misc]
    except Exception:
        return {}


def _bound(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, without those that a signature gathers; none where they do not bind, which the call tells."""
    try:
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError:
        return {}
    gathering = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: value for name, value in bound.items() if signature.parameters[name].kind not in gathering}
