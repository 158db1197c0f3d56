"""Every benchmark: a table, and all the numbers as JSON.

python experiments/benchmarks/run.py --output benchmarks.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_PHOTOMETRY = ("g", "r", "g_err", "r_err")
_FOR_MEMORY = 10_000_000
Found = dict[str, Any]


def measured(script: str, *arguments: object) -> Found:
    """What one benchmark says, run by itself: in a process of its own peak memory is its own too."""
    command = [sys.executable, str(_HERE / f"{script}.py"), *map(str, arguments)]
    print(" ".join(command[1:]), file=sys.stderr)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def everything(asked: argparse.Namespace) -> Found:
    """All the numbers."""
    threads = () if asked.threads is None else ("--threads", asked.threads)
    found: Found = {"machine": measured("machine", *threads), "training": [], "inference": [], "solution": {}}
    for experiment in asked.experiments:
        folder = asked.folder / experiment
        found["solution"][experiment] = measured("solution", "--experiment", experiment, "--folder", folder, *threads)
    fit = ("--checkpoint", Path(found["solution"]["mock"]["run"]) / "checkpoints" / "best.ckpt", *threads)
    found["lightning"] = [
        measured("lightning_overhead", *fit, "--stars", 14_000, "--batch_size", 2048),
        measured("lightning_overhead", *fit, "--stars", 100_000, "--batch_size", 16_384),
        measured("lightning_overhead", *fit, "--stars", 100_000),
    ]
    for stars in asked.sizes:
        found["training"].append(measured("training", *fit, "--stars", stars))
    for stars in (*asked.sizes, *([] if asked.quick else [_FOR_MEMORY])):
        for without in ((), _PHOTOMETRY):
            lacking = ("--without", *without) if without else ()
            numbers = measured("inference", *fit, "--stars", stars, *lacking)
            found["inference"].append(numbers | {"photometry": not without})
    return found


def table(found: Found) -> list[str]:
    """The numbers for a reader, as Markdown."""
    machine = found["machine"]
    lines = [
        f"{machine['machine']}, {machine['threads']} threads, torch {machine['torch']}: "
        f"memory {machine['memory_bytes_per_s'] / 1e9:.0f} GB/s, cache {machine['cache_bytes_per_s'] / 1e9:.0f} GB/s, "
        f"matrix products {machine['matrix_flops_per_s'] / 1e9:.0f} Gflop/s"
    ]
    return [*lines, *_training(found), *_lightning(found), *_inference(found), *_solution(found)]


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _head(title: str, cells: list[object]) -> list[str]:
    return ["", _row(title, *cells), _row("---", *("---:" for _ in cells))]


def _training(found: Found) -> list[str]:
    runs = found["training"]
    lines = _head("training step, stars/s", [f"{run['stars']:,}" for run in runs])
    for name in ("screened", "every star", "screening"):
        if name in runs[0]["seconds"]:
            lines.append(_row(name, *(f"{run['stars'] / run['seconds'][name]:,.0f}" for run in runs)))
    lines.append(_row("peak memory, MB", *(f"{run['peak_memory'] / 1e6:,.0f}" for run in runs)))
    lines += _head("share of the step for every star", [f"{run['stars']:,}" for run in runs])
    parts = [name for name in runs[0]["seconds"] if name.startswith("part: ")]
    for name in parts:
        shares = (run["seconds"][name] / run["seconds"]["every star"] for run in runs)
        lines.append(_row(name.removeprefix("part: "), *(f"{share:.1%}" for share in shares)))
    slowest = max(parts, key=lambda name: runs[-1]["seconds"][name])
    ceiling = found["machine"]["cache_bytes_per_s"]
    rates = (run["bytes"][slowest] / run["seconds"][slowest] / ceiling for run in runs)
    label = f"{slowest.removeprefix('part: ')}: share of the cache's bandwidth"
    return [*lines, _row(label, *(f"{rate:.0%}" for rate in rates))]


def _lightning(found: Found) -> list[str]:
    lines = _head("Lightning and callbacks", ["ms a step", "ms without", "added"])
    for run in found["lightning"]:
        with_it, without = (1e3 * run[name] / run["steps"] for name in ("by_trainer", "by_hand"))
        label = f"{run['stars']:,} stars, batches of {run['batch_size']:,}"
        lines.append(_row(label, f"{with_it:.1f}", f"{without:.1f}", f"{with_it / without - 1:.0%}"))
    return lines


def _inference(found: Found) -> list[str]:
    lines: list[str] = []
    for photometry in (True, False):
        runs = [run for run in found["inference"] if run["photometry"] == photometry]
        title = f"predict, {'with' if photometry else 'without'} photometry, stars/s"
        lines += _head(title, [f"{run['stars']:,}" for run in runs])
        for name in runs[0]["seconds"]:
            rates = (f"{run['stars'] / run['seconds'][name]:,.0f}" if name in run["seconds"] else "" for run in runs)
            lines.append(_row(name.removeprefix("part: "), *rates))
        lines.append(_row("peak memory, MB", *(f"{run['peak_memory'] / 1e6:,.0f}" for run in runs)))
    return lines


def _solution(found: Found) -> list[str]:
    lines = _head("time to solution, s", ["solved", "mixture stage", "whole command", "average precision (optimal)"])
    for name, run in found["solution"].items():
        times = (f"{run[key]:.1f}" for key in ("solved", "mixture_stage", "whole_command"))
        precision = f"{run['average_precision']:.4f} ({run['optimal_average_precision']:.4f})"
        lines.append(_row(name, *times, precision))
    return lines


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks.json"))
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks"), help="where the experiments are run")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--experiments", nargs="+", default=["mock", "survey"], help="the mock among them")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--quick", action="store_true", help="without the prediction of 10,000,000 stars")
    asked = parser.parse_args()
    found = everything(asked)
    asked.output.write_text(json.dumps(found, indent=2) + "\n")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
