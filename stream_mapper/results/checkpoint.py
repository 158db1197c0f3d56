"""Checkpoints: a fitted model, how its catalogue was read, and where it comes from, in one file of plain values."""

from __future__ import annotations

import io
import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from stream_mapper.catalog import replace_file
from stream_mapper.description import build, check_rebuilds, describe
from stream_mapper.errors import InputError
from stream_mapper.inference.ensemble import Ensemble
from stream_mapper.models.base import Model
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.results.annotation import Intake
from stream_mapper.results.provenance import CREATOR, Facts
from stream_mapper.results.run_folder import ResultOptions
from stream_mapper.selection import Selection

HEADER = "stream_mapper"
"""Where a checkpoint keeps what is not state."""

FORMAT = 2
_MAGIC = b"PK\x03\x04"  # every checkpoint is a zip archive
_WISH = "a fit writes RUN/checkpoints/best.ckpt"
_MODEL, _ENSEMBLE = "model.", "ensemble."
_MOST = 10_000  # fits of an ensemble, and copies of the densities that are trained beforehand
_HUGE = 1e18
_SAID = 200  # letters of what torch says of arrays that do not fit

_log = logging.getLogger("stream_mapper")

State = dict[str, Any]
Made = TypeVar("Made")


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
        off_stream: Which stars have trained the background; None if that is not known, or may not be built.
    """

    model: MixtureModel
    ensemble: Ensemble
    intake: Intake
    facts: Facts
    profile: Tensor | None
    checks: list[dict[str, Any]]
    options: ResultOptions | None = None
    off_stream: Selection | None = None


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
    save_whole(path, {HEADER: header, "state_dict": state, **others})


def save_whole(path: Path, entries: State) -> None:
    """Write the entries of a checkpoint, all or nothing.

    torch's own words on a full disk would not say that it is full.
    """
    text = io.BytesIO()
    torch.save(entries, text)
    replace_file(path, lambda new: new.write_bytes(text.getbuffer()))


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The model of a checkpoint, and what belongs to it.

    Raises:
        InputError: If the file is missing, is no checkpoint or of another format, its model may not or cannot be built
            or has another state, or numbers in it are NaN.
    """
    entries = _entries(Path(path))
    try:
        return _built(entries[HEADER], entries["state_dict"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # whatever the constructors say of arguments that they do not know
        says = f"{type(error).__name__}: {error}"
        by = _facts(entries).get(CREATOR, "another version of stream_mapper")
        raise InputError(f"{path}: what it describes cannot be built ({says}); it was written by {by}.") from error


def _built(header: State, state: dict[str, Tensor]) -> Checkpoint:
    """What a header describes, with its state."""
    model = build(header["model"])
    if not isinstance(model, MixtureModel):
        raise InputError(f"holds a {type(model).__name__}; memberships need a MixtureModel.")
    _load(model, state, _MODEL)
    ensemble = Ensemble(model, _count(header, "ensemble_size", 1), _count(header, "copies", 0))
    _load(ensemble, state, _ENSEMBLE)
    for module in (model, ensemble):
        module.eval()
        module.requires_grad_(False)
    given = header.get("intake")
    intake = Intake.of_model(model) if given is None else _instance(build(given), Intake)
    options = build(header.get("options"))
    return Checkpoint(
        model,
        ensemble,
        intake,
        _instance(header.get("facts", {}), dict),
        None if (profile := header.get("profile")) is None else _instance(profile, Tensor),
        [_instance(row, dict) for row in _instance(header.get("checks", []), list)],
        options if options is None else _instance(options, ResultOptions),
        _selection(header.get("off_stream")),
    )


def _selection(described: Any) -> Selection | None:
    """A selection, which nothing but a figure needs: none of a class that may not be built."""
    try:
        made = build(described)
    except InputError:
        return None
    return made if isinstance(made, Selection) else None


def _count(header: State, key: str, least: int) -> int:
    value = header.get(key)
    if not isinstance(value, int) or not least <= value <= _MOST:
        raise InputError(f"its {key} is {value!r}, which no fit has.")
    return value


def _instance(made: Any, kind: type[Made]) -> Made:
    if not isinstance(made, kind):
        raise InputError(f"it has a {type(made).__name__} where a {kind.__name__} is needed.")
    return made


def _load(module: torch.nn.Module, state: dict[str, Tensor], prefix: str) -> None:
    numbers = {name.removeprefix(prefix): values for name, values in state.items() if name.startswith(prefix)}
    _check_numbers(numbers, module.state_dict(), prefix)
    try:
        module.load_state_dict(numbers)
    except RuntimeError as error:
        first = " ".join(str(error).splitlines()[1:2]).strip()[:_SAID]
        raise InputError(f"its numbers do not fit the model that it describes: {first or error}") from error


def _check_numbers(numbers: dict[str, Tensor], own: dict[str, Tensor], prefix: str) -> None:
    """Raise InputError if arrays hold what no fit leaves, beside the model's own before it is filled."""
    blank = {name for name, values in own.items() if values.isnan().any()}  # they are filled at the end of a fit
    if bad := [name for name, values in numbers.items() if values.isnan().any() and name not in blank]:
        raise InputError(f"{len(bad)} of its arrays have NaN, e.g. {prefix}{bad[0]}: that fit had diverged; fit again.")
    both = [(name, values, own[name]) for name, values in numbers.items() if name in own]
    for name, values, before in both:
        if not _alike(values, before):
            kinds = f"{values.dtype} for {before.dtype}"
            raise InputError(f"its numbers do not fit the model that it describes: {prefix}{name} is {kinds}.")
        if _is_huge(values) and not _is_huge(before):
            most = values.abs().max().item()
            raise InputError(f"its numbers are those of no fit: {prefix}{name} has {most:.3g}; is the file damaged?")


def _is_huge(values: Tensor) -> bool:
    """Whether the square of one of the numbers is more than single precision holds."""
    return values.is_floating_point() and bool((values.abs() > _HUGE).any())


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether the numbers of two arrays are of one kind, if not of the same digits."""
    return one.is_complex() == other.is_complex() and one.is_floating_point() == other.is_floating_point()


def _facts(entries: State) -> dict[str, Any]:
    facts = entries[HEADER].get("facts")
    return facts if isinstance(facts, dict) else {}


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
        raise InputError(f"{path} is not a checkpoint of stream_mapper: it has no {missing}; {_WISH}.")
    header, state = entries[HEADER], entries["state_dict"]
    if not (isinstance(header, dict) and isinstance(state, dict) and all(map(torch.is_tensor, state.values()))):
        raise InputError(f"{path} is not a checkpoint of stream_mapper: its entries are of other types; {_WISH}.")
    if header.get("format") != FORMAT:
        by = _facts(entries).get(CREATOR, "another version of stream_mapper")
        advice = f"predict with the version that wrote it ({by}), or fit again"
        raise InputError(f"{path}: has the format {header.get('format')}, and {FORMAT} is read here; {advice}.")
    if header.get("model") is None:
        raise InputError(f"{path}: holds no description of its model: {header.get('reason', 'it does not say why')}")
    return dict(entries)


def _fault(path: Path, error: Exception) -> str:
    """What is wrong with a file that torch cannot load; its own words are about its insides."""
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
    if start == _MAGIC and not isinstance(error, pickle.UnpicklingError):
        return "is damaged or not complete"
    return "is not a checkpoint of stream_mapper" if start else "is empty"
