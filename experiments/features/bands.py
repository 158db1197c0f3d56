"""How often the bands of a gap hold the truth: the second table of docs/density.md.

    python experiments/features/bands.py [--seeds 24]

A stream of 1,000 stars over 50 deg with two gaps, as those of the tailored mock, is simulated anew for each seed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from simulated import Stream

from stream_mapper.inference.features.search import Feature, find_features

GAPS = ((41.0, 1.5, 0.9), (59.0, 2.5, 0.8))
STARS = 1000.0


def held(feature: Feature, gap: tuple[float, float, float]) -> dict[str, bool]:
    """Whether the 90 % band of each number of a gap holds the truth."""
    centre, width, depth = gap
    missing = STARS / 50 * depth * width * math.sqrt(2 * math.pi)
    truth = {"phi1": centre, "width": width, "depth": depth, "stars": missing}
    return {
        name: getattr(feature, f"{name}_05") < value < getattr(feature, f"{name}_95") for name, value in truth.items()
    }


def main(args: Sequence[str] | None = None) -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(description="Bands of gaps against the truth.")
    parser.add_argument("--seeds", type=int, default=24)
    rows, others = list[dict[str, bool]](), 0
    for seed in range(parser.parse_args(args).seeds):
        found = find_features(*Stream(STARS, contamination=7, gaps=GAPS).simulate(seed), false_alarm=0.003)
        for gap in GAPS:
            near = [feature for feature in found if feature.kind == "gap" and abs(feature.phi1 - gap[0]) < 2 * gap[1]]
            rows += [held(feature, gap) for feature in near[:1]]
            others -= len(near[:1])
        others += len(found)
    names = list(rows[0])
    print("| gaps found | others | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names), sep="\n")
    shares = " | ".join(f"{sum(row[name] for row in rows) / len(rows):.2f}" for name in names)
    print(f"| {len(rows)} | {others} | {shares} |")


if __name__ == "__main__":
    main()
