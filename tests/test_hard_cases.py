"""What broke an earlier code: here memberships, likelihoods and gradients stay finite, and are right where known."""

import math

import pytest
import torch

import stream_mapper as sml
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameter, ModelParameters

b = sml.builtin
WINDOW = {"phi2": (-2.0, 3.0)}
CURVE = b.Isochrone([0.5, 0.65, 0.8], [[7.5, 7.0], [5.0, 4.7], [3.0, 2.4]], ("g", "r"))
X = torch.linspace(-1.9, 2.9, 49)


def part(kind, values, **kwargs):
    """A model of phi2 with parameters fixed at ``values``, as the output of a network in training."""
    net = Constant(len(values))
    net.value.data = torch.tensor(list(values.values()))
    params = ModelParameters({f"phi2.{name}": ModelParameter() for name in values})
    return kind(coord_names=("phi2",), coord_bounds=WINDOW, net=net, params=params, **kwargs)


def mixture(*streams, ln_weights=None, background=None):
    parts = {f"stream{i}": stream for i, stream in enumerate(streams)}
    net = Constant(len(parts))
    net.value.data = torch.tensor(ln_weights or [-2.0] * len(parts))
    params = ModelParameters({f"{name}.ln-weight": ModelParameter() for name in parts})
    parts["background"] = background or b.Uniform(coord_names=("phi2",), coord_bounds=WINDOW)
    return sml.MixtureModel(parts, net=net, params=params)


def stars(**columns):
    return sml.Data({"phi1": torch.zeros(len(X)), "phi2": X, **columns})


def isochrone(distmod, **kwargs):
    net = Constant(2)
    net.value.data = torch.tensor([distmod, -3.0])
    params = ModelParameters({"distmod.mu": ModelParameter(), "distmod.ln-sigma": ModelParameter()})
    return b.IsochroneMVNorm(isochrone=CURVE, scatter=0.05, net=net, params=params, **kwargs)


def photometric(distmod):
    """A stream whose isochrone may be outside the window 16 < g < 22, in a flow; and stars, some without photometry."""
    stream = sml.IndependentModels(
        {
            "astrometric": part(b.TruncatedNormal, {"mu": 0.0, "ln-sigma": -1.0}),
            "photometric": isochrone(distmod, phot_bounds={"g": (16.0, 22.0)}),
        }
    )
    flow = b.compat.ZukoFlowModel(
        net=b.compat.flow(2),
        coord_names=("g", "r"),
        coord_bounds={"g": (16.0, 22.0)},
        data_scaler=sml.utils.StandardScaler(("phi1", "g", "r"), mean=[0.0, 19.0, 18.5], scale=[1.0, 1.5, 1.5]),
    )
    position = b.Uniform(coord_names=("phi2",), coord_bounds=WINDOW)
    return mixture(stream, background=sml.IndependentModels({"position": position, "photometric": flow}))


NAN = torch.full_like(X, torch.nan)
G = torch.linspace(16.5, 21.5, len(X))
NORMAL = {"mu": 0.2, "ln-sigma": -1.0}
CASES = {
    "a mean 40 sigma outside": (lambda: mixture(part(b.TruncatedNormal, {"mu": 23.0, "ln-sigma": -0.7})), stars),
    "a slope of 1e4 over the window": (lambda: mixture(part(b.Exponential, {"slope": 2e3})), stars),
    "a slope of -1e4 over the window": (lambda: mixture(part(b.Exponential, {"slope": -2e3})), stars),
    "no slope": (lambda: mixture(part(b.Exponential, {"slope": 0.0})), stars),
    "a skewness of 50": (lambda: mixture(part(b.TruncatedSkewNormal, NORMAL | {"skew": 50.0})), stars),
    "a skewness of -50": (lambda: mixture(part(b.SkewNormal, NORMAL | {"skew": -50.0})), stars),
    "no error where no value": (
        lambda: mixture(part(b.TruncatedNormal, NORMAL, coord_err_names=["phi2_err"])),
        lambda: stars(phi2=torch.where(X > 1, torch.nan, X), phi2_err=torch.where(X > 1, torch.nan, 0.1)),
    ),
    "no star with the flow's coordinates": (lambda: photometric(15.0), lambda: stars(g=NAN, r=NAN)),
    "some stars with them": (
        lambda: photometric(15.0),
        lambda: stars(g=torch.where(X > 1, torch.nan, G), r=torch.where(X < 0, torch.nan, G - 0.5)),
    ),
    "two streams past one": (
        lambda: mixture(part(b.TruncatedNormal, NORMAL), part(b.TruncatedNormal, NORMAL), ln_weights=[3.0, 0.5]),
        stars,
    ),
    "an isochrone too faint": (lambda: photometric(25.0), lambda: stars(g=G, r=G - 0.5)),
    "an isochrone too bright": (lambda: photometric(2.0), lambda: stars(g=G, r=G - 0.5)),
    "stars outside the window": (
        lambda: mixture(part(b.TruncatedNormal, NORMAL)),
        lambda: stars(phi2=torch.where(X > 0, X + 50, X)),
    ),
    "one star": (lambda: mixture(part(b.TruncatedNormal, NORMAL)), lambda: stars()[:1]),
    "no star": (lambda: mixture(part(b.TruncatedNormal, NORMAL)), lambda: stars()[:0]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("model", "data"), CASES.values(), ids=CASES.keys())
def test_nothing_breaks(model, data, dtype):
    model, data = model().to(dtype), data().to(dtype=dtype)
    params = model(data)
    p = model.membership(params, data)
    assert p.shape == (len(data), len(model.components))
    torch.testing.assert_close(p.sum(-1), torch.ones(len(data), dtype=dtype))
    assert ((p >= 0) & (p <= 1)).all()
    ln_p, inside = model.ln_likelihood(params, data), model.in_window(data)
    assert not ln_p.isnan().any()
    assert ln_p[inside].isfinite().all()
    assert (p[~inside][:, :-1] == 0).all()
    if inside.any():
        slopes = torch.autograd.grad(ln_p[inside].sum(), list(model.parameters()), allow_unused=True)
        assert all(slope is None or slope.isfinite().all() for slope in slopes)


def test_the_gradient_of_a_flat_exponential_is_right():
    """At slope zero it is the distance from the middle of the window, not zero."""
    model = part(b.Exponential, {"slope": 0.0})
    data = stars()
    slopes = [
        torch.autograd.grad(v, model.net.value, retain_graph=True)[0] for v in model.ln_likelihood(model(data), data)
    ]
    torch.testing.assert_close(torch.cat(slopes), 0.5 - X, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("slope", [1e4, -1e4])
def test_the_gradient_of_a_steep_exponential_is_right(slope):
    """Far from the flat law it is 1/k less the distance from the denser edge."""
    model = part(b.Exponential, {"slope": slope / 5}).to(torch.float64)
    data = stars().to(dtype=torch.float64)
    total = torch.autograd.grad(model.ln_likelihood(model(data), data).sum(), model.net.value)[0].item()
    edge = -2.0 if slope > 0 else 3.0
    expected = sum(5 / slope - (x - edge) for x in X.double().tolist())
    assert total == pytest.approx(expected, rel=1e-6)


def test_a_wholly_faint_isochrone_is_pulled_back():
    """The isochrone 40 sigma too faint: the likelihood of stars at its bright end rises with a smaller modulus."""
    model = photometric(25.0)
    data = stars(g=torch.full_like(X, 21.9), r=torch.full_like(X, 21.3))
    params = model(data)
    photometry = model.components["stream0"].components["photometric"]
    inner = {name.removeprefix("stream0.photometric."): value for name, value in params.items()}
    slope = torch.autograd.grad(photometry.ln_likelihood(inner, data).sum(), photometry.net.value)[0]
    assert slope.isfinite().all()
    shifted = inner | {"distmod.mu": inner["distmod.mu"] - 0.01}
    gain = (photometry.ln_likelihood(shifted, data) - photometry.ln_likelihood(inner, data)).mean().item()
    assert gain == pytest.approx(-0.01 * slope[0].item() / len(X), rel=0.2)
    assert math.isfinite(gain)
