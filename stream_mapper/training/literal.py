"""Configurations that stand alone: what they read from files is written into them."""

from __future__ import annotations

from typing import Any

from stream_mapper.builtin import Isochrone
from stream_mapper.catalog import SkyFrame

_READERS = {f"Isochrone.{name}": getattr(Isochrone, name) for name in ("read_mist", "read_parsec")}


def literal(config: Any) -> Any:
    """A copy of a configuration in which isochrones and frames read from files are given by their numbers."""
    if isinstance(config, list | tuple):
        return [literal(item) for item in config]
    if not isinstance(config, dict):
        return config
    *_, name = path = str(config.get("class_path")).rsplit(".", 2)  # from whichever module
    if name == SkyFrame.__name__:
        return {"class_path": config["class_path"], "init_args": SkyFrame(**config.get("init_args", {})).settings()}
    reader = _READERS.get(".".join(path[-2:]))
    if reader is None:
        return {key: literal(value) for key, value in config.items()}
    curve: Isochrone = reader(**config.get("init_args", {}))
    numbers = {"mass": curve.mass.tolist(), "magnitudes": curve.magnitudes.tolist(), "bands": list(curve.bands)}
    return {"class_path": "stream_mapper.builtin.Isochrone", "init_args": numbers}
