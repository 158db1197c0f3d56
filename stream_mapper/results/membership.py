"""The membership table: the catalogue's rows with the probability of each component."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
import torch
from astropy.table import Table
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.models import MixtureModel
from stream_mapper.models.mixture import BACKGROUND
from stream_mapper.models.screen import screened
from stream_mapper.results.posterior import Draw, over_draws, quantiles

_CHUNK = 100_000
_NEGLIGIBLE = 1e-7  # membership below which the draws do not compute a component's density anew
_QUANTILES = ("05", "50", "95")

_log = logging.getLogger("stream_mapper")


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
    parts = [_chunk(model, part.to(device), draw, draws) for part in stars.split(_CHUNK)]
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}


def _chunk(model: MixtureModel, stars: Data, draw: Draw | None, draws: int) -> dict[str, Tensor]:
    p = model.membership(model(stars), stars)
    columns = {f"p_{name}": p[:, i] for i, name in enumerate(model.components)}
    columns["p_member"] = _members(model, p)
    spread = torch.full((3, len(stars)), torch.nan)
    if draw is not None:
        some = screened(model, stars, _NEGLIGIBLE)
        spread = quantiles(over_draws(model, draw, draws, lambda: _members(model, model.membership(model(some), some))))
    columns |= {f"p_member_{q}": spread[i] for i, q in enumerate(_QUANTILES)}
    columns["n_missing"] = (~model.measured(stars).where[model.coord_names]).sum(-1)
    columns["in_window"] = model.in_window(stars)
    return columns


def _members(model: MixtureModel, p: Tensor) -> Tensor:
    """Probability of any component but the background, without the rounding of one minus it."""
    return p[:, [i for i, name in enumerate(model.components) if name != BACKGROUND]].sum(-1)


def membership_names(model: MixtureModel) -> list[str]:
    """Names of the columns that :func:`memberships` adds.

    Raises:
        InputError: If a component's column would be called like that of all members.
    """
    members = ["p_member", *(f"p_member_{q}" for q in _QUANTILES)]
    components = [f"p_{name}" for name in model.components]
    if taken := sorted(set(members) & set(components)):
        raise InputError(f"the columns {taken} of the memberships would be those of components; rename the components.")
    return [*components, *members, "n_missing", "in_window"]


def membership_table(table: Table, columns: dict[str, Tensor]) -> Table:
    """The catalogue's own rows and columns, with the membership columns added; see :func:`set_aside`."""
    out = set_aside(table, columns)
    for name, values in columns.items():
        array = values.numpy()
        out[name] = array.astype(np.float64) if array.dtype.kind == "f" else array
    return out


def set_aside(table: Table, names: Iterable[str], path: str | None = None) -> Table:
    """A copy of a table in which its own columns of these names are called ``<name>_input``, with a warning.

    Arguments:
        table: Any table; it is left as it is.
        names: Names that are needed for something else.
        path: What the warning calls the table.

    Raises:
        InputError: If the table has a column of the new name as well.
    """
    out = table.copy(copy_data=False)
    label = path or "the table"
    renamed = {name: f"{name}_input" for name in names if name in table.colnames}
    if taken := [new for new in renamed.values() if new in table.colnames]:
        raise InputError(
            f"{label}: its columns {list(renamed)} are called like results, and {taken} are taken too; rename them."
        )
    if renamed:
        old, new = list(renamed), list(renamed.values())
        out.rename_columns(old, new)
        _log.warning("%s: its columns %s are called like results; they are kept as %s.", label, old, new)
    return out
