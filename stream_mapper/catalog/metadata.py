"""What a column of a result says of itself: its meaning, and its UCD where the IVOA's list has one.

The words are those of UCD1+ (https://www.ivoa.net/documents/UCD1+). It has none for a latitude in a frame of one's own,
so ``phi2`` goes without.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table

from stream_mapper.catalog.schema import COLUMNS, CORRELATION, default_unit
from stream_mapper.catalog.surveys import ERROR
from stream_mapper.errors import InputError
from stream_mapper.quantiles import QUANTILE_NAMES

UCD = "ucd"
"""Where a column's ``meta`` holds its UCD, as astropy's reader of VOTables has it."""

IDENTIFIERS = (
    "source_id",
    "gaia_source_id",
    "gaiadr3_source_id",
    "gaia_dr3_source_id",
    "gaiaedr3_source_id",
    "gaia_edr3_source_id",
    "gaiadr2_source_id",
    "gaia_dr2_source_id",
    "dr3_source_id",
    "dr2_source_id",
    "source_id_dr3",
    "source_id_dr2",
    "source_id_gaia",
    "sourceid",
    "gaia_id",
    "gaiadr3",
    "gaiaedr3",
    "source",
    "dr3name",
    "edr3name",
    "dr2name",
    "designation",
    "objectid",
    "diaobjectid",
    "coadd_object_id",
    "coadd_objects_id",
    "quick_object_id",
    "objid",
    "obj_id",
    "object_id",
    "star_id",
    "targetid",
    "sdss_id",
    "specobjid",
    "apogee_id",
    "tmass_id",
    "allwise_id",
    "uniquepspsobid",
    "source_id_1",
    "id",
)
"""Names, in lower case, of the column that tells the stars of a catalogue apart; the first that a table has counts."""


_FLOATING = re.compile(
    r"[0-9]+(\.[0-9]+)?[eE]\+?[0-9]+|[0-9]{16,}\.0*"
)  # as a spreadsheet or pandas writes a long number
_ROUNDED = 1 << 60  # Gaia's identifiers are multiples of 128, and so are double precision's integers up to here
_ENOUGH = 20
_CATALOGUE = "source"  # what VizieR calls Gaia's identifier, and others the catalogue of a star

_log = logging.getLogger("stream_mapper")


class Note(NamedTuple):
    """UCD ('' for none) and meaning of a column."""

    ucd: str
    description: str


_QUANTITIES = {
    "phi1": "pos.spherical.azi",
    "ra": "pos.eq.ra",
    "dec": "pos.eq.dec",
    "pm_phi1": "pos.pm;pos.spherical.azi",
    "pm_phi2": "pos.pm",
    "pm_angle": "pos.posAng",
    "pmra": "pos.pm;pos.eq.ra",
    "pmdec": "pos.pm;pos.eq.dec",
    "parallax": "pos.parallax.trig",
    "distmod": "phot.mag.distMod",
    "distance": "pos.distance",
    "radial_velocity": "spect.dopplerVeloc",
    "feh": "phys.abund.Fe",
    "age": "time.age",
    "source_id": "meta.id",
    "pm_phi1_reflex": "pos.pm;pos.spherical.azi",
    "pm_phi2_reflex": "pos.pm",
    "ebv": "phot.color.excess",
    "ecl_lat": "pos.ecliptic.lat",
    "nu_eff": "em.wavenumber",
    "pseudocolour": "em.wavenumber",
    "n_params": "meta.code",
}

_BANDS = {"u": "U", "g": "B", "r": "R", "i": "I", "z": "I", "y": "I", "B": "B", "V": "V", "R": "R", "I": "I"}
_BANDS |= {"G": "", "BP": "B", "RP": "R"}
_INFRARED = ("J", "H", "K", "Ks")

_PROBABILITY = "stat.probability"
_MEMBERSHIPS = {
    "p_member": Note(_PROBABILITY, "probability of any component but the background"),
    "n_missing": Note("meta.number", "coordinates of the model that were not measured"),
    "in_window": Note("meta.code", "whether the star is inside the model's window; if not, it belongs to no stream"),
    "selected": Note("meta.code", "whether the star passed the selection of the fit"),
    "component": Note("meta.code.class", "component of the mixture"),
    "weight": Note("", "share of the stars at this phi1 that are of the component"),
    "supported": Note(
        "meta.code", "whether the component is there: at least one star of it is expected in a twentieth of the range"
    ),
    "density": Note("", "stars of the component per degree of phi1"),
    "kind": Note("meta.code.class", "gap or peak"),
    "width": Note("", "width of the feature: standard deviation of a Gaussian"),
    "depth": Note("", "share of the stars at the centre that are missing, of a gap, or in excess, of a peak"),
    "stars": Note("meta.number", "stars that are missing, of a gap, or in excess, of a peak"),
    "z": Note("stat.snr", "significance at its place in sigma; negative for a gap"),
    "p_chance": Note("stat.probability", "how often a component without features shows one so significant anywhere"),
    "total_density": Note("", "stars of all components per degree of phi1"),
    "members": Note("", "stars of the component among those that were fitted"),
    "begin": Note("pos.spherical.azi", "phi1 where the component begins"),
    "end": Note("pos.spherical.azi", "phi1 where the component ends"),
    "begin_width": Note("", "width of the edge where the component begins"),
    "end_width": Note("", "width of the edge where the component ends"),
}
_MEDIAN = "stat.median"  # which qualifies another word, and never comes first
_ENDINGS = {
    **{f"_{q}": ("stat.percentile", f"{int(q)} % quantile over the posterior: ") for q in QUANTILE_NAMES},
    "_50": (_MEDIAN, "median over the posterior: "),
    "_sigma": ("stat.stdev", "intrinsic width: "),
    ERROR: ("stat.error", "error: "),
}


def note_of(name: str) -> Note:
    """What is known of a column of this internal name or of a result.

        >>> note_of("parallax_err")
        Note(ucd='stat.error;pos.parallax.trig', description='error: parallax')

    Arguments:
        name: Internal name, or the name of a column of a membership, track or density table.
    """
    if name in _MEMBERSHIPS:
        return _MEMBERSHIPS[name]
    for ending, (word, text) in _ENDINGS.items():
        if name.endswith(ending):
            base = note_of(name.removesuffix(ending))
            return Note(_joined_words(word, base.ucd), f"{text}{base.description}")
    if name.endswith(CORRELATION):
        return Note("stat.correlation", f"correlation of the errors of {name.removesuffix(CORRELATION)}")
    if name.startswith("p_"):
        return Note(_PROBABILITY, f"probability of the component {name.removeprefix('p_')}")
    if name in COLUMNS:
        return Note(_QUANTITIES.get(name, ""), COLUMNS[name].meaning)
    return _of_band(name) if default_unit(name) == "mag" else Note("", "")


def identifier(names: Sequence[str]) -> str | None:
    """The column among these that tells stars apart, if one is called like one of the known ones.

    >>> identifier(["ra", "SOURCE_ID", "objid"])
    'SOURCE_ID'
    """
    spelt = {name.lower(): name for name in reversed(names)}
    return next((spelt[known] for known in IDENTIFIERS if known in spelt), None)


def id_column(names: Sequence[str], asked: str | None) -> str | None:
    """The column that tells stars apart: the one asked for, '' for none, or by default that of a known name.

    Raises:
        InputError: If the one asked for is not there.
    """
    if asked and asked not in names:
        raise InputError(f"no column {asked!r} (for data.id); the table has {list(names)}.")
    return identifier(names) if asked is None else asked or None


def check_ids(table: Table, column: str, path: str) -> None:
    """Raise InputError if two stars have one identifier, or one star several; those without are not compared.

    Identifiers that have lost their last digits as floating point numbers are warned of.
    """
    values = np.ma.asarray(table[column])
    if values.ndim != 1:
        raise InputError(
            f"{path}: column {column!r} holds {values[0].size if len(values) else 'several'} values a star; one "
            "identifier a star is needed, or another column as data.id ('' for none)."
        )
    if column.lower() == _CATALOGUE and values.dtype.kind in "OUS":
        return  # the name of a catalogue
    _warn_of_digits(values.compressed(), column, path)
    rows = np.flatnonzero(~np.ma.getmaskarray(values))
    texts = np.asarray(values)[rows]
    _, first, which, counts = np.unique(texts.astype(str) if texts.dtype.kind == "O" else texts, True, True, True)
    copies = np.flatnonzero(counts[which] > 1)
    if len(copies):
        star = which[copies[0]]
        pair = rows[np.flatnonzero(which == star)[:2]].tolist()
        raise InputError(
            f"{path}: column {column!r} has {len(copies)} rows that share an identifier, e.g. {texts[first[star]]} in "
            f"rows {pair[0]} and {pair[1]}; remove the copies, or name another column as data.id ('' for none)."
        )


def _warn_of_digits(values: Any, column: str, path: str) -> None:
    """Warn of identifiers that are, or were, floating point numbers of fewer digits than they have."""
    text = "%s: column %r: %s: the last digits of identifiers are lost, and with them which star is meant; read the "
    text += "identifiers as integers or text."
    kind = values.dtype.kind
    if kind == "f":
        exact = 2.0 ** (np.finfo(values.dtype).nmant + 1)
        if lost := int((np.abs(values[np.isfinite(values)]) >= exact).sum()):
            _log.warning(text, path, column, f"{lost} rows hold floating point numbers that are not exact")
    elif kind in "OUS":
        if lost := sum(bool(_FLOATING.fullmatch(str(value).strip())) for value in values):
            _log.warning(text, path, column, f"{lost} rows are written as floating point numbers")
    elif kind in "iu":
        large = values[values >= _ROUNDED]
        if len(large) >= _ENOUGH and (large == large.astype(np.float64).astype(np.uint64).astype(values.dtype)).all():
            _log.warning(
                text, path, column, "every number is one that floating point can hold, as none would be by chance"
            )


def annotate(table: Table, internal: Mapping[str, str], of_id: str | None = None) -> Table:
    """Give columns their UCD and description where they have none; the same table.

    Arguments:
        table: Any table, changed in place but for its values and units.
        internal: Column of the table to its internal name, or to its own if it is a result's; others are left.
        of_id: The column that tells stars apart.
    """
    notes = {column: note_of(name) for column, name in internal.items() if column in table.colnames}
    if of_id is not None and of_id in table.colnames:
        notes[of_id] = Note("meta.id;meta.main", "identifier of the star")
    for column, note in notes.items():
        info = table[column].info
        info.meta = dict(info.meta or {})
        if note.ucd and not info.meta.get(UCD):
            info.meta[UCD] = note.ucd
        info.description = info.description or note.description or None
    return table


def plain(meta: Mapping[Any, Any]) -> dict[str, Any]:
    """What of the metadata of a table is one number or text by one name, as a header has it."""
    return {str(key): value for key, value in meta.items() if isinstance(value, str | bool | int | float)}


def _joined_words(word: str, ucd: str) -> str:
    """The UCD of a column that is this of another one."""
    if word == _MEDIAN:
        return f"{ucd};{word}" if ucd else ""
    return f"{word};{ucd}" if ucd else word


def _of_band(name: str) -> Note:
    """A magnitude, called by its band, maybe with more before or after it: ``g``, ``g0``, ``ps1_g``."""
    bands = [token for token in re.split(r"[_0-9]+|mag", name) if token in _BANDS or token in _INFRARED]
    word = "phot.mag"
    if bands:
        band = bands[0]
        word += f";em.IR.{band[0]}" if band in _INFRARED else ";em.opt" + (f".{_BANDS[band]}" if _BANDS[band] else "")
    return Note(word, f"magnitude {name}")
