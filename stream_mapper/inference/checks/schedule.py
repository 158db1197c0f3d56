"""Whether the trainings were long enough, and went to their ends."""

from __future__ import annotations

from stream_mapper.inference.checks.base import Check, Schedule
from stream_mapper.inference.checks.inspection import Inspection
from stream_mapper.models.mixture import BACKGROUND

LIMIT = 0.2
"""Share of the highest learning rate that may be left when the training stops."""


STEPS = 125
"""Steps of a density trained beforehand for each of its coordinates, below which it is hardly trained."""


def schedule(inspection: Inspection) -> list[Check]:
    """The learning rate at the end, as a share of the highest, and the steps of the background."""
    facts, steps = inspection.evidence.schedule, inspection.evidence.steps
    ended = [] if facts is None else [_ended(facts)]
    return ended + [_long_enough(names, count) for names, count in steps.items() if count]


def _ended(facts: Schedule) -> Check:
    left = facts.learning_rate
    ran = f"the training ran {facts.epochs_run} of {facts.epochs_asked} epochs and stopped"
    if left <= LIMIT:
        return Check("schedule", "", "ok", left, LIMIT, f"{ran} at {left:.1%} of the highest learning rate")
    text = (
        f"{ran} with the learning rate still at {left:.0%} of the highest: memberships and widths are as noisy as the "
        "last steps; do not stop early, or ask for fewer epochs"
    )
    return Check("schedule", "", "fail", left, LIMIT, text)


def _long_enough(names: str, steps: int) -> Check:
    """What a background knows badly it gives to the stream: fields without one were believed, with 60 nats."""
    least = STEPS * (names.count(",") + 1)
    text = f"the density of {names.replace(',', ', ')} was trained for {steps} steps"
    if steps >= least:
        return Check("schedule", BACKGROUND, "ok", steps, least, text)
    text += f", fewer than {least}: what it does not know yet it leaves to the stream; raise background.max_epochs"
    return Check("schedule", BACKGROUND, "fail", steps, least, text)
