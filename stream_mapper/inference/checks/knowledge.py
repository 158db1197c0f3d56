"""Whether the stars say enough of a stream to tell its members."""

from __future__ import annotations

import torch
from torch import Tensor

from stream_mapper.inference.checks.base import Check
from stream_mapper.inference.checks.inspection import Inspection

LIMIT = 0.94
"""Average precision, as a share of what it would be were the functions of the fit known, below which a fit fails."""
_FEWEST = 1.0


def knowledge(inspection: Inspection) -> list[Check]:
    """How well the memberships order the stars, were each draw of the posterior the truth, beside that draw's own."""
    drawn = inspection.evidence.drawn
    if drawn is None or drawn.mean(0).sum() < _FEWEST:
        return []
    value = of_the_best(drawn)
    text = (
        f"the order of the stars by p_member has {value:.0%} of the average precision that it could, by the fit's draws"
    )
    if value >= LIMIT:
        return [Check("knowledge", "", "ok", value, LIMIT, text)]
    advice = (
        "the stars say too little of the stream to tell its members: quote p_member with its band, or fix what is known"
    )
    return [Check("knowledge", "", "fail", value, LIMIT, f"{text} (limit {LIMIT:.0%}): {advice}")]


def of_the_best(drawn: Tensor) -> float:
    """Mean over the draws of the average precision of the mean memberships over that of the draw's own.

    Arguments:
        drawn: Membership of N stars under each of D draws, (D, N).
    """
    order = drawn.mean(0).argsort(descending=True)
    reached = average_precision(drawn[:, order])
    return (reached / average_precision(drawn.sort(-1, descending=True).values)).mean().item()


def average_precision(p: Tensor) -> Tensor:
    """Expected average precision, (...), of stars that are members with probabilities p, (..., N), in this order.

    A member in place k has a precision of (1 + members before it) / k.
    """
    p = p.double()
    before = p.cumsum(-1) - p
    places = torch.arange(1, p.shape[-1] + 1, device=p.device)
    return (p * (1 + before) / places).sum(-1) / p.sum(-1)
