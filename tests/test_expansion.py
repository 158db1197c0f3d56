"""Gradient and information of the stars in functions along the stream."""

import math

import numpy as np
import pytest
import torch
from small_models import NAN, WINDOW, mixture, normal, numbers, phi2_at

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.inference.expansion import Expansion, Places, expand
from stream_mapper.inference.functions import Functions
from stream_mapper.inference.scores import guide_scores
from stream_mapper.models import Batch
from stream_mapper.nn import Constant, sequential
from stream_mapper.params import ModelParameter, ModelParameters
from stream_mapper.prior import ControlRegions, HardThreshold


def test_products_are_those_of_the_dense_matrix():
    rng = np.random.default_rng(1)
    functions, nodes, terms = 3, 7, 40
    left, weight = rng.integers(0, nodes - 1, terms), rng.uniform(0, 1, terms)
    rising, slopes = rng.normal(size=(2, terms, functions))
    lacking, last_two = rng.uniform(size=(terms, 2)), slice(1, 3)
    curvature = slopes[:, :, None] * slopes[:, None, :]
    curvature[:, [1, 2], [1, 2]] += lacking
    at = np.zeros((terms, nodes))
    at[np.arange(terms), left], at[np.arange(terms), left + 1] = 1 - weight, weight
    dense = np.einsum("nfg,ni,nj->figj", curvature, at, at)
    found = Expansion.zero(functions, nodes)
    for rows in (slice(0, 15), slice(15, None)):
        places = Places(torch.tensor(left[rows]), torch.tensor(weight[rows]))
        found.add(places, torch.tensor(rising[rows]), torch.tensor(slopes[rows]))
        found.add_diagonal(places, last_two, torch.tensor(lacking[rows]))
    np.testing.assert_allclose(found.gradient, np.einsum("nf,ni->fi", rising, at))
    values, basis = rng.normal(size=(functions, nodes)), rng.normal(size=(nodes, 4))
    np.testing.assert_allclose(found.pull(torch.tensor(values)), np.einsum("figj,gj->fi", dense, values))
    for f in range(functions):
        for g in range(functions):
            np.testing.assert_allclose(found.times(f, g, torch.tensor(basis)), dense[f, :, g] @ basis)
            between = found.between(f, g, torch.tensor(values.T), torch.tensor(basis))
            np.testing.assert_allclose(between, values @ dense[f, :, g] @ basis)


def stream():
    guide = ControlRegions("phi2.mu", [-20.0, 5.0], [0.0, 0.5], 0.1, lamda=3.0)
    return normal(sml.builtin.TruncatedNormal, net=sequential(1, 8, 3, 2), coord_bounds=WINDOW, priors=(guide,))


def one_stream():
    return mixture("stream", stream=stream, net=sequential(1, 8, 3, 1))


def two_streams():
    threshold = HardThreshold("b.ln-weight", -10.0, 30.0)
    return mixture("a", "b", stream=stream, net=sequential(1, 8, 3, 2), priors=(threshold,))


def alone():
    return normal(net=sequential(1, 8, 3, 2), coord_err_names=("phi2_err",))


def stars():
    phi2 = torch.randn(300).clamp(-1.9, 2.9)
    phi2[::7] = NAN
    columns = {"phi1": torch.rand(300) * 60 - 30, "phi2": phi2, "phi2_err": torch.rand(300) + 0.1}
    return Data(columns).to(dtype=torch.float64)


def per_term(model, functions, batches, values):
    """Log likelihood of each star, and the residuals of the guides, with these functions."""
    functions.set(values)
    with torch.no_grad():
        ln_p = torch.cat([model.ln_likelihood(model(batch.stars), batch.stars) for batch in batches])
    guides = [residuals for residuals, _ in guide_scores(model, list(functions.parts.values()))]
    return ln_p, torch.cat([ln_p.new_zeros(0), *guides])


@pytest.mark.parametrize("make", [alone, one_stream, two_streams])
def test_gradient_and_information_are_numerical_derivatives(make):
    model, data = make().double(), stars()
    batches = [Batch(data[:100]), Batch(data[100:])]
    functions = Functions(model, batches, size=20)
    values = functions.values() + 0.3 * torch.randn(len(functions), 20, dtype=torch.float64)
    functions.set(values)
    found = expand(model, functions, batches)
    for f, (path, name) in enumerate(functions.names):
        direction, h = torch.zeros_like(values), 1e-5
        direction[f] = torch.randn(20)
        up, down = (per_term(model, functions, batches, values + side * h * direction) for side in (1, -1))
        d_stars, d_guides = ((a - b) / (2 * h) for a, b in zip(up, down, strict=True))
        middle = per_term(model, functions, batches, values)[1]
        slope = d_stars.sum() - (middle * d_guides).sum()
        assert slope.abs() > 1e-2, name
        assert (found.gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-5), name
        squared = d_stars.square().sum() + d_guides.square().sum()
        information = (direction * found.pull(direction)).sum().item()
        if path == "weights":
            assert information >= squared.item() * (1 - 1e-6), name
        else:
            assert information == pytest.approx(squared.item(), rel=1e-5), name


def test_a_star_without_the_coordinate_says_nothing():
    model = alone()
    batch = Batch(Data({"phi1": torch.zeros(5), "phi2": torch.full((5,), NAN), "phi2_err": torch.ones(5)}))
    found = expand(model, Functions(model, [batch]), [batch])
    assert not found.gradient.any()
    assert not found.diagonal.any()


def test_a_component_that_is_switched_off_says_nothing_there():
    model = two_streams()
    model.components["b"].priors = torch.nn.ModuleList()
    data = Data({"phi1": torch.linspace(-40, 40, 81), "phi2": torch.zeros(81)})
    functions = Functions(model, [Batch(data)], size=9)
    found = expand(model, functions, [Batch(data)])
    assert found.gradient.isfinite().all()
    of_b = [f for f, (path, name) in enumerate(functions.names) if "b" in (path[-1], name[0])]
    assert len(of_b) == 3
    for f in of_b:
        assert not found.diagonal[f, f, :2].any()
        assert found.diagonal[f, f, 5:7].all()


def test_networks_of_the_coordinate_along_the_stream_alone_are_functions_of_it():
    other = {"indep_coord_names": ("phi2",), "coord_names": ("phi3",)}
    along = normal(net=sequential(1, 8, 3, 2))
    across = sml.builtin.Normal(net=sequential(1, 8, 3, 2), params=phi3(), **other)
    both = sml.builtin.Normal(
        net=sequential(2, 8, 3, 2), params=phi3("phi4"), indep_coord_names=("phi1", "phi2"), coord_names=("phi4",)
    )
    frozen = normal(net=Constant(2), coord_names=("phi5",), params=phi3("phi5")).requires_grad_(False)
    model = sml.IndependentModels({"across": across, "along": along, "both": both, "frozen": frozen})
    data = Data({"phi1": torch.tensor([2.0, 5.0]), "phi2": torch.tensor([-90.0, 90.0])})
    functions = Functions(model, [Batch(data)])
    assert [name for _, name in functions.names] == ["phi2.mu", "phi2.ln-sigma"]
    assert functions.ends == (2.0, 5.0)


def phi3(name="phi3"):
    return ModelParameters({name: {"mu": ModelParameter(), "ln-sigma": ModelParameter()}})


def test_functions_are_what_is_set_whatever_the_network():
    model = normal(net=sequential(1, 8, 3, 2))
    data = phi2_at(*torch.randn(30).tolist())
    functions = Functions(model, [Batch(data)], size=16)
    values = torch.randn(2, 16, dtype=torch.float64)
    functions.set(values)
    torch.testing.assert_close(functions.values(), values, atol=1e-6, rtol=0)
    nodes = Data({"phi1": functions.nodes.float()})
    torch.testing.assert_close(model(nodes)["phi2.mu"].double(), values[0], atol=1e-5, rtol=0)
    with torch.no_grad():
        model.net[0].weight.add_(1.0)
    again = Functions(model, [Batch(data)], size=16)
    again.set(values)
    torch.testing.assert_close(model(nodes)["phi2.mu"].double(), values[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("places", "ends"), [([3.0], (2.5, 3.5)), ([], (0.0, 1.0)), ([1.0, 1.0], (0.5, 1.5))])
def test_stars_at_one_place_or_none_have_a_grid(places, ends):
    model = normal(net=sequential(1, 8, 3, 2))
    data = Data({"phi1": torch.tensor(places), "phi2": torch.zeros(len(places))})
    functions = Functions(model, [Batch(data)])
    assert functions.ends == ends
    found = expand(model, functions, [Batch(data)])
    assert found.gradient.isfinite().all()
    assert bool(found.diagonal.any()) == bool(places)
    assert math.isfinite(found.pull(functions.values()).sum().item())


def test_stars_beyond_the_ends_of_the_scaler_are_on_the_grid():
    model = normal(net=sequential(1, 8, 3, 2), data_scaler=numbers())
    data = Data({"phi1": torch.tensor([-400.0, 900.0]), "phi2": torch.zeros(2)})
    functions = Functions(model, [Batch(data)], size=5)
    found = expand(model, functions, [Batch(data)]).diagonal[1, 1]
    assert (found[[0, 4]] > 0).all()
    torch.testing.assert_close(found[1:4], torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)
