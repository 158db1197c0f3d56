"""Fits from their run folders and checkpoints."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path

from astropy.table import Table

from stream_mapper import __version__
from stream_mapper.catalog import read_table
from stream_mapper.errors import InputError
from stream_mapper.fitted import CHECKPOINT_FILE, Catalogue, Fit
from stream_mapper.results.checkpoint import read_checkpoint
from stream_mapper.results.provenance import CHECKPOINT, DATE, FIT_DATE, digest, facts_of
from stream_mapper.results.run_folder import ResultOptions
from stream_mapper.results.stages import check_complete, left_of

_log = logging.getLogger("stream_mapper")


def load(path: str | os.PathLike[str]) -> Fit:
    """A fit, from its run folder or from a checkpoint.

    From a folder the fitted stars come with it, so that ``members``, ``figures`` and ``save`` know them.

    Arguments:
        path: A folder that holds ``checkpoints/best.ckpt`` and ``metrics.json``, or a checkpoint.

    Raises:
        InputError: If there is no such fit, or its model is of classes that may not be built; see
            :func:`stream_mapper.trust.allow`.
    """
    source = Path(path)
    if not source.is_dir():
        return _from_checkpoint(source)
    check_complete(source)
    fit = _from_checkpoint(source / CHECKPOINT_FILE)
    try:
        metrics = json.loads((source / "metrics.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: is not the folder of a finished fit ({error}); give its checkpoint.") from error
    return replace(fit, metrics=metrics, catalogue=_catalogue(source, fit), folder=source)


def _from_checkpoint(path: Path) -> Fit:
    left = left_of(path.parent.parent) if path.parent.name == CHECKPOINT_FILE.parent.name else None
    if left and not path.is_file():
        raise InputError(f"{path}: no such checkpoint; {left}.")
    read = read_checkpoint(path)
    if not read.facts:
        text = "%s: is of a fit that has not finished: its weights are not those of the end, and have no posterior%s."
        _log.warning(text, path, f"; {left}" if left else "")
    elif left:
        _log.warning("%s.", left)
    kept = dict(read.facts)
    dated = {FIT_DATE: kept.pop(DATE)} if DATE in kept else {}
    facts = facts_of(read.model, read.intake.reading.frame, __version__) | kept | dated
    checks = Table(rows=read.checks) if read.checks else None
    facts |= {CHECKPOINT: digest(path)}
    options = read.options or ResultOptions()
    return Fit(
        read.model,
        read.ensemble,
        read.intake,
        facts,
        read.profile,
        checks,
        options=options,
        off_stream=read.off_stream,
    )


def _catalogue(folder: Path, fit: Fit) -> Catalogue | None:
    """The stars of a run folder, from its first table of memberships that can be read."""
    paths = sorted(folder.glob("memberships.*"), key=lambda path: path.suffix != ".parquet")
    if not paths:
        return None
    table = read_table(paths[0])
    stars, _ = fit.intake.reading.load(table, optional=fit.annotation.optional, path=str(paths[0]))
    cuts = folder / "selection.ecsv"
    return Catalogue(table, stars, read_table(cuts) if cuts.is_file() else None)
