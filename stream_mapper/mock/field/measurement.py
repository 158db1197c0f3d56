"""What Gaia and a photometric survey measure of the stars of a simulated field."""

from __future__ import annotations

import torch
from torch import Tensor

from stream_mapper.mock.base import Stars, normal, uniform
from stream_mapper.mock.sky import on_the_sky, turn
from stream_mapper.mock.survey.measurement import (
    PROPER_MOTION_ERROR,
    PROPER_MOTIONS,
    Passbands,
    magnitude_of_errors,
    without,
)

GAIA_LIMIT = 20.7  # mag, in the first band of any survey: fainter stars have no astrometry
_SPREAD = (0.8, 1.2)  # errors over those of the magnitude: the scanning law
_PARALLAX = 0.9  # error of a parallax [mas] over that of a proper motion [mas/yr]
_CORRELATION = 0.4  # the largest of the errors of pmra and pmdec


def measure_field(
    stars: Stars, passbands: Passbands, missing: tuple[float, float], rotation: Tensor, generator: torch.Generator
) -> Stars:
    """Stars as they are measured, in the frame of the stream; NaN is what is not.

    Errors of the astrometry follow the observed magnitude, up to a factor of their own between 0.8 and 1.2, and those
    of the proper motions have a correlation between -0.4 and 0.4 in ICRS. Beyond `GAIA_LIMIT` there is no astrometry.
    For a star without photometry all this follows another magnitude, drawn from one law for all, so that it tells
    nothing.

    Arguments:
        stars: phi1, phi2 [deg], proper motions [mas/yr] and parallax [mas] without noise, and observed magnitudes,
            (N,) each.
        passbands: The bands.
        missing: Probabilities that a star lacks its magnitudes, and its astrometry.
        rotation: From ICRS to the frame, (3, 3).
        generator: Source of the random numbers.

    Returns:
        The stars with noise; errors of the magnitudes and the parallax, ``pmra_err``, ``pmdec_err`` and
        ``pmra_pmdec_corr``, and the same in the frame, ``pm_phi1_err`` and so on.
    """
    size = len(stars["phi1"])
    unseen, unmoved = (uniform(size, 0, 1, generator) < share for share in missing)
    magnitude = magnitude_of_errors(stars, unseen, passbands, generator)
    astrometry = _astrometry(stars, PROPER_MOTION_ERROR(magnitude), rotation, generator)
    bands = {name: stars[name] for name in passbands.bands}
    models = zip(passbands.bands, passbands.errors, strict=True)
    bands |= {f"{name}_err": error(stars[name]) for name, error in models}
    place = {name: stars[name] for name in ("phi1", "phi2")}
    return place | without(unmoved | (magnitude > GAIA_LIMIT), astrometry) | without(unseen, bands)


def to_icrs(stars: Stars, rotation: Tensor) -> Stars:
    """Measured stars as a catalogue has them: without what is said in the frame of the stream alone."""
    inside = ("phi1", "phi2", *PROPER_MOTIONS, *(f"{name}_err" for name in PROPER_MOTIONS), "pm_phi1_pm_phi2_corr")
    return on_the_sky(stars, rotation) | {name: column for name, column in stars.items() if name not in inside}


def _astrometry(stars: Stars, error: Tensor, rotation: Tensor, generator: torch.Generator) -> Stars:
    """Proper motions and parallax with noise and their errors, (N,) each."""
    size = len(error)
    first, second, third = (error * uniform(size, *_SPREAD, generator) for _ in range(3))
    corr = uniform(size, -_CORRELATION, _CORRELATION, generator)
    along, across = normal(size, generator), normal(size, generator)
    noise = torch.stack([first * along, second * (corr * along + (1 - corr**2).sqrt() * across)], -1)
    rotated = turn(stars["phi1"], stars["phi2"], rotation)
    shift = (rotated @ noise[..., None])[..., 0].unbind(-1)
    out = {name: stars[name] + off for name, off in zip(PROPER_MOTIONS, shift, strict=True)}
    out |= {
        "pmra_err": first,
        "pmdec_err": second,
        "pmra_pmdec_corr": corr,
        **_rotated_errors(rotated, first, second, corr),
    }
    parallax_error = _PARALLAX * third
    return out | {
        "parallax": stars["parallax"] + parallax_error * normal(size, generator),
        "parallax_err": parallax_error,
    }


def _rotated_errors(rotated: Tensor, first: Tensor, second: Tensor, corr: Tensor) -> Stars:
    """Errors of the proper motions in the frame, and their correlation, (N,) each."""
    covariance = torch.stack([first**2, corr * first * second, corr * first * second, second**2], -1).reshape(-1, 2, 2)
    turned = rotated @ covariance @ rotated.mT
    along, across = turned[:, 0, 0].sqrt(), turned[:, 1, 1].sqrt()
    correlation = turned[:, 0, 1] / (along * across)
    return {"pm_phi1_err": along, "pm_phi2_err": across, "pm_phi1_pm_phi2_corr": correlation}
