"""The membership table: the catalogue's rows with the probability of each component."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.devices import may_look
from stream_mapper.errors import InputError
from stream_mapper.models import MixtureModel
from stream_mapper.models.base import Params
from stream_mapper.models.members import Members, alone, mean_over
from stream_mapper.models.mixture import BACKGROUND
from stream_mapper.models.screen import screened_for_all
from stream_mapper.results.posterior import Draw, quantiles

_CHUNK, _CHUNK_ELSEWHERE = 16_384, 1 << 19  # stars whose densities are computed at once: what a CPU's cache holds
_BLOCK = 16_384  # stars whose draws are held at once
_NEGLIGIBLE = 1e-7  # membership below which the draws do not compute a component's density anew
_CERTAIN = 1e-4  # probability of the background below which draws do not matter
_LARGEST = 1 << 24  # numbers that torch finds quantiles of at once
_QUANTILES = ("05", "50", "95")

_log = logging.getLogger("stream_mapper")

Prepare = Callable[[Data], Data]


@torch.no_grad()
def memberships(
    model: MixtureModel,
    stars: Data,
    draw: Draw | None = None,
    draws: int = 32,
    prepare: Prepare | None = None,
    members: Members = alone,
) -> dict[str, Tensor]:
    """Membership columns of each star.

    The draws are computed for the stars whose p_member they can change: one below 1e-7, or above 0.9999, has its
    p_member as all three quantiles. (Where few stars fix the weight, a draw may raise a low p_member by much.)

    Arguments:
        model: The fitted mixture.
        stars: N stars, with the frozen densities if they were computed.
        draw: Draws of the parameter functions; without it there are no quantiles.
        draws: Number of draws.
        prepare: Adds what the model wants beside the stars, such as frozen densities, to those inside the window.
        members: The members of an ensemble; their mean is given.

    Returns:
        ``p_<component>`` summing to one, ``p_member`` = 1 - p_background, its quantiles ``p_member_05/_50/_95`` (NaN
        without draws), ``n_missing`` (coordinates not measured) and ``in_window``, each (N,), on the CPU.
    """
    device = next(model.parameters()).device
    parts = [_inside(model, part.to(device), prepare, members) for part in stars.split(_at_once(device))]
    inside, p = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    columns = {f"p_{name}": p[:, i] for i, name in enumerate(model.components)}
    columns["p_member"] = _members(model, p)
    spread = columns["p_member"].expand(3, -1) if draw is not None else torch.full((3, len(stars)), torch.nan)
    if draw is not None and len(rows := _uncertain(model, p).nonzero()[:, 0]):
        some = Data.cat([part[2] for part in parts if part[2] is not None])
        spread = spread.index_copy(1, rows, _spread(model, some, draw, draws, members).to(spread))
    columns |= {f"p_member_{q}": spread[i] for i, q in enumerate(_QUANTILES)}
    columns["n_missing"] = (~model.measured(stars).where[model.coord_names]).sum(-1)
    columns["in_window"] = inside
    return {name: column.cpu() for name, column in columns.items()}


def _inside(
    model: MixtureModel, stars: Data, prepare: Prepare | None, members: Members
) -> tuple[Tensor, Tensor, Data | None]:
    """Whether each star is inside the window, its memberships (N, K), and the uncertain stars, None if there are none.

    Where there is a background, the stars outside belong to it, and nothing is computed for them.
    """
    inside = model.in_window(stars)
    wanted = inside if BACKGROUND in model.components else torch.ones_like(inside)
    outside = torch.tensor([float(name == BACKGROUND) for name in model.components], device=inside.device)
    p = outside.repeat(len(stars), 1)
    if not wanted.any():
        return inside, p, None
    some = stars if wanted.all() else stars[wanted.nonzero()[:, 0]]
    some = some if prepare is None else prepare(some)
    p_some = mean_over(members, model, lambda: model.membership(model(some), some))
    rows = _uncertain(model, p_some).nonzero()[:, 0]
    p = p.to(p_some).index_copy(0, wanted.nonzero()[:, 0], p_some)
    return inside, p, some[rows] if len(rows) else None


def _at_once(device: torch.device) -> int:
    return _CHUNK if may_look(device) else _CHUNK_ELSEWHERE


def _uncertain(model: MixtureModel, p: Tensor) -> Tensor:
    """Whether draws can change the p_member (N,) of memberships (N, K): neither negligible nor, in effect, one."""
    names = list(model.components)
    if BACKGROUND not in names:
        return torch.zeros(len(p), dtype=torch.bool, device=p.device)
    return (_members(model, p) > _NEGLIGIBLE) & (p[:, names.index(BACKGROUND)] > _CERTAIN)


def _spread(model: MixtureModel, stars: Data, draw: Draw, draws: int, members: Members) -> Tensor:
    """Quantiles of p_member over the draws, (3, N)."""
    if len(model.components) > 2:  # of two, an uncertain star has some of each
        stars = screened_for_all(model, stars, _NEGLIGIBLE, members)
    block = min(_BLOCK, max(1, _LARGEST // draws))
    return torch.cat([quantiles(_drawn(model, part, draw, draws)) for part in stars.split(block)], -1)


def _drawn(model: MixtureModel, stars: Data, draw: Draw, draws: int) -> Tensor:
    """The p_member of every draw, (D, N): the parameters draw by draw, then all the densities together."""
    found: list[Params] = []
    for index in range(draws):
        with draw(model, index):
            found.append(model(stars))
    params = {name: torch.cat([one[name].expand(len(stars)) for one in found]) for name in found[0]}
    star = torch.arange(len(stars), device=stars.device).repeat(draws)
    parts, size = [], _at_once(stars.device)
    for i in range(0, len(star), size):
        some = {name: values[i : i + size] for name, values in params.items()}
        parts.append(_members(model, model.membership(some, stars[star[i : i + size]])))
    return torch.cat(parts).view(draws, -1)


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


def membership_types(model: MixtureModel) -> dict[str, np.dtype[Any]]:
    """Types of the columns that :func:`membership_arrays` gives, by name."""
    others = {"n_missing": np.dtype(np.int64), "in_window": np.dtype(np.bool_)}
    return {name: others.get(name, np.dtype(np.float64)) for name in membership_names(model)}


def membership_arrays(columns: dict[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Membership columns as they are written: probabilities in double precision."""
    arrays = {name: values.numpy() for name, values in columns.items()}
    return {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in arrays.items()}


def membership_table(table: Table, columns: dict[str, Tensor]) -> Table:
    """The catalogue's own rows and columns, with the membership columns added; see :func:`set_aside`."""
    out = set_aside(table, columns)
    for name, array in membership_arrays(columns).items():
        out[name] = array
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
    if renamed := names_set_aside(table.colnames, names, path):
        out.rename_columns(list(renamed), list(renamed.values()))
    return out


def names_set_aside(colnames: Sequence[str], names: Iterable[str], path: str | None = None) -> dict[str, str]:
    """New names of the columns of a table that are called like others that are needed; see :func:`set_aside`."""
    label = path or "the table"
    renamed = {name: f"{name}_input" for name in names if name in colnames}
    old, new = list(renamed), list(renamed.values())
    if taken := [name for name in new if name in colnames]:
        raise InputError(f"{label}: its columns {old} are called like results, and {taken} are taken too; rename them.")
    if renamed:
        _log.warning("%s: its columns %s are called like results; they are kept as %s.", label, old, new)
    return renamed
