"""Tables of stars with their memberships: what is read of a table, what is added to it, and what it then says."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from torch import Tensor

from stream_mapper.catalog import Reading, check_ids, id_column
from stream_mapper.catalog.schema import default_unit
from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.models.base import Model
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.quantiles import QUANTILE_NAMES
from stream_mapper.results.provenance import DATE, Facts, internal_names, now, with_facts
from stream_mapper.selection import Selection

SELECTED = "selected"
"""Name of the column that says whether the selection lets the star in."""
OF_STREAM = ("phi1", "phi2", "pm_phi1", "pm_phi2")
"""Coordinates that are added to a table of the sky, where they are read."""

_log = logging.getLogger("stream_mapper")

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Intake:
    """How the stars of a fit, and of every prediction by it, are taken from a table.

    Arguments:
        reading: How they are read.
        selection: Those that take part; the others are kept, with ``selected`` False.
        id: Column that tells stars apart; by default found by its name, such as source_id, and '' for none.
    """

    reading: Reading
    selection: Selection | None = None
    id: str | None = None

    @classmethod
    def of_model(cls, model: Model) -> Intake:
        """An intake of tables with the columns that a model reads, by their internal names."""
        return cls(Reading(list(dict.fromkeys(model.columns))))

    def completed(self, model: Model) -> Intake:
        """This intake, which reads what the model and the selection need if it names no columns."""
        if self.reading.columns:
            return self
        selected = () if self.selection is None else self.selection.columns
        return replace(self, reading=replace(self.reading, columns=list(dict.fromkeys((*model.columns, *selected)))))

    @property
    def result_names(self) -> list[str]:
        """Names of the columns that are added to the memberships here."""
        return [*([] if self.selection is None else [SELECTED]), *self.turned]

    @property
    def turned(self) -> list[str]:
        """Coordinates that are read and that a frame makes of those of the sky."""
        return [name for name in OF_STREAM if name in self.reading.columns] if self.reading.frame else []

    def result_columns(self, stars: Data) -> dict[str, NDArray[Any]]:
        """Whether the selection lets each star in, if there is one, and its coordinates along the stream by a frame."""
        selected = {} if self.selection is None else {SELECTED: self.selection(stars).cpu().numpy()}
        return selected | {name: stars[name].double().cpu().numpy() for name in self.turned}

    def id_of(self, names: Sequence[str]) -> str | None:
        """The column that tells stars apart, if a table of these names has it."""
        return None if self.id and self.id not in names else id_column(names, self.id)


@dataclass(frozen=True)
class Annotation:
    """What is added to a table of stars by a fit.

    Arguments:
        model: The mixture whose memberships are added.
        intake: How its stars are taken from a table.
        facts: What the result says of its origin.
    """

    model: MixtureModel
    intake: Intake
    facts: Facts = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of the columns of the memberships."""
        return [*membership_names(self.model), *self.intake.result_names]

    @property
    def types(self) -> dict[str, np.dtype[Any]]:
        """Types of the columns of the memberships."""
        counts = {"n_missing": np.dtype(np.int64), "in_window": np.dtype(np.bool_), SELECTED: np.dtype(np.bool_)}
        return {name: counts.get(name, np.dtype(np.float64)) for name in self.names}

    @property
    def optional(self) -> tuple[str, ...]:
        """Columns that a table may lack."""
        return tuple(dict.fromkeys(name for part in self.model.parts() for name in part.optional_columns))

    def columns_read(self, names: Sequence[str]) -> list[str]:
        """Columns of a table of these names that are read."""
        read = self.intake.reading.columns_read(names)
        return [name for name in names if name in read or name == self.intake.id_of(names)]

    def absent(self, names: Sequence[str]) -> list[str]:
        """Internal names of the optional columns that a table of these names has not."""
        return self.intake.reading.absent(names, self.optional)

    def read(self, table: Table, path: str) -> Data:
        """The stars of a table, or of some rows of one.

        Arguments:
            table: A table.
            path: What messages call it.

        Raises:
            InputError: If the table cannot be used with this model, or two of these stars have one identifier.
        """
        self._check_errors(table.colnames, path)
        if of_id := self.intake.id_of(table.colnames):
            check_ids(table, of_id, path)
        stars, _ = self.intake.reading.load(table, optional=self.optional, path=path, part=True)
        check_columns(self.model, stars)
        return stars

    def arrays(self, stars: Data, columns: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
        """Membership columns of stars as they are written: probabilities in double precision."""
        arrays = {name: values.numpy() for name, values in columns.items()}
        plain = {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in arrays.items()}
        return plain | self.intake.result_columns(stars)

    def table(self, table: Table, arrays: Arrays, path: str | None = None) -> Table:
        """The table's own rows and columns with the memberships, and notes; see :func:`rename_clashes`."""
        out = rename_clashes(table, self.names, path)
        for name, array in arrays.items():
            out[name] = array
        self.note(out)
        out.meta[DATE] = now()
        return out

    def note(self, table: Any) -> Any:
        """A result, changed in place, with the facts of its origin and notes at its columns."""
        internal = internal_names(table.colnames, self.intake.reading)
        added = {name: name for name in self.names}
        for name in set(self.intake.turned) & set(table.colnames):
            table[name].unit = default_unit(name)
        return with_facts(table, self.facts, {**internal, **added}, self.intake.id_of(table.colnames))

    def _check_errors(self, names: Sequence[str], path: str) -> None:
        """Raise InputError if a table has a magnitude, but not the column of its errors."""
        absent = self.absent(names)
        errors = {n: e for part in self.model.parts() if part.optional_columns for n, e in part.error_names.items()}
        if bare := {name: error for name, error in errors.items() if error in absent and name not in absent}:
            advice = "add them, or remove the magnitudes to do without"
            raise InputError(f"{path}: no column for the errors {list(bare.values())} of {list(bare)}; {advice}.")


def membership_names(model: MixtureModel) -> list[str]:
    """Names of the columns of the memberships by a model.

    Raises:
        InputError: If a component's column would be called like that of all members.
    """
    members = ["p_member", *(f"p_member_{q}" for q in QUANTILE_NAMES)]
    components = [f"p_{name}" for name in model.components]
    if taken := sorted(set(members) & set(components)):
        raise InputError(f"the columns {taken} of the memberships would be those of components; rename the components.")
    return [*components, *members, "n_missing", "in_window"]


def check_columns(model: Model, stars: Data) -> None:
    """Raise InputError if the model reads a column that the data lacks, or one for the error of another coordinate."""
    missing = sorted(set(model.columns) - set(stars.names))
    if missing:
        raise InputError(f"the model reads the columns {missing}; data.columns has {sorted(stars.names)}.")
    coordinates = {name for part in model.parts() for name in part.coord_names}
    for part in model.parts():
        for name, error in part.error_names.items():
            owner = error.removesuffix("_err")
            if owner in coordinates and owner != name and not name.startswith(owner):
                raise InputError(f"the model takes {error!r}, the error of {owner!r}, for that of {name!r}; swap them.")


def rename_clashes(table: Table, names: Iterable[str], path: str | None = None) -> Table:
    """A copy of a table in which its own columns of these names are called ``<name>_input``, with a warning.

    Arguments:
        table: Any table; it is left as it is.
        names: Names that are needed for something else.
        path: What the warning calls the table.

    Raises:
        InputError: If the table has a column of the new name as well.
    """
    out = table.copy(copy_data=False)
    if renamed := clashes(table.colnames, names, path):
        out.rename_columns(list(renamed), list(renamed.values()))
    return out


def clashes(colnames: Sequence[str], names: Iterable[str], path: str | None = None) -> dict[str, str]:
    """New names of the columns of a table that are called like others that are needed; see :func:`rename_clashes`."""
    label = path or "the table"
    renamed = {name: f"{name}_input" for name in names if name in colnames}
    old, new = list(renamed), list(renamed.values())
    if taken := [name for name in new if name in colnames]:
        raise InputError(f"{label}: its columns {old} are called like results, and {taken} are taken too; rename them.")
    if renamed:
        _log.warning("%s: its columns %s are called like results; they are kept as %s.", label, old, new)
    return renamed
