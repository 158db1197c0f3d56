"""The linear density of a component: the noise of counting is in its band, once."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from small_models import mixture

from stream_mapper.fitted import profile_of
from stream_mapper.inference.density import counting_draws, density, kernel_width, smooth_density

SPAN, COUNT = 100.0, 5000


@pytest.fixture(scope="module")
def positions():
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.concatenate([[0.0], rng.uniform(0, SPAN, COUNT), [SPAN]])).float()


def test_draws_have_the_noise_of_counting(positions):
    """The mean is the density; variance and correlation are those of a Poisson process behind a Gaussian kernel."""
    at = torch.linspace(20, 80, 200)
    profile = profile_of(positions)
    drawn = counting_draws(profile, at, 4000).double().numpy()
    best, width = smooth_density(at, positions).double().numpy(), kernel_width(len(positions), SPAN)
    np.testing.assert_allclose(drawn.mean(0), best, rtol=0.02)
    expected = np.sqrt(best / (2 * width * math.sqrt(math.pi)))
    assert np.mean(drawn.std(0) / expected) == pytest.approx(1, abs=0.03)
    step = round(width / (at[1] - at[0]).item())
    off = drawn - drawn.mean(0)
    correlation = np.mean(off[:, :-step] * off[:, step:]) / np.mean(off**2)
    distance = step * (at[1] - at[0]).item() / width
    assert correlation == pytest.approx(math.exp(-(distance**2) / 4), abs=0.03)
    assert torch.equal(counting_draws(profile, at, 3), counting_draws(profile, at, 3))
    assert drawn.min() >= 0


def test_stars_that_count_for_more_are_noisier(positions):
    """Half as many stars, each for two, have twice the variance."""
    at = torch.linspace(20, 80, 50)
    spread = [
        counting_draws(profile_of(positions, torch.full_like(positions, n)), at, 2000).std(0).mean() for n in (1.0, 2.0)
    ]
    assert (spread[1] / spread[0]).item() == pytest.approx(2.0, rel=0.05)


def test_noise_of_counting_holds_the_truth():
    """The 90 % band of the density of uniform stars holds that which they are drawn from, at 86 to 94 % of places."""
    rng, at, held = np.random.default_rng(1), torch.linspace(5, 95, 91), []
    for seed in range(25):
        stars = torch.from_numpy(rng.uniform(0, SPAN, rng.poisson(2000))).float()
        low, high = counting_draws(profile_of(stars), at, 300, seed).quantile(torch.tensor([0.05, 0.95]), dim=0)
        held.append(((low < 20.0) & (high > 20.0)).float().mean())
    assert 0.86 < torch.stack(held).mean() < 0.94


def test_the_band_of_a_density_has_that_of_the_weight_and_of_the_stars(positions):
    """With a weight that draws leave alone, the band is the weight times that of all stars."""
    model, at = mixture("stream").requires_grad_(False), torch.linspace(10, 90, 30)
    totals = counting_draws(profile_of(positions), at, 200)
    total = smooth_density(at, positions)

    def same(model, index):
        return nullcontext()

    found = density(model, at, total, same, 200, totals=totals)["stream"]
    bare = density(model, at, total, same, 200)["stream"]
    share = totals.quantile(torch.tensor([0.05, 0.95]), dim=0)
    torch.testing.assert_close(found["density_05"], found["weight"] * share[0])
    torch.testing.assert_close(found["density_95"], found["weight"] * share[1])
    torch.testing.assert_close(found["density"], found["weight"] * total)
    torch.testing.assert_close(found["weight_05"], found["weight"])
    torch.testing.assert_close(bare["density_05"], bare["density"])


def test_the_kernel_narrows_with_the_stars():
    assert kernel_width(1e5, 1.0) == pytest.approx(0.004)
    assert kernel_width(1.0, 1.0) == pytest.approx(1 / 25)
    assert kernel_width(1e9, 1.0) == pytest.approx(1 / 400)
