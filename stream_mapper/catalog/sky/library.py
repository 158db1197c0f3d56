"""Which tracks galstreams has of which stream, and how a name that somebody types finds one of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from stream_mapper.errors import InputError

PREFIX, SUMMARY, SUFFIX = "track.", ".summary.ecsv", ".ecsv"
_WIDTHS = {"phi2": 8, "pm_phi1": 10, "pm_phi2": 12}  # places in a row of master_log.txt
_PLACES = 13  # of the first words of a row that are used
_LEAST_PART = 3  # letters of a part of a name that is taken for the name
_SHOWN = 12  # names to choose from


@dataclass(frozen=True)
class Entry:
    """A track of the library.

    Arguments:
        name: Its full name, such as ``track.st.GD-1.ibata2021``.
        stream: The stream that it is of, such as ``GD-1``.
        short: Its short name, such as ``GD-1-I21``; its full name where there is no list of short ones.
        chosen: Whether the list names it as the one track of its stream (``On``).
        widths: Widths of the stream in the literature [deg, mas/yr], of ``phi2``, ``pm_phi1`` and ``pm_phi2``.
    """

    name: str
    stream: str
    short: str
    chosen: bool = False
    widths: dict[str, float] = field(default_factory=dict)

    @property
    def spellings(self) -> set[str]:
        """Names that mean this very track, plain."""
        bare = self.name.split(".", 2)[-1]
        names = (self.name, self.name.removeprefix(PREFIX), self.short, bare, f"{self.name}{SUFFIX}")
        return {plain(name) for name in names}


class Library:
    """The tracks in a folder of galstreams' files.

    Arguments:
        folder: Folder of the files ``track.*.ecsv``, beside which ``lib/master_log.txt`` lists the tracks; by default
            that of the galstreams that is installed, which is not imported.

    Raises:
        InputError: If there is no such folder.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = Path(folder) if folder is not None else _installed()
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is no folder; give that of galstreams' files track.*.ecsv.")
        listed = _listed(self.folder)
        names = [path.name.removesuffix(SUFFIX) for path in sorted(self.folder.glob(f"{PREFIX}*{SUFFIX}"))]
        there = [name for name in names if not name.endswith(SUMMARY.removesuffix(SUFFIX))]
        self.entries = [listed.get(name) or Entry(name, _stream(name), name) for name in there]

    def file(self, entry: Entry) -> Path:
        """The file of a track."""
        return self.folder / f"{entry.name}{SUFFIX}"

    def of_stream(self, stream: str) -> list[Entry]:
        """The tracks of a stream, the chosen one first."""
        return sorted((one for one in self.entries if one.stream == stream), key=lambda one: not one.chosen)

    def find(self, name: str) -> Entry:
        """The track that a name means, whatever its capitals, hyphens and blanks.

        The name of a stream means its chosen track, or its only one: ``GD-1``, ``gd1``, ``pal 5``, or a part of it,
        ``Fjorm`` for ``M68-Fjorm``, if it is a part of one stream alone.

        Arguments:
            name: Name of a track (``GD-1-I21``, ``track.st.GD-1.ibata2021``, ``GD-1.ibata2021``) or of a stream.

        Raises:
            InputError: If it means no track, or several: the message has those to choose from.
        """
        wanted = plain(name)
        if exact := [one for one in self.entries if wanted in one.spellings]:
            return exact[0]
        streams = {one.stream for one in self.entries}
        same = [stream for stream in streams if plain(stream) == wanted]
        if not same and len(wanted) >= _LEAST_PART:
            same = [stream for stream in streams if wanted in map(plain, stream.split("-"))]
        tracks = [one for stream in sorted(same) for one in self.of_stream(stream)]
        if len(same) == 1 and (len(tracks) == 1 or sum(one.chosen for one in tracks) == 1):
            return tracks[0]
        if tracks:
            candidates = ", ".join(one.short for one in tracks)
            raise InputError(f"{self.folder}: several tracks of {name!r}; give one of {candidates}.")
        raise InputError(f"{self.folder}: no track {name!r}; there are {', '.join(self._close(name)) or 'none'}.")

    def _close(self, name: str) -> Sequence[str]:
        """Names that begin like one that is not there; if none does, streams spelt alike, or the first names."""
        known = sorted({name for one in self.entries for name in (one.short, one.name)})
        stem = plain(re.split(r"[-_.\s\d]", name.strip(), maxsplit=1)[0])
        streams = {plain(part): one.stream for one in self.entries for part in (one.stream, *one.stream.split("-"))}
        alike = list(dict.fromkeys(streams[other] for other in get_close_matches(plain(name), streams)))
        found = [other for other in known if stem and stem in plain(other)] or alike or known
        more = len(found) - _SHOWN
        return [*found[:_SHOWN], *([f"{more} more"] if more > 0 else [])]


def plain(name: str) -> str:
    """A name as it is compared: small letters and digits alone.

    >>> plain("GD-1"), plain("gd 1"), plain("Pal_5")
    ('gd1', 'gd1', 'pal5')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _stream(name: str) -> str:
    """The stream of a track by its full name."""
    return name.split(".", 2)[-1].rpartition(".")[0]


def _installed() -> Path:
    """Folder of the tracks of the galstreams that is installed, found without importing it."""
    spec = find_spec("galstreams")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "galstreams is not installed; pip install galstreams, or give the folder of its tracks as tracks."
        )
    return Path(spec.submodule_search_locations[0]) / "tracks"


def _listed(folder: Path) -> dict[str, Entry]:
    """Tracks by their full names, from the list that lies beside the folder of the tracks."""
    table = folder.parent / "lib" / "master_log.txt"
    lines = table.read_text(errors="replace").splitlines() if table.is_file() else []
    rows = [line.split() for line in lines if not line.lstrip().startswith("#")]
    entries = [_entry(row) for row in rows if len(row) > 4]
    return {entry.name: entry for entry in entries}


def _entry(row: Sequence[str]) -> Entry:
    """A track of a row: Imp, On, TrackName, Name, TrackRefs, ..., and the widths that are in the literature."""
    widths = _numbers({name: row[place] for name, place in _WIDTHS.items()}) if len(row) >= _PLACES else {}
    known = {name: width for name, width in widths.items() if width > 0}
    return Entry(f"{PREFIX}{row[0]}.{row[3]}.{row[4]}", row[3], row[2], row[1] == "1", known)


def _numbers(words: Mapping[str, str]) -> dict[str, float]:
    """The numbers of words by name; none if one is no number, as in a row that lacks a word."""
    try:
        return {name: float(word) for name, word in words.items()}
    except ValueError:
        return {}
