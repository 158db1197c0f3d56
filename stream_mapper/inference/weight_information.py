r"""What the stars say of the weights of a mixture, places without stars of a component included.

The score of a star in :math:`\eta = \ln f` is :math:`(p - f) / (1 - f)`, p its membership. Where no star is of the
component, the sum of the squared scores is next to nothing, though the stars say well that there are few. Were it known
of which component each star is, the information of a star would be :math:`f / (1 - f)`, wherever it is. (Where the
survey saw a share r of the component's stars among all, the score is :math:`(p - r) / (1 - f)`.) What the stars
say, minus their second derivatives, is a share of that, the smaller the more alike the components are; by itself it is
negative for a star of p near one half. So both shares, of the squared scores and of the second derivatives, are found
over a neighbourhood, and where the first is less than half of the second, what it lacks is added. (Were the larger of
two noisy numbers taken everywhere, a neighbourhood of a dozen members would have a tenth too much.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stream_mapper.inference.scores import hooked
from stream_mapper.models.base import ParametricModel
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import BACKGROUND, MixtureModel

_NEIGHBOURHOOD = 0.05  # of the range of the stars
_ENOUGH = 0.5  # of the share of the second derivatives: squared scores of that much are taken as they are
_MOST = 1.0  # of the information of known membership
_SURE = 1 - 1e-6  # the largest weight


class _Weights(NamedTuple):
    """Of N stars and Q components: weights f, shares r, memberships p, derivatives of ln f in the outputs, (N, Q)."""

    f: Tensor
    r: Tensor
    p: Tensor
    slope: Tensor


def weight_information(model: MixtureModel, part: ParametricModel, batches: Sequence[Batch]) -> list[Tensor]:
    """What the squared score of each star in the outputs of the network of the weights lacks, (N, Q) a batch.

    It is zero on average where there are stars of a component. In float64, on the CPU.

    Arguments:
        model: The mixture, with a background.
        part: The network of its weights.
        batches: The stars.
    """
    each = [_weights(model, part, batch) for batch in batches]
    coordinate = part.indep_coord_names[0]
    places = torch.cat([batch.stars[coordinate].double().cpu() for batch in batches])
    stars = _Weights(*(torch.cat(columns) for columns in zip(*each, strict=True)))
    lacking = _lacking(places, stars) * stars.slope.square() * _known(stars)
    return list(lacking.split([len(batch) for batch in batches]))


def _weights(model: MixtureModel, part: ParametricModel, batch: Batch) -> _Weights:
    names = [name.removesuffix(".ln-weight") for name in part.params.names]
    columns = [list(model.components).index(name) for name in names]
    leaves: list[Tensor] = []

    def cut(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:  # noqa: ARG001
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    with hooked(part, cut), torch.enable_grad():
        params = model(batch.stars)
        slopes = [torch.autograd.grad(params[f"{q}.ln-weight"].sum(), leaves[-1], retain_graph=True)[0] for q in names]
    with torch.no_grad():
        fixed = {name: value.detach() for name, value in params.items()}
        p = model.ln_joint(fixed, batch.stars, batch.known).softmax(-1)[:, columns]
        r = model.ln_shares(fixed, batch.stars).exp()[:, columns].clamp(max=_SURE)
        f = torch.stack([fixed[f"{q}.ln-weight"].exp() for q in names], -1).clamp(max=_SURE)
    slope = torch.stack([slopes[i][:, i] for i in range(len(names))], -1)
    return _Weights(*(values.double().cpu() for values in (f, r, p.nan_to_num(), slope)))


def _known(stars: _Weights) -> Tensor:
    """Information of each star in ln f, were it known of which component it is, (N, Q)."""
    return stars.r * (1 - stars.r) / (1 - stars.f).square()


def _lacking(places: Tensor, stars: _Weights) -> Tensor:
    """Share of the information of known membership that the squared scores of the stars near each lack, (N, Q)."""
    f, r, p, slope = stars
    known = _known(stars)
    squared = ((p - r) / (1 - f)).square()
    found = known - (p * (1 - p) + (p - r) * f) / (1 - f).square()
    low, high = places.min(), places.max()
    nodes = max(2, math.ceil(4 / _NEIGHBOURHOOD))
    node = ((places - low) / (high - low).clamp(min=1e-9) * (nodes - 1)).round().long()
    x = torch.linspace(0, 1, nodes, dtype=torch.float64)
    near = (-0.5 * ((x[:, None] - x) / (_NEIGHBOURHOOD / 2)).square()).exp()
    of_known, of_squared, of_found = (
        near @ values.new_zeros(nodes, values.shape[1]).index_add_(0, node, slope.square() * values)
        for values in (known, squared, found)
    )
    found, squared = (
        values / of_known.clamp(min=1e-300) for values in (of_found.clamp(max=_MOST * of_known), of_squared)
    )
    return torch.where(squared < _ENOUGH * found, found - squared, 0.0)[node]


def has_weights(model: object) -> bool:
    """Whether a model is a mixture of a background and components whose weights have a network."""
    return isinstance(model, MixtureModel) and BACKGROUND in model.components
