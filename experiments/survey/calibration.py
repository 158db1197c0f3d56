"""Whether a fit's memberships are calibrated, on skies it has not seen.

    python experiments/survey/calibration.py runs/version_0 --skies 10

In the calibration error of one sky the noise of the counts is larger than what is to be measured; ten skies have a
third of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack

import stream_mapper as sml
from stream_mapper.catalog import to_table
from stream_mapper.mock import SurveyMock
from stream_mapper.results.metrics import truth_metrics

FIRST_SEED = 1000  # far from the seeds of the fits
SUBSETS = {"": (), "without photometry": ("g",), "without proper motions": ("pm_phi1",)}


def skies(run: Path, count: int) -> Iterator[Table]:
    """The stars of each sky with their truth and the fit's membership."""
    fit = sml.load(run)
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        table = fit.memberships(to_table(SurveyMock(seed=seed).simulate()), draws=0)
        yield table[["p_member", "true_p_member", "true_component", "g", "pm_phi1"]]


def main() -> None:
    """Print average precision and calibration error, of the fit and of the optimum."""
    parser = argparse.ArgumentParser(description="Calibration of a survey fit on fresh skies.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--skies", type=int, default=10)
    options = parser.parse_args()
    stars = vstack(list(skies(options.run, options.skies)), metadata_conflicts="silent")
    missing = {name: np.isnan(np.ma.filled(stars[name].astype(float), np.nan)) for name in ("g", "pm_phi1")}
    print(f"{len(stars):,} stars of {options.skies} skies; the optimum's number in brackets")
    for label, names in SUBSETS.items():
        rows = np.all([missing[name] for name in names], axis=0) if names else np.ones(len(stars), dtype=bool)
        found = truth_metrics(stars[rows])
        for name in ("average_precision", "calibration_error"):
            print(f"{label or 'all stars':<24} {name:<18} {found[name]:.4f} ({found[f'optimal_{name}']:.4f})")
        expected = np.sum(stars["p_member"][rows])
        print(f"{label or 'all stars':<24} {'expected members':<18} {expected:.0f} ({found['true_members']} true)")


if __name__ == "__main__":
    main()
