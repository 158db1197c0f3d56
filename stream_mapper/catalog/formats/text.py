"""Tables of text, CSV and ECSV: whole, in UTF-8, every row as long as the header, ``null`` for a missing number."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from astropy.table import Table

from stream_mapper.errors import InputError

_log = logging.getLogger("stream_mapper")

CSV, ECSV = "ascii.csv", "ascii.ecsv"
_NULLS = ("null", "NULL", "Null")  # which the archive of Gaia writes for a missing number
_NUMBERS = ("int", "uint", "float", "bool", "complex")
_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_FIELD = 1 << 24  # letters of a field


def read_csv(path: Path) -> Table:
    """The table of a CSV.

    Raises:
        InputError: If it is not in UTF-8, two columns have one name, or a row has not as many fields as the header.
    """
    text = _text(path)
    _check_rows(path, text)
    return _read(text, CSV, [(null, "0") for null in ("", *_NULLS)])


def read_ecsv(path: Path) -> Table:
    """The table of an ECSV, ``null`` in a column of numbers being a missing one, as in Gaia's bulk files.

    Raises:
        InputError: If it is not in UTF-8.
    """
    text = _text(path)
    if not any(null in text for null in _NULLS):
        return _read(text, ECSV)
    header = _read("".join(_header(text)), ECSV)
    numbers = [name for name in header.colnames if header[name].dtype.name.startswith(_NUMBERS)]
    return _read(text, ECSV, [(null, "0", *numbers) for null in _NULLS] if numbers else None)


def _read(text: str, kind: str, fills: list[tuple[str, ...]] | None = None) -> Table:
    options: dict[str, Any] = {} if fills is None else {"fill_values": fills}
    return Table.read(text.replace("\r\n", "\n").split("\n"), format=kind, **options)


def _text(path: Path) -> str:
    """The text of a file, without the mark that some editors put at its beginning."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        kind = _ENCODINGS.get(raw[:2], "another encoding")
        raise InputError(f"{path}: is in {kind}, not in UTF-8 (line {line}); save it as UTF-8.") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{path}: line {line} has a null byte, which text has not; is the file complete?")
    if text and not text.endswith(("\n", "\r")):
        _log.warning("%s: does not end with a line break, so its last row may have been cut short.", path)
    return text


def _check_rows(path: Path, text: str) -> None:
    """Raise InputError for two columns of one name, and for a row that has not as many fields as there are columns."""
    names: list[str] = []
    csv.field_size_limit(_FIELD)
    with suppress(csv.Error):  # the reader says what is wrong
        for line, row in _rows(text):
            if not names:
                names = [name.strip() for name in row]
                if doubles := sorted({name for name in names if name and names.count(name) > 1}):
                    advice = "give every column a name of its own"
                    raise InputError(f"{path}: more than one column is called {doubles}; {advice}.")
            elif len(row) != len(names):
                raise InputError(
                    f"{path}: line {line} has {len(row)} fields, the header {len(names)}; is the file complete?"
                )


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with their lines."""
    reader = csv.reader(io.StringIO(text, newline=""))
    return ((reader.line_num, row) for row in reader if len(row) > 1 or "".join(row).strip())


def _header(text: str) -> Iterator[str]:
    """The comments of an ECSV and the line of its names."""
    for line in io.StringIO(text):
        yield line
        if line.strip() and not line.startswith("#"):
            return
