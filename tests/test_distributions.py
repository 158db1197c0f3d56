"""Laws that every distribution obeys, and the logarithms they are made of."""

import math
from functools import cache
from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.distributions import Distribution

from stream_mapper.distributions import (
    ConvolvedExponential,
    SkewNormal,
    Sloped,
    TruncatedExponential,
    TruncatedNormal,
    TruncatedSkewNormal,
)
from stream_mapper.distributions._ndtr_mean import ln_ndtr_mean
from stream_mapper.distributions._stable import (
    exponential_icdf,
    exponential_mean,
    ln_exponential_norm,
    ln_normal,
    ln_normal_interval,
    ln_normal_mean,
)
from stream_mapper.distributions._tilt import with_slope_in_tilt

INF = math.inf
mp.mp.dps = 30
NORMALS = {
    "centred": (0.3, 1.2, -2.0, 3.0),
    "inside-far-edges": (0.3, 0.01, -9.0, 9.0),
    "one-sided": (-0.4, 0.7, 0.0, 2.0),
    "mean-at-the-lower-edge": (0.0, 1.0, 0.0, 2.0),
    "mean-at-the-upper-edge": (0.0, 1.0, -2.0, 0.0),
    "mean-40-sigma-above": (41.0, 1.0, -2.0, 1.0),
    "mean-40-sigma-below": (-40.0, 1.0, 0.0, 3.0),
    "mean-1e5-sigma-below": (-1e5, 1.0, 0.0, 1e-4),
    "narrow": (0.5, 2.0, 1.0, 1.001),
    "open-above": (0.0, 1.0, 1.5, INF),
    "open-below": (2.0, 0.5, -INF, 1.0),
    "open": (1.0, 2.0, -INF, INF),
}
EXPONENTIALS = {
    "falls": (1.3, -2.0, 3.0),
    "rises": (-0.7, 1.0, 5.0),
    "flat": (0.0, -1.0, 4.0),
    "nearly-flat": (1e-4, 0.0, 2.0),
    "falls-1e4": (1e4, 0.0, 1.0),
    "rises-1e4": (-5e3, -1.0, 1.0),
}
SKEWED = {
    "right": (0.3, 1.2, 3.0),
    "left": (-1.0, 0.5, -2.0),
    "none": (0.3, 1.2, 0.0),
    "50": (0.3, 1.2, 50.0),
    "-50": (0.0, 1.0, -50.0),
}
CUT_SKEWED = {
    "right": (0.3, 1.2, 3.0, -2.0, 3.0),
    "left": (0.3, 1.2, -0.7, -2.0, 3.0),
    "none": (0.3, 1.2, 0.0, -2.0, 3.0),
    "50": (0.3, 1.2, 50.0, -2.0, 3.0),
    "inside-far-edges": (0.3, 0.01, -10.0, -9.0, 9.0),
    "loc-at-the-suppressed-edge": (0.0, 1.0, -4.0, 0.0, 2.0),
    "loc-at-the-other-edge": (0.0, 1.0, 4.0, 0.0, 2.0),
    "suppressed-40-scales": (41.0, 1.0, 5.0, -2.0, 1.0),
    "other-side-40-scales": (41.0, 1.0, -5.0, -2.0, 1.0),
    "-50-suppressed-40-scales": (-40.0, 1.0, -50.0, 0.0, 3.0),
    "suppressed-1e5-scales": (1e5, 1.0, 2.0, -1e-4, 0.0),
    "narrow": (0.5, 2.0, -3.0, 1.0, 1.001),
    "open-above": (0.0, 1.0, 3.0, 1.5, INF),
    "open-above-suppressed": (0.0, 1.0, -3.0, 1.5, INF),
    "open-below": (2.0, 0.5, -6.0, -INF, 1.0),
    "open": (1.0, 2.0, 1.0, -INF, INF),
}
LINES = {
    "rises": (0.05, -2.0, 3.0),
    "falls": (-3.0, 1.0, 1.5),
    "flat": (0.0, -1.0, 4.0),
    "rises-to-the-limit": (0.08, -2.0, 3.0),
    "falls-to-the-limit": (-2.0, 0.0, 1.0),
}
CONVOLVED = {
    "falls": (1.3, 0.4, -2.0, 3.0),
    "rises": (-0.7, 1.0, 1.0, 5.0),
    "flat": (0.0, 0.5, -1.0, 4.0),
    "nearly-flat": (1e-4, 0.3, 0.0, 2.0),
    "error-beyond-the-decay": (50.0, 0.5, 0.0, 1.0),
    "rises-1e4": (-5e3, 0.01, -1.0, 1.0),
    "small-error": (2.0, 1e-4, 0.0, 1.0),
    "error-beyond-the-window": (3.0, 20.0, 0.0, 1.0),
}
LAWS = {f"normal-{k}": (TruncatedNormal, v) for k, v in NORMALS.items()}
LAWS |= {f"exponential-{k}": (TruncatedExponential, v) for k, v in EXPONENTIALS.items()}
LAWS |= {f"skew-{k}": (SkewNormal, v) for k, v in SKEWED.items()}
LAWS |= {f"truncated-skew-{k}": (TruncatedSkewNormal, v) for k, v in CUT_SKEWED.items()}
LAWS |= {f"sloped-{k}": (Sloped, v) for k, v in LINES.items()}
LAWS |= {f"convolved-{k}": (ConvolvedExponential, v) for k, v in CONVOLVED.items()}


def over(table):
    return pytest.mark.parametrize(("law", "parameters"), table.values(), ids=table.keys())


laws = over(LAWS)
laws_on_an_interval = over({k: v for k, v in LAWS.items() if v[0] is not SkewNormal})


def make(law, parameters, dtype=torch.float64, grad=False):
    tensors = [torch.tensor(p, dtype=dtype, requires_grad=grad) for p in parameters]
    return law(*tensors, validate_args=True), tensors


def window(distribution):
    """The edges of the support; infinite for a law on the whole line."""
    zero = torch.zeros(distribution.batch_shape)
    return getattr(distribution, "low", zero - INF), getattr(distribution, "high", zero + INF)


def into_window(distribution, x):
    low, high = window(distribution)
    return torch.minimum(torch.maximum(x, low), high)


def places(distribution, n=2001):
    """Places inside the window, dense where the probability is."""
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return distribution.icdf(u).detach()


def exponential_reference(x, slope, low, high):
    """Log density through scipy's truncexpon, which knows falling exponentials only."""
    if slope == 0:
        return np.full_like(x, -np.log(high - low))
    distance = x - low if slope > 0 else high - x
    return stats.truncexpon.logpdf(distance, abs(slope) * (high - low), scale=1 / abs(slope))


def normal_reference(x, loc, scale, low, high):
    """Log density by Gauss-Legendre quadrature of the density relative to its value at the peak of the window."""
    peak = np.clip(loc, low, high)
    reach = 40 * scale / max(1, abs(peak - loc) / scale)
    low, high = max(low, peak - reach), min(high, peak + reach)
    scaled = [-0.5 * ((t - peak) / scale) * ((t + peak - 2 * loc) / scale) for t in _panels(low, high)[0]]
    norm = np.sum(np.exp(scaled) * _panels(low, high)[1])
    return -0.5 * ((x - peak) / scale) * ((x + peak - 2 * loc) / scale) - np.log(norm)


def skew_score(z, skew):
    """Derivatives of the log of phi(z) Phi(skew z) in z and in the skewness."""
    inverse_mills = mp.sqrt(2 / mp.pi) * mp.exp(-((skew * z) ** 2) / 2) / mp.erfc(-skew * z / mp.sqrt(2))
    return -z + skew * inverse_mills, z * inverse_mills


def ln_skew(z, skew):
    return -z * z / 2 + mp.log(mp.erfc(-skew * z / mp.sqrt(2)) / mp.sqrt(2 * mp.pi))


@cache
def ln_skew_probability(a, b, skew):
    """By quadrature relative to the peak of the window, on panels that double in width away from it."""
    a, b = mp.mpf(max(a, min(-60, b - 60))), mp.mpf(min(b, max(60, a + 60)))
    first, last = a, b
    for _ in range(100):
        peak = (first + last) / 2
        first, last = (peak, last) if skew_score(peak, skew)[0] > 0 else (first, peak)
    reach = 60 / max(1, abs(skew_score(peak, skew)[0]))
    steps = [0, *(reach * 2.0**-k for k in range(14))]
    panels = sorted({min(max(peak + sign * step, a), b) for step in steps for sign in (-1, 1)})
    top = ln_skew(peak, skew)
    f = lambda z: mp.exp(ln_skew(z, skew) - top)  # noqa: E731
    return top + mp.log(mp.quad(f, panels, method="gauss-legendre", maxdegree=4))


def skew_reference(x, loc, scale, skew, low=-INF, high=INF):
    """Log density by mpmath in 30 digits."""
    norm = ln_skew_probability(*((mp.mpf(edge) - loc) / scale for edge in (low, high)), skew) + mp.log(scale)
    return np.array([float(ln_skew((mp.mpf(v) - loc) / scale, skew) - norm) for v in x.tolist()])


def sloped_reference(x, slope, low, high):
    return np.log(1 / (high - low) + slope * (x - (low + high) / 2))


def convolved_reference(x, slope, scale, low, high):
    """Log density by quadrature over the true values, and over those of which the measured one is inside."""

    def ln_p(t):
        return exponential_reference(t, slope, low, high)

    def at(value):
        peak = np.clip(value - slope * scale**2, low, high)
        reach = 40 * scale / max(1, abs(peak - value + slope * scale**2) / scale)
        t, weight = _panels(max(low, peak - reach), min(high, peak + reach))
        terms = ln_p(t) + stats.norm.logpdf(value, t, scale)
        return terms.max() + np.log(np.sum(weight * np.exp(terms - terms.max())))

    depths = (high - low) * np.append(0, np.geomspace(1e-9, 0.5, 60))
    panels = [_panels(*pair, 1) for pair in pairwise([*(low + depths), *(high - depths[-2::-1])])]
    t, weight = (np.concatenate(column) for column in zip(*panels, strict=True))
    inside = special.ndtr((high - t) / scale) - special.ndtr((low - t) / scale)
    return np.array([at(value) for value in x]) - np.log(np.sum(weight * np.exp(ln_p(t)) * inside))


def _panels(low, high, panels=400):
    t, w = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(low, high, panels + 1)
    half = np.diff(edges) / 2
    return ((edges[:-1] + half)[:, None] + half[:, None] * t).ravel(), (half[:, None] * w).ravel()


REFERENCES = {
    TruncatedNormal: normal_reference,
    TruncatedExponential: exponential_reference,
    SkewNormal: skew_reference,
    TruncatedSkewNormal: skew_reference,
    Sloped: sloped_reference,
    ConvolvedExponential: convolved_reference,
}


@laws
def test_density_integrates_to_one(law, parameters):
    distribution, _ = make(law, parameters)
    u = torch.linspace(0, 1, 5_001, dtype=torch.float64)
    x = distribution.icdf(u)[1:-1]
    span = distribution.cdf(x[-1]) - distribution.cdf(x[0])
    assert torch.trapezoid(distribution.log_prob(x).exp(), x).item() == pytest.approx(span.item(), abs=1e-3)
    assert span > 0.999


@laws
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_density_agrees_with_the_reference(law, parameters, dtype, tolerance):
    distribution, tensors = make(law, parameters, dtype)
    x = into_window(distribution, places(make(law, parameters)[0], 41).to(dtype))
    expected = REFERENCES[law](x.double().numpy(), *(t.double().item() for t in tensors))
    found = distribution.log_prob(x).double().numpy()
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("parameters", [(0.3, 1.2, -2.0, 3.0), (-40.0, 1.0, 0.0, 3.0), (0.0, 1.0, 1.5, INF)])
def test_normal_agrees_with_scipy(parameters):
    loc, scale, low, high = parameters
    distribution, _ = make(TruncatedNormal, parameters)
    law = stats.truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale)
    x = places(distribution, 50)
    np.testing.assert_allclose(distribution.log_prob(x), law.logpdf(x.numpy()), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(distribution.cdf(x), law.cdf(x.numpy()), rtol=1e-8)
    assert distribution.mean.item() == pytest.approx(law.mean(), rel=1e-7)


@laws
def test_mean_is_the_integral_of_the_quantiles(law, parameters):
    distribution, _ = make(law, parameters)
    x = places(distribution, 4_001)
    assert distribution.mean.item() == pytest.approx(x.mean().item(), abs=1e-3 * x.std().item())


@laws
def test_cdf_inverts_icdf(law, parameters):
    distribution, _ = make(law, parameters)
    u = torch.linspace(0.001, 0.999, 333, dtype=torch.float64)
    torch.testing.assert_close(distribution.cdf(distribution.icdf(u)), u, rtol=1e-6, atol=1e-6)
    edges = distribution.icdf(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert edges.isfinite().all()
    assert torch.equal(edges, into_window(distribution, edges))


@laws
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_follow_the_cdf(law, parameters, dtype):
    torch.manual_seed(1)
    distribution, _ = make(law, parameters, dtype)
    x = distribution.sample((4000,))
    assert x.dtype == dtype
    assert torch.equal(x, into_window(distribution, x))
    reference, _ = make(law, parameters)
    assert stats.kstest(reference.cdf(x.double()).numpy(), "uniform").pvalue > 1e-3


@laws_on_an_interval
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outside_is_impossible_and_has_no_gradient(law, parameters, dtype):
    distribution, tensors = make(law, parameters, dtype, grad=True)
    edges = [e.item() for e in (distribution.low, distribution.high)]
    x = torch.tensor([edges[0] - 1, edges[1] + 1, INF, -INF, math.nan], dtype=dtype)
    x = x[~((x >= edges[0]) & (x <= edges[1]))].requires_grad_()
    ln_p = distribution.log_prob(x)
    assert (ln_p == -INF).all()
    for gradient in torch.autograd.grad(ln_p.sum(), (x, *tensors)):
        assert (gradient == 0).all()


@over({k: v for k, v in LAWS.items() if "limit" not in k})
def test_gradients_equal_finite_differences(law, parameters):
    free = [p for p in parameters if math.isfinite(p)]
    names = [name for name, p in zip(law._names, parameters, strict=True) if math.isfinite(p)]
    distribution, _ = make(law, parameters)
    x = distribution.icdf(torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64))
    spread = (x[2] - x[0]).item()

    def ln_p(*values):
        given = iter(values)
        return law(*(next(given) if math.isfinite(p) else p for p in parameters)).log_prob(x)

    values = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in free]
    for i in range(len(values)):
        gradient = torch.stack([torch.autograd.grad(y, values[i], retain_graph=True)[0] for y in ln_p(*values)])
        step = 1e-5 * (1 + abs(free[i]) if names[i] == "skewness" else spread)
        up, down = ([v.detach() + (d if j == i else 0) for j, v in enumerate(values)] for d in (step, -step))
        difference = (ln_p(*up) - ln_p(*down)) / (2 * step)
        noise = 1e-15 * (1 + ln_p(*values).detach().abs().max()) * (1 + max(map(abs, free))) / step**2
        torch.testing.assert_close(gradient, difference, rtol=1e-4, atol=max(1e-4, 1e-4 * min(1.0, noise.item())))


@laws
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite(law, parameters, dtype):
    distribution, tensors = make(law, parameters, dtype, grad=True)
    x = places(make(law, parameters)[0], 50).to(dtype).requires_grad_()
    x_edges = torch.stack([edge.detach().to(dtype) for edge in window(distribution) if edge.isfinite()] or [x[0]])
    u = torch.linspace(0, 1, 11, dtype=dtype)
    total = distribution.log_prob(x).clamp(min=-1e30).sum() + distribution.log_prob(x_edges).clamp(min=-1e30).sum()
    total = total + distribution.cdf(x).sum() + distribution.icdf(u).sum() + distribution.mean
    assert all(g.isfinite().all() for g in torch.autograd.grad(total, (x, *tensors)))


DIFFERENTIABLE = ["normal-centred", "normal-one-sided", "exponential-falls", "exponential-flat", "sloped-rises"]
DIFFERENTIABLE += ["convolved-falls", "convolved-rises"]
DIFFERENTIABLE += ["sloped-falls", "skew-left", "truncated-skew-right", "truncated-skew-suppressed-40-scales"]


@over({k: LAWS[k] for k in DIFFERENTIABLE})
def test_samples_are_differentiable(law, parameters):
    u = torch.linspace(0.05, 0.95, 7, dtype=torch.float64, requires_grad=True)
    values = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in parameters]

    # The quantile's derivative follows from its definition, F(x(u)) = u, not from differences of a Newton solution
    x = law(*values).icdf(u)
    for wanted in (*values, u):
        along = torch.stack([torch.autograd.grad(y, wanted, retain_graph=True)[0].sum() for y in x])
        fixed = x.detach().requires_grad_()
        probability = law(*values).cdf(fixed)
        by_x = torch.autograd.grad(probability.sum(), fixed, retain_graph=True)[0]
        if wanted is u:
            torch.testing.assert_close(along, 1 / by_x)
            continue
        by_parameter = torch.stack([torch.autograd.grad(p, wanted, retain_graph=True)[0] for p in probability])
        torch.testing.assert_close(along, -by_parameter / by_x, rtol=1e-6, atol=1e-8)


@laws
def test_batches_broadcast_and_expand(law, parameters):
    distribution, _ = make(law, parameters)
    wide = distribution.expand((2, 3))
    x = places(distribution, 3)
    assert wide.batch_shape == (2, 3)
    assert wide.sample((5,)).shape == (5, 2, 3)
    torch.testing.assert_close(wide.log_prob(x), distribution.log_prob(x).expand(2, 3))
    torch.testing.assert_close(wide.mean, distribution.mean.expand(2, 3))
    assert isinstance(wide, Distribution)
    assert bool(wide.support.check(x).all())


def test_bad_parameters_are_named():
    with pytest.raises(ValueError, match="low < high"):
        TruncatedNormal(0.0, 1.0, 2.0, 2.0, validate_args=True)
    with pytest.raises(ValueError, match="scale"):
        TruncatedNormal(0.0, -1.0, 0.0, 2.0, validate_args=True)
    with pytest.raises(ValueError, match="low < high"):
        TruncatedExponential(1.0, 2.0, 1.0, validate_args=True)
    with pytest.raises(ValueError, match="scale"):
        SkewNormal(0.0, -1.0, 2.0, validate_args=True)
    with pytest.raises(ValueError, match="low < high"):
        TruncatedSkewNormal(0.0, 1.0, 2.0, 1.0, 1.0, validate_args=True)
    with pytest.raises(ValueError, match=r"at most 0\.5 either way; found 0\.6"):
        Sloped(0.6, 0.0, 2.0, validate_args=True)


@pytest.mark.parametrize("skewness", [-50.0, -1.0, 0.0, 0.3, 8.0])
def test_skew_normal_agrees_with_scipy(skewness):
    law, theirs = SkewNormal(0.3, 1.2, torch.tensor(skewness, dtype=torch.float64)), stats.skewnorm(skewness, 0.3, 1.2)
    x = torch.tensor(theirs.ppf(np.linspace(0.001, 0.999, 50)))
    np.testing.assert_allclose(law.log_prob(x), theirs.logpdf(x), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(law.cdf(x), theirs.cdf(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([law.mean, law.variance], theirs.stats("mv"), rtol=1e-6)
    draws = law.sample((4000,))
    assert stats.kstest(draws.numpy(), theirs.cdf).pvalue > 1e-3
    np.testing.assert_allclose(theirs.cdf(law.icdf(law.cdf(draws))), theirs.cdf(draws), rtol=1e-9, atol=1e-9)


# Scales are one and the location zero; the window, then the skewness.
FAR = [
    (40, 41, 50),
    (40, INF, -50),
    (-41, -40, 3),
    (-INF, -40, 50),
    (-40, -39.999, 50),
    (-1e-3, 0, 50),
    (-INF, 0, 20),
    (0, 2, -1e-3),
    (0, 2, 1e-3),
    (-2, 0, 1e-3),
    (-2, 1e-6, 50),
    (-5, 0.1, -0.5),
    (-1, 1, -50),
    (-40, 40, 0),
    (39.9995, 40.0005, -1),
]


def cut_skew_and_its_score(x, a, b, skew):
    """Log density at x for no location and scale one, and its derivatives in location, scale and skewness.

    The score of a cut law is that of the whole one and the density at the edges over the probability inside.
    """
    ln_inside, square = ln_skew_probability(a, b, skew), 1 + mp.mpf(skew) ** 2
    x, *edges = (mp.mpf(v) for v in (x, a, b))
    at_a, at_b = (0 if mp.isinf(e) else mp.exp(ln_skew(e, skew) - ln_inside) for e in edges)
    times_a, times_b = (0 if mp.isinf(e) else e * p for e, p in zip(edges, (at_a, at_b), strict=True))
    gauss_a, gauss_b = (mp.exp(-(e**2) * square / 2 - ln_inside) for e in edges)
    by_x, by_skew = skew_score(x, skew)
    return [
        ln_skew(x, skew) - ln_inside,
        at_b - at_a - by_x,
        times_b - times_a - 1 - x * by_x,
        by_skew + (gauss_b - gauss_a) / (mp.pi * square),
    ]


@pytest.mark.parametrize(("low", "high", "skew"), FAR)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
def test_truncated_skew_normal_and_its_gradients_equal_mpmath(low, high, skew, dtype, tolerance):
    law, (loc, scale, skewness, a, b) = make(TruncatedSkewNormal, (0.0, 1.0, skew, low, high), dtype, grad=True)
    for x in into_window(law, places(make(TruncatedSkewNormal, (0.0, 1.0, skew, low, high))[0], 3).to(dtype)):
        ln_p = law.log_prob(x)
        found = [v.item() for v in (ln_p, *torch.autograd.grad(ln_p, (loc, scale, skewness)))]
        expected = cut_skew_and_its_score(*(v.item() for v in (x, a, b, skewness)))
        np.testing.assert_allclose(found, np.array(expected, dtype=float), rtol=tolerance, atol=tolerance)


def test_truncated_skew_normal_under_functional_transforms():
    x, skew = torch.linspace(-1.9, 2.9, 7), torch.linspace(-5, 5, 7)

    def ln_p(x, skew):
        return TruncatedSkewNormal(0.3, 1.2, skew, -2.0, 3.0, validate_args=False).log_prob(x)

    leaf = skew.clone().requires_grad_()
    expected = torch.autograd.grad(ln_p(x, leaf).sum(), leaf)[0]
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(ln_p, argnums=1))(x, skew), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("window", [(0.0, 1.0), (-3.0, 4.0), (1e-3, 0.3)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_linear_density_at_its_limit(sign, window, dtype):
    low, high = (torch.tensor(edge, dtype=dtype) for edge in window)
    slope = (sign * 2 / (high - low) ** 2).requires_grad_()
    law = Sloped(slope, low, high, validate_args=True)
    x = torch.cat((torch.stack((low, high)), low + (high - low) * torch.tensor([1e-6, 0.5, 1 - 1e-6], dtype=dtype)))
    ln_p = law.log_prob(x.requires_grad_())
    assert ln_p[0 if sign > 0 else 1] < -10
    assert ln_p[1 if sign > 0 else 0].item() == pytest.approx(math.log(2 / (high - low)), rel=1e-5)
    assert all(g.isfinite().all() for g in torch.autograd.grad(ln_p[ln_p.isfinite()].sum(), (slope, x)))
    beyond = Sloped(1.2 * slope.detach(), low, high, validate_args=False)  # unchecked, it is the law of the limit
    torch.testing.assert_close(beyond.log_prob(x)[3], ln_p[3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.1, 1.0, 40.0, 1e3, 1e5])
def test_normal_interval_at_any_distance(size, dtype):
    rng = np.random.default_rng(3)
    middle, width = rng.normal(size=60) * size, 10 ** rng.uniform(-3, 2, 60)
    edges = torch.tensor(np.stack([middle - width / 2, middle + width / 2]), dtype=dtype)
    low, high = edges[:, edges[0] < edges[1]].requires_grad_()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-9
    found = ln_normal_interval(low, high)
    pairs = list(zip(low.tolist(), high.tolist(), strict=True))
    peak = np.array([np.clip(0, a, b) for a, b in pairs])
    expected = [-normal_reference(p, 0, 1, a, b) - p**2 / 2 for p, (a, b) in zip(peak, pairs, strict=True)]
    expected = np.array(expected) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(found.detach().double(), expected, rtol=tolerance, atol=tolerance)
    assert all(g.isfinite().all() for g in torch.autograd.grad(found.sum(), (low, high)))


def test_normal_interval_with_open_edges():
    low = torch.tensor([-INF, -INF, 1.0, -1e5, 3e7], requires_grad=True)
    high = torch.tensor([INF, -1e5, INF, INF, INF], requires_grad=True)
    found = ln_normal_interval(low, high)
    expected = torch.tensor([0.0, special.log_ndtr(-1e5), special.log_ndtr(-1.0), 0.0, special.log_ndtr(-3e7)])
    torch.testing.assert_close(found.detach(), expected.float(), rtol=1e-6, atol=1e-6)
    by_low, by_high = torch.autograd.grad(found.sum(), (low, high))
    torch.testing.assert_close(by_low, torch.tensor([0.0, 0.0, -1.525135, 0.0, -3e7]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(by_high, torch.tensor([0.0, 1e5, 0.0, 0.0, 0.0]), rtol=1e-5, atol=1e-6)


def test_mean_normal_density_and_its_derivatives():
    torch.manual_seed(0)
    middle = (torch.randn(200, dtype=torch.float64) * torch.tensor([0.1, 1, 10, 100]).repeat(50)).requires_grad_()
    width = (10 ** (torch.rand(200, dtype=torch.float64) * 4 - 2.5)).requires_grad_()
    interval = ln_normal_interval(middle - width / 2, middle + width / 2)
    torch.testing.assert_close(ln_normal_mean(middle, width) + width.log(), interval)
    assert torch.autograd.gradcheck(ln_normal_mean, (middle, width), atol=1e-5, rtol=1e-5)
    point = ln_normal_mean(torch.tensor([0.0, 3.0, 1e5]), torch.zeros(3))
    torch.testing.assert_close(point, torch.tensor([0.0, -4.5, -5e9]) - 0.9189385)
    torch.testing.assert_close(point[:2], ln_normal(torch.tensor([0.0, 3.0]), torch.zeros(2), torch.ones(2)))


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-3), (torch.float64, 1e-7)])
@pytest.mark.parametrize("tilt", [-0.95, 0.3, 0.95])
def test_tilted_mean_normal_density_and_its_derivatives(dtype, rtol, tilt):
    """Against Gauss-Legendre quadrature, derivatives included."""
    nodes, weights = (torch.tensor(v / 2) for v in np.polynomial.legendre.leggauss(300))
    middle, width = torch.meshgrid(torch.linspace(-9, 9, 37), torch.logspace(-4, 1.2, 40), indexing="ij")
    x = middle.double()[..., None] - width.double()[..., None] * nodes
    terms = -0.5 * x**2 - 0.5 * math.log(2 * math.pi) + ((1 + 2 * tilt * nodes) * weights).log()
    share = terms.softmax(-1)
    free = [v.to(dtype).requires_grad_() for v in (middle, width)]
    found = ln_normal_mean(*free, torch.tensor(tilt, dtype=dtype))
    expected = terms.logsumexp(-1), -(share * x).sum(-1), (share * x * nodes).sum(-1)
    scales = 1.0, 1.0, width.double().clamp(min=0.05)  # the derivative in the width matters per width
    for value, exact, scale in zip((found, *torch.autograd.grad(found.sum(), free)), expected, scales, strict=True):
        torch.testing.assert_close(value.double() * scale, exact * scale, rtol=rtol, atol=rtol)


def test_a_tilt_far_out_stays_finite():
    free = [torch.tensor(v, requires_grad=True) for v in ([1e5, -1e5, 3e4, 0.0], [1e-3, 0.1, 1e-10, 0.0])]
    found = ln_normal_mean(*free, torch.tensor(0.95))
    assert all(v.isfinite().all() for v in (found, *torch.autograd.grad(found.sum(), free)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exponential_norm(dtype):
    rate = torch.tensor([0, 1e-6, -0.29, 0.31, 3, -3, 80, -80, 1e4, -1e4, 1e6], dtype=dtype, requires_grad=True)
    k = rate.detach().double().numpy()
    size = np.abs(k[1:])
    expected = np.append(0, np.log(size / -np.expm1(-size)) - np.maximum(-k[1:], 0))
    found = ln_exponential_norm(rate)
    np.testing.assert_allclose(found.detach().double(), expected, rtol=1e-6, atol=1e-6)
    slope = torch.autograd.grad(found.sum(), rate)[0]
    torch.testing.assert_close(slope, exponential_mean(rate).detach(), rtol=1e-5, atol=1e-7)
    assert slope[0].item() == pytest.approx(0.5)
    assert slope[1].item() == pytest.approx(0.5 - 1e-6 / 12, rel=1e-6)


def test_exponential_quantile():
    u = torch.linspace(0, 1, 9, dtype=torch.float64)
    for k in (-300.0, -1.0, -0.011, -0.009, 0.0, 0.009, 0.011, 1.0, 300.0):
        t = exponential_icdf(u, torch.tensor(k, dtype=torch.float64))
        probability = u if k == 0 else torch.expm1(-k * t) / math.expm1(-k)
        torch.testing.assert_close(probability if k else t, u, rtol=1e-9, atol=1e-10)
        assert ((t >= 0) & (t <= 1)).all()


@pytest.mark.parametrize("ln_mean", [ln_normal_mean, ln_ndtr_mean])
def test_the_slope_in_the_tilt_equals_finite_differences(ln_mean):
    middle = torch.tensor([0.0, 0.3, -2.0, 7.0, -30.0], dtype=torch.float64)
    width = torch.tensor([0.01, 1.0, 3.0, 0.4, 2.0], dtype=torch.float64)
    for c in (-0.9, 0.0, 0.3, 0.95):
        tilt = torch.full((5,), c, dtype=torch.float64, requires_grad=True)
        value = with_slope_in_tilt(ln_mean, middle, width, tilt)
        torch.testing.assert_close(value, ln_mean(middle, width, tilt.detach()))
        slope = torch.autograd.grad(value.sum(), tilt)[0]
        up, down = (ln_mean(middle, width, tilt.detach() + step) for step in (1e-5, -1e-5))
        torch.testing.assert_close(slope, (up - down) / 2e-5, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_window_that_holds_all_of_a_law_is_left_out_without_a_trace(dtype):
    """Only without derivatives, and beside windows that cut: scipy's is the reference for both."""
    loc = torch.tensor([0.0, 0.0, -4.9, 5.5, 80.0, 0.0], dtype=dtype)
    scale = torch.tensor([0.5, 3.0, 0.1, 1.0, 2.0, 0.87], dtype=dtype)
    law = TruncatedNormal(loc, scale, torch.full_like(loc, -5.0), torch.full_like(loc, 5.0))
    value = torch.tensor([0.3, -4.0, -4.95, 4.9, 4.99, 4.0], dtype=dtype)
    with torch.no_grad():
        found = law.log_prob(value)
    with torch.enable_grad():
        torch.testing.assert_close(
            found, law.log_prob(value), rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps
        )
    a, b = ((edge - loc.double()) / scale.double() for edge in (-5.0, 5.0))
    expected = stats.truncnorm(a.numpy(), b.numpy(), loc.double().numpy(), scale.double().numpy()).logpdf(value)
    np.testing.assert_allclose(
        found, expected, rtol=1e-12 if dtype == torch.float64 else 2e-6, atol=4 * torch.finfo(dtype).eps
    )
