"""Residual maps show what a fit does not have, and nothing where it has all."""

import numpy as np
import pytest
import torch
from small_models import WINDOW, mixture

from stream_mapper import Data
from stream_mapper.nn import Constant
from stream_mapper.results.projections import drawn_stars, projections
from stream_mapper.results.residual_figures import memberships, residual_maps

N = 20_000


@pytest.fixture(scope="module")
def model():
    """A narrow stream at phi2 = 0 on an even field, with three stars of the field for one of it."""
    made = mixture("stream", net=Constant(1)).eval()
    with torch.no_grad():
        for value in made.parameters():
            value.copy_(torch.tensor([0.0, -1.5]) if value.numel() == 2 else torch.tensor([-1.4]))
    return made


@pytest.fixture(scope="module")
def stars(model):
    """Stars of the model itself."""
    return model.sample(Data({"phi1": torch.rand(N, generator=torch.Generator().manual_seed(0)) * 40 - 20}), 1)


def test_of_a_right_fit_the_map_is_noise(model, stars):
    (found,) = projections(model, stars)
    assert found.stars.sum() == pytest.approx(0.996 * N, abs=2)
    busy = found.expected > 3
    assert busy.mean() > 0.5
    assert (found.residuals[busy] ** 2).mean() == pytest.approx(1, abs=0.15)
    assert np.abs(found.residuals).max() < 5.5


def test_a_spur_that_is_not_modelled_is_seen_where_it_is(model, stars):
    generator = torch.Generator().manual_seed(2)
    phi1 = torch.rand(300, generator=generator) * 10
    spur = Data({"phi1": phi1, "phi2": 1.5 + 0.05 * torch.randn(300, generator=generator)})
    both = Data({name: torch.cat([stars[name], spur[name]]) for name in ("phi1", "phi2")})
    (found,) = projections(model, both)
    x, y = (0.5 * (edges[1:] + edges[:-1]) for edges in found.edges)
    along, across = (x > 0.5) & (x < 9.5), np.abs(y - 1.5) < 0.07
    assert found.residuals[np.ix_(along, across)].mean() > 1.5
    assert np.abs(found.residuals[np.ix_(~along, across)].mean()) < 0.5
    assert np.abs(found.residuals[np.ix_(along, np.abs(y - 1.5) > 0.3)].mean()) < 0.2


def test_draws_lack_what_the_stars_lack_and_leave_the_generator_alone(model, stars):
    phi2 = torch.where(torch.arange(N) % 4 == 0, torch.nan, stars["phi2"])
    state = torch.get_rng_state()
    drawn = drawn_stars(model, stars.with_columns({"phi2": phi2}), 2, seed=0)
    assert drawn["phi2"].shape == (2 * N,)
    np.testing.assert_array_equal(np.isnan(drawn["phi2"]), np.tile(phi2.isnan().numpy(), 2))
    assert torch.equal(torch.get_rng_state(), state)
    inside = drawn["phi2"][np.isfinite(drawn["phi2"])]
    assert inside.min() >= WINDOW["phi2"][0]
    assert inside.max() <= WINDOW["phi2"][1]


def test_figure_has_a_row_a_coordinate(model, stars, tmp_path):
    maps = list(projections(model, stars))
    figure = residual_maps(maps)
    panels = [axes.get_title() for axes in figure.axes[:3]]
    assert panels == ["stars", "fit", "(stars - fit) / noise"]
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), maps[0].residuals.T)
    figure.savefig(tmp_path / "residuals.png")


def test_too_few_stars_have_no_map(model, stars):
    assert list(projections(model, stars[:50])) == []


def test_curves_of_the_memberships_are_counts_and_contamination():
    p = np.array([0.1, 0.5, 0.9, np.nan])
    right = memberships(p).axes[1]
    above, others = (line.get_ydata() for line in right.get_lines())
    np.testing.assert_array_equal(above, [3, 2, 1])
    np.testing.assert_allclose(others, [1.5, 0.6, 0.1])
