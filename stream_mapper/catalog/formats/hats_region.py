"""The stars of a part of the sky, copied out of a HATS catalogue in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_mapper.catalog.formats.chunks import Chunk, ParquetRows, write_chunks
from stream_mapper.catalog.formats.hats_folders import catalogues_of, is_hats, pixels_of, properties_of
from stream_mapper.errors import InputError

_CHUNK = 262_144  # stars in memory at once

Values = NDArray[np.float64]


class Region(Protocol):
    """A part of the sky."""

    def contains(self, ra: Values, dec: Values) -> NDArray[np.bool_]:
        """Which stars are in it, shape (N,)."""

    def may_touch(self, ra: Values, dec: Values, radius: float) -> NDArray[np.bool_]:
        """Which circles of a radius [deg] about some places [deg] may have a part of it in them, shape (N,)."""


def copy_region(source: Path, target: Path, region: Region) -> int:
    """Write the stars of a part of the sky to a file of Parquet, whole or not at all; the number of its stars.

    Files of pixels that the part does not touch are not opened. Of a collection it is the catalogue that is read, not
    its margins.

    Arguments:
        source: The HATS catalogue or collection.
        target: The file; it is not written where there are no stars.
        region: The part of the sky.

    Raises:
        InputError: If the catalogue is none of HATS, has no columns of places, or cannot be read.
    """
    if not is_hats(source):
        raise InputError(f"{source}: is no HATS catalogue or collection, a folder with hats.properties and dataset.")
    catalogue, *_ = catalogues_of(source)
    files = files_near(catalogue, region)
    if not files:
        return 0
    properties = properties_of(catalogue)
    like, count = ParquetRows(files[0]), [0]
    places = [str(properties.ra_column), str(properties.dec_column)]
    if lost := [name for name in places if name not in like.names]:
        raise InputError(f"{catalogue}: its places are in {places}, and it has no column {lost}.")

    def stars() -> Iterator[Chunk]:
        for file in files:
            rows = ParquetRows(file)
            rows.check_like(like)
            for chunk in rows.chunks(_CHUNK):
                kept = chunk.filter(pa.array(region.contains(*(_numbers(chunk[name]) for name in places))))
                count[0] += len(kept)
                if len(kept):
                    yield kept

    chunks = stars()
    if (first := next(chunks, None)) is None:
        return 0
    write_chunks(target, like.schema, _after(first, chunks))
    return count[0]


def files_near(catalogue: Path, region: Region) -> list[Path]:
    """The files of the pixels of a HATS catalogue that a part of the sky may touch, in the order of their names."""
    found: list[Path] = []
    pixels = pixels_of(catalogue)
    for order in sorted({one.order for one in pixels}):
        own = [one for one in pixels if one.order == order]
        near = region.may_touch(*_centres(order, [one.pixel for one in own]), _radius(order))
        found += [file for one, is_near in zip(own, near, strict=True) if is_near for file in one.files]
    return sorted(found)


def _after(first: Chunk, others: Iterator[Chunk]) -> Iterator[Chunk]:
    yield first
    yield from others


def _numbers(column: Any) -> Values:
    """A column, NaN where it has no value."""
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _centres(order: int, pixels: list[int]) -> tuple[Values, Values]:
    """Ra and dec [deg] of the centres of pixels in the nested scheme, each (N,)."""
    from cdshealpix.nested import healpix_to_lonlat  # noqa: PLC0415 (it comes with the package that reads HATS)

    lon, lat = healpix_to_lonlat(np.array(pixels, dtype=np.uint64), order)
    return np.asarray(lon.deg), np.asarray(lat.deg)


def _radius(order: int) -> float:
    """The greatest distance of a corner of a pixel from its centre [deg]: that of those that touch |z| = 2 / 3."""
    side = 2**order
    first, second = (2 / 3, math.pi / (4 * side)), (1 - (1 - 1 / side) ** 2 / 3, 0.0)
    x, y = ((math.sqrt(1 - z * z) * math.cos(at), math.sqrt(1 - z * z) * math.sin(at), z) for z, at in (first, second))
    return math.degrees(math.acos(sum(a * b for a, b in zip(x, y, strict=True)))) * (1 + 1e-9)
