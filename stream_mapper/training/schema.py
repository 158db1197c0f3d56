"""The JSON schema of a configuration of a fit, by which editors complete and check it.

It is made from the constructors, as the command line is. What is not known of a type is left open.
"""

from __future__ import annotations

import collections.abc
import importlib
import inspect
import os
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import docstring_parser
import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from stream_mapper.paths import FilePath, NameOrFile
from stream_mapper.results.run_folder import ResultOptions
from stream_mapper.training.background import BackgroundStage
from stream_mapper.training.callbacks import StopEarly
from stream_mapper.training.datamodule import CatalogueDataModule
from stream_mapper.training.module import StreamModule

Schema = dict[str, Any]

MADE: dict[str, Any] = {
    "data": CatalogueDataModule,
    "background": BackgroundStage,
    "model": StreamModule,
    "trainer": L.Trainer,
    "checkpoint": ModelCheckpoint,
    "early_stopping": StopEarly,
    "results": ResultOptions,
}
"""What each section of a configuration makes."""
_PARTS = (
    *("builtin", "builtin.compat", "catalog", "footprint", "mock", "nn", "params", "params.bounds", "params.scaler"),
    *("prior", "recipes", "selection", "training"),
)
_MODULES = ["stream_mapper", *(f"stream_mapper.{name}" for name in _PARTS)]
_PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
_TEXT = (FilePath, NameOrFile, os.PathLike)
_LISTS = (list, tuple, set, collections.abc.Sequence, collections.abc.Iterable)
_DICTS = (dict, collections.abc.Mapping)
_OPEN: Schema = {"type": "object", "properties": {"class_path": {"type": "string"}}, "required": ["class_path"]}


def fit_schema() -> Schema:
    """The schema of a configuration file of ``fit``."""
    writer = _Writer()
    sections = {name: writer.arguments(made, complete=False) for name, made in MADE.items()}
    seed = {"type": ["integer", "boolean"], "description": "Seed of the training."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A fit of stream_mapper",
        "type": "object",
        "properties": {**sections, "seed_everything": seed},
        "additionalProperties": False,
        "$defs": writer.definitions,
    }


class _Writer:
    """Writes schemas of types; those of classes are kept as definitions."""

    def __init__(self) -> None:
        self.makers = list(_makers())
        self.definitions: dict[str, Schema] = {}

    def arguments(self, maker: Callable[..., Any], complete: bool = True) -> Schema:
        """The arguments of a class or a function; ``complete`` says that those without a default have to be there."""
        hints, told = _hints(maker), _descriptions(maker)
        found = [one for one in inspect.signature(maker).parameters.values() if one.name != "self"]
        named = [one for one in found if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        out: Schema = {"type": "object", "properties": {}}
        for one in named:
            about = {"description": told[one.name]} if one.name in told else {}
            out["properties"][one.name] = {**self.of(hints.get(one.name, Any)), **about}
        if len(named) == len(found):
            out["additionalProperties"] = False
        needed = [one.name for one in named if one.default is one.empty]
        return out | ({"required": needed} if complete and needed else {})

    def of(self, hint: Any) -> Schema:
        """The schema of a type; empty where nothing is known of it."""
        origin, inner = get_origin(hint), get_args(hint)
        if hint in _PLAIN:
            return {"type": _PLAIN[hint]}
        if hint in _TEXT or origin in _TEXT:
            return {"type": "string"}
        if is_typeddict(hint):
            return self._fields(hint)
        if origin is not None:
            return self._of_several(origin, inner)
        return self._object(hint) if inspect.isclass(hint) else {}

    def _of_several(self, origin: Any, inner: tuple[Any, ...]) -> Schema:
        """The schema of a type that is made of others."""
        if origin is Literal:
            return {"enum": list(inner)}
        if origin in (Union, types.UnionType):
            return _any_of([self.of(one) for one in inner])
        if origin in _DICTS:
            return {"type": "object", "additionalProperties": self.of(inner[1])}
        return self._list(origin, inner) if origin in _LISTS else {}

    def _fields(self, hint: Any) -> Schema:
        fields = {name: self.of(one) for name, one in get_type_hints(hint).items()}
        return {"type": "object", "properties": fields, "additionalProperties": False}

    def _list(self, origin: Any, inner: tuple[Any, ...]) -> Schema:
        if origin is tuple and inner and inner[-1] is not ...:
            count = len(inner)
            return {"type": "array", "prefixItems": [*map(self.of, inner)], "minItems": count, "maxItems": count}
        return {"type": "array", "items": self.of(inner[0])} if inner else {"type": "array"}

    def _object(self, kind: type) -> Schema:
        """An object by the class or function that makes it, or a dataclass by its fields."""
        ours = kind.__module__.partition(".")[0] == "stream_mapper"
        if not (ours or kind is nn.Module):
            return {}
        name = f"any-{kind.__name__}"
        if name not in self.definitions:
            self.definitions[name] = {}  # it may hold others of its kind
            choices = [self._made_by(path, maker) for path, maker, made in self.makers if issubclass(made, kind)]
            choices += [self.arguments(kind)] if ours and not inspect.isabstract(kind) else []  # the class goes unsaid
            self.definitions[name] = _any_of([*choices, {"type": "string"}, *([] if ours else [_OPEN])])
        return {"$ref": f"#/$defs/{name}"}

    def _made_by(self, path: str, maker: Callable[..., Any]) -> Schema:
        """What is made by a class or a function: ``class_path`` and ``init_args``."""
        if path not in self.definitions:
            self.definitions[path] = {}
            made = {"class_path": {"const": path}, "init_args": self.arguments(maker)}
            self.definitions[path] = {
                "type": "object",
                "properties": made,
                "required": ["class_path"],
                "additionalProperties": False,
            }
        return {"$ref": f"#/$defs/{path}"}


def _any_of(schemas: list[Schema]) -> Schema:
    """Any of some schemas; open if one of them is."""
    if not all(schemas):
        return {}
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _makers() -> Iterator[tuple[str, Callable[..., Any], type]]:
    """Dotted path, class or function, and what it makes, of all that a configuration may name."""
    for module in map(importlib.import_module, _MODULES):
        for name in getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]:
            thing, path = getattr(module, name), f"{module.__name__}.{name}"
            if not getattr(thing, "__module__", "").startswith("stream_mapper"):
                continue
            if inspect.isclass(thing):
                yield from _of_class(path, thing)
            elif inspect.isfunction(thing) and inspect.isclass(made := _hints(thing).get("return")):
                yield path, thing, made


def _of_class(path: str, kind: type) -> Iterator[tuple[str, Callable[..., Any], type]]:
    """A class, if it can be made, and its other constructors."""
    if not inspect.isabstract(kind):
        yield path, kind, kind
    for name, member in inspect.getmembers(kind, inspect.ismethod):
        if not name.startswith("_") and _hints(member).get("return") is kind:
            yield f"{path}.{name}", member, kind


def _hints(maker: Callable[..., Any]) -> Mapping[str, Any]:
    """Types of the arguments; none where they cannot be found."""
    try:
        return get_type_hints(maker.__init__ if inspect.isclass(maker) else maker)
    except (NameError, TypeError, AttributeError):
        return {}


def _descriptions(maker: Callable[..., Any]) -> dict[str, str]:
    """What the docstring says of each argument."""
    found = docstring_parser.parse(inspect.getdoc(maker) or "").params
    return {one.arg_name: " ".join((one.description or "").split()) for one in found}
