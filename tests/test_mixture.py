"""Weights of a mixture, its density, and the windows of its components."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from small_models import NAN, WINDOW, mixture, normal, phi2_at

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.models.mixture import ln_weights
from stream_mapper.nn import Constant


def test_weights_are_exact_below_nine_tenths():
    proposed = torch.tensor([[0.2, 0.3], [0.001, 0.8], [0.45, 0.449]], dtype=torch.float64)
    weights, rest = ln_weights(proposed.log())
    torch.testing.assert_close(weights.exp(), proposed)
    torch.testing.assert_close(rest.exp(), 1 - proposed.sum(-1))


def test_weights_join_smoothly_at_nine_tenths():
    total = torch.linspace(0.89, 0.91, 2001, dtype=torch.float64).log()[:, None].requires_grad_()
    weights, _ = ln_weights(total)
    slope = torch.autograd.grad(weights.exp().sum(), total)[0][:, 0] / total.detach().exp()[:, 0]
    assert (slope.diff().abs() < 1e-3).all()
    assert slope[0].item() == pytest.approx(1)
    assert slope[-1].item() == pytest.approx((0.1 / 0.11) ** 2, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_of_any_output(dtype):
    outputs = (-1e3, -30.0, -1.0, -0.105361, 0.0, 2.0, 1e3)
    proposed = torch.tensor(list(itertools.product(outputs, repeat=3)), dtype=dtype, requires_grad=True)
    weights, rest = ln_weights(proposed)
    assert weights.dtype == rest.dtype == dtype
    assert weights.isfinite().all()
    assert rest.isfinite().all()
    rounding = 1e3 * torch.finfo(dtype).eps
    torch.testing.assert_close(
        weights.exp().sum(-1) + rest.exp(), torch.ones(len(proposed), dtype=dtype), atol=rounding, rtol=0
    )
    assert (weights <= 0).all()
    assert (rest <= 0).all()
    torch.testing.assert_close((weights - proposed).diff(dim=-1), torch.zeros(343, 2, dtype=dtype), atol=1e-3, rtol=0)
    for out in (weights.sum(), rest.sum()):
        assert torch.autograd.grad(out, proposed, retain_graph=True)[0].isfinite().all()


def test_two_streams_whose_proposals_sum_past_one():
    model = mixture("stream", "spur")
    model.weights.net.value.data = torch.tensor([0.9, 0.6]).log()
    data = phi2_at(0.0, 1.0)
    params = model(data)
    weights = torch.stack([params[f"{q}.ln-weight"] for q in model.components]).exp()
    torch.testing.assert_close(weights.sum(0), torch.ones(2))
    torch.testing.assert_close(weights[0] / weights[1], torch.full((2,), 1.5))
    assert (weights[2] > 0.01).all()
    torch.testing.assert_close(model.membership(params, data).sum(-1), torch.ones(2))


def test_a_mixture_without_background_normalises():
    model = mixture("a", "b", background=False)
    model.weights.net.value.data = torch.tensor([3.0, 1.0])
    params = model(phi2_at(0.0))
    torch.testing.assert_close(params["a.ln-weight"].exp() + params["b.ln-weight"].exp(), torch.ones(1))
    torch.testing.assert_close(params["a.ln-weight"] - params["b.ln-weight"], torch.full((1,), 2.0))
    outside = model.membership(params, phi2_at(50.0))
    assert outside.tolist() == [[0.5, 0.5]]


def test_mixture_is_the_weighted_sum():
    model = mixture("stream")
    model.weights.net.value.data = torch.tensor([math.log(0.3)])
    law = stats.truncnorm(-2, 3)
    found = model.ln_likelihood(model(phi2_at(-1.0, 0.5, 2.9)), phi2_at(-1.0, 0.5, 2.9))
    np.testing.assert_allclose(found.detach().exp(), 0.3 * law.pdf([-1.0, 0.5, 2.9]) + 0.7 / 5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["truncated", "open"])
def test_outside_every_window_no_star_is_a_member(kind):
    """A normal law has tails past the window; a star there still is no member."""
    stream = {
        "truncated": lambda: normal(sml.builtin.TruncatedNormal, net=Constant(2), coord_bounds=WINDOW),
        "open": lambda: normal(net=Constant(2), coord_bounds=WINDOW),
    }[kind]
    model = mixture("stream", stream=stream)
    data = phi2_at(-2.5, 0.0, 3.5, 100.0)
    assert model.in_window(data).tolist() == [False, True, False, False]
    p = model.membership(model(data), data)
    assert not p.isnan().any()
    assert p[[0, 2, 3]].tolist() == [[0.0, 1.0]] * 3
    assert 0 < p[1, 0] < 1


def test_a_star_outside_does_not_spoil_the_gradients_of_the_others():
    model = mixture("stream")
    data = phi2_at(0.1, 50.0, 1.0)
    values = model.ln_likelihood(model(data), data)
    assert values[1] == -math.inf
    found = torch.autograd.grad(values[[0, 2]].sum(), list(model.parameters()))
    inside = data[[0, 2]]
    alone = model.ln_likelihood(model(inside), inside)
    expected = torch.autograd.grad(alone.sum(), list(model.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_window_counts_measured_coordinates_only():
    model = mixture("stream")
    assert model.in_window(phi2_at(NAN, -2.0, 3.0, 3.001)).tolist() == [True, True, True, False]


def test_a_star_without_phi1_is_outside():
    model = mixture("stream")
    data = Data({"phi1": torch.tensor([0.0, NAN]), "phi2": torch.zeros(2)})
    assert model.in_window(data).tolist() == [True, False]
    assert model.membership(model(data), data)[1].tolist() == [0, 1]
