"""A configuration in the long form: what its model is made of, and the stars that its background is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from stream_mapper.builtin import Isochrone, IsochroneGrid
from stream_mapper.description import describe
from stream_mapper.models.base import Model
from stream_mapper.training.background import BackgroundStage
from stream_mapper.training.off_stream import with_off_stream

Plain = dict[str, Any]
_ISOCHRONES = (Isochrone.__name__, IsochroneGrid.__name__)
_NOTHING: tuple[Any, ...] = (None, [], {})


def expanded(given: Plain, model: Model, stage: BackgroundStage) -> str:
    """A configuration in YAML that makes the same model, part by part.

    Arguments:
        given: The configuration, what differs from the defaults.
        model: The model that it makes.
        stage: Its background stage.

    Raises:
        InputError: If the model is not made of plain values.
    """
    plain = _pruned(describe(model))
    if (isochrone := _isochrone(given)) is not None:
        plain = _with_isochrone(plain, isochrone)
    selection = with_off_stream(stage, model).off_stream
    background = given.get("background") or {}
    if selection is not None and not background.get("off_stream"):
        background = {"off_stream": _pruned(describe(selection)), **background}
    out = {**given, "background": background, "model": {**given.get("model", {}), "model": plain}}
    order = [name for name in ("data", "background", "model") if out.get(name)]
    ordered = {name: out[name] for name in [*order, *(name for name in given if name not in order)]}
    return yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, width=120, default_flow_style=None)


def _isochrone(given: Plain) -> Any:
    """The isochrone of a recipe, as the configuration names it, if it has one."""
    return given.get("model", {}).get("model", {}).get("init_args", {}).get("isochrone")


def _with_isochrone(plain: Any, isochrone: Any) -> Any:
    """A description with an isochrone or a grid by its files in place of its numbers."""
    if isinstance(plain, list):
        return [_with_isochrone(item, isochrone) for item in plain]
    if not isinstance(plain, Mapping):
        return plain
    if str(plain.get("class_path", "")).rpartition(".")[2] in _ISOCHRONES:
        return isochrone
    return {key: _with_isochrone(item, isochrone) for key, item in plain.items()}


def _pruned(plain: Any) -> Any:
    """A description without the arguments that are nothing."""
    if isinstance(plain, list):
        return [_pruned(item) for item in plain]
    if isinstance(plain, Mapping):
        return {key: _pruned(item) for key, item in plain.items() if item not in _NOTHING}
    return plain


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes what stands in two places twice, so that each place can be changed."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Always."""
        return True
