"""How often a stream without gaps and peaks is said to have some: the table of docs/density.md.

    python experiments/features/rate.py --folder runs/features [--seeds 10]

Streams of four densities and three kinds of ends, of 60 to 2,000 stars, with 1, 4 and 20 others for each. Each leaves
its lowest probability of chance in the folder; started again, the command goes on where it was, and prints the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from simulated import Stream

from stream_mapper.inference.features.search import find_features

RATES = (0.05, 0.01, 0.003)
STARS, CONTAMINATION = (60, 200, 600, 2000), (1, 4, 20)
DENSITIES, ENDS = ("flat", "gradient", "waves", "hump"), ("sharp", "soft", "none")
Row = dict[str, str | float]


def streams(seeds: int) -> Iterator[tuple[int, Stream]]:
    """Seeds and streams, all kinds of one seed before those of the next."""
    kinds = list(product(STARS, CONTAMINATION, DENSITIES, ENDS))
    for seed, (i, (stars, contamination, density, ends)) in product(range(seeds), enumerate(kinds)):
        yield seed * len(kinds) + i, Stream(stars, contamination, density, ends)


def lowest(seed: int, stream: Stream) -> Row:
    """What was simulated, and the lowest probability of chance among the features listed at the highest rate."""
    found = find_features(*stream.simulate(seed), false_alarm=RATES[0], seed=seed)
    kept = {name: getattr(stream, name) for name in ("stars", "contamination", "density", "ends")}
    return kept | {"p": min((feature.p_chance for feature in found), default=1.0)}


def rows(folder: Path, seeds: int) -> list[Row]:
    """Every simulation, made now or found in the folder."""
    path = folder / "rate.jsonl"
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    with path.open("a") as file:
        for seed, stream in list(streams(seeds))[len(done) :]:
            done.append(lowest(seed, stream))
            print(json.dumps(done[-1]), file=file, flush=True)
    return done


def table(found: Sequence[Row]) -> list[str]:
    """The table in Markdown: a row for all, and for every kind."""
    head = " | ".join(f"at {rate}" for rate in RATES)
    lines = [f"| streams | number | {head} |", "|---|---|" + "---|" * len(RATES), _line("all", found)]
    for name in ("stars", "contamination", "density", "ends"):
        for value in dict.fromkeys(row[name] for row in found):
            lines.append(_line(f"{name} {value}", [row for row in found if row[name] == value]))
    return lines


def _line(name: str, found: Sequence[Row]) -> str:
    p = np.array([row["p"] for row in found])
    shares = " | ".join(f"{np.mean(p < rate):.3f}" for rate in RATES)
    return f"| {name} | {len(p)} | {shares} |"


def main(args: Sequence[str] | None = None) -> None:
    """Simulate what has not been simulated, and print the table."""
    parser = argparse.ArgumentParser(description="False alarms among streams without gaps and peaks.")
    parser.add_argument("--folder", type=Path, default=Path("runs/features"))
    parser.add_argument("--seeds", type=int, default=10, help="Streams of each of 144 kinds.")
    options = parser.parse_args(args)
    options.folder.mkdir(parents=True, exist_ok=True)
    print(*table(rows(options.folder, options.seeds)), sep="\n")


if __name__ == "__main__":
    main()
