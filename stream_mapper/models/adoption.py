"""A model that starts from the parts of another, such as a simpler one that is fitted."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import nn

from stream_mapper.description import describe
from stream_mapper.errors import InputError
from stream_mapper.models.base import Model, ParametricModel, is_pretrained
from stream_mapper.models.components import ComponentModel, part_name

_log = logging.getLogger("stream_mapper")


def adopt(model: ComponentModel, other: ComponentModel, parts: Mapping[str, str] | None = None) -> list[str]:
    """Start parts of a model from those of another one; from then on both go their own ways.

    A part takes the weights and scalers, and what the end of a fit has added to the outputs of its network. A fit of
    the model then goes on from there. Densities that are trained beforehand are trained anew all the same, and guides
    first pull the parameters into their regions.

    Arguments:
        model: The model that is to start there.
        other: The one that is fitted.
        parts: Part of the model to part of the other, each by names with dots between, such as
            ``{"stream": "stream", "spur.sky": "stream.sky"}``; by default all that both have under one name and that
            are alike, the weights of the mixture among them if the components are the same.

    Returns:
        Names of the densities that start from another, and ``weights``, ``ends`` and ``constants``.

    Raises:
        InputError: If a part that is named is not there, or is not like the other.
    """
    own, others = _leaves(model), _leaves(other)
    if parts is None:
        pairs = {path: path for path in own if path in others and not _difference(own[path], others[path])}
    else:
        pairs = {target: source for pair in parts.items() for target, source in _below(model, other, *pair).items()}
    for target, source in pairs.items():
        if found := _difference(own[target], others[source]):
            raise InputError(f"{target} cannot start from {source}: they differ in {found}.")
        own[target].load_state_dict(others[source].state_dict())
    _log.info("%s start from another fit; %s do not.", list(pairs), [path for path in own if path not in pairs])
    return list(pairs)


def _leaves(model: nn.Module) -> dict[str, Model]:
    """The models in a model that are not made of others, by their names."""
    modules = {part_name(path): part for path, part in model.named_modules()}
    return {path: part for path, part in modules.items() if isinstance(part, Model) and path and _has_state(part)}


def _has_state(part: Model) -> bool:
    return not isinstance(part, ComponentModel) and (is_pretrained(part) or any(True for _ in part.parameters()))


def _below(model: ComponentModel, other: ComponentModel, target: str, source: str) -> dict[str, str]:
    """The leaves of a part, each with that of the same name in a part of another model."""
    own, others = (_leaves_of(m, path) for m, path in ((model, target), (other, source)))
    if own != others:
        raise InputError(f"{target} cannot start from {source}: they are made of {own} and {others}.")
    return {target + rest: source + rest for rest in own}


def _leaves_of(model: ComponentModel, path: str) -> list[str]:
    """The leaves of a part, by what comes after its name; the part must be there."""
    leaves = [leaf.removeprefix(path) for leaf in _leaves(model) if leaf == path or leaf.startswith(f"{path}.")]
    if not leaves:
        raise InputError(f"no part {path!r} with numbers of its own; the model has {list(_leaves(model))}.")
    return leaves


def _difference(part: Model, other: Model) -> str:
    """In what two densities differ, '' if the numbers of one mean the same in the other."""
    if type(part) is not type(other):
        return f"kind, {type(part).__name__} and {type(other).__name__}"
    if part.coord_names != other.coord_names:
        return f"coordinates, {list(part.coord_names)} and {list(other.coord_names)}"
    params = [one.params for one in (part, other) if isinstance(one, ParametricModel)]
    if params and describe(params[0]) != describe(params[1]):
        return f"parameters or their bounds, {list(params[0].names)} and {list(params[1].names)}"
    shapes = [{name: tuple(weight.shape) for name, weight in one.named_parameters()} for one in (part, other)]
    return "" if shapes[0] == shapes[1] else "the shape of their networks"
