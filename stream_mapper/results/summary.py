"""The short table a fit ends with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stream_mapper.results.metrics import THRESHOLDS

_TRACK = (
    ("phi2 of the track, rms [deg]", "phi2_rms"),
    ("distance, rms / truth", "distance_rms_relative"),
    ("width in phi2 / truth", "phi2_sigma_ratio"),
    ("weight / truth", "weight_ratio"),
    ("90 % band of phi2 holds the truth", "phi2_coverage"),
    ("90 % band of the distance", "distance_coverage"),
    ("90 % band of the weight", "weight_coverage"),
)

_WHERE = {"average_precision": "", "calibration_error": " where p > 0.01"}


def summary(metrics: Mapping[str, Any], folder: Path) -> str:
    """Stars, expected members, stars above thresholds and paths; beside the truth where there is one."""
    rows = [
        ("stars", f"{metrics['stars']:,}"),
        ("inside the window", f"{metrics['in_window']:,}"),
        ("expected members", f"{metrics['expected_members']:,.1f}{_band(metrics)}"),
        *((f"stars with p > {cut}", f"{metrics[f'above_{cut}']:,}") for cut in THRESHOLDS),
        *((("verdict", str(metrics["verdict"])),) if "verdict" in metrics else ()),
        ("time", f"{metrics['seconds']:.0f} s"),
        ("memberships", ", ".join(map(str, sorted(folder.glob("memberships.*"))))),
        ("track", str(folder / "track.ecsv")),
        *((("checks", str(folder / "checks.ecsv")),) if "verdict" in metrics else ()),
        *((("figures", str(folder / "figures")),) if (folder / "figures").is_dir() else ()),
        ("checkpoint", str(folder / "checkpoints" / "best.ckpt")),
    ]
    lines = [f"{name:<22} {value}" for name, value in rows]
    return "\n".join(lines + _truth(metrics))


def _band(metrics: Mapping[str, Any]) -> str:
    """The 90 % band of the number of members, where there are draws."""
    if "expected_members_05" not in metrics:
        return ""
    return f" ({metrics['expected_members_05']:,.0f}-{metrics['expected_members_95']:,.0f})"


def _truth(metrics: Mapping[str, float]) -> list[str]:
    """The comparison with true labels, beside the Bayes-optimal membership where it is known."""
    if "true_members" not in metrics:
        return []
    optimal = "optimal_completeness" in metrics
    lines = ["", f"{'against the truth':<34} {'fit':>8}" + (f" {'optimal':>8}" if optimal else "")]
    for name, form in (
        ("completeness", ".4f"),
        ("purity", ".4f"),
        ("false_positives", ".0f"),
        ("average_precision", ".5f"),
        ("calibration_error", ".4f"),
    ):
        if name not in metrics:
            continue
        label = name.replace("_", " ") + _WHERE.get(name, " at p > 0.8")
        best = f" {metrics[f'optimal_{name}']:>8{form}}" if f"optimal_{name}" in metrics else ""
        lines.append(f"{label:<34} {metrics[name]:>8{form}}{best}")
    lines.append(f"{'true members':<34} {metrics['true_members']:>8}")
    return lines + [f"{label:<34} {metrics[name]:>8.4f}" for label, name in _TRACK if name in metrics]
