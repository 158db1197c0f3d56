"""VOTable with units, UCDs, descriptions and, as INFO, the table's metadata, which astropy leaves out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io.votable import from_table, parse
from astropy.io.votable.tree import Info, TableElement, VOTableFile
from astropy.table import Table, represent_mixins_as_columns

from stream_mapper.catalog.metadata import plain
from stream_mapper.errors import InputError

_log = logging.getLogger("stream_mapper")

STATUS = "QUERY_STATUS"


def read_votable(path: Path) -> Table:
    """The table of a file, with the INFO of its resource and of the table itself as metadata, which is text.

    Columns are called by their names, which every tool shows, and not by their IDs.

    Raises:
        InputError: If it holds no table, several, two columns of one name, or the error of a query.
    """
    votable = parse(path)
    table = _the_table(path, votable).to_table(use_names_over_ids=True)
    for column in (c for c in table.columns.values() if c.info.description):
        column.info.description = " ".join(column.info.description.split())  # the writer breaks lines
    infos = [*(info for resource in votable.resources for info in resource.infos)]
    infos += [info for one in votable.iter_tables() for info in one.infos]
    table.meta |= {info.name: info.value for info in infos if info.name not in table.meta}
    _heed_status(path, [info for info in infos if (info.name or "").upper() == STATUS])
    return table


def _the_table(path: Path, votable: VOTableFile) -> TableElement:
    """The only table of a file."""
    tables = list(votable.iter_tables())
    if len(tables) != 1:
        raise InputError(f"{path}: holds {len(tables)} tables; write the one with the stars to a file of its own.")
    names = [field.name for field in tables[0].fields]
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path}: more than one column is called {doubles}; give every column a name of its own.")
    return tables[0]


def _heed_status(path: Path, infos: Sequence[Info]) -> None:
    """Warn of an answer that was cut short, and refuse that of a query that failed."""
    states = {str(info.value).upper(): str(info.content or "") for info in infos}
    if "ERROR" in states:
        raise InputError(f"{path}: is the answer to a query that failed: {states['ERROR'] or 'no message'}")
    if "OVERFLOW" in states:
        text = "%s: %s is OVERFLOW: the archive cut the answer short, so stars are missing; ask for more rows at once."
        _log.warning(text, path, STATUS)


def write_votable(table: Table, path: Path) -> None:
    """Write a table; what of its metadata is no number or text is left out."""
    flat = represent_mixins_as_columns(Table(table, copy=False))
    for name in [name for name in flat.colnames if flat[name].dtype == np.int8]:  # which a VOTable has not
        flat[name] = flat[name].astype(np.int16)
    votable = from_table(flat)
    infos = [Info(name=key, value=str(value)) for key, value in plain(table.meta).items()]
    votable.resources[0].infos.extend(infos)
    votable.to_xml(str(path))
