"""The columns of a table: which are meant, and their values in internal units, NaN where not measured."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units
from astropy.table import Column as TableColumn
from astropy.table import Table
from numpy.typing import NDArray

from stream_mapper.catalog.schema import CORRELATION, assumed_unit, default_unit, find_column
from stream_mapper.catalog.stand_ins import impossible, is_band, stand_ins
from stream_mapper.catalog.surveys import ERROR, Surveys
from stream_mapper.errors import InputError

logger = logging.getLogger("stream_mapper")

Values = NDArray[np.float64]

FLUX_OVER_ERROR = "flux_over_error"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Arguments:
        column: Its name in the table.
        unit: Unit of its values, for a table that does not say it or says it wrongly; it outranks the table's.
        form: ``flux_over_error`` for an error of a magnitude that is given as the ratio of a flux to its error, as in
            the Gaia archive, whose columns of that name are known to be such.
        missing: Numbers of the table that mean that there is no value, such as [-1]; an empty list says that every
            number is a value. By default those that archives write, see `stream_mapper.catalog.stand_ins`.
    """

    column: str
    unit: str | None = None
    form: str | None = None
    missing: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.form not in (None, FLUX_OVER_ERROR):
            advice = f"leave it out, or give {FLUX_OVER_ERROR}"
            raise InputError(f"column {self.column!r}: form {self.form!r} is unknown; {advice}.")

    @property
    def is_ratio(self) -> bool:
        """Whether it holds ratios of a flux to its error."""
        return self.form == FLUX_OVER_ERROR or self.column.endswith("_mean_flux_over_error")


Columns = Mapping[str, str | Column] | Sequence[str]
"""Internal name to column of the table, or the internal names alone, to be found in the table."""

Errors = Mapping[str, float | Mapping[str, str | float]]
"""Internal name to a constant error, or to ``{"of": other error, "factor": number}``."""


class ColumnReader:
    """Reads columns of one table as float64 in internal units and keeps note of the units it had to assume.

    Arguments:
        table: The table; Quantity columns are fine.
        path: What messages call it.

    Raises:
        InputError: If the table has no rows.
    """

    def __init__(self, table: Table, path: str = "table") -> None:
        self.table = Table(table, copy=False)
        self.path = path
        self.assumed: dict[str, str] = {}
        self.stood_in: dict[str, tuple[int, float]] = {}
        if not len(self.table):
            raise InputError(f"{path}: the table has no rows; stars are needed.")

    @property
    def names(self) -> list[str]:
        """Names of the table's columns."""
        return list(self.table.colnames)

    def find(self, columns: Columns, optional: Sequence[str] = (), survey: Surveys = None) -> dict[str, Column]:
        """Columns of the table by internal name; those in ``optional`` may be absent and are then left out.

        Raises:
            InputError: If others are missing or ambiguous, or an optional one was not asked for.
        """
        asked = asked_columns(columns, self.names, survey)
        if strange := set(optional) - set(asked):
            raise InputError(f"optional columns {sorted(strange)} are not among the columns asked for: {list(asked)}.")
        sources = {name: column for name, column in asked.items() if column.column in self.names}
        missing = [name for name in asked if name not in sources and name not in optional]
        if missing:
            spelt = [asked[name].column for name in missing]
            raise InputError(f"{self.path}: no column {spelt} (for {missing}); the table has {self.names}.")
        return sources

    def values(self, name: str, column: Column) -> Values:
        """Values of an internal column, shape (N,), internal unit, NaN where not measured.

        Raises:
            InputError: If the column is not one number a star, has a wrong unit, an infinite value or a negative error.
        """
        label = f"{self.path}: column {column.column!r} (for {name!r})"
        numbers = _numbers(self.table[column.column], label)
        if name.endswith(ERROR) and default_unit(name) == "mag" and column.is_ratio:
            return magnitude_errors(numbers)
        numbers = self._without_stand_ins(name, column, numbers)
        values = _convert(numbers, self._unit(name, column, label), name, label)
        refuse(np.isinf(values), values, f"{label} is infinite", "mark it as missing (NaN or masked) or remove it")
        if column.missing is None:
            advice = (
                "mark it as missing (NaN or masked), or name it in the columns, {column: ..., missing: [the number]}"
            )
            refuse(impossible(name, values), values, f"{label} is a value that no star has", advice)
        if name.endswith(ERROR):
            refuse(values < 0, values, f"{label} is a negative error", "mark it as missing (NaN or masked)")
            advice = "mark it as missing (NaN or masked), or give the error it really has"
            refuse(values == 0, values, f"{label} is an error of zero", advice)
        if name.endswith(CORRELATION):
            refuse(np.abs(values) > 1, values, f"{label} is outside -1..1", "a correlation is not; check the column")
        return values

    def _without_stand_ins(self, name: str, column: Column, numbers: Values) -> Values:
        """The numbers with NaN where one stands for a missing value."""
        given = column.missing
        rows = stand_ins(name, numbers) if given is None else np.isin(numbers, np.array(given, dtype=np.float64))
        if rows.any() and given is None:
            self.stood_in[column.column] = int(rows.sum()), float(numbers[rows.argmax()])
        return np.where(rows, np.nan, numbers)

    def log_assumed(self) -> None:
        """Log once which columns had no unit, and which had numbers in the place of missing values."""
        if self.stood_in:
            text = ", ".join(f"{name} ({count} rows, e.g. {value:g})" for name, (count, value) in self.stood_in.items())
            logger.warning("%s: numbers that stand for missing values, taken as not measured: %s.", self.path, text)
            self.stood_in = {}
        if self.assumed:
            text = ", ".join(f"{name} [{unit}]" for name, unit in self.assumed.items())
            logger.info("%s: no unit in the table, assumed: %s.", self.path, text)
            self.assumed = {}

    def _unit(self, name: str, column: Column, label: str) -> Any:
        """Unit of a column: the one asked for, else the table's, else the default."""
        unit = self.table[column.column].unit
        blank = unit is None or unit == units.dimensionless_unscaled
        if column.unit is not None:
            if not blank and unit != _parse(column.unit, label):
                logger.warning("%s: unit %s of the table replaced by %s.", label, unit, column.unit)
            return _parse(column.unit, label)
        if blank and assumed_unit(name):
            self.assumed[column.column] = assumed_unit(name)
        return units.Unit(assumed_unit(name)) if blank else unit


def approximate_errors(
    reader: ColumnReader, errors: Errors, sources: Mapping[str, Column], known: Iterable[str]
) -> dict[str, Values]:
    """Error columns that the table lacks, by the rules of ``errors``.

    Arguments:
        reader: The table.
        errors: Rules by internal name, see `to_data`.
        sources: Columns by internal name, where ``of`` is looked up before the table's own names.
        known: Internal names that may be given an error.

    Returns:
        ``x_err`` to its values, shape (N,), unit of x.

    Raises:
        InputError: If a rule is wrong, or names a column that is not there or has an error already.
    """
    known, made = set(known), {}
    for name, rule in errors.items():
        if name not in known:
            raise InputError(f"{reader.path}: an error is given for {name!r}, not one of the columns {sorted(known)}.")
        if name + ERROR in sources:
            column = sources[name + ERROR].column
            raise InputError(f"{reader.path}: {name!r} has an error column {column!r}; remove it or errors[{name!r}].")
        made[name + ERROR] = _error(reader, name, rule, sources)
    if made:
        logger.info("%s: approximate errors: %s.", reader.path, ", ".join(f"{n}: {r}" for n, r in errors.items()))
    return made


def _error(reader: ColumnReader, name: str, rule: Any, sources: Mapping[str, Column]) -> Values:
    """Constant error, or one proportional to another error column."""
    rule = {"of": None, "factor": rule} if not isinstance(rule, Mapping) else rule
    factor = rule.get("factor")
    number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if set(rule) != {"of", "factor"} or not number or not 0 <= factor < np.inf:
        advice = "give a number >= 0 or {of: an error column, factor: a number >= 0}"
        raise InputError(f"{reader.path}: errors[{name!r}] = {rule}; {advice}.")
    if rule["of"] is None:
        return np.full(len(reader.table), float(factor))
    other = rule["of"]
    column = sources[other] if other in sources else reader.find([other])[other]
    return float(factor) * reader.values(other, column)


def magnitude_errors(ratio: Values) -> Values:
    """Errors of magnitudes [mag], from ratios of a flux to its error; NaN where the ratio is not above zero.

    To first order, as sigma_m = 2.5 / ln(10) sigma_F / F; that of the zero point is not included.
    """
    return np.divide(2.5 / np.log(10), ratio, out=np.full(ratio.shape, np.nan), where=ratio > 0)


def asked_columns(columns: Columns, names: Sequence[str], survey: Surveys = None) -> dict[str, Column]:
    """What is asked for, as internal name to column."""
    if isinstance(columns, str):
        columns = (columns,)
    if not isinstance(columns, Mapping):
        columns = {name: find_column(name, names, survey) or name for name in columns}
    if not columns:
        raise InputError("no columns are asked for; name at least one.")
    return {name: Column(where) if isinstance(where, str) else where for name, where in columns.items()}


def _numbers(column: Any, label: str) -> Values:
    """Values as native float64, NaN where masked."""
    if not isinstance(column, TableColumn) or column.dtype.kind not in "iuf" or column.ndim != 1:
        content = f"type {getattr(column, 'dtype', type(column).__name__)}, shape {column.shape}"
        row = _first_text(column)
        raise InputError(
            f"{label} holds {content}, e.g. {str(column[row])!r} in row {row}; one number a star is needed."
        )
    mask = np.ma.getmaskarray(np.ma.asarray(column))
    return np.where(mask, np.nan, np.asarray(column).astype(np.float64))


def _first_text(column: Any) -> int:
    """The first row that holds what is no number, 0 if none does."""
    texts = [str(value) for value in column] if getattr(column, "ndim", 0) == 1 else []
    return next((row for row, text in enumerate(texts) if not _is_number(text)), 0)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(unit: str, label: str) -> Any:
    try:
        return units.Unit(unit)
    except (ValueError, TypeError) as error:
        raise InputError(f"{label}: unit {unit!r} is unknown; use a unit of astropy.") from error


def _convert(numbers: Values, unit: Any, name: str, label: str) -> Values:
    """Numbers in the internal unit; a magnitude of any zero point, mag(AB), is in mag, and a dex stays a dex."""
    if isinstance(unit, units.UnrecognizedUnit):
        unit = units.Unit(unit.name, parse_strict="silent")  # valid in astropy, not in the standard of the file
    unit = units.dex if str(unit) == "dex" else getattr(unit, "function_unit", unit)  # a VOTable's is a deci-"ex"
    target = units.Unit(default_unit(name))
    if unit == units.dex and is_band(name.removesuffix(ERROR)):
        raise InputError(f"{label} has unit 'dex', and is a magnitude; name the unit of its values in the columns.")
    if unit == units.dex and target in (units.mag, units.dex):
        return numbers  # astropy would make -2.5 mag of a dex of an abundance
    if target == units.dex and unit == units.dimensionless_unscaled:
        return numbers
    try:
        if target == units.dex:
            raise units.UnitConversionError(f"a dex is not made of {unit}")
        return np.asarray(unit.to(target, numbers), dtype=np.float64)
    except (units.UnitConversionError, TypeError, ValueError) as error:
        advice = f"'{target}' is needed; name the unit of its values in the columns"
        raise InputError(f"{label} has unit '{unit}'; {advice}.") from error


def refuse(bad: NDArray[np.bool_], values: Values, what: str, advice: str) -> None:
    """Stop at the first bad value, with its row."""
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"{what} in {int(bad.sum())} rows, e.g. {values[row]} in row {row}; {advice}.")
