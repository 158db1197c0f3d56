"""What the stars say of the weights of a mixture."""

import pytest
import torch
from small_models import WINDOW, mixture, normal

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.inference.expansion import expand
from stream_mapper.inference.functions import Functions
from stream_mapper.inference.weight_information import weight_information
from stream_mapper.models import Batch
from stream_mapper.nn import Constant


def thin(f, sigma=0.1, phi2=0.0, names=("stream",)):
    """Streams of known weight, one above the other, over an even background."""
    model = mixture(*names, stream=lambda: normal(sml.builtin.TruncatedNormal, net=Constant(2), coord_bounds=WINDOW))
    for i, name in enumerate(names):
        model.components[name].net.value.data = centre(phi2 + i, sigma)
    model.weights.net.value.data = torch.full((len(names),), f).log()
    return model.double()


def centre(phi2, sigma):
    return torch.tensor([phi2, torch.tensor(sigma).log().item()])


def drawn(model, count, seed=0):
    return model.sample(torch.rand(count, dtype=torch.float64) * 40 - 20, seed=seed)


def information(model, data, batches=1):
    """Sum of the information of a constant function of each weight, (Q,)."""
    size = -(-len(data) // batches)
    parts = Batch(data).split(size)
    functions = Functions(model, parts)
    found = expand(model, functions, parts)
    of_weights = [f for f, (path, _) in enumerate(functions.names) if path == "weights"]
    ones = torch.ones(functions.size, 1, dtype=torch.float64)
    return torch.stack([found.between(f, f, ones, ones)[0, 0] for f in of_weights])


def expected(model, n):
    """Fisher information of n stars in each ln-weight, by quadrature over phi2."""
    phi2 = torch.linspace(*WINDOW["phi2"], 20_001, dtype=torch.float64)
    data = Data({"phi1": torch.zeros_like(phi2), "phi2": phi2})
    joint = model.ln_joint(model(data), data).detach()
    f = model.weights.net.value.detach().exp()
    score = (joint - joint[:, -1:]).softmax(-1)[:, :-1] - joint.softmax(-1)[:, -1:] * f / (1 - f.sum())
    return n * torch.trapezoid(score.square() * joint.logsumexp(-1).exp()[:, None], phi2, dim=0)


@pytest.mark.parametrize("batches", [1, 3])
def test_where_no_star_is_of_a_component_there_are_few(batches):
    """As of a Poisson number of stars whose expectation is N f."""
    model, n = thin(0.02), 3000
    data = Data({"phi1": torch.linspace(-20, 20, n), "phi2": torch.full((n,), 2.5)}).to(dtype=torch.float64)
    assert information(model, data, batches).item() == pytest.approx(0.02 * n, rel=0.05)
    assert sum(x.sum().item() for x in weight_information(model, model.weights, [Batch(data)])) > 0.9 * 0.02 * n


@pytest.mark.parametrize(
    ("f", "sigma", "n"), [(0.05, 0.1, 20_000), (0.3, 0.1, 3000), (0.1, 0.6, 20_000), (0.7, 0.3, 3000)]
)
def test_where_there_are_stars_of_it_they_are_not_counted_twice(f, sigma, n):
    """Stars drawn from the model, some clear members and some not."""
    model = thin(f, sigma)
    found = [information(model, drawn(model, n, seed)).item() for seed in range(5)]
    assert sum(found) / 5 == pytest.approx(expected(model, n).item(), rel=0.035)


def test_of_two_components_each_has_its_own():
    model = thin(0.05, names=("a", "b"))
    data = drawn(model, 20_000)
    torch.testing.assert_close(information(model, data), expected(model, 20_000), rtol=0.08, atol=0)
    none_of_b = data[(data["phi2"] - 1).abs() > 0.5]
    assert information(model, none_of_b)[1].item() == pytest.approx(0.05 * len(none_of_b), rel=0.1)


def test_it_adds_nothing_where_the_component_is_switched_off_or_nowhere():
    model = thin(0.05)
    model.priors.append(sml.prior.HardThreshold("stream.ln-weight", -5.0, 5.0))
    data = Data({"phi1": torch.linspace(-20, 20, 401), "phi2": torch.full((401,), 2.5)}).to(dtype=torch.float64)
    (lacking,) = weight_information(model, model.weights, [Batch(data)])
    off = data["phi1"].abs() > 5
    assert not lacking[off].any()
    assert (lacking[~off] > 0).all()
    everywhere = data.with_columns({"phi2": torch.full((401,), 9.0, dtype=torch.float64)})
    assert weight_information(model, model.weights, [Batch(everywhere)])[0].isfinite().all()


def test_a_weight_near_one_has_a_finite_information():
    model = thin(0.05)
    model.weights.net.value.data.fill_(30.0)
    data = Data({"phi1": torch.linspace(-20, 20, 50), "phi2": torch.full((50,), 0.1)}).to(dtype=torch.float64)
    assert information(model, data).isfinite().all()
