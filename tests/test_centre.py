"""The functions along the stream in the middle of their posterior."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from small_models import NETS, WIDTH, WINDOW, linear_gaussian, mixture, normal, phi2_at

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.inference.ascent import ascend
from stream_mapper.inference.centre import _Posterior, centre
from stream_mapper.inference.expansion import expand
from stream_mapper.inference.functions import Functions
from stream_mapper.inference.kernels import Kernel
from stream_mapper.models import Batch
from stream_mapper.nn import Constant

PRIORS = [Kernel(1.0, centre=0.5), Kernel(0.7, centre=np.log(0.3).item()), Kernel(1.0, centre=np.log(0.1).item())]
"""Of the mean, the log width and the log weight of a thin stream."""


def thin(weight=0.08, sigma=0.25, phi2=0.5):
    """A stream of constant parameters over an even background."""
    model = mixture("stream", stream=lambda: normal(sml.builtin.TruncatedNormal, net=Constant(2), coord_bounds=WINDOW))
    model.components["stream"].net.value.data = torch.tensor([phi2, np.log(sigma)])
    model.weights.net.value.data = torch.tensor([np.log(weight)])
    return model.double()


def stars_of(model, count, seed):
    return model.sample(torch.linspace(-20, 20, count, dtype=torch.float64), seed=seed)


def parameters(model, data):
    return Functions(model, [Batch(data)]).values().mean(-1).numpy()


def moments(data, size=41):
    """Mean and standard deviation of the posterior of the three parameters, by quadrature in float64."""
    ranges = [(-0.1, 1.1), (np.log(0.03), np.log(1.2)), (np.log(0.01), np.log(0.4))]
    axes = np.meshgrid(*(np.linspace(*span, size) for span in ranges), indexing="ij")
    mu, ln_sigma, ln_weight = (axis.ravel() for axis in axes)
    (low, high), sigma, weight = WINDOW["phi2"], np.exp(ln_sigma), np.exp(ln_weight)
    inside = special.ndtr((high - mu) / sigma) - special.ndtr((low - mu) / sigma)
    ln_p = sum(stats.norm.logpdf(x, k.centre, k.offset) for x, k in zip((mu, ln_sigma, ln_weight), PRIORS, strict=True))
    for phi2 in data["phi2"].numpy():
        law = np.exp(-0.5 * ((phi2 - mu) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma * inside)
        ln_p = ln_p + np.log(weight * law + (1 - weight) / (high - low))
    p = special.softmax(ln_p)
    values = np.stack([mu, ln_sigma, ln_weight])
    mean = values @ p
    return mean, np.sqrt(np.square(values - mean[:, None]) @ p)


def test_the_middle_is_the_mean_that_quadrature_finds():
    """Of thin streams of 10 to 20 stars, whose tops are too thin and too rich."""
    of_top, of_middle = [], []
    for seed in range(6):
        model = thin()
        data = stars_of(model, 200, seed)
        mean, deviation = moments(data)
        ascend(model, [Batch(data)], kernels=PRIORS)
        of_top.append((parameters(model, data) - mean) / deviation)
        centre(model, [Batch(data)], PRIORS)
        of_middle.append((parameters(model, data) - mean) / deviation)
    _, width, weight = np.mean(of_top, 0)
    assert width < -0.25
    assert weight > 0.2
    assert np.abs(np.mean(of_middle, 0)).max() < 0.2
    assert (np.square(of_middle).mean(0)[1:] < 0.8 * np.square(of_top).mean(0)[1:]).all()


def test_the_gradient_is_that_of_what_is_raised():
    model = thin()
    batches = [Batch(block) for block in (stars_of(model, 150, 1), stars_of(model, 100, 2))]
    functions = Functions(model, batches)
    posterior = _Posterior(model, functions, batches, PRIORS)
    start, nearby, _ = posterior._start()
    _, slope = posterior._falls(start, nearby)
    step = 1e-3
    for i, unit in enumerate(torch.eye(len(start), dtype=start.dtype)):
        ahead, behind = (posterior._falls(start + sign * step * unit, nearby)[0] for sign in (1, -1))
        assert slope[i].item() == pytest.approx((ahead - behind) / (2 * step), rel=0.05, abs=0.05)


@pytest.mark.parametrize("make", NETS.values(), ids=NETS.keys())
def test_a_mean_of_known_width_stays_where_it_is(make):
    """Its posterior is a Gaussian, whose mean is its top."""
    model, data, x, sigma = linear_gaussian(make())
    data = data.with_columns({"phi2": 0.5 + 0.4 * x + sigma * torch.randn(len(x))})
    kernels = [Kernel(WIDTH, WIDTH), Kernel(1e-6, centre=np.log(0.3).item())]
    batches = [Batch(data)]
    ascend(model, batches, kernels=kernels)
    top = Functions(model, batches).values()
    information = expand(model, Functions(model, batches), batches).diagonal[0, 0].sum().item()
    centre(model, batches, kernels)
    assert (Functions(model, batches).values() - top).abs().max().item() < 0.1 / information**0.5


def test_batches_and_single_precision_change_nothing():
    values = []
    for size, dtype in ((200, torch.float64), (33, torch.float64), (200, torch.float32)):
        model = thin().to(dtype)
        stars = stars_of(thin(), 200, 3).to(dtype=dtype)
        batches = Batch(stars).split(size)
        centre(model, batches, PRIORS)
        values.append(parameters(model, stars))
    np.testing.assert_allclose(values[1], values[0], atol=1e-6)
    np.testing.assert_allclose(values[2], values[0], atol=0.02)


def test_a_model_without_functions_and_no_stars_are_left_alone():
    model = mixture("stream").requires_grad_(False)
    centre(model, [Batch(phi2_at(0.1, 0.2))], [])
    one, empty = thin(), Data({"phi1": torch.zeros(0), "phi2": torch.zeros(0)}).to(dtype=torch.float64)
    centre(one, [Batch(empty)], PRIORS)
    middle = Functions(one, [Batch(empty)]).values()[:, 0].tolist()
    assert middle == pytest.approx([kernel.centre for kernel in PRIORS], abs=1e-6)
