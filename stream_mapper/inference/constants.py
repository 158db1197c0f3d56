"""Parameters of the components' populations that are one number each, with the quantiles over the draws of a fit."""

from __future__ import annotations

import torch
from torch import Tensor

from stream_mapper.inference.draws import Draw
from stream_mapper.inference.ensemble import Fits, alone
from stream_mapper.inference.profile import Columns, profiles, streams
from stream_mapper.models.base import Params
from stream_mapper.models.components import part_name
from stream_mapper.models.constants import ConstantParameters
from stream_mapper.models.mixture import MixtureModel


@torch.no_grad()
def constants(
    model: MixtureModel, at: Tensor, draw: Draw | None = None, draws: int = 200, fits: Fits = alone
) -> dict[str, Columns]:
    """The [Fe/H], age, reddening, offsets and slope of the mass function of each component, where they are constants.

    Arguments:
        model: The fitted mixture.
        at: One place along the stream, (1,); the constants are the same at any.
        draw: Draws of the parameter functions; without it the quantiles are NaN.
        draws: Number of draws.
        fits: The fits of an ensemble; their mean is given.

    Returns:
        Columns (1,) by name, such as ``feh``, of each component, each followed by its quantiles; NaN is what a
        component does not have, and a column that none has is left out.
    """
    names = {q: _names(model, q) for q in streams(model)}
    columns = list(dict.fromkeys(column for each in names.values() for column in each.values()))
    if not columns:
        return {}

    def of_component(params: Params, q: str, _: int | None) -> Columns:
        nothing = {column: torch.full_like(at, torch.nan) for column in columns}
        return nothing | {column: params[name].cpu().expand_as(at) for name, column in names[q].items()}

    return profiles(model, at, of_component, draw, draws, fits)


def _names(model: MixtureModel, q: str) -> dict[str, str]:
    """The constants of a component, by their names in the parameters of the mixture, and what their columns are called.

    That is the name in the part, or, where several parts have one, with the name of the part before it.
    """
    parts = {
        part_name(path).removesuffix("constants"): part
        for path, part in model.components[q].named_modules()
        if isinstance(part, ConstantParameters)
    }
    found = [(prefix, name) for prefix, part in parts.items() for name in part.params.names]
    short = [name for _, name in found]
    return {f"{q}.{prefix}{name}": _column(name if short.count(name) == 1 else prefix + name) for prefix, name in found}


def _column(name: str) -> str:
    return name.replace(".", "_").replace("-", "_")
