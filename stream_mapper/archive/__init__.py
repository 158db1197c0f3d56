"""Stars of a field from the Gaia archive: the text of the queries, the jobs, the slices on disk and their union."""

from stream_mapper.archive.adql import CATALOGUES, CROSSMATCHES, Request
from stream_mapper.archive.archive import GAIA_ARCHIVE, Archive, Patience
from stream_mapper.archive.field import Field, Slice
from stream_mapper.archive.merge import merge
from stream_mapper.archive.work import WorkingFolder

__all__ = [
    "CATALOGUES",
    "CROSSMATCHES",
    "GAIA_ARCHIVE",
    "Archive",
    "Field",
    "Patience",
    "Request",
    "Slice",
    "WorkingFolder",
    "merge",
]
