"""The working folder: slices that are done, and a list of them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from astropy.table import Table
from numpy.typing import NDArray

from stream_mapper.archive.adql import Request
from stream_mapper.archive.answer import Answer
from stream_mapper.archive.archive import Archive
from stream_mapper.archive.field import Field, Slice
from stream_mapper.catalog.files import replace_file
from stream_mapper.catalog.io import write_table
from stream_mapper.errors import InputError
from stream_mapper.progress import progress
from stream_mapper.utils import floats

logger = logging.getLogger("stream_mapper")

MANIFEST = "manifest.json"
# Slices are not cut narrower than this [deg].
NARROWEST = 1e-3
_NO_MAGNITUDE = 90.0  # mag: Pan-STARRS1 writes -999 for none, DES and DELVE 99


class SliceFile(NamedTuple):
    """A slice on disk, with what the manifest says of it: ``adql``, ``rows``, ``date``, ``archive``, ``file``."""

    slice: Slice
    path: Path
    entry: dict[str, Any]


class WorkingFolder:
    """Slices on disk, by the hash of their query and the archive's address; those that are there are not asked again.

    Arguments:
        path: The folder; it is made if its parent exists.
        field: The field.
        request: What is asked for.
        limit: A slice of as many rows, or one that the archive cut short, is split in two.

    Raises:
        InputError: If the folder cannot be made, or its manifest cannot be read.
    """

    def __init__(self, path: Path, field: Field, request: Request, limit: int) -> None:
        self.path, self.field, self.request, self.limit = path, field, request, limit
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"working folder {path} cannot be made ({error.strerror}).") from error
        self.manifest = _read_manifest(path / MANIFEST)

    def fetch(self, slices: list[Slice], archive: Archive) -> list[SliceFile]:
        """All slices, in the order of phi1; those that were split, in parts.

        Raises:
            InputError: If the archive refuses a query, or a slice cannot be split further.
            ConnectionError: If the archive failed in all attempts; the slices that are done are kept.
            KeyboardInterrupt: With a line about what is kept.
        """
        try:
            return [file for asked in progress(slices, "slices of the field") for file in self._files(asked, archive)]
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"finished slices are kept in {self.path}; the same command goes on") from None

    def _files(self, asked: Slice, archive: Archive) -> Iterator[SliceFile]:
        """A slice, or its halves if it is too large."""
        adql = self.request.adql(self.field.polygon(asked))
        key = hashlib.sha256(f"{archive.url}\n{adql}".encode()).hexdigest()[:16]
        entry = self._done(key) or self._fetch(asked, key, adql, archive)
        if entry["split"]:
            for half in asked.halves():
                yield from self._files(half, archive)
        else:
            yield SliceFile(asked, self.path / entry["file"], entry)

    def _done(self, key: str) -> dict[str, Any] | None:
        """What the manifest says of a slice, if its file is there too, whole."""
        entry = self.manifest.get(key)
        if entry is None or entry["split"]:
            return entry if entry is None or entry["limit"] >= self.limit else None
        try:
            rows = pq.ParquetFile(self.path / entry["file"]).metadata.num_rows
        except Exception:  # missing, or not Parquet: fetched again
            return None
        return entry if rows == entry["rows"] else None

    def _fetch(self, asked: Slice, key: str, adql: str, archive: Archive) -> dict[str, Any]:
        """Ask the archive for a slice and note the outcome."""
        try:
            answer = archive.run(adql, self.limit, self.path / f".{key}.vot.gz").with_names(self.request.names)
        except (InputError, ConnectionError) as error:
            raise type(error)(f"slice {asked}: {error}; what is done is kept in {self.path}.") from error
        rows, split = len(answer.table), answer.overflow or len(answer.table) >= self.limit
        entry: dict[str, Any] = {
            "slice": list(asked),
            "rows": rows,
            "split": split,
            "limit": self.limit,
            "file": f"{key}.parquet",
        }
        entry |= {"archive": archive.url, "date": datetime.now(UTC).isoformat(timespec="seconds"), "adql": adql}
        if split:
            self._check_width(asked, rows)
            logger.info("slice %s: more than the %d rows that came; it is cut in two.", asked, rows)
        else:
            stars = _cleaned(answer, self.request)
            entry["rows"] = len(stars)
            write_table(stars, self.path / entry["file"])
            logger.info("slice %s: %d stars.", asked, len(stars))
        self._note(key, entry)
        return entry

    def _check_width(self, asked: Slice, rows: int) -> None:
        if asked.high - asked.low < 2 * NARROWEST:
            advice = "give cuts, or a higher row_limit if the archive grants it"
            raise InputError(f"slice {asked} has more than {rows} rows and cannot be cut narrower; {advice}.")

    def _note(self, key: str, entry: dict[str, Any]) -> None:
        self.manifest[key] = entry
        text = json.dumps(self.manifest, indent=1)
        replace_file(self.path / MANIFEST, lambda new: new.write_text(text))


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); remove it to begin anew.") from error


def _cleaned(answer: Answer, request: Request) -> Table:
    """Rows by source_id, whose order the archive leaves open, one a star, and without the numbers for "none"."""
    order = np.lexsort([*_preference(answer.table, request), np.asarray(answer.table["source_id"])])
    table = answer.table[order]
    if not all(one.single for one in request.joined):
        table = table[np.diff(np.asarray(table["source_id"]), prepend=-1) != 0]
    magnitudes = {name for one in request.joined for name in one.names if "mag" in name}
    for name in magnitudes & set(table.colnames):
        values = np.ma.asarray(table[name])
        none = np.ma.filled(np.abs(values) >= _NO_MAGNITUDE, False)
        if none.any():
            table[name] = table.MaskedColumn(table[name], mask=none | np.ma.getmaskarray(values))
    return table


def _preference(table: Table, request: Request) -> list[NDArray[np.float64]]:
    """What decides between several rows of a star, the least first: the last of the list counts most."""
    keys = []
    names = {name for one in request.joined if not one.single for name in one.names}
    if "vrad_err" in names:
        keys.append(floats(table["vrad_err"]))
    if "survey_ra" in names:
        ra, dec, other, height = (np.radians(floats(table[c])) for c in ("ra", "dec", "survey_ra", "survey_dec"))
        east = np.mod(other - ra + np.pi, 2 * np.pi) - np.pi
        keys.append(np.nan_to_num(np.hypot(east * np.cos(dec), height - dec), nan=np.inf))
    return keys
