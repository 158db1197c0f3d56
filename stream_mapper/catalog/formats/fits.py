"""FITS with units, UCDs, descriptions, metadata and missing values.

Astropy writes a missing integer as 999999, so that a star of that number is missing too, and keeps no UCD. Here a
missing integer is one that the column has not, and UCDs and descriptions are in the keywords TUCDn and TCOMMn, where
TOPCAT and STILTS look for them.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table, represent_mixins_as_columns
from astropy.utils.exceptions import AstropyUserWarning

from stream_mapper.catalog.metadata import UCD, plain

_NOTE = re.compile(r"(TUCD|TCOMM)(\d+)")
_NO_BOOLEAN = 255  # what stands for a boolean that is missing, in a column of bytes: FITS as astropy reads it has none


def read_fits(path: Path) -> Table:
    """The first table of a file.

    Raises:
        Exception: If it cannot be read, or is shorter than its header says.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "File may have been truncated", AstropyUserWarning)
        table = Table.read(path, format="fits")
    _mask_scaled(table, path)
    _take_notes(table, path)
    return table


def write_fits(table: Table, path: Path) -> None:
    """Write a table; long keywords become HIERARCH cards, and what is no number or text is left out."""
    flat = represent_mixins_as_columns(Table(table, copy=False))
    out = Table({name: _storable(flat[name]) for name in flat.colnames}, copy=False)
    out.meta = {key: value for key, value in plain(table.meta).items() if not _NOTE.fullmatch(key)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*a HIERARCH card will be created", fits.verify.VerifyWarning)
        hdu = fits.table_to_hdu(out)
        for i, name in enumerate(flat.colnames, 1):
            _set_note(hdu.header, f"TUCD{i}", (flat[name].meta or {}).get(UCD))
            _set_note(hdu.header, f"TCOMM{i}", flat[name].description)
        hdu.writeto(path, overwrite=True)


def _mask_scaled(table: Table, path: Path) -> None:
    """Let integers that are scaled be missing where the number in the file is TNULL (FITS 4.0, 7.3.2).

    Astropy compares the scaled values, and writes TNULL so for unsigned integers, whose scale is their offset.
    """
    with fits.open(path) as hdus:
        hdu: Any = next((hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)), None)
        scaled = [] if hdu is None else [c for c in hdu.columns if c.null is not None and _is_scaled(c)]
        raw: Any = hdu.data.view(np.ndarray) if scaled else None
        for column in (column for column in scaled if column.name in table.colnames):
            mask = np.asarray(raw[column.name] == column.null)
            if mask.any() or table[column.name].dtype.kind != "u":
                table[column.name] = MaskedColumn(table[column.name], mask=mask)


def _is_scaled(column: Any) -> bool:
    return column.bscale not in (None, "", 1) or column.bzero not in (None, "", 0)


def _storable(column: Column) -> Column:
    """The column as FITS can hold it: text as UTF-8, missing integers by a number that is not there."""
    kind, masked = column.dtype.kind, isinstance(column, MaskedColumn) and bool(np.any(column.mask))
    if kind == "U":
        filled = column.filled("") if masked else column
        return Column(np.char.encode(np.asarray(filled), "utf-8"), unit=column.unit)
    if column.dtype == np.int8:  # which astropy would make booleans of
        column = column.astype(np.int16)
    if kind == "b" and masked:
        return MaskedColumn(column.astype(np.uint8), fill_value=_NO_BOOLEAN, unit=column.unit)
    if kind in "iu" and masked:
        return MaskedColumn(column, fill_value=_absent(column), unit=column.unit, copy=False)
    return column


def _absent(column: MaskedColumn) -> Any:
    """A number of the column's type that none of its values is: its lowest or highest, or any other."""
    values, limits = np.unique(column.compressed()), np.iinfo(column.dtype)
    ends = [end for end in (limits.min, limits.max) if end not in values]
    return ends[0] if ends else np.setdiff1d(np.arange(limits.min, limits.min + len(values) + 1), values)[0]


def _set_note(header: fits.Header, key: str, text: str | None) -> None:
    """A card, in the letters FITS has."""
    if text:
        header[key] = " ".join(text.encode("ascii", "replace").decode().split())


def _take_notes(table: Table, path: Path) -> None:
    """UCDs and descriptions from the header to their columns."""
    notes = {key: table.meta.pop(key) for key in list(table.meta) if _NOTE.fullmatch(key)}
    table.meta = {key: value for key, value in table.meta.items() if not isinstance(value, fits.card.Undefined)}
    if not notes:
        return
    with fits.open(path) as hdus:
        header = next(hdu.header for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU))
    for key, text in notes.items():
        word, number = _NOTE.fullmatch(key).groups()  # type: ignore[union-attr]
        name = header.get(f"TTYPE{number}")
        if name in table.colnames and word == "TUCD":
            table[name].info.meta = {**(table[name].info.meta or {}), UCD: text}
        elif name in table.colnames:
            table[name].info.description = text
