"""Whether the fit kept to its guides, and whether the guides are where the stars are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stream_mapper.inference.checks.base import Check, Outcome
from stream_mapper.inference.checks.detection import best_move
from stream_mapper.inference.checks.inspection import Inspection
from stream_mapper.models.base import Model
from stream_mapper.prior import ControlRegions

PENALTY = 3.0
"""Cost of leaving the guides of one parameter, in nats, beyond which the fit has left them."""
PRESSED = 0.95
"""Distance from a guide's centre, in half-widths, from which it is pressed."""
SHARE_PRESSED = 0.5
"""Share of the guides of one parameter that may be pressed."""
SHARE_EMPTY = 0.25
"""Share of the guides of one parameter that may lie where no stars are."""
_FEWEST = 3  # stars that make a place one where stars are, or members that can press a guide


@dataclass(frozen=True)
class Guides:
    """The guides of one parameter.

    Attributes:
        component: The component they are of; empty if of none.
        part: The part that holds them.
        prior: The guides themselves.
    """

    component: str
    part: Model
    prior: ControlRegions

    @property
    def coord(self) -> str:
        """The coordinate they guide."""
        return self.prior.param.removesuffix(".mu").rpartition(".")[2]


def guides_of(inspection: Inspection) -> Iterator[Guides]:
    """All guides of the model, after the component that holds them."""
    owner = {id(part): q for q, component in inspection.model.components.items() for part in component.parts()}
    for part, prior in inspection.model.held_priors():
        if isinstance(prior, ControlRegions):
            yield Guides(owner.get(id(part), prior.param.partition(".")[0]), part, prior)


def guides(inspection: Inspection) -> list[Check]:
    """Guides that the fit left or presses, and streams that are elsewhere."""
    checks = [_kept(inspection, guide) for guide in guides_of(inspection)]
    return checks + [_elsewhere(inspection, component) for component in inspection.evidence.streams]


@torch.no_grad()
def _kept(inspection: Inspection, guide: Guides) -> Check:
    streams = inspection.evidence.streams
    members = inspection.fitted.p(guide.component).sum().item() if guide.component in streams else math.inf
    offsets, beyond = guide.prior.offsets(guide.part), guide.prior.residuals(guide.part)
    cost = 0.5 * beyond.square().sum().item()
    pressed = offsets.abs() >= PRESSED
    name, share = guide.prior.param, pressed.float().mean().item()
    value = offsets.abs().max().item()
    at = _listed(guide, guide.prior.phi1[pressed])
    if cost > PENALTY:
        at = _listed(guide, guide.prior.places[beyond != 0].sort().values)
        text = f"{name} left its guides {at}, by {cost:.0f} nats: the guides are wrong there, or too narrow; widen them"
        return Check("guides", guide.component, "fail", value, 1.0, text)
    if share > SHARE_PRESSED and members > _FEWEST:
        text = f"{name} presses {share:.0%} of its guides, {at}: it would go further; widen them or move their centres"
        return Check("guides", guide.component, "fail", value, 1.0, text)
    outcome: Outcome = "note" if bool(pressed.any()) else "ok"
    text = f"{name} presses its guides {at}" if outcome == "note" else f"{name} is inside its guides"
    return Check("guides", guide.component, outcome, value, 1.0, text)


def _listed(guide: Guides, places: Tensor) -> str:
    return f"at {guide.prior.coord} " + ", ".join(f"{place:.4g}" for place in places.tolist()[:6])


def _elsewhere(inspection: Inspection, component: str) -> Check:
    best = best_move(inspection, component)
    if best is None:
        found = [one.gains.max().item() - one.here for one in inspection.scans[component] if len(one.gains)]
        value = max(found, default=0.0)
        return Check("guides", component, "ok", value, 0.0, f"{component} gains nothing by being moved as a whole")
    one, i = best
    name, shift, more = one.location.coord, one.shifts[i].item(), one.gains[i].item() - one.here
    text = (
        f"{component} moved by {shift:+.3g} in {name} would gain {more:.0f} nats more than where it is: a stream lies "
        f"there and the guides, or the start, hold the fit away; move the guides of {name} by about so much"
    )
    return Check("guides", component, "fail", more, 0.0, text)


def overlap(inspection: Inspection) -> list[Check]:
    """Guides at places, or of values, where there are no stars."""
    return [_overlap(inspection, guide) for guide in guides_of(inspection)]


def _overlap(inspection: Inspection, guide: Guides) -> Check:
    empty, beyond = _without_stars(inspection, guide.prior), _beyond_window(inspection, guide)
    wrong = empty | beyond
    share, name = wrong.float().mean().item(), guide.prior.param
    if not bool(wrong.any()):
        return Check("overlap", guide.component, "ok", 0.0, SHARE_EMPTY, f"the guides of {name} lie among the stars")
    low, high = inspection.places.aminmax()
    outcome: Outcome = "fail" if share > SHARE_EMPTY else "note"
    text = f"{share:.0%} of the guides of {name} lie where no stars are, {_listed(guide, guide.prior.phi1[wrong])}"
    if bool(empty.any()):
        text += (
            f": the stars have {guide.prior.coord} {low:.4g}..{high:.4g}, perhaps from 0 to 360, or of another frame"
        )
    else:
        text += f": the centres are outside the window of {guide.coord}"
    if outcome == "fail":
        text += "; correct the guides or the frame"
    return Check("overlap", guide.component, outcome, share, SHARE_EMPTY, text)


def _without_stars(inspection: Inspection, prior: ControlRegions) -> Tensor:
    """Guides with almost no star as near as half the way to the next guide, (K,)."""
    places = inspection.places.sort().values
    spread = (prior.phi1.max() - prior.phi1.min()).item() / max(len(prior.phi1) - 1, 1)
    reach = max(spread / 2, 0.02 * (places[-1] - places[0]).item())
    edges = torch.stack([prior.phi1 - reach, prior.phi1 + reach]).to(places)
    low, high = torch.searchsorted(places, edges)
    return high - low < _FEWEST


def _beyond_window(inspection: Inspection, guide: Guides) -> Tensor:
    """Guides whose centres, with their half-widths, are outside all that was measured, (K,)."""
    stars, centre, width = inspection.fitted.stars, guide.prior.center, guide.prior.width
    if guide.coord not in stars or not guide.prior.param.endswith(".mu"):
        return torch.zeros_like(centre, dtype=torch.bool)
    low, high = stars[guide.coord][stars.where[guide.coord]].aminmax()
    return (centre + width < low) | (centre - width > high)
