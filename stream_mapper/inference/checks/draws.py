"""Stars drawn from a fit at the places of others, each with what was measured of it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.inference.checks.base import Evidence
from stream_mapper.inference.checks.terms import Terms, terms
from stream_mapper.models.base import Model, Params, rows_of, scope
from stream_mapper.models.mixture import MixtureModel

_STRETCHES = 32  # of phi1, the shortest that is set aside where a component cannot be drawn


def drawn(evidence: Evidence, fitted: Terms, seed: int) -> Terms:
    """One draw for each fitted star: the same place, the same errors and the same coordinates missing."""
    stars = fitted.stars.select(list(dict.fromkeys(fitted.model.columns)))
    return terms(evidence, stars.with_columns(drawn_columns(fitted.model, fitted.params, stars, seed)))


@torch.no_grad()
def drawn_columns(model: MixtureModel, params: Params, stars: Data, seed: int) -> dict[str, Tensor]:
    """One draw of each star's coordinates, (N,) by name, NaN where the star's is missing.

    Each star is drawn from the one component that a draw of the weights gives it. Where that is outside its own window
    the star is its own draw, and says nothing.

    Arguments:
        model: The mixture.
        params: Its parameters for these stars.
        stars: The stars, N.
        seed: Seed of the draw.
    """
    given = filled(model, stars)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        which = torch.multinomial(weights_of(model, params, len(given)).cpu(), 1)[:, 0].to(given.device)
        columns = {name: given[name].clone() for name in model.coord_names}
        for i, (q, component) in enumerate(model.components.items()):
            rows = (which == i).nonzero()[:, 0]
            along = given[model.indep_coord_names[0]][rows].argsort()
            for some, values in _simulated(component, scope(params, q), given, rows[along]):
                for name, column in columns.items():
                    column[some] = values[name].to(column)
    return {name: torch.where(stars.where[name], column, torch.nan) for name, column in columns.items()}


def _simulated(
    component: Model, params: Params, given: Data, rows: Tensor, least: int = 0
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Draws of the stars in ``rows``, in parts, without the stretches of phi1 where the component cannot be drawn."""
    if len(rows) == 0:
        return
    least = least or 1 + len(rows) // _STRETCHES
    try:
        yield rows, component.simulate(*rows_of(params, given, rows))
    except InputError:
        if len(rows) > least:
            for half in rows.chunk(2):
                yield from _simulated(component, params, given, half, least)


def weights_of(model: MixtureModel, params: Params, size: int) -> Tensor:
    """Weights of all components, shape (N, K)."""
    return torch.stack([params[f"{q}.ln-weight"].expand(size) for q in model.components], -1).exp()


def filled(model: MixtureModel, stars: Data) -> Data:
    """The stars with a typical error where one is missing: what it makes is marked as missing afterwards."""
    names = [n for n in model.columns if n not in model.coord_names and not bool(stars.where[n].all())]
    typical = {n: stars[n][stars.where[n]].median() for n in names if bool(stars.where[n].any())}
    whole = {n: torch.where(stars.where[n], stars[n], v) for n, v in typical.items()}
    return stars.with_columns(whole) if whole else stars
