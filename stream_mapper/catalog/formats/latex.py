"""Tables for a paper."""

from __future__ import annotations

from pathlib import Path

from astropy.io import ascii as text
from astropy.table import Table

from stream_mapper.catalog.files import replace_file

_SPECIAL = str.maketrans({letter: "\\" + letter for letter in "_&%#${}"})


def escaped(words: str) -> str:
    """Words in which LaTeX finds no commands."""
    return words.translate(_SPECIAL)


def write_deluxetable(table: Table, path: Path, caption: str) -> None:
    """Write cells of LaTeX as a ``deluxetable*`` of AASTeX.

    Arguments:
        table: Columns of text, called by their labels; units get a line of their own.
        path: The file.
        caption: The caption, in LaTeX.
    """
    options = {"tabletype": "deluxetable*", "caption": caption}
    replace_file(path, lambda new: text.write(table, str(new), format="aastex", latexdict=options, overwrite=True))
