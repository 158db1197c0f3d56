"""What an atlas is of, and the folder in which it is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stream_mapper import __version__
from stream_mapper.archive import check_address
from stream_mapper.catalog import is_hats, replace_file
from stream_mapper.catalog.files import FORMATS, stamp
from stream_mapper.catalog.sky.library import PREFIX, Entry, Library, plain
from stream_mapper.decisions.light import survey_of
from stream_mapper.errors import InputError

MANIFEST, OUTCOME = "atlas.yaml", "outcome.json"
"""The file by which the folder of an atlas is known, and that by which a stream in it is done."""

ALL, GAIA, SYNTHETIC = "all", "gaia", "synthetic"
_STREAMS, _FILES = "streams", "files"
_SHOWN = 60  # letters of a value that differs

Settings = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is done with every stream, as a worker is told it.

    Arguments:
        streams: Full names of the tracks, in their order.
        catalogue: The HATS catalogue that their stars are in, if it is one.
        fields: The table of the stars of each stream, by the name of its track, if there are such.
        archive: Address of the archive that is asked for them, or "gaia", if one is.
        survey: Survey of the photometry; None for that of the stars.
        isochrone: As ``init`` takes it.
        bands: As ``init`` takes them.
        tracks: Folder of galstreams' files; None for that of the installed package.
        fit: Options of every fit, by their dotted names.
        members: Probability above which a star is in the table of members.
        allowed: Packages and modules that the models may be built from.
    """

    streams: tuple[str, ...]
    catalogue: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    archive: str | None = None
    survey: str | None = None
    isochrone: str | None = None
    bands: Mapping[str, str] | None = None
    tracks: str | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)
    members: float = 0.5
    allowed: tuple[str, ...] = ()

    def settings(self) -> Settings:
        """What two atlases must have in common for one to go on where the other stopped."""
        return {"version": __version__, **json.loads(json.dumps(asdict(self))), _FILES: self._files()}

    def _files(self) -> str:
        """What tells the files of the stars from others that take their place: names, sizes and times."""
        catalogue = Path(self.catalogue).rglob("*.parquet") if self.catalogue is not None else ()
        files = sorted([*catalogue, *map(Path, self.fields.values())])
        told = [(str(path), *stamp(path)) for path in files]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16] if told else ""

    def folder(self, output: Path, stream: str) -> Path:
        """The folder of a stream, in that of the atlas."""
        return output / _STREAMS / short_name(stream)

    def open(self, output: Path) -> None:
        """Make the folder of the atlas, or go on in the one that is there.

        Raises:
            InputError: If it is that of another atlas, or of something else.
        """
        if output.exists() and not output.is_dir():
            raise InputError(f"{output}: is a file; give a folder that is to be made.")
        manifest = output / MANIFEST
        if not manifest.is_file() and output.is_dir() and any(output.iterdir()):
            raise InputError(f"{output}: exists and is not the folder of an atlas, which has {MANIFEST}; give another.")
        settings = self.settings()
        if manifest.is_file() and (odd := _differences(_read(manifest), settings)):
            text = f"holds an atlas of another configuration: {'; '.join(odd)}"
            raise InputError(f"{output}: {text}; give what it was begun with to go on, or another output.")
        output.mkdir(parents=True, exist_ok=True)
        if not manifest.is_file():
            text = yaml.safe_dump(settings, sort_keys=False, width=120)
            replace_file(manifest, lambda new: new.write_text(text))


def made_plan(
    streams: str | Sequence[str], fields: str | None = None, tracks: str | None = None, **others: Any
) -> Plan:
    """A plan, with every name and every place looked up.

    Arguments:
        streams: Names of streams or tracks of galstreams; "all" for one track of each stream, or, of a folder of
            fields, for every stream that has a file there.
        fields: Folder of tables, each called by a name of its stream.
        tracks: Folder of galstreams' files; by default that of the installed package.
        **others: Further arguments of :class:`Plan`.

    Raises:
        InputError: If a name is not known, there is not one place of the stars, or there are no stars there.
    """
    library = Library(tracks)
    places = {"catalogue": others.get("catalogue"), "fields": fields, "archive": others.get("archive")}
    if len(given := [name for name, place in places.items() if place]) != 1:
        found = " and ".join(given) or "none of them"
        raise InputError(f"catalogue, fields, archive: give the one that says where the stars are; got {found}.")
    check_catalogue(places["catalogue"])
    if places["archive"] not in (None, GAIA):
        _check_archive(places["archive"])
    entries = _entries(streams, library)
    tables = {} if fields is None else _tables(Path(fields), entries)
    if streams == ALL and tables:
        entries = [one for one in entries if one.name in tables]
    _check_photometry(others.get("survey"), others.get("isochrone"), others.get("bands"))
    share = others.get("members", 0.5)
    if not 0 <= share < 1:
        raise InputError(f"members is the probability above which a star is listed, from 0 to 1; got {share}.")
    return Plan(tuple(one.name for one in entries), fields=tables, tracks=tracks, **others)


def check_catalogue(path: str | None) -> None:
    """Raise InputError if what is given as a catalogue is none of HATS."""
    if path is not None and not is_hats(Path(path)):
        problem = "is no HATS catalogue or collection" if Path(path).exists() else "does not exist"
        raise InputError(f"catalogue: {path} {problem}; LSDB and hats-import write one. Single tables go as fields.")


def _check_archive(given: str) -> None:
    """Raise InputError if no stream could be fetched from there, before the first is tried."""
    try:
        check_address(given)
    except InputError as error:
        raise InputError(f"archive: give {GAIA!r}, or the address of another: {error}") from error


def _check_photometry(survey: str | None, isochrone: str | None, bands: Mapping[str, str] | None) -> None:
    """Raise InputError if no stream could be fitted with this photometry, before the first is tried."""
    if survey is not None:
        survey_of(survey, None)
    if isochrone not in (None, SYNTHETIC) and not Path(str(isochrone)).is_file():
        raise InputError(f"isochrone: {isochrone} does not exist; give a file, or {SYNTHETIC!r} for simulated stars.")
    if isochrone not in (None, SYNTHETIC) and not bands:
        raise InputError(f"bands: say which columns of {isochrone} are which bands, such as {{G: Gaia_G_EDR3}}.")


def short_name(track: str) -> str:
    """The name of a track as folders and tables have it.

    >>> short_name("track.st.GD-1.ibata2021")
    'st.GD-1.ibata2021'
    """
    return track.removeprefix(PREFIX)


def _entries(streams: str | Sequence[str], library: Library) -> list[Entry]:
    """The tracks that are meant, each once."""
    if streams == ALL:
        names = dict.fromkeys(one.stream for one in library.entries)
        return [library.of_stream(name)[0] for name in names]
    given = [streams] if isinstance(streams, str) else list(streams)
    if not given:
        raise InputError(f"streams: give names of galstreams, or {ALL!r}; got none.")
    return list({entry.name: entry for entry in map(library.find, given)}.values())


def _tables(folder: Path, entries: Sequence[Entry]) -> dict[str, str]:
    """The table of each track that has one: a file is called by a name of the track, or of the stream.

    Raises:
        InputError: If there is none at all.
    """
    if not folder.is_dir():
        raise InputError(f"fields: {folder} is no folder; give one with a table for each stream, called by its name.")
    files = {plain(name): path for path in sorted(folder.iterdir()) if (name := _stem(path))}
    found = {one.name: [files[key] for key in _names(one) if key in files] for one in entries}
    tables = {name: str(paths[0]) for name, paths in found.items() if paths}
    if not tables:
        wanted = ", ".join(f"{one.stream}.parquet" for one in entries[:3])
        raise InputError(f"fields: {folder} has no table of these streams, such as {wanted}.")
    return tables


def _names(entry: Entry) -> list[str]:
    """Names by which a file may be called, plain, that of the very track before that of its stream."""
    return [*sorted(entry.spellings), plain(entry.stream)]


def _stem(path: Path) -> str:
    """The name of a table without its ending; nothing for other files."""
    ends = [suffix for suffix in FORMATS if path.name.lower().endswith(suffix)]
    return path.name[: -len(max(ends, key=len))] if ends and not path.name.startswith(".") else ""


def _read(manifest: Path) -> Settings:
    """The settings of an atlas that has begun."""
    try:
        settings = yaml.safe_load(manifest.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{manifest}: cannot be read ({error}); give another output.") from error
    return settings if isinstance(settings, dict) else {}


def _differences(before: Settings, now: Settings) -> list[str]:
    """In which settings two atlases differ, in words."""
    odd = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    return [_difference(name, before.get(name), now.get(name)) for name in odd]


def _difference(name: str, before: Any, now: Any) -> str:
    if name == _FILES:
        return "the files of the stars have changed since"
    if isinstance(before, list) and isinstance(now, list):
        more, less = [one for one in now if one not in before], [one for one in before if one not in now]
        said = [f"{word} {', '.join(map(str, ones[:3]))}" for word, ones in (("with", more), ("without", less)) if ones]
        return f"{name} now {' and '.join(said) or 'in another order'}"
    shown = [str(value) if len(str(value)) <= _SHOWN else f"{str(value)[:_SHOWN]}..." for value in (before, now)]
    return f"{name} {shown[0]}, now {shown[1]}"
