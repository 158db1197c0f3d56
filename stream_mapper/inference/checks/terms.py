"""The densities of stars under a fit, part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.inference.checks.base import Evidence
from stream_mapper.models.base import Model, Params, rows_of, scope
from stream_mapper.models.independent import IndependentModels
from stream_mapper.models.known import KnownDensities
from stream_mapper.models.mixture import MixtureModel

_CHUNK = 16_384  # stars whose densities are computed at once
_MOST = 1_000_000  # stars whose quantiles are taken


def leaves(model: Model, path: str = "") -> Iterator[tuple[str, Model]]:
    """The independent parts of a component, by dotted path; a part that is no product is one."""
    if not isinstance(model, IndependentModels):
        yield path, model
        return
    for name, part in model.components.items():
        yield from leaves(part, f"{path}.{name}" if path else name)


def inner(params: Params, path: str) -> Params:
    """The parameters of a part, seen from it."""
    return scope(params, path) if path else params


def dropped(stars: Data, names: tuple[str, ...]) -> Data:
    """The stars with some coordinates marked as not measured."""
    return stars.with_columns({name: torch.full_like(stars[name], torch.nan) for name in names})


def range_of(stars: Data, name: str, quantiles: tuple[float, float]) -> Tensor:
    """Two quantiles of what was measured of a coordinate, (2,)."""
    values = stars[name][stars.where[name]][:_MOST]
    return values.quantile(torch.tensor(quantiles, device=values.device, dtype=values.dtype))


@dataclass(frozen=True)
class Terms:
    """Stars, and every term of the mixture that a check asks for.

    Attributes:
        model: The mixture.
        stars: N stars, each coordinate that some part cannot take marked as missing.
        params: Parameters at the stars, (N,) by name.
        joint: ln(f_q p_q), shape (N, K).
        parts: Log densities of the independent parts of every stream, (N,) by component and path.
    """

    model: MixtureModel
    stars: Data
    params: Params
    joint: Tensor
    parts: dict[str, dict[str, Tensor]]

    def __len__(self) -> int:
        return len(self.stars)

    def column(self, component: str) -> int:
        """Place of a component among all."""
        return list(self.model.components).index(component)

    @cached_property
    def membership(self) -> Tensor:
        """Probability of each component, shape (N, K)."""
        return self.joint.softmax(-1)

    def p(self, component: str) -> Tensor:
        """Probability of a component, shape (N,)."""
        return self.membership[:, self.column(component)]

    @property
    def p_background(self) -> Tensor:
        """Probability of no stream, shape (N,)."""
        return 1 - torch.stack([self.p(q) for q in self.parts]).sum(0)

    def ln_rest(self, component: str) -> Tensor:
        """Log density of the stars (N,) without a component, the weights of the others made to sum to one."""
        column = self.column(component)
        others = [i for i in range(self.joint.shape[-1]) if i != column]
        return self.joint[:, others].logsumexp(-1) - torch.log1p(-self.weight(component))

    def ln_density(self, component: str) -> Tensor:
        """Log density of a component, shape (N,)."""
        return torch.stack(list(self.parts[component].values())).sum(0)

    def weight(self, component: str) -> Tensor:
        """Weight of a component, shape (N,), below one."""
        return self.params[f"{component}.ln-weight"].exp().clamp(max=1 - 1e-6).expand(len(self))

    def ln_without(self, component: str, names: tuple[str, ...]) -> Tensor:
        """Log density of a component over all coordinates but some, shape (N,)."""
        total = self.ln_density(component)
        for path, part in leaves(self.model.components[component]):
            if gone := tuple(name for name in names if name in part.coord_names):
                some = torch.zeros_like(total)
                if set(gone) != set(part.coord_names):
                    own = inner(scope(self.params, component), path)
                    some = chunked(part, own, dropped(self.stars, gone))
                total = total - self.parts[component][path] + some
        return total


@torch.no_grad()
def chunked(model: Model, params: Params, stars: Data) -> Tensor:
    """Log density of any number of stars, shape (N,)."""
    size = len(stars)
    rows = torch.arange(size, device=stars.device).split(_CHUNK)
    return torch.cat([model.ln_likelihood(*rows_of(params, stars, some)) for some in rows])


@torch.no_grad()
def terms(evidence: Evidence, stars: Data | None = None) -> Terms:
    """The terms of the fitted stars, or of others, of which nothing is known beforehand."""
    model, known = evidence.model, evidence.known if stars is None else None
    own = model.measured(evidence.stars if stars is None else stars)
    params = _of_shares(model, model(own), own, known)
    parts = {q: _parts(model.components[q], scope(params, q), own) for q in evidence.streams}
    densities = {q: torch.stack(list(each.values())).sum(0) for q, each in parts.items()}
    densities |= {q: model.ln_component(q, params, own, known) for q in model.components if q not in parts}
    joint = torch.stack([params[f"{q}.ln-weight"] + densities[q] for q in model.components], -1)
    return Terms(model, own, params, joint, parts)


def _of_shares(model: MixtureModel, params: Params, stars: Data, known: KnownDensities | None) -> Params:
    """The parameters with the shares of the stars like each, which may differ from the weights, in their place."""
    shares = model.ln_shares(params, stars, known).unbind(-1) if not model.weights_are_shares else ()
    return params | {f"{q}.ln-weight": share for q, share in zip(model.components, shares, strict=False)}


def _parts(component: Model, params: Params, stars: Data) -> dict[str, Tensor]:
    return {path: chunked(part, inner(params, path), stars) for path, part in leaves(component)}
