"""Which run a fit goes on with, and whether it may: the configuration that is kept in the run folder counts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from stream_mapper.errors import InputError
from stream_mapper.ranks import is_first
from stream_mapper.results.stages import CONFIG, can_go_on, is_complete, left_of
from stream_mapper.training.claims import check_free, give_back, take

AUTO = "auto"
OPTIONS = ("--resume", "--ckpt_path")
"""The option as we call it and as users of Lightning know it."""

HELP = "Go on with a fit that was stopped: its folder, or auto for the newest of this configuration, if there is one."

# Options that change no number of a fit: what it runs on, what it shows, where it is, and where the table is, which is
# compared by what it holds.
_FREE = (
    "data.path",
    "background.path",
    "trainer.default_root_dir",
    "trainer.logger",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.enable_model_summary",
    "trainer.log_every_n_steps",
)
_CHOSEN = "STREAM_MAPPER_RESUMED"  # what the first process chose, for those that it starts
_SHOWN = 3

_log = logging.getLogger("stream_mapper")

Plain = Mapping[str, Any]


def take_resume(args: Sequence[str]) -> tuple[str | None, list[str]]:
    """What is to be gone on with, if anything, and the other arguments.

    Raises:
        InputError: If nothing follows the option.
    """
    asked, rest = None, list[str]()
    waiting = list(args)
    while waiting:
        word, equals, value = waiting.pop(0).partition("=")
        if word not in OPTIONS:
            rest.append(word + equals + value)
            continue
        if not equals and not waiting:
            raise InputError(f"{word}: no run follows; give its folder, such as runs/version_0, or {AUTO}.")
        asked = value if equals else waiting.pop(0)
    return asked, rest


def complete_run(args: Any) -> Path | None:
    """The run that is asked for by its name, if nothing is left to do for it."""
    asked = take_resume(args)[0] if isinstance(args, Sequence) and not isinstance(args, str) else None
    return run if asked not in (None, AUTO) and is_complete(run := run_of(str(asked))) else None


def run_of(path: str) -> Path:
    """The folder of a run, by itself or by one of its checkpoints.

    Raises:
        InputError: If a fit that was stopped cannot go on from there.
    """
    given = Path(path).expanduser().absolute()
    folder = given.parent.parent if given.suffix == ".ckpt" else given
    if not (folder / CONFIG).is_file():
        raise InputError(f"{path}: is not the folder of a fit, which has a {CONFIG}; give one such as runs/version_0.")
    return folder


def taken_run(path: str) -> Path:
    """The folder of a run, which no other process goes on with.

    Raises:
        InputError: If there is nothing to go on with, or another process does.
    """
    folder = run_of(path)
    if not can_go_on(folder):
        raise InputError(f"{left_of(folder) or f'{folder} is complete'}.")
    if is_first():
        check_free(folder)
    return folder


def newest_run(root: Path, given: Plain) -> Path | None:
    """The newest run below a folder that is not complete, of this configuration, with which nobody goes on.

    Raises:
        InputError: If a cluster has started several processes, which could come to different answers.
    """
    if not is_first():
        return _chosen_by_the_first()
    if int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1) > 1:
        raise InputError(_SEVERAL)
    found = next((run for run in _stopped(root) if _is_ours(run, given)), None)
    os.environ[_CHOSEN] = str(found or "")
    if found is not None:
        _log.info("%s is gone on with.", found)
    return found


_SEVERAL = f"--resume {AUTO}: several processes were started at once; give the folder of the run."


def _chosen_by_the_first() -> Path | None:
    if _CHOSEN not in os.environ:
        raise InputError(_SEVERAL)
    return Path(os.environ[_CHOSEN]) if os.environ[_CHOSEN] else None


def _stopped(root: Path) -> Iterator[Path]:
    """Runs that are not complete and can go on, the newest first."""
    configs = [path for depth in ("", "*/", "*/*/") for path in root.glob(depth + CONFIG)]
    for path in sorted(configs, key=lambda path: (path.stat().st_mtime, path), reverse=True):
        if can_go_on(path.parent):
            yield path.parent


def _is_ours(run: Path, given: Plain) -> bool:
    """Whether a run is of this configuration and no other process has it, which is said."""
    if unlike := differences(kept_configuration(run), given):
        _log.warning("%s is not complete, but is of another configuration (%s): it stays as it is.", run, unlike[0])
        return False
    if not take(run):
        return False
    if is_complete(run):
        give_back(run)
        return False
    return True


def kept_configuration(run: Path) -> Plain:
    """The configuration in a run folder."""
    try:
        kept = yaml.safe_load((run / CONFIG).read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{run / CONFIG}: cannot be read ({error}).") from error
    return kept if isinstance(kept, dict) else {}


def check_same(run: Path, given: Plain) -> None:
    """Raise InputError if a configuration asks for other numbers than that of the run."""
    if unlike := differences(kept_configuration(run), given):
        more = f" and {len(unlike) - _SHOWN} more" if len(unlike) > _SHOWN else ""
        raise InputError(
            f"{run}: goes on with the configuration that it began with; given is {'; '.join(unlike[:_SHOWN])}{more}. "
            "Leave that out, or begin a new fit."
        )


def differences(kept: Plain, given: Plain) -> list[str]:
    """In which options that change numbers two configurations differ, in words."""
    one, other = dict(_leaves(kept)), dict(_leaves(given))
    names = [name for name in {**one, **other} if one.get(name) != other.get(name) and not _is_free(name)]
    return [f"{name}: {other.get(name)} in place of {one.get(name)}" for name in names]


def _is_free(name: str) -> bool:
    return any(name == free or name.startswith(f"{free}.") for free in _FREE)


def _leaves(plain: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted names; an empty section is none."""
    if not isinstance(plain, Mapping):
        yield path, plain
        return
    for name, value in plain.items():
        yield from _leaves(value, f"{path}.{name}" if path else str(name))
