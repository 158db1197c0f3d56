"""Stars, scalers, parameters, networks, weights, priors, hooks and the posterior.

Units: phi1 and phi2 in deg, parallax in mas, g in mag.
"""

import copy
import io
import itertools
import math
import re

import lightning as L
import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.coordinates import Distance
from scipy import optimize, stats
from torch import nn

import stream_mapper as sml
from stream_mapper import Data, InputError
from stream_mapper.builtin.compat import FlowModel, ZukoFlowModel, flow, marginal
from stream_mapper.inference import chunked
from stream_mapper.inference.laplace import FunctionPosterior
from stream_mapper.inference.polish import polish
from stream_mapper.inference.screening import screened
from stream_mapper.models import Batch, scope
from stream_mapper.models.mixture import ln_weights
from stream_mapper.nn import Constant, OnGrid, SharedDropout, draw, has_dropout, on_grid, sequential
from stream_mapper.params import ModelParameter, ModelParameters
from stream_mapper.params.bounds import ClippedBounds, NoBounds, SigmoidBounds
from stream_mapper.params.scaler import Identity, StandardLnWidth, StandardLocation, StandardWidth
from stream_mapper.pipeline import posterior
from stream_mapper.prior import ControlRegions, FunctionPrior, HardThreshold
from stream_mapper.training import StreamModule
from stream_mapper.training.batches import Batches
from stream_mapper.training.start import dry_run
from stream_mapper.utils import StandardScaler

NAN = math.nan
WINDOW = {"phi2": (-2.0, 3.0)}


def table():
    return Data(
        {
            "phi1": torch.tensor([0.0, 10.0, 20.0, 30.0]),
            "g": torch.tensor([18.0, NAN, 20.0, 22.0]),
            "r": torch.tensor([17.0, 18.0, 19.0, NAN]),
            "id": torch.tensor([4, 3, 2, 1]),
        }
    )


def numbers():
    return StandardScaler(("phi1",), mean=[0.0], scale=[20.0])


def state_of(module):
    """The state through a file, as a checkpoint keeps it."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# Data


def test_nan_is_not_measured_and_reaches_nothing():
    data = table()
    assert data.where["g"].tolist() == [True, False, True, True]
    assert data["g"].tolist() == [18, 0, 20, 22]
    assert data.where["id"].all()
    assert data["id"].dtype == torch.int64
    assert len(data) == 4
    assert data.names == ("phi1", "g", "r", "id")
    assert "g" in data
    assert "z" not in data
    assert repr(data) == "Data(4 stars: phi1, g, r, id)"


def test_a_given_mask_adds_to_nan():
    where = {"a": torch.tensor([True, True, False])}
    data = Data({"a": torch.tensor([1.0, NAN, 3.0]), "b": torch.ones(3)}, where=where)
    assert data.where["a"].tolist() == [True, False, False]
    assert data["a"].tolist() == [1, 0, 0]
    assert data.where["b"].all()


def test_columns_by_name():
    data = table()
    assert torch.equal(data["r", "phi1"], torch.stack([data["r"], data["phi1"]], -1))
    assert torch.equal(data[["r", "phi1"]], data["r", "phi1"])
    assert data[("g",)].shape == (4, 1)
    assert data.where["g", "r"].tolist() == [[True, True], [False, True], [True, True], [True, False]]
    assert data.select(["r"]).names == ("r",)
    with pytest.raises(KeyError, match=r"no column 'gmag'; the data has \['phi1', 'g', 'r', 'id'\]"):
        data["gmag"]


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        (slice(1, 3), [3, 2]),
        (slice(None, None, 2), [4, 2]),
        (torch.tensor([3, 0, 0]), [1, 4, 4]),
        ([3, 0], [1, 4]),
        (torch.tensor([False, True, True, False]), [3, 2]),
        (slice(0, 0), []),
        ([], []),
    ],
)
def test_rows_by_slice_index_and_mask(rows, ids):
    part = table()[rows]
    assert part["id"].tolist() == ids
    assert part.where["g"].tolist() == [i != 3 for i in ids]
    assert len(part) == len(ids)


def test_to_a_dtype_leaves_integers_and_masks():
    data = table().to(dtype=torch.float64)
    assert data["g", "r"].dtype == torch.float64
    assert data["id"].dtype == torch.int64
    assert data.where["g"].dtype == torch.bool
    assert table().to("cpu")["g"].dtype == torch.float32


def test_new_columns_replace_and_may_be_missing():
    data = table().with_columns({"g": torch.full((4,), NAN), "b": torch.arange(4.0)})
    assert not data.where["g"].any()
    assert data["b"].tolist() == [0, 1, 2, 3]
    assert table().where["g"].any()


# StandardScaler


def test_scaler_of_measured_values():
    scaler = StandardScaler.fit(table(), ("phi1", "g", "r"))
    assert scaler.mean.tolist() == [15, 20, 18]
    np.testing.assert_allclose(scaler.scale, [np.std([0, 10, 20, 30]), np.std([18, 20, 22]), np.std([17, 18, 19])])
    assert scaler.low.tolist() == [0, 18, 17]
    assert scaler.high.tolist() == [30, 22, 19]
    values = table()["phi1", "g", "r"]
    torch.testing.assert_close(scaler.inverse(scaler.transform(values)), values)


def test_slices_of_a_scaler_keep_the_order_asked():
    scaler = StandardScaler.fit(table(), ("phi1", "g", "r"))
    part = scaler[("r", "phi1")]
    assert part.names == ("r", "phi1")
    assert part.mean.tolist() == [18, 15]
    assert part.fitted
    part.mean.zero_()
    assert scaler.mean.tolist() == [15, 20, 18]


def test_a_constant_column_keeps_its_unit():
    scaler = StandardScaler.fit(Data({"phi1": torch.full((3,), 7.0)}))
    assert scaler.transform(torch.tensor([[8.0]])).item() == 1


def test_state_of_a_scaler():
    scaler, fresh = StandardScaler.fit(table(), ("g",)), StandardScaler(("g",))
    assert not fresh.fitted
    fresh.load_state_dict(state_of(scaler))
    assert fresh.fitted is True
    assert fresh.mean.item() == 20
    assert fresh.high.item() == 22


# Parameters


def test_bounds_and_scalers():
    raw = torch.tensor([-1e3, -1.0, 0.0, 1.0, 1e3], requires_grad=True)
    location = StandardLocation(10.0, 2.0)
    assert location(raw)[1:4].tolist() == [8, 10, 12]
    assert StandardWidth(2.0)(raw)[3].item() == 2
    assert StandardLnWidth(-2.5)(raw)[1:4].tolist() == [-3.5, -2.5, -1.5]
    assert torch.equal(Identity()(raw), raw)
    assert torch.equal(NoBounds()(raw, location), location(raw))
    assert ClippedBounds(9.0, 11.0)(raw, location).tolist() == [9, 9, 10, 11, 11]
    sigmoid = SigmoidBounds(15.0, 25.0)(raw, location)
    assert sigmoid[2].item() == 20
    assert sigmoid[3].item() == pytest.approx(15 + 10 / (1 + math.exp(-1)))
    assert ((sigmoid >= 15) & (sigmoid <= 25)).all()
    assert torch.autograd.grad(sigmoid.sum(), raw)[0].isfinite().all()


def test_scalers_of_parameters_from_the_data():
    scaler = StandardScaler.fit(table(), ("phi1", "g"))
    location = StandardLocation.from_data_scaler(scaler, "g")
    assert (location.mean, location.scale) == (20, scaler.scale[1].item())
    assert StandardLnWidth.from_data_scaler(scaler, "g").ln_scale == pytest.approx(0.5 * math.log(8 / 3))


def test_parameters_are_split_and_named_once():
    params = ModelParameters(
        {"phi2": {"mu": ModelParameter(scaler=StandardLocation(1.0, 2.0)), "ln-sigma": (-3.0, 0.0)}, "a.b": (0, 1)}
    )
    assert params.names == ("phi2.mu", "phi2.ln-sigma", "a.b")
    assert len(params) == 3
    assert "phi2.mu" in params
    values = params(torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]))
    assert {name: value.tolist() for name, value in values.items()} == {
        "phi2.mu": [3, 5],
        "phi2.ln-sigma": [-1.5, -1.5],
        "a.b": [0.5, 0.5],
    }
    assert params.without("phi2.mu").names == ("phi2.ln-sigma", "a.b")
    assert isinstance(params["a.b"].bounds, SigmoidBounds)
    assert len(ModelParameters()) == 0


# Networks


def test_sequential_has_the_shape_asked():
    net = sequential(data=2, hidden_features=8, layers=3, features=4, dropout=0.1)
    assert net(torch.zeros(5, 2)).shape == (5, 4)
    kinds = [type(layer) for layer in net]
    assert kinds == [nn.Linear, nn.Tanh, SharedDropout] * 2 + [nn.Linear]


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


# Models and weights


def normal(kind=sml.builtin.Normal, **kwargs):
    given = {"coord_names": ("phi2",), "data_scaler": numbers()} | kwargs
    if "net" in given and "params" not in given:
        given["params"] = ModelParameters({"phi2": {"mu": ModelParameter(), "ln-sigma": ModelParameter()}})
    return kind(**given)


def mixture(*names, stream=None, background=True, net=None, priors=()):
    """Components over phi2, each with a weight that is the network's own output."""
    stream = stream or (lambda: normal(sml.builtin.TruncatedNormal, net=Constant(2), coord_bounds=WINDOW))
    parts = {name: stream() for name in names}
    if background:
        parts["background"] = sml.builtin.Uniform(coord_names=("phi2",), coord_bounds=WINDOW)
    params = ModelParameters({f"{name}.ln-weight": ModelParameter() for name in names})
    net = net or Constant(len(names))
    return sml.MixtureModel(parts, net=net, data_scaler=numbers(), params=params, priors=priors)


def phi2_at(*values):
    return Data({"phi1": torch.linspace(-10, 10, len(values)), "phi2": torch.tensor(values)})


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


def test_edges_of_a_flow_belong_to_its_window_in_any_precision():
    """0.1 and 0.7 have no exact float32."""
    scaler = StandardScaler(("phi1", "a"), [0.0, 0.4], [1.0, 0.2])
    edges = {"coord_names": ("a",), "coord_bounds": {"a": (0.1, 0.7)}, "data_scaler": scaler}
    model = ZukoFlowModel(net=flow(1, transforms=1), **edges)
    for dtype in (torch.float32, torch.float64):
        data = Data({"phi1": torch.zeros(2, dtype=dtype), "a": torch.tensor([0.1, 0.7], dtype=dtype)})
        assert model.to(dtype).ln_likelihood({}, data).isfinite().all()
    inside = data.with_columns({"a": torch.tensor([0.3, 0.5], dtype=torch.float64)})
    expected = model.ln_likelihood({}, inside)
    torch.testing.assert_close(model.ln_likelihood({}, inside.to(dtype=torch.float32)), expected, atol=1e-4, rtol=0)


def test_a_large_table_goes_to_a_flow_in_parts(monkeypatch):
    model = ZukoFlowModel(net=flow(1, transforms=1), coord_names=("a",), data_scaler=StandardScaler(("phi1", "a")))
    data = Data({"phi1": torch.zeros(10), "a": torch.linspace(-1, 1, 10)})
    whole = model.ln_likelihood({}, data)
    monkeypatch.setitem(marginal._ROWS, "cpu", 3)
    torch.testing.assert_close(model.ln_likelihood({}, data), whole)


def test_many_stars_in_chunks_are_the_same_stars(monkeypatch):
    """Value, derivatives and terms; a flow that is still trained is left to ordinary differentiation."""
    model = mixture("stream", stream=lambda: normal(net=Constant(2)))
    model.unpack_params_hooks = (lambda params: {**params, "stream.phi2.mu": params["stream.phi2.mu"][0]},)
    data = phi2_at(*torch.linspace(-1.9, 1.9, 41).tolist())
    data = data.with_columns({"phi2": torch.where(torch.arange(41) == 7, torch.nan, data["phi2"])})

    def values(trained=model):
        joint, total = chunked.ln_terms(trained, trained(data), Batch(data))
        weight = torch.linspace(0.5, 2, 41)
        return [joint, total.detach(), *torch.autograd.grad((weight * total).sum(), list(trained.parameters()))]

    whole = values()
    calls = []
    monkeypatch.setattr(chunked, "_STARS", 10)
    monkeypatch.setattr(chunked, "_of_chunk", lambda *a, f=chunked._of_chunk: calls.append(1) or f(*a))
    for found, expected in zip(values(), whole, strict=True):
        torch.testing.assert_close(found, expected)
    assert len(calls) == 5
    with torch.no_grad():
        torch.testing.assert_close(chunked.ln_terms(model, model(data), Batch(data))[1], whole[1])
    joint = ZukoFlowModel(
        net=flow(1, transforms=1), coord_names=("phi2",), data_scaler=StandardScaler(("phi1", "phi2"))
    )
    trained = mixture("stream", stream=lambda: joint)
    assert all(grad.isfinite().all() and grad.any() for grad in values(trained)[2:3])


def test_screening_leaves_out_only_what_does_not_matter():
    """Stars far from a narrow stream keep the density they had; the derivatives stay those of all the stars."""
    model = mixture("stream", stream=lambda: normal(net=Constant(2)))
    model.components["stream"].net.value.data = torch.tensor([0.2, -2.0])
    stars = phi2_at(*torch.linspace(-1.9, 1.9, 400).tolist()).with_columns({"phi2_err": torch.ones(400)})
    some = screened(model, Batch(stars), 1e-5)
    (skipped,) = some.known.skipped.values()
    far = ~skipped.isnan()
    assert 0.5 < far.float().mean().item() < 0.95
    assert list(some.known.skipped) == ["stream"]
    assert model.components["stream"].ln_likelihood(scope(model(stars), "stream"), stars)[far].max() < -10

    def joint(batch):
        return model.ln_joint(model(batch.stars), batch.stars, batch.known)

    def slopes(batch):
        ln_p = model.ln_likelihood(model(batch.stars), batch.stars, batch.known)
        return torch.autograd.grad(ln_p.sum(), list(model.parameters()))

    for found, expected in zip(slopes(some), slopes(Batch(stars)), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(joint(some), joint(Batch(stars)))
    model.components["stream"].net.value.data += 0.05  # a little further: what is skipped is a little old
    new, old = (joint(batch).softmax(-1) for batch in (Batch(stars), some))
    torch.testing.assert_close(old, new, atol=1e-3, rtol=0)
    assert not torch.equal(joint(some), joint(Batch(stars)))
    expected = joint(Batch(stars))
    torch.testing.assert_close(joint(screened(model, some, 1e-5)), expected)
    light = screened(model, some, 1e-5, recheck_below=1e-14)  # those far off keep what they had, the others do not
    farthest = joint(some).softmax(-1)[:, 0] < 1e-14
    assert 0 < farthest.sum() < far.sum()
    now, before = (batch.known.skipped["stream"] for batch in (light, some))
    torch.testing.assert_close(now[farthest], before[farthest], rtol=0, atol=0)
    torch.testing.assert_close(joint(light)[~farthest], expected[~farthest])


def test_screening_of_a_mixture_within_a_mixture():
    """The parts of the inner one may be called like those of the outer one."""
    inner = mixture("stream")
    outer = sml.MixtureModel(
        {"stream": normal(net=Constant(2)), "background": inner},
        net=Constant(1),
        data_scaler=numbers(),
        params=ModelParameters({"stream.ln-weight": ModelParameter()}),
    )
    outer.components["stream"].net.value.data = torch.tensor([0.2, -3.0])
    data = phi2_at(*torch.linspace(-1.9, 1.9, 40).tolist())
    some = screened(outer, Batch(data), 1e-5)
    assert not some.known.skipped["stream"].isnan().all()
    torch.testing.assert_close(outer.ln_joint(outer(data), data, some.known), outer.ln_joint(outer(data), data))


def test_a_hook_may_set_one_number_for_all_stars():
    model = mixture("stream", stream=lambda: normal(net=Constant(1), params=ONLY_WIDTH))
    model.unpack_params_hooks = (lambda params: {**params, "stream.phi2.mu": torch.tensor(0.3)},)
    data = phi2_at(*torch.linspace(-1.9, 1.9, 40).tolist())
    some = screened(model, Batch(data), 0.3)
    torch.testing.assert_close(model.ln_joint(model(data), data, some.known), model.ln_joint(model(data), data))


def test_all_components_of_a_mixture_without_background_may_be_switched_off():
    priors = [HardThreshold(name, 0.0, 2.0) for name in NAMES]
    weights = ModelParameters(dict.fromkeys(NAMES, (-2.0, -1.0)))
    parts = {"a": uniform("phi2"), "b": uniform("phi2")}
    model = sml.MixtureModel(parts, net=Constant(2), params=weights, data_scaler=numbers(), priors=priors)
    data = Data({"phi1": torch.tensor([1.0, 5.0]), "phi2": torch.full((2,), 0.5)})
    params = model(data)
    assert model.ln_likelihood(params, data).tolist() == [0.0, -math.inf]
    torch.testing.assert_close(model.membership(params, data), torch.full((2, 2), 0.5))


def test_a_component_switched_off_is_not_computed():
    model = switched((0.0, 2.0), (1.0, math.inf))
    data = Data({"phi1": torch.tensor([-1.0, 0.5, 1.5, 3.0]), "phi2": torch.full((4,), 0.5)})
    known = screened(model, Batch(data), 1e-5).known
    assert known.skipped["a"].isnan().tolist() == [False, True, True, False]
    assert torch.equal(model.ln_joint(model(data), data, known), model.ln_joint(model(data), data))


def test_names_of_parts_are_prefixes():
    outer = sml.IndependentModels({"a": sml.IndependentModels({"b": normal(net=Constant(2))})})
    params = outer(phi2_at(0.0))
    assert list(params) == ["a.b.phi2.mu", "a.b.phi2.ln-sigma"]
    assert list(scope(params, "a.b")) == ["phi2.mu", "phi2.ln-sigma"]
    assert scope(params, "a.bb") == {}


def test_scalers_are_fitted_once_for_every_part():
    model = sml.IndependentModels({"a": normal(net=Constant(2), data_scaler=None)})
    part = model.components["a"]
    assert not part.indep_scaler.fitted
    model.fit_scalers(Data({"phi1": torch.tensor([0.0, 2.0])}))
    assert (part.indep_scaler.mean.item(), part.indep_scaler.scale.item()) == (1, 1)
    model.fit_scalers(Data({"phi1": torch.tensor([0.0, 200.0])}))
    assert part.indep_scaler.mean.item() == 1


# Prior


def line(slope):
    return lambda data: {"phi2.mu": slope * data["phi1"]}


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


def guided():
    guide = ControlRegions("phi2.mu", [0.0, 5.0], [1.0, 1.0], 0.25, lamda=10.0)
    bounds = {"coord_bounds": WINDOW, "priors": (guide,)}
    return mixture("stream", stream=lambda: normal(sml.builtin.TruncatedNormal, net=Constant(2), **bounds))


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


NAMES = ("a.ln-weight", "b.ln-weight")


def switched(*ranges):
    """Two streams, each on in a range of phi1 only."""
    priors = [HardThreshold(name, *span) for name, span in zip(NAMES, ranges, strict=True)]
    parts = {"a": uniform("phi2"), "b": uniform("phi2"), "background": uniform("phi2")}
    weights = ModelParameters(dict.fromkeys(NAMES, (-2.0, -1.0)))
    return sml.MixtureModel(parts, net=Constant(2), params=weights, data_scaler=numbers(), priors=priors)


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


def test_a_prior_given_as_a_function():
    def smooth(params, phi1):
        return -0.5 * (params["phi2.mu"].diff() / phi1.diff()).square()

    prior = FunctionPrior(smooth, phi1=[0.0, 1.0, 3.0])
    assert prior(line(0.5)).item() == pytest.approx(-0.25)
    assert normal(net=Constant(2), params=PARTS, priors=(prior,)).ln_prior() == 0


# Hooks


@pytest.mark.parametrize(("parallax", "sigma"), [(0.1, 0.005), (1.0, 0.1), (0.065, 0.001)])
def test_parallax_sets_the_distance_modulus(parallax, sigma):
    hook = sml.builtin.Parallax2DistMod("astrometric.parallax", "photometric.distmod")
    given = {"astrometric.parallax.mu": parallax, "astrometric.parallax.ln-sigma": math.log(sigma)}
    out = hook({name: torch.tensor([value], dtype=torch.float64) for name, value in given.items()})
    assert set(out) == {*given, "photometric.distmod.mu", "photometric.distmod.ln-sigma"}
    modulus = [Distance(parallax=p * u.mas).distmod.value for p in (parallax, parallax - 1e-5, parallax + 1e-5)]
    assert out["photometric.distmod.mu"].item() == pytest.approx(modulus[0], abs=1e-9)
    slope = abs(modulus[2] - modulus[1]) / 2e-5
    assert out["photometric.distmod.ln-sigma"].exp().item() == pytest.approx(slope * sigma, rel=1e-4)


def test_shared_parameters():
    hook = sml.builtin.ShareParameters({"spur.pm": "stream.pm", "spur.w": "stream.w"})
    given = {"stream.pm.mu": torch.ones(1), "stream.pm.ln-sigma": torch.zeros(1), "stream.pmx": torch.ones(1)}
    out = hook({**given, "stream.w": torch.ones(1)})
    assert set(out) - set(given) == {"stream.w", "spur.pm.mu", "spur.pm.ln-sigma", "spur.w"}
    assert out["spur.pm.mu"] is given["stream.pm.mu"]


def test_shared_parameters_in_a_mixture():
    stream, spur = normal(net=Constant(2)), normal()
    background = sml.builtin.Uniform(coord_names=("phi2",), coord_bounds=WINDOW)
    names = ("stream.ln-weight", "spur.ln-weight")
    model = sml.MixtureModel(
        {"stream": stream, "spur": spur, "background": background},
        net=Constant(2),
        data_scaler=numbers(),
        params=ModelParameters(dict.fromkeys(names, (-3.0, -1.0))),
        unpack_params_hooks=(sml.builtin.ShareParameters({"spur.phi2": "stream.phi2"}),),
    )
    data = phi2_at(0.0, 1.0)
    p = model.membership(model(data), data)
    torch.testing.assert_close(p[:, 0], p[:, 1])


# Posterior of the networks as functions

NETS = {
    "sequential": lambda: nn.Sequential(nn.Linear(1, 2)),
    "linear": lambda: nn.Linear(1, 2),
    "grid": lambda: on_grid(nn.Sequential(nn.Linear(1, 2)), span=(-2.0, 2.0)),
}
WIDTH = 0.8  # of the prior of a network's output, on average over the grid


def linear_gaussian(net):
    """A line mu = b + w x; residuals of one sigma to both sides make the scores' sum the posterior's precision."""
    model = normal(net=net, coord_err_names=("phi2_err",))
    layer = next(module for module in net.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.4], [0.0]]))
        layer.bias.copy_(torch.tensor([0.5, math.log(0.3)]))
    phi1 = torch.linspace(-35, 25, 60).repeat_interleave(2)
    error = torch.linspace(0.1, 2.0, 60).repeat_interleave(2)
    sigma = torch.hypot(error, torch.tensor(0.3))
    side = torch.tensor([1.0, -1.0]).repeat(60)
    x = phi1 / 20
    return model, Data({"phi1": phi1, "phi2": 0.5 + 0.4 * x + side * sigma, "phi2_err": error}), x, sigma


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


def test_polishing_leaves_a_network_without_a_linear_end():
    model = normal(net=nn.Sequential(nn.Linear(1, 2), nn.Tanh()))
    before = copy.deepcopy(model.net.state_dict())
    assert polish(model, [Batch(phi2_at(0.0, 1.0))]) == 0
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())


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


def test_a_last_layer_without_bias_is_not_polished():
    model = normal(net=nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2, bias=False)))
    before = copy.deepcopy(model.net.state_dict())
    assert polish(model, [Batch(phi2_at(0.1, 0.3, -0.2))]) == 0
    for name, value in model.net.state_dict().items():
        assert torch.equal(value, before[name])


# What is refused, and how

PARTS = ModelParameters({"phi2": {"mu": ModelParameter(), "ln-sigma": ModelParameter()}})
CURVE = sml.builtin.Isochrone([0.5, 0.8], [[7.0, 6.5], [3.0, 2.6]], ("g", "r"))


ONLY_WIDTH = PARTS.without("phi2.mu")


def four_missing():
    columns = {name: torch.tensor([NAN]) for name in "abcd"} | {"phi1": torch.zeros(1), "e": torch.zeros(1)}
    return ZukoFlowModel(net=flow(5), coord_names=tuple("abcde")).ln_likelihood({}, Data(columns))


def uniform(name):
    return sml.builtin.Uniform(coord_names=(name,), coord_bounds={name: (0, 1)})


REFUSED = {
    "the columns of Data need one common length (N, ...); found {'a': 2, 'b': 3}": lambda: Data(
        {"a": torch.zeros(2), "b": torch.zeros(3)}
    ),
    "one common length (N, ...); found {}": lambda: Data({}),
    "one common length (N, ...); found {'a': None}": lambda: Data({"a": torch.tensor(1.0)}),
    "new columns have 2 rows; the data has 4": lambda: table().with_columns({"a": torch.zeros(2)}),
    "StandardScaler of ('a', 'b') needs 2 means and 2 scales": lambda: StandardScaler(("a", "b"), [1.0], [1.0]),
    "StandardScaler of ('a',) needs 1 means and 1 scales, or neither": lambda: StandardScaler(("a",), mean=[1.0]),
    "scales must be positive; got [0.0]": lambda: StandardScaler(("a",), [1.0], [0.0]),
    "column 'g' has no measured value": lambda: StandardScaler.fit(Data({"g": torch.tensor([NAN])})),
    "the scaler has no column ['z']; it has ['phi1']": lambda: numbers()[("phi1", "z")],
    "SigmoidBounds needs lower < upper; got 2 and 1": lambda: SigmoidBounds(2, 1),
    "ClippedBounds needs lower < upper; got 1 and 1": lambda: ClippedBounds(1, 1),
    "StandardWidth needs scale > 0; got 0": lambda: StandardWidth(0),
    "StandardLnWidth needs a finite ln_scale; got -inf": lambda: StandardLnWidth(-math.inf),
    "the network gives 3 outputs for the parameters ['phi2.mu', 'phi2.ln-sigma']": lambda: PARTS(torch.zeros(1, 3)),
    "parameter 'phi2.mu' must be a ModelParameter or (lower, upper); got 3": lambda: ModelParameters(
        {"phi2": {"mu": 3}}
    ),
    "dropout must be in [0, 1); got 1.0": lambda: sequential(1, 8, 2, 1, dropout=1.0),
    "the number of layers of a network must be 1 or more; got 0": lambda: sequential(1, 8, 0, 1),
    "the gain of a network must be positive; got 0": lambda: sequential(1, 8, 2, 1, gain=0),
    "a grid needs at least 2 nodes; got 1": lambda: on_grid(sequential(1, 8, 2, 1), size=1),
    "ControlRegions of mu: phi1, center and width have 2, 1 and 2 values": lambda: ControlRegions(
        "mu", [0, 1], [0], [1, 1]
    ),
    "phi1, center and width have 0, 0 and 0 values": lambda: ControlRegions("mu", [], [], 1.0),
    "widths must be > 0 and lamda >= 0; got [0.0]": lambda: ControlRegions("mu", [0], [0], 0.0),
    "no parameter 'mu'; the model has ['phi2.mu']": lambda: ControlRegions("mu", [0], [0], 1.0)(line(1)),
    "Normal: coord_bounds phi2: (3.0, -2.0) needs low < high": lambda: normal(coord_bounds={"phi2": (3, -2)}),
    "coord_bounds g: (0.0, 1.0) needs low < high and a name among ['phi2']": lambda: normal(coord_bounds={"g": (0, 1)}),
    "a network and its parameters come together; got net=Constant and params []": lambda: normal(
        net=Constant(1), params=ModelParameters()
    ),
    "got net=NoneType and params ['phi2.mu', 'phi2.ln-sigma']": lambda: normal(params=PARTS),
    "Normal over ['g'] has the parameters ['g.ln-sigma', 'g.mu']; got ['phi2.ln-sigma', 'phi2.mu']": lambda: normal(
        net=Constant(2), params=PARTS, coord_names=("g",)
    ),
    "no parameter 'phi2.mu' in a part that has ['phi2.ln-sigma', 'ln-weight']: list it in the part's params, or set": (
        lambda: dry_run(mixture("stream", stream=lambda: normal(net=Constant(1), params=ONLY_WIDTH)), phi2_at(0.0))
    ),
    "the network gives 1 outputs for the parameters ['phi2.mu', 'phi2.ln-sigma']": lambda: dry_run(
        mixture("stream", stream=lambda: normal(net=Constant(1), params=PARTS)), phi2_at(0.0)
    ),
    "ControlRegions: no parameter 'phi2.m'; the model has ['phi2.mu', 'phi2.ln-sigma']": lambda: dry_run(
        normal(net=Constant(2), params=PARTS, priors=(ControlRegions("phi2.m", [0.0], [0.0], 1.0),)), phi2_at(0.0)
    ),
    "HardThreshold of a.ln-weight needs lower < upper; got 2 and 1": lambda: HardThreshold("a.ln-weight", 2, 1),
    "HardThreshold switches off a ln-weight; got 'phi2.mu'": lambda: HardThreshold("phi2.mu", 0, 1),
    "HardThreshold: no parameter 'spur.ln-weight'; the model has ['stream": lambda: mixture(
        "stream", priors=(HardThreshold("spur.ln-weight", 0, 1),)
    )(phi2_at(0.0)),
    "to sample, Normal needs the columns ['phi2_err']; it was given ('phi1',)": lambda: normal(
        net=Constant(2), params=PARTS, coord_err_names=["phi2_err"]
    ).sample(torch.zeros(1)),
    "to sample, every star needs a place and its errors; some have no ['phi1']": lambda: uniform("g").sample(
        torch.tensor([NAN])
    ),
    "the network of FlowModel, a Linear, has no log_prob": lambda: FlowModel(
        net=torch.nn.Linear(1, 1), coord_names=("phi2",)
    ).ln_likelihood({}, phi2_at(0.0)),
    "Uniform: give coord_bounds for ['phi2']": lambda: sml.builtin.Uniform(coord_names=("phi2",)),
    "Normal: errors for ['g'], which are not among ['phi2']": lambda: normal(coord_err_names={"g": "g_err"}),
    "2 error names ['a', 'b'] for 1 coordinates ['phi2']": lambda: normal(coord_err_names=["a", "b"]),
    "IndependentModels needs components with names without dots; got []": lambda: sml.IndependentModels({}),
    "names without dots; got ['a.b']": lambda: sml.IndependentModels({"a.b": uniform("g")}),
    "MixtureModel needs components with names without dots; got []": lambda: sml.MixtureModel({}),
    "the coordinates ['g'] belong to more than one of ['a', 'b']": lambda: sml.IndependentModels(
        {"a": uniform("g"), "b": uniform("g")}
    ),
    "must cover the same coordinates; found {'a': ['g'], 'b': ['r']}": lambda: sml.MixtureModel(
        {"a": uniform("g"), "b": uniform("r")}
    ),
    "MixtureModel: params must be ['stream.ln-weight']; got []": lambda: sml.MixtureModel(
        {"stream": uniform("g"), "background": uniform("g")}
    ),
    "a mixture of a background alone has no weight": lambda: sml.MixtureModel({"background": uniform("phi2")})(
        phi2_at(0.0)
    ),
    "Parallax2DistMod: no parameter 'a.parallax.mu'; the model has ['b']": lambda: sml.builtin.Parallax2DistMod(
        "a.parallax", "p.distmod"
    )({"b": torch.zeros(1)}),
    "ShareParameters: no parameter 'x'; the model has ['b']": lambda: sml.builtin.ShareParameters({"y": "x"})(
        {"b": torch.zeros(1)}
    ),
    "zuko.flows has no 'XYZ'": lambda: flow(1, kind="XYZ"),
    "ZukoFlowModel has no named parameters; got ['phi2.mu', 'phi2.ln-sigma']": lambda: ZukoFlowModel(
        net=flow(1), coord_names=("phi2",), params=PARTS
    ),
    "a star lacks 4 of the coordinates ['a', 'b', 'c', 'd', 'e'] of one flow": four_missing,
    "IsochroneMVNorm has the parameters ['distmod.mu', 'distmod.ln-sigma']; got ['phi2.mu'": lambda: (
        sml.builtin.IsochroneMVNorm(isochrone=CURVE, params=PARTS, net=Constant(2))
    ),
    "IsochroneMVNorm: phot_names ['g'] and bands ['g', 'r'] differ in length": lambda: sml.builtin.IsochroneMVNorm(
        isochrone=CURVE, phot_names=("g",)
    ),
    "phot_apply_dm [True] differ in length": lambda: sml.builtin.IsochroneMVNorm(isochrone=CURVE, phot_apply_dm=[True]),
    "one for each of the 2 bands": lambda: sml.builtin.IsochroneMVNorm(isochrone=CURVE, scatter=[0.1]),
    "one for each of the 2 points": lambda: sml.builtin.IsochroneMVNorm(isochrone=CURVE, scatter=[-0.1, 0.1]),
    "['r'] have neither errors nor scatter": lambda: sml.builtin.IsochroneMVNorm(
        isochrone=CURVE, phot_err_names={"g": "g_err"}
    ),
    "correlation c needs two columns with errors": lambda: sml.builtin.IsochroneMVNorm(
        isochrone=CURVE, phot_err_names={"g": "g_err"}, phot_corr_names={"c": ("g", "r")}, scatter=0.1
    ),
}


@pytest.mark.parametrize(("message", "call"), REFUSED.items(), ids=[m[:40] for m in REFUSED])
def test_what_is_wrong_is_said(message, call):
    with pytest.raises(InputError, match=re.escape(message)):
        call()


def test_a_jacobian_that_disagrees_is_named():
    scaler = StandardScaler(("phi1", "g"), mean=[0.0, 20.0], scale=[1.0, 2.0])
    with pytest.warns(UserWarning, match=r"over \['g'\] was given as 3; its scaler has -0.6931, which is used"):
        ZukoFlowModel(net=flow(1), coord_names=("g",), data_scaler=scaler, jacobian_logdet=3.0)
