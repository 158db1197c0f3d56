"""The folder in which a prediction is under way: finished parts, and what they are parts of."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stream_mapper.catalog import Part, replace_file
from stream_mapper.catalog.files import stamp
from stream_mapper.errors import InputError

MANIFEST = "_stream_mapper.json"
_DONE = ".done"

Manifest = dict[str, Any]


def digest_of(checkpoint: str) -> str:
    """What tells a checkpoint from any other."""
    return hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()


def manifest(checkpoint: str, parts: Sequence[Part], **arguments: Any) -> Manifest:
    """What two predictions must have in common for one to go on where the other stopped."""
    inputs = {part.place: [part.path.name, *stamp(part.path)] for part in parts}
    return {"checkpoint": digest_of(checkpoint), **arguments, "inputs": inputs}


class PartFolder:
    """Finished parts of a prediction, in a hidden folder beside its result.

    A part is finished once there is a note of it; the part itself is there before. A prediction that is started again
    goes on from there, and several processes may work in one folder.

    Arguments:
        target: Where the result will be.
        plan: What the prediction is of.
    """

    def __init__(self, target: Path, plan: Manifest) -> None:
        self.target, self.plan = target, plan
        self.folder = target.with_name(f".{target.name}.parts")

    def open(self, overwrite: bool) -> None:
        """Make the folder, or go on in the one that is there.

        Raises:
            InputError: If what is there is of another prediction and is not to be overwritten.
        """
        if overwrite and self.folder.is_dir() and _differences(self.folder, self.plan):
            _remove(self.folder)
        if self.folder.is_dir() and (odd := _differences(self.folder, self.plan)):
            advice = "give what it was started with to go on, or --overwrite true to start afresh"
            raise InputError(f"{self.folder}: holds parts of another prediction ({odd}); {advice}.")
        (self.folder / _DONE).mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.plan, indent=1) + "\n"
        replace_file(self.folder / MANIFEST, lambda new: new.write_text(text))

    def is_complete(self, overwrite: bool) -> bool:
        """Whether the folder of the result is there already, of this very prediction.

        Raises:
            InputError: If something else is there, unless it is another prediction that is to be overwritten.
        """
        if not self.target.exists() or (self.target.is_dir() and not any(self.target.iterdir())):
            return False
        odd = _differences(self.target, self.plan)
        if odd and not (overwrite and (self.target / MANIFEST).is_file()):
            advice = "give another output" + (", or --overwrite true" if (self.target / MANIFEST).is_file() else "")
            raise InputError(f"{self.target}: exists and is not the result of this prediction ({odd}); {advice}.")
        return not odd

    def path(self, part: Part) -> Path:
        """Where a part goes."""
        return self.folder / part.place

    def is_done(self, part: Part) -> bool:
        """Whether a part is finished."""
        return self._note(part).is_file()

    def note(self, part: Part, counts: Mapping[str, Any]) -> None:
        """Note that a part is finished, and what was counted in it."""
        self._note(part).parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._note(part), lambda new: new.write_text(json.dumps(counts)))

    def notes(self, parts: Sequence[Part]) -> list[dict[str, Any]]:
        """What was counted in each part."""
        return [json.loads(self._note(part).read_text()) for part in parts]

    def become_target(self) -> None:
        """Put the folder, with every part in it, in the place of the result; never of that of this very prediction.

        Raises:
            OSError: If another process has just done so.
        """
        if (self.target / MANIFEST).is_file() and _differences(self.target, self.plan):
            _remove(self.target)
        self.folder.replace(self.target)
        shutil.rmtree(self.target / _DONE)

    def remove_unfinished(self) -> None:
        """Remove what a process left that was killed while it wrote."""
        for left in self.folder.rglob(".*.parquet"):
            left.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder."""
        _remove(self.folder)

    def remove_if_nothing_is_done(self) -> None:
        """Remove the folder of a prediction that failed before its first part."""
        if not any(path.is_file() for path in (self.folder / _DONE).rglob("*")):
            _remove(self.folder)

    def _note(self, part: Part) -> Path:
        return self.folder / _DONE / f"{part.place}.json"


def _differences(folder: Path, plan: Manifest) -> str:
    """What a folder's manifest has otherwise than a plan; empty if it is the same."""
    try:
        noted = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return f"it has no {MANIFEST} that can be read"
    odd = [name for name in {**plan, **noted} if plan.get(name) != noted.get(name)]
    plain = [f"{n} {noted.get(n)}, now {plan.get(n)}" for n in odd if n not in ("inputs", "checkpoint")]
    return ", ".join(plain + [f"another {n}" for n in odd if n == "checkpoint"] + _changed(noted, plan))


def _changed(noted: Manifest, plan: Manifest) -> list[str]:
    """How many inputs differ, and the first that does."""
    before, now = noted.get("inputs", {}), plan["inputs"]
    changed = [place for place in {**now, **before} if before.get(place) != now.get(place)]
    return [f"{len(changed)} of the inputs changed, such as {changed[0]}"] if changed else []


def _remove(folder: Path) -> None:
    """Remove a folder; whoever looks finds all of it or nothing."""
    gone = folder.with_name(f".{uuid.uuid4().hex}-{folder.name}")
    if folder.is_dir():
        folder.replace(gone)
        shutil.rmtree(gone)
