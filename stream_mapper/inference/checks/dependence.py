"""Members that one coordinate alone makes."""

from __future__ import annotations

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.inference.checks.base import Check
from stream_mapper.inference.checks.inspection import Inspection
from stream_mapper.inference.checks.terms import Terms, chunked, dropped, inner, leaves
from stream_mapper.models.base import Model, Params, scope

LIMIT = 0.2
"""Share of the likely members, above that among draws from the fit, that may rest on one coordinate alone."""
_MOST = 150  # members that are looked at
_FEWEST = 5


def dependence(inspection: Inspection) -> list[Check]:
    """One check a stream: the coordinate that most members rest on."""
    return [check for q in inspection.evidence.streams for check in _of(inspection, q)]


def _of(inspection: Inspection, component: str) -> list[Check]:
    rows = inspection.likely(component)[:_MOST]
    drawn = inspection.likely(component, inspection.drawn)[:_MOST]
    groups = dict.fromkeys(inspection.group(component, name) for name in inspection.model.coord_names)
    if len(rows) < _FEWEST or len(groups) < 2:
        return []
    shares = {}
    for names in groups:
        own = resting(inspection.fitted, component, names, rows).float().mean().item()
        usual = resting(inspection.drawn, component, names, drawn).float().mean().item() if len(drawn) else 0.0
        shares[names] = own - usual
    names, value = max(shares.items(), key=lambda item: item[1])
    label = ", ".join(names)
    text = f"{value:.1%} of the likely members of {component}, beyond the share of draws, rest on {label} alone"
    if value <= LIMIT:
        return [Check("dependence", component, "ok", value, LIMIT, text)]
    text += f": all else speaks against them. Look at the density of {label} in the background and at its errors"
    return [Check("dependence", component, "fail", value, LIMIT, text)]


@torch.no_grad()
def resting(terms: Terms, component: str, names: tuple[str, ...], rows: Tensor) -> Tensor:
    """Whether all coordinates but some speak against a star's membership, (M,), of the stars in ``rows``."""
    stars = terms.stars[rows]
    some = dropped(stars, names)
    params = {name: value.expand(len(terms))[rows] for name, value in terms.params.items()}
    found = {q: _without(m, scope(params, q), names, stars, some) for q, m in terms.model.components.items()}
    others = [params[f"{q}.ln-weight"] + ln_p for q, ln_p in found.items() if q != component]
    rest = torch.stack(others).logsumexp(0) - torch.log1p(-params[f"{component}.ln-weight"].exp())
    return found[component] < rest


def _without(model: Model, params: Params, names: tuple[str, ...], stars: Data, some: Data) -> Tensor:
    """Log density of a component without some coordinates; where these are conditions they stay."""
    each = [
        chunked(part, inner(params, path), some if set(names) & set(part.coord_names) else stars)
        for path, part in leaves(model)
    ]
    return torch.stack(each).sum(0)
