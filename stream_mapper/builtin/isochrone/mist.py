"""Isochrones of MIST through the package minimint, which interpolates between the tracks of the whole grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_mapper.builtin.isochrone.points import MassRange, Stop, phase_of_stages
from stream_mapper.errors import InputError, check_positive
from stream_mapper.paths import FilePath

Array = NDArray[np.float64]

_LAST_PHASE = {"rgb_tip": 2.5, "early_agb": 4.5, None: 5.5}  # MIST: 0 dwarfs, 2 giants, 3 helium, 4 and 5 AGB, 6 after
_BORN, _GIANT = -0.5, 1.0  # between the phases before, on and after the main sequence
_LOWEST = 0.1  # solar masses, the lightest of MIST
_MAIN, _EVOLVED = 400, 1200  # masses that are asked for, evenly spaced, and ever closer to the last star
_CLOSEST = 1e-7  # of the last star's mass
_ROUNDS = 4  # of the search for it


def mist_curve(
    interpolator: Any, age: float, feh: float, columns: Sequence[str], mass_range: MassRange | None, stop: Stop
) -> tuple[Array, Array, Array]:
    """Masses (M,), magnitudes (M, F) and phases (M,) along an isochrone.

    Arguments:
        interpolator: A ``minimint.Interpolator`` of the columns.
        age: Age in Gyr.
        feh: [Fe/H] in dex.
        columns: Names of the magnitudes, as of MIST.
        mass_range: Initial masses to keep.
        stop: Where the curve ends.

    Raises:
        InputError: If the grid has no such isochrone.
    """
    check_positive("the age of an isochrone", age)
    if stop not in _LAST_PHASE:
        raise InputError(f"stop must be 'rgb_tip', 'early_agb' or None; found {stop!r}.")
    logage = np.log10(age) + 9
    mass = _masses(_last(interpolator, logage, feh, stop), mass_range)
    found = interpolator(mass, logage, feh)
    magnitudes = np.stack([np.asarray(found[name], dtype=np.float64) for name in columns], -1)
    stage = np.asarray(found["phase"], dtype=np.float64)
    kept = np.isfinite(magnitudes).all(-1) & (stage > _BORN) & (stage < _LAST_PHASE[stop])
    if kept.sum() < 2:
        raise InputError(
            f"MIST has fewer than two points of age={age:g} Gyr and feh={feh:g} with mass in {mass_range}; "
            "its grid is of 0.1 to 14 Gyr and -4 to 0.5 dex."
        )
    phases = phase_of_stages(np.where(stage[kept] > _GIANT, np.round(stage[kept]), 0), mass[kept])
    return mass[kept], magnitudes[kept], phases


def _last(interpolator: Any, logage: float, feh: float, stop: Stop) -> float:
    """Mass of the most massive star that is at no later stage than ``stop``: searched ever closer."""
    low, high = _LOWEST, float(interpolator.getMaxMass(logage, feh))
    for _ in range(_ROUNDS):
        mass = np.linspace(low, high, _MAIN)
        stage = np.asarray(interpolator(mass, logage, feh)["phase"], dtype=np.float64)
        early = np.flatnonzero(stage < _LAST_PHASE[stop])
        if not len(early) or early[-1] == len(mass) - 1:
            break
        low, high = mass[early[-1]], mass[early[-1] + 1]
    return float(high if not len(early) or early[-1] == len(mass) - 1 else low)


def _masses(last: float, mass_range: MassRange | None) -> Array:
    """Masses up to the last star's, close where stars evolve fast: they are all but of one mass."""
    low, high = mass_range or (_LOWEST, np.inf)
    even = np.linspace(_LOWEST, last, _MAIN)
    masses = np.unique(np.concatenate([even, last * (1 - np.geomspace(_CLOSEST, 0.3, _EVOLVED))]))
    kept: Array = masses[(masses >= max(low, _LOWEST)) & (masses <= high)]
    return kept


def interpolator_of(columns: Sequence[str], folder: FilePath | None) -> Any:
    """The interpolator of minimint for some columns.

    Raises:
        InputError: If minimint or its grid is not at hand.
    """
    try:
        from minimint import Interpolator as Made  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise InputError("Isochrone.mist needs minimint: pip install 'stream_mapper[isochrones]'.") from error
    try:
        return Made(list(columns), data_prefix=folder)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        advice = "python -c 'import minimint; minimint.download_and_prepare()' fetches it once"
        raise InputError(f"minimint has no grid of {list(columns)} in {folder or 'its folder'}; {advice}.") from error
