"""Parameters that their bounds hold back."""

from __future__ import annotations

import torch
from torch import Tensor

from stream_mapper.inference.checks.base import Check
from stream_mapper.inference.checks.inspection import Inspection
from stream_mapper.inference.checks.scan import Moved, changed
from stream_mapper.inference.checks.terms import inner, leaves
from stream_mapper.models.base import ParametricModel, Params, scope

EDGE = 0.04
"""Share of the interval of a parameter, at either end, that is its edge."""
SHARE = 0.1
"""Share of the expected members at whose places a parameter may be at its edge."""
GAIN = 4.0
"""Gain in ln L, in nats, by a step of a tenth of the interval past the edge, from which the edge holds back."""
_STEP = 0.1
_FEWEST = 5.0  # expected members with which an edge means something


def bounds(inspection: Inspection) -> list[Check]:
    """Parameters at an edge of their interval, for a share of the members."""
    checks = []
    for component in inspection.evidence.streams:
        found = [
            *_of_parts(inspection, component),
            *_of_weight(inspection, component),
            *_of_ends(inspection, component),
        ]
        checks += found or [Check("bounds", component, "ok", 0.0, SHARE, f"no parameter of {component} is at an edge")]
    return checks


def _of_parts(inspection: Inspection, component: str) -> list[Check]:
    p = inspection.fitted.p(component)
    checks: list[Check] = []
    if p.sum() < _FEWEST:
        return checks
    for path, part in leaves(inspection.model.components[component]):
        if isinstance(part, ParametricModel):
            values = inner(scope(inspection.fitted.params, component), path)
            for name in part.params.names:
                checks += _of_parameter(inspection, component, part, name, values)
    return checks


def _of_parameter(
    inspection: Inspection, component: str, part: ParametricModel, name: str, values: Params
) -> list[Check]:
    edges = _edges(part, name)
    if edges is None or name not in values:
        return []
    low, high = edges
    place = ((values[name] - low) / (high - low)).expand(len(inspection.fitted))
    checks = []
    for side, at in (("lower", place < EDGE), ("upper", place > 1 - EDGE)):
        share = _share(inspection, component, at)
        if share > SHARE:
            edge, sign = (low, -1.0) if side == "lower" else (high, 1.0)
            more = _gain(inspection, component, part, name, sign * _STEP * (high - low), at)
            checks.append(_check(inspection, component, name, f"{side} bound {edge:.4g}", share, more, at))
    return checks


def _edges(part: ParametricModel, name: str) -> tuple[float, float] | None:
    own = part.params[name].bounds
    low, high = getattr(own, "lower", None), getattr(own, "upper", None)
    return None if low is None or high is None else (low, high)


def _share(inspection: Inspection, component: str, at: Tensor) -> float:
    p = inspection.fitted.p(component)
    return (p[at].sum() / p.sum().clamp(min=1e-12)).item()


def _gain(inspection: Inspection, component: str, part: ParametricModel, name: str, step: float, at: Tensor) -> float:
    """Gain in ln L if the parameter went a step past its edge, at the places where it is there."""
    moved = Moved(inspection.fitted, component, part, (name,))
    weight = inspection.fitted.weight(component)[moved.rows]
    before = moved.ln_ratio()
    with changed(part, {name: step}):
        after = moved.ln_ratio()
    gains = _ln_mixed(weight, after) - _ln_mixed(weight, before)
    return gains[at[moved.rows]].nan_to_num().double().sum().item()


def _ln_mixed(weight: Tensor, ln_ratio: Tensor) -> Tensor:
    return torch.log1p(weight * torch.expm1(ln_ratio.clamp(max=80)))


def _check(
    inspection: Inspection, component: str, name: str, edge: str, share: float, more: float, at: Tensor
) -> Check:
    rows = at & (inspection.fitted.p(component) > 0.1)
    places = inspection.places[rows if bool(rows.any()) else at]
    where = f"{inspection.along} {places.min().item():.3g}..{places.max().item():.3g}"
    text = f"{name} is at its {edge} for {share:.0%} of the members, at {where}"
    if more > GAIN:
        return Check(
            "bounds", component, "fail", share, SHARE, f"{text}: past it the stars gain {more:.0f} nats; widen it"
        )
    return Check("bounds", component, "note", share, SHARE, f"{text}; the stars do not ask for more ({more:+.1f} nats)")


def _of_weight(inspection: Inspection, component: str) -> list[Check]:
    name = f"{component}.ln-weight"
    own = inspection.model.weights
    edges = _edges(own, name) if name in own.params else None
    if edges is None or inspection.fitted.p(component).sum() < _FEWEST:
        return []
    low, high = edges
    ln_weight = inspection.model(inspection.fitted.stars)[name]  # the terms have those of the stars that were seen
    at = ln_weight.expand(len(inspection.fitted)) > high - EDGE * (high - low)
    share = _share(inspection, component, at)
    if share <= SHARE:
        return []
    text = f"ln-weight is at its upper bound {high:.4g} for {share:.0%} of the members: raise the bound"
    return [Check("bounds", component, "fail", share, SHARE, text)]


def _of_ends(inspection: Inspection, component: str) -> list[Check]:
    """Ends at an edge of the interval in which they were looked for."""
    part = inspection.model.ends
    checks: list[Check] = []
    for side in ("begin", "end"):
        name = f"{component}.{side}"
        edges = _edges(part, name) if name in part.params else None
        if edges is None or inspection.fitted.p(component).sum() < _FEWEST:
            continue
        low, high = edges
        at = inspection.model(inspection.fitted.stars[:1])[name].item()
        if not EDGE <= (at - low) / (high - low) <= 1 - EDGE:
            text = f"{side} is at {at:.4g}, an edge of the interval [{low:.4g}, {high:.4g}] of its place"
            advice = "the stars may ask for one beyond; widen the interval, or leave this end out"
            checks.append(Check("bounds", component, "note", 1.0, SHARE, f"{text}: {advice}"))
    return checks
