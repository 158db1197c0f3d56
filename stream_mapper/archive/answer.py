"""What an archive answers: a table, with a note if it is not all of it, or an error."""

from __future__ import annotations

import html
import re
import warnings
from pathlib import Path
from typing import NamedTuple

from astropy.io import votable
from astropy.table import Table

from stream_mapper.errors import InputError


class TransientError(Exception):
    """A failure that another attempt may mend."""


class RefusedError(Exception):
    """A refusal, which no other attempt mends."""


class Answer(NamedTuple):
    """A table, and whether the archive left rows out."""

    table: Table
    overflow: bool

    def with_names(self, names: tuple[str, ...]) -> Answer:
        """The same columns spelt as they were asked for; the archive writes some in capitals.

        Raises:
            InputError: If one is missing.
        """
        spelt = {name.lower(): name for name in self.table.colnames}
        if missing := [name for name in names if name.lower() not in spelt]:
            raise InputError(f"the archive's answer lacks the columns {missing}; it has {self.table.colnames}.")
        table = self.table[[spelt[name.lower()] for name in names]]
        table.rename_columns(table.colnames, names)
        return Answer(table, self.overflow)


# What the archives' parsers say of a query that is at fault, whatever the status it comes with.
_AT_FAULT = re.compile(
    r"cannot parse|unresolved|unknown (column|table|function)|does not exist|syntax|incorrect", re.IGNORECASE
)
_RETRIED = (408, 425, 429)
_INFO = re.compile(r"<INFO[^>]*QUERY_STATUS[^>]*>(.*?)</INFO>", re.DOTALL)
_MESSAGE = re.compile(r"<b>Message:\s*</b>(.*?)</li>", re.DOTALL)


def failure(text: str, status: int | None = None) -> TransientError | RefusedError:
    """The error of a job, or of a request with its status: worth another attempt, or not."""
    message = message_of(text) or "no message"
    said = message if status is None else f"status {status}: {message}"
    ours = _AT_FAULT.search(message) or (status is not None and status < 500 and status not in _RETRIED)
    return RefusedError(said) if ours else TransientError(f"the archive failed ({said})")


def message_of(text: str) -> str:
    """The message in a VOTable or a page of HTML, on one line."""
    match = _INFO.search(text) or _MESSAGE.search(text)
    plain = html.unescape(re.sub(r"<[^>]*>", " ", match[1] if match else text))
    return " ".join(plain.split())[:400].rstrip(".")


def read_answer(path: Path) -> Answer:
    """The table of a VOTable, gzipped or not, with units, descriptions and UCDs.

    Raises:
        TransientError: If the file is not complete.
        RefusedError: If the query was at fault.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy minds some of the archives' units
            document = votable.parse(path)
            table = document.get_first_table().to_table(use_names_over_ids=True)
    except Exception as error:
        raise TransientError(f"the archive's answer is not complete ({message_of(str(error))})") from error
    infos = [info for resource in document.resources for info in resource.infos if info.name == "QUERY_STATUS"]
    states = {info.value.upper(): info.content or "" for info in infos}
    if "ERROR" in states:
        raise failure(states["ERROR"])
    return Answer(_as_text(table), "OVERFLOW" in states)


def _as_text(table: Table) -> Table:
    """The table with strings of any length as text, which is kept with its gaps."""
    for name in [name for name in table.colnames if table[name].dtype.kind == "O"]:
        table[name] = table[name].astype(str)
    table.convert_bytestring_to_unicode()
    return table
