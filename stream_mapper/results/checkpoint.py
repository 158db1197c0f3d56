"""Checkpoints: a fitted model, how its catalogue was read, and where it comes from, in one file of plain values."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stream_mapper.catalog import replace_file
from stream_mapper.description import build, check_rebuilds, describe
from stream_mapper.errors import InputError
from stream_mapper.inference.ensemble import Ensemble
from stream_mapper.models.base import Model
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.results.annotation import Intake
from stream_mapper.results.provenance import Facts

HEADER = "stream_mapper"
"""Where a checkpoint keeps what is not state."""

FORMAT = 2
_MAGIC = b"PK\x03\x04"  # every checkpoint is a zip archive
_WISH = "a fit writes RUN/checkpoints/best.ckpt"
_MODEL, _ENSEMBLE = "model.", "ensemble."

_log = logging.getLogger("stream_mapper")

State = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Arguments:
        model: The fitted mixture, in evaluation mode, its weights frozen.
        ensemble: Its fits and their posteriors.
        intake: How its stars were taken from their table.
        facts: What the fit says of its origin; empty before the end of a fit.
        profile: Places along the stream and the density of all fitted stars there, (3, G); None before the end.
        checks: The judgement of the fit, row by row.
        options: What its run folder holds; None before the end.
    """

    model: MixtureModel
    ensemble: Ensemble
    intake: Intake
    facts: Facts
    profile: Tensor | None
    checks: list[dict[str, Any]]
    options: Any = None


def header_of(model: Model, ensemble: Ensemble, intake: Intake | None = None) -> State:
    """What a checkpoint says of a model besides its state; with a warning, the reason why there is no description."""
    header: State = {"format": FORMAT, "ensemble_size": len(ensemble), "copies": len(ensemble.resampled)}
    try:
        plain = describe(model)
        check_rebuilds(model, plain)
        return header | {"model": plain, "intake": None if intake is None else describe(intake, "the catalogue")}
    except InputError as error:
        _log.warning("checkpoints of this fit can only be read by a program that builds the model itself: %s", error)
        return header | {"model": None, "reason": str(error)}


def write_checkpoint(path: Path, model: Model, ensemble: Ensemble, header: State, **others: Any) -> None:
    """Write a finished fit, all or nothing.

    Arguments:
        path: The file.
        model: The fitted model.
        ensemble: Its fits and their posteriors.
        header: What :func:`header_of` gave, with the facts, the profile and the checks of the fit.
        **others: Further entries, such as the epoch.
    """
    states = ((_MODEL, model), (_ENSEMBLE, ensemble))
    state = {prefix + name: v.cpu() for prefix, module in states for name, v in module.state_dict().items()}
    replace_file(path, lambda new: torch.save({HEADER: header, "state_dict": state, **others}, new))


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The model of a checkpoint, and what belongs to it.

    Raises:
        InputError: If the file is missing, is no checkpoint, or its model cannot be built or has another state.
    """
    entries = _entries(Path(path))
    header: State = entries[HEADER]
    model = build(header["model"])
    if not isinstance(model, MixtureModel):
        raise InputError(f"{path}: holds a {type(model).__name__}; memberships need a MixtureModel.")
    _load(model, entries["state_dict"], _MODEL, path)
    ensemble = Ensemble(model, header["ensemble_size"], header["copies"])
    _load(ensemble, entries["state_dict"], _ENSEMBLE, path)
    for module in (model, ensemble):
        module.eval()
        module.requires_grad_(False)
    given = header.get("intake")
    intake = Intake.of_model(model) if given is None else build(given)
    return Checkpoint(
        model,
        ensemble,
        intake,
        header.get("facts", {}),
        header.get("profile"),
        header.get("checks", []),
        build(header.get("options")),
    )


def _load(module: torch.nn.Module, state: dict[str, Tensor], prefix: str, path: str | Path) -> None:
    numbers = {name.removeprefix(prefix): values for name, values in state.items() if name.startswith(prefix)}
    try:
        module.load_state_dict(numbers)
    except RuntimeError as error:
        raise InputError(f"{path}: its numbers do not fit the model that it describes: {error}") from error


def _entries(path: Path) -> State:
    """The entries of a checkpoint that has a description."""
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; {_WISH}.")
    try:
        entries: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} {_fault(path, error)}; {_WISH}.") from error
    missing = [key for key in (HEADER, "state_dict") if not isinstance(entries, dict) or key not in entries]
    if missing:
        raise InputError(f"{path} is not a checkpoint of stream_mapper: it has no {missing}.")
    header = entries[HEADER]
    if header["format"] != FORMAT:
        raise InputError(f"{path}: has the format {header['format']}; this version of stream_mapper reads {FORMAT}.")
    if header["model"] is None:
        raise InputError(f"{path}: holds no description of its model: {header['reason']}")
    return dict(entries)


def _fault(path: Path, error: Exception) -> str:
    """What is wrong with a file that torch cannot load; its own words are about its insides."""
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
    if start == _MAGIC and not isinstance(error, pickle.UnpicklingError):
        return "is damaged or not complete"
    return "is not a checkpoint of stream_mapper" if start else "is empty"
