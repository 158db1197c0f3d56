"""Populations between which parameters choose: of isochrones of a grid, and of mass functions of a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stream_mapper.builtin.isochrone.curve import Isochrone
from stream_mapper.builtin.isochrone.family import PowerLawFamily
from stream_mapper.builtin.isochrone.grid import IsochroneGrid
from stream_mapper.builtin.isochrone.mass import MassFunction
from stream_mapper.builtin.isochrone.population import Population, Scatter, populate, populate_nodes
from stream_mapper.utils import without_dots

_NO_STAR = 1e-30  # what the weight of a segment without stars counts as


class _Cell(NamedTuple):
    """Where stars are between the nodes of an axis: the node below, and the share of the next, (N,) each."""

    left: Tensor
    share: Tensor


class Populations(nn.Module):
    r"""Populations on a grid of parameters, linear between them.

    The ends of a segment are interpolated, and so are the number of stars on it and their mean place along it. The
    interpolated population is again one of straight segments whose weights sum to one, so its density is exact.

    Arguments:
        axes: Nodes of each parameter, two or more, increasing, by name.
        populations: One a point of the grid, the last parameter running fastest; of one number of segments, and with
            the scatter of the first.
    """

    nodes: Tensor
    weights: Tensor
    tilts: Tensor
    scatter: Tensor

    def __init__(self, axes: Mapping[str, Sequence[float]], populations: Sequence[Population]) -> None:
        super().__init__()
        self.axes = {name: tuple(nodes) for name, nodes in axes.items()}
        self.register_buffer("nodes", torch.stack([p.nodes for p in populations]).float())
        self.register_buffer("weights", torch.stack([p.ln_weights.exp() for p in populations]).float())
        self.register_buffer("tilts", torch.stack([p.tilts for p in populations]).float())
        self.register_buffer("scatter", populations[0].scatter.float())
        for name, nodes in self.axes.items():
            self.register_buffer(_axis(name), torch.tensor(nodes), persistent=False)

    def at(self, params: Mapping[str, Tensor]) -> Population:
        """The population of each star.

        Arguments:
            params: Each of the parameters at the stars, (N,); beyond the grid its edge counts.
        """
        corners = self._corners([_cell(params[name], self.get_buffer(_axis(name))) for name in self.axes])
        nodes = sum(share[:, None, None] * self.nodes[i] for i, share in corners)
        weights = sum(share[:, None] * self.weights[i] for i, share in corners)
        moments = sum(share[:, None] * (self.weights * self.tilts)[i] for i, share in corners)
        weights = torch.as_tensor(weights).clamp(min=_NO_STAR)
        return Population(torch.as_tensor(nodes), weights.log(), moments / weights, self.scatter)

    def middle(self) -> dict[str, float]:
        """The parameters in the middle of the grid."""
        return {name: 0.5 * (nodes[0] + nodes[-1]) for name, nodes in self.axes.items()}

    def _corners(self, cells: Sequence[_Cell]) -> list[tuple[Tensor, Tensor]]:
        """The populations about each star, by number, and the share of each, (N,) both."""
        out = []
        for corner in product((0, 1), repeat=len(cells)):
            index, share = torch.zeros_like(cells[0].left), torch.ones_like(cells[0].share)
            for side, cell, nodes in zip(corner, cells, self.axes.values(), strict=True):
                index = index * len(nodes) + cell.left + side
                share = share * (cell.share if side else 1 - cell.share)
            out.append((index, share))
        return out


def populations_of(
    isochrone: Isochrone | IsochroneGrid,
    mass_function: MassFunction | PowerLawFamily,
    segments: int,
    scatter: Scatter,
) -> Population | Populations:
    """The population of an isochrone, or the populations of a grid of isochrones or of a family of mass functions."""
    if isinstance(isochrone, Isochrone) and isinstance(mass_function, MassFunction):
        return populate(isochrone, mass_function, segments, scatter)
    axes, pairs = _pairs(isochrone, segments)
    functions = [mass_function] if isinstance(mass_function, MassFunction) else mass_function.members()
    if isinstance(mass_function, PowerLawFamily):
        axes = axes | mass_function.axes
    return Populations(axes, [populate_nodes(*pair, function, scatter) for pair in pairs for function in functions])


def _pairs(
    isochrone: Isochrone | IsochroneGrid, segments: int
) -> tuple[dict[str, list[float]], list[tuple[Isochrone, Isochrone]]]:
    """Parameters of a grid of isochrones, none of a single one; and each isochrone with its thinned copy."""
    if isinstance(isochrone, Isochrone):
        return {}, [(isochrone, isochrone.nodes(segments))]
    return dict(isochrone.axes), list(zip(isochrone.aligned(), isochrone.nodes(segments), strict=True))


def _axis(name: str) -> str:
    """What the buffer of the nodes of a parameter is called."""
    return f"axis {without_dots(name)}"


def _cell(value: Tensor, nodes: Tensor) -> _Cell:
    """Where values (N,) lie between nodes."""
    at = nodes.to(value.dtype)
    left = torch.searchsorted(at, value.detach().contiguous(), right=True).clamp(1, len(nodes) - 1) - 1
    share = ((value - at[left]) / (at[left + 1] - at[left])).clamp(0, 1)
    return _Cell(left, share)
