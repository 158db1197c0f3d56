"""The track and the density of each stream component along phi1."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from astropy.table import Table, vstack
from torch import Tensor

from stream_mapper.catalog import with_units
from stream_mapper.data import Data
from stream_mapper.models import MixtureModel, scope
from stream_mapper.models.base import Params
from stream_mapper.models.members import Members, alone, mean_over
from stream_mapper.models.mixture import BACKGROUND
from stream_mapper.results.posterior import Draw, over_draws, quantiles

_GRID = 256
_FAINTEST = 0.01  # share of its largest weight below which a component is not there


def phi1_grid(phi1: Tensor, size: int = _GRID) -> Tensor:
    """Evenly spaced positions over the range of the stars [deg], shape (size,)."""
    return torch.linspace(phi1.min().item(), phi1.max().item(), size)


@torch.no_grad()
def track_table(
    model: MixtureModel, phi1: Tensor, draw: Draw | None = None, draws: int = 200, members: Members = alone
) -> Table:
    """Centre and intrinsic width of each component in each coordinate at each phi1.

    Arguments:
        model: The fitted mixture.
        phi1: Positions [deg], shape (G,).
        draw: Draws of the parameter functions; without it the quantiles are NaN.
        draws: Number of draws.
        members: The members of an ensemble; their mean is given.

    Returns:
        ``component, phi1, weight, supported`` (see :func:`supported`; the track means nothing elsewhere), and for every
        coordinate c, the distance included, ``c``, ``c_sigma``, ``c_05`` and ``c_95``; the quantiles are of the centre.
    """
    table = _component_table(model, phi1, lambda params, q: _track(scope(params, q)), draw, draws, members)
    grid = _grid(model, phi1)
    weights = [
        mean_over(members, model, lambda q=q: model(grid)[f"{q}.ln-weight"].exp()).cpu()  # type: ignore[misc]
        for q in _streams(model)
    ]
    table.add_column(torch.cat(weights).numpy(), name="weight", index=2)
    table.add_column(torch.cat([supported(weight) for weight in weights]).numpy(), name="supported", index=3)
    return table


def supported(weight: Tensor) -> Tensor:
    """Where a component is there at all: its weight is above a hundredth of its largest, shape of ``weight``."""
    return weight > _FAINTEST * weight.max()


@torch.no_grad()
def density_table(
    model: MixtureModel,
    phi1: Tensor,
    stars_phi1: Tensor,
    draw: Draw | None = None,
    draws: int = 200,
    members: Members = alone,
) -> Table:
    """Weight and linear density of each component at each phi1.

    The density is n_q = f_q n_tot, with n_tot the density of the stars in phi1, smoothed by a Gaussian of a hundredth
    of their range. The quantiles are those of the weight: the noise of n_tot is not in them.

    Arguments:
        model: The fitted mixture.
        phi1: Positions [deg], shape (G,).
        stars_phi1: The stars' positions [deg], shape (N,).
        draw: Draws of the parameter functions; without it the quantiles are NaN.
        draws: Number of draws.
        members: The members of an ensemble; their mean is given.

    Returns:
        ``component, phi1, weight, weight_05, weight_95, density, density_05, density_95, total_density``; densities in
        stars per deg.
    """
    total = smooth_density(phi1, stars_phi1)

    def columns(params: Params, q: str) -> dict[str, Tensor]:
        weight = params[f"{q}.ln-weight"].exp().cpu()
        return {"weight": weight, "density": weight * total}

    table = _component_table(model, phi1, columns, draw, draws, members)
    table["total_density"] = total.repeat(len(table) // len(phi1)).numpy()
    return with_units(table, {name: "1 / deg" for name in table.colnames if "density" in name})


def smooth_density(at: Tensor, positions: Tensor) -> Tensor:
    """Number of stars per unit of position, by a Gaussian kernel reflected at both ends, shape of ``at``."""
    low, high = positions.min(), positions.max()
    width = (high - low).clamp(min=1e-6) / 100
    mirrored = torch.cat([positions, 2 * low - positions, 2 * high - positions])
    kernels = [(-0.5 * ((x - mirrored) / width).square()).exp().sum() for x in at]
    return torch.stack(kernels) / (width * math.sqrt(2 * math.pi))


def _component_table(
    model: MixtureModel,
    phi1: Tensor,
    columns: Callable[[Params, str], dict[str, Tensor]],
    draw: Draw | None,
    draws: int,
    members: Members,
) -> Table:
    grid = _grid(model, phi1)
    parts = []
    for q in _streams(model):
        values = partial(_stacked, model, grid, columns, q)
        best = dict(zip(columns(model(grid), q), mean_over(members, model, values), strict=True))
        spread = None if draw is None else quantiles(over_draws(model, draw, draws, values))
        parts.append(_one_table(q, phi1, best, spread))
    return vstack(parts, metadata_conflicts="silent")


def _grid(model: MixtureModel, phi1: Tensor) -> Data:
    return Data({"phi1": phi1.to(next(model.parameters()).device)})


def _streams(model: MixtureModel) -> list[str]:
    """Every component but the background."""
    return [q for q in model.components if q != BACKGROUND]


def _stacked(model: MixtureModel, grid: Data, columns: Callable[[Params, str], dict[str, Tensor]], q: str) -> Tensor:
    """The columns of one component, (C, G)."""
    return torch.stack(list(columns(model(grid), q).values()))


def _one_table(component: str, phi1: Tensor, best: dict[str, Tensor], spread: Tensor | None) -> Table:
    table = Table({"component": [component] * len(phi1), "phi1": phi1.numpy()})
    for i, (name, values) in enumerate(best.items()):
        table[name] = values.cpu().numpy()
        if not name.endswith("_sigma"):
            low, high = (torch.full_like(values, torch.nan),) * 2 if spread is None else (spread[0, i], spread[2, i])
            table[f"{name}_05"], table[f"{name}_95"] = low.cpu().numpy(), high.cpu().numpy()
    return with_units(table)


def _track(params: Params) -> dict[str, Tensor]:
    """Centre and width of every coordinate, and of the distance where there is a modulus."""
    out: dict[str, Tensor] = {}
    for name, mu in params.items():
        if name.endswith(".mu"):
            stem = name.removesuffix(".mu")
            short = stem.split(".")[-1]
            coord = stem if short in out else short  # a nested mixture has a coordinate more than once
            out[coord], out[f"{coord}_sigma"] = mu, params[f"{stem}.ln-sigma"].exp()
    if "distmod" in out:
        out["distance"] = 10 ** (out["distmod"] / 5 - 2)
        out["distance_sigma"] = out["distance"] * math.log(10) / 5 * out["distmod_sigma"]
    return out
