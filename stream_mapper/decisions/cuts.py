"""Cuts before a fit: parallaxes of the foreground and colours that no star of the stream has; magnitudes of the survey.

The same numbers stand in the query and in the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stream_mapper.builtin import Isochrone
from stream_mapper.catalog import KnownStream, TableFacts
from stream_mapper.decisions.choice import Choice, Range, digits

SIGMAS = 3.0
"""Standard errors by which the parallax of a star may be too large."""

COLUMNS = {
    "gaia_dr2": "gaia.phot_{low}_mean_mag",
    "gaia_dr3": "gaia.phot_{low}_mean_mag",
    "gaia_dr4": "gaia.phot_{low}_mean_mag",
    "panstarrs1": "ps1.{band}_mean_psf_mag",
    "twomass": "tmass.{low}_m",
    "des": "des.wavg_mag_psf_{low}",
    "delve": "delve.mag_psf_{low}",
}
"""What a query calls the magnitudes of a survey that is joined to Gaia's stars."""

CROSSMATCHED, RELEASES = ("panstarrs1", "twomass", "des", "delve"), ("gaia_dr2", "gaia_dr4")
"""Those that a query joins to Gaia's stars, and the releases of Gaia that it has to be told of."""

SPECTRA = {"desi_mws": "desi"}
"""Surveys of spectra that a query joins, and what it calls them."""

_AT_THE_DATA_LAB = ("des", "delve")

_MARGIN = 0.5  # mag about the colours of the isochrone: errors of faint stars, reddening, and room for the background
_SCALE = 0.2  # mag: the error of a distance that reaches the nearest


def parallax(stream: KnownStream, facts: TableFacts | None) -> Choice[float | None]:
    """The largest parallax of a star of the stream [mas], without its error."""
    if "distmod" not in stream.track.coordinates:
        return Choice(None, "No track knows the distance.")
    if facts is not None and not {"parallax", "parallax_err"} <= set(facts.values):
        return Choice(None, "The table has no parallaxes with errors.")
    halves = zip(stream.track.values("distmod"), stream.track.half_width("distmod"), strict=True)
    nearest = min(mu - half for mu, half in halves) - _SCALE
    limit = digits(10 ** (2 - nearest / 5))
    return Choice(limit, f"The nearest that the stream may be; a star may have {SIGMAS:g} errors more.")


def colour(
    isochrone: Isochrone | None, absolute: Range | None, facts: TableFacts | None
) -> Choice[tuple[str, Range] | None]:
    """Range of a colour, less and more than any star of the isochrone that the survey sees.

    Arguments:
        isochrone: The isochrone, if there is one; the colour is that of its last two bands, BP - RP of G, BP and RP.
        absolute: Brightest and faintest absolute magnitude in its first band that the survey sees.
        facts: The table, if there is one.
    """
    if isochrone is None or len(isochrone.bands) < 2 or absolute is None:
        return Choice(None, "There is no isochrone at a known distance.")
    name = " - ".join(isochrone.bands[-2:])
    if facts is not None and not set(isochrone.bands[-2:]) <= set(facts.bands):
        return Choice(None, f"The table has not both magnitudes of {name}.")
    first = isochrone.magnitudes[:, 0]
    colours = (isochrone.magnitudes[:, -2] - isochrone.magnitudes[:, -1])[
        (first >= absolute[0]) & (first <= absolute[1])
    ]
    if not len(colours):
        return Choice(None, "The survey sees no star of the isochrone.")
    low, high = digits(float(colours.min()) - _MARGIN), digits(float(colours.max()) + _MARGIN)
    return Choice((name, (low, high)), f"Those of the isochrone that the survey sees, and {_MARGIN:g} mag more.")


def selection(parallax: float | None, colour: tuple[str, Range] | None) -> dict[str, Any] | None:
    """The cuts as `data.selection` takes them."""
    cuts: list[dict[str, Any]] = []
    if parallax is not None:
        cuts.append({"bounds": {"parallax": [None, parallax]}, "errors": SIGMAS})
    if colour is not None:
        cuts.append({"bounds": {colour[0]: list(colour[1])}})
    spelt = [{"class_path": "stream_mapper.selection.Cut", "init_args": cut} for cut in cuts]
    if len(spelt) < 2:
        return spelt[0] if spelt else None
    return {"class_path": "stream_mapper.selection.All", "init_args": {"selections": spelt}}


def adql(
    survey: str,
    parallax: float | None,
    colour: tuple[str, Range] | None,
    magnitudes: Mapping[str, Range],
    spectra: str | None = None,
) -> str:
    """The cuts as a condition of a query; what a star lacks does not cut it.

    Arguments:
        survey: Survey of the photometry; no archive joins magnitudes of others than ``COLUMNS`` names.
        parallax: As decided.
        colour: As decided.
        magnitudes: Range of a band.
        spectra: Survey of spectra that is joined, if one is.
    """
    conditions = []
    numbers = survey in _AT_THE_DATA_LAB or spectra is not None
    if parallax is not None:
        condition = f"gaia.parallax - {SIGMAS:g} * gaia.parallax_error <= {parallax:g}"
        conditions.append(_known(["gaia.parallax"], condition, numbers))
    spelling = COLUMNS.get(survey, "")
    ranges = {**magnitudes, **({} if colour is None else dict([colour]))}
    for name, (low, high) in ranges.items() if spelling else ():
        columns = [spelling.format(band=band, low=band.lower()) for band in name.split(" - ")]
        conditions.append(_known(columns, f"{' - '.join(columns)} BETWEEN {low:g} AND {high:g}", numbers))
    return " AND ".join(conditions)


def _known(columns: Sequence[str], condition: str, numbers: bool) -> str:
    """A condition that a star meets, too, if it lacks one of the columns.

    Pan-STARRS1 writes -999 for none. The Astro Data Lab has NaN, which it takes for greater than any number, and 99 for
    a magnitude, where ``numbers`` says that it is asked.
    """
    lacking = [f"{name} IS NULL" for name in columns] + [f"{name} < -99" for name in columns if name.startswith("ps1.")]
    if numbers:
        lacking += [f"{name} > {1e30 if name == 'gaia.parallax' else 90:g}" for name in columns]
    return f"({' OR '.join([condition, *lacking])})"
