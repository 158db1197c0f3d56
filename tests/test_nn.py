"""Networks, their grids, and dropout that all rows share."""

import itertools
import math

import numpy as np
import pytest
import torch
from small_models import normal, state_of
from torch import nn

from stream_mapper import Data
from stream_mapper.description import build, describe
from stream_mapper.errors import InputError
from stream_mapper.nn import GridFunction, SharedDropout, draw, has_dropout, on_grid, sequential


def test_sequential_has_the_shape_asked():
    net = sequential(data=2, hidden_features=8, layers=3, features=4, dropout=0.1)
    assert net(torch.zeros(5, 2)).shape == (5, 4)
    kinds = [type(layer) for layer in net]
    assert kinds == [nn.Linear, nn.Tanh, SharedDropout] * 2 + [nn.Linear]


@pytest.mark.parametrize(
    ("name", "function"), [("tanh", torch.tanh), ("silu", nn.functional.silu), ("relu", torch.relu)]
)
def test_the_activation_is_the_one_named(name, function):
    net = sequential(1, 4, 2, 3, activation=name)
    x = torch.linspace(-2, 2, 9)[:, None]
    expected = net[-1](function(net[0](x)))
    torch.testing.assert_close(net(x), expected)
    again = build(describe(net))
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x), net(x))


def test_an_unknown_activation_is_named():
    with pytest.raises(InputError, match=r"one of \['tanh', 'silu'.*got 'swish'"):
        sequential(1, 4, 2, 3, activation="swish")


def test_a_network_of_one_layer_is_linear():
    torch.manual_seed(3)
    net = sequential(data=2, hidden_features=8, layers=1, features=4, dropout=0.1, gain=5.0)
    assert [(type(layer), layer.in_features, layer.out_features) for layer in net] == [(nn.Linear, 2, 4)]
    torch.manual_seed(3)
    assert torch.equal(net[0].weight, nn.Linear(2, 4).weight)  # a gain is of a hidden layer


def test_a_gain_makes_narrow_features():
    x = torch.linspace(-1.7, 1.7, 400)[:, None]
    turns = {}
    for gain in (1.0, 20.0):
        torch.manual_seed(1)
        slope = sequential(1, 64, 2, 1, gain=gain)(x).detach()[:, 0].diff()
        turns[gain] = (slope.diff().sign().diff() != 0).sum().item()
    assert turns[20.0] > turns[1.0] + 10


def test_grid_equals_the_network():
    net = sequential(1, 32, 3, 3)
    x = torch.empty(1000, 1).uniform_(-2, 2)
    torch.testing.assert_close(on_grid(net, span=(-2.0, 2.0))(x), net(x), atol=1e-3, rtol=0)
    torch.testing.assert_close(on_grid(net)(x), net(x))
    nodes = torch.linspace(-2, 2, 9)[:, None]
    torch.testing.assert_close(on_grid(net, 9, (-2.0, 2.0))(nodes), net(nodes))


def test_grid_does_not_depend_on_the_batch():
    grid = on_grid(sequential(1, 16, 3, 2), 16, (-2.0, 2.0))
    x = torch.empty(50, 1).uniform_(-2, 2)
    torch.testing.assert_close(grid(x)[20:30], grid(x[20:30]))
    assert grid(x[:0]).shape == (0, 2)
    ends = torch.tensor([[-2.0], [2.0]])
    torch.testing.assert_close(grid(3 * ends), grid(ends))


def test_gradients_through_a_grid_are_those_of_the_network():
    net = sequential(1, 16, 2, 1).double()
    x = torch.linspace(-1.9, 1.9, 40, dtype=torch.float64)[:, None]
    on, off = (
        torch.autograd.grad(f(x).square().sum(), list(net.parameters())) for f in (on_grid(net, 512, (-2, 2)), net)
    )
    for a, b in zip(on, off, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_grid_spans_the_training_stars():
    model = normal(net=on_grid(sequential(1, 8, 2, 2)), data_scaler=None)
    assert model.net.span is None
    model.fit_scalers(Data({"phi1": torch.tensor([-10.0, 0.0, 40.0])}))
    mean, scale = 10, math.sqrt(1400 / 3)
    assert model.net.span == pytest.approx(((-10 - mean) / scale, (40 - mean) / scale))
    model.fit_scalers(Data({"phi1": torch.tensor([0.0, 1.0])}))
    assert model.net.span[1] == pytest.approx(30 / scale)
    other = normal(net=on_grid(sequential(1, 8, 2, 2)), data_scaler=None)
    other.load_state_dict(state_of(model))
    assert other.net.span == model.net.span
    stars = Data({"phi1": torch.linspace(-10, 40, 9)})
    assert torch.equal(other(stars)["phi2.mu"], model(stars)["phi2.mu"])
    model.load_state_dict(normal(net=on_grid(sequential(1, 8, 2, 2)), data_scaler=None).state_dict())
    assert model.net.span is None
    assert not model.indep_scaler.fitted


def test_a_grid_asks_no_device_for_its_ends():
    """The ends are numbers beside the state: on a GPU, to read them from it is to wait for all steps before."""
    grid = on_grid(sequential(1, 8, 2, 2), span=(-1.0, 2.0))
    expected = grid(torch.zeros(3, 1))
    grid.ends = grid.ends.to("meta")  # has no values to read
    assert torch.equal(grid(torch.zeros(3, 1)), expected)


def test_a_grid_of_stars_at_one_phi1():
    stars = Data({"phi1": torch.full((3,), 7.0)})
    model = normal(net=on_grid(sequential(1, 8, 2, 2)), data_scaler=None)
    model.fit_scalers(stars)
    assert model(stars)["phi2.mu"].isfinite().all()


def test_dropout_has_one_mask_for_all_rows():
    layer = SharedDropout(0.4).train()
    masks = torch.stack([layer(torch.ones(50, 8)) for _ in range(200)])
    assert (masks == masks[:, :1]).all()
    assert masks.mean().item() == pytest.approx(1, abs=0.05)
    assert set(masks.flatten().tolist()) == {0.0, masks.max().item()}
    assert masks.max().item() == pytest.approx(1 / 0.6)
    assert torch.equal(layer.eval()(torch.ones(50, 8)), torch.ones(50, 8))


def test_draws_are_reproducible_and_differ():
    net = sequential(1, 16, 3, 1, dropout=0.3).eval()
    x = torch.linspace(-1, 1, 7)[:, None]
    at_rest = net(x)

    def drawn(i, rows=slice(None)):
        with draw(net, i):
            return net(x[rows])

    draws = [drawn(i) for i in range(8)]
    torch.rand(3)
    assert torch.equal(drawn(5), draws[5])
    torch.testing.assert_close(drawn(5, slice(2, 4)), draws[5][2:4])
    assert torch.equal(net(x), at_rest)
    for a, b in itertools.combinations([at_rest, *draws], 2):
        assert not torch.equal(a, b)
    with pytest.raises(ZeroDivisionError), draw(net, 1):
        1 / 0  # noqa: B018
    assert torch.equal(net(x), at_rest)
    assert has_dropout(net)
    assert not has_dropout(sequential(1, 4, 2, 1))


def test_a_function_on_a_grid_is_linear_between_its_nodes_and_constant_beyond():
    function = GridFunction(2)
    assert not function.is_set
    values = torch.randn(2, 6)
    function.set(values, (-20.0, 5.0))
    assert function.is_set
    x = torch.linspace(-40, 30, 71)
    expected = np.stack([np.interp(x, np.linspace(-20, 5, 6), row) for row in values], -1)
    np.testing.assert_allclose(function(x), expected, atol=1e-5)
    assert function(torch.tensor([math.nan, 0.0])).isnan().tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize("size", [0, 4, 9])
def test_a_function_on_a_grid_of_any_size_is_kept_by_the_state(size):
    function, other = GridFunction(2), GridFunction(2)
    if size:
        function.set(torch.randn(2, size), (1.0, 3.0))
    other.set(torch.randn(2, 7), (0.0, 9.0))
    other.load_state_dict(state_of(function))
    assert other.is_set == bool(size)
    assert torch.equal(other.values, function.values)
    assert not other.values.requires_grad
    if size:
        assert torch.equal(other(torch.linspace(0, 4, 9)), function(torch.linspace(0, 4, 9)))


def test_functions_of_another_number_are_refused():
    function, other = GridFunction(2), GridFunction(3)
    function.set(torch.randn(2, 4), (1.0, 3.0))
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(function.state_dict())


def test_the_scale_of_a_grid_is_positive():
    with pytest.raises(InputError, match="scale of a grid"):
        on_grid(nn.Linear(1, 1), scale=0.0)
