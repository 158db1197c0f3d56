"""Stars of a field from the Gaia archive: the text of the queries, the jobs, the slices on disk and their union."""

from stream_mapper.catalog.queries.adql import CATALOGUES, Request
from stream_mapper.catalog.queries.archive import GAIA_ARCHIVE, Archive, Patience
from stream_mapper.catalog.queries.field import Field, Slice
from stream_mapper.catalog.queries.merge import merge
from stream_mapper.catalog.queries.work import WorkingFolder

__all__ = ["CATALOGUES", "GAIA_ARCHIVE", "Archive", "Field", "Patience", "Request", "Slice", "WorkingFolder", "merge"]
