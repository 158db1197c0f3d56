"""Guides, switches and functions as priors. phi1 and phi2 are in deg."""

import copy
import math

import lightning as L
import pytest
import torch
from small_models import LN_WEIGHTS, MEAN_AND_WIDTH, guided, line, mixture, normal, numbers, phi2_at, switched, uniform

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameters
from stream_mapper.prior import ControlRegions, FunctionPrior, HardThreshold
from stream_mapper.training import StreamModule
from stream_mapper.training.batches import Batches


@pytest.mark.parametrize(
    ("slope", "expected"),
    [(0.0, 0.0), (0.049, 0.0), (-0.05, 0.0), (0.1, -7.0), (-0.15, -7.0 * (4 + 0.25)), (1.0, -7.0 * (19**2 + 81))],
)
def test_control_regions_are_flat_inside_and_quadratic_outside(slope, expected):
    """At phi1 = 10 and 10: centres 0, half-widths 0.5 and 1."""
    prior = ControlRegions("phi2.mu", phi1=[10.0, 10.0], center=[0.0, 0.0], width=[0.5, 1.0], lamda=7.0)
    assert prior(line(slope)).item() == pytest.approx(expected, abs=1e-4)


def test_one_width_serves_all_regions():
    one = ControlRegions("phi2.mu", [0.0, 10.0], [0.0, 3.0], 0.5)
    many = ControlRegions("phi2.mu", [0.0, 10.0], [0.0, 3.0], [0.5, 0.5])
    assert one(line(0.1)).item() == many(line(0.1)).item() == pytest.approx(-100 * 9)


@pytest.mark.parametrize(("dip", "expected"), [(0.0, 0.0), (0.5, 0.0), (1.5, -7.0 * (0.5 / 0.75) ** 2)])
def test_regions_hold_between_them_what_leaves_both_neighbours(dip, expected):
    """Centres 0 and 1, half-widths 0.5 and 1: anything from -0.5 to 2 between; a dip at one place of three."""
    given = {"phi1": [20.0, 10.0], "center": [1.0, 0.0], "width": [1.0, 0.5], "lamda": 7.0}

    def dipping(data):
        return {"phi2.mu": torch.where(data["phi1"] == 12.5, 0.5 - dip, 0.1)}

    assert ControlRegions("phi2.mu", **given)(dipping).item() == 0
    prior = ControlRegions("phi2.mu", **given, between=3)
    assert prior(dipping).item() == pytest.approx(expected / 4, abs=1e-5)
    assert len(prior.residuals(dipping)) == 2 + 3


def test_all_places_between_two_regions_count_as_one():
    """A function that is beyond by one mean half-width all along pays the strength once for each interval."""
    given = {"phi1": [0.0, 10.0, 40.0], "center": [0.0, 0.0, 0.0], "width": 0.5, "lamda": 3.0}
    beyond = {
        n: ControlRegions("phi2.mu", **given, between=n).residuals(lambda d: {"phi2.mu": 0 * d["phi1"] + 1})
        for n in (1, 99)
    }
    for n, residuals in beyond.items():
        assert residuals[3:].square().sum().item() / 2 == pytest.approx(3.0 * 2 * n / (n + 1), rel=1e-5)


def test_one_region_has_nothing_between():
    assert len(ControlRegions("phi2.mu", [0.0], [0.0], 1.0, between=7).residuals(line(0.0))) == 1


def test_fewer_than_no_places_between_are_refused():
    with pytest.raises(sml.InputError, match=r"between, of the ControlRegions of phi2\.mu, must be 0 or more; got -1"):
        ControlRegions("phi2.mu", [0.0], [0.0], 1.0, between=-1)


def test_priors_of_parts_add_up():
    model = guided()
    assert model.ln_prior().item() == pytest.approx(-10 * 2 * 9)
    assert mixture("stream").ln_prior().item() == 0
    outer = sml.IndependentModels({"a": model}, priors=(ControlRegions("a.stream.phi2.mu", [0.0], [1.0], 1.0 / 3),))
    assert outer.ln_prior().item() == pytest.approx(-10 * 2 * 9 - 100 * 4)


def first_loss(model, data, batch_size=None):
    """Loss of the first step of a fit, in nats per star."""
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "barebones": False}
    trainer = L.Trainer(max_steps=1, accelerator="cpu", enable_model_summary=False, **settings)
    trainer.fit(StreamModule(copy.deepcopy(model)), Batches(data, batch_size))
    return trainer.callback_metrics["train/loss"].item()


@pytest.mark.filterwarnings("ignore")
def test_the_prior_counts_once_whatever_the_number_of_stars():
    model = guided()
    once = phi2_at(*torch.empty(50).uniform_(-1, 2).tolist())
    twice = once[torch.arange(50).repeat(2)]
    likelihood = model.ln_likelihood(model(once), once).sum().item()
    loss, loss_twice = first_loss(model, once), first_loss(model, twice)
    assert 100 * loss_twice - 50 * loss == pytest.approx(-likelihood, abs=1e-2)
    assert 2 * 50 * loss - 100 * loss_twice == pytest.approx(-model.ln_prior().item(), abs=1e-2)
    assert first_loss(model, twice, batch_size=50) == pytest.approx(loss_twice, abs=1e-4)


def test_a_component_switched_off_has_no_weight_and_no_member():
    model = switched((0.0, 2.0), (1.0, math.inf))
    data = Data({"phi1": torch.tensor([-1.0, 0.5, 1.5, 3.0]), "phi2": torch.full((4,), 0.5)})
    params = model(data)
    p = model.membership(params, data)
    assert (p[:, :2] > 0).tolist() == [[False, False], [True, False], [True, True], [False, True]]
    total = torch.stack([params[f"{q}.ln-weight"].exp() for q in model.components]).sum(0)
    torch.testing.assert_close(total, torch.ones(4))
    torch.testing.assert_close(model.ln_likelihood(params, data), torch.zeros(4))
    slopes = torch.autograd.grad(params["background.ln-weight"].sum(), list(model.parameters()))
    assert all(slope.isfinite().all() and (slope != 0).any() for slope in slopes)
    assert model.ln_prior() == 0


def test_all_components_of_a_mixture_without_background_may_be_switched_off():
    priors = [HardThreshold(name, 0.0, 2.0) for name in LN_WEIGHTS]
    weights = ModelParameters(dict.fromkeys(LN_WEIGHTS, (-2.0, -1.0)))
    parts = {"a": uniform("phi2"), "b": uniform("phi2")}
    model = sml.MixtureModel(parts, net=Constant(2), params=weights, data_scaler=numbers(), priors=priors)
    data = Data({"phi1": torch.tensor([1.0, 5.0]), "phi2": torch.full((2,), 0.5)})
    params = model(data)
    assert model.ln_likelihood(params, data).tolist() == [0.0, -math.inf]
    torch.testing.assert_close(model.membership(params, data), torch.full((2, 2), 0.5))


def test_a_prior_given_as_a_function():
    def smooth(params, phi1):
        return -0.5 * (params["phi2.mu"].diff() / phi1.diff()).square()

    prior = FunctionPrior(smooth, phi1=[0.0, 1.0, 3.0])
    assert prior(line(0.5)).item() == pytest.approx(-0.25)
    assert normal(net=Constant(2), params=MEAN_AND_WIDTH, priors=(prior,)).ln_prior() == 0
