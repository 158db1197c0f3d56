"""Kill a fit at random moments, let it go on, and compare with the fit that nobody stopped, bit by bit.

    python experiments/faults/resumed.py --kills 20 --seed 0

prints, as JSON, where each kill came and what, if anything, differs in the end. With ``--stages`` one fit is stopped
once in every stage, as a job of SLURM that is put back into the queue, by a kill, SIGTERM, Ctrl-C or SLURM's signal.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

import stream_mapper.pipeline
import stream_mapper.training.cli  # noqa: F401
from stream_mapper import fitted
from stream_mapper.catalog import read_table
from stream_mapper.finish import main as finish
from stream_mapper.fit import main as fit
from stream_mapper.results import run_folder
from stream_mapper.results.stages import is_complete
from stream_mapper.simulate import main as simulate

CONFIG = """
data:
  columns: [phi1, phi2, parallax]
  batch_size: 150
background:
  off_stream:
    class_path: stream_mapper.training.OffStream
    init_args: {coord: phi2, phi1: [-20, 30], center: [1.5, 1.5], width: 1.2}
  max_epochs: 2
  batch_size: 200
  copies: 2
trainer: {max_epochs: 4}
results: {draws: 1, track_draws: 1, best: 5}
model:
  model:
    class_path: stream_mapper.MixtureModel
    init_args:
      # Dropout draws random numbers in each step.
      net:
        class_path: stream_mapper.nn.on_grid
        init_args:
          scale: 60
          net:
            class_path: stream_mapper.nn.sequential
            init_args: {data: 1, hidden_features: 8, layers: 2, features: 1, dropout: 0.1}
      params:
        class_path: stream_mapper.params.ModelParameters
        init_args: {params: {stream.ln-weight: [-6, -0.5]}}
      components:
        stream:
          class_path: stream_mapper.builtin.TruncatedNormal
          init_args:
            coord_names: [phi2, parallax]
            coord_bounds: {phi2: [-2, 10], parallax: [0.058823, 0.200001]}
            net:
              class_path: stream_mapper.nn.on_grid
              init_args:
                scale: 60
                net:
                  class_path: stream_mapper.nn.sequential
                  init_args: {data: 1, hidden_features: 8, layers: 2, features: 4}
            params:
              class_path: stream_mapper.params.ModelParameters
              init_args:
                params:
                  phi2: {mu: [-2, 10], ln-sigma: [-4, 0]}
                  parallax: {mu: [0.055, 0.21], ln-sigma: [-6, -3]}
        background:
          class_path: stream_mapper.IndependentModels
          init_args:
            components:
              phi2:
                class_path: stream_mapper.builtin.Uniform
                init_args: {coord_names: [phi2], coord_bounds: {phi2: [-2, 10]}}
              parallax:
                class_path: stream_mapper.builtin.compat.ZukoFlowModel
                init_args:
                  coord_names: [parallax]
                  coord_bounds: {parallax: [0.058823, 0.200001]}
                  net: {class_path: stream_mapper.builtin.compat.flow, init_args: {features: 1, transforms: 1}}
"""
"""A fit of seconds that has every stage: a flow and its copies, a mixture with dropout, polish and posterior."""

_TABLES = ("memberships.parquet", *(f"{t}.ecsv" for t in ("track", "density", "components", "features", "checks")))
_TIMES = ("seconds_fit",)
_MOST = 4  # kills of one fit, before it may end
_OFTEN = 0.02  # seconds between two looks


@dataclass(frozen=True)
class Kill:
    """A kill, and what became of the fit.

    Arguments:
        seconds: After how long it came.
        left: The newest file of the run folder then.
        differs: What differs in the end from the fit that nobody stopped.
    """

    seconds: float
    left: str
    differs: list[str]


def kills(n: int, seed: int, folder: Path | None = None, options: Sequence[str] = ()) -> list[Kill]:
    """Kill fits of one configuration n times, at random moments of what is left of them.

    Arguments:
        n: Kills.
        seed: Of the moments.
        folder: Where; by default a temporary one, which is removed.
        options: More arguments of the fits, such as ``--model.ensemble_size=2``.
    """
    with tempfile.TemporaryDirectory() as temporary:
        root, out, rng = folder or Path(temporary), list[Kill](), random.Random(seed)
        arguments = [*inputs(root), *options]
        began = time.monotonic()
        fit_whole(root / "runs", arguments)
        whole, length = only_run(root / "runs"), time.monotonic() - began
        while len(out) < n:
            place = root / f"runs_{len(out)}"
            moments = [rng.uniform(0, length / (i + 1)) for i in range(min(rng.randint(1, _MOST), n - len(out)))]
            lost = list(_killed(place, arguments, moments))
            fit_whole(place, arguments)
            differs = differences(whole, only_run(place))
            out += [Kill(seconds, left, differs) for seconds, left in lost]
        return out


STOPS: Mapping[str, tuple[str, int]] = {
    "flow": ("training the flow", signal.SIGKILL),
    "background": ("stages/background.0.ckpt", signal.SIGUSR1),
    "copies": ("stages/copies.0.0.ckpt", signal.SIGKILL),
    "epoch": ("checkpoints/last.ckpt", signal.SIGTERM),
    "next epoch": ("checkpoints/last.ckpt", signal.SIGINT),
    "mixture": ("stages/mixture.ckpt", signal.SIGKILL),
    "polish": ("stages/polish.ckpt", signal.SIGKILL),
    "posterior": ("stages/posterior.ckpt", signal.SIGTERM),
    "tables": ("memberships.parquet", signal.SIGKILL),
}
"""A stop in every stage: what the fit has just said, or the file it has just written; and the signal."""

SLURM = {
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NAME": "fit",
    "SLURM_JOB_NODELIST": "localhost",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NNODES": "1",
    "SLURM_NODEID": "0",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}
"""What SLURM tells a job of one task."""


def at_every_stage(root: Path) -> dict[str, int]:
    """Stop one fit in every stage; its folder as each stop left it is ``stopped/<stop>``, the fit in the end ``runs``.

    The working folder is ``here``. Two that nobody stops are made in one folder at once, ``whole``. The one that is
    stopped ends with ``finish``. Figures and the page, which take long and are not compared, are left out.

    Returns:
        The exit status of each stop; beside them that of a fit, ``full``, which may write no file above 20 kB.
    """
    arguments = inputs(root, stars=200)
    os.environ |= SLURM
    (root / "here").mkdir()
    os.chdir(root / "here")
    run_folder.figures, fitted._write_page = lambda *_, **__: {}, lambda *_: None
    both = [forked(root / "whole", arguments) for _ in range(2)]
    statuses = {"whole": max(map(status_of, both))}
    place, statuses["full"] = root / "runs", status_of(forked(root / "full", arguments, partial(_limit_files, 20_000)))
    for name, stop in STOPS.items():
        statuses[name] = status_of(forked(place, arguments, partial(_stop_at, *stop)))
        if (place / "version_0").is_dir():
            shutil.copytree(place / "version_0", root / "stopped" / name)
    child = os.fork()
    if not child:
        _end(place, lambda: finish([str(place / "version_0")]))
    statuses["finish"] = status_of(child)
    return statuses


def _stop_at(moment: str, with_signal: int) -> None:
    """Let this process send itself a signal once it has said something, or written a file of this ending."""

    def said(record: logging.LogRecord) -> bool:
        if moment in record.getMessage():
            os.kill(os.getpid(), with_signal)
        return True

    def replace(path: Path, target: Path) -> Path:
        new = Path(os.fspath(target))
        os.replace(path, new)
        if str(new).endswith(moment):
            os.kill(os.getpid(), with_signal)
        return new

    logging.getLogger("stream_mapper").addFilter(said)
    Path.replace = replace  # type: ignore[method-assign, assignment]


def _limit_files(size: int) -> None:
    """Let this process write no file of more bytes, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _killed(place: Path, arguments: Sequence[str], moments: Sequence[float]) -> Iterator[tuple[float, str]]:
    """Start a fit, or let it go on, and kill it after each of these times: how long it was, and the newest file then.

    One that is complete before is not killed.
    """
    for seconds in moments:
        run_of_process(place, arguments, time.monotonic() + seconds)
        yield seconds, newest(place)
        if any(is_complete(run) for run in place.glob("version_*")):
            return


def inputs(root: Path, stars: int = 400) -> list[str]:
    """Write the configuration and its table; the arguments of a fit."""
    (root / "config.yaml").write_text(CONFIG)
    init = {"n_stream": stars // 4, "n_background": stars, "seed": 3}
    mock = {"class_path": "stream_mapper.mock.TailoredMock", "init_args": init}
    path = root / "stars.parquet"
    simulate(["--simulator", json.dumps(mock), "--output", str(path)])
    return ["--config", str(root / "config.yaml"), "--data.path", str(path)]


def fit_whole(place: Path, arguments: Sequence[str]) -> None:
    """Fit, or go on, to the end.

    Raises:
        RuntimeError: If it fails, with what it said.
    """
    if status := run_of_process(place, arguments):
        raise RuntimeError(f"{place}: exit status {status}: {place.with_suffix('.log').read_text()[-2000:]}")


def run_of_process(place: Path, arguments: Sequence[str], until: float = math.inf) -> int:
    """Fit, or go on, in a process of its own, which is killed at a time: its exit status."""
    child = forked(place, arguments)
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
        time.sleep(_OFTEN)
    return os.waitstatus_to_exitcode(ended[1])


def forked(place: Path, arguments: Sequence[str], before: Callable[[], object] | None = None) -> int:
    """Start a fit, or let one go on, in a process of its own.

    Arguments:
        place: Folder of its runs.
        arguments: Of the fit.
        before: What the process does first.

    Returns:
        The number of the process.
    """
    place.mkdir(exist_ok=True)
    child = os.fork()
    if not child:
        if before is not None:
            before()
        _end(place, lambda: fit([*arguments, f"--trainer.default_root_dir={place}", "--resume=auto"]))
    return child


def status_of(child: int) -> int:
    """The exit status of a process, once it has ended; minus the signal, if one ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _end(place: Path, command: Callable[[], object]) -> NoReturn:
    """What a process is forked for, and its end; what it says is in a file."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores
        log = os.open(place.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        command()
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    finally:
        os._exit(status)


def newest(place: Path) -> str:
    """The file that was written last."""
    paths = [path for path in place.rglob("*") if path.is_file() and path.name != ".lock"]
    return max(paths, key=lambda path: path.stat().st_mtime_ns).relative_to(place).as_posix() if paths else ""


def only_run(place: Path) -> Path:
    """The one run of a folder; a kill while a folder was made leaves one that is none, and another is made."""
    (run,) = (run for run in place.glob("version_*") if is_complete(run))
    return run


def differences(one: Path, other: Path) -> list[str]:
    """In which parameters, columns and numbers two runs differ, times excepted; and temporary files that were left."""
    weights = [torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for run in (one, other)]
    out = [name for name in {**weights[0], **weights[1]} if not _same(*(state.get(name) for state in weights))]
    for name in _TABLES:
        first, second = read_table(one / name), read_table(other / name)
        names = dict.fromkeys([*first.colnames, *second.colnames])
        out += [
            f"{name} {c}" for c in names if not _same(*(t[c] if c in t.colnames else None for t in (first, second)))
        ]
    numbers = [json.loads((run / "metrics.json").read_text()) for run in (one, other)]
    out += [n for n in {**numbers[0], **numbers[1]} if n not in _TIMES and not _same(*(m.get(n) for m in numbers))]
    return out + [str(path) for path in other.rglob(".*")]


def _same(one: object, other: object) -> bool:
    """Whether two columns, tensors or numbers are the same to the bit, NaN like NaN."""
    if one is None or other is None or isinstance(one, dict | list | str):
        return one == other
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


def main() -> None:
    """Print what became of every kill, and whether nothing differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", type=Path, help="stop one fit in every stage, in this folder")
    asked, options = parser.parse_known_args()
    if asked.stages is not None:
        print(json.dumps(at_every_stage(asked.stages.resolve())))
        return
    found = kills(asked.kills, asked.seed, options=options)
    print(json.dumps([asdict(kill) for kill in found], indent=1))
    print(f"{len(found)} kills, of which {sum(bool(kill.differs) for kill in found)} changed something")
    raise SystemExit(any(kill.differs for kill in found))


if __name__ == "__main__":
    main()
