"""Whether the members of an ensemble found the same stars."""

from __future__ import annotations

from itertools import combinations

from torch import Tensor

from stream_mapper.inference.checks.base import Check
from stream_mapper.inference.checks.inspection import Inspection

LIMIT = 0.3
"""Share of the expected members by which two fits may differ."""
_FEWEST = 1.0


def agreement(inspection: Inspection) -> list[Check]:
    """The largest difference between the memberships of two fits of the ensemble."""
    each = inspection.evidence.ensemble
    if each is None or len(each) < 2:
        return []
    differences = {pair: _difference(each[pair[0]], each[pair[1]]) for pair in combinations(range(len(each)), 2)}
    (a, b), value = max(differences.items(), key=lambda item: item[1])
    text = (
        f"fits {a} and {b} of the ensemble differ by {value:.0%} of their members "
        f"({each[a].sum().item():.0f} and {each[b].sum().item():.0f} expected)"
    )
    if value <= LIMIT:
        return [Check("agreement", "", "ok", value, LIMIT, text)]
    advice = "what they say depends on where they start: train longer, narrow the guides, or take fewer parameters"
    return [Check("agreement", "", "fail", value, LIMIT, f"{text}: {advice}")]


def _difference(p: Tensor, q: Tensor) -> float:
    """Stars that change sides, in expectation, as a share of the members of either."""
    return (0.5 * (p - q).abs().sum() / (0.5 * (p + q).sum()).clamp(min=_FEWEST)).item()
