"""From the columns of a table to `Data`: names, units, missing values, errors."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from astropy import units
from astropy.table import Column as TableColumn
from astropy.table import Table
from numpy.typing import NDArray

from stream_mapper.catalog.schema import CORRELATION, assumed_unit, default_unit, find_column, is_magnitude
from stream_mapper.catalog.surveys import ERROR, Surveys
from stream_mapper.data import Data
from stream_mapper.errors import InputError

if TYPE_CHECKING:
    from stream_mapper.catalog.corrections import Corrections

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
    """

    column: str
    unit: str | None = None
    form: str | None = None

    def __post_init__(self) -> None:
        if self.form not in (None, FLUX_OVER_ERROR):
            wish = f"leave it out, or give {FLUX_OVER_ERROR}"
            raise InputError(f"column {self.column!r}: form {self.form!r} is unknown; {wish}.")

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
        asked = _asked(columns, self.names, survey)
        if strange := set(optional) - set(asked):
            raise InputError(f"optional columns {sorted(strange)} are not among the columns asked for: {list(asked)}.")
        found = {name: column for name, column in asked.items() if column.column in self.names}
        missing = [name for name in asked if name not in found and name not in optional]
        if missing:
            spelt = [asked[name].column for name in missing]
            raise InputError(f"{self.path}: no column {spelt} (for {missing}); the table has {self.names}.")
        return found

    def values(self, name: str, column: Column) -> Values:
        """Values of an internal column, shape (N,), internal unit, NaN where not measured.

        Raises:
            InputError: If the column is not one number a star, has a wrong unit, an infinite value or a negative error.
        """
        label = f"{self.path}: column {column.column!r} (for {name!r})"
        numbers = _numbers(self.table[column.column], label)
        if name.endswith(ERROR) and default_unit(name) == "mag" and column.is_ratio:
            return magnitude_errors(numbers)
        values = _convert(numbers, self._unit(name, column, label), name, label)
        _refuse(np.isinf(values), values, f"{label} is infinite", "mark it as missing (NaN or masked) or remove it")
        if name.endswith(ERROR):
            _refuse(values < 0, values, f"{label} is a negative error", "mark it as missing (NaN or masked)")
            wish = "mark it as missing (NaN or masked), or give the error it really has"
            _refuse(values == 0, values, f"{label} is an error of zero", wish)
        if name.endswith(CORRELATION):
            _refuse(np.abs(values) > 1, values, f"{label} is outside -1..1", "a correlation is not; check the column")
        return values

    def log_assumed(self) -> None:
        """Say once which columns had no unit."""
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

    Returns:
        One column of shape (N,) per name asked for, and one per entry of ``errors``.

    Raises:
        InputError: If a column is missing or unusable, or the table has no rows.
    """
    reader, errors = ColumnReader(table, path), errors or {}
    supplied = {name + ERROR for name in errors}
    asked = _asked(columns, reader.names, survey)
    found = reader.find(asked, [*optional, *(supplied & set(asked))])
    _say_found(found, columns, path)
    arrays = {name: reader.values(name, column) for name, column in found.items()}
    arrays |= approximate_errors(reader, errors, found, [*found, *optional])
    absent = [name for name in optional if name not in arrays]
    arrays |= {name: np.full(len(reader.table), np.nan) for name in absent}
    if corrections:
        arrays = corrections.apply(arrays, reader, found, survey)
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
    asked = _asked(columns, names, survey)
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
    asked, supplied = _asked(columns, names, survey), {name + ERROR for name in errors or {}}
    return [name for name in optional if asked[name].column not in names and name not in supplied]


def approximate_errors(
    reader: ColumnReader, errors: Errors, found: Mapping[str, Column], known: Iterable[str]
) -> dict[str, Values]:
    """Error columns that the table lacks, by the rules of ``errors``.

    Arguments:
        reader: The table.
        errors: Rules by internal name, see `to_data`.
        found: Columns by internal name, where ``of`` is looked up before the table's own names.
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
        if name + ERROR in found:
            column = found[name + ERROR].column
            raise InputError(f"{reader.path}: {name!r} has an error column {column!r}; remove it or errors[{name!r}].")
        made[name + ERROR] = _error(reader, name, rule, found)
    if made:
        logger.info("%s: approximate errors: %s.", reader.path, ", ".join(f"{n}: {r}" for n, r in errors.items()))
    return made


def _error(reader: ColumnReader, name: str, rule: Any, found: Mapping[str, Column]) -> Values:
    """Constant error, or one proportional to another error column."""
    rule = {"of": None, "factor": rule} if not isinstance(rule, Mapping) else rule
    factor = rule.get("factor")
    number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if set(rule) != {"of", "factor"} or not number or not 0 <= factor < np.inf:
        wish = "give a number >= 0 or {of: an error column, factor: a number >= 0}"
        raise InputError(f"{reader.path}: errors[{name!r}] = {rule}; {wish}.")
    if rule["of"] is None:
        return np.full(len(reader.table), float(factor))
    source = rule["of"]
    column = found[source] if source in found else reader.find([source])[source]
    return float(factor) * reader.values(source, column)


def magnitude_errors(ratio: Values) -> Values:
    """Errors of magnitudes [mag], from ratios of a flux to its error; NaN where the ratio is not above zero.

    To first order, as sigma_m = 2.5 / ln(10) sigma_F / F; that of the zero point is not included.
    """
    return np.divide(2.5 / np.log(10), ratio, out=np.full(ratio.shape, np.nan), where=ratio > 0)


def _say_found(found: Mapping[str, Column], columns: Columns, path: str) -> None:
    """Say which columns were taken for magnitudes, unless they were named."""
    if not isinstance(columns, Mapping):
        bands = {n: c.column for n, c in found.items() if is_magnitude(n.removesuffix(ERROR)) and c.column != n}
        if bands:
            logger.info("%s: read %s.", path, ", ".join(f"{name} from {column}" for name, column in bands.items()))


def _asked(columns: Columns, names: Sequence[str], survey: Surveys = None) -> dict[str, Column]:
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
        found = f"type {getattr(column, 'dtype', type(column).__name__)}, shape {column.shape}"
        row = _first_text(column)
        raise InputError(f"{label} holds {found}, e.g. {str(column[row])!r} in row {row}; one number a star is needed.")
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
    """Numbers in the internal unit; a magnitude of any zero point, mag(AB), is in mag."""
    if isinstance(unit, units.UnrecognizedUnit):
        unit = units.Unit(unit.name, parse_strict="silent")  # valid in astropy, not in the standard of the file
    unit = getattr(unit, "function_unit", unit)
    target = units.Unit(default_unit(name))
    try:
        return np.asarray(unit.to(target, numbers), dtype=np.float64)
    except (units.UnitConversionError, TypeError, ValueError) as error:
        wish = f"'{target}' is needed; name the unit of its values in the columns"
        raise InputError(f"{label} has unit '{unit}'; {wish}.") from error


def _refuse(bad: NDArray[np.bool_], values: Values, what: str, wish: str) -> None:
    """Stop at the first bad value, with its row."""
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"{what} in {int(bad.sum())} rows, e.g. {values[row]} in row {row}; {wish}.")


def warn_unmeasured(names: Sequence[str], path: str) -> None:
    """Warn of columns without a single value, if there are any."""
    if names:
        logger.warning("%s: not one value is measured in %s.", path, list(names))


def _tensor(values: Values, dtype: torch.dtype, label: str) -> torch.Tensor:
    tensor = torch.from_numpy(values).to(dtype)
    _refuse(tensor.isinf().numpy(), values, f"{label} is too large for {dtype}", "mark it as missing (NaN or masked)")
    return tensor
