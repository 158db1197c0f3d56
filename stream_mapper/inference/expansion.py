"""What the stars say of functions along the stream: gradient and information of the log likelihood on a grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from stream_mapper.inference.functions import Functions
from stream_mapper.inference.scores import Scores, guide_scores, star_scores
from stream_mapper.inference.weight_information import has_weights, weight_information
from stream_mapper.models.base import Model, ParametricModel
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.nn import grid_position

_COMMON = 0.5  # share of the stars that say something of a function above which all are taken to
_STARS = 1 << 17  # whose scores are in memory at once


class Places(NamedTuple):
    """Where N terms are on a grid: the node to the left of each, and the distance from it, in steps, (N,) each."""

    left: Tensor
    weight: Tensor

    def of(self, rows: Tensor) -> Places:
        """Those of some of the terms."""
        return Places(self.left[rows], self.weight[rows])

    def summed(self, derivatives: Tensor, nodes: int) -> Tensor:
        """Derivatives (N, F) of terms by functions at their places, as those by the values at the nodes, (F, nodes)."""
        near, far = (1 - self.weight)[:, None], self.weight[:, None]
        out = derivatives.new_zeros(nodes, derivatives.shape[1])
        out.index_add_(0, self.left, derivatives * near).index_add_(0, self.left + 1, derivatives * far)
        return out.T


@dataclass
class Expansion:
    """Gradient and information of a sum of terms in F functions, linear between the G nodes of a grid.

    A term depends on the functions at one place, that is on two nodes of each: the information of any two functions
    is symmetric and has three diagonals. All is in float64, on the CPU.

    Arguments:
        gradient: Shape (F, G).
        diagonal: Information of functions f and g at the same node, (F, F, G).
        beside: That at two neighbouring nodes, (F, F, G - 1).
        lacking: Which functions are of weights, and what the squared scores of each chunk of stars lack.
    """

    gradient: Tensor
    diagonal: Tensor
    beside: Tensor
    lacking: list[tuple[slice, list[Tensor]]] = field(default_factory=list)

    @classmethod
    def zero(cls, functions: int, nodes: int) -> Expansion:
        """Of no terms."""
        gradient = torch.zeros(functions, nodes, dtype=torch.float64)
        diagonal = gradient.new_zeros(functions, functions, nodes)
        return cls(gradient, diagonal, diagonal[..., 1:].clone())

    @classmethod
    def mean(cls, expansions: Sequence[Expansion]) -> Expansion:
        """The mean of several."""
        count, out = len(expansions), cls.zero(*expansions[0].gradient.shape)
        for one in expansions:
            out.gradient += one.gradient / count
            out.diagonal += one.diagonal / count
            out.beside += one.beside / count
        return out

    def add(self, at: Places, rising: Tensor, slopes: Tensor) -> None:
        """Add terms with the information of the outer products of their slopes.

        Arguments:
            at: Where each term is.
            rising: Derivatives of each term, (N, F), in proportion to its slopes.
            slopes: What the information of each term is the outer product of, (N, F).
        """
        for rows, columns in _blocks(slopes):
            self._add(at.of(rows), rising[rows][:, columns], slopes[rows][:, columns], columns)

    def _add(self, at: Places, rising: Tensor, slopes: Tensor, columns: Tensor) -> None:
        """Add terms in some of the functions."""
        order, count = at.left.argsort(), len(columns)
        near, far = (1 - at.weight)[:, None], at.weight[:, None]
        both = torch.cat([slopes * near, slopes * far], -1)[order]
        diagonal, beside = (x.new_zeros(count, count, x.shape[-1]) for x in (self.diagonal, self.beside))
        for i, rows in enumerate(both.split(at.left.bincount().tolist())):
            if len(rows):
                square = rows.T @ rows
                diagonal[..., i] += square[:count, :count]
                diagonal[..., i + 1] += square[count:, count:]
                beside[..., i] += square[:count, count:]
        self.gradient[columns] += at.summed(rising, self.gradient.shape[1])
        self.diagonal[columns[:, None], columns] += diagonal
        self.beside[columns[:, None], columns] += beside

    def add_diagonal(self, at: Places, where: slice, information: Tensor) -> None:
        """Add information of terms in each of some functions by itself, (N, Q), without a gradient."""
        left, near, far = at.left, (1 - at.weight)[:, None], at.weight[:, None]
        diagonal = self.diagonal[where, where].diagonal()  # (G, Q), a view
        diagonal.index_add_(0, left, information * near.square()).index_add_(0, left + 1, information * far.square())
        self.beside[where, where].diagonal().index_add_(0, left, information * near * far)

    def without(self, rows: Sequence[int]) -> Expansion:
        """The same of terms that say nothing of some functions."""
        kept = torch.ones(len(self.gradient), dtype=self.gradient.dtype)
        kept[list(rows)] = 0
        both = (kept[:, None] * kept)[..., None]
        return Expansion(kept[:, None] * self.gradient, both * self.diagonal, both * self.beside)

    def between(self, f: int, g: int, left: Tensor, right: Tensor) -> Tensor:
        """The information of function f in a basis (G, R) and function g in another (G, S), (R, S)."""
        return left.T @ self.times(f, g, right)

    def times(self, f: int, g: int, values: Tensor) -> Tensor:
        """The information of functions f and g times values (G, S)."""
        out = self.diagonal[f, g][:, None] * values
        beside = self.beside[f, g][:, None]
        out[:-1] += beside * values[1:]
        out[1:] += beside * values[:-1]
        return out

    def pull(self, values: Tensor) -> Tensor:
        """The information times functions (F, G), summed over these, (F, G)."""
        out = (self.diagonal * values).sum(1)
        out[:, :-1] += (self.beside * values[:, 1:]).sum(1)
        out[:, 1:] += (self.beside * values[:, :-1]).sum(1)
        return out


def _blocks(slopes: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Rows and columns of slopes (N, F) outside of which they are zero: most stars say nothing of most functions."""
    there = slopes != 0
    common = there.double().mean(0) > _COMMON
    full = there[:, ~common].any(1)
    every, few = torch.arange(slopes.shape[1]), common.nonzero()[:, 0]
    blocks = [(full.nonzero()[:, 0], every), ((~full).nonzero()[:, 0], few)]
    return [(rows, columns) for rows, columns in blocks if len(rows) and len(columns)]


def expand(
    model: Model,
    functions: Functions,
    batches: Sequence[Batch],
    nearby: Expansion | None = None,
    each: Callable[[Batch, Places, Tensor], None] | None = None,
) -> Expansion:
    """Gradient and information of the log likelihood of all stars and of the guides, about the functions as they are.

    The information is the sum of the outer products of the stars' scores. A place without stars of a component has next
    to no score in its weight, and says nevertheless that there are few: what lacks is added, see
    :mod:`stream_mapper.inference.weight_information`.

    Arguments:
        model: The model.
        functions: The outputs of its networks.
        batches: All the training stars.
        nearby: An expansion of the same about other values not far off, of which what the weights' scores lack is taken
            over: to find it takes a third of the time.
        each: Is told of stars, with their places and the derivatives of each in all functions, (N, F).
    """
    out = Expansion.zero(len(functions), functions.size)
    parts = list(functions.parts.values())
    chunks = [chunk for batch in batches for chunk in batch.split(_STARS) if len(chunk)]
    out.lacking = _weights_of(model, parts, chunks) if nearby is None else nearby.lacking
    for i, chunk in enumerate(chunks):
        scores = star_scores(model, parts, chunk)
        at, slopes = places_of(functions, parts, scores), stacked(parts, scores)
        out.add(at, slopes, slopes)
        if each is not None:
            each(chunk, at, slopes)
        for where, values in out.lacking:
            out.add_diagonal(at, where, values[i])
    for residuals, scores in _guides(model, parts):
        slopes = stacked(parts, scores)
        out.add(places_of(functions, parts, scores), -residuals.double().cpu()[:, None] * slopes, slopes)
    return out


def _guides(model: Model, parts: list[ParametricModel]) -> list[tuple[Tensor, list[Scores]]]:
    """Residuals of the guides of these parts, and their derivatives; others hold whatever the functions are."""
    return [(r, scores) for r, scores in guide_scores(model, parts) if any(len(s.inputs) for s in scores)]


def _weights_of(
    model: Model, parts: Sequence[ParametricModel], chunks: Sequence[Batch]
) -> list[tuple[slice, list[Tensor]]]:
    """Where the weights of a mixture are among the functions, and what their squared scores lack in each chunk."""
    if not (chunks and isinstance(model, MixtureModel) and has_weights(model)):
        return []
    where = [place for part, place in _slices(parts) if part is model.weights]
    return [(place, weight_information(model, model.weights, chunks)) for place in where]


def _slices(parts: Sequence[ParametricModel]) -> list[tuple[ParametricModel, slice]]:
    """Each part with the place of its outputs among all."""
    out, start = [], 0
    for part in parts:
        out.append((part, slice(start, start + len(part.params))))
        start += len(part.params)
    return out


def stacked(parts: Sequence[ParametricModel], scores: Sequence[Scores]) -> Tensor:
    """The derivatives of each term in all functions, (N, F), in float64, on the CPU."""
    size = max(len(s.inputs) for s in scores)
    columns = [
        s.derivatives.double() if len(s.inputs) else s.derivatives.new_zeros(size, len(p.params)).double()
        for p, s in zip(parts, scores, strict=True)
    ]
    return torch.cat(columns, -1).cpu()


def places_of(functions: Functions, parts: Sequence[ParametricModel], scores: Sequence[Scores]) -> Places:
    """Where the terms are on the functions' grid."""
    part, inputs = next((p, s.inputs) for p, s in zip(parts, scores, strict=True) if len(s.inputs))
    return Places(*grid_position(functions.position(part, inputs).double().cpu(), functions.ends, functions.size))
