"""What a check says, and what it may look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.models.known import KnownDensities
from stream_mapper.models.mixture import BACKGROUND, MixtureModel

Outcome = Literal["ok", "note", "fail"]
Verdict = Literal["believable", "doubtful", "no stream"]

DETECTION = "detection"
"""Name of the check whose failure means that there is no stream."""


@dataclass(frozen=True)
class Check:
    """One question that was asked of a fit, and its answer.

    Attributes:
        name: The check, such as "guides".
        component: The component it is about; empty if it is about the whole.
        verdict: "ok"; "note", which is worth knowing and changes no verdict; or "fail".
        value: What was measured, in the unit that the message names.
        limit: The value at which the check fails.
        message: What was found and where, and what to do.
    """

    name: str
    component: str
    verdict: Outcome
    value: float
    limit: float
    message: str


@dataclass(frozen=True)
class Schedule:
    """How far a training went.

    Attributes:
        epochs_asked: Epochs that the schedule of the learning rate was made for.
        epochs_run: Epochs that were run.
        learning_rate: Learning rate of the last step, as a share of the highest.
    """

    epochs_asked: int
    epochs_run: int
    learning_rate: float


@dataclass(frozen=True)
class Evidence:
    """All that the checks of a fit look at.

    Attributes:
        model: The fitted mixture, in evaluation mode.
        stars: N stars, all of those inside the window and the selection.
        known: What is known of their densities beforehand.
        off_stream: The stars that the densities trained beforehand were trained on, if there are such densities.
        schedule: How far the training went, if that is known.
        steps: Steps of the training of each density that was trained beforehand, by its coordinates with commas
            between; none of one that takes no steps.
        ensemble: ``p_member`` (N,) by each fit of an ensemble, if there are several.
        drawn: ``p_member`` (D, M) of the stars that may be members under each draw of the posterior, if there is one.
        seed: Seed of the draws that the checks make.
    """

    model: MixtureModel
    stars: Data
    known: KnownDensities | None = None
    off_stream: Data | None = None
    schedule: Schedule | None = None
    steps: Mapping[str, int] = field(default_factory=dict)
    ensemble: Sequence[Tensor] | None = None
    drawn: Tensor | None = None
    seed: int = 0

    @property
    def streams(self) -> list[str]:
        """Names of the components that are no background."""
        return [name for name in self.model.components if name != BACKGROUND]


def verdict(checks: Sequence[Check]) -> Verdict:
    """What all the checks together say of a fit.

    "no stream" if a component was looked for and none was detected; else "doubtful" if any check fails.
    """
    found = [check.verdict != "fail" for check in checks if check.name == DETECTION]
    if found and not any(found):
        return "no stream"
    return "doubtful" if any(check.verdict == "fail" for check in checks) else "believable"
