"""The posterior of the networks as functions."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy import stats
from small_models import WIDTH, WINDOW, mixture, normal, phi2_at, state_of

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.inference.functions import Functions
from stream_mapper.inference.kernels import Kernel
from stream_mapper.inference.laplace import FunctionPosterior
from stream_mapper.models import Batch
from stream_mapper.nn import Constant, on_grid, sequential
from stream_mapper.pipeline import polish, posterior
from stream_mapper.training import StreamModule

KERNELS = [Kernel(0.7, 1.2, 0.2), Kernel(1e-6)]
NODES = np.linspace(-35, 25, 200)


def root_at(phi1):
    """What the mean is at these places of the coordinates of its prior."""
    hat = np.stack([np.interp(phi1, NODES, row) for row in np.eye(200)], -1)
    return hat @ KERNELS[0].root(200).numpy()


def symmetric():
    """Stars to both sides of zero, where the top is, as far off as stars are on average of a top that follows them.

    About a top that goes with each star by its leverage h the mean square is (1 - h) sigma^2.
    """
    phi1 = np.linspace(-35, 25, 40)
    phi1 = phi1[(phi1 < -10) | (phi1 > 5)].repeat(2)
    error = np.linspace(0.1, 4.0, len(phi1) // 2).repeat(2)
    prior = root_at(phi1) @ root_at(phi1).T
    leverage = np.diag(np.linalg.solve(prior + np.diag(1 + error**2), prior))
    phi2 = np.tile([1, -1], len(phi1) // 2) * np.sqrt((1 - leverage) * (1 + error**2))
    return Data({n: torch.tensor(x).float() for n, x in {"phi1": phi1, "phi2": phi2, "phi2_err": error}.items()})


def fitted(data, net=None):
    """A model at its top, and its posterior; the width of the stream is one, and known."""
    model = normal(net=net or on_grid(sequential(1, 16, 3, 2)), coord_err_names=("phi2_err",))
    functions = Functions(model, [Batch(data)])
    functions.set(torch.zeros(2, functions.size))
    posterior = FunctionPosterior()
    posterior.fit(model, [Batch(data[:20]), Batch(data[20:])], KERNELS)
    return model, posterior


def test_draws_have_the_covariance_of_a_gaussian_process_regression():
    data = symmetric()
    model, posterior = fitted(data)
    phi1, error = data["phi1"].double().numpy(), data["phi2_err"].double().numpy()
    at = np.array([-35.0, -20.0, -3.0, 7.0, 25.0, 80.0])
    roots = [root_at(phi1), root_at(at)]
    noise = np.diag(1 + error**2)
    across = roots[1] @ roots[0].T
    expected = roots[1] @ roots[1].T - across @ np.linalg.solve(roots[0] @ roots[0].T + noise, across.T)
    factor = np.stack([np.interp(at, NODES, column) for column in posterior.factor[:200].double().numpy().T], -1)
    np.testing.assert_allclose(factor @ factor.T, expected, atol=0.03 * expected.max())
    places, drawn = Data({"phi1": torch.tensor(at, dtype=torch.float32)}), []
    with torch.no_grad():
        for index in range(4000):
            with posterior.draw(model, index):
                drawn.append(model(places)["phi2.mu"].double())
    values = torch.stack(drawn).numpy()
    scale = np.sqrt(np.diag(expected))
    assert (np.abs(values.mean(0)) < 0.06 * scale).all()
    np.testing.assert_allclose(np.cov(values.T) / np.outer(scale, scale), expected / np.outer(scale, scale), atol=0.1)
    assert scale[2] > 2 * scale[1]


def test_posterior_of_a_truncated_normal():
    """Many stars of a known law: the precision is N times the Fisher information, here by quadrature."""
    model = normal(sml.builtin.TruncatedNormal, net=Constant(2), coord_bounds=WINDOW)
    model.net.value.data = torch.tensor([1.0, math.log(1.5)])
    x = np.linspace(-2, 3, 4001)

    def ln_p(mu, ln_sigma):
        s = math.exp(ln_sigma)
        return stats.truncnorm((-2 - mu) / s, (3 - mu) / s, mu, s).logpdf(x)

    mu, ln_sigma, step = 1.0, math.log(1.5), 1e-4
    scores = [(ln_p(mu + step, ln_sigma) - ln_p(mu - step, ln_sigma)) / (2 * step)]
    scores += [(ln_p(mu, ln_sigma + step) - ln_p(mu, ln_sigma - step)) / (2 * step)]
    p = np.exp(ln_p(mu, ln_sigma))
    fisher = np.array([[np.trapezoid(a * b * p, x) for a in scores] for b in scores])
    n = 40_000
    law = stats.truncnorm(-2, (3 - mu) / 1.5, mu, 1.5)
    phi2 = torch.tensor(law.ppf((np.arange(n) + 0.5) / n), dtype=torch.float32)
    posterior = FunctionPosterior()
    posterior.fit(model, [Batch(Data({"phi1": torch.zeros(n), "phi2": phi2}))], [Kernel(WIDTH)] * 2)
    expected = np.linalg.inv(n * fisher + np.eye(2) / WIDTH**2)
    rows = posterior.factor[[5, 5 + len(posterior.factor) // 2]]
    np.testing.assert_allclose(rows @ rows.T, expected, rtol=0.02)


def test_draws_restore_the_functions_and_repeat():
    model, data = normal(net=on_grid(sequential(1, 16, 3, 2))), phi2_at(*torch.randn(50).tolist())
    posterior, again = FunctionPosterior(), FunctionPosterior()
    with pytest.raises(RuntimeError, match="has not been fitted"), posterior.draw(model, 0):
        pass
    posterior.fit(model.train(), [Batch(data)])
    assert model.training
    before = copy.deepcopy(model.state_dict())
    again.load_state_dict(state_of(posterior))
    assert again.priors() == posterior.priors()
    values = []
    for source, index in ((posterior, 3), (again, 3), (posterior, 4)):
        with source.draw(model, index):
            values.append(model(data)["phi2.mu"].detach())
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    with pytest.raises(ZeroDivisionError), posterior.draw(model, 1):
        1 / 0  # noqa: B018
    torch.testing.assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=0, equal_nan=True)


def test_noise_becomes_that_of_a_function_of_which_the_stars_say_more():
    """Its covariance is the inverse of the precision with the information added."""
    _, posterior = fitted(symmetric())
    size = posterior.factor.shape[0] // 2
    more = torch.zeros(512, size, dtype=torch.float64)
    more[:, 80:90], more[:, 150] = 2.0, 30.0
    before = torch.stack([posterior._noise(i)[0] for i in range(512)]).double()
    after = before + posterior._better_known(0, more)
    factor = posterior.factor[:size].double()
    covariance = factor @ factor.T
    known = torch.eye(size, dtype=torch.float64) + more[0][:, None] * covariance
    expected = covariance @ torch.linalg.inv(known)
    some = [20, 60, 85, 110, 150, 199]
    scale = expected.diagonal()[some].sqrt()
    assert (covariance.diagonal()[[85, 150]] > 2 * expected.diagonal()[[85, 150]]).all()
    torch.testing.assert_close(after.std(0)[some] / scale, torch.ones(6, dtype=torch.float64), atol=0.1, rtol=0)
    off = (after.T.cov() - expected)[some][:, some] / scale / scale[:, None]
    assert off.abs().max() < 0.22  # of 512 draws, five standard deviations
    assert (posterior._better_known(0, torch.zeros(3, size)) == 0).all()


def test_an_older_state_has_no_weights_that_move_with_edges():
    posterior, again = FunctionPosterior(), FunctionPosterior()
    posterior.edges, posterior.edge_rows = torch.randn(5, 1), torch.tensor([1])
    state = {name: values for name, values in state_of(posterior).items() if "weight" not in name}
    again.load_state_dict(state)
    assert again.weights.shape == (5, 0, Functions(normal(), [Batch(phi2_at(0.0))]).size)
    assert torch.equal(again.edges, posterior.edges)


def test_a_model_built_anew_takes_top_and_draws_from_their_state():
    data = symmetric()
    model, posterior = fitted(data)
    other, again = normal(net=on_grid(sequential(1, 16, 3, 2)), coord_err_names=("phi2_err",)), FunctionPosterior()
    other.load_state_dict(state_of(model))
    again.load_state_dict(state_of(posterior))
    assert torch.equal(other(data)["phi2.mu"], model(data)["phi2.mu"])
    with posterior.draw(model, 2), again.draw(other, 2):
        assert torch.equal(other(data)["phi2.mu"], model(data)["phi2.mu"])


def test_a_frozen_network_takes_no_part_in_the_posterior():
    model = mixture("stream")
    model.components["stream"].requires_grad_(False)
    posterior = FunctionPosterior()
    posterior.fit(model, [Batch(phi2_at(0.0, 0.5, 2.0))])
    assert list(posterior.priors()) == ["weights"]
    assert len(posterior.factor) == Functions(model, [Batch(phi2_at(0.0))]).size


def test_a_model_of_no_function_along_the_stream_has_no_posterior():
    posterior = FunctionPosterior()
    posterior.fit(normal(net=Constant(2)).requires_grad_(False), [Batch(phi2_at(0.0, 1.0))])
    assert not posterior.is_fitted


def nested():
    background = sml.builtin.Uniform(coord_names=("phi2",), coord_bounds=WINDOW)
    outer = mixture("stream")
    return sml.MixtureModel(
        {"stream": mixture("stream"), "background": background}, net=Constant(1), params=outer.weights.params
    )


@pytest.mark.parametrize("make", [lambda: mixture("a", "b", background=False), nested])
def test_mixtures_of_any_make_have_a_posterior(make):
    model, data = make(), phi2_at(*torch.linspace(-1.9, 2.9, 60).tolist())
    posterior = FunctionPosterior()
    posterior.fit(model, [Batch(data)])
    with posterior.draw(model, 0):
        assert model.ln_likelihood(model(data), data).isfinite().all()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_network_without_dropout_is_drawn_too(dropout):
    """Dropout in some networks only would leave the others without any uncertainty."""
    stream = lambda: normal(net=sequential(1, 8, 2, 2, dropout=dropout))  # noqa: E731
    module = StreamModule(mixture("stream", stream=stream, net=sequential(1, 8, 2, 1, dropout=0.3)))
    data = phi2_at(*torch.linspace(-1, 1, 21).tolist())
    model, ensemble = module.model.eval(), module.ensemble
    posterior(model, ensemble, [[Batch(data)]], polish(model, ensemble, [[Batch(data)]]))
    assert ensemble.posteriors[0].is_fitted == (dropout == 0)
    assert all(part.correction.is_set == (dropout == 0) for part in (model.components["stream"], model.weights))
    draw, drawn = ensemble.draw_of(model), []
    for index in range(2):
        with draw(model, index):
            drawn.append(model(data)["stream.phi2.mu"])
    assert not torch.equal(*drawn)
