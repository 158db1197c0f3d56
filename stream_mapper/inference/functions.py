"""The outputs of a model's networks as functions on one grid of the coordinate along the stream."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stream_mapper.inference.scores import trained_parts
from stream_mapper.models.base import Model, ParametricModel
from stream_mapper.models.known import Batch
from stream_mapper.nn import GridFunction
from stream_mapper.params.bounds import SigmoidBounds

GRID = 200
"""Nodes of the grid."""


class Functions:
    """Every output of every network of one coordinate, at the nodes of a grid, before the bounds.

    Networks of several coordinates, of another one than the first of the model's, and frozen ones, are left out.
    ``networks`` are the outputs of each without its correction, (F, G).

    Arguments:
        model: The model.
        batches: The stars whose range the grid has.
        size: Nodes of the grid, G.
    """

    def __init__(self, model: Model, batches: Sequence[Batch], size: int = GRID) -> None:
        self.parts = _along_the_stream(model)
        self.size, self.ends = size, _range(self.parts, batches)
        self.nodes = torch.linspace(*self.ends, size, dtype=torch.float64)
        self.networks = [self._of_network(part) for part in self.parts.values()]

    def __len__(self) -> int:
        return sum(len(part.params) for part in self.parts.values())

    @property
    def names(self) -> list[tuple[str, str]]:
        """The path of the part and the name of the parameter of each output, F of them."""
        return [(path, name) for path, part in self.parts.items() for name in part.params.names]

    @property
    def bounded(self) -> list[bool]:
        """Whether each output is that of a parameter with bounds that set its unit."""
        each = [(part.params, name) for part in self.parts.values() for name in part.params.names]
        return [isinstance(params[name].bounds, SigmoidBounds) for params, name in each]

    def position(self, part: ParametricModel, inputs: Tensor) -> Tensor:
        """Places (N,) in the coordinate's unit of the standardised inputs (N, 1) of a part's network."""
        return part.indep_scaler.inverse(inputs)[:, 0]

    @torch.no_grad()
    def values(self) -> Tensor:
        """The functions as they are, corrections included, (F, G), in float64, on the CPU."""
        return torch.cat(
            [_corrected(p, n, self.nodes) for p, n in zip(self.parts.values(), self.networks, strict=True)]
        )

    @torch.no_grad()
    def set(self, values: Tensor) -> None:
        """Make the functions these, (F, G), by the corrections of the networks."""
        blocks = values.split([len(network) for network in self.networks])
        for part, network, block in zip(self.parts.values(), self.networks, blocks, strict=True):
            correction_of(part).set(block - network, self.ends)

    @torch.no_grad()
    def _of_network(self, part: ParametricModel) -> Tensor:
        """Outputs of a network at the nodes, (F, G), in float64, on the CPU."""
        if part.net is None:
            raise TypeError(f"{type(part).__name__} has no network.")
        mean = part.indep_scaler.mean
        outputs: Tensor = part.net(part.indep_scaler.transform(self.nodes.to(mean)[:, None]))
        return outputs.expand(self.size, -1).T.double().cpu()


def correction_of(part: ParametricModel) -> GridFunction:
    """The correction of a part whose network is of one coordinate."""
    if part.correction is None:
        raise TypeError(f"the network of {type(part).__name__} is of several coordinates.")
    return part.correction


def _corrected(part: ParametricModel, network: Tensor, nodes: Tensor) -> Tensor:
    correction = correction_of(part)
    if not correction.is_set:
        return network
    return network + correction(nodes.to(correction.values)).T.double().cpu()


def _along_the_stream(model: Model) -> dict[str, ParametricModel]:
    """The parts, by path, whose network is trained and is of the first coordinate of the model that any is of alone."""
    parts = {path: part for path, part in trained_parts(model).items() if part.correction is not None}
    found = [part.indep_coord_names for part in parts.values()]
    along = next(((name,) for name in model.indep_coord_names if (name,) in found), None)
    return {path: part for path, part in parts.items() if part.indep_coord_names == along}


def _range(parts: dict[str, ParametricModel], batches: Sequence[Batch]) -> tuple[float, float]:
    """First and last place of the stars on the coordinate of the parts; they all are of the same one."""
    names = {part.indep_coord_names[0] for part in parts.values()}
    values = [batch.stars[name] for batch in batches for name in names if len(batch)]
    if not values:
        return 0.0, 1.0
    low, high = min(v.min().item() for v in values), max(v.max().item() for v in values)
    return (low, high) if low < high else (low - 0.5, low + 0.5)
