"""The linearised posterior of the networks as functions."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy import stats
from small_models import NETS, WIDTH, WINDOW, linear_gaussian, mixture, normal, phi2_at, state_of

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.inference.laplace import FunctionPosterior
from stream_mapper.models import Batch
from stream_mapper.nn import Constant, OnGrid, sequential
from stream_mapper.pipeline import posterior
from stream_mapper.training import StreamModule


@pytest.mark.parametrize("make", NETS.values(), ids=NETS.keys())
def test_last_layer_posterior_of_a_linear_gaussian_problem(make):
    model, data, x, sigma = linear_gaussian(make())
    design = torch.stack([x, torch.ones_like(x)], -1).double()
    nodes = torch.linspace(*(model.net.span if isinstance(model.net, OnGrid) else (-3, 3)), 256)
    prior = (1 + nodes.square()).mean() / WIDTH**2  # precision of each weight
    precision = design.T @ (design / sigma.double().square()[:, None]) + prior * torch.eye(2)
    posterior = FunctionPosterior(WIDTH)
    posterior.fit(model, [Batch(data[:50]), Batch(data[50:])])
    at = Data({"phi1": torch.tensor([-30.0, 0.0, 20.0])})
    rows = torch.tensor([[-1.5, 1.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    expected = rows @ torch.linalg.inv(precision) @ rows.T
    before = model(at)["phi2.mu"]
    draws = []
    with torch.no_grad():
        for i in range(4000):
            with posterior.draw(model, i):
                draws.append(model(at)["phi2.mu"].double())
    drawn = torch.stack(draws)
    scale = expected.diagonal().sqrt()
    assert ((drawn.mean(0) - before).abs() < 0.06 * scale).all()
    unit = scale * scale[:, None]
    torch.testing.assert_close(drawn.T.cov() / unit, expected / unit, atol=0.06, rtol=0)
    assert torch.equal(model(at)["phi2.mu"], before)


def test_last_layer_posterior_of_a_truncated_normal():
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
    posterior = FunctionPosterior(WIDTH)
    posterior.fit(model, [Batch(Data({"phi1": torch.zeros(n), "phi2": phi2}))])
    expected = np.linalg.inv(n * fisher + np.eye(2) / WIDTH**2)
    rows = posterior.factor[[5, 5 + posterior.size]]
    np.testing.assert_allclose(rows @ rows.T, expected, rtol=0.01)


def test_draws_restore_the_weights_and_repeat():
    model, data, _, _ = linear_gaussian(NETS["sequential"]())
    posterior, again = FunctionPosterior(), FunctionPosterior()
    with pytest.raises(RuntimeError, match="has not been fitted"), posterior.draw(model, 0):
        pass
    posterior.fit(model.train(), [Batch(data)])
    assert model.training
    before = copy.deepcopy(model.state_dict())
    again.load_state_dict(state_of(posterior))
    values = []
    for source, index in ((posterior, 3), (again, 3), (posterior, 4)):
        with source.draw(model, index):
            values.append(model(data)["phi2.mu"].detach())
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    with pytest.raises(ZeroDivisionError), posterior.draw(model, 1):
        1 / 0  # noqa: B018
    for name, value in model.state_dict().items():
        assert value == before[name] if isinstance(value, dict) else torch.equal(value, before[name])


def test_a_frozen_network_takes_no_part_in_the_posterior():
    model = mixture("stream")
    model.components["stream"].requires_grad_(False)
    posterior = FunctionPosterior()
    posterior.fit(model, [Batch(phi2_at(0.0, 0.5, 2.0))])
    assert [name for name, _ in posterior.spans.named_buffers()] == ["weights"]
    assert len(posterior.factor) == posterior.size


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_network_without_dropout_is_drawn_too(dropout):
    """Dropout in some networks only would leave the others without any uncertainty."""
    stream = lambda: normal(net=sequential(1, 8, 2, 2, dropout=dropout))  # noqa: E731
    module = StreamModule(mixture("stream", stream=stream, net=sequential(1, 8, 2, 1, dropout=0.3)))
    data = phi2_at(*torch.linspace(-1, 1, 21).tolist())
    model, ensemble = module.model.eval(), module.ensemble
    posterior(model, ensemble, [[Batch(data)]])
    assert ensemble.posteriors[0].is_fitted == (dropout == 0)
    draw, drawn = ensemble.draw_of(model), []
    for index in range(2):
        with draw(model, index):
            drawn.append(model(data)["stream.phi2.mu"])
    assert not torch.equal(*drawn)
