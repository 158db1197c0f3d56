"""A field without a stream on the real sky: the fit of GD-1, moved beside it.

    python experiments/gd1/beside.py --phi2 2 5 --output runs/beside_up.yaml
    python -m stream_mapper.fit --config runs/beside_up.yaml --data.path GD1_TABLE

The guides of proper motion and distance stay those of GD-1; in phi2 they run along the middle of a strip.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from stream_mapper.catalog import read_track

HERE = Path(__file__).parent
EVERY = 10.0  # deg between guides
INSIDE = 0.2  # deg between the edge of the strip and where the centre may be

Config = dict[str, Any]


def beside(low: float, high: float) -> Config:
    """The configuration of GD-1 without its spur, for the stars of a strip of phi2 [deg]."""
    config: Config = yaml.safe_load((HERE / "config.yaml").read_text())
    config["data"]["selection"]["init_args"]["bounds"]["phi2"] = [low, high]
    mixture = config["model"]["model"]["init_args"]
    for name in ("unpack_params_hooks", "ends", "priors"):
        mixture.pop(name)
    mixture["net"]["init_args"]["net"]["init_args"]["features"] = 1
    mixture["params"]["init_args"]["params"].pop("spur.ln-weight")
    components = mixture["components"]
    components.pop("spur")
    for component in ("stream", "background"):
        components[component]["init_args"]["components"]["position"]["init_args"]["coord_bounds"] = {
            "phi2": [low, high]
        }
    position = components["stream"]["init_args"]["components"]["position"]["init_args"]
    position["params"]["init_args"]["params"]["phi2"]["mu"] = [low + INSIDE, high - INSIDE]
    position["priors"] = [_guides((low + high) / 2)]
    return _absolute(config)


def _guides(middle: float) -> Config:
    phi1 = read_track(str(HERE / "track.ecsv"), spacing=EVERY).phi1
    given = {"param": "phi2.mu", "phi1": phi1, "center": [middle] * len(phi1), "width": 0.5, "between": 7}
    return {"class_path": "stream_mapper.prior.ControlRegions", "init_args": given}


def _absolute(value: Any) -> Any:
    """Plain values with the paths that start at this folder written from the root."""
    if isinstance(value, dict):
        return {key: _absolute(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_absolute(item) for item in value]
    is_file = isinstance(value, str) and value.endswith((".ecsv", ".dat"))
    return str((HERE / value).resolve()) if is_file else value


def main(args: Sequence[str] | None = None) -> None:
    """Write the configuration."""
    parser = argparse.ArgumentParser(description="The fit of GD-1, moved to a field beside it.")
    parser.add_argument("--phi2", type=float, nargs=2, required=True, help="Lowest and highest phi2 [deg].")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(args)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(yaml.safe_dump(beside(*options.phi2), sort_keys=False))


if __name__ == "__main__":
    main()
