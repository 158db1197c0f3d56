"""The background of a recipe: a law across the stream, flows over all else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stream_mapper.builtin import Exponential
from stream_mapper.builtin.compat import ZukoFlowModel, flow
from stream_mapper.errors import InputError
from stream_mapper.models import IndependentModels, Model
from stream_mapper.models.mixture import BACKGROUND
from stream_mapper.params import ModelParameters
from stream_mapper.recipes import ranges
from stream_mapper.recipes.parts import Ingredients

KINDS = ("flow", "flows")
"""One flow over what most stars have, or one for each group of coordinates."""

POSITION, JOINT = "position", "rest"
OF_SPECTRA = ("radial_velocity", "feh")
"""Groups that most stars lack: a flow over them is trained on those that have them, so they take one of their own."""


def groups_of(kind: str, groups: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Coordinates of each part of the background, by name, those that are missing most often last.

    Arguments:
        kind: "flow" or "flows".
        groups: Coordinates of each part of the stream, the bands for the photometry.

    Raises:
        InputError: If it is another kind.
    """
    if kind not in KINDS:
        raise InputError(f"background must be one of {list(KINDS)}, or a density; got {kind!r}.")
    apart = {POSITION, *OF_SPECTRA} if kind == "flow" else set(groups)
    alone = {name: tuple(coords) for name, coords in groups.items() if name in apart}
    rest = [coord for name, coords in groups.items() if name not in apart for coord in coords]
    joint = {JOINT: tuple(rest)} if rest else {}
    first = {POSITION: alone.pop(POSITION)} if POSITION in alone else {}
    return {**first, **joint, **alone}


def background_of(
    background: str | Model, groups: Mapping[str, Sequence[str]], given: Ingredients, parts: Mapping[str, Model]
) -> Model:
    """The background: that which was given, or the parts of :func:`groups_of`.

    Arguments:
        background: The kind, or a density over all coordinates.
        groups: As of :func:`groups_of`.
        given: Windows and networks.
        parts: Parts that replace those of the recipe, by ``background.part``.
    """
    if isinstance(background, Model):
        return background
    found = groups_of(background, groups)
    across = found.get(POSITION, ())
    return IndependentModels(
        {
            name: parts.get(f"{BACKGROUND}.{name}")
            or (_across(coords[0], given) if name == POSITION else _flow(name, coords, across, given))
            for name, coords in found.items()
        }
    )


def _across(coord: str, given: Ingredients) -> Model:
    """An exponential law across the stream, of which the slope changes along it."""
    window = given.windows[coord]
    return Exponential(
        coord_names=[coord],
        coord_bounds={coord: window},
        net=given.net(f"{BACKGROUND}.{POSITION}", 1, hidden=16),
        params=ModelParameters({coord: {"slope": ranges.of_slope(window)}}),
        footprint=given.footprint_of((coord,)),
    )


def _flow(name: str, coords: Sequence[str], across: Sequence[str], given: Ingredients) -> Model:
    """A flow of one transformation, which knows its marginals over missing coordinates at little cost.

    It depends on the place along and across the stream; of spectra there are too few for that, and it is along alone.
    """
    places = ["phi1", *(across if name not in OF_SPECTRA else ())]
    hidden = (64, 64) if len(coords) > 2 else (32, 32)
    boxed = given.box is not None and set(given.box.coord_names) <= set(coords)
    net = given.nets.get(f"{BACKGROUND}.{name}") or flow(
        features=len(coords), context=len(places), transforms=1, hidden_features=hidden
    )
    return ZukoFlowModel(
        indep_coord_names=places,
        coord_names=list(coords),
        coord_bounds=given.windows_of(coords) or None,
        net=net,
        box=given.box if boxed else None,
    )
