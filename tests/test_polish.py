"""The last layers at the top of their posterior."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from small_models import NETS, linear_gaussian, normal, phi2_at
from torch import nn

import stream_mapper as sml
from stream_mapper.inference.polish import polish
from stream_mapper.models import Batch
from stream_mapper.nn import Constant


@pytest.mark.parametrize("make", NETS.values(), ids=NETS.keys())
def test_polishing_reaches_the_top_of_the_likelihood(make):
    """A noisy line of unknown width: the top as scipy finds it in float64."""
    model, data, x, sigma = linear_gaussian(make())
    data = data.with_columns({"phi2": 0.5 + 0.4 * x + sigma * torch.randn(len(x))})
    phi1, phi2, error = (
        data[name].double().numpy() / unit for name, unit in (("phi1", 20), ("phi2", 1), ("phi2_err", 1))
    )

    def minus_ln_p(q):
        return -stats.norm(q[0] + q[1] * phi1, np.hypot(np.exp(q[2] + q[3] * phi1), error)).logpdf(phi2).sum()

    best = optimize.minimize(minus_ln_p, [0.5, 0.4, -1.2, 0.0], method="Nelder-Mead", options={"maxiter": 4000})
    layer = next(module for module in model.net.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        layer.bias[0] -= 0.3
        layer.weight[0, 0] += 0.15
    before = minus_ln_p([0.2, 0.55, math.log(0.3), 0.0])
    gain = polish(model, [Batch(data[:50]), Batch(data[50:])], steps=60)
    assert gain == pytest.approx(before - best.fun, abs=0.05)


def test_polishing_heeds_the_guides():
    guide = sml.prior.ControlRegions("phi2.mu", [0.0], [1.0], 0.1, lamda=1e6)
    model = normal(net=Constant(2), priors=(guide,))
    data = phi2_at(*torch.linspace(-0.5, 0.5, 21).tolist())
    polish(model, [Batch(data)], steps=60)
    assert model(data)["phi2.mu"][0].item() == pytest.approx(0.9, abs=0.01)


def test_polishing_leaves_a_network_without_a_linear_end():
    model = normal(net=nn.Sequential(nn.Linear(1, 2), nn.Tanh()))
    before = copy.deepcopy(model.net.state_dict())
    assert polish(model, [Batch(phi2_at(0.0, 1.0))]) == 0
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())


def test_a_last_layer_without_bias_is_not_polished():
    model = normal(net=nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2, bias=False)))
    before = copy.deepcopy(model.net.state_dict())
    assert polish(model, [Batch(phi2_at(0.1, 0.3, -0.2))]) == 0
    for name, value in model.net.state_dict().items():
        assert torch.equal(value, before[name])
