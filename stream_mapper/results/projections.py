"""Stars beside what the fit draws, along the stream, coordinate by coordinate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stream_mapper.data import Data
from stream_mapper.inference.checks.draws import drawn_columns
from stream_mapper.models.mixture import MixtureModel

Array = NDArray[np.float64]

BINS = (60, 40)  # along the stream and in the coordinate
_RANGE = (0.2, 99.8)  # percentiles of a coordinate that are shown
_FEWEST = 100  # measured stars of which a map says something
_DRAWN, _MOST = 20_000, 8  # stars that are drawn, about, and copies of each at most


@dataclass(frozen=True)
class Projection:
    """Counts of stars in a coordinate along the stream, and of those that the fit draws.

    Attributes:
        along: Name of the coordinate along the stream.
        name: Name of the other.
        edges: Edges of the bins in each of the two, (B + 1,) and (C + 1,).
        stars: Number of stars, (B, C).
        expected: Mean number of a draw of as many stars, (B, C).
        draws: Number of draws, each as noisy as the stars.
    """

    along: str
    name: str
    edges: tuple[Array, Array]
    stars: Array
    expected: Array
    draws: int

    @property
    def residuals(self) -> Array:
        """Stars less those expected, in units of the noise that the two have if they are of one law, (B, C)."""
        together = (self.stars + self.draws * self.expected) / (1 + self.draws)
        return (self.stars - self.expected) / np.sqrt(np.maximum(together, 1) * (1 + 1 / self.draws))


def projections(model: MixtureModel, stars: Data, seed: int = 0) -> Iterator[Projection]:
    """A projection for each coordinate of a fit that enough stars have.

    Each star is drawn at its place, with its errors and with the same coordinates missing, so that the model is
    averaged over the errors of the stars.

    Arguments:
        model: The fitted mixture.
        stars: The stars inside its window, N.
        seed: Seed of the draws.
    """
    along, draws = model.indep_coord_names[0], max(1, min(_MOST, _DRAWN // max(len(stars), 1)))
    place = _known(stars, along)
    drawn = drawn_stars(model, stars, draws, seed)
    for name in model.coord_names:
        values = _known(stars, name)
        if np.isfinite(values).sum() >= _FEWEST:
            known = values[np.isfinite(values)]
            low, high = (float(edge) for edge in np.percentile(known, _RANGE))
            edges = np.linspace(place.min(), place.max(), BINS[0] + 1), np.linspace(low, high, BINS[1] + 1)
            of_draws = np.histogram2d(np.tile(place, draws), drawn[name], edges)[0] / draws
            yield Projection(along, name, edges, np.histogram2d(place, values, edges)[0], of_draws, draws)


@torch.no_grad()
def drawn_stars(model: MixtureModel, stars: Data, draws: int, seed: int) -> dict[str, Array]:
    """Coordinates of draws of the stars, one draw after the other, each (draws N,), NaN where the star's is missing."""
    device = next(model.parameters()).device
    given = stars.select(list(dict.fromkeys(model.columns))).to(device)
    given = given[torch.arange(len(stars), device=device).repeat(draws)]
    columns = drawn_columns(model, model(given), given, seed)
    return {name: column.double().cpu().numpy() for name, column in columns.items()}


def _known(stars: Data, name: str) -> Array:
    """A coordinate, NaN where not measured, (N,)."""
    return np.where(stars.where[name].cpu(), stars[name].double().cpu(), np.nan)
