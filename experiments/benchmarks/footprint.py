"""What a footprint adds to a training step of the mock's model.

python experiments/benchmarks/footprint.py --checkpoint runs/version_0/checkpoints/best.ckpt --stars 100000
"""

from __future__ import annotations

from typing import Any

import torch
from common import FIT, best_of, fitted, options, report
from training import Step

import stream_mapper as sml
from stream_mapper.description import build, describe
from stream_mapper.inference.screening import screened
from stream_mapper.models import Batch
from stream_mapper.training.screening import SKIP_BELOW

_FIELD = [(-25.0, -2.0), (35.0, -2.0), (35.0, 10.0), (-25.0, 10.0)]


def masked(circles: int) -> sml.Footprint:
    """The mock's field with so many masked clusters, spread over it evenly but not in rows."""
    places = [(-18 + 46 * (0.5 + i) / circles, -1 + 10 * ((0.618 * i) % 1), 0.4) for i in range(circles)]
    return sml.Footprint.of_polygons([_FIELD], circles=places)


def seen_in_part(model: sml.MixtureModel, footprint: sml.Footprint) -> sml.MixtureModel:
    """The same model with the footprint in every density over its coordinate."""
    again: sml.MixtureModel = build(_with(describe(model), footprint))
    again.load_state_dict(model.state_dict())
    for part, before in zip(again.parameters(), model.parameters(), strict=True):
        part.requires_grad_(before.requires_grad)
    return again


def _with(described: Any, footprint: sml.Footprint) -> Any:
    """A description with the footprint among the arguments of the densities over its coordinate."""
    if isinstance(described, list | tuple):
        return [_with(one, footprint) for one in described]
    if not isinstance(described, dict):
        return described
    inner = {name: _with(value, footprint) for name, value in described.items()}
    given = inner.get("init_args", {})
    if "class_path" in inner and footprint.coord in (given.get("coord_bounds") or {}):
        inner["init_args"] = {**given, "footprint": describe(footprint)}
    return inner


def seconds(model: sml.MixtureModel, batch: Batch, device: torch.device) -> dict[str, float]:
    """A step with every density of every star, and one as a fit on a CPU takes it."""
    return {
        "every star": best_of(Step(model, batch), device),
        "screened": best_of(Step(model, screened(model, batch, SKIP_BELOW)), device),
    }


def main() -> None:
    """Print the times as JSON."""
    asked = options(__doc__, *FIT, ("--circles", {"type": int, "nargs": "+", "default": [1, 10, 100]}))
    model, batch = fitted(asked)
    found = {f"no footprint: {name}": time for name, time in seconds(model, batch, asked.device).items()}
    for circles in asked.circles:
        one = seen_in_part(model, masked(circles)).to(asked.device)
        kept = batch[one.in_window(batch.stars)]
        for name, time in seconds(one, kept, asked.device).items():
            found[f"{circles} circles: {name}"] = time * len(batch) / len(kept)
    report({"stars": len(batch), "seconds": found})


if __name__ == "__main__":
    main()
