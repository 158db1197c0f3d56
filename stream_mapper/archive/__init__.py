"""Stars of a field from an archive that has Gaia's: the text of queries, the jobs, the slices on disk, their union."""

from stream_mapper.archive.adql import CATALOGUES, Request
from stream_mapper.archive.archive import GAIA_ARCHIVE, Archive, Patience, check_address
from stream_mapper.archive.field import Field, Slice
from stream_mapper.archive.merge import merge
from stream_mapper.archive.services import CROSSMATCHES, DATA_LAB, SPECTRA
from stream_mapper.archive.work import WorkingFolder

__all__ = [
    "CATALOGUES",
    "CROSSMATCHES",
    "DATA_LAB",
    "GAIA_ARCHIVE",
    "SPECTRA",
    "Archive",
    "Field",
    "Patience",
    "Request",
    "Slice",
    "WorkingFolder",
    "check_address",
    "merge",
]
