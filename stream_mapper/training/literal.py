"""Configurations that stand alone: what they read from files is written into them."""

from __future__ import annotations

from typing import Any

from stream_mapper.builtin import Isochrone

_READERS = {f"Isochrone.{name}": getattr(Isochrone, name) for name in ("read_mist", "read_parsec")}


def literal(config: Any) -> Any:
    """A copy of a configuration in which isochrones read from a file are given by their numbers."""
    if isinstance(config, list | tuple):
        return [literal(item) for item in config]
    if not isinstance(config, dict):
        return config
    reader = _READERS.get(".".join(str(config.get("class_path")).rsplit(".", 2)[-2:]))  # from whichever module
    if reader is None:
        return {key: literal(value) for key, value in config.items()}
    curve: Isochrone = reader(**config.get("init_args", {}))
    numbers = {"mass": curve.mass.tolist(), "magnitudes": curve.magnitudes.tolist(), "bands": list(curve.bands)}
    return {"class_path": "stream_mapper.builtin.Isochrone", "init_args": numbers}
