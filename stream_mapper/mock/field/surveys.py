"""What the surveys of a simulated field see, and the colours of its stars there."""

from __future__ import annotations

from typing import NamedTuple

from stream_mapper.errors import InputError
from stream_mapper.mock.survey.background import Colour
from stream_mapper.mock.survey.measurement import ErrorModel, Passbands


class FieldSurvey(NamedTuple):
    """A survey.

    Arguments:
        passbands: Its bands, the limits in the first of them, and the errors.
        disc: Laws of the first colour of disc stars, given the first magnitude.
        halo: Law of the first colour of halo stars.
        third: Law of the first magnitude less the third one, given the first colour (its mean is at zero colour).
    """

    passbands: Passbands
    disc: tuple[Colour, ...]
    halo: Colour
    third: Colour | None = None


FIELD_SURVEYS = {
    "gaia_dr3": FieldSurvey(
        Passbands(
            ("G", "RP", "BP"),
            (14.0, 20.5),
            (
                ErrorModel(0.003, 0.005, 0.3, faintest=22.0),
                ErrorModel(0.004, 0.06, 0.38, faintest=22.0),
                ErrorModel(0.004, 0.08, 0.38, faintest=22.5),
            ),
        ),
        (Colour(0.45, 1.0, 0.0, 0.1), Colour(0.55, 0.5, 0.05, 0.1)),
        Colour(1.0, 0.4, 0.015, 0.06),
        Colour(1.0, 0.11, -1.22, 0.03),
    ),
    "panstarrs1": FieldSurvey(
        Passbands(
            ("g", "r"), (14.5, 21.8), (ErrorModel(0.008, 0.025, 0.35, 22.5), ErrorModel(0.008, 0.03, 0.35, 22.5))
        ),
        (Colour(0.45, 1.35, 0.0, 0.12), Colour(0.55, 0.45, 0.09, 0.16)),
        Colour(1.0, 0.3, 0.025, 0.08),
    ),
    "des": FieldSurvey(
        Passbands(
            ("g", "i"), (16.0, 23.0), (ErrorModel(0.005, 0.006, 0.33, 24.0), ErrorModel(0.005, 0.01, 0.33, 24.0))
        ),
        (Colour(0.45, 2.05, 0.0, 0.2), Colour(0.55, 0.62, 0.12, 0.2)),
        Colour(1.0, 0.42, 0.035, 0.1),
    ),
}
"""Surveys by name, with bright and faint limits and errors like theirs."""


def field_survey(name: str) -> FieldSurvey:
    """A survey by its name.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in FIELD_SURVEYS:
        raise InputError(f"survey {name!r} cannot be simulated; there are {', '.join(FIELD_SURVEYS)}.")
    return FIELD_SURVEYS[name]
