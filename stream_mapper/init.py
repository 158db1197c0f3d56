"""Begin with a stream by its name: ``python -m stream_mapper.init NAME [--table stars.fits]``.

What a configuration needs is decided by :mod:`stream_mapper.decisions`, and written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from astropy.table import Table

from stream_mapper.builtin import Isochrone
from stream_mapper.catalog import read_table, survey_bands
from stream_mapper.catalog.surveys import DEREDDENED
from stream_mapper.commands import parse, run
from stream_mapper.decisions import Choice, Decisions, light
from stream_mapper.decisions.cuts import SPECTRA
from stream_mapper.decisions.decided import decided_with_track
from stream_mapper.decisions.folder import Plan, Settings, merged
from stream_mapper.errors import InputError
from stream_mapper.paths import FilePath, absolute, from_here, written_in
from stream_mapper.shipped import STARS, write_experiment
from stream_mapper.track import Track

_SYNTHETIC = "synthetic"


def init(
    name: str,
    table: FilePath | None = None,
    survey: str | None = None,
    isochrone: str | None = None,
    bands: dict[str, str] | None = None,
    phi1: tuple[float, float] | None = None,
    output: FilePath | None = None,
    tracks: FilePath | None = None,
    spectra: str | None = None,
) -> list[str]:
    """Write a folder with the configuration of a fit, the query for its field and what was decided.

    By the bare name of one of our own experiments, mock, survey, gd1, pal5 or indus, it writes that one.

    Arguments:
        name: Name of a stream or a track of galstreams, capitals and hyphens or not.
        table: Stars of its field, of which survey, errors, gaps, edges and depth are read; without one, a query is
            written.
        survey: Survey of the photometry: gaia_dr3, panstarrs1, des, delve, rubin; by default that of the table.
        isochrone: File of an isochrone, old and metal-poor if nothing is known; or "synthetic", for simulated stars.
            Without one the model has no photometry.
        bands: Columns of that file, by band, such as {g: PS_g, r: PS_r}.
        phi1: First and last place of the field [deg], such as ``--phi1 '[-20, 10]'``.
        output: The folder; by default the name that was given, in small letters.
        tracks: Folder of galstreams' files; by default that of the installed package.
        spectra: Survey of spectra that the query joins: desi_mws. With the table that it fetches, begin anew.

    Returns:
        What to print: the decisions, and the files.

    Raises:
        InputError: If there is no such stream, survey or table, or the folder has a configuration already.
    """
    _check_spectra(spectra, table)
    folder = Path(output or "".join(name.lower().split()))
    if name in STARS and all(given is None for given in (table, survey, isochrone, bands, phi1, tracks, spectra)):
        return write_experiment(name, folder)
    stars = None if table is None else read_table(table)
    tracks = None if tracks is None else absolute(tracks)
    usual, there = _bands(stars, survey)
    asked = _there(bands, there, isochrone) if bands and there else bands
    curve, settings = (None, None) if isochrone is None else _isochrone(isochrone, asked, usual, folder)
    decided, track = decided_with_track(name, stars, survey, phi1, curve, tracks)
    if curve is not None:
        said = " that the stars have." if stars is None or there else "; the table has no two of a survey's."
        decided = replace(decided, bands=Choice(curve.bands, f"Those of the isochrone{said}"))
    plan = _plan(decided, track, settings, None if table is None else written_in(table, folder), spectra)
    if plan.isochrone is None:
        plan = replace(plan, reasons=decided.without_photometry().lines())
    files = [from_here(path) for path in plan.write(folder)]
    return [*plan.reasons, "", *map(str, files)]


def _check_spectra(spectra: str | None, table: FilePath | None) -> None:
    """Refuse a survey of spectra that no query joins, and one beside a table.

    Raises:
        InputError: If it is so.
    """
    if spectra is not None and table is not None:
        raise InputError("spectra are of a query, and with a table there is none: what it has of them is found in it.")
    if spectra is not None and spectra not in SPECTRA:
        raise InputError(f"no query joins spectra of {spectra!r}; known are {', '.join(SPECTRA)}.")


def _plan(decided: Decisions, track: Track, isochrone: Settings | None, table: str | None, spectra: str | None) -> Plan:
    """What is written of a stream: its decisions, with the isochrone in the long form and the path of the stars."""
    first = isochrone["init_args"]["bands"] if isochrone else ()
    return Plan(
        name=decided.track.value,
        reasons=decided.lines(),
        frame=decided.frame.value,
        phi1=decided.phi1.value,
        track=merged(track, decided.found_motion.value, decided.guides.value),
        window={
            "phi2": decided.phi2.value,
            **decided.motions.value,
            **dict.fromkeys(list(first)[:1], decided.magnitudes.value),
        },
        coordinates=decided.coordinates.value,
        errors=decided.errors.value,
        bounds=decided.bounds.value,
        off_stream=decided.off_stream.value,
        background=decided.background.value,
        survey=f"{decided.survey.value}{DEREDDENED if decided.dereddened.value else ''}",
        correlation=decided.correlation.value,
        parallax=decided.parallax.value,
        colour=decided.colour.value if isochrone else None,
        spectra=decided.spectra.value,
        joined=spectra,
        approximate=decided.approximate.value,
        isochrone=isochrone if light.PHOTOMETRY in decided.coordinates.value else None,
        table=table,
    )


def _bands(stars: Table | None, survey: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Bands of the survey's magnitudes that separate a stream best, and all those that a table has of it, if any."""
    if stars is None:
        return light.SURVEY_LIMITS[light.survey_of(survey, None)].bands, ()
    found, there = survey_bands(stars.colnames, survey)
    return (light.usual_bands(found.removesuffix(DEREDDENED), there) if found is not None else ()), there


def _there(bands: dict[str, str], there: Sequence[str], path: str | None) -> dict[str, str]:
    """The columns of an isochrone whose bands a table has.

    Raises:
        InputError: If there are less than two.
    """
    kept = {band: column for band, column in bands.items() if band in there}
    if len(kept) < 2:
        raise InputError(
            f"the table has the bands {list(there)}, {path} is to give {list(bands)}: two must be the same."
        )
    return kept


def _isochrone(
    path: str, bands: dict[str, str] | None, usual: Sequence[str], folder: Path
) -> tuple[Isochrone, Settings]:
    """An isochrone, and the same in the long form of a configuration; a synthetic one of these bands by default."""
    if path == _SYNTHETIC:
        names = list(bands or usual)
        settings = {"class_path": "stream_mapper.builtin.Isochrone.synthetic", "init_args": {"bands": names}}
        return Isochrone.synthetic(names), settings
    if not bands:
        raise InputError(f"say which columns of {path} are which bands: --bands '{{G: Gaia_G_EDR3, ...}}'.")
    settings = {
        "class_path": "stream_mapper.builtin.Isochrone.read",
        "init_args": {"path": written_in(path, folder), "bands": bands},
    }
    return Isochrone.read(path, bands), settings


def main(args: Sequence[str] | None = None) -> None:
    """Command-line entry: a clear line and exit status 2 for unusable input."""
    print("\n".join(run(lambda given: init(**parse(init, _named(given))), args)))


def _named(args: Sequence[str]) -> Sequence[str]:
    """The arguments, with the name that they begin with as an option."""
    return ["--name", *args] if args and not args[0].startswith("-") else args


if __name__ == "__main__":
    main()
