"""The number of members of a component and its band, and where it begins and ends."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from scipy import stats
from small_models import uniform
from torch import nn

import stream_mapper as sml
from stream_mapper.inference.draws import quantiles
from stream_mapper.inference.ends import ends
from stream_mapper.inference.members import counts, members, representatives
from stream_mapper.models import Batch
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameter, ModelParameters
from stream_mapper.quantiles import QUANTILE_NAMES, QUANTILES
from stream_mapper.results.metrics import membership_metrics
from stream_mapper.results.tables import members_table

RNG = np.random.default_rng(3)
ODDS = {
    "many small ones": np.full(4000, 0.001),
    "as many of each": RNG.uniform(0, 1, 300),
    "mostly sure": RNG.beta(8, 1, 150),
    "three": np.array([0.3, 0.5, 0.9]),
    "sure ones": np.ones(40),
    "none": np.zeros(40),
}


def exact(odds):
    """Law of the number of successes of trials of these odds: the convolution of theirs."""
    law = np.ones(1)
    for p in odds:
        law = np.convolve(law, [1 - p, p])
    return law


def quantiles_of(law):
    return np.searchsorted(np.cumsum(law), np.array(QUANTILES) - 1e-9)


@pytest.mark.parametrize("odds", ODDS.values(), ids=ODDS.keys())
def test_counts_are_those_of_trials_of_these_odds(odds):
    p = torch.from_numpy(odds)
    drawn = counts(p.sum().view(1, 1), (p * (1 - p)).sum().view(1, 1), each=20_000)
    assert drawn.mean().item() == pytest.approx(odds.sum(), abs=0.15)
    assert np.abs(quantiles(drawn)[:, 0].numpy() - quantiles_of(exact(odds))).max() <= 1


def test_the_test_of_counts_can_fail():
    """Counts without the noise of each star are far from the law."""
    law = quantiles_of(exact(ODDS["as many of each"]))
    assert np.ptp(law) > 15
    assert np.abs(law - ODDS["as many of each"].sum()).max() > 5


def even(*names, hooks=(), **kwargs):
    """Components of one and the same density, so that the membership of every star is the weight."""
    weights = ModelParameters({f"{name}.ln-weight": ModelParameter() for name in names})
    components = {name: uniform("phi2") for name in (*names, "background")}
    return sml.MixtureModel(
        components, net=Constant(len(names)), params=weights, unpack_params_hooks=hooks, **kwargs
    ).eval()


def stars(n):
    places = torch.linspace(-5, 5, n)
    return Batch(sml.Data({"phi1": places, "phi2": torch.full_like(places, 0.5)}))


def set_weights(model, *weights):
    model.weights.net.value = nn.Parameter(torch.tensor(weights).log())


def drawn_from(values):
    """Draws of which each has the next of these weights, (D, Q)."""

    @contextmanager
    def draw(model, index):
        before = model.weights.net.value
        set_weights(model, *values[index])
        yield
        model.weights.net.value = before

    return draw


@pytest.mark.parametrize(("n", "weight"), [(300, 0.3), (40_000, 0.002)], ids=["all", "some for all"])
def test_the_band_is_that_of_the_true_number(n, weight):
    """Of stars of one membership it is a mixture of binomial laws, one a draw of the weight."""
    model, drawn = even("stream"), weight * np.exp(0.1 * RNG.normal(size=64))
    set_weights(model, weight)
    p = torch.full((n, 1), weight)
    found = members(model, stars(n), p, drawn_from(drawn[:, None].tolist()), 64)["stream"]
    law = np.mean([stats.binom.pmf(np.arange(n + 1), n, w) for w in drawn], axis=0)
    assert found["members"].item() == pytest.approx(n * weight, rel=1e-5)
    bands = [found[f"members_{q}"].item() for q in QUANTILE_NAMES]
    assert np.abs(bands - quantiles_of(law)).max() <= 1.5
    alone = stats.binom.ppf([0.05, 0.95], n, weight)
    assert bands[-1] - bands[0] > np.ptp(alone) + 2


def test_of_several_components_there_is_a_row_of_all():
    """What is uncertain between two components is sure of both."""
    model, p = even("stream", "spur"), torch.tensor([[0.4, 0.5]]).expand(500, 2)
    set_weights(model, 0.4, 0.5)
    found = members(model, stars(500), p, drawn_from([[0.4, 0.5]] * 8), 8)
    assert list(found) == ["stream", "spur", "member"]
    widths = {name: (one["members_95"] - one["members_05"]).item() for name, one in found.items()}
    for name, share in {"stream": 0.4, "spur": 0.5, "member": 0.9}.items():
        assert widths[name] == pytest.approx(np.ptp(stats.binom.ppf([0.05, 0.95], 500, share)), abs=2), name
    table = members_table("phi1", found, {})
    assert table["component"].tolist() == ["stream", "spur", "member"]
    metrics = membership_metrics({"p_member": p.sum(1).numpy(), "in_window": np.ones(500)}, table)
    assert metrics["expected_members_95"] == found["member"]["members_95"].item()


def test_without_draws_there_is_no_band():
    found = members(even("stream"), stars(10), torch.full((10, 1), 0.2))
    assert found["stream"]["members"].item() == pytest.approx(2)
    assert all(found["stream"][f"members_{q}"].isnan().all() for q in QUANTILE_NAMES)
    table = members_table("phi1", found, {})
    assert table["component"].tolist() == ["stream"]
    assert "expected_members_05" not in membership_metrics({"p_member": np.ones(1), "in_window": np.ones(1)}, table)


def test_few_stars_stand_for_all():
    """Of 100,000 stars of any membership, the change of the sum by a change of each is found from a few thousand."""
    p = torch.from_numpy(10 ** RNG.uniform(-9, 0, 100_000))
    rows, size = representatives(p * (1 - p))
    assert len(rows) < 0.5 * len(p)
    assert size.sum().item() == pytest.approx(len(p), rel=0.02)
    change = (p.logit() + 0.3).sigmoid() - p
    noise = (p * (1 - p)).sum().sqrt()
    assert abs((size * change[rows]).sum() - change.sum()) < 0.02 * noise
    assert change.sum() > noise
    few, each = representatives(p[:1000])
    assert sorted(few.tolist()) == list(range(1000))
    assert (each == 1).all()


def test_ends_are_those_of_the_draws():
    """Of a component that a hook gives a beginning, which here follows its weight; the other has none."""

    def hook(params):
        begin = 2 * params["stream.ln-weight"]
        return {**params, "stream.begin": begin, "stream.ln-begin-width": torch.full_like(begin, -1.0)}

    model, drawn = even("stream", "spur", hooks=[hook]), RNG.uniform(0.1, 0.4, (40, 2))
    set_weights(model, 0.2, 0.1)
    found = ends(model, torch.zeros(1), drawn_from(drawn.tolist()), 40)
    expected = np.quantile(2 * np.log(drawn[:, 0]), QUANTILES)
    assert list(found["stream"])[:: 1 + len(QUANTILES)] == ["begin", "begin_width"]
    assert found["stream"]["begin"].item() == pytest.approx(2 * np.log(0.2), rel=1e-5)
    assert [found["stream"][f"begin_{q}"].item() for q in QUANTILE_NAMES] == pytest.approx(expected, rel=1e-4)
    assert found["stream"]["begin_width_95"].item() == pytest.approx(np.exp(-1), rel=1e-5)
    assert all(values.isnan().all() for values in found["spur"].values())
    counted = members(model, stars(10), torch.full((10, 2), 0.2))
    table = members_table("phi1", counted, found)
    assert str(table["begin"].unit) == str(table["begin_width_05"].unit) == "deg"
    assert table["members_05"].unit is None
    assert np.isnan(table["begin"]).tolist() == [False, True, True]
    assert ends(even("stream"), torch.zeros(1)) == {}


def test_ends_of_a_model_are_those_it_has():
    model = even("stream", "spur", ends={"spur": sml.Ends(end=(-1.0, 4.0))})
    found = ends(model, torch.zeros(1))
    assert list(found["spur"])[:: 1 + len(QUANTILES)] == ["end", "end_width"]
    assert found["spur"]["end"].item() == pytest.approx(1.5)
    assert 0.05 < found["spur"]["end_width"].item() < 3
    assert found["stream"]["end"].isnan().all()
