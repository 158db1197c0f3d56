"""Gaps and peaks of a component: found where they are, and at the stated rate where there are none."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from small_models import mixture, phi2_at
from torch.func import jacfwd

import stream_mapper as sml
from stream_mapper.inference.features.component import features
from stream_mapper.inference.features.likelihood import BinnedStars
from stream_mapper.inference.features.scan import p_above
from stream_mapper.inference.features.search import Feature, find_features, sample
from stream_mapper.inference.features.shape import KNOTS, Shape, smooth_fit
from stream_mapper.models.known import Batch
from stream_mapper.results.figures import figures
from stream_mapper.results.tables import features_table

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "features"


@pytest.fixture(scope="module")
def experiment():
    """The modules of experiments/features."""
    sys.path.insert(0, str(EXPERIMENT))
    import rate
    import simulated

    yield rate, simulated
    sys.path.remove(str(EXPERIMENT))


def binned(n=4000, sure=False, seed=0):
    """Stars over 0..10, half of them of a component; what each says is a normal number, or all."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.linspace(0, 10, n, dtype=torch.float64)
    of_it = torch.rand(n, generator=generator) < 0.5
    x = torch.randn(n, generator=generator, dtype=torch.float64) + 1.5 * of_it
    ln_ratio = torch.where(of_it, 40.0, -40.0).double() if sure else 1.5 * x - 1.5**2 / 2
    return BinnedStars.of(places, ln_ratio, torch.zeros(n)), places, ln_ratio


def test_derivatives_of_the_odds():
    shape = Shape(torch.linspace(0, 100, 50, dtype=torch.float64), 20.0, 80.0, features=2)
    noise = torch.randn(len(shape.centre), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theta = shape.centre + 0.3 * noise
    torch.testing.assert_close(shape.slopes(theta), jacfwd(shape)(theta))
    assert shape.slopes(theta).abs().amax(0)[: KNOTS + 3].max() > 0.5


def test_a_feature_multiplies_the_component():
    """1 - depth at the centre, and exp(-1/2) of the depth at one width."""
    shape = Shape(torch.tensor([10.0, 13.0, 50.0], dtype=torch.float64), 0.0, 100.0, features=1)
    theta = shape.centre.clone()
    theta[-3:] = torch.tensor([0.25, 10.0, 3.0]).log() * torch.tensor([1, 0, 1]) + torch.tensor([0, 10.0, 0])
    left = shape.left(theta)[0].exp()
    np.testing.assert_allclose(left, [0.25, 1 - 0.75 * np.exp(-0.5), 1.0], atol=1e-6)


def test_likelihood_of_odds_is_that_of_the_mixture():
    """By the densities of the stars one by one: f p + (1 - f) q over q."""
    stars, places, ln_ratio = binned()
    ln_odds = torch.sin(stars.places)
    width = stars.places[1] - stars.places[0]
    rows = ((places - stars.places[0]) / width).round().long().clamp(0, len(stars.places) - 1)
    f = ln_odds.sigmoid()[rows]
    truth = (f * ln_ratio.exp() + 1 - f).log().sum()
    torch.testing.assert_close(stars.ln_likelihood(ln_odds), truth, rtol=2e-3, atol=2.0)
    slope = torch.autograd.functional.jacobian(stars.ln_likelihood, ln_odds)
    torch.testing.assert_close(stars.score(ln_odds), slope)


def test_information_is_the_variance_of_the_score():
    sure, *_ = binned(sure=True)
    odds = torch.full_like(sure.places, -1.0)
    f = odds.sigmoid()
    torch.testing.assert_close(sure.information(torch.zeros_like(odds), 2.0), sure.counts / 4, rtol=1e-3, atol=1e-3)
    drawn = sure.simulated_scores(odds, 3000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.var(0).sum(), (sure.counts * f * (1 - f)).sum(), rtol=0.05, atol=0)
    vague, *_ = binned()
    level = torch.zeros_like(odds)
    drawn = vague.simulated_scores(level, 3000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.var(0).sum(), vague.information(level, 2.0).sum(), rtol=0.1, atol=0)
    assert drawn.var(0).sum() < 0.5 * (vague.counts / 4).sum()


@pytest.mark.parametrize("z", [2.0, 3.5, 5.0])
def test_chance_of_a_maximum_of_gaussians(z):
    """Of 200 independent ones, exactly: also far beyond the largest of the draws."""
    maxima = torch.randn(2000, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64).amax(-1)
    exact = -np.expm1(200 * stats.norm.logcdf(z))
    assert p_above(z, maxima) == pytest.approx(exact, rel=0.15 if z < 4 else 1.5)


def test_gaps_and_a_peak_are_found_and_measured(experiment):
    """The truth is within twice the 90 % band; nothing else is listed."""
    truth = [(38.0, 1.0, 0.9), (50.0, 0.8, -1.5), (62.0, 2.0, 0.8)]
    stream = experiment[1].Stream(1500, contamination=3, gaps=truth)
    found = find_features(*stream.simulate(3), false_alarm=0.01)
    assert [feature.kind for feature in found] == ["gap", "peak", "gap"]
    per_degree = 1500 / 50
    for feature, (centre, width, depth) in zip(found, truth, strict=True):
        missing = per_degree * abs(depth) * width * np.sqrt(2 * np.pi)
        for name, value in {"phi1": centre, "width": width, "depth": abs(depth), "stars": missing}.items():
            low, best, high = (getattr(feature, name + ending) for ending in ("_05", "", "_95"))
            margin = 0.5 * (high - low)
            assert low - margin < value < high + margin, (name, value, feature)
            assert low <= best <= high
        assert feature.z < -5 if feature.kind == "gap" else feature.z > 5
        assert feature.p_chance < 1e-3
    assert find_features(*stream.simulate(3), false_alarm=0.01) == found


@pytest.mark.parametrize("ends", ["sharp", "soft", "none"])
def test_ends_and_slopes_are_no_features(ends, experiment):
    for density in ("gradient", "hump"):
        assert find_features(*experiment[1].Stream(600, density=density, ends=ends).simulate(1)) == []


def test_too_few_members_have_no_features():
    assert find_features(torch.linspace(0, 1, 50), torch.full((50,), -9.0), torch.zeros(50)) == []
    with pytest.raises(sml.InputError, match=r"between 0 and 1; got 1.0"):
        find_features(torch.zeros(3), torch.zeros(3), torch.zeros(3), false_alarm=1.0)


def test_draws_of_a_smooth_curve_have_its_precision(experiment):
    """Of many stars the posterior is nearly normal, with the inverse of the precision as covariance."""
    fit = smooth_fit(BinnedStars.of(*experiment[1].Stream(4000, contamination=2).simulate(0)))
    inside = (fit.shape.places > 35) & (fit.shape.places < 65)
    spread = fit.shape(sample(fit, torch.Generator().manual_seed(0))).std(0)[inside]
    slopes = fit.slopes[inside]
    expected = (slopes @ torch.linalg.inv(fit.precision(fit.slopes)) * slopes).sum(-1).sqrt()
    torch.testing.assert_close(spread / expected, torch.ones_like(spread), atol=0.25, rtol=0)


def test_features_of_a_mixture_are_those_of_its_odds(monkeypatch):
    """The logit of the membership is the sum of what is handed on, and the odds are those of the weight."""
    handed = {}
    monkeypatch.setattr(
        "stream_mapper.inference.features.component.find_features",
        lambda places, ln_ratio, ln_odds, *_, **__: handed.setdefault(len(handed), (places, ln_ratio, ln_odds)) and [],
    )
    model, stars = mixture("a", "b").requires_grad_(False), phi2_at(-1.0, 0.2, 0.9, 9.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(-0.7)
    assert features(model, Batch(stars), 0.01) == {"a": [], "b": []}
    inside = stars[:3]
    params = model(inside)
    p = model.membership(params, inside)[:, 1].double()
    places, ln_ratio, ln_odds = handed[1]
    torch.testing.assert_close(places, inside["phi1"])
    torch.testing.assert_close(ln_ratio + ln_odds, p.logit(), rtol=1e-4, atol=1e-4)
    weight = params["b.ln-weight"].exp().double().expand(3)
    torch.testing.assert_close(ln_odds, weight.logit(), rtol=1e-4, atol=1e-4)


def feature(**other):
    numbers = dict.fromkeys([f"{n}{e}" for n in ("phi1", "width", "depth", "stars") for e in ("", "_05", "_95")], 0.5)
    return Feature(**{"kind": "gap", "z": -4.0, "p_chance": 1e-4} | numbers | other)


def test_a_table_of_features_has_units_with_and_without_rows():
    full = features_table("phi1", {"stream": [feature()], "spur": [feature(kind="peak", phi1=3.0)]})
    assert list(full["component"]) == ["stream", "spur"]
    assert list(full["kind"]) == ["gap", "peak"]
    for table in (full, features_table("phi1", {"stream": []})):
        assert table.colnames[:5] == ["component", "kind", "phi1", "phi1_05", "phi1_95"]
        assert str(table["width_95"].unit) == "deg"
        assert str(table["depth"].unit) == str(table["stars_05"].unit) == ""
        assert table["z"].dtype.kind == "f"
    assert features_table("s", {"stream": [feature()]}).colnames[2:4] == ["s", "s_05"]


def test_the_figure_of_the_density_marks_them():
    phi1 = np.linspace(-10, 10, 20)
    table = {"component": ["stream"] * 20, "phi1": phi1, "supported": [True] * 20, "total_density": [9.0] * 20}
    for name in ("weight", "density"):
        table |= {name: np.ones(20), f"{name}_05": np.ones(20), f"{name}_95": np.ones(20)}
    table = sml.catalog.to_table(table)
    marks = features_table("phi1", {"stream": [feature(phi1=2.0, width=1.5)]})
    for found in (marks, marks[:0]):
        axes = dict(figures({"phi1": phi1}, np.ones(20), table, table, features=found))["density"].axes[0]
        assert [text.get_text() for text in axes.texts] == list(found["kind"])
    (band,) = dict(figures({"phi1": phi1}, np.ones(20), table, table, features=marks))["density"].axes[0].patches
    assert band.get_extents().transformed(axes.transData.inverted()).x0 == pytest.approx(0.5)


def test_the_table_of_false_alarms(experiment, tmp_path, monkeypatch, capsys):
    """Two streams, made once: the second call finds them in the folder."""
    rate, _ = experiment
    for name, values in {"STARS": (60,), "CONTAMINATION": (4,), "DENSITIES": ("flat",), "ENDS": ("none",)}.items():
        monkeypatch.setattr(rate, name, values)
    rate.main(["--folder", str(tmp_path), "--seeds", "2"])
    first = capsys.readouterr().out
    assert "| all | 2 |" in first
    monkeypatch.delattr(rate, "find_features")
    rate.main(["--folder", str(tmp_path), "--seeds", "2"])
    assert capsys.readouterr().out == first
