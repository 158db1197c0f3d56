"""Prediction of a catalogue of Parquet part by part: flat in memory, by many processes, and from where it stopped."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch

from stream_mapper import __version__
from stream_mapper.catalog import (
    ParquetRows,
    Part,
    as_table,
    complete_hats,
    extended,
    find_parts,
    joined,
    set_threads,
    write_chunks,
)
from stream_mapper.commands import ignore_expected
from stream_mapper.errors import InputError
from stream_mapper.prediction.part_folder import PartFolder, Share, manifest
from stream_mapper.prediction.parts import PartTask, PartWriter
from stream_mapper.prediction.predictor import Predictor
from stream_mapper.progress import progress
from stream_mapper.results.annotation import clashes
from stream_mapper.results.tally import Tally
from stream_mapper.trust import allow, allowed

_log = logging.getLogger("stream_mapper")

_PROBE = 10_000  # stars read before the work begins, to find what is wrong with the catalogue as a whole
_writer: PartWriter | None = None  # of a process of a pool


def predict_parts(
    predictor: Predictor,
    catalogue: Path,
    target: Path,
    *,
    in_parts: bool,
    chunk_size: int,
    processes: int = 1,
    share: Share | None = None,
    overwrite: bool = False,
) -> bool:
    """Write the memberships of a catalogue of Parquet.

    Arguments:
        predictor: The model.
        catalogue: A file, a folder of files, or a HATS catalogue.
        target: Where the result goes.
        in_parts: Whether that is a folder with a part for each part of the catalogue, or one file.
        chunk_size: Stars in memory at once.
        processes: Processes that share the parts.
        share: The parts that are computed here; all by default.
        overwrite: Whether a prediction with other arguments, finished or not, is replaced.

    Returns:
        Whether the result is complete; with shares, the one that finds all parts there completes it.

    Raises:
        InputError: If the catalogue cannot be used or something else is where the result goes.
    """
    parts, share = find_parts(catalogue), share or Share()
    _check_apart(catalogue, target)
    plan = manifest(
        predictor.checkpoint,
        parts,
        version=__version__,
        draws=predictor.draws,
        chunk_size=chunk_size,
        partitioned=in_parts,
    )
    folder = PartFolder(target, plan)
    if in_parts and folder.is_complete(overwrite):
        _log.info("%s: is complete already; nothing is left to do.", target)
        return True
    like = _probe(predictor, catalogue, parts)
    renamed = clashes(like.names, predictor.annotation.names, str(catalogue))
    predictor.warn_without_draws()
    task = PartTask(predictor.checkpoint, predictor.draws, chunk_size, in_parts, like.path, renamed, allowed())
    folder.open(overwrite)
    _compute(PartWriter(task, predictor), folder, share.of_parts(parts), processes, alone=share.of == 1)
    left = sum(not folder.is_done(part) for part in parts)
    if left:
        text = "%d of %d parts are done; the last of the other shares completes %s."
        _log.info(text, len(parts) - left, len(parts), target)
        return False
    _complete(folder, task, parts, catalogue, predictor, like.names)
    return True


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


def _compute(writer: PartWriter, folder: PartFolder, parts: Sequence[Part], processes: int, alone: bool) -> None:
    """Compute the parts that are not done."""
    todo = [part for part in parts if not folder.is_done(part)]
    if len(todo) < len(parts):
        _log.info("%d of %d parts are done already.", len(parts) - len(todo), len(parts))
    results = (
        _in_pool(writer.task, folder, todo, processes)
        if min(processes, len(todo)) > 1
        else ((part, writer(part, folder.path(part))) for part in todo)
    )
    try:
        for part, tally in progress(results, "parts of the catalogue", len(todo)):
            folder.note(part, tally.to_dict())
    except BaseException as error:
        if alone:
            folder.remove_if_nothing_is_done()
        _add_progress(error, folder, parts)
        raise


def _add_progress(error: BaseException, folder: PartFolder, parts: Sequence[Part]) -> None:
    """Give an interruption the number of parts that are done as its message."""
    done = sum(folder.is_done(part) for part in parts)
    if done and isinstance(error, KeyboardInterrupt):
        error.args = (f"{done} of {len(parts)} parts are done; the same command goes on from there",)


def _in_pool(task: PartTask, folder: PartFolder, parts: Sequence[Part], processes: int) -> Iterator[tuple[Part, Tally]]:
    """The parts as they are finished by processes that divide the threads among them."""
    threads = max(1, torch.get_num_threads() // processes)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(parts)), context, _start, (task, threads))
    try:
        futures = {pool.submit(_run, part, folder.path(part)): part for part in parts}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        advice = "the parts that are done are kept; start again with fewer processes or a smaller chunk_size"
        raise InputError(f"a process ended early, perhaps for want of memory: {advice}.") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start(task: PartTask, threads: int) -> None:
    """Make a process ready for its parts."""
    global _writer  # noqa: PLW0603
    ignore_expected()
    torch.set_num_threads(threads)
    set_threads(threads)
    allow(*task.allowed)
    _writer = PartWriter(task)


def _run(part: Part, path: Path) -> Tally:
    """Compute one part in a process of a pool; Ctrl-C ends the process, which would go on with the parts sent to it."""
    assert _writer is not None
    try:
        return _writer(part, path)
    except KeyboardInterrupt:
        os._exit(130)


def _complete(
    folder: PartFolder,
    task: PartTask,
    parts: Sequence[Part],
    catalogue: Path,
    predictor: Predictor,
    names: Sequence[str],
) -> None:
    """Make the result of the parts, if no other share has just done so."""
    noticed = None
    with _unless_done(folder):
        noticed = sum(map(Tally.from_dict, folder.notes(parts)), Tally())
    if noticed is None:
        return
    try:
        predictor.log(noticed, str(catalogue), names)
    except InputError:
        folder.remove()
        raise
    with _unless_done(folder):
        if task.carried:
            complete_hats(catalogue, folder.folder, predictor.annotation.names, dict(task.renamed))
            folder.become_target()
        else:
            _merge(folder, task, parts, predictor)
            folder.remove()


@contextmanager
def _unless_done(folder: PartFolder) -> Iterator[None]:
    """Inside, what fails because another share has completed the result meanwhile is no error."""
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
