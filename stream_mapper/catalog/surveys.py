"""Surveys: what their archives and VizieR call magnitudes, radial velocities and metallicities, and their errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from stream_mapper.errors import InputError

ERROR = "_err"

Surveys = str | Sequence[str] | None
"""A survey, several, or any."""


class Spelling(NamedTuple):
    """How one archive spells the magnitude of a band and its error; ``{low}`` and ``{up}`` are the band's name."""

    value: str
    errors: tuple[str, ...] = ()


class Survey(NamedTuple):
    """A survey.

    Arguments:
        bands: Internal names of its bands.
        spellings: Names of the columns of each.
        coefficients: Extinction over E(B-V) of each band, E(B-V) on the scale of Schlegel et al. (1998).
        flux: Name of a column of fluxes, which are not read.
        spectra: Names of the columns of what spectra tell, ``radial_velocity`` and ``feh``.
    """

    bands: tuple[str, ...]
    spellings: tuple[Spelling, ...]
    coefficients: dict[str, float]
    flux: str = ""
    spectra: Mapping[str, tuple[Spelling, ...]] = MappingProxyType({})


GAIA_BANDS = ("G", "BP", "RP")

_GAIA = Survey(
    GAIA_BANDS,
    (
        Spelling("phot_{low}_mean_mag", ("phot_{low}_mean_mag_error", "phot_{low}_mean_flux_over_error")),
        Spelling("{band}mag", ("e_{band}mag",)),
    ),
    {},  # they depend on the colour, see extinction.gaia_coefficients
    spectra={
        "radial_velocity": (Spelling("radial_velocity", ("radial_velocity_error",)), Spelling("RV", ("e_RV",))),
    },
)


def _spectra(velocity: Sequence[Spelling], feh: Sequence[Spelling]) -> Survey:
    """A survey of spectra alone."""
    return Survey((), (), {}, spectra={"radial_velocity": tuple(velocity), "feh": tuple(feh)})


_DECAM = (
    Spelling("WAVG_MAG_PSF_{up}", ("WAVG_MAGERR_PSF_{up}",)),
    Spelling("MAG_PSF_{up}", ("MAGERR_PSF_{up}",)),
    Spelling("wavg_mag_psf_{low}", ("wavg_magerr_psf_{low}",)),
    Spelling("mag_psf_{low}", ("magerr_psf_{low}",)),
)

_GAIA_FREE = ("{band}0", "{band}_0", "G{band}0", "{band}mag0", "{band}mag_dered", "phot_{low}_mean_mag_dered")
_FREE = (
    *("{low}0", "{low}_0", "{low}mag0", "{low}mag_dered", "{low}_dered", "{low}_mean_psf_mag_dered"),
    *("{low}MeanPSFMag_dered", "{low}_psfMag_dered", "mag_psf_{low}_dered", "wavg_mag_psf_{low}_dered"),
    *("MAG_PSF_{up}_DERED", "WAVG_MAG_PSF_{up}_DERED", "PSF_MAG_SFD_{up}"),
)
DEREDDENED = "_dereddened"
"""The end of the name of a survey without extinction: ``gaia_dr3_dereddened`` has G0, GBP0 and GRP0."""


def _without_extinction(survey: Survey) -> Survey:
    """The same bands in columns that are free of extinction; their errors are those of the magnitudes as observed."""
    errors = tuple(error for spelling in survey.spellings for error in spelling.errors)
    names = _GAIA_FREE if survey.bands == GAIA_BANDS else _FREE
    spellings = tuple(Spelling(name, (f"{name}_err", f"{name}_error", f"e_{name}", *errors)) for name in names)
    return Survey(survey.bands, spellings, {})


# Extinction: Schlafly & Finkbeiner 2011 (ApJ 737, 103), table 6, R_V = 3.1.
_OBSERVED = {
    "gaia_dr2": _GAIA,
    "gaia_dr3": _GAIA,
    "gaia_dr4": _GAIA,
    "panstarrs1": Survey(
        ("g", "r", "i", "z", "y"),
        (
            Spelling("{low}_mean_psf_mag", ("{low}_mean_psf_mag_error",)),
            Spelling("{low}MeanPSFMag", ("{low}MeanPSFMagErr",)),
            Spelling("{low}mag", ("e_{low}mag",)),
        ),
        {"g": 3.172, "r": 2.271, "i": 1.682, "z": 1.322, "y": 1.087},
    ),
    "twomass": Survey(
        ("J", "H", "Ks"),
        (Spelling("{low}_m", ("{low}_msigcom",)), Spelling("{band}mag", ("e_{band}mag",))),
        {"J": 0.723, "H": 0.460, "Ks": 0.310},
    ),
    "des": Survey(("g", "r", "i", "z", "Y"), _DECAM, {"g": 3.237, "r": 2.176, "i": 1.595, "z": 1.217, "Y": 1.058}),
    "delve": Survey(("g", "r", "i", "z"), _DECAM, {"g": 3.237, "r": 2.176, "i": 1.595, "z": 1.217}),
    "rubin": Survey(
        ("u", "g", "r", "i", "z", "y"),
        (Spelling("{low}_psfMag", ("{low}_psfMagErr",)), Spelling("{low}_cModelMag", ("{low}_cModelMagErr",))),
        {"u": 4.145, "g": 3.237, "r": 2.273, "i": 1.684, "z": 1.323, "y": 1.088},
        flux="{low}_psfFlux",
    ),
    "desi_mws": _spectra(
        [Spelling("VRAD", ("VRAD_ERR",)), Spelling("vrad", ("vrad_err",))], [Spelling("FEH", ("FEH_ERR",))]
    ),
    "s5": _spectra([Spelling("vel_calib", ("vel_calib_std",))], [Spelling("feh50", ("feh_calib_std",))]),
    "lamost": _spectra([Spelling("rv", ("rv_err",))], [Spelling("feh", ("feh_err",))]),
    "apogee": _spectra([Spelling("VHELIO_AVG", ("VERR",))], [Spelling("FE_H", ("FE_H_ERR",))]),
    "segue": _spectra(
        [Spelling("ELODIERVFINAL", ("ELODIERVFINALERR",)), Spelling("elodieRvFinal", ("elodieRvFinalErr",))],
        [Spelling("FEHADOP", ("FEHADOPUNC",)), Spelling("FeHAdop", ("FeHAdopUnc",))],
    ),
}
SURVEYS = _OBSERVED | {
    f"{name}{DEREDDENED}": _without_extinction(survey) for name, survey in _OBSERVED.items() if survey.bands
}
"""Surveys known by name. The weighted means of DES and DELVE (WAVG) and their PSF magnitudes of the coadd differ."""


OF_SPECTRA = ("radial_velocity", "feh")
"""What spectra tell of a star, by internal name."""


def is_dereddened(survey: str | None) -> bool:
    """Whether the magnitudes of a survey are without extinction, by its name."""
    return survey is not None and survey.endswith(DEREDDENED)


def named(surveys: Surveys) -> dict[str, Survey]:
    """The surveys of these names, or all.

    Raises:
        InputError: If one is unknown.
    """
    names = [surveys] if isinstance(surveys, str) else list(SURVEYS if surveys is None else surveys)
    if unknown := [name for name in names if name not in SURVEYS]:
        raise InputError(f"survey {unknown} is unknown; known are {list(SURVEYS)}, other columns are named in columns.")
    return {name: SURVEYS[name] for name in names}


def find_band(name: str, present: Iterable[str], surveys: Surveys = None) -> str | None:
    """Column of a table that holds a magnitude, or what spectra tell, or the error of it, under a survey's name.

    >>> find_band("g_err", ["g_mean_psf_mag", "g_mean_psf_mag_error"])
    'g_mean_psf_mag_error'

    Arguments:
        name: A band, ``radial_velocity`` or ``feh``, or one of these with ``_err``.
        present: Columns of the table.
        surveys: Where to look.

    Raises:
        InputError: If more than one column could be meant, or there are fluxes alone.
    """
    band, present = name.removesuffix(ERROR), set(present)
    pairs = _spelt(band, named(surveys))
    candidates = {value: errors for value, errors in pairs.items() if value in present}
    if len(candidates) > 1:
        raise InputError(f"{band!r} may be any of the columns {list(candidates)}; name one of them in the columns.")
    if not candidates:
        _refuse_fluxes(band, present, named(surveys))
        return None
    (value, errors), *_ = candidates.items()
    return value if name == band else next((error for error in errors if error in present), None)


def survey_of(band: str, column: str, surveys: Surveys = None) -> str | None:
    """The survey in which a column of this name is the magnitude of a band; a bare name is of the first that has it.

    Raises:
        InputError: If surveys are named and more than one has the band.
    """
    known = named(surveys)
    spelt = [name for name, survey in known.items() if column in _spelt(band, {name: survey})]
    having = [name for name, survey in known.items() if band in survey.bands and surveys is not None]
    if not spelt and len(having) > 1 and not all(name.startswith("gaia_") for name in having):
        raise InputError(f"the magnitude {band!r} of column {column!r} may be of any of {having}; name one survey.")
    return next(iter([*spelt, *having]), None)


def _spelt(band: str, surveys: dict[str, Survey]) -> dict[str, tuple[str, ...]]:
    """Columns that may hold a band, and those of the errors of each."""
    out: dict[str, tuple[str, ...]] = {}
    for survey in surveys.values():
        for value, errors in survey.spellings if band in survey.bands else survey.spectra.get(band, ()):
            column = _fill(value, band)
            out[column] = (*out.get(column, ()), *(_fill(error, band) for error in errors))
    return out


def _fill(spelling: str, band: str) -> str:
    return spelling.format(band=band, low=band.lower(), up=band.upper())


def _refuse_fluxes(band: str, present: set[str], surveys: dict[str, Survey]) -> None:
    """Raise InputError if a survey's fluxes are there, and nothing else."""
    fluxes = {_fill(survey.flux, band) for survey in surveys.values() if band in survey.bands} & present
    if fluxes:
        advice = (
            "fluxes are not read; add a column of magnitudes, 31.4 - 2.5 log10(flux / nJy), and one of their errors"
        )
        raise InputError(f"{band!r}: the table has {sorted(fluxes)} and no magnitude; {advice}.")
