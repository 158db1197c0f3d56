"""Prediction of a catalogue of Parquet part by part: flat in memory, on many workers, and from where it stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

from stream_mapper import __version__
from stream_mapper.catalog import (
    ParquetRows,
    Part,
    as_table,
    complete_hats,
    extended,
    find_parts,
    joined,
    write_chunks,
)
from stream_mapper.cluster import Workers
from stream_mapper.errors import InputError
from stream_mapper.paths import absolute
from stream_mapper.prediction.part_folder import PartFolder, manifest
from stream_mapper.prediction.parts import PartTask, PartWriter
from stream_mapper.prediction.predictor import Predictor
from stream_mapper.prediction.worker import compute_part
from stream_mapper.progress import progress
from stream_mapper.results.annotation import clashes
from stream_mapper.results.tally import Tally
from stream_mapper.trust import allowed

_log = logging.getLogger("stream_mapper")

_PROBE = 10_000  # stars read before the work begins, to find what is wrong with the catalogue as a whole


def predict_parts(
    predictor: Predictor,
    catalogue: Path,
    target: Path,
    *,
    in_parts: bool,
    chunk_size: int,
    workers: Workers | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write the memberships of a catalogue of Parquet.

    Arguments:
        predictor: The model.
        catalogue: A file, a folder of files, or a HATS catalogue.
        target: Where the result goes.
        in_parts: Whether that is a folder with a part for each part of the catalogue, or one file.
        chunk_size: Stars in memory at once.
        workers: Who computes the parts; by default this process.
        device: Name of the device of those that compute them; by default that of the model here.
        overwrite: Whether a prediction with other arguments, finished or not, is replaced.

    Raises:
        InputError: If the catalogue cannot be used or something else is where the result goes.
    """
    workers = workers or Workers()
    if workers.are_many(2):  # paths have to mean the same elsewhere
        catalogue, target = (Path(absolute(path)) for path in (catalogue, target))
    parts = [part for part in find_parts(catalogue) if in_parts or not part.is_repeated]
    _check_apart(catalogue, target)
    plan = manifest(
        predictor.checkpoint,
        parts,
        version=__version__,
        draws=predictor.draws,
        chunk_size=chunk_size,
        partitioned=in_parts,
        device=device or predictor.device,
    )
    folder = PartFolder(target, plan)
    if in_parts and folder.is_complete(overwrite):
        _log.info("%s: is complete already; nothing is left to do.", target)
        return
    like = _probe(predictor, catalogue, parts)
    renamed = clashes(like.names, predictor.annotation.names, str(catalogue))
    predictor.warn_without_draws()
    task = PartTask(
        checkpoint=absolute(predictor.checkpoint),
        draws=predictor.draws,
        chunk_size=chunk_size,
        carried=in_parts,
        like=like.path,
        renamed=renamed,
        allowed=allowed(),
        digest=plan["checkpoint"],
        device=plan["device"],
    )
    folder.open(overwrite)
    _compute(PartWriter(task, predictor), folder, parts, workers)
    _complete(folder, task, parts, catalogue, predictor, like.names)


def _check_apart(source: Path, target: Path) -> None:
    """Raise InputError if the result would become a part of the catalogue, or take the place of a folder it is in."""
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{target}: is inside the catalogue {source}; give an output outside it.")
    if target.is_dir() and source.resolve().is_relative_to(target.resolve()):
        raise InputError(f"{target}: the catalogue {source} is inside it; give another output.")


def _probe(predictor: Predictor, catalogue: Path, parts: Sequence[Part]) -> ParquetRows:
    """The first file that has stars, of which the first are read as a trial.

    Raises:
        InputError: If there are no stars, or they cannot be used with this model.
    """
    for part in parts:
        rows = ParquetRows(part.path)
        for chunk in rows.chunks(_PROBE, predictor.annotation.columns_read(rows.names), part.groups):
            predictor.annotation.read(as_table(chunk), str(catalogue))
            return rows
    raise InputError(f"{catalogue}: the table has no rows; stars are needed.")


def _compute(writer: PartWriter, folder: PartFolder, parts: Sequence[Part], workers: Workers) -> None:
    """Compute the parts that are not done."""
    todo = [part for part in parts if not folder.is_done(part)]
    if len(todo) < len(parts):
        _log.info("%d of %d parts are done already.", len(parts) - len(todo), len(parts))
    compute: Callable[[Part], Tally] = lambda part: writer(part, folder.path(part))  # noqa: E731
    if workers.are_many(len(todo)):
        compute = partial(compute_part, writer.task, folder.folder)
    try:
        with closing(workers.results(compute, todo, lambda part: part.place)) as results:
            for part, tally in progress(results, "parts of the catalogue", len(todo)):
                folder.note(part, tally.to_dict())
    except BaseException as error:
        folder.remove_if_nothing_is_done()
        _add_progress(error, folder, parts)
        raise


def _add_progress(error: BaseException, folder: PartFolder, parts: Sequence[Part]) -> None:
    """Give an interruption the number of parts that are done as its message."""
    done = sum(folder.is_done(part) for part in parts)
    if done and isinstance(error, KeyboardInterrupt):
        error.args = (f"{done} of {len(parts)} parts are done; the same command goes on from there",)


def _complete(
    folder: PartFolder,
    task: PartTask,
    parts: Sequence[Part],
    catalogue: Path,
    predictor: Predictor,
    names: Sequence[str],
) -> None:
    """Make the result of the parts, if no other such command has just done so."""
    noticed = None
    with _unless_done(folder):
        counted = [part for part in parts if not part.is_repeated]
        noticed = sum(map(Tally.from_dict, folder.notes(counted)), Tally())
    if noticed is None:
        return
    try:
        predictor.log(noticed, str(catalogue), names)
    except InputError:
        folder.remove()
        raise
    with _unless_done(folder):
        folder.remove_unfinished()
        if task.carried:
            builder = f"stream_mapper v{__version__}"
            complete_hats(catalogue, folder.folder, predictor.annotation.names, dict(task.renamed), builder)
            folder.become_target()
        else:
            _merge(folder, task, parts, predictor)
            folder.remove()


@contextmanager
def _unless_done(folder: PartFolder) -> Iterator[None]:
    """Inside, what fails because another such command has completed the result meanwhile is no error."""
    try:
        yield
    except (OSError, InputError):
        if folder.folder.exists() or not folder.target.exists():
            raise


def _merge(folder: PartFolder, task: PartTask, parts: Sequence[Part], predictor: Predictor) -> None:
    """Write one file of the input's columns and the memberships of all parts."""
    schema = extended(
        ParquetRows(task.like).schema, predictor.annotation.types, task.renamed, predictor.annotation.note
    )
    write_chunks(folder.target, schema, chain.from_iterable(_joined(folder, task, part, schema) for part in parts))


def _joined(folder: PartFolder, task: PartTask, part: Part, schema: object) -> Iterable[object]:
    added = ParquetRows(folder.path(part)).chunks(task.chunk_size)
    return joined(ParquetRows(part.path).chunks(task.chunk_size, None, part.groups), added, schema)
