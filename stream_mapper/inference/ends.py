"""Where each component of a stream begins and ends, with the quantiles over the draws of a fit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stream_mapper.inference.draws import Draw
from stream_mapper.inference.ensemble import Fits, alone
from stream_mapper.inference.profile import Columns, places, profiles, streams
from stream_mapper.models.base import Params
from stream_mapper.models.mixture import MixtureModel

_SIDES = ("begin", "end")


@torch.no_grad()
def ends(
    model: MixtureModel, at: Tensor, draw: Draw | None = None, draws: int = 200, fits: Fits = alone
) -> dict[str, Columns]:
    """Beginnings and ends of the components, and the widths of these edges.

    Arguments:
        model: The fitted mixture.
        at: One place along the stream, (1,); the ends are the same at any.
        draw: Draws of the parameter functions; without it the quantiles are NaN.
        draws: Number of draws.
        fits: The fits of an ensemble; their mean is given.

    Returns:
        Columns (1,) by name, of each component: ``begin``, ``begin_width``, ``end``, ``end_width``, each followed by
        its quantiles ``_05`` to ``_95``, in the unit of the coordinate along the stream. NaN is what a component does
        not have; a column that none has is left out.
    """
    params = model(places(model, at))
    sides = [side for side in _SIDES if any(f"{q}.{side}" in params for q in streams(model))]
    if not sides:
        return {}
    return profiles(model, at, lambda params, q, _: _of_component(params, q, sides, at), draw, draws, fits)


def _of_component(params: Params, q: str, sides: Sequence[str], at: Tensor) -> Columns:
    """Places and widths of the edges of a component on these sides, (1,) each."""
    nothing = torch.full_like(at, torch.nan)
    out: Columns = {}
    for side in sides:
        place, ln_width = (params.get(f"{q}.{name}") for name in (side, f"ln-{side}-width"))
        out[side] = nothing if place is None else place.cpu().expand_as(at)
        out[f"{side}_width"] = nothing if ln_width is None else ln_width.exp().cpu().expand_as(at)
    return out
