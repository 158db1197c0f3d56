"""Memberships of a catalogue: ``python -m stream_mapper.predict --checkpoint ... --catalogue ... --output ...``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stream_mapper import trust
from stream_mapper.commands import parse, run
from stream_mapper.errors import InputError, check_at_least
from stream_mapper.paths import FilePath

if TYPE_CHECKING:
    from stream_mapper.prediction import Predictor


def predict(
    checkpoint: FilePath,
    catalogue: FilePath,
    output: FilePath,
    draws: int = 32,
    chunk_size: int = 262_144,
    processes: int = 1,
    scheduler: str | None = None,
    scheduler_file: FilePath | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    allow: Sequence[str] = (),
) -> Path:
    """Write the catalogue with the membership of each of its stars.

    Parquet is read, computed and written chunk by chunk, whatever its size; other formats are read whole. A prediction
    of Parquet that was stopped goes on where it was when it is started again with the same arguments.

    Arguments:
        checkpoint: A checkpoint that a fit wrote; everything else is read from it.
        catalogue: A table with the columns the fit had, in any order: FITS, ECSV, CSV, VOTable or Parquet, a folder of
            Parquet files, or a HATS catalogue. Magnitudes may be missing.
        output: The table to write, whose ending gives the format; or, for Parquet, a folder (no ending), which gets a
            file for each file of the catalogue, and is a HATS catalogue if that is one.
        draws: Draws of the posterior for the quantiles; 0 for none, which is several times faster.
        chunk_size: Stars in memory at once, in each process.
        processes: Processes of this machine that compute the parts of a catalogue of Parquet; more than one needs Dask.
        scheduler: Address of a scheduler of Dask, such as tcp://node1:8786, whose workers compute them instead.
        scheduler_file: The file in which such a scheduler has written its address.
        device: What computes: "cpu", or a GPU, "cuda"; on a cluster, of each worker.
        overwrite: Whether to replace a folder that holds another prediction, or the beginnings of one.
        allow: Modules of your own with the classes and functions of the model; name only what you trust.

    Raises:
        InputError: If the checkpoint, the table or the device cannot be used, or the output is one of them.
    """
    from stream_mapper.catalog import check_apart, is_partitioned  # noqa: PLC0415
    from stream_mapper.cluster import Workers  # noqa: PLC0415
    from stream_mapper.prediction import Predictor, predict_parts  # noqa: PLC0415

    trust.allow(*allow)
    check_at_least("draws", draws, 0)
    check_at_least("chunk_size", chunk_size)
    workers = Workers(processes, scheduler, scheduler_file)
    source, target = Path(catalogue), Path(output)
    in_parts = _check_target(os.fspath(output))
    check_apart(target, source, Path(checkpoint))
    here = "cpu" if workers.is_elsewhere else device  # what the workers have need not be here too
    predictor = Predictor(os.fspath(checkpoint), draws, here)
    if not (is_partitioned(source) and (in_parts or target.name.lower().endswith(".parquet"))):
        _check_whole(source, target, in_parts, workers.is_elsewhere)
        _predict_whole(predictor, os.fspath(catalogue), target)
        return target
    predict_parts(
        predictor,
        source,
        target,
        in_parts=in_parts,
        chunk_size=chunk_size,
        workers=workers,
        device=device,
        overwrite=overwrite,
    )
    return target


def _predict_whole(predictor: Predictor, catalogue: str, output: Path) -> None:
    """Read a table, predict it and write it."""
    from stream_mapper.catalog import read_table, write_table  # noqa: PLC0415
    from stream_mapper.results.annotation import rename_clashes  # noqa: PLC0415
    from stream_mapper.results.provenance import DATE  # noqa: PLC0415

    table, annotation = read_table(catalogue), predictor.annotation
    stars = annotation.read(table, catalogue)
    table = rename_clashes(table, annotation.names, catalogue)
    predictor.warn_without_draws()
    predictor.log(predictor.tally(stars), catalogue, table.colnames)
    result = annotation.table(table, predictor(stars), catalogue)
    del result.meta[DATE]  # the same command gives the same bytes
    write_table(result, output)


def _check_target(output: str) -> bool:
    """Whether the output is a folder of parts.

    Raises:
        InputError: If it cannot be written.
    """
    from stream_mapper.catalog import check_target  # noqa: PLC0415

    target = Path(output)
    if not target.name:
        raise InputError(f"{output}: a folder of parts is made anew; give it a name of its own.")
    if not (target.is_dir() or target.suffix == "" or output.endswith(os.sep)):
        check_target(target)
        return False
    if target.is_file() or not target.absolute().parent.is_dir():
        obstacle = "is a file" if target.is_file() else "the folder it would be in does not exist"
        raise InputError(f"{target}: {obstacle}; give a folder that is to be made, or the path of a table.")
    return True


def _check_whole(source: Path, target: Path, in_parts: bool, is_shared: bool) -> None:
    """Raise InputError if a table that is read whole is to be treated like one in parts."""
    if source.is_dir() and any(source.rglob("*.parquet")):
        raise InputError(f"{target}: a folder of Parquet is written as .parquet or as a folder; give such an output.")
    if in_parts and source.is_file():
        raise InputError(f"{target}: only Parquet is written as a folder of parts, and {source} is none; name a table.")
    if is_shared:
        raise InputError(f"scheduler: only the parts of Parquet can be shared out; {source} is read whole.")


def main(args: Sequence[str] | None = None) -> None:
    """Command-line entry: a clear line and exit status 2 for unusable input."""
    path = run(lambda given: predict(**parse(predict, given)), args)
    print(f"memberships: {path}")


if __name__ == "__main__":
    main()
