"""The same fit on a CPU and on a GPU: how long each took, and how far their numbers are apart.

python experiments/benchmarks/devices.py --config experiments/mock/config.yaml --folder runs/devices
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import report

import stream_mapper as sml
from stream_mapper.catalog import read_table

_NUMBERS = ("val_ln_likelihood", "val_ln_likelihood_background", "expected_members", "average_precision", "seconds_fit")
_P, _DRAWS = "p_member", 16
_OPEN = 0.01  # memberships nearer than this to 0 or 1 are settled


def fit(config: str, folder: Path, accelerator: str, more: list[str]) -> tuple[Path, float]:
    """The run folder of a fit, and the seconds that its command took."""
    command = [sys.executable, "-m", "stream_mapper.fit", "--config", config, "--trainer.accelerator", accelerator]
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if accelerator == "cpu" else {})
    begin = time.perf_counter()
    subprocess.run([*command, "--trainer.default_root_dir", str(folder), *more], check=True, env=environment)
    return max(folder.glob("version_*"), key=lambda path: path.stat().st_mtime), time.perf_counter() - begin


def apart(one: Path, other: Path) -> dict[str, float]:
    """How far the memberships of two runs are apart; the last is a share of the stars that are open in the first."""
    first, second = (read_table(run / "memberships.parquet") for run in (one, other))
    p, q, low, high = (np.asarray(column) for column in (first[_P], second[_P], first[_P + "_05"], first[_P + "_95"]))
    opened = (p > _OPEN) & (p < 1 - _OPEN)
    return {
        "largest difference": float(np.nanmax(abs(p - q))),
        "mean difference": float(np.nanmean(abs(p - q))),
        "outside the bands": float(((q < low) | (q > high))[opened].mean()),
    }


def moved(run: Path) -> float:
    """Largest difference between the memberships and bands that a run's checkpoint gives on a CPU and on a GPU."""
    fitted = sml.load(run)
    assert fitted.catalogue is not None  # a finished run keeps its stars
    stars = fitted.catalogue.stars
    here = fitted.membership_columns(stars, _DRAWS)
    there = fitted.to("cuda").membership_columns(stars, _DRAWS)
    return max(float((here[name] - there[name]).abs().nan_to_num().max()) for name in here if name.startswith("p_"))


def main() -> None:
    """Print both as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--folder", required=True, type=Path)
    asked, more = parser.parse_known_args()
    found: dict[str, Any] = {}
    runs = {}
    for accelerator in ("cpu", "gpu"):
        runs[accelerator], seconds = fit(asked.config, asked.folder / accelerator, accelerator, more)
        metrics = json.loads((runs[accelerator] / "metrics.json").read_text())
        found[accelerator] = {"command": seconds} | {name: metrics.get(name) for name in _NUMBERS}
    loaded = {accelerator: moved(run) for accelerator, run in runs.items()}
    report(found | {"memberships": apart(runs["cpu"], runs["gpu"]), "one checkpoint on both": loaded})


if __name__ == "__main__":
    main()
