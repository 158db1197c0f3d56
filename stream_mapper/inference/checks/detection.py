"""Whether a stream is detected, and whether it is where the fit has it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from stream_mapper.inference.checks.base import DETECTION, Check
from stream_mapper.inference.checks.inspection import Inspection
from stream_mapper.inference.checks.scan import Scan
from stream_mapper.inference.checks.terms import chunked, inner, leaves
from stream_mapper.models.base import Model, ParametricModel, scope
from stream_mapper.models.mixture import BACKGROUND

LIMIT = 25.0
"""Gain in ln L over noise, in nats, with which a stream is detected."""
ELSEWHERE = 30.0
"""Gain in ln L by a move beyond which a stream is elsewhere, in nats, or a tenth of what it has."""
_APART = 4.0  # widths from the stream at which its own stars do not count
_STEPS = 8  # of an optimiser, from the fit to the best background without a component


def detection(inspection: Inspection) -> list[Check]:
    """The gain in ln L over the best fit without each stream, against what the same component gains beside it."""
    return [_detection(inspection, component) for component in inspection.evidence.streams]


def _detection(inspection: Inspection, component: str) -> Check:
    gained, noise = gain(inspection, component), noise_gain(inspection, component)
    value, members = gained - noise, inspection.fitted.p(component).sum().item()
    best = best_move(inspection, component)
    text = (
        f"{component} gains {gained:.0f} nats over a fit without it (limit {LIMIT:.0f} above the {noise:.0f} that it "
        f"gains beside its track), with {members:.0f} expected members"
    )
    if value >= LIMIT:
        return Check(DETECTION, component, "ok", value, LIMIT, text)
    if best is not None:
        return Check(DETECTION, component, "note", value, LIMIT, f"{text}: it is not where the fit looks; see guides")
    advice = "there is no stream here, or too few stars of it: believe no member; look at guides, window and isochrone"
    return Check(DETECTION, component, "fail", value, LIMIT, f"{text}: {advice}")


def gain(inspection: Inspection, component: str) -> float:
    """Ln L of the fit less that of the best without the component, in nats."""
    fitted = inspection.fitted
    terms = fitted.joint.logsumexp(-1) - fitted.ln_rest(component)
    return terms.nan_to_num(neginf=0.0).double().sum().item() - _adapted(inspection, component)


def noise_gain(inspection: Inspection, component: str) -> float:
    """What the component gains where it is not, at one in six of the places beside its track, in nats.

    Not at the best of them: another stream in the field is no noise.
    """
    gains = [_beside(one) for one in inspection.scans[component][:1]]
    return gains[0].quantile(5 / 6).item() if gains and len(gains[0]) else 0.0


def _beside(one: Scan) -> Tensor:
    return one.gains[one.shifts.abs() > _APART * max(one.step, one.width)]


def best_move(inspection: Inspection, component: str) -> tuple[Scan, int] | None:
    """The move of a component by which it gains most, if it gains so much that it is elsewhere."""
    found = [(one, int(one.gains.argmax())) for one in inspection.scans[component] if len(one.gains)]
    far = [(one, i) for one, i in found if one.gains[i].item() - one.here > max(ELSEWHERE, 0.1 * one.here)]
    return max(far, key=lambda move: move[0].gains[move[1]].item() - move[0].here, default=None)


def _adapted(inspection: Inspection, component: str) -> float:
    """What the background gains when its own parameters are fitted to all the stars without a component, in nats."""
    model, fitted = inspection.model, inspection.fitted
    background = model.components.get(BACKGROUND)
    own = [(path, part) for path, part in leaves(background) if _trained(part)] if background is not None else []
    if not own:
        return 0.0
    column, before = fitted.column(BACKGROUND), fitted.ln_rest(component)
    fixed = fitted.joint[:, column]
    for path, part in own:
        fixed = fixed - chunked(part, inner(scope(fitted.params, BACKGROUND), path), fitted.stars)
    others = [fitted.joint[:, fitted.column(q)] for q in inspection.evidence.streams if q != component]
    copies = [copy.deepcopy(part) for _, part in own]

    def ln_rest() -> Tensor:
        ln_p = torch.stack([fixed, *(part.ln_likelihood(part(fitted.stars), fitted.stars) for part in copies)]).sum(0)
        return torch.stack([ln_p, *others]).logsumexp(0) - torch.log1p(-fitted.weight(component))

    return max(0.0, _climbed(copies, ln_rest) - before.double().sum().item())


def _trained(part: Model) -> bool:
    """Whether a part has a network of its parameters; what was trained beforehand has not."""
    return isinstance(part, ParametricModel) and any(w.requires_grad for w in part.parameters())


def _climbed(parts: list[Model], ln_p: Callable[[], Tensor]) -> float:
    """The highest sum of log densities that the weights of some parts give."""
    optimizer = torch.optim.LBFGS(
        [w for part in parts for w in part.parameters() if w.requires_grad],
        max_iter=_STEPS,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -ln_p().mean()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    with torch.no_grad():
        return ln_p().double().sum().item()
