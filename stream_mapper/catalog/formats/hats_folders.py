"""Folders of HATS, as the package ``hats`` reads them: the catalogues of a collection, and the files of a catalogue."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any, NamedTuple

from stream_mapper.catalog.files import one_line
from stream_mapper.errors import InputError

_log = logging.getLogger("stream_mapper")

PROPERTIES = ("hats.properties", "properties")
COLLECTION = "collection.properties"


def is_collection(path: Path) -> bool:
    """Whether a folder is a collection of HATS catalogues."""
    return (path / COLLECTION).is_file()


def is_hats(path: Path) -> bool:
    """Whether a folder is a HATS catalogue, or a collection of them."""
    return is_collection(path) or ((path / "dataset").is_dir() and any((path / name).is_file() for name in PROPERTIES))


def module_of_hats(name: str, path: Path) -> Any:
    """A module of the package that reads and writes HATS.

    Arguments:
        name: Name of the module in the package.
        path: The catalogue that needs it.

    Raises:
        InputError: If it is not installed.
    """
    try:
        return importlib.import_module(f"hats.{name}")
    except ImportError as error:
        advice = f"which is not installed ({error}): pip install 'stream_mapper[hats]'"
        raise InputError(f"{path}: is HATS, which is read by a package {advice}.") from error


def properties_of(path: Path) -> Any:
    """The properties of a catalogue, or of a collection.

    Raises:
        InputError: If they cannot be read.
    """
    kind = "Collection" if is_collection(path) else "Table"
    module = module_of_hats(f"catalog.dataset.{kind.lower()}_properties", path)
    try:
        return getattr(module, f"{kind}Properties").read_from_dir(path)
    except Exception as error:  # whatever a library says of a file
        raise InputError(f"{path}: its properties cannot be used: {' '.join(str(error).split())}.") from error


def catalogues_of(path: Path) -> list[Path]:
    """The folders of the primary catalogue and of the margins of a collection; a catalogue is itself the only one.

    Raises:
        InputError: If the primary catalogue is not in the collection.
    """
    if not is_collection(path):
        return [path]
    properties = properties_of(path)
    named = [properties.hats_primary_table_url, *(properties.all_margins or [])]
    inside = [name for name in named if (path / name).parent == path and is_hats(path / name)]
    if named[0] not in inside:
        there = sorted(folder.name for folder in path.iterdir() if folder.is_dir() and is_hats(folder))
        raise InputError(f"{path}: its catalogue {named[0]} is not in the collection; there are {there}.")
    if lost := sorted(set(named) - set(inside)):
        _log.warning("%s: the margins %s are not in the collection, so the result has none of them.", path, lost)
    return [path / name for name in inside]


class PixelFiles(NamedTuple):
    """A pixel of HEALPix, numbered in the nested scheme, and the files of its stars."""

    order: int
    pixel: int
    files: tuple[Path, ...]


def data_files(path: Path) -> list[Path]:
    """The files of all pixels of a catalogue, in the order of their names.

    Raises:
        InputError: If the file of a pixel is missing.
    """
    return sorted(file for pixel in pixels_of(path) for file in pixel.files)


def pixels_of(path: Path) -> list[PixelFiles]:
    """The pixels of a catalogue with their files.

    Raises:
        InputError: If the file of a pixel is missing.
    """
    suffix = properties_of(path).npix_suffix
    places = module_of_hats("io.paths", path)
    try:
        pixels = module_of_hats("catalog.partition_info", path).PartitionInfo.read_from_dir(path).get_healpix_pixels()
    except Exception as error:  # whatever a library says of a file
        raise InputError(f"{path}: the list of its pixels cannot be read: {one_line(error)}.") from error
    named = [Path(str(places.pixel_catalog_file(path, pixel, npix_suffix=suffix))) for pixel in pixels]
    found = [file if file.exists() else file.with_suffix("") for file in named]  # a pixel may be a folder of files
    if missing := [file.relative_to(path).as_posix() for file in found if not file.exists()]:
        text = f"{len(missing)} of {len(found)} pixels have no file, such as {missing[0]}; is the copy complete?"
        raise InputError(f"{path}: {text}")
    files = [tuple(sorted(file.glob("[!._]*"))) if file.is_dir() else (file,) for file in found]
    return [PixelFiles(pixel.order, pixel.pixel, inner) for pixel, inner in zip(pixels, files, strict=True)]
