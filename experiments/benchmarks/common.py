"""What the benchmarks share: options, clocks, stars, and a report of one line of JSON."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

import stream_mapper as sml
from stream_mapper.inference.frozen import known_densities
from stream_mapper.mock import TailoredMock
from stream_mapper.models import Batch
from stream_mapper.models.components import frozen_parts

FIT = (("--checkpoint", {"required": True}), ("--stars", {"type": int, "default": 100_000}))
"""Options of what begins with a fit of the mock."""


def options(doc: str | None, *more: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """Device and threads, which are set, and what else a benchmark asks for."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    for name, keywords in more:
        parser.add_argument(name, **keywords)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    return asked


def best_of(function: Callable[[], Any], device: torch.device, repeats: int = 5) -> float:
    """Shortest time of a few calls after one that is not counted, in s."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def mock_stars(count: int, names: tuple[str, ...]) -> sml.Data:
    """Stars of the tailored mock, in random order, repeated until there are enough."""
    simulated = TailoredMock(seed=0).simulate()
    stars = sml.Data({name: simulated[name] for name in names}).to(dtype=torch.float32)
    rows = torch.randperm(len(stars), generator=torch.Generator().manual_seed(0))
    return stars[rows[torch.arange(count) % len(rows)]]


def fitted(asked: argparse.Namespace) -> tuple[sml.MixtureModel, Batch]:
    """The mock's model as it is trained further, and stars with the densities of its background."""
    model = sml.load(asked.checkpoint).model.to(asked.device)
    stars = mock_stars(asked.stars, tuple(dict.fromkeys(model.columns))).to(asked.device)
    known = known_densities(model, stars)
    model.requires_grad_(True)
    for flow in frozen_parts(model).values():
        flow.requires_grad_(False)
    return model, Batch(stars, known)


def peak_memory(device: torch.device) -> float:
    """Most memory this process has held, in bytes; on a GPU, there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def report(found: Mapping[str, Any]) -> None:
    """The result, for `run.py`."""
    print(json.dumps(found))
