"""The functions along the stream at the top of their posterior."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from small_models import NETS, WIDTH, linear_gaussian, mixture, normal, phi2_at
from torch import nn

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.inference.ascent import ascend
from stream_mapper.inference.functions import Functions
from stream_mapper.inference.kernels import Kernel
from stream_mapper.inference.laplace import FunctionPosterior
from stream_mapper.models import Batch
from stream_mapper.nn import Constant, on_grid, sequential
from stream_mapper.params import ModelParameter, ModelParameters
from stream_mapper.prior import FunctionPrior

FIXED = Kernel(1e-6)
"""The prior of a function that is zero."""


def network(gain=1.0, scale=None):
    return on_grid(sequential(1, 32, 3, 2, gain=gain), scale=scale)


def noisy(truth, count=300, error=0.4):
    """Stars about a function of phi1 in [-20, 20]; the width of the stream is one, before their errors."""
    phi1 = torch.rand(count).sort().values * 40 - 20
    errors = error * (1 + torch.rand(count))
    phi2 = torch.as_tensor(truth(phi1.numpy())).float() + torch.hypot(errors, torch.ones(())) * torch.randn(count)
    return Data({"phi1": phi1, "phi2": phi2, "phi2_err": errors})


def regression(data, kernel, nodes=200):
    """Mean and standard deviations of a Gaussian process at the nodes of a grid, the function linear between them."""
    phi1, phi2, error = (data[name].double().numpy() for name in ("phi1", "phi2", "phi2_err"))
    position = (phi1 - phi1.min()) / (phi1.max() - phi1.min()) * (nodes - 1)
    hats = np.maximum(1 - np.abs(position[:, None] - np.arange(nodes)), 0)
    root = kernel.root(nodes).numpy()
    between = hats @ root
    gain = np.linalg.solve(between @ between.T + np.diag(1 + error**2), between).T
    return root @ gain @ phi2, np.sqrt(np.einsum("gr,rs,gs->g", root, np.eye(len(gain)) - gain @ between, root))


@pytest.mark.parametrize("kernel", [Kernel(2.0, 1.0, 0.15), Kernel(0.5, 0.4, 0.5)])
def test_the_top_is_that_of_a_gaussian_process_regression(kernel):
    data = noisy(lambda x: np.sin(x / 5) + 0.4)
    model = normal(net=network(), coord_err_names=("phi2_err",))
    assert ascend(model, [Batch(data[:100]), Batch(data[100:])], kernels=[kernel, FIXED]) == [kernel, FIXED]
    mean, deviation = regression(data, kernel)
    found = Functions(model, [Batch(data)]).values().numpy()
    assert np.abs(found[1]).max() < 1e-4
    assert np.abs((found[0] - mean) / deviation).max() < 0.15


def minus_ln_posterior(data, width):
    """Of a mean and a log width that are linear in phi1, from -1 to 1 over the stars; by scipy."""
    phi1, phi2, error = (data[name].double().numpy() for name in ("phi1", "phi2", "phi2_err"))
    x = 2 * (phi1 - phi1.min()) / (phi1.max() - phi1.min()) - 1

    def value(q):
        law = stats.norm(q[0] + q[1] * x, np.hypot(np.exp(q[2] + q[3] * x), error))
        return 0.5 * np.sum(np.square(q)) / width**2 - law.logpdf(phi2).sum()

    return value


@pytest.mark.parametrize("make", NETS.values(), ids=NETS.keys())
def test_the_top_of_straight_lines_is_that_which_scipy_finds(make):
    model, data, x, sigma = linear_gaussian(make())
    data = data.with_columns({"phi2": 0.5 + 0.4 * x + sigma * torch.randn(len(x))})
    value = minus_ln_posterior(data, WIDTH)
    best = optimize.minimize(value, [0.5, 0.4, -1.2, 0.0], method="BFGS")
    with torch.no_grad():
        next(module for module in model.net.modules() if isinstance(module, nn.Linear)).bias[0] -= 0.6
    ascend(model, [Batch(data[:50]), Batch(data[50:])], kernels=[Kernel(WIDTH, WIDTH)] * 2)
    low, high = Functions(model, [Batch(data)]).values()[:, [0, -1]].T.numpy()
    found = ((low + high) / 2, (high - low) / 2)
    assert value(np.stack(found, -1).flatten()) - best.fun < 0.1


def test_the_top_of_a_constant_is_that_which_scipy_finds():
    phi2 = np.random.default_rng(0).normal(0.4, 0.7, 50).astype(np.float32)
    best = optimize.minimize(
        lambda q: 0.5 * np.sum(np.square(q)) / 0.5**2 - stats.norm(q[0], np.exp(q[1])).logpdf(phi2).sum(), [0.0, 0.0]
    )
    model = normal(net=Constant(2))
    ascend(model, [Batch(phi2_at(*phi2.tolist()))], kernels=[Kernel(0.5)] * 2)
    values = Functions(model, [Batch(phi2_at(*phi2.tolist()))]).values()
    assert values.std(-1).max() < 1e-6
    assert values[:, 0].tolist() == pytest.approx(best.x, abs=0.02)


@pytest.mark.parametrize(("scale", "low", "high"), [(0.03, 0.02, 0.08), (0.5, 0.16, 0.64)])
def test_the_scale_of_the_most_evidence_is_that_of_the_truth(scale, low, high):
    x = np.linspace(-20, 20, 400)
    root = Kernel(0.1, 3.0, scale).root(400)
    truth = root @ torch.randn(root.shape[1], dtype=torch.float64)
    data = noisy(lambda at: np.interp(at, x, truth), count=1500, error=0.1)
    first, _ = ascend(normal(net=network(), coord_err_names=("phi2_err",)), [Batch(data)])
    assert low <= first.scale <= high


@pytest.mark.parametrize("seed", [0, 1])
def test_a_mean_does_not_follow_the_noise(seed):
    """It would make the stream look thin: by a third, for these 200 stars of a constant law."""
    torch.manual_seed(seed)
    data = phi2_at(*(2 + 0.3 * torch.randn(200)).tolist())
    model = normal(net=sequential(1, 8, 3, 2))
    mean, _ = ascend(model, [Batch(data)])
    assert mean.scale > 0.3
    assert model(data)["phi2.ln-sigma"].mean().item() == pytest.approx(data["phi2"].std().log().item(), abs=0.2)


def test_a_scale_that_is_given_is_heeded():
    data = noisy(np.zeros_like)
    span = data["phi1"].max() - data["phi1"].min()
    model = normal(net=network(scale=9.0), coord_err_names=("phi2_err",))
    posterior = FunctionPosterior()
    posterior.fit(model, [Batch(data)])
    assert [prior.scale for prior in posterior.priors()[""]] == pytest.approx([9.0, 9.0])
    assert [k.scale for k in ascend(model, [Batch(data)])] == pytest.approx([9.0 / span.item()] * 2)


def test_nothing_depends_on_the_start_of_the_networks():
    """A smooth start and a rough one, with a part of the field that has no stars."""
    data = noisy(lambda x: np.cos(x / 4), count=400)
    data = data[(data["phi1"] < -2) | (data["phi1"] > 6)]
    functions, bands = [], []
    for gain in (0.3, 30.0):
        model = normal(net=network(gain), coord_err_names=("phi2_err",))
        start = Functions(model, [Batch(data)]).values()
        posterior = FunctionPosterior()
        posterior.fit(model, [Batch(data)])
        functions.append(Functions(model, [Batch(data)]).values())
        bands.append(posterior.factor.double().square().sum(-1).sqrt().view(2, -1))
        assert ((start - functions[-1]).abs() / bands[-1]).max() > 1
    assert ((functions[0] - functions[1]).abs() / bands[0]).max() < 0.15
    assert (bands[0] / bands[1]).log().abs().max() < 0.1
    assert bands[0][0, 100:120].min() > 1.5 * bands[0][0, :80].median()


def test_the_top_heeds_the_guides():
    guide = sml.prior.ControlRegions("phi2.mu", [0.0], [1.0], 0.1, lamda=1e6)
    model = normal(net=Constant(2), priors=(guide,))
    data = phi2_at(*torch.linspace(-0.5, 0.5, 21).tolist())
    ascend(model, [Batch(data)])
    assert model(data)["phi2.mu"][0].item() == pytest.approx(0.9, abs=0.01)


def test_a_step_to_where_nothing_is_defined_is_refused():
    wall = FunctionPrior(lambda params, _: torch.where(params["phi2.mu"] > 0.5, torch.nan, 0.0), [0.0])
    model = normal(net=Constant(2), priors=(wall,))
    data = phi2_at(*(2 + 0.3 * torch.randn(40)).tolist())
    ascend(model, [Batch(data)])
    assert 0.1 < model(data)["phi2.mu"][0].item() <= 0.5


def test_a_start_where_nothing_is_defined_is_left():
    """The first values are those nearest to the start that the prior holds for likely."""
    wall = FunctionPrior(lambda params, _: torch.where(params["phi2.mu"] < 0.5, torch.nan, 0.0), [0.0])
    model = normal(net=Constant(2), priors=(wall,))
    model.net.value.data = torch.tensor([0.55, 0.0])
    data = phi2_at(*(2 + 0.3 * torch.randn(4)).tolist())
    ascend(model, [Batch(data)], kernels=[Kernel(0.5), Kernel(0.5)])
    assert model(data)["phi2.mu"][0].item() > 0.5


@pytest.mark.parametrize(
    "net",
    [
        lambda: nn.Sequential(nn.Linear(1, 2), nn.Tanh()),
        lambda: nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2, bias=False)),
    ],
)
def test_any_network_is_brought_to_the_top(net):
    model = normal(net=net())
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    data = phi2_at(*(0.6 + 0.4 * torch.randn(200)).tolist())
    ascend(model, [Batch(data)], kernels=[Kernel(2.0, 0.5, 0.6)] * 2)
    assert model(data)["phi2.mu"].detach().mean().item() == pytest.approx(data["phi2"].mean().item(), abs=0.03)
    assert model(data)["phi2.ln-sigma"].detach().mean().exp().item() == pytest.approx(
        data["phi2"].std().item(), rel=0.1
    )
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())


def test_frozen_networks_and_those_of_two_coordinates_stay_as_they_are():
    frozen = mixture("stream")
    frozen.requires_grad_(False)
    params = ModelParameters({"g": {"mu": ModelParameter(), "ln-sigma": ModelParameter()}})
    both = sml.builtin.Normal(
        net=sequential(2, 8, 3, 2), params=params, indep_coord_names=("phi1", "phi2"), coord_names=("g",)
    )
    data = phi2_at(*torch.linspace(-1, 1, 21).tolist()).with_columns({"g": torch.randn(21)})
    for model in (frozen, both):
        before = model.ln_likelihood(model(data), data)
        assert ascend(model, [Batch(data)]) == []
        assert torch.equal(model.ln_likelihood(model(data), data), before)


def test_a_frozen_stream_with_a_guide_leaves_the_weights_to_be_brought_to_the_top():
    guide = sml.prior.ControlRegions("phi2.mu", [0.0], [1.0], 0.1)
    model = mixture("stream", stream=lambda: normal(net=Constant(2), priors=(guide,)))
    model.components["stream"].requires_grad_(False)
    data = phi2_at(*torch.linspace(-1.9, 2.9, 100).tolist())
    before = model.ln_likelihood(model(data), data).sum().item()
    assert len(ascend(model, [Batch(data)])) == 1
    assert model.ln_likelihood(model(data), data).sum().item() > before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("places", [[3.0], [3.0, 3.0], [-1.0, 1.0]])
def test_one_star_or_two_are_enough(places, dtype):
    data = Data({"phi1": torch.tensor(places), "phi2": torch.ones(len(places))}).to(dtype=dtype)
    model = normal(net=network()).to(dtype)
    posterior = FunctionPosterior()
    posterior.fit(model, [Batch(data)])
    assert posterior.is_fitted
    with posterior.draw(model, 0):
        assert all(math.isfinite(value) for value in model(data)["phi2.mu"])
