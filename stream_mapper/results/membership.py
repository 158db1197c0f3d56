"""The membership table: the catalogue's rows with the probability of each component."""

from __future__ import annotations

import numpy as np
import torch
from astropy.table import Table
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.models import MixtureModel
from stream_mapper.models.mixture import BACKGROUND
from stream_mapper.models.screen import screened
from stream_mapper.results.posterior import Draw, over_draws, quantiles

_CHUNK = 100_000
_NEGLIGIBLE = 1e-7  # membership below which the draws do not compute a component's density anew


@torch.no_grad()
def memberships(model: MixtureModel, stars: Data, draw: Draw | None = None, draws: int = 32) -> dict[str, Tensor]:
    """Membership columns of each star.

    Arguments:
        model: The fitted mixture.
        stars: N stars, with the frozen densities if they were computed.
        draw: Draws of the parameter functions; without it there are no quantiles.
        draws: Number of draws.

    Returns:
        ``p_<component>`` summing to one, ``p_member`` = 1 - p_background, its quantiles ``p_member_05/_50/_95`` (NaN
        without draws), ``n_missing`` (coordinates not measured) and ``in_window``, each (N,), on the CPU.
    """
    device = next(model.parameters()).device
    parts = [_chunk(model, stars[i : i + _CHUNK].to(device), draw, draws) for i in range(0, len(stars), _CHUNK)]
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}


def _chunk(model: MixtureModel, stars: Data, draw: Draw | None, draws: int) -> dict[str, Tensor]:
    p = model.membership(model(stars), stars)
    columns = {f"p_{name}": p[:, i] for i, name in enumerate(model.components)}
    columns["p_member"] = _members(model, p)
    spread = torch.full((3, len(stars)), torch.nan)
    if draw is not None:
        some = screened(model, stars, _NEGLIGIBLE)
        spread = quantiles(over_draws(model, draw, draws, lambda: _members(model, model.membership(model(some), some))))
    columns |= {f"p_member_{q}": spread[i] for i, q in enumerate(("05", "50", "95"))}
    columns["n_missing"] = (~model.measured(stars).where[model.coord_names]).sum(-1)
    columns["in_window"] = model.in_window(stars)
    return columns


def _members(model: MixtureModel, p: Tensor) -> Tensor:
    """Probability of any component but the background, without the rounding of one minus it."""
    return p[:, [i for i, name in enumerate(model.components) if name != BACKGROUND]].sum(-1)


def membership_table(table: Table, columns: dict[str, Tensor]) -> Table:
    """The catalogue's own rows and columns, with the membership columns added (replaced where they were there)."""
    out = table.copy(copy_data=False)
    for name, values in columns.items():
        array = values.numpy()
        out[name] = array.astype(np.float64) if array.dtype.kind == "f" else array
    return out
