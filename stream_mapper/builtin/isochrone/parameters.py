"""Parameters of a population of stars besides its distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from stream_mapper.errors import InputError
from stream_mapper.params import ModelParameters

DISTANCE = ("distmod.mu", "distmod.ln-sigma")
REDDENING, OFFSET = "ebv", "offset."

_ROUNDING = 1e-6


def check_names(given: Sequence[ModelParameters], axes: Mapping[str, Sequence[float]], others: Sequence[str]) -> None:
    """Raise InputError if a parameter is not one of the model's, is given twice, or may leave its axis.

    Arguments:
        given: What depends on the place along the stream, and what does not.
        axes: The parameters of the isochrone and the mass function, and their nodes.
        others: The other parameters that there may be.
    """
    names = [name for params in given for name in params.names]
    known = [*DISTANCE, *axes, *others]
    wrong = [name for name in names if name not in known or names.count(name) > 1]
    if wrong:
        raise InputError(f"IsochroneMVNorm has the parameters {known}, each once; got {names}.")
    for params in given:
        for name in set(params.names) & set(axes):
            bounds, nodes = params[name].bounds, axes[name]
            lower, upper = getattr(bounds, "lower", -torch.inf), getattr(bounds, "upper", torch.inf)
            if lower < nodes[0] - _ROUNDING or upper > nodes[-1] + _ROUNDING:
                raise InputError(
                    f"IsochroneMVNorm: {name} is known from {nodes[0]:g} to {nodes[-1]:g}; "
                    f"its bounds are {lower:g} and {upper:g}. Give it bounds in there."
                )


def shift(params: Mapping[str, Tensor], names: Sequence[str], reddening: Mapping[str, float]) -> Tensor | None:
    """What reddening and offsets add to each magnitude, (N, F); None where there are no such parameters.

    Arguments:
        params: The parameters at the stars.
        names: The F magnitudes.
        reddening: Extinction of each over E(B-V).
    """
    terms = []
    if REDDENING in params:
        terms.append(torch.stack([params[REDDENING] * reddening.get(name, 0.0) for name in names], -1))
    if any(name.startswith(OFFSET) for name in params):
        none = torch.zeros_like(params[DISTANCE[0]])
        terms.append(torch.stack([params[OFFSET + n] + none if OFFSET + n in params else none for n in names], -1))
    return sum(terms, torch.zeros_like(terms[0])) if terms else None
