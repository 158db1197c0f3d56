"""Windows of an isochrone's magnitudes, correlated errors, scatter along the curve, and draws."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from stream_mapper.builtin import IsochroneMVNorm
from stream_mapper.builtin.isochrone import Isochrone, KroupaMassFunction, ln_isochrone, populate
from stream_mapper.builtin.isochrone.selection import ln_selection
from stream_mapper.builtin.isochrone.whitening import Noise
from stream_mapper.data import Data
from stream_mapper.distributions._cholesky import cholesky, inverse_of_lower
from stream_mapper.distributions._ndtr_mean import ln_ndtr_mean
from stream_mapper.errors import InputError

GR = Isochrone.synthetic()
R_COLOUR = Isochrone(GR.mass, torch.stack([GR.magnitudes[:, 1], -GR.magnitudes.diff(dim=-1)[:, 0]], -1), ("r", "g-r"))
WINDOWS = {
    "one-edge": (GR, [-math.inf, -math.inf], [21.0, math.inf], [1.0, 1.0]),
    "corner": (GR, [-math.inf, -math.inf], [20.0, 19.6], [1.0, 1.0]),
    "two-boxes": (GR, [18.0, 17.8], [20.5, 20.0], [1.0, 1.0]),
    "magnitude-and-colour": (R_COLOUR, [16.0, 0.2], [20.0, 0.45], [1.0, 0.0]),
}


def inside(curve, noise, mu, low, high, steps=40):
    """ln of the probability of a box by a sum over the segments, with scipy's bivariate normal law, star by star."""
    t = (np.arange(steps) + 0.5) / steps
    nodes, ln_weights, tilts, scatter = (values.numpy() for values in curve)
    weight = (np.exp(ln_weights)[:, None] * (1 + 2 * tilts[:, None] * (t - 0.5)) / steps).ravel()
    result, a = [], noise.applies.numpy()
    of_stars = (noise.errors.numpy(), noise.ln_spread.numpy(), noise.correlation.numpy(), mu.numpy())
    for s, ln_spread, rho, modulus in zip(*of_stars, strict=True):
        x = (nodes[:-1, None] + np.diff(nodes, axis=0)[:, None] * t[:, None] + modulus * a).reshape(-1, 2)
        covariance = np.outer(s, s) * rho + np.diag(scatter**2) + math.exp(2 * ln_spread) * np.outer(a, a)
        sigma = np.sqrt(np.diag(covariance))
        p = np.prod(special.ndtr((high - x) / sigma) - special.ndtr((low - x) / sigma), -1)
        close = (np.minimum(high - x, x - low) / sigma < 6).all(-1) & (p > 1e-12)
        box = {"cov": covariance, "lower_limit": low, "abseps": 1e-9}
        p[close] = [stats.multivariate_normal.cdf(high, mean=place, **box) for place in x[close]]
        result.append(math.log((weight * p).sum()))
    return np.array(result)


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize(("error", "spread"), [(0.01, 0.01), (0.01, 0.2), (0.2, 0.1)])
@pytest.mark.parametrize("rho", [0.0, -0.7])
def test_the_probability_of_the_windows(name, error, spread, rho):
    curve, low, high, applies = WINDOWS[name]
    population = populate(curve, KroupaMassFunction(), 60, 0.02)
    size, torch_of = 2, {"dtype": torch.float64}
    errors = error * torch.empty(size, 2, **torch_of).uniform_(1, 1.5)
    mu, ln_spread = torch.empty(size, **torch_of).uniform_(14, 16.5), torch.full((size,), math.log(spread), **torch_of)
    correlation = torch.tensor([[1, rho], [rho, 1]], **torch_of).expand(size, 2, 2)
    where = torch.ones(size, 2, dtype=torch.bool)
    noise = Noise(errors, where, ln_spread, torch.tensor(applies, **torch_of), population.scatter, correlation)
    expected = inside(population, noise, mu, np.array(low), np.array(high))
    for dtype in (torch.float64, torch.float32):
        like = torch.zeros(0, dtype=dtype)
        cast = Noise(*(v if v is where else v.to(like) for v in noise))
        found = ln_selection(
            torch.tensor(low).to(like), torch.tensor(high).to(like), mu.to(like), cast, population.to(like)
        )
        np.testing.assert_allclose(found.double(), expected, atol=5e-4)
    if rho == 0 and name != "one-edge":
        alone = ln_selection(torch.tensor(low), torch.tensor(high), mu, noise._replace(correlation=None), population)
        np.testing.assert_allclose(alone, expected, atol=5e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("high", [{"g": 20.0}, {"g": 20.0, "r": 19.5}], ids=["one", "two"])
@pytest.mark.parametrize("mu", [15.0, 26.0, 60.0, 1000.0, -60.0])
def test_an_isochrone_outside_its_windows_stays_finite(mu, high, dtype):
    """The nearest end is many sigma too faint or too bright: the slope of ln P is that distance over sigma."""
    bounds = {name: (10.0, edge) for name, edge in high.items()}
    model = IsochroneMVNorm(isochrone=GR, scatter=0.03, phot_bounds=bounds).to(dtype)
    free = [torch.tensor([value], dtype=dtype, requires_grad=True) for value in (mu, math.log(0.04))]
    params = dict(zip(("distmod.mu", "distmod.ln-sigma"), free, strict=True))
    columns = {"phi1": 0.0, "g": 19.0, "r": 18.4}
    data = Data({name: torch.tensor([value], dtype=dtype) for name, value in columns.items()})
    ln_p = model.ln_likelihood(params, data)
    assert ln_p.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(ln_p.sum(), free))


def test_the_probability_of_a_far_window_falls_as_a_normal_tail():
    population = populate(Isochrone(GR.mass, GR.magnitudes[:, :1], ("g",)), KroupaMassFunction(), 60)
    mu = torch.tensor([22.0 + 40 * 0.05], dtype=torch.float64, requires_grad=True)  # the bright end is 40 sigma off
    ones = torch.ones(1, 1, dtype=torch.float64)
    noise = Noise(0.03 * ones, ones.bool(), math.log(0.04) * ones[0], ones[0])
    found = ln_selection(torch.tensor([10.0]), torch.tensor([20.0]), mu, noise, population)
    t = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    nodes, ln_weights, tilts, _ = population
    x = nodes[:-1] + nodes.diff(dim=0) * t + mu
    terms = torch.special.log_ndtr((20 - x) / 0.05) + ln_weights[:, None] + torch.log1p(2 * tilts[:, None] * (t - 0.5))
    expected = torch.logsumexp(terms, (0, 1), keepdim=True)[0] - math.log(4000)
    assert expected.item() < -800
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    slopes = [torch.autograd.grad(value, mu)[0] for value in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 2e-6), (torch.float64, 2e-7)])
@pytest.mark.parametrize("tilt", [-0.95, 0.0, 0.6])
def test_mean_distribution_function_and_its_derivatives(dtype, rtol, tilt):
    """Against Gauss-Legendre quadrature, derivatives included."""
    nodes, weights = (torch.tensor(v / 2) for v in np.polynomial.legendre.leggauss(300))
    middle, width = torch.meshgrid(torch.linspace(-45, 9, 55), torch.logspace(-4, 1.5, 40), indexing="ij")
    x = middle.double()[..., None] + width.double()[..., None] * nodes
    ln_ndtr = torch.special.log_ndtr(x)
    terms = ln_ndtr + ((1 + 2 * tilt * nodes) * weights).log()
    slope = terms.softmax(-1) * torch.exp(-0.5 * x**2 - 0.5 * math.log(2 * math.pi) - ln_ndtr)
    free = [v.to(dtype).requires_grad_() for v in (middle, width)]
    found = ln_ndtr_mean(*free, torch.tensor(tilt, dtype=dtype))
    torch.testing.assert_close(found.double(), terms.logsumexp(-1), rtol=rtol, atol=rtol)
    by_middle, by_width = (g.double() for g in torch.autograd.grad(found.sum(), free))
    torch.testing.assert_close(by_middle, slope.sum(-1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(by_width, (slope * nodes).sum(-1), rtol=1e-3, atol=1e-4)


def test_small_cholesky_factors():
    matrix = torch.randn(50, 4, 6, dtype=torch.float64)
    matrix = matrix @ matrix.mT
    lower = cholesky([list(row.unbind(-1)) for row in matrix.unbind(-2)])
    expected = torch.linalg.cholesky(matrix)
    for found, reference in ((lower, expected), (inverse_of_lower(lower), torch.linalg.inv(expected))):
        for i, row in enumerate(found):
            torch.testing.assert_close(torch.stack(row, -1), reference[:, i, : i + 1])
    singular = cholesky([[torch.ones(1)], [torch.ones(1), torch.ones(1)]])
    assert singular[1][1].item() == pytest.approx(1e-3)


def stars(n=60, dtype=torch.float64, bands=2):
    absolute = GR.magnitudes[torch.randint(0, len(GR.mass), (n,))]
    absolute = torch.cat([absolute, absolute[:, :1] - 0.3], -1)[:, :bands]
    errors = 10 ** torch.empty(n, bands, dtype=torch.float64).uniform_(-2, -0.5)
    ln_spread = torch.empty(n, dtype=torch.float64).uniform_(-4, -1.5)
    magnitudes = absolute + 15 + errors * torch.randn(n, bands, dtype=torch.float64)
    where, mu = torch.ones(n, bands, dtype=torch.bool), torch.full((n,), 15.0, dtype=torch.float64)
    return {"magnitudes": magnitudes, "errors": errors, "where": where, "distmod": mu, "ln_spread": ln_spread}


def in_colour(columns):
    """Stars in (g, r) as stars in (r, g - r), which share the error of r."""
    (g, r), (s_g, s_r) = columns["magnitudes"].unbind(-1), columns["errors"].unbind(-1)
    error = torch.hypot(s_g, s_r)
    rho = -s_r / error
    one = torch.ones_like(rho)
    correlation = torch.stack([torch.stack([one, rho], -1), torch.stack([rho, one], -1)], -2)
    turned = {"magnitudes": torch.stack([r, g - r], -1), "errors": torch.stack([s_r, error], -1)}
    return columns | turned | {"correlation": correlation}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-3)])
def test_a_colour_and_a_magnitude_are_two_magnitudes(dtype, tolerance):
    """The density of (r, g - r), with its correlated errors, is that of (g, r): the change has a Jacobian of one."""
    like = torch.zeros(0, dtype=dtype)
    population = populate(GR, KroupaMassFunction(), 60)
    columns = stars()
    expected = ln_isochrone(**columns, applies=torch.ones(2).to(like), **population._asdict())
    g, r = population.nodes.unbind(-1)
    turned = population._replace(nodes=torch.stack([r, g - r], -1)).to(like)
    cast = {k: v if v.dtype == torch.bool else v.to(like) for k, v in in_colour(columns).items()}
    found = ln_isochrone(**cast, applies=torch.tensor([1.0, 0.0]).to(like), **turned._asdict())
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)


def test_a_missing_band_takes_its_correlations_along():
    columns = stars(bands=3)
    half = torch.randn(60, 3, 5, dtype=torch.float64)
    covariance = half @ half.mT
    scale = covariance.diagonal(dim1=-2, dim2=-1).rsqrt()
    correlation = covariance * scale[:, :, None] * scale[:, None, :]
    curve = Isochrone(GR.mass, torch.cat([GR.magnitudes, GR.magnitudes[:, :1] - 0.3], -1), ("g", "r", "i"))
    population = populate(curve, KroupaMassFunction(), 30, 0.02)
    kept, ones = [0, 2], torch.ones(3, dtype=torch.float64)
    two = {k: v[:, kept] if v.ndim == 2 else v for k, v in columns.items()}
    expected = ln_isochrone(
        **two, applies=ones[:2], correlation=correlation[:, kept][:, :, kept], **population.bands(kept)._asdict()
    )
    columns["where"][:, 1] = False
    found = ln_isochrone(**columns, applies=ones, correlation=correlation, **population._asdict())
    torch.testing.assert_close(found, expected)
    flat = torch.zeros_like(correlation)
    diagonal = ln_isochrone(**columns, applies=ones, correlation=flat, **population._asdict())
    torch.testing.assert_close(diagonal, ln_isochrone(**columns, applies=ones, **population._asdict()))


def test_a_missing_correlation_is_none():
    model = IsochroneMVNorm(
        isochrone=GR, phot_err_names=("g_err", "r_err"), phot_corr_names={"rho": ("g", "r")}, scatter=0.01
    )
    ones = torch.ones(2)
    params = {"distmod.mu": 15 * ones, "distmod.ln-sigma": -3 * ones}
    columns = {"g": 20 * ones, "r": 19.5 * ones, "g_err": 0.1 * ones, "r_err": 0.2 * ones}
    missing, none, some = (
        model.ln_likelihood(params, Data(columns | {"rho": value * ones})) for value in (math.nan, 0.0, 0.8)
    )
    assert torch.equal(missing, none)
    assert not torch.equal(none, some)


def test_scatter_along_the_curve():
    population = populate(GR, KroupaMassFunction(), 60, 0.05)
    columns, ones = stars(), torch.ones(2, dtype=torch.float64)
    expected = ln_isochrone(**columns, applies=ones, **population._asdict())
    for scatter in ([0.05] * 400, [[0.05, 0.05]] * 400):
        along = populate(GR, KroupaMassFunction(), 60, scatter)
        assert along.scatter.shape == (60, 2)
        torch.testing.assert_close(ln_isochrone(**columns, applies=ones, **along._asdict()), expected)
    giants = (GR.magnitudes[:, 0] < 3).double()
    wide = populate(GR, KroupaMassFunction(), 60, (0.02 + 0.1 * giants).tolist()).scatter
    assert wide[0].tolist() == pytest.approx([0.02, 0.02])
    assert wide[-1].tolist() == pytest.approx([0.12, 0.12])


def test_draws_in_a_window_without_stars_say_so():
    model = IsochroneMVNorm(isochrone=GR, scatter=0.1, phot_bounds={"g": (10.0, 12.0)})
    params = {"distmod.mu": torch.full((3,), 25.0), "distmod.ln-sigma": torch.full((3,), -3.0)}
    with pytest.raises(
        InputError, match=r"2000 draws of each of 3 stars were all outside .*moduli from 25.00 to 25.00"
    ):
        model.simulate(params, Data({"phi1": torch.zeros(3)}))
