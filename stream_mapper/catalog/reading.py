"""How a catalogue is read, as one object: columns, frame, errors, corrections."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from astropy.table import Table

from stream_mapper.catalog.columns import Columns, Errors, absent_columns, names_read, to_data
from stream_mapper.catalog.corrections import Corrections
from stream_mapper.catalog.formats.parquet import MASK
from stream_mapper.catalog.io import read_table
from stream_mapper.catalog.sky.frames import PROPER_MOTION, SkyFrame
from stream_mapper.catalog.surveys import Surveys, named
from stream_mapper.data import Data


@dataclass(frozen=True)
class Reading:
    """How stars are read from a table, and from every other table with its columns.

    Arguments:
        columns: Internal names and where to find them; with a frame, phi1, phi2, pm_phi1, ... are the frame's.
        frame: The frame of the stream.
        errors: Approximate errors, see `to_data`; with a frame, those of pmra and pmdec are rotated with it.
        survey: Survey or surveys whose names of magnitudes are looked for.
        corrections: What is corrected before the stars become data.

    Raises:
        InputError: If a survey is unknown.
    """

    columns: Columns
    frame: SkyFrame | None = None
    errors: Errors | None = None
    survey: Surveys = None
    corrections: Corrections | None = None

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
    optional: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
) -> tuple[Data, Table]:
    """Stars of a table, in stream coordinates if a frame is given, and the table as it was: see `Reading`."""
    reading = Reading(columns, frame, errors, survey, corrections)
    return reading.load(path_or_table, optional=optional, dtype=dtype)
