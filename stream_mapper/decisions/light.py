"""What a survey sees of the light of a stream, and what a table has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_mapper.catalog import KnownStream, TableFacts
from stream_mapper.catalog.facts import deepest
from stream_mapper.catalog.surveys import DEREDDENED
from stream_mapper.decisions.choice import Choice, Range, digits
from stream_mapper.decisions.edges import SKY, STREAM
from stream_mapper.errors import InputError


class Limits(NamedTuple):
    """Bands of an isochrone for a survey, and its limits in the first of them [mag]."""

    bands: tuple[str, ...]
    bright: float
    faint: float


PHOTOMETRY = "photometry"  # what `recipes.Stream` calls the magnitudes among its coordinates

SURVEY_LIMITS = {
    "gaia_dr2": Limits(("G", "BP", "RP"), 12.0, 20.3),
    "gaia_dr3": Limits(("G", "BP", "RP"), 12.0, 20.5),
    "gaia_dr4": Limits(("G", "BP", "RP"), 12.0, 20.5),
    "panstarrs1": Limits(("g", "r"), 14.5, 21.5),
    "twomass": Limits(("J", "Ks"), 8.0, 15.8),
    "des": Limits(("g", "r"), 16.0, 23.0),
    "delve": Limits(("g", "r"), 16.0, 22.5),
    "rubin": Limits(("g", "r"), 17.0, 24.0),
}
"""Surveys by name; the faint limit is where most of the sky is still complete."""

_CELL = 0.2  # mag
_CELLS = 40  # of magnitudes, from the faintest star on, whose counts show how deep a table is
_BEYOND = 0.5  # mag past the survey's limit at most: further on counts rise by galaxies

_ONE = "flow", "Nearly every star has all that is measured, and the populations differ in all of it together."
_SEVERAL = "flows", "Many stars are too faint for a motion, and a flow over all would know but the bright ones."
_OF_PARALLAX = 1.3  # error of a proper motion [mas/yr] over that of a parallax [mas]
_MANY_LACK = 0.1  # share of the stars without a motion
_SCALE = 0.2  # mag: errors of a distance that reach the nearest and the farthest


def survey_of(asked: str | None, facts: TableFacts | None) -> str:
    """The survey of the photometry: the one that was asked for, that of the table, or Gaia DR3.

    Raises:
        InputError: If it is unknown.
    """
    name = (asked or (facts.survey if facts is not None else None) or "gaia_dr3").removesuffix(DEREDDENED)
    if name not in SURVEY_LIMITS:
        raise InputError(f"survey {name!r} is unknown; there are {', '.join(SURVEY_LIMITS)}.")
    return name


def bands(survey: str, facts: TableFacts | None) -> Choice[tuple[str, ...]]:
    """Bands of the isochrone."""
    usual = SURVEY_LIMITS[survey].bands
    if facts is None:
        return Choice(usual, f"Those of {survey} that separate a stream best.")
    chosen = usual_bands(survey, facts.bands)
    if chosen != usual:
        return Choice(chosen, f"What the table has of {survey}, in place of {', '.join(usual)}.")
    return Choice(chosen, f"Those of {survey} that separate a stream best, and the table has them.")


def dereddened(facts: TableFacts | None) -> Choice[bool]:
    """Whether the extinction of the magnitudes is taken out already."""
    if facts is not None and facts.dereddened:
        columns = ", ".join(facts.dereddened)
        return Choice(True, f"The table has {columns}, by their names without extinction: none is taken out again.")
    return Choice(False, "Magnitudes are taken as observed: data.corrections.extinction takes the dust out.")


def usual_bands(survey: str, there: Sequence[str]) -> tuple[str, ...]:
    """Bands of a survey that separate a stream best, if all of them are there, or else the first of those that are."""
    usual = SURVEY_LIMITS[survey].bands
    return usual if set(usual) <= set(there) else tuple(there[:3])


def limits(survey: str, facts: TableFacts | None, first: str | None) -> Choice[Range]:
    """Bright and faint limit in the first band.

    Arguments:
        survey: The survey.
        facts: The table, if there is one.
        first: First band of the isochrone, if that is not the survey's.
    """
    names, bright, faint = SURVEY_LIMITS[survey]
    band = first or names[0]
    if facts is None or band not in facts.ranges:
        return Choice((bright, faint), f"{survey} is complete in {names[0]} over most of the sky there.")
    known = facts.values[band][np.isfinite(facts.values[band])]
    deep = math.ceil(100 * deepest(known)) / 100
    if band != names[0]:
        return Choice(
            (digits(facts.ranges[band][0]), digits(deep)), f"The table in {band}, of which {survey} says nothing."
        )
    least = max(bright, facts.ranges[band][0])
    most = min(complete(known, deep), faint + _BEYOND)
    if most > faint:
        return Choice((digits(least), digits(most)), f"The table in {band}, whose counts rise so far.")
    return Choice((digits(least), digits(min(faint, deep))), f"The table in {band}, to where {survey} is complete.")


def complete(magnitudes: NDArray[np.float64], deep: float) -> float:
    """The magnitude to which a table is complete by its counts, which rise to there; ``deep`` if they do all along."""
    edges = deep - _CELL * np.arange(_CELLS, -1, -1)
    counts, _ = np.histogram(magnitudes, edges)
    most = int(counts.argmax())
    return deep if most == len(counts) - 1 else float(edges[most])


def absolute(stream: KnownStream, limits: Range) -> Choice[Range | None]:
    """Absolute magnitudes that the survey sees."""
    if "distmod" not in stream.track.coordinates:
        return Choice(None, "No track knows the distance; give one to use an isochrone.")
    moduli, halves = stream.track.values("distmod"), stream.track.half_width("distmod")
    near = min(mu - half for mu, half in zip(moduli, halves, strict=True)) - _SCALE
    far = max(mu + half for mu, half in zip(moduli, halves, strict=True)) + _SCALE
    reason = f"The limits at moduli {near:.4g} to {far:.4g}, the track's with its half-widths and errors."
    return Choice((digits(limits[0] - far), digits(limits[1] - near)), reason)


def errors(survey: str, facts: TableFacts | None, coordinates: Sequence[str]) -> Choice[tuple[str, ...]]:
    """Coordinates and bands with errors; proper motions in the axes that the model is over."""
    if facts is not None:
        there = tuple(name for name in facts.errors if name in coordinates or name not in (*SKY, *STREAM))
        if not approximate(facts).value:
            return Choice(there, "The columns of errors that the table has.")
        motions = [name for name in coordinates if name in (*SKY, *STREAM)]
        return Choice((*motions, *there), "The columns of errors that the table has, and those that are approximate.")
    return Choice(("pm_phi1", "pm_phi2", *SURVEY_LIMITS[survey].bands), "The query fetches them.")


def approximate(facts: TableFacts | None) -> Choice[dict[str, dict[str, Any]]]:
    """Errors of proper motions that the table lacks, as a factor of those of its parallaxes."""
    if facts is None or not set(SKY) <= set(facts.values) or {f"{name}_err" for name in SKY} & set(facts.values):
        return Choice({}, "None is needed.")
    if "parallax_err" not in facts.values:
        return Choice({}, "The table has no error of a proper motion or a parallax: widths of the stream have them in.")
    rule = {"of": "parallax_err", "factor": _OF_PARALLAX}
    reason = "Of Gaia's proper motions they are 1 (DR3) to 1.7 (DR2) times those of the parallaxes: an approximation."
    return Choice({name: dict(rule) for name in SKY}, reason)


def background(survey: str, facts: TableFacts | None) -> Choice[str]:
    """Whether the background is one flow over all, or one a group of coordinates."""
    if facts is None:
        return Choice(*(_ONE if survey.startswith("gaia") else _SEVERAL))
    lacking = max((facts.missing.get(name, 0.0) for name in ("pm_phi1", "pm_phi2")), default=0.0)
    return Choice(*(_ONE if lacking < _MANY_LACK else _SEVERAL))


def missing(facts: TableFacts | None) -> Choice[tuple[str, ...]]:
    """Coordinates and bands that some stars lack."""
    if facts is None:
        return Choice((), "Not known without a table; what a star lacks is left out of its density.")
    shares = {name: share for name, share in facts.missing.items() if share > 0 and name not in SKY}
    said = ", ".join(f"{name} {share:.1%}" for name, share in shares.items()) or "none"
    return Choice(tuple(shares), f"Shares of the stars without: {said}.")


def correlation(facts: TableFacts | None) -> Choice[bool]:
    """Whether the correlations of the errors of proper motions are read."""
    if facts is None:
        return Choice(True, "Gaia has them, and faint stars have errors as large as what is looked for.")
    there = facts.correlated and {"pm_phi1", "pm_phi2"} <= set(facts.errors)
    return Choice(there, "The table has them." if there else "The table does not have them.")
