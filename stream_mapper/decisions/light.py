"""What a survey sees of the light of a stream, and what a table has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stream_mapper.catalog import KnownStream, TableFacts
from stream_mapper.decisions.choice import Choice, Range, digits
from stream_mapper.errors import InputError


class Limits(NamedTuple):
    """Bands of an isochrone for a survey, and its limits in the first of them [mag]."""

    bands: tuple[str, ...]
    bright: float
    faint: float


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

_ONE = "flow", "Nearly every star has all that is measured, and the populations differ in all of it together."
_SEVERAL = "flows", "Many stars are too faint for a motion, and a flow over all would know but the bright ones."
_TURNED = ("pmra", "pmdec")  # are in the model as pm_phi1 and pm_phi2
_MANY_LACK = 0.1  # share of the stars without a motion
_SCALE = 0.2  # mag: errors of a distance that reach the nearest and the farthest


def survey_of(asked: str | None, facts: TableFacts | None) -> str:
    """The survey of the photometry: the one that was asked for, that of the table, or Gaia DR3.

    Raises:
        InputError: If it is unknown.
    """
    name = asked or (facts.survey if facts is not None else None) or "gaia_dr3"
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


def usual_bands(survey: str, there: Sequence[str]) -> tuple[str, ...]:
    """Bands of a survey that separate a stream best, if all of them are there, or else the first of those that are."""
    usual = SURVEY_LIMITS[survey].bands
    return usual if set(usual) <= set(there) else tuple(there[:3])


def limits(survey: str, facts: TableFacts | None) -> Choice[Range]:
    """Bright and faint limit in the first band."""
    names, bright, faint = SURVEY_LIMITS[survey]
    if facts is None or facts.faint is None or names[0] not in facts.ranges:
        return Choice((bright, faint), f"{survey} is complete in {names[0]} over most of the sky there.")
    least = max(bright, facts.ranges[names[0]][0])
    return Choice(
        (digits(least), digits(min(faint, facts.faint))), f"The table in {names[0]}, to where {survey} is complete."
    )


def absolute(stream: KnownStream, limits: Range) -> Choice[Range | None]:
    """Absolute magnitudes that the survey sees."""
    if "distmod" not in stream.track.coordinates:
        return Choice(None, "No track knows the distance; give one to use an isochrone.")
    moduli, halves = stream.track.values("distmod"), stream.track.half_width("distmod")
    near = min(mu - half for mu, half in zip(moduli, halves, strict=True)) - _SCALE
    far = max(mu + half for mu, half in zip(moduli, halves, strict=True)) + _SCALE
    reason = f"The limits at moduli {near:.4g} to {far:.4g}, the track's with its half-widths and errors."
    return Choice((digits(limits[0] - far), digits(limits[1] - near)), reason)


def errors(survey: str, facts: TableFacts | None) -> Choice[tuple[str, ...]]:
    """Coordinates and bands with errors."""
    if facts is not None:
        there = tuple(name for name in facts.errors if name not in _TURNED)
        return Choice(there, "The columns of errors that the table has.")
    return Choice(("pm_phi1", "pm_phi2", *SURVEY_LIMITS[survey].bands), "The query fetches them.")


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
    shares = {name: share for name, share in facts.missing.items() if share > 0 and name not in _TURNED}
    said = ", ".join(f"{name} {share:.1%}" for name, share in shares.items()) or "none"
    return Choice(tuple(shares), f"Shares of the stars without: {said}.")


def correlation(facts: TableFacts | None) -> Choice[bool]:
    """Whether the correlations of the errors of proper motions are read."""
    if facts is None:
        return Choice(True, "Gaia has them, and faint stars have errors as large as what is looked for.")
    there = facts.correlated and {"pm_phi1", "pm_phi2"} <= set(facts.errors)
    return Choice(there, "The table has them." if there else "The table does not have them.")
