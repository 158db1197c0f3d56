"""Time to solution of an experiment: when its held-out likelihood is, and stays, within 1e-3 nat of its final value.

python experiments/benchmarks/solution.py --experiment mock --folder runs/benchmark
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from common import options, report
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

_NEAR = 1e-3  # nats


def held_out(run: Path) -> list[tuple[float, float]]:
    """Seconds since the mixture stage began, and the held-out mean log-likelihood, of every epoch."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    return [
        (event.wall_time - events.FirstEventTimestamp(), event.value) for event in events.Scalars("val/ln_likelihood")
    ]


def solved(curve: list[tuple[float, float]]) -> float:
    """The first time from which on the likelihood is as it ends."""
    late = [seconds for seconds, value in curve if abs(value - curve[-1][1]) > _NEAR]
    return next(seconds for seconds, _ in curve if not late or seconds > late[-1])


def main() -> None:
    """Run the experiment as its user would and print the times as JSON."""
    name = ("--experiment", {"default": "mock"})
    asked = options(__doc__, name, ("--folder", {"required": True, "type": Path}))
    config = Path("experiments") / asked.experiment / "config.yaml"
    command = [sys.executable, "-m", "stream_mapper.fit", "--config", str(config)]
    start = time.perf_counter()
    subprocess.run([*command, "--trainer.default_root_dir", str(asked.folder)], check=True, stdout=subprocess.DEVNULL)
    whole = time.perf_counter() - start
    run = max(asked.folder.glob("version_*"), key=lambda path: path.stat().st_mtime)
    metrics = json.loads((run / "metrics.json").read_text())
    curve = held_out(run)
    report(
        {
            "run": str(run),
            "solved": solved(curve),
            "mixture_stage": metrics["seconds_fit"],
            "whole_command": whole,
            "epochs": metrics["epochs"],
            "average_precision": metrics.get("average_precision"),
            "optimal_average_precision": metrics.get("optimal_average_precision"),
        }
    )


if __name__ == "__main__":
    main()
