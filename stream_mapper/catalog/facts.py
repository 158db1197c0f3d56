"""What a table of a field tells of itself: its coordinates, survey, errors, gaps, edges and depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from stream_mapper.catalog.columns import Column, ColumnReader, Values
from stream_mapper.catalog.schema import find_column
from stream_mapper.catalog.sky.frames import SkyFrame
from stream_mapper.catalog.surveys import DEREDDENED, SURVEYS, Surveys, is_dereddened
from stream_mapper.errors import InputError

_ASTROMETRY = ("pm_phi1", "pm_phi2", "pmra", "pmdec", "parallax")
_VELOCITY, _CORRELATION = "radial_velocity", "pmra_pmdec_corr"
_RECENT = "gaia_dr3"  # of the releases of Gaia, whose columns have the same names
_FAINT = 99.5  # percentile of the magnitudes that counts as their limit where a few stars are beyond
_SHARP = 0.05  # mag from there to the faintest star of a table that was cut at a magnitude


@dataclass(frozen=True)
class TableFacts:
    """What a table of a field tells of itself.

    Arguments:
        size: Number of its stars.
        survey: The survey of its magnitudes, None for one without magnitudes of a survey.
        bands: The bands that it has of this survey.
        errors: Coordinates and bands that have errors.
        missing: Share of the stars without a value, by coordinate and band.
        ranges: Least and greatest value of each.
        values: phi1, phi2 [deg], and of proper motions, parallax, velocity and magnitudes those that it has, with their
            errors, in internal units, shape (N,) each.
        spectra: The survey of its radial velocities, if their column is called by a name that no other has.
        correlated: Whether it has the correlations of the errors of its proper motions.
        dereddened: Its columns of magnitudes that are without extinction already, if these are read.
    """

    size: int
    survey: str | None
    bands: tuple[str, ...]
    errors: tuple[str, ...]
    missing: dict[str, float]
    ranges: dict[str, tuple[float, float]]
    values: dict[str, Values]
    spectra: str | None = None
    correlated: bool = False
    dereddened: tuple[str, ...] = ()

    @property
    def phi1(self) -> Values:
        """Places along the stream [deg], shape (N,)."""
        return self.values["phi1"]

    @property
    def phi2(self) -> Values:
        """Places across it [deg], shape (N,)."""
        return self.values["phi2"]


def table_facts(table: Table, frame: SkyFrame, survey: Surveys = None, path: str = "table") -> TableFacts:
    """Read off a table what a fit of it has to know.

    Arguments:
        table: N stars with ``ra`` and ``dec``, under any name that the package knows.
        frame: The frame of the stream.
        survey: The survey of its magnitudes, or several to look for; any by default.
        path: What messages call the table.

    Raises:
        InputError: If the table has no positions, or a column cannot be read.
    """
    turned = frame.add_stream_coordinates(table, path=path)
    found, bands = survey_bands(turned.colnames, survey)
    reader = ColumnReader(turned, path)
    sources = {name: find_column(name, turned.colnames, found) for name in ("phi1", "phi2", *_ASTROMETRY, *bands)}
    spectra, sources[_VELOCITY] = _velocities(reader)
    columns = {name: reader.values(name, Column(source)) for name, source in sources.items() if source}
    known = {name: values[np.isfinite(values)] for name, values in columns.items()}
    if not len(known["phi1"]):
        raise InputError(f"{path}: none of its {len(turned)} stars has a place on the sky; look at ra and dec.")
    of = dict.fromkeys(columns, found) | {_VELOCITY: spectra}
    spelt = {name: find_column(f"{name}_err", turned.colnames, of[name]) for name in columns}
    errors = {f"{name}_err": reader.values(f"{name}_err", Column(source)) for name, source in spelt.items() if source}
    free = tuple(sources[band] or "" for band in bands) if is_dereddened(found) else ()
    return TableFacts(
        len(turned),
        found.removesuffix(DEREDDENED) if found else None,
        bands,
        tuple(name.removesuffix("_err") for name in errors),
        {name: 1 - len(known[name]) / len(turned) for name in columns},
        {name: (float(values.min()), float(values.max())) for name, values in known.items() if len(values)},
        columns | errors,
        spectra,
        find_column(_CORRELATION, table.colnames) is not None,
        free,
    )


def deepest(magnitudes: Values) -> float:
    """Limit of some magnitudes: the faintest where they were cut there, else one that a two-hundredth is beyond.

    They were cut there if that two-hundredth is within 0.05 mag.

    Arguments:
        magnitudes: Known ones [mag], shape (N,).
    """
    last, nearly = float(magnitudes.max()), float(np.percentile(magnitudes, _FAINT))
    return last if last - nearly < _SHARP else nearly


def _velocities(reader: ColumnReader) -> tuple[str | None, str | None]:
    """The survey of the radial velocities, None for a name that all understand, and their column, if there is one.

    Of several surveys it is the one with the most.
    """
    if _VELOCITY in reader.names:
        return None, _VELOCITY
    found = {name: find_column(_VELOCITY, reader.names, name) for name in SURVEYS}
    counts = {
        name: np.isfinite(reader.values(_VELOCITY, Column(column))).sum() for name, column in found.items() if column
    }
    best = max(counts, key=lambda name: counts[name]) if counts else None
    return best, None if best is None else found[best]


def survey_bands(names: Sequence[str], survey: Surveys = None) -> tuple[str | None, tuple[str, ...]]:
    """The survey of which a table has most bands, two at least, and these; None and no band if there is none.

    Of as many bands with and without extinction it is those without, ``gaia_dr3_dereddened``.

    Arguments:
        names: Columns of the table.
        survey: The survey, or several to look for; any by default.

    Raises:
        InputError: If it is unknown.
    """
    asked = [survey] if isinstance(survey, str) else list(SURVEYS if survey is None else survey)
    if unknown := [name for name in asked if name not in SURVEYS]:
        raise InputError(f"survey {unknown} is unknown; known are {list(SURVEYS)}.")
    asked = [*asked, *(f"{name}{DEREDDENED}" for name in asked if f"{name}{DEREDDENED}" in SURVEYS)]
    there = {name: tuple(band for band in SURVEYS[name].bands if _has(band, names, name)) for name in asked}
    best = max(there, key=lambda name: (len(there[name]), is_dereddened(name), name.startswith(_RECENT)))
    return (best, there[best]) if len(there[best]) > 1 else (None, ())


def _has(band: str, names: Sequence[str], survey: str) -> bool:
    """Whether a table has a band; a bare name does not say that it is without extinction."""
    column = find_column(band, names, survey)
    return column is not None and not (is_dereddened(survey) and column == band)
