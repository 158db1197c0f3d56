"""Values of the one-dimensional densities against scipy, at parameters set by hand.

Units: phi2 and its error in deg; log densities in nats.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import stream_mapper as sml

b = sml.builtin
WINDOW = (-2.0, 3.0)
X = torch.linspace(-2.0, 3.0, 25, dtype=torch.float64)  # both edges of the window belong to it
NOISE = torch.linspace(0.05, 1.5, 25, dtype=torch.float64)
MU, SIGMA = 0.4, 0.7


def ln_p(kind, params, x=X, errors=None):
    """ln p at x for fixed parameters, in double precision; ``sigma`` stands for its logarithm."""
    model = kind(
        coord_names=("phi2",),
        coord_bounds={"phi2": WINDOW},
        coord_err_names=None if errors is None else ("phi2_err",),
    )
    params = {"ln-sigma" if k == "sigma" else k: math.log(v) if k == "sigma" else v for k, v in params.items()}
    columns = {"phi1": torch.zeros_like(x), "phi2": x} | ({} if errors is None else {"phi2_err": errors})
    values = {f"phi2.{name}": torch.full_like(x, value) for name, value in params.items()}
    return model.to(torch.float64).ln_likelihood(values, sml.Data(columns)).numpy()


def exponential(slope):
    """Log density by scipy's truncexpon, which knows falling exponentials only."""
    distance = X - WINDOW[0] if slope > 0 else WINDOW[1] - X
    return stats.truncexpon(5 * abs(slope), scale=1 / abs(slope)).logpdf(distance)


def truncated_normal(mu, sigma):
    return stats.truncnorm(*((edge - mu) / sigma for edge in WINDOW), mu, sigma).logpdf(X)


def skew_normal(mu, sigma, skew):
    return stats.skewnorm(skew, mu, sigma).logpdf(X)


def truncated_skew_normal(mu, sigma, skew):
    law = stats.skewnorm(skew, mu, sigma)
    return law.logpdf(X) - np.log(law.cdf(WINDOW[1]) - law.cdf(WINDOW[0]))


def sloped(slope):
    """A linear density is a mixture of the uniform law and a triangular one, with its mode at an edge."""
    share, mode = abs(slope) * 5**2 / 2, slope > 0
    with np.errstate(divide="ignore"):  # the steepest is 0 at an edge
        return np.log((1 - share) / 5 + share * stats.triang(float(mode), WINDOW[0], 5).pdf(X))


VALUES = [
    (b.Uniform, {}, stats.uniform(-2, 5).logpdf(X)),
    *((b.Exponential, {"slope": slope}, exponential(slope)) for slope in (1.7, 1e-3, -0.9, 25.0)),
    (b.Exponential, {"slope": 0.0}, np.full(25, -math.log(5))),
    *((b.Sloped, {"slope": slope}, sloped(slope)) for slope in (0.03, -0.07, 0.08, 0.0)),
    (b.Normal, {"mu": MU, "sigma": SIGMA}, stats.norm(MU, SIGMA).logpdf(X)),
    *(
        (b.TruncatedNormal, {"mu": mu, "sigma": sigma}, truncated_normal(mu, sigma))
        for mu, sigma in ((MU, SIGMA), (-6.0, 0.5), (3.0, 2.0))
    ),
    *(
        (b.SkewNormal, {"mu": MU, "sigma": SIGMA, "skew": skew}, skew_normal(MU, SIGMA, skew))
        for skew in (-50.0, -2.0, 0.0, 5.0)
    ),
    *(
        (b.TruncatedSkewNormal, {"mu": mu, "sigma": sigma, "skew": skew}, truncated_skew_normal(mu, sigma, skew))
        for mu, sigma, skew in ((MU, SIGMA, 3.0), (-3.0, 2.0, 50.0), (1.0, 2.0, -0.5))
    ),
]


@pytest.mark.parametrize(("kind", "params", "expected"), VALUES)
def test_values_equal_scipy(kind, params, expected):
    np.testing.assert_allclose(ln_p(kind, params), expected, rtol=1e-9, atol=1e-9)


ERRORS = [
    (b.Normal, {"mu": MU, "sigma": SIGMA}, stats.norm(MU, SIGMA)),
    (b.TruncatedNormal, {"mu": MU, "sigma": SIGMA}, stats.norm(MU, SIGMA)),
    *(
        (kind, {"mu": MU, "sigma": SIGMA, "skew": skew}, stats.skewnorm(skew, MU, SIGMA))
        for kind in (b.SkewNormal, b.TruncatedSkewNormal)
        for skew in (-50.0, -1.0, 0.0, 4.0)
    ),
]


def panels(low, high, number):
    """Nodes and weights of Gauss and Legendre on equal panels."""
    t, w = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(low, high, number + 1)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half + half * t).ravel(), (half * w).ravel()


def convolved(intrinsic, x, noise):
    """Density of the measured coordinate: the intrinsic one and the error's Gaussian, over the true coordinate."""
    true, weights = panels(MU - 9 * SIGMA, MU + 9 * SIGMA, 200)
    return stats.norm(true, noise[:, None]).pdf(x[:, None]) @ (weights * intrinsic.pdf(true))


@pytest.mark.parametrize(("kind", "params", "intrinsic"), ERRORS)
def test_the_error_convolves_and_then_the_window_cuts(kind, params, intrinsic):
    x, noise = X[::3], NOISE[::3]
    expected = np.log(convolved(intrinsic, x.numpy(), noise.numpy()))
    if kind.needs_bounds:
        seen, weights = panels(*WINDOW, 12)
        inside = [weights @ convolved(intrinsic, seen, np.full_like(seen, s)) for s in noise]
        expected -= np.log(inside)
    found = ln_p(kind, params, x, noise)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)
    assert np.abs(found - ln_p(kind, params, x)).max() > 0.3


@pytest.mark.parametrize("errors", [["x_err", "y_err"], {"y": "y_err", "x": "x_err"}])
def test_each_coordinate_has_its_own_error(errors):
    values = {"x": torch.tensor([0.3, -1.0]), "y": torch.tensor([2.0, 0.5])}
    noise = {"x_err": torch.tensor([0.4, 0.2]), "y_err": torch.tensor([1.5, 2.5])}
    data = sml.Data({"phi1": torch.zeros(2), **values, **noise})
    params = {f"{name}.mu": torch.zeros(2) for name in values}
    params |= {f"{name}.ln-sigma": torch.full((2,), math.log(0.5)) for name in values}
    found = b.Normal(coord_names=["x", "y"], coord_err_names=errors).ln_likelihood(params, data)
    expected = sum(stats.norm(0, np.hypot(0.5, noise[f"{name}_err"])).logpdf(values[name]) for name in values)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [b.Uniform, b.Sloped])
def test_a_density_of_measured_values_takes_no_errors(kind):
    with pytest.raises(sml.InputError, match="takes no coord_err_names"):
        kind(coord_names=["x"], coord_bounds={"x": (0, 1)}, coord_err_names=["x_err"])


@pytest.mark.parametrize("entry", [(-0.08, 0.09), (-0.1, 0.0), sml.params.ModelParameter()])
def test_a_slope_is_bounded_to_where_the_density_is_positive(entry):
    window = {"x": (-2.0, 3.0), "y": (0.0, 1.0)}
    names = ("x", "y")
    net = sml.nn.sequential(data=1, hidden_features=4, layers=2, features=2)
    good = sml.params.ModelParameters({"x.slope": (-0.08, 0.08), "y.slope": (-2.0, 2.0)})
    assert b.Sloped(coord_names=names, coord_bounds=window, net=net, params=good).coord_names == names
    bad = sml.params.ModelParameters({"x.slope": entry, "y.slope": (-2.0, 2.0)})
    with pytest.raises(sml.InputError, match=r"\(-2\.0, 3\.0\).* within \(-0\.08, 0\.08\); x\.slope has bounds"):
        b.Sloped(coord_names=names, coord_bounds=window, net=net, params=bad)
