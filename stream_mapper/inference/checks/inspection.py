"""What several checks of one fit share, each computed once and when it is first asked for."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from stream_mapper.inference.checks.base import Evidence
from stream_mapper.inference.checks.draws import drawn
from stream_mapper.inference.checks.scan import Scan, locations, scan
from stream_mapper.inference.checks.terms import Terms, leaves, range_of, terms
from stream_mapper.models.base import Model, scope

_LIKELY = 0.5  # membership of a likely member
_MOST = 100_000  # stars of the field that are looked at
_SEED = 7
_RANGE = (0.05, 0.95)  # quantiles of a coordinate between which its background is taken as even


class Inspection:
    """A fit under inspection.

    Arguments:
        evidence: What there is to look at.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.model = evidence.model

    @cached_property
    def fitted(self) -> Terms:
        """The stars."""
        return terms(self.evidence)

    @cached_property
    def drawn(self) -> Terms:
        """A draw for each star."""
        return drawn(self.evidence, self.fitted, self.evidence.seed)

    @cached_property
    def scans(self) -> dict[str, list[Scan]]:
        """Each stream moved along each coordinate it has a centre in."""
        return {
            q: [scan(self.fitted, q, location) for location in locations(self.model.components[q])]
            for q in self.evidence.streams
        }

    @cached_property
    def places(self) -> Tensor:
        """The independent coordinate of the stars, (N,)."""
        return self.fitted.stars[self.along]

    @cached_property
    def sample(self) -> Tensor:
        """Rows of the stars that stand for all where the field is looked at, in order: all, or some at random.

        They are chosen without a look at them, so that a star and its draw may be exchanged as before.
        """
        generator = torch.Generator().manual_seed(_SEED)
        rows = torch.randperm(len(self.fitted), generator=generator)[:_MOST].sort().values
        return rows.to(self.fitted.joint.device)

    @property
    def each_counts(self) -> float:
        """How many stars each of the sample stands for."""
        return len(self.fitted) / max(len(self.sample), 1)

    def sampled(self, weights: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Weights of stars and of draws, (N,) each, of the sample alone, in sum about those of all."""
        counted = torch.zeros_like(weights[0]).index_fill(0, self.sample, self.each_counts)
        return weights[0] * counted, weights[1] * counted

    @property
    def along(self) -> str:
        """Name of the independent coordinate."""
        return self.model.indep_coord_names[0]

    @property
    def across(self) -> str | None:
        """Name of the coordinate that is the other position on the sky, if there is one."""
        return "phi2" if "phi2" in self.model.coord_names else None

    def likely(self, component: str, stars: Terms | None = None) -> Tensor:
        """Rows of the likely members of a component, of the fitted stars or of others."""
        p = (self.fitted if stars is None else stars).p(component)
        return (p > _LIKELY).nonzero()[:, 0]

    def group(self, component: str, name: str) -> tuple[str, ...]:
        """Coordinates that are set aside together with one: all magnitudes of an isochrone, or itself."""
        part = self.part_of(component, name)[1]
        return part.coord_names if is_photometric(part) else (name,)

    def part_of(self, component: str, name: str) -> tuple[str, Model]:
        """Path and part of a component that has a coordinate."""
        return next(found for found in leaves(self.model.components[component]) if name in found[1].coord_names)

    def centre(self, component: str, name: str, stars: Terms) -> Tensor | None:
        """Centre of a component in a coordinate at each star, (N,), if it has one."""
        path, _ = self.part_of(component, name)
        params = scope(stars.params, component)
        key = f"{path}.{name}.mu" if path else f"{name}.mu"
        return params.get(key)

    def weights(self, component: str, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """How likely each star, and each draw, is of a component by all but some coordinates, (N,) in 0..1.

        What the background has in those coordinates is taken as even. Both columns are the same function of a star, so
        that they can be compared.
        """
        ranges = torch.stack([self._ln_range(name) for name in names]).sum()
        found = []
        for each in (self.fitted, self.drawn):
            ln_odds = each.ln_without(component, names) - ranges - each.ln_rest(component)
            ln_odds = ln_odds + each.params[f"{component}.ln-weight"] - torch.log1p(-each.weight(component))
            p = ln_odds.sigmoid().nan_to_num()
            found.append(torch.where(p > 1e-3, p, 0.0))
        return found[0], found[1]

    def _ln_range(self, name: str) -> Tensor:
        low, high = range_of(self.fitted.stars, name, _RANGE)
        return (high - low).clamp(min=1e-12).log()


def is_photometric(part: Model) -> bool:
    """Whether a part is a density of magnitudes at a distance."""
    return part.curve() is not None
