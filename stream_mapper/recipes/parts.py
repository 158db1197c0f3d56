"""Parts of a recipe's stream: a density of each group of coordinates, with its network, ranges, windows and guides."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from stream_mapper.builtin import (
    IsochroneMVNorm,
    MultivariateNormal,
    Normal,
    RotatedBox,
    TruncatedNormal,
)
from stream_mapper.footprint import Footprint
from stream_mapper.models import Model
from stream_mapper.nn import OnGrid, sequential
from stream_mapper.params import ModelParameters
from stream_mapper.prior import ControlRegions
from stream_mapper.recipes import ranges
from stream_mapper.recipes.photometry import Photometry
from stream_mapper.track import Track
from stream_mapper.windows import Bounds

ERROR = "_err"
PHOTOMETRIC = "photometric"
STREAM = "stream"
LAYERS = 3
HIDDEN = 32


@dataclass(frozen=True)
class Ingredients:
    """What the parts of all components are made of.

    Arguments:
        windows: Window of each coordinate and band that has one.
        box: Window of the proper motions in the axes of the catalogue.
        footprint: Where the survey looked.
        errors: Coordinates and bands with measurement errors.
        correlation: Whether the correlation of the errors of the proper motions is read.
        photometry: The isochrone and what is known of its stars, if there is photometry.
        nets: Networks that were given, by ``component.part``.
        grid: Nodes of the grids of the others.
    """

    windows: Mapping[str, Bounds]
    box: RotatedBox | None
    footprint: Footprint | None
    errors: Collection[str]
    correlation: bool
    photometry: Photometry | None
    nets: Mapping[str, nn.Module]
    grid: int

    def net(self, place: str, features: int, hidden: int = HIDDEN, gain: float = 1.0) -> nn.Module:
        """The network of the functions of a part, or of the weights."""
        if place in self.nets:
            return self.nets[place]
        return OnGrid(sequential(1, hidden, LAYERS, features, gain=gain), size=self.grid)

    def windows_of(self, coords: Sequence[str]) -> dict[str, Bounds]:
        """The windows of some coordinates."""
        return {name: self.windows[name] for name in coords if name in self.windows}

    def errors_of(self, coords: Sequence[str]) -> dict[str, str]:
        """Columns of the errors of some coordinates, by coordinate."""
        return {name: name + ERROR for name in coords if name in self.errors}

    def footprint_of(self, coords: Sequence[str]) -> Footprint | None:
        """The footprint, if it is of one of these coordinates."""
        return self.footprint if self.footprint is not None and self.footprint.coord in coords else None


@dataclass(frozen=True)
class Law:
    """What is known of the coordinates of a part.

    Arguments:
        own: Parameters that it does not have from another component.
        track: Its guides, if it has some.
        bounds: Ranges that were given.
    """

    own: Collection[str]
    track: Track | None
    bounds: Mapping[str, ranges.Range]

    def arguments(self, place: str, coords: Sequence[str], given: Ingredients) -> dict[str, Any]:
        """Network, parameters and guides of a density over some coordinates; none if it has all from another."""
        found: dict[str, dict[str, ranges.Range]] = {}
        for coord in coords:
            window = given.windows.get(coord)
            for kind, rule in (("mu", ranges.of_centre), ("ln-sigma", ranges.of_width)):
                name = f"{coord}.{kind}"
                if name in self.own:
                    found.setdefault(coord, {})[kind] = self.bounds.get(name) or rule(coord, self.track, window)
        if not found:
            return {}
        return {
            "net": given.net(place, sum(map(len, found.values()))),
            "params": ModelParameters(found),
            "priors": self.guides(coords),
        }

    def guides(self, coords: Sequence[str]) -> list[ControlRegions]:
        """Guides of the centres along the track."""
        return [
            ControlRegions.along(f"{coord}.mu", self.track, quantity=coord)
            for coord in coords
            if f"{coord}.mu" in self.own and ranges.has_guide(self.track, coord)
        ]


def part_of(component: str, group: str, coords: Sequence[str], law: Law, given: Ingredients) -> Model:
    """The density of a component over a group of coordinates.

    Proper motions that are cut in the axes of the catalogue, or of which the correlation is read, are a
    `MultivariateNormal`; coordinates with a window are a `TruncatedNormal` over it, others a `Normal`.
    """
    place = f"{component}.{group}"
    if group == PHOTOMETRIC:
        return _photometric(place, law, given)
    windows = given.windows_of(coords)
    arguments: dict[str, Any] = {
        "coord_names": list(coords),
        "coord_err_names": given.errors_of(coords) or None,
        "coord_bounds": windows or None,
        "footprint": given.footprint_of(coords),
        **law.arguments(place, coords, given),
    }
    if group == "proper_motion" and (given.box is not None or given.correlation):
        return MultivariateNormal(**arguments, **_together(coords, given))
    return TruncatedNormal(**arguments) if windows.keys() == set(coords) else Normal(**arguments)


def _together(coords: Sequence[str], given: Ingredients) -> dict[str, Any]:
    """What two proper motions have together."""
    pair = {f"{coords[0]}_{coords[1]}_corr": list(coords)} if given.correlation else None
    return {"coord_corr_names": pair, "box": given.box}


def _photometric(place: str, law: Law, given: Ingredients) -> Model:
    """Stars on the isochrone; what is the same all along the stream is a parameter of the stream's alone."""
    light = given.photometry
    if light is None:
        raise TypeError("a photometric part needs an isochrone")
    shared = not place.startswith(f"{STREAM}.")
    found = law.arguments(place, ("distmod",), given)
    priors = [*found.pop("priors", []), *([] if shared else light.priors())]
    bands = light.isochrone.bands
    return IsochroneMVNorm(
        phot_err_names=given.errors_of(bands) or None,
        phot_bounds=given.windows_of(bands) or None,
        priors=priors,
        **light.arguments(shared),
        **found,
    )
