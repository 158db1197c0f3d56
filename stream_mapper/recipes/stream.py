"""A stream, what is beside it, and its background, from what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from stream_mapper.builtin import Isochrone, IsochroneGrid, MassFunction, PowerLawFamily
from stream_mapper.errors import InputError
from stream_mapper.footprint import Footprint
from stream_mapper.models import Ends, MixtureModel, Model
from stream_mapper.models.independent import Hook
from stream_mapper.models.mixture import BACKGROUND
from stream_mapper.params import ModelParameters
from stream_mapper.paths import NameOrFile
from stream_mapper.prior import Prior
from stream_mapper.recipes.background import background_of
from stream_mapper.recipes.background import groups_of as groups_behind
from stream_mapper.recipes.components import Component, Planned, built, plan_beside, plan_stream, sharing
from stream_mapper.recipes.coordinates import coordinates_of, groups_of, windows_of, with_bands
from stream_mapper.recipes.knowledge import as_track, known
from stream_mapper.recipes.parts import STREAM, Ingredients
from stream_mapper.recipes.photometry import Photometry
from stream_mapper.track import Track
from stream_mapper.windows import Window

_WEIGHTS = "weights"
_NOT_MEASURED_ERRORS = ("phi2",)  # positions are known to a thousandth of any width


def Stream(  # noqa: N802 (it makes a model as a class of models does)
    track: Track | NameOrFile | dict[str, list[float]],
    window: dict[str, float | tuple[float, float] | Window],
    phi1: tuple[float, float] | None = None,
    coordinates: list[str] | None = None,
    errors: list[str] | None = None,
    correlation: bool = False,
    isochrone: Isochrone | IsochroneGrid | None = None,
    mass_function: MassFunction | PowerLawFamily | None = None,
    scatter: float = 0.03,
    reddening: dict[str, float] | None = None,
    population: dict[str, tuple[float, float]] | None = None,
    footprint: Footprint | None = None,
    widths: dict[str, float | list[float] | None] | None = None,
    bounds: dict[str, tuple[float, float]] | None = None,
    ends: Ends | bool = True,
    parallax_sets_distance: bool = True,
    components: dict[str, Component] | None = None,
    background: str | Model = "flow",
    parts: dict[str, Model] | None = None,
    nets: dict[str, nn.Module] | None = None,
    grid: int = 256,
    gain: float = 10.0,
    priors: Sequence[Prior] = (),
    hooks: Sequence[Hook] = (),
) -> MixtureModel:
    """A mixture of a stream, what is beside it and a background, each choice made as ``docs/recipes.md`` says.

        >>> track = {"phi1": [-10.0, 10.0], "phi2": [0.0, 1.0], "pm_phi1": [-6.0, -7.0], "pm_phi2": [-3.0, -2.5]}
        >>> model = Stream(track=track, window={"phi2": (-4.0, 4.0), "pm_phi1": (-12.0, 0.0), "pm_phi2": (-8.0, 3.0)})
        >>> list(model.components["stream"].components), list(model.components["background"].components)
        (['position', 'proper_motion'], ['position', 'rest'])

    Arguments:
        track: Where the stream runs: a track; columns by name, such as ``phi1``, ``phi2`` and ``phi2_width``; or a file
            or a name that `stream_mapper.catalog.read_track` reads. Its places are the guides of every coordinate that
            it has; a distance in any form guides the modulus.
        window: Window of a coordinate or band, in its unit: lowest and highest value, half-width about the track, or a
            window along the stream. That of phi2 is needed; of ``pmra`` and ``pmdec``, a box that turns along the
            stream.
        phi1: First and last place of the field [deg]; by default those of the track, which then has no ends.
        coordinates: Of ``phi2``, ``pm_phi1`` and ``pm_phi2`` or ``pmra`` and ``pmdec``, ``parallax``,
            ``radial_velocity``, ``feh``, ``photometry`` and any other column; by default phi2, the proper motions of
            the track, and photometry if there is an isochrone.
        errors: Coordinates and bands that have a column of errors, ``pm_phi1_err`` and so on; by default all but phi2.
        correlation: Whether the correlation of the errors of the proper motions is read, which a ``SkyFrame`` gives.
        isochrone: Of the stars of the stream, for ``photometry``; its bands are the columns. Of a grid, ``feh`` [dex]
            and ``age`` [Gyr] are parameters that are the same all along the stream.
        mass_function: How its stars are spread along it; by default Kroupa's. Of a family, ``mass-slope`` is one, too.
        scatter: Scatter about it [mag].
        reddening: Extinction of each band over E(B-V); ``ebv`` [mag] is then a parameter.
        population: Mean and sigma of what is known of these parameters, such as ``{"feh": (-2.0, 0.2)}``, and of the
            zero points of bands, ``offset.g`` [mag]. Without it they are free in their range.
        footprint: Where the survey looked.
        widths: Half-widths of the guides by coordinate, one number or one a place of the track; null for no guide. By
            default those of the track, or those of docs/recipes.md.
        bounds: Ranges of parameters of the stream in place of the recipe's, such as ``phi2.mu``, ``phi2.ln-sigma``,
            ``distmod.mu``, ``feh`` and ``ln-weight``.
        ends: Where the stream begins and ends, or whether that is fitted where its track does so inside the field.
        parallax_sets_distance: Whether the modulus of the photometry is that of the parallax, if both are there.
        components: What is beside the stream, by name.
        background: "flow" for one flow over all but phi2 and what comes from spectra, "flows" for one a group of
            coordinates, or a density of all coordinates.
        parts: Densities in place of the recipe's, by ``component.part``, such as ``background.position``.
        nets: Networks in place of the recipe's, by ``component.part``, and ``weights``.
        grid: Nodes of the grids on which the networks are evaluated.
        gain: Gain of the network of the weights, see `stream_mapper.nn.sequential`.
        priors: Further log priors, on the names seen from the mixture.
        hooks: Further hooks of the mixture.

    Returns:
        The mixture. It remembers the parts it is made of, and nothing of the recipe, so a checkpoint of it needs
        neither the track nor a later recipe to choose the same.

    Raises:
        InputError: If what is known does not suffice, or does not fit together.
    """
    whole = known(as_track(track, phi1), widths or {})
    names = coordinates_of(coordinates, whole, isochrone)
    groups = groups_of(names)
    behind = with_bands(groups, isochrone)
    modelled = [coord for coords in behind.values() for coord in coords]
    windows, box = windows_of(window, modelled, whole)
    light = _photometry(isochrone, mass_function, scatter, reddening, population, bounds)
    given = Ingredients(
        windows=windows,
        box=box,
        footprint=footprint,
        errors=_errors(errors, modelled),
        correlation=correlation,
        photometry=light,
        nets=nets or {},
        grid=grid,
    )
    linked = parallax_sets_distance and {"parallax", "photometric"} <= set(groups)
    owned = [coord for coords in groups.values() for coord in coords]
    beside = [plan_beside(name, one, whole, owned, phi1, linked) for name, one in (components or {}).items()]
    planned = [plan_stream(whole, bounds or {}, ends, phi1, linked), *beside]
    replaced = parts or {}
    _check_places(planned, groups, behind, background, replaced, given.nets)
    return MixtureModel(
        {one.name: built(one, groups, given, replaced) for one in planned}
        | {BACKGROUND: background_of(background, behind, given, replaced)},
        net=given.net(_WEIGHTS, len(planned), hidden=64, gain=gain),
        params=ModelParameters({f"{one.name}.ln-weight": one.ln_weight for one in planned}),
        unpack_params_hooks=[*sharing(beside, groups, replaced, light), *hooks],
        priors=priors,
        ends={one.name: one.ends for one in planned if one.ends is not None},
    )


def _photometry(
    isochrone: Isochrone | IsochroneGrid | None,
    mass_function: MassFunction | PowerLawFamily | None,
    scatter: float,
    reddening: Mapping[str, float] | None,
    population: Mapping[str, tuple[float, float]] | None,
    bounds: Mapping[str, tuple[float, float]] | None,
) -> Photometry | None:
    """What is known of the stars' light, if there is an isochrone."""
    if isochrone is None:
        if reddening or population:
            raise InputError("reddening and population are of the stars of an isochrone; give one, or leave them out.")
        return None
    return Photometry(isochrone, mass_function, scatter, reddening or {}, population or {}, bounds or {})


def _errors(asked: Iterable[str] | None, modelled: Sequence[str]) -> list[str]:
    """Coordinates and bands with errors."""
    if asked is None:
        return [name for name in modelled if name not in _NOT_MEASURED_ERRORS]
    found = list(asked)
    if unknown := [name for name in found if name not in modelled]:
        raise InputError(f"errors are of {unknown}; the recipe has the coordinates {list(modelled)}.")
    return found


def _check_places(
    planned: Sequence[Planned],
    groups: Mapping[str, Sequence[str]],
    behind: Mapping[str, Sequence[str]],
    background: str | Model,
    parts: Mapping[str, Model],
    nets: Mapping[str, nn.Module],
) -> None:
    """Refuse a component of a reserved name, and parts and networks for places that the model has not."""
    names = [one.name for one in planned]
    if len(set(names)) < len(names) or BACKGROUND in names:
        raise InputError(f"components must not be called {STREAM} or {BACKGROUND}; got {names[1:]}.")
    places = [f"{name}.{group}" for name in names for group in groups]
    if isinstance(background, str):
        places += [f"{BACKGROUND}.{group}" for group in groups_behind(background, behind)]
    for kind, found, known_places in (("parts", parts, places), ("nets", nets, [*places, _WEIGHTS])):
        if unknown := [name for name in found if name not in known_places]:
            raise InputError(f"{kind} has {unknown}; this recipe has the parts {known_places}.")
