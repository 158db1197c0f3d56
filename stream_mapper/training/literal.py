"""Configurations that stand alone: what they read from files is written into them."""

from __future__ import annotations

import json
from functools import cache
from pkgutil import resolve_name
from typing import Any

from stream_mapper.builtin import Isochrone
from stream_mapper.catalog import SkyFrame, read_track
from stream_mapper.track import Track

_READERS = {f"Isochrone.{name}": getattr(Isochrone, name) for name in ("read_mist", "read_parsec")}
_TRACKS = ("catalog.read_track", "tracks.read_track")


def literal(config: Any) -> Any:
    """A copy of a configuration in which isochrones, tracks and frames read from files are given by their numbers."""
    if isinstance(config, list | tuple):
        return [literal(item) for item in config]
    if not isinstance(config, dict):
        return config
    path = ".".join(str(config.get("class_path")).rsplit(".", 2)[-2:])  # from whichever module
    if path in _TRACKS:
        return json.loads(_track(json.dumps(config.get("init_args", {}), sort_keys=True)))
    if path.endswith(f".{SkyFrame.__name__}"):
        return {"class_path": config["class_path"], "init_args": SkyFrame(**config.get("init_args", {})).settings()}
    reader = _READERS.get(path)
    if reader is None:
        return {key: literal(value) for key, value in config.items()}
    curve: Isochrone = reader(**config.get("init_args", {}))
    numbers = {"mass": curve.mass.tolist(), "magnitudes": curve.magnitudes.tolist(), "bands": list(curve.bands)}
    return {"class_path": "stream_mapper.builtin.Isochrone", "init_args": numbers}


@cache
def _track(arguments: str) -> str:
    """The numbers of a track; once, as a checkpoint is written in every epoch."""
    given = json.loads(arguments)
    frame = given.get("frame")
    if isinstance(frame, dict):
        given["frame"] = resolve_name(frame["class_path"])(**frame.get("init_args", {}))
    track: Track = read_track(**given)
    numbers = {"phi1": track.phi1, "coordinates": track.coordinates, "widths": track.widths}
    return json.dumps({"class_path": "stream_mapper.Track", "init_args": numbers})
