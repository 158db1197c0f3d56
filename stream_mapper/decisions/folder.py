"""What a fit of a stream begins with: its configuration, the query for its field and a page of what was decided."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stream_mapper.decisions.choice import digits
from stream_mapper.decisions.cuts import CROSSMATCHED, RELEASES, SPECTRA, adql, selection
from stream_mapper.decisions.edges import SKY, STREAM, Strip
from stream_mapper.decisions.light import PHOTOMETRY
from stream_mapper.errors import InputError
from stream_mapper.track import Track

Settings = dict[str, Any]

_LINE, _ONE_LINE = 140, 110  # characters
# What stars a stream has kept is not known: an escaping cluster keeps its heavy ones.
_MASS_FUNCTION: Settings = {
    "class_path": "stream_mapper.builtin.PowerLawFamily",
    "init_args": {"lower": -2.5, "upper": 1.5},
}
_WITHOUT_LIGHT = """
The model has no photometry: that needs `--isochrone`, a distance, and two bands in the table.
"""
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
        window: Window of each coordinate, and of the first band: half-width about the track, edges, or a strip.
        coordinates: Coordinates of the model, as `recipes.Stream` names them.
        errors: Those of the coordinates and bands that have errors.
        bounds: Ranges of the ln of the widths.
        off_stream: Distance from the track beyond which stars train the background [deg].
        background: "flow" or "flows".
        survey: Survey of the magnitudes.
        correlation: Whether the correlations of the errors of proper motions are read.
        parallax: Largest parallax of a star of the stream [mas], if stars beyond it are left out.
        colour: A difference of two bands and its range, if stars outside are left out.
        spectra: Survey of the radial velocities, where their names are not those that all understand.
        joined: Survey of spectra that the query joins, if one is.
        approximate: Rules of errors that the table lacks, as `data.errors` takes them.
        isochrone: The isochrone in the long form; None for a model without photometry.
        table: The stars, as the configuration names them; None for those that the query fetches.
    """

    name: str
    reasons: Sequence[str]
    frame: Settings
    phi1: tuple[float, float]
    track: Track
    window: Mapping[str, float | tuple[float, float] | Strip]
    coordinates: Sequence[str]
    errors: Sequence[str]
    bounds: Mapping[str, tuple[float, float]]
    off_stream: float
    background: str
    survey: str
    correlation: bool = False
    parallax: float | None = None
    colour: tuple[str, tuple[float, float]] | None = None
    spectra: str | None = None
    joined: str | None = None
    approximate: Mapping[str, Settings] = field(default_factory=dict)
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
        cuts = selection(self.parallax, self.colour)
        guides = {"phi1": self.track.phi1, "center": self.track.values("phi2"), "width": self.off_stream}
        return {
            "data": {
                "path": self.table or _stars(folder),
                "frame": self._frame,
                "survey": [self.survey, self.spectra] if self.spectra else self.survey,
                **({"errors": dict(self.approximate)} if self.approximate else {}),
                **({} if cuts is None else {"selection": cuts}),
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
        """The query for the stars of the window, with the cuts of the configuration."""
        across = self.window["phi2"]
        phi2 = self.track.values("phi2")
        low, high = (min(phi2) - across, max(phi2) + across) if isinstance(across, float | int) else across[:2]
        where = adql(self.survey, self.parallax, self.colour, self.magnitudes, self.joined)
        cross = {"crossmatch": self.survey} if self.survey in CROSSMATCHED else {}
        cross |= {"spectra": SPECTRA[self.joined]} if self.joined else {}
        release = {"catalogue": f"{self.survey.replace('_', '')}.gaia_source"} if self.survey in RELEASES else {}
        return {
            "frame": self._frame,
            "phi1": _short(self.phi1),
            "phi2": _short((low, high)),
            **release,
            **cross,
            **({"where": where} if where else {}),
            "output": _stars(folder),
        }

    def readme(self, folder: Path) -> str:
        """What was decided, why, and what to do."""
        config, query = (shlex.quote(str(folder / name)) for name in ("config.yaml", "query.yaml"))
        fetch = [f"stream-mapper query --config {query}"] if self.table is None else []
        commands = "\n".join([*fetch, f"stream-mapper fit --config {config}"])
        parted = [line.partition(": ") for line in self.reasons]
        decided = "\n".join(f"- **{name}**: {rest}" for name, _, rest in parted)
        none = "" if self.isochrone else _WITHOUT_LIGHT
        return f"# {self.name}\n\n```console\n{commands}\n```\n\n## What was decided\n\n{decided}\n{none}{_LOOK}"

    @property
    def magnitudes(self) -> dict[str, tuple[float, float]]:
        """The window of the first band."""
        bands = () if self.isochrone is None else self.isochrone["init_args"]["bands"]
        return {name: self.window[name] for name in list(bands)[:1] if isinstance(self.window[name], tuple)}  # type: ignore[misc]

    @property
    def _frame(self) -> Settings:
        """The frame in the long form."""
        return {"class_path": "stream_mapper.catalog.SkyFrame", "init_args": {"frame": self.frame}}

    def _recipe(self) -> Settings:
        modelled = [name for name in self.coordinates if self.isochrone is not None or name != PHOTOMETRY]
        track = {"phi1": self.track.phi1, **self.track.coordinates}
        even = {name: widths[0] for name, widths in self.track.widths.items() if len(set(widths)) == 1}
        track |= {f"{name}_width": widths for name, widths in self.track.widths.items() if name not in even}
        light = {} if self.isochrone is None else {"isochrone": self.isochrone, "mass_function": _MASS_FUNCTION}
        bands = () if self.isochrone is None else self.isochrone["init_args"]["bands"]
        there = {*modelled, *bands}
        return {
            "phi1": _short(self.phi1),
            "track": {name: _short(values) for name, values in track.items()},
            **({"widths": {name: _short(width) for name, width in even.items()}} if even else {}),
            "window": {name: _short(one) for name, one in self.window.items() if name in there or name in SKY},
            "coordinates": modelled,
            "errors": [name for name in self.errors if name in there],
            **(
                {"correlation": True}
                if self.correlation and any(set(names) <= there for names in (SKY, STREAM))
                else {}
            ),
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
    if isinstance(values, Strip):
        return values.settings()
    return digits(values) if isinstance(values, float | int) else [digits(value) for value in values]


def _yaml(settings: Settings) -> str:
    return yaml.dump(settings, Dumper=_Dumper, sort_keys=False, width=_LINE)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes what fits on a line on one."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> Any:
        """A mapping, on one line if it is a short one inside another."""
        node = super().represent_mapping(tag, mapping, flow_style)
        node.flow_style = len(str(mapping)) < _ONE_LINE
        return node

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> Any:  # noqa: ARG002
        """A list, on as many lines as it needs if it is of numbers and words."""
        plain = not any(isinstance(item, Mapping | list) for item in sequence)
        return super().represent_sequence(tag, sequence, plain or len(str(sequence)) < _LINE)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Write what stands in two places twice, so that each place can be changed."""
        return True
