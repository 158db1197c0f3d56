"""A table as a new HATS catalogue, by the package ``hats``."""

from __future__ import annotations

import os
import shutil
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from astropy.table import Table

from stream_mapper.catalog.formats.hats_folders import PROPERTIES, module_of_hats
from stream_mapper.catalog.formats.parquet import to_arrow

_MOST_ORDER = 8
_INDEX, _INDEX_ORDER = "_healpix_29", 29


def can_write_hats() -> bool:
    """Whether the package that writes HATS is installed."""
    return find_spec("hats") is not None


def write_hats(table: Table, target: Path, name: str, builder: str, rows: int = 100_000) -> None:
    """Write a table as a HATS catalogue, whole or not at all; one that is there is replaced.

    The same table gives the same bytes: the catalogue says nothing of when it was made.

    Arguments:
        table: Stars with ``ra`` and ``dec`` [deg], all of which have a place.
        target: The folder of the catalogue.
        name: Its name.
        builder: What made it, and its version.
        rows: Stars of a pixel, if pixels of the smallest size that is used allow it.

    Raises:
        InputError: If the package is not installed.
    """
    new = target.with_name(f".{uuid.uuid4().hex}-{target.name}")
    try:
        _write(table, new, name, builder, rows)
        old = target.with_name(f"{new.name}.old")
        if target.exists():
            target.replace(old)
        os.replace(new, target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _write(table: Table, folder: Path, name: str, builder: str, rows: int) -> None:
    index = module_of_hats("pixel_math.spatial_index", folder).compute_spatial_index(
        np.asarray(table["ra"], dtype=np.float64), np.asarray(table["dec"], dtype=np.float64), _INDEX_ORDER
    )
    order = np.argsort(index, kind="stable")
    table = table[order]
    table.add_column(index[order].astype(np.int64), name=_INDEX, index=0)
    stars, pixels = to_arrow(table), _pixels(index[order].astype(np.int64), rows)
    for pixel, first, last in pixels:
        path = Path(str(module_of_hats("io.paths", folder).pixel_catalog_file(folder, pixel)))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(stars.slice(first, last - first), path)
    information = module_of_hats("catalog.partition_info", folder).PartitionInfo
    information.from_healpix([pixel for pixel, _, _ in pixels]).write_to_file(folder / "partition_info.csv")
    module_of_hats("io.parquet_metadata", folder).write_parquet_metadata(folder)
    _describe(folder, name, builder, len(table))


def _pixels(index: Any, rows: int) -> list[tuple[Any, int, int]]:
    """Pixels of few enough stars that hold these, sorted by their index, and the first and the last star of each."""
    kind = module_of_hats("pixel_math.healpix_pixel", Path(_INDEX)).HealpixPixel
    found, waiting = [], [(0, pixel) for pixel in range(11, -1, -1)]
    while waiting:
        order, pixel = waiting.pop()
        shift = 2 * (_INDEX_ORDER - order)
        first, last = np.searchsorted(index, [pixel << shift, (pixel + 1) << shift]).tolist()
        if last - first > rows and order < _MOST_ORDER:
            waiting += [(order + 1, 4 * pixel + part) for part in (3, 2, 1, 0)]
        elif last > first:
            found.append((kind(order, pixel), first, last))
    return found


def _describe(folder: Path, name: str, builder: str, size: int) -> None:
    """Write the properties."""
    properties = module_of_hats("catalog.dataset.table_properties", folder).TableProperties
    hats = module_of_hats("_version", folder).__version__
    values = {
        "catalog_name": name,
        "catalog_type": "object",
        "total_rows": size,
        "ra_column": "ra",
        "dec_column": "dec",
        "healpix_column": _INDEX,
        "healpix_order": _INDEX_ORDER,
        "npix_suffix": ".parquet",
        "hats_builder": f"{builder}, hats v{hats}",
    }
    properties(**values).to_properties_file_path(folder / PROPERTIES[0], initial_comments="HATS catalog")
