"""A fit that knows when it is wrong: what can be asked of it, and what the answers say together.

checks = judge(Evidence(model, stars, known))
verdict(checks)  # "believable", "doubtful" or "no stream"
"""

from __future__ import annotations

import torch

from stream_mapper.inference.checks.agreement import agreement
from stream_mapper.inference.checks.base import Check, Evidence, Outcome, Schedule, Verdict, verdict
from stream_mapper.inference.checks.bounds import bounds
from stream_mapper.inference.checks.dependence import dependence
from stream_mapper.inference.checks.detection import detection
from stream_mapper.inference.checks.footprint import footprint
from stream_mapper.inference.checks.guides import guides, overlap
from stream_mapper.inference.checks.inspection import Inspection
from stream_mapper.inference.checks.knowledge import knowledge
from stream_mapper.inference.checks.predictive import predictive
from stream_mapper.inference.checks.residuals import residuals
from stream_mapper.inference.checks.schedule import schedule
from stream_mapper.inference.checks.support import support
from stream_mapper.progress import progress

__all__ = ["CHECKS", "Check", "Evidence", "Inspection", "Outcome", "Schedule", "Verdict", "judge", "verdict"]

CHECKS = (
    detection,
    bounds,
    guides,
    overlap,
    support,
    dependence,
    predictive,
    residuals,
    footprint,
    schedule,
    agreement,
    knowledge,
)
"""The checks, in the order of the table; each takes an inspection and returns a list."""


@torch.no_grad()
def judge(evidence: Evidence) -> list[Check]:
    """Every check of a fit."""
    inspection = Inspection(evidence)
    return [found for check in progress(CHECKS, "checks") for found in check(inspection)]
