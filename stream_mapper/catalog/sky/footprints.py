"""Where a survey looked, from MOCs and HEALPix maps, in the frame of a stream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from astropy.io import fits
from numpy.typing import NDArray

from stream_mapper.catalog.columns import Values
from stream_mapper.catalog.files import one_line
from stream_mapper.catalog.sky.frames import SkyFrame
from stream_mapper.catalog.sky.rotation import directions, place_of
from stream_mapper.errors import InputError
from stream_mapper.footprint import Footprint
from stream_mapper.paths import FilePath

IsSeen = Callable[[Values, Values], NDArray[np.bool_]]

_EXTRA = "pip install 'stream_mapper[footprint]'"


def read_footprint(
    source: FilePath,
    frame: SkyFrame | str,
    phi1: tuple[float, float],
    phi2: tuple[float, float],
    step: float = 0.02,
    *,
    threshold: float = 0.0,
    circles: list[tuple[float, float, float]] | None = None,
) -> Footprint:
    """What a MOC or a HEALPix map says was seen, in the frame of a stream.

    Arguments:
        source: A MOC (FITS, JSON or text) in ICRS, or a HEALPix map (FITS, RING or NESTED, of the whole sky or with a
            column ``PIXEL``), whose first column of values is read.
        frame: The frame of the stream, or its import path.
        phi1: First and last place along the stream [deg].
        phi2: Lowest and highest place across it [deg].
        step: Size of the squares that are looked up [deg]; edges are right to half of it.
        threshold: Value of a map above which a pixel was seen.
        circles: Circles that were not, (phi1, phi2, radius) [deg], such as masked clusters.

    Raises:
        InputError: If the file cannot be read, the packages that read it are not there, or nothing was seen.
    """
    frame = SkyFrame(frame) if isinstance(frame, str) else frame
    matrix, on_sky = frame.orientation.matrix, _reader(Path(source), threshold)

    def is_seen(lon: Values, lat: Values) -> NDArray[np.bool_]:
        place, _, _ = directions(np.deg2rad(lon), np.deg2rad(lat))
        ra, dec = place_of(place @ matrix)
        seen = on_sky(ra, dec)
        for x, y, radius in circles or ():
            centre, _, _ = directions(np.deg2rad(x), np.deg2rad(y))
            seen = seen & (place @ centre < np.cos(np.deg2rad(radius)))
        return seen

    return Footprint.sampled(is_seen, phi1, phi2, step)


def _reader(path: Path, threshold: float) -> IsSeen:
    """What says whether places (ra, dec) [deg] are in the file's region."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give a MOC or a HEALPix map.")
    if path.suffix in (".fits", ".fit", ".fz") or path.name.endswith(".fits.gz"):
        header, table = _table(path)
        ordering = str(header.get("ORDERING", "")).upper()
        if ordering in ("RING", "NESTED", "NEST"):
            return _of_map(path, header, table, ordering, threshold)
    return _of_moc(path)


def _table(path: Path) -> tuple[Any, Any]:
    """What the first table of a FITS file says of its pixels, and its rows."""
    try:
        with fits.open(path) as hdus:
            tables = [(_said(hdu.header), hdu.data) for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
    except Exception as error:  # a damaged header ends in any
        raise InputError(f"{path}: cannot be read as FITS ({one_line(error)}).") from error
    if not tables:
        raise InputError(f"{path}: has no table; a MOC and a HEALPix map have one.")
    return tables[0]


def _said(header: Any) -> dict[str, Any]:
    """Ordering and number of the pixels; a damaged line of the header is an error where it is read."""
    return {name: header[name] for name in ("ORDERING", "NSIDE") if name in header}


def _of_moc(path: Path) -> IsSeen:
    try:
        from mocpy import MOC  # noqa: PLC0415
    except ImportError as error:
        raise InputError(f"{path}: a MOC is read with mocpy: {_EXTRA}.") from error
    kinds = {".json": "json", ".txt": "ascii", ".ascii": "ascii"}
    try:
        moc = MOC.load(str(path), format=kinds.get(path.suffix, "fits"))
    except Exception as error:  # what mocpy raises depends on its version
        raise InputError(f"{path}: cannot be read as a MOC ({error}).") from error

    def is_seen(ra: Values, dec: Values) -> NDArray[np.bool_]:
        return np.asarray(moc.contains_lonlat(Longitude(ra, u.deg), Latitude(dec, u.deg)), dtype=bool)

    return is_seen


def _of_map(path: Path, header: Any, table: Any, ordering: str, threshold: float) -> IsSeen:
    try:
        from cdshealpix import nested, ring  # noqa: PLC0415
    except ImportError as error:
        raise InputError(f"{path}: a HEALPix map is read with cdshealpix: {_EXTRA}.") from error
    nside = header.get("NSIDE", 0)
    if not isinstance(nside, int) or nside < 1 or (ordering != "RING" and nside & (nside - 1)):
        raise InputError(f"{path}: a HEALPix map says its NSIDE, a power of two if nested; found {nside}.")
    names = [name for name in table.names if name.upper() not in ("PIXEL", "PIX", "IPIX")]
    pixels = next((table[name] for name in table.names if name not in names), None)
    values = np.asarray(table[names[0]]) if names else np.ones(len(table))
    above = np.flatnonzero(np.isfinite(values.ravel()) & (values.ravel() > threshold))
    held = np.unique(above if pixels is None else np.asarray(pixels).ravel()[above])

    def is_seen(ra: Values, dec: Values) -> NDArray[np.bool_]:
        lon, lat = Longitude(ra, u.deg), Latitude(dec, u.deg)
        if ordering == "RING":
            index = ring.lonlat_to_healpix(lon, lat, nside)
        else:
            index = nested.lonlat_to_healpix(lon, lat, nside.bit_length() - 1)
        return np.isin(np.asarray(index, dtype=np.int64), held.astype(np.int64))

    return is_seen
