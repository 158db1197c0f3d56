"""One part of a catalogue: read, computed and written chunk by chunk."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stream_mapper.catalog import Chunk, ParquetRows, Part, as_table, extended, with_added, write_chunks
from stream_mapper.data import Data
from stream_mapper.prediction.predictor import Predictor, quietly
from stream_mapper.results.tally import Tally


@dataclass(frozen=True)
class PartTask:
    """What is done with every part, as a worker is told it.

    Arguments:
        checkpoint: The checkpoint of the fit.
        draws: Draws of the posterior.
        chunk_size: Stars in memory at once.
        carried: Whether a part has the columns of the input, or the memberships alone.
        like: A file of the catalogue, whose columns the others must have.
        renamed: Columns of the input that are called otherwise in the result.
        allowed: Packages and modules that the model may be built from.
        digest: What tells the checkpoint from one that takes its place.
        device: Name of the device that computes.
    """

    checkpoint: str
    draws: int
    chunk_size: int
    carried: bool
    like: Path
    renamed: Mapping[str, str]
    allowed: tuple[str, ...] = ()
    digest: str = ""
    device: str = "cpu"


class PartWriter:
    """Computes parts.

    Arguments:
        task: What to do with each.
        predictor: The model; by default it is loaded here.
    """

    def __init__(self, task: PartTask, predictor: Predictor | None = None) -> None:
        self.task = task
        self.predictor = predictor or Predictor(task.checkpoint, task.draws, task.device)
        self.like = ParquetRows(task.like)
        self.read = self.predictor.annotation.columns_read(self.like.names)

    def __call__(self, part: Part, path: Path) -> Tally:
        """Write the result for a part to a file, all or nothing, and count its stars.

        Raises:
            InputError: If the part is broken, has not the columns of the others, or cannot be used with the model.
        """
        rows = ParquetRows(part.path)
        rows.check_like(self.like)
        task, tallies = self.task, [Tally()]
        annotation = self.predictor.annotation
        note = annotation.note if task.carried else None
        schema = extended(rows.schema if task.carried else None, annotation.types, task.renamed, note)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_chunks(path, schema, self._chunks(part, rows, schema, tallies))
        return sum(tallies[1:], tallies[0])

    def _chunks(self, part: Part, rows: ParquetRows, schema: object, tallies: list[Tally]) -> Iterator[Chunk]:
        """The result for each chunk; its counts are added to the tallies."""
        row = sum(rows.lengths[: part.groups[0]]) if part.groups else 0
        for chunk in rows.chunks(self.task.chunk_size, None if self.task.carried else self.read, part.groups):
            stars = self._stars(chunk, part, row)
            tallies.append(self.predictor.tally(stars))
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                added = self.predictor(stars)
            tallies[-1].add_warnings(warned)
            yield with_added(chunk if self.task.carried else None, added, schema)
            row += len(chunk)

    def _stars(self, chunk: Chunk, part: Part, row: int) -> Data:
        """The stars of a chunk that begins at a row of its file."""
        label = f"{part.path}, from row {row}" if row else str(part.path)
        with quietly():
            return self.predictor.annotation.read(as_table(chunk.select(self.read)), label)
