"""Streams of random truth: the stars are those of the truth, and the oracle's membership is calibrated."""

import numpy as np
import pytest
import torch
from scipy import stats

from stream_mapper.errors import InputError
from stream_mapper.mock import Dip, RandomMock, StreamTruth

LEAST_P = 1e-3  # of a test's statistic; the seeds are fixed
TRACK = {"phi2": (0.3, 0.5, -0.8), "pm_phi1": (-6.0, 0.4), "pm_phi2": (-2.0, 0.2), "distmod": (14.8, 0.3)}
TRUTH = StreamTruth(
    TRACK, 1500.0, (-1.6, 0.3), 0.05, -25.0, 30.0, 0.5, 2.0, (Dip(-8.0, 4.0, 1.0, hard=True), Dip(10.0, 1.5, 0.8)), 0.3
)


@pytest.fixture(scope="module", params=["photometric", "survey"])
def drawn(request):
    """A mock and its stars."""
    mock = RandomMock(5, request.param, 3000, TRUTH)
    return mock, mock.simulate()


def of_stream(stars):
    return stars["true_component"] == "stream"


def test_the_number_of_stars_along_the_stream_is_that_of_the_truth(drawn):
    mock, stars = drawn
    places = np.linspace(-40, 40, 16_001)
    density = mock.truth_at(places.tolist())["density"].numpy()
    edges = np.arange(-40, 40.5, 2.0)
    total = np.interp(edges, places, np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * 0.005)]))
    assert total[-1] == pytest.approx(1500, rel=2e-3)
    found, expected = np.histogram(stars["phi1"][of_stream(stars)], edges)[0], np.diff(total)
    used = expected > 3
    z2 = ((found - expected)[used] ** 2 / expected[used]).sum()
    assert stats.chi2(used.sum()).sf(z2) > LEAST_P
    assert found[~used].sum() < 10


def test_a_hard_gap_of_depth_one_is_empty_and_the_ends_are_where_half_are_left():
    at = torch.tensor([-9.9, -8.0, -6.1, -10.1, -25.0, -20.0], dtype=torch.float64)
    number = TRUTH.number(at) / (0.3 * at / 40 - 0.3).exp()
    assert (number[:3] == 0).all()
    assert number[4] == pytest.approx(0.5, abs=1e-3)
    assert number[[3, 5]] == pytest.approx(1.0, abs=1e-3)


def test_stars_lie_about_the_track_with_the_width_of_the_truth(drawn):
    mock, stars = drawn
    rows = of_stream(stars)
    pull = (stars["phi2"] - stars["true_phi2"])[rows] / stars["true_phi2_sigma"][rows]
    assert stats.kstest(pull, stats.norm.cdf).pvalue > LEAST_P
    assert stats.kstest(1.3 * pull, stats.norm.cdf).pvalue < LEAST_P
    narrow, wide = (np.exp(-1.6 + 0.3 * u) for u in (-1, 1))
    assert mock.truth_at([-40.0, 40.0])["phi2_sigma"].numpy() == pytest.approx([narrow, wide])
    if mock.kind == "survey":
        seen = rows & np.isfinite(stars["pm_phi1"])
        error = np.hypot(stars["pm_phi1_err"], 0.05)[seen]
        pull = (stars["pm_phi1"] - stars["true_pm_phi1"])[seen] / error
        assert stats.kstest(pull, stats.norm.cdf).pvalue > LEAST_P


def test_the_oracle_is_calibrated_with_what_is_measured(drawn):
    _, stars = drawn
    p, member = stars["true_p_member"], of_stream(stars)
    bins = np.digitize(p, [0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1 + 1e-9])
    found, expected, variance = (np.bincount(bins, weights=w) for w in (member, p, p * (1 - p)))
    used = variance > 1
    assert stats.chi2(used.sum()).sf((((found - expected) ** 2)[used] / variance[used]).sum()) > LEAST_P


def test_a_photometric_survey_has_no_proper_motions(drawn):
    mock, stars = drawn
    assert ("pm_phi1" in stars) == (mock.kind == "survey")
    assert np.isnan(stars["g"]).any() == (mock.kind == "survey")
    assert 50 < ((stars["true_p_member"] > 0.01) & (stars["true_p_member"] < 0.99)).sum() < 2000


def test_truth_is_drawn_within_its_limits():
    truths = [StreamTruth.drawn(seed) for seed in range(200)]
    phi1 = torch.linspace(-40, 40, 801, dtype=torch.float64)
    for truth in truths:
        there = (phi1 >= truth.begin) & (phi1 <= truth.end)
        centre, width = truth.centre(phi1[there]), truth.width(phi1[there])
        assert centre["phi2"].abs().max() < 3.3
        assert width.min() > 0.04
        assert width.max() < 0.42
        assert truth.number(phi1).min() >= 0
        assert truth.number(phi1).max() <= 1
    richness = np.array([truth.expected for truth in truths])
    assert stats.kstest(np.log(richness / 30) / np.log(2000 / 30), stats.uniform.cdf).pvalue > LEAST_P
    assert {len(truth.gaps) for truth in truths} == {0, 1, 2, 3, 4}
    assert {np.isfinite([truth.begin, truth.end]).sum() for truth in truths} == {0, 1, 2}


def test_a_seed_gives_its_stars_every_time():
    mock = RandomMock(3, n_background=200)
    first, again, other = mock.simulate(), mock.simulate(), RandomMock(4, n_background=200).simulate()
    assert all(np.array_equal(first[name], again[name], equal_nan=name != "true_component") for name in first)
    assert not np.isin(first["phi1"], other["phi1"]).any()


def test_a_field_may_have_no_stream():
    stars = RandomMock(0, truth=StreamTruth.drawn(0, (1e-12, 1e-12)), n_background=300).simulate()
    assert (stars["true_component"] == "background").all()
    assert stars["true_p_member"].max() < 1e-6


def test_what_cannot_be_simulated_is_refused():
    with pytest.raises(InputError, match=r"photometric.*survey.*'radio'"):
        RandomMock(kind="radio")
    with pytest.raises(InputError, match="n_background"):
        RandomMock(n_background=0)
