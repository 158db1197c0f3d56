"""Where components begin and end. phi1 and phi2 are in deg."""

import math

import lightning as L
import numpy as np
import pytest
import torch
from scipy.special import expit
from small_models import mixture, phi2_at, state_of

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.description import build, describe
from stream_mapper.inference.ascent import PRIOR_WIDTH, ascend
from stream_mapper.inference.edges import Edge, _Grid, _stars_of
from stream_mapper.inference.ensemble import Ensemble
from stream_mapper.inference.kernels import Kernel, candidates
from stream_mapper.inference.laplace import FunctionPosterior
from stream_mapper.models import Batch
from stream_mapper.models.base import scope
from stream_mapper.nn import Constant, on_grid, sequential
from stream_mapper.params import ModelParameters
from stream_mapper.training import StreamModule
from stream_mapper.training.batches import Batches

BOTH = {"begin": (-30.0, -10.0), "end": (20.0, 40.0)}
NAMES = ("begin", "end", "ln-begin-width", "ln-end-width")


def ended(ends, names=("stream",), background=True, **kwargs):
    """A mixture with ends, whose proposed weights are the network's own outputs."""
    plain = mixture(*names, background=background, **kwargs)
    return sml.MixtureModel(plain.components, **plain._arguments[1], ends=ends)


def place(model, **values):
    """Set the parameters of the ends to these values, whatever their order."""
    raw = [_raw(model.ends.params[name].bounds, values[name.partition(".")[2]]) for name in model.ends.params.names]
    model.ends.net.value.data = torch.tensor(raw) / model.ends.net.scale


def _raw(bounds, value):
    share = (value - bounds.lower) / (bounds.upper - bounds.lower)
    return math.log(share / (1 - share))


def edges(begin=-20.0, end=30.0, begin_width=0.1, end_width=1.0):
    ln_widths = {"ln-begin-width": math.log(begin_width), "ln-end-width": math.log(end_width)}
    return {"begin": begin, "end": end, **ln_widths}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_weight_falls_off_as_a_logistic_function(dtype):
    model = ended({"stream": sml.Ends(**BOTH)})
    model.weights.net.value.data = torch.tensor([math.log(0.3)])
    place(model, **edges())
    phi1 = np.linspace(-45, 50, 400)
    expected = 0.3 * expit((phi1 + 20) / 0.1) * expit((30 - phi1) / 1.0)
    params = model.to(dtype)(Data({"phi1": torch.tensor(phi1, dtype=dtype)}))
    np.testing.assert_allclose(params["stream.ln-weight"].detach().exp(), expected, rtol=2e-3, atol=1e-30)
    np.testing.assert_allclose(params["background.ln-weight"].detach().exp(), 1 - expected, rtol=1e-4)


@pytest.mark.parametrize(("side", "gone"), [("begin", -40.0), ("end", 45.0)])
def test_a_component_may_have_one_end(side, gone):
    model = ended({"stream": sml.Ends(**{side: BOTH[side]})})
    names = {name for name in model(phi2_at(0.0)) if "begin" in name or "end" in name}
    assert names == {f"stream.{side}", f"stream.ln-{side}-width"}
    weight = model(Data({"phi1": torch.tensor([gone, -gone])}))["stream.ln-weight"].exp()
    assert weight[0] < 1e-4
    assert weight[1] > 0.5


def test_a_fit_begins_in_the_middle_of_the_intervals_with_edges_inside_theirs():
    model = ended({"stream": sml.Ends(**BOTH, width=(0.1, 2.0))})
    params = {name: model(phi2_at(0.0))[f"stream.{name}"].item() for name in NAMES}
    assert (params["begin"], params["end"]) == (pytest.approx(-20), pytest.approx(30))
    assert 0.5 < math.exp(params["ln-begin-width"]) == math.exp(params["ln-end-width"]) < 2


def test_hooks_see_what_is_proposed_and_priors_what_is_left():
    seen = []

    def hook(params):
        seen.append(params["stream.ln-weight"].detach())
        return params | {"spur.begin": params["stream.begin"]}

    def look(params, phi1):
        seen.append(params["stream.ln-weight"].detach())
        return torch.zeros(1)

    plain = mixture("stream", "spur", priors=[sml.prior.FunctionPrior(look, [-40.0])])
    given = plain._arguments[1] | {"unpack_params_hooks": [hook]}
    ends = {"stream": sml.Ends(**BOTH), "spur": sml.Ends(begin=(-9.0, 9.0))}
    model = sml.MixtureModel(plain.components, **given, ends=ends)
    model.weights.net.value.data = torch.tensor([-2.0, -2.0])
    model.ln_prior()
    proposed, final = seen
    assert proposed.item() == -2
    assert final.item() < -10
    weight = model(Data({"phi1": torch.tensor([-15.0])}))
    assert weight["spur.ln-weight"].item() == pytest.approx(-2, abs=0.1)  # it begins where the stream does


def test_a_component_that_is_switched_off_stays_off():
    model = ended({"stream": sml.Ends(**BOTH)}, priors=[sml.prior.HardThreshold("stream.ln-weight", lower=0.0)])
    weight = model(Data({"phi1": torch.tensor([-5.0, 5.0])}))["stream.ln-weight"]
    assert weight[0] == -math.inf
    assert weight[1].isfinite()


@pytest.mark.parametrize("background", [True, False])
def test_far_beyond_a_sharp_end_gradients_are_finite(background):
    """In single precision; the proposed weight then has no say."""
    names = ("stream",) if background else ("stream", "spur")
    model = ended({"stream": sml.Ends(**BOTH)}, names, background)
    place(model, **edges(begin_width=0.0501, end_width=0.0501))
    data = Data({"phi1": torch.tensor([-70.0, 80.0, -300.0]), "phi2": torch.zeros(3)})
    params = model(data)
    assert params["stream.ln-weight"].isfinite().all()
    assert (params["stream.ln-weight"] < -900).all()
    assert model.membership(params, data)[:, 0].max() < 1e-30
    slopes = torch.autograd.grad(
        model.ln_likelihood(params, data).sum(), [model.weights.net.value, model.ends.net.value]
    )
    assert all(slope.isfinite().all() for slope in slopes)
    assert slopes[0].abs().max() < 1e-6


def test_a_mixture_with_ends_is_built_again_from_its_description():
    model = ended({"stream": sml.Ends(begin=(-30, -10), width=(0.1, 2))})
    again = build(describe(model))
    again.load_state_dict(state_of(model))
    data = phi2_at(0.1, 0.3, -1.0)
    assert torch.equal(again.ln_likelihood(again(data), data), model.ln_likelihood(model(data), data))
    assert again.ends.params.names == ("stream.begin", "stream.ln-begin-width")


def test_fits_side_by_side_have_ends_of_their_own():
    model = ended({"stream": sml.Ends(**BOTH)})
    fits = Ensemble(model, 2)
    fits.weights_of(model)[1]["ends.net.value"].data[0] += 0.2
    params, _ = fits.evaluate(model, phi2_at(0.0, 1.0))
    first, second = params["stream.begin"].view(2, 2)
    assert (second > first + 1).all()
    with fits.fits(model)[1]:
        torch.testing.assert_close(model(phi2_at(0.0, 1.0))["stream.begin"], second)


def test_the_fits_of_an_ensemble_start_with_other_ends():
    """In the middle half of the intervals, with edges as wide as the first's."""
    model = ended({"stream": sml.Ends(**BOTH)})
    params, _ = Ensemble(model, 20).evaluate(model, phi2_at(0.0))
    others = params["stream.begin"][1:]
    assert ((others > -25) & (others < -15)).all()
    assert others.std() > 1
    assert (params["stream.ln-end-width"] == params["stream.ln-end-width"][0]).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs begin or end"),
        ({"begin": (-10, -30)}, r"begin must be an interval, lower < upper; got \[-10, -30\]"),
        ({"begin": (-10, 10), "end": (5, 20)}, r"begin must lie below that of end; got begin \[-10.0, 10.0\] and end"),
        ({"end": (0, 10), "width": (0, 1)}, r"width must be an interval above zero; got \[0.0, 1.0\]"),
        ({"end": (0, math.inf)}, "end must be an interval"),
    ],
)
def test_ends_that_cannot_be(given, message):
    with pytest.raises(sml.InputError, match=message):
        sml.Ends(**given)


@pytest.mark.parametrize("name", ["spur", "background"])
def test_ends_are_of_components_with_a_weight(name):
    with pytest.raises(sml.InputError, match=rf"ends are of components with a ln-weight, .*; got \['{name}'\]"):
        ended({name: sml.Ends(**BOTH)})


def test_the_prior_makes_places_about_as_likely_anywhere():
    """Draws of its normal law before the bounds, as shares of the interval: nearly an even law's."""
    (kernel,) = candidates(ended({"stream": sml.Ends(**BOTH)}).ends.net, PRIOR_WIDTH, 100.0)
    shares = expit(np.random.default_rng(1).normal(0, kernel.offset, 100_000))
    np.testing.assert_allclose(np.quantile(shares, [0.1, 0.25, 0.5, 0.75, 0.9]), [0.1, 0.25, 0.5, 0.75, 0.9], atol=0.05)


def test_without_stars_the_posterior_of_an_edge_is_even_too():
    model, nothing = ended({"stream": sml.Ends(**BOTH)}), phi2_at()
    posterior = FunctionPosterior()
    posterior.fit(model, [Batch(nothing)])
    with torch.no_grad():
        drawn = []
        for index in range(512):
            with posterior.draw(model, index):
                drawn.append(model(phi2_at(0.0))["stream.begin"].item())
    shares = (np.array(drawn) + 30) / 20
    np.testing.assert_allclose(np.quantile(shares, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.06)


def test_the_posterior_of_an_edge_without_stars_is_even_within_its_interval():
    """The logit of an even law is logistic."""
    model = ended({"stream": sml.Ends(begin=(-30.0, -10.0))})
    far = Data({"phi1": torch.linspace(100, 120, 50), "phi2": torch.zeros(50)})
    posterior = FunctionPosterior(2.0)
    posterior.fit(model, [Batch(far)])
    found = []
    with torch.no_grad():
        for i in range(1000):
            with posterior.draw(model, i):
                share = (model(far[:1])["stream.begin"].item() + 30) / 20
                found.append(math.log(share / (1 - share)))
    assert np.std(found) == pytest.approx(math.pi / math.sqrt(3), rel=0.1)


def sky(stars, seed, begin=-20.0, end=30.0, background=6000):
    """A stream about phi2 = 0.5, 0.1 wide, that ends sharply, and an even background."""
    draw = np.random.default_rng(seed)
    phi1 = np.concatenate([draw.uniform(begin, end, stars), draw.uniform(-45, 50, background)])
    phi2 = np.concatenate([draw.normal(0.5, 0.1, stars), draw.uniform(-2, 3, background)])
    return Data({"phi1": torch.tensor(phi1).float(), "phi2": torch.tensor(phi2).float()})


def model_of_sky(ends):
    """A stream of one position, with a weight by a network that can follow gaps."""
    window = {"phi2": (-2.0, 3.0)}
    params = ModelParameters({"phi2": {"mu": (0.3, 0.7), "ln-sigma": (-3.0, -1.5)}})
    stream = sml.builtin.TruncatedNormal(coord_names=["phi2"], coord_bounds=window, net=Constant(2), params=params)
    return sml.MixtureModel(
        {"stream": stream, "background": sml.builtin.Uniform(coord_names=["phi2"], coord_bounds=window)},
        net=on_grid(sequential(1, 32, 3, 1, gain=10)),
        params=ModelParameters({"stream.ln-weight": (-12.0, -0.5)}),
        ends={"stream": ends},
    )


def sky_of_three():
    """A stream with ends, a spur whose density is large where it is, and stars of all, some of them in both."""
    model = model_of_sky(sml.Ends(**BOTH))
    stream, background = model.components.values()
    spur = sml.builtin.Normal(
        coord_names=["phi2"],
        net=Constant(2),
        params=ModelParameters({"phi2": {"mu": (1.4, 1.6), "ln-sigma": (-5, -4)}}),
    )
    weights = ModelParameters({"stream.ln-weight": (-12.0, -0.5), "spur.ln-weight": (-12.0, -0.5)})
    parts = {"stream": stream, "spur": spur, "background": background}
    model = sml.MixtureModel(parts, net=Constant(2), params=weights, ends={"stream": sml.Ends(**BOTH)}).double()
    model.weights.net.value.data = torch.tensor([3.0, 0.0], dtype=torch.float64)
    stars = sky(300, 3).to(dtype=torch.float64)
    stars = stars.with_columns({"phi2": torch.where(torch.arange(len(stars)) % 50 == 0, 1.5, stars["phi2"])})
    place(model, **edges())
    return model, stars


def with_unjudged(model, stars):
    """Every fifth star lacks phi2, and is of the background seven times as likely."""
    model.unjudged.counted, model.unjudged.ln_more = ("phi2",), torch.tensor([0.0, math.log(7)])
    measured = torch.arange(len(stars)) % 5 > 0
    return stars.with_columns({"phi2": torch.where(measured, stars["phi2"], math.nan)})


@pytest.mark.parametrize("unjudged", [False, True])
@pytest.mark.parametrize("side", ["begin", "end"])
def test_the_likelihood_of_an_edge_is_that_of_the_model_with_it(side, unjudged):
    """With stars of no component, of this one and of another, and with some whose window did not judge them."""
    model, stars = sky_of_three()
    stars = with_unjudged(model, stars) if unjudged else stars
    edge = Edge(f"stream.{side}", f"stream.ln-{side}-width")
    grid = _Grid.of(model, edge)
    with torch.no_grad():
        of_grid, pairs = grid.ln_likelihood(_stars_of(model, Batch(stars), edge)), grid.pairs()
    some, direct = [300, 305, 800, 811, 1300, 1310], []
    for at, ln_width in pairs[some].tolist():
        place(model, **{**edges(), side: at, f"ln-{side}-width": ln_width})
        with torch.no_grad():
            direct.append(model.ln_likelihood(model(stars), stars).sum())
    direct = torch.stack(direct)
    torch.testing.assert_close(of_grid[some] - of_grid[some[0]], direct - direct[0], atol=0.02, rtol=0)
    assert (direct - direct[0]).abs().max() > 10


def of_one_weight():
    """A stream of 80 stars with a beginning, of known place and width, and of a weight that is one number."""
    ends = {"stream": sml.Ends(begin=(-30.0, -10.0))}
    plain = model_of_sky(ends["stream"])
    plain.components["stream"].net.value.data = torch.tensor([0.0, -0.9])
    model = sml.MixtureModel(plain.components, Constant(1), params=plain.weights.params, ends=ends).double()
    model.components["stream"].requires_grad_(False)
    return model, sky(80, 5, background=800).to(dtype=torch.float64)


def by_quadrature(model, stars, kernel):
    """Means, deviations and correlation of the beginning and the weight's output, of their posterior on a grid."""
    places, ln_widths = np.linspace(-30, -10, 161), np.linspace(math.log(0.05), math.log(3.0), 24)
    outputs = np.linspace(-5, 9, 113)
    with torch.no_grad():
        params = model(stars)
        stream, background = (m.ln_likelihood(scope(params, q), stars).numpy() for q, m in model.components.items())
    gain, at = np.expm1(stream - background), stars["phi1"].numpy()
    weights = np.exp(-12 + 11.5 * expit(outputs))
    ln_p = np.empty((len(places), len(ln_widths), len(outputs)))
    for i, begin in enumerate(places):
        for j, ln_width in enumerate(ln_widths):
            share = expit((at - begin) / math.exp(ln_width)) * gain
            ln_p[i, j] = [np.log1p(weight * share).sum() for weight in weights]
    ln_p += -0.5 * ((outputs - kernel.centre) / kernel.offset) ** 2
    p = np.exp(ln_p - ln_p.max()).sum(1)
    values = np.stack(np.meshgrid(places, outputs, indexing="ij")).reshape(2, -1)
    return np.average(values, axis=1, weights=p.ravel()), np.cov(values, aweights=p.ravel())


def test_edge_and_weight_are_drawn_together():
    """As by quadrature of both: of few stars an edge further out goes with less weight."""
    model, stars = of_one_weight()
    kernels = [Kernel(1.2, centre=0.8), Kernel(2.0), Kernel(2.0)]
    ascend(model, [Batch(stars)], kernels=kernels)
    posterior = FunctionPosterior()
    posterior.fit(model, [Batch(stars)], kernels)
    drawn = []
    with torch.no_grad():
        for index in range(512):
            with posterior.draw(model, index):
                weight = (model.weights(stars[:1])["stream.ln-weight"].item() + 12) / 11.5
                drawn.append([model(stars[:1])["stream.begin"].item(), math.log(weight / (1 - weight))])
    mean, covariance = by_quadrature(model, stars, kernels[0])
    deviation = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((np.mean(drawn, 0) - mean) / deviation, 0, atol=0.2)
    np.testing.assert_allclose(np.std(drawn, 0) / deviation, 1, atol=0.15)
    assert np.corrcoef(np.transpose(drawn))[0, 1] == pytest.approx(covariance[0, 1] / deviation.prod(), abs=0.12)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_fit_finds_ends_from_starts_several_degrees_off(seed):
    """Within its 99 % band; the width of an edge that is none comes out far less than it starts."""
    stars = sky(600, seed)
    torch.manual_seed(seed)
    model = model_of_sky(sml.Ends(begin=(-36.0, -12.0), end=(24.0, 48.0)))
    model.fit_scalers(stars)
    batches = Batches(stars, 1024, shuffle=True)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(max_epochs=60, accelerator="cpu", devices=1, enable_model_summary=False, **quiet)
    trainer.fit(StreamModule(model), batches)
    posterior = FunctionPosterior()
    posterior.fit(model, [Batch(stars)])
    with torch.no_grad():
        drawn = np.array([_places(model, posterior, i) for i in range(200)])
        found = {name: model(stars[:1])[f"stream.{name}"].item() for name in NAMES}
    low, high = np.quantile(drawn, [0.005, 0.995], axis=0)
    assert (low < (-20, 30)).all()
    assert (high > (-20, 30)).all()
    for name, truth in (("begin", -20), ("end", 30)):
        assert found[name] == pytest.approx(truth, abs=0.8)
        assert found[f"ln-{name}-width"] < math.log(0.6)
    assert (np.std(drawn, axis=0) < 1.2).all()


def _places(model, posterior, index):
    with posterior.draw(model, index):
        params = model(phi2_at(0.0))
        return params["stream.begin"].item(), params["stream.end"].item()
