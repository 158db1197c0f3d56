"""VOTable with units, UCDs, descriptions and, as INFO, the table's metadata, which astropy leaves out."""

from __future__ import annotations

from pathlib import Path

from astropy.io.votable import from_table, parse
from astropy.io.votable.tree import Info
from astropy.table import Table, represent_mixins_as_columns

from stream_mapper.catalog.metadata import plain


def read_votable(path: Path) -> Table:
    """The table of a file, with the INFO of its resource and of the table itself as metadata, which is text."""
    votable = parse(path)
    table = Table.read(votable, format="votable")
    for column in (c for c in table.columns.values() if c.info.description):
        column.info.description = " ".join(column.info.description.split())  # the writer breaks lines
    infos = [*(info for resource in votable.resources for info in resource.infos)]
    infos += [info for one in votable.iter_tables() for info in one.infos]
    table.meta |= {info.name: info.value for info in infos if info.name not in table.meta}
    return table


def write_votable(table: Table, path: Path) -> None:
    """Write a table; what of its metadata is no number or text is left out."""
    flat = represent_mixins_as_columns(Table(table, copy=False))
    votable = from_table(flat)
    infos = [Info(name=key, value=str(value)) for key, value in plain(table.meta).items()]
    votable.resources[0].infos.extend(infos)
    votable.to_xml(str(path))
