"""Whether the training went to the end of its schedule."""

from __future__ import annotations

from stream_mapper.inference.checks.base import Check
from stream_mapper.inference.checks.inspection import Inspection

LIMIT = 0.2
"""Share of the highest learning rate that may be left when the training stops."""


def schedule(inspection: Inspection) -> list[Check]:
    """The learning rate at the end, as a share of the highest."""
    facts = inspection.evidence.schedule
    if facts is None:
        return []
    left = facts.learning_rate
    ran = f"the training ran {facts.epochs_run} of {facts.epochs_asked} epochs and stopped"
    if left <= LIMIT:
        return [Check("schedule", "", "ok", left, LIMIT, f"{ran} at {left:.1%} of the highest learning rate")]
    text = (
        f"{ran} with the learning rate still at {left:.0%} of the highest: memberships and widths are as noisy as the "
        "last steps; do not stop early, or ask for fewer epochs"
    )
    return [Check("schedule", "", "fail", left, LIMIT, text)]
