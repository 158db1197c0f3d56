"""What a fit of a stream begins with: its configuration, the query for its field and a page of what was decided."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stream_mapper.decisions.choice import digits
from stream_mapper.errors import InputError
from stream_mapper.track import Track

Settings = dict[str, Any]

_PHOTOMETRY = "photometry"
_LOOK = """
## What to look at

The last lines of a fit, and its `checks.ecsv`, say whether it can be believed, and what to change where not. Then open
`figures` in the run folder: the track beside its guides, the members on the isochrone, the density along the stream.
"""


@dataclass(frozen=True)
class Plan:
    """What is written of a stream.

    Arguments:
        name: Name of its track.
        reasons: A line for each decision.
        frame: The frame, as `SkyFrame` takes it.
        phi1: First and last place of the field [deg].
        track: Guides, with their half-widths.
        window: Window of each coordinate, and of the first band.
        coordinates: Coordinates of the model, as `recipes.Stream` names them.
        errors: Those of the coordinates and bands that have errors.
        bounds: Ranges of the ln of the widths.
        off_stream: Distance from the track beyond which stars train the background [deg].
        background: "flow" or "flows".
        survey: Survey of the magnitudes.
        isochrone: The isochrone in the long form; None for a model without photometry.
        table: The stars, as the configuration names them; None for those that the query fetches.
    """

    name: str
    reasons: Sequence[str]
    frame: Settings
    phi1: tuple[float, float]
    track: Track
    window: Mapping[str, float | tuple[float, float]]
    coordinates: Sequence[str]
    errors: Sequence[str]
    bounds: Mapping[str, tuple[float, float]]
    off_stream: float
    background: str
    survey: str
    isochrone: Settings | None = None
    table: str | None = None

    def write(self, folder: Path) -> list[Path]:
        """Write ``config.yaml``, ``README.md`` and, without a table, ``query.yaml``.

        Returns:
            The files.

        Raises:
            InputError: If one of them is there already.
        """
        texts = {"config.yaml": _yaml(self.configuration(folder)), "README.md": self.readme(folder)}
        texts |= {"query.yaml": _yaml(self.query(folder))} if self.table is None else {}
        if there := [name for name in texts if (folder / name).exists()]:
            raise InputError(f"{folder} has {', '.join(there)} already; give another --output, or remove them.")
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)
        return [folder / name for name in texts]

    def configuration(self, folder: Path) -> Settings:
        """The configuration of a fit, whose stars are the table or what the query leaves in the folder."""
        guides = {"phi1": self.track.phi1, "center": self.track.values("phi2"), "width": self.off_stream}
        return {
            "data": {
                "path": self.table or _stars(folder),
                "frame": self._frame,
                "survey": self.survey,
                "batch_size": 2048,
            },
            "background": {
                "off_stream": {
                    "class_path": "stream_mapper.training.OffStream",
                    "init_args": {"coord": "phi2", **{name: _short(values) for name, values in guides.items()}},
                }
            },
            "model": {"model": {"class_path": "stream_mapper.recipes.Stream", "init_args": self._recipe()}},
        }

    def query(self, folder: Path) -> Settings:
        """The query for the stars of the window."""
        across = self.window["phi2"]
        phi2 = self.track.values("phi2")
        low, high = (min(phi2) - across, max(phi2) + across) if isinstance(across, float | int) else across
        cross = {"crossmatch": "panstarrs1"} if self.survey == "panstarrs1" else {}
        return {
            "frame": self._frame,
            "phi1": _short(self.phi1),
            "phi2": _short((low, high)),
            **cross,
            "output": _stars(folder),
        }

    def readme(self, folder: Path) -> str:
        """What was decided, why, and what to do."""
        config, query = (shlex.quote(str(folder / name)) for name in ("config.yaml", "query.yaml"))
        fetch = [f"stream-mapper query --config {query}"] if self.table is None else []
        commands = "\n".join([*fetch, f"stream-mapper fit --config {config}"])
        parted = [line.partition(": ") for line in self.reasons]
        decided = "\n".join(f"- **{name}**: {rest}" for name, _, rest in parted)
        none = "" if self.isochrone else "\nThe model has no photometry: for that, give `--isochrone`.\n"
        return f"# {self.name}\n\n```console\n{commands}\n```\n\n## What was decided\n\n{decided}\n{none}{_LOOK}"

    @property
    def _frame(self) -> Settings:
        """The frame in the long form."""
        return {"class_path": "stream_mapper.catalog.SkyFrame", "init_args": {"frame": self.frame}}

    def _recipe(self) -> Settings:
        modelled = [name for name in self.coordinates if self.isochrone is not None or name != _PHOTOMETRY]
        track = {"phi1": self.track.phi1, **self.track.coordinates}
        track |= {f"{name}_width": widths for name, widths in self.track.widths.items()}
        light = {} if self.isochrone is None else {"isochrone": self.isochrone}
        bands = () if self.isochrone is None else self.isochrone["init_args"]["bands"]
        there = {*modelled, *bands}
        return {
            "phi1": _short(self.phi1),
            "track": {name: _short(values) for name, values in track.items()},
            "window": {name: _short(window) for name, window in self.window.items() if name in there},
            "coordinates": modelled,
            "errors": [name for name in self.errors if name in there],
            "bounds": {n: _short(v) for n, v in self.bounds.items() if n.partition(".")[0] in there},
            **light,
            "background": self.background,
        }


def _stars(folder: Path) -> str:
    """The table that the query leaves beside the configuration."""
    return f"{folder.absolute().name}.parquet"


def merged(track: Track, found: Track | None, halves: Mapping[str, Sequence[float]]) -> Track:
    """A track with the motion that was found beside it, and the half-widths of the guides."""
    coordinates = {name: track.coordinates[name] for name in halves if name in track.coordinates}
    widths = {name: list(halves[name]) for name in coordinates}
    if found is not None:
        for name in found.coordinates:
            coordinates[name] = np.interp(track.phi1, found.phi1, found.values(name)).tolist()
            widths[name] = [max(halves[name])] * len(track.phi1)
    return Track(track.phi1, coordinates, widths)


def _short(values: Any) -> Any:
    """Numbers as a person would write them."""
    return digits(values) if isinstance(values, float | int) else [digits(value) for value in values]


def _yaml(settings: Settings) -> str:
    return yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, width=140)
