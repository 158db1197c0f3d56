"""From a catalogue to `Data`: how it is read, as one object of columns, frame, errors and corrections."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from astropy.table import Table

from stream_mapper.catalog.blank import Blank
from stream_mapper.catalog.columns import (
    Column,
    ColumnReader,
    Columns,
    Errors,
    Values,
    approximate_errors,
    asked_columns,
    refuse,
)
from stream_mapper.catalog.corrections import Corrections
from stream_mapper.catalog.formats.parquet import MASK
from stream_mapper.catalog.io import read_table
from stream_mapper.catalog.schema import find_column, is_magnitude
from stream_mapper.catalog.sky.frames import PROPER_MOTION, SkyFrame
from stream_mapper.catalog.surveys import ERROR, Surveys, named
from stream_mapper.data import Data

logger = logging.getLogger("stream_mapper")


@dataclass(frozen=True)
class Reading:
    """How stars are read from a table, and from every other table with its columns.

    Arguments:
        columns: Internal names and where to find them; with a frame, phi1, phi2, pm_phi1, ... are the frame's.
        frame: The frame of the stream.
        errors: Approximate errors, see `to_data`; with a frame, those of pmra and pmdec are rotated with it.
        survey: Survey or surveys whose names of magnitudes are looked for.
        corrections: What is corrected before the stars become data.
        blank: What then counts as missing although the table has it.

    Raises:
        InputError: If a survey is unknown.
    """

    columns: Columns
    frame: SkyFrame | None = None
    errors: Errors | None = None
    survey: Surveys = None
    corrections: Corrections | None = None
    blank: Sequence[Blank] | None = None

    def __post_init__(self) -> None:
        named(self.survey)

    def load(
        self,
        path_or_table: str | os.PathLike[str] | Table,
        *,
        optional: Sequence[str] = (),
        dtype: torch.dtype = torch.float32,
        path: str | None = None,
        part: bool = False,
    ) -> tuple[Data, Table]:
        """Stars of a table, in stream coordinates if there is a frame, and the table as it was.

        Arguments:
            path_or_table: A file (see `read_table`) or a table, N rows.
            optional: Columns that may be absent.
            dtype: Floating type of the tensors.
            path: What messages call the table; by default its file.
            part: Whether the table is some rows of a larger one, see `to_data`.

        Returns:
            The data and the untouched table, both with all rows in the same order.

        Raises:
            InputError: If the file, a column or the frame cannot be used.
        """
        path = path or ("table" if isinstance(path_or_table, Table) else os.fspath(path_or_table))
        table = path_or_table if isinstance(path_or_table, Table) else read_table(path_or_table)
        errors = self.errors or {}
        source = self.frame.add_stream_coordinates(table, errors, path) if self.frame else table
        if self.frame:
            errors = {n: rule for n, rule in errors.items() if n not in PROPER_MOTION or n in self.columns}
        settings: dict[str, Any] = {"errors": errors, "survey": self.survey, "corrections": self.corrections}
        settings["blank"] = self.blank
        stars = to_data(source, self.columns, path=path, optional=optional, dtype=dtype, part=part, **settings)
        return stars, table

    def columns_read(self, names: Sequence[str]) -> list[str]:
        """Columns of a table of these names that `load` reads, in their order; the others may be left out."""
        wanted = names_read(names, self.columns, self.errors, self.survey, self.corrections)
        wanted |= set(self.frame.columns(names).values() if self.frame else ())
        return [name for name in names if name.removesuffix(MASK) in wanted]

    def absent(self, names: Sequence[str], optional: Sequence[str]) -> list[str]:
        """Internal names of the optional columns that a table of these columns has not and no rule supplies."""
        return absent_columns(names, self.columns, self.errors, optional, self.survey)


def load(
    path_or_table: str | os.PathLike[str] | Table,
    columns: Columns,
    frame: SkyFrame | None = None,
    *,
    errors: Errors | None = None,
    survey: Surveys = None,
    corrections: Corrections | None = None,
    blank: Sequence[Blank] | None = None,
    optional: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
) -> tuple[Data, Table]:
    """Stars of a table, in stream coordinates if a frame is given, and the table as it was: see `Reading`."""
    reading = Reading(columns, frame, errors, survey, corrections, blank)
    return reading.load(path_or_table, optional=optional, dtype=dtype)


def to_data(
    table: Table,
    columns: Columns,
    *,
    path: str = "table",
    errors: Errors | None = None,
    optional: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
    part: bool = False,
    survey: Surveys = None,
    corrections: Corrections | None = None,
    blank: Sequence[Blank] | None = None,
) -> Data:
    """Stars of a table as `Data`: all rows in their order, internal units, NaN or masked = not measured.

    Arguments:
        table: The table, N rows.
        columns: Internal names and where to find them (see `Columns`).
        path: What messages call the table.
        errors: Errors that the table does not have: ``{"g": 0.02}`` adds a constant ``g_err`` [mag];
            ``{"pmra": {"of": "parallax_err", "factor": 1.21}}`` adds ``pmra_err`` = 1.21 times the number of
            ``parallax_err``. Both are approximations, and the log names them.
        optional: Columns that may be absent; they are then not measured for any star.
        dtype: Floating type of the tensors.
        part: Whether these are some rows of a larger table; a column without values among them is then no surprise.
        survey: Survey or surveys whose names of magnitudes are looked for, such as ``gaia_dr3``; any by default.
        corrections: What is corrected, after the errors were added.
        blank: What then counts as missing although the table has it.

    Returns:
        One column of shape (N,) per name asked for, and one per entry of ``errors``.

    Raises:
        InputError: If a column is missing or unusable, or the table has no rows.
    """
    reader, errors = ColumnReader(table, path), errors or {}
    supplied = {name + ERROR for name in errors}
    asked = asked_columns(columns, reader.names, survey)
    sources = reader.find(asked, [*optional, *(supplied & set(asked))])
    _log_bands(sources, columns, path)
    arrays = {name: reader.values(name, column) for name, column in sources.items()}
    arrays |= approximate_errors(reader, errors, sources, [*sources, *optional])
    absent = [name for name in optional if name not in arrays]
    arrays |= {name: np.full(len(reader.table), np.nan) for name in absent}
    if corrections:
        arrays = corrections.apply(arrays, reader, sources, survey)
    for rule in blank or ():
        arrays = rule.applied(arrays, path)
    if absent:
        logger.warning("%s: no column for the optional %s; taken as not measured.", path, absent)
    if not part:
        warn_unmeasured([name for name, v in arrays.items() if name not in absent and np.isnan(v).all()], path)
    reader.log_assumed()
    return Data({name: _tensor(values, dtype, f"{path}: {name!r}") for name, values in arrays.items()})


def names_read(
    names: Sequence[str],
    columns: Columns,
    errors: Errors | None = None,
    survey: Surveys = None,
    corrections: Corrections | None = None,
) -> set[str]:
    """Columns of a table of these names that `to_data` reads, whether they are there or not."""
    asked = asked_columns(columns, names, survey)
    sources = [str(rule["of"]) for rule in (errors or {}).values() if isinstance(rule, Mapping) and rule.get("of")]
    known = {source: asked[source].column if source in asked else find_column(source, names) for source in sources}
    corrected = corrections.columns(names, asked, survey) if corrections else set()
    return corrected | {column.column for column in asked.values()} | {name for name in known.values() if name}


def absent_columns(
    names: Sequence[str],
    columns: Columns,
    errors: Errors | None = None,
    optional: Sequence[str] = (),
    survey: Surveys = None,
) -> list[str]:
    """Internal names of the optional columns that a table of these columns has not and no rule supplies."""
    asked, supplied = asked_columns(columns, names, survey), {name + ERROR for name in errors or {}}
    there = {name for name, column in asked.items() if column.column in names} | supplied
    return [name for name in optional if name not in there]


def _log_bands(sources: Mapping[str, Column], columns: Columns, path: str) -> None:
    """Log which columns were taken for magnitudes, unless they were named."""
    if not isinstance(columns, Mapping):
        bands = {n: c.column for n, c in sources.items() if is_magnitude(n.removesuffix(ERROR)) and c.column != n}
        if bands:
            logger.info("%s: read %s.", path, ", ".join(f"{name} from {column}" for name, column in bands.items()))


def warn_unmeasured(names: Sequence[str], path: str) -> None:
    """Warn of columns without a single value, if there are any."""
    if names:
        logger.warning("%s: not one value is measured in %s.", path, list(names))


def _tensor(values: Values, dtype: torch.dtype, label: str) -> torch.Tensor:
    tensor = torch.from_numpy(values).to(dtype)
    refuse(tensor.isinf().numpy(), values, f"{label} is too large for {dtype}", "mark it as missing (NaN or masked)")
    return tensor
