"""Tables for a paper."""

from __future__ import annotations

from pathlib import Path

from astropy.io import ascii as text
from astropy.table import Table
from astropy.units import UnrecognizedUnit

from stream_mapper.catalog.files import replace_file

_COMMANDS = {
    "\\": "textbackslash",
    "~": "textasciitilde",
    "^": "textasciicircum",
    "<": "textless",
    ">": "textgreater",
    "|": "textbar",
}
_SPECIAL = str.maketrans(
    {letter: "\\" + letter for letter in "_&%#${}"} | {letter: f"\\{name}{{}}" for letter, name in _COMMANDS.items()}
)


def escaped(words: str) -> str:
    r"""Words in which LaTeX finds no commands, on one line.

    >>> escaped("A_1 & \\input{x}")
    'A\\_1 \\& \\textbackslash{}input\\{x\\}'
    """
    return " ".join("".join(letter if letter.isprintable() else " " for letter in words).split()).translate(_SPECIAL)


def write_deluxetable(table: Table, path: Path, caption: str) -> None:
    """Write cells of LaTeX as a ``deluxetable*`` of AASTeX.

    Arguments:
        table: Columns of text, called by their labels; units get a line of their own, if they are known ones.
        path: The file.
        caption: The caption, in LaTeX.
    """
    table = Table(table, copy=True)
    for column in table.itercols():
        column.unit = None if isinstance(column.unit, UnrecognizedUnit) else column.unit
    options = {"tabletype": "deluxetable*", "caption": caption}
    replace_file(path, lambda new: text.write(table, str(new), format="aastex", latexdict=options, overwrite=True))
