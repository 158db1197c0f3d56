"""A fitted model, and how its catalogue was read, from a checkpoint alone."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from stream_mapper.builtin import IsochroneMVNorm
from stream_mapper.errors import InputError
from stream_mapper.models import MixtureModel, Model
from stream_mapper.results.provenance import CHECKPOINT, DATE, FIT_DATE, Facts, digest
from stream_mapper.training.datamodule import CatalogueDataModule
from stream_mapper.training.module import StreamModule

_MAGIC = b"PK\x03\x04"  # every checkpoint is a zip archive
PROVENANCE = "provenance"
"""Where a checkpoint keeps the facts of its fit."""

_NEEDED = ("state_dict", "hyper_parameters", "datamodule_hyper_parameters")


def load_run(path: str | Path) -> tuple[StreamModule, CatalogueDataModule]:
    """The module, in evaluation mode, and the data module of a checkpoint.

    Raises:
        InputError: If the file is missing or is not a checkpoint of a fit started from a configuration.
    """
    _check(Path(path))
    module = StreamModule.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    datamodule = CatalogueDataModule.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    if not isinstance(module.model, MixtureModel):
        raise InputError(f"{path}: holds a {type(module.model).__name__}; memberships need a MixtureModel.")
    module.eval()
    module.requires_grad_(False)
    return module, datamodule


def provenance(path: str | Path) -> Facts:
    """What the results of a prediction by this checkpoint say of their origin.

    Arguments:
        path: A checkpoint that `load_run` could read; one of an earlier version has no facts of its fit.
    """
    kept: Facts = dict(torch.load(path, map_location="cpu", weights_only=True).get(PROVENANCE, {}))
    dated = {FIT_DATE: kept.pop(DATE)} if DATE in kept else {}
    return {**kept, **dated, CHECKPOINT: digest(Path(path))}


def photometric_columns(model: Model) -> tuple[str, ...]:
    """Columns of magnitudes and their errors: a catalogue may lack them."""
    names = tuple(name for part in model.parts() if isinstance(part, IsochroneMVNorm) for name in part.coord_names)
    return (*names, *photometric_errors(model).values())


def photometric_errors(model: Model) -> dict[str, str]:
    """Column of the errors of each magnitude that has one."""
    parts = [part for part in model.parts() if isinstance(part, IsochroneMVNorm)]
    return {name: error for part in parts for name, error in part.error_names.items()}


def _check(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; a fit writes RUN/checkpoints/best.ckpt.")
    try:
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} {_fault(path, error)}; a fit writes RUN/checkpoints/best.ckpt.") from error
    missing = [key for key in _NEEDED if not isinstance(checkpoint, dict) or key not in checkpoint]
    if missing:
        raise InputError(f"{path} is not a checkpoint of stream_mapper: it has no {missing}.")


def _fault(path: Path, error: Exception) -> str:
    """What is wrong with a file that torch cannot load; its own words are about its insides."""
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
    if start == _MAGIC and not isinstance(error, pickle.UnpicklingError):
        return "is damaged or not complete"
    return "is not a checkpoint of stream_mapper" if start else "is empty"
