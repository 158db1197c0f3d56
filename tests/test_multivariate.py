"""Correlated Gaussians, the rotated box and kernel densities against scipy, mpmath and quadrature.

Units: coordinates of any, pm_phi1 and pm_phi2 in mas/yr, angles in rad; log densities in nats.
"""

import io
import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

import stream_mapper as sml
from stream_mapper.builtin.box import rotate
from stream_mapper.distributions._mvn import correlation_triangle
from stream_mapper.distributions._rectangle import ln_rectangle
from stream_mapper.params import ModelParameters

NAMES = ("a", "b", "c", "d")
PARTIAL = {("a", "b"): 0.6, ("a", "c"): -0.4, ("b", "c"): 0.8, ("b", "d"): -0.3, ("c", "d"): 0.95}
NOISE = {("a", "b"): -0.7, ("a", "d"): 0.3, ("b", "d"): 0.2}
SIGMA, ERR = np.array([0.5, 2.0, 0.1, 1.0]), np.array([0.3, 0.8, 0.4, 0.05])
MU = np.array([1.0, -2.0, 0.3, 10.0])
FLOATS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 3e-4)])


def correlation(partial, names=NAMES):
    """Correlations from the canonical partial ones, by the recursion of Joe (2006, J. Multivar. Anal. 97, 2177)."""
    out = np.eye(len(names))
    for j, i in itertools.combinations(range(len(names)), 2):
        given = list(range(j))
        inverse = np.linalg.inv(out[np.ix_(given, given)])
        ri, rj = out[i, given], out[j, given]
        left = math.sqrt((1 - ri @ inverse @ ri) * (1 - rj @ inverse @ rj))
        out[i, j] = out[j, i] = ri @ inverse @ rj + left * partial.get((names[j], names[i]), 0.0)
    return out


def covariance():
    """Intrinsic and error covariance of the four coordinates."""
    noise = np.eye(4)
    for (a, b), value in NOISE.items():
        i, j = NAMES.index(a), NAMES.index(b)
        noise[i, j] = noise[j, i] = value
    return correlation(PARTIAL) * np.outer(SIGMA, SIGMA), noise * np.outer(ERR, ERR)


def model(names=NAMES, **kwargs):
    return sml.builtin.MultivariateNormal(
        coord_names=names,
        coord_err_names=[f"{name}_err" for name in names],
        coord_corr_names={f"{a}_{b}_corr": (b, a) for a, b in NOISE if {a, b} <= set(names)},
        **kwargs,
    )


def parameters(n, dtype, names=NAMES, mu=MU, sigma=SIGMA, partial=PARTIAL):
    values = {f"{name}.mu": m for name, m in zip(names, mu, strict=True)}
    values |= {f"{name}.ln-sigma": math.log(s) for name, s in zip(names, sigma, strict=True)}
    values |= {f"{a}.{b}.corr": value for (a, b), value in partial.items()}
    return {name: torch.full((n,), float(value), dtype=dtype) for name, value in values.items()}


def table(x, dtype, names=NAMES, err=ERR, noise=NOISE, **columns):
    """Stars at x (N, F) with the same errors."""
    fixed = {f"{name}_err": e for name, e in zip(names, err, strict=True)}
    fixed |= {f"{a}_{b}_corr": value for (a, b), value in noise.items()} | columns
    data = {name: torch.as_tensor(x[:, i], dtype=dtype) for i, name in enumerate(names)}
    data |= {name: torch.full((len(x),), float(value), dtype=dtype) for name, value in fixed.items()}
    return sml.Data({"phi1": torch.zeros(len(x), dtype=dtype), **data})


@FLOATS
@pytest.mark.parametrize("reach", [1.0, 40.0])
def test_every_subset_of_coordinates_equals_scipy(dtype, tolerance, reach):
    """At the peak and 40 sigma away."""
    whole = sum(covariance())
    x = MU + reach * np.random.default_rng(0).multivariate_normal(np.zeros(4), whole, 30)
    data = table(x, dtype)
    x = np.stack([data[name].double().numpy() for name in NAMES], -1)
    params = parameters(30, dtype)
    for size in range(5):
        for kept in itertools.combinations(range(4), size):
            missing = {name: torch.full((30,), math.nan, dtype=dtype) for i, name in enumerate(NAMES) if i not in kept}
            found = model().ln_likelihood(params, data.with_columns(missing) if missing else data)
            assert found.dtype == dtype
            law = stats.multivariate_normal(MU[list(kept)], whole[np.ix_(kept, kept)]) if kept else None
            expected = law.logpdf(x[:, kept]) if kept else np.zeros(30)
            np.testing.assert_allclose(found.double(), expected, atol=tolerance, rtol=tolerance)


def test_partial_correlations_come_back():
    """Each is minus the scaled entry of the precision of the two and those before the first."""
    partial = {
        pair: torch.tensor([0.1 * (i + 1) * (-1) ** i]) for i, pair in enumerate(itertools.combinations(range(4), 2))
    }
    rows = correlation_triangle(4, {(i, j): z for (j, i), z in partial.items()}, torch.zeros(1), partial=True)
    lower = np.array([[row[j].item() if j < len(row) else 0.0 for j in range(4)] for row in rows])
    whole = lower @ lower.T
    np.testing.assert_allclose(np.diag(whole), 1, rtol=1e-6)
    for (j, i), z in partial.items():
        kept = [*range(j), j, i]
        precision = np.linalg.inv(whole[np.ix_(kept, kept)])
        found = -precision[-1, -2] / math.sqrt(precision[-1, -1] * precision[-2, -2])
        assert found == pytest.approx(z.item(), abs=1e-5)


def test_errors_convolve():
    """The intrinsic Gaussian convolved with that of the error, by quadrature over the true coordinates."""
    names, partial, noise = ("a", "b"), {("a", "b"): 0.6}, {("a", "b"): -0.7}
    line = np.linspace(-1, 1, 401)
    true = np.stack(np.meshgrid(1 + 4 * line, -2 + 16 * line, indexing="ij"), -1)
    intrinsic = stats.multivariate_normal(MU[:2], [[0.25, 0.6], [0.6, 4.0]]).pdf(true)
    x = np.array([[1.0, -2.0], [2.1, -1.0], [0.5, -6.0]])
    law = [stats.multivariate_normal(place, [[0.09, -0.168], [-0.168, 0.64]]).pdf(true) for place in x]
    expected = [np.log((intrinsic * p).sum() * (4 / 200) * (16 / 200)) for p in law]
    params = parameters(3, torch.float64, names, MU[:2], SIGMA[:2], partial)
    found = model(names).ln_likelihood(params, table(x, torch.float64, names, ERR[:2], noise))
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("corr", [0.99, -0.99])
@pytest.mark.parametrize("err", [(0.01, 5.0), (5.0, 0.01), (5.0, 5.0)])
def test_single_precision_of_thin_and_wide(corr, err):
    """A stream 0.02 wide in both coordinates, errors up to 5, and correlations of 0.99: scipy at the same numbers."""
    names, sigma = ("a", "b"), (0.02, 0.02)
    cov = np.array([[sigma[0] ** 2 + err[0] ** 2, corr * (4e-4 + err[0] * err[1])], [0, sigma[1] ** 2 + err[1] ** 2]])
    cov[1, 0] = cov[0, 1]
    x = np.random.default_rng(1).multivariate_normal([0, 0], 9 * cov, 50).astype(np.float32)
    params = parameters(50, torch.float32, names, (0, 0), sigma, {("a", "b"): corr})
    found = model(names).ln_likelihood(params, table(x, torch.float32, names, err, {("a", "b"): corr}))
    expected = stats.multivariate_normal([0, 0], cov).logpdf(x)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_impossible_correlations_give_finite_numbers(dtype):
    """Correlations of one, and ones no covariance has (a with b and d, but b not with d), with tiny widths."""
    for noise in (
        {("a", "b"): 1.0, ("a", "d"): -1.0, ("b", "d"): 1.0},
        {("a", "b"): 0.99, ("a", "d"): 0.99, ("b", "d"): 0.0},
    ):
        params = parameters(20, dtype, sigma=[1e-4] * 4, partial=dict.fromkeys(PARTIAL, 1.0))
        params = {name: value.requires_grad_() for name, value in params.items()}
        x = MU + 100 * np.random.default_rng(2).normal(size=(20, 4))
        values = model().ln_likelihood(params, table(x, dtype, noise=noise))
        assert values.isfinite().all()
        for gradient in torch.autograd.grad(values.sum(), list(params.values())):
            assert gradient.isfinite().all()


def test_a_missing_error_correlation_is_zero():
    x, params = MU + np.ones((5, 4)), parameters(5, torch.float64)
    holes = {f"{a}_{b}_corr": torch.full((5,), math.nan) for a, b in NOISE}
    found = model().ln_likelihood(params, table(x, torch.float64).with_columns(holes))
    expected = model().ln_likelihood(params, table(x, torch.float64, noise=dict.fromkeys(NOISE, 0.0)))
    torch.testing.assert_close(found, expected)


def test_gradients_equal_finite_differences():
    params = parameters(6, torch.float64)
    data = table(MU + 3 * np.random.default_rng(3).normal(size=(6, 4)), torch.float64)
    names = list(params)

    def ln_p(*values):
        return model().ln_likelihood(dict(zip(names, values, strict=True)), data)

    assert torch.autograd.gradcheck(ln_p, [value.requires_grad_() for value in params.values()])


def test_draws_have_the_covariance():
    n = 40_000
    x = model().simulate(parameters(n, torch.float64), table(np.zeros((n, 4)), torch.float64))
    drawn = torch.stack([x[name] for name in NAMES], -1).numpy()
    whole = sum(covariance())
    white = np.linalg.solve(np.linalg.cholesky(whole), (drawn - MU).T)
    np.testing.assert_allclose(np.cov(white), np.eye(4), atol=0.03)
    for row in white:
        assert stats.kstest(row, "norm").pvalue > 1e-3


def test_a_width_of_its_own_and_a_shared_track():
    """A cocoon that predicts its widths only; without the hook the error names what is missing."""

    def part(*kinds):
        params = ModelParameters({f"{c}.{kind}": (-1.0, 1.0) for c in ("a", "b") for kind in kinds})
        net = sml.nn.sequential(data=1, hidden_features=4, layers=2, features=len(params))
        numbers = sml.utils.StandardScaler(("phi1",), mean=[0.0], scale=[1.0])
        return sml.builtin.MultivariateNormal(coord_names=("a", "b"), net=net, data_scaler=numbers, params=params)

    weights = {"net": sml.nn.sequential(data=1, hidden_features=4, layers=2, features=1)}
    weights["params"] = ModelParameters({"stream.ln-weight": (-1.0, 0.0)})
    parts = {"stream": part("mu", "ln-sigma"), "background": part("ln-sigma")}
    share = sml.builtin.ShareParameters({f"background.{c}.mu": f"stream.{c}.mu" for c in ("a", "b")})
    data = table(np.zeros((3, 2)), torch.float32, ("a", "b"), (1, 1), {})
    mixture = sml.MixtureModel(parts, unpack_params_hooks=(share,), **weights)
    assert mixture.ln_likelihood(mixture(data), data).isfinite().all()
    with pytest.raises(sml.InputError, match=r"no parameter 'a.mu'"):
        parts["background"].ln_likelihood(parts["background"](data), data)


PAIR = {"coord_names": ("a", "b"), "coord_err_names": {"a": "a_err"}}
REFUSED = {
    "parameter": (
        {"net": torch.nn.Linear(1, 1), "params": ModelParameters({"b.a.corr": (-1, 1)})},
        "got \\['b.a.corr'\\]",
    ),
    "no coordinates": ({"coord_names": (), "coord_err_names": None}, "over \\[\\] has the parameters \\[\\]"),
    "error": ({"coord_err_names": {"c": "c_err"}}, "errors for \\['c'\\]"),
    "correlation without error": ({"coord_corr_names": {"ab": ["a", "b"]}}, "coordinates with an error"),
    "correlation with itself": ({"coord_corr_names": {"ab": ["a", "a"]}}, "different pairs"),
    "two correlations": (
        {"coord_err_names": ("ae", "be"), "coord_corr_names": {"ab": ["a", "b"], "ba": ["b", "a"]}},
        "different pairs",
    ),
    "box": ({"box": sml.builtin.RotatedBox(("a", "z"), "angle", (0, 1), (0, 1))}, "a box over \\['a', 'z'\\]"),
}


@pytest.mark.parametrize(("kwargs", "match"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused(kwargs, match):
    with pytest.raises(sml.InputError, match=match):
        sml.builtin.MultivariateNormal(**PAIR | kwargs)


# The probability of a rectangle: middle and width along both axes in sigma, and the correlation.

RECTANGLES = {
    "inside": (0.3, 6.0, -0.5, 4.0, 0.4),
    "uncorrelated": (1.0, 2.0, -2.0, 3.0, 0.0),
    "small": (0.5, 0.01, -1.0, 0.02, 0.7),
    "thin": (0.0, 8.0, 0.2, 1e-3, -0.99),
    "steep": (0.4, 3.0, -0.8, 2.0, 0.99),
    "steep-falling": (2.0, 3.0, 1.0, 5.0, -0.99),
    "almost-degenerate": (0.4, 3.0, -0.8, 2.0, 0.9999),
    "edge-alone": (6.0, 12.0, 0.0, 40.0, 0.5),
    "40-sigma-along": (41.0, 2.0, 0.0, 4.0, 0.3),
    "40-sigma-across": (0.0, 4.0, -41.0, 2.0, 0.9),
    "40-sigma-corner": (41.0, 2.0, 41.5, 3.0, -0.6),
    "40-sigma-on-the-ridge": (41.0, 2.0, 41.0, 2.0, 0.99),
    "40-sigma-off-the-ridge": (30.0, 5.0, -30.0, 5.0, 0.99),
    "wide-window-far": (140.0, 200.0, 3.0, 300.0, -0.8),
}
rectangles = pytest.mark.parametrize("numbers", RECTANGLES.values(), ids=RECTANGLES.keys())


def arguments(numbers, dtype=torch.float64, grad=False):
    *sides, rho = numbers
    values = [torch.tensor([float(v)], dtype=dtype) for v in (*sides, rho, math.sqrt(1 - rho**2))]
    return [value.requires_grad_(grad) for value in values]


def exact_ln_rectangle(middle1, width1, middle2, width2, rho):
    """By mpmath, in 25 digits: the bracket in steps about where it peaks."""
    with mpmath.workdps(25):
        rho, kappa = mpmath.mpf(rho), mpmath.sqrt(1 - mpmath.mpf(rho) ** 2)
        low, high = (mpmath.mpf(middle2) + side * mpmath.mpf(width2) / 2 for side in (-1, 1))

        def density(u):
            a, b = (low - rho * u) / kappa, (high - rho * u) / kappa
            a, b = (-b, -a) if a + b > 0 else (a, b)
            return mpmath.npdf(u) * (mpmath.ncdf(b) - mpmath.ncdf(a))

        ends = [mpmath.mpf(middle1) + side * mpmath.mpf(width1) / 2 for side in (-1, 1)]
        for steps in (200, 50):
            step = (ends[1] - ends[0]) / steps
            values = [density(ends[0] + i * step) for i in range(steps + 1)]
            kept = [i for i, value in enumerate(values) if value > max(values) * mpmath.mpf(10) ** -18]
            ends = [ends[0] + max(0, kept[0] - 1) * step, ends[0] + min(steps, kept[-1] + 1) * step]
        edges = [ends[0] + i * (ends[1] - ends[0]) / 12 for i in range(13)]
        return float(mpmath.log(mpmath.quad(density, edges, maxdegree=4)))


@rectangles
def test_rectangle_equals_mpmath(numbers):
    expected = exact_ln_rectangle(*numbers)
    assert ln_rectangle(*arguments(numbers)).item() == pytest.approx(
        expected, abs=2e-8 if abs(numbers[-1]) <= 0.99 else 2e-5
    )
    single = ln_rectangle(*arguments(numbers, torch.float32)).item()
    assert single == pytest.approx(expected, abs=1e-5 + 2e-6 * abs(expected))


def test_rectangle_equals_scipy():
    torch.manual_seed(1)
    middle, width = 1.5 * torch.randn(2, 40).double(), torch.empty(2, 40).double().uniform_(0.2, 5)
    rho = torch.empty(40).double().uniform_(-0.99, 0.99)
    found = ln_rectangle(middle[0], width[0], middle[1], width[1], rho, (1 - rho.square()).sqrt()).exp()
    corners = (middle - width / 2).T.numpy(), (middle + width / 2).T.numpy()
    laws = [stats.multivariate_normal([0, 0], [[1, r], [r, 1]], abseps=1e-10, releps=1e-10) for r in rho.tolist()]
    expected = [law.cdf(high, lower_limit=low) for law, low, high in zip(laws, *corners, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("numbers", [n for n in RECTANGLES.values() if abs(n[-1]) <= 0.99])
def test_rectangle_has_the_right_gradients(numbers):
    values = arguments(numbers, grad=True)
    gradients = torch.autograd.grad(ln_rectangle(*values).sum(), values)
    for i, gradient in enumerate(gradients):
        step = 1e-4 * min(1.0, abs(values[i].item()) + 1e-2)
        moved = [[v.detach() + (side * step if j == i else 0) for j, v in enumerate(values)] for side in (1, -1)]
        difference = (ln_rectangle(*moved[0]) - ln_rectangle(*moved[1])).item() / (2 * step)
        assert gradient.item() == pytest.approx(difference, rel=2e-3, abs=1e-3)
    single = arguments(numbers, torch.float32, grad=True)
    for a, b in zip(torch.autograd.grad(ln_rectangle(*single).sum(), single), gradients, strict=True):
        assert a.item() == pytest.approx(b.item(), rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rectangle_is_finite_anywhere(dtype):
    torch.manual_seed(2)
    n = 3000
    middle, width = (torch.randn(2, n) * 10 ** torch.empty(2, n).uniform_(-2, 4) for _ in range(2))
    rho = torch.empty(n, dtype=torch.float64).uniform_(-1, 1).sign() * (
        1 - 10 ** torch.empty(n).double().uniform_(-5, 0)
    )
    values = [middle[0], width[0].abs() + 1e-3, middle[1], width[1].abs() + 1e-3, rho, (1 - rho.square()).sqrt()]
    values = [value.to(dtype).requires_grad_() for value in values]
    found = ln_rectangle(*values)
    assert found.isfinite().all()
    assert (found < 1e-5).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(found.sum(), values))


# The rotated box.

BOX = sml.builtin.RotatedBox(("a", "b"), "angle", first=(-1.0, 2.0), second=(-3.0, 1.5))
CUT = {
    "inside": ((0.3, -0.5), (0.4, 0.9), 0.7, 0.9),
    "edge": ((1.8, 1.0), (0.5, 0.5), -0.4, -0.8),
    "outside": ((6.0, -1.0), (0.5, 1.0), 2.5, 0.3),
    "wide": ((0.0, 0.0), (8.0, 5.0), 1.2, -0.95),
}
cut = pytest.mark.parametrize(("mu", "sigma", "angle", "partial"), CUT.values(), ids=CUT.keys())
NOISY = {"err": (0.3, 0.2), "noise": {("a", "b"): 0.5}}


def boxed(mu, sigma, angle, partial, x, dtype=torch.float64, box=BOX):
    """Model, parameters and stars at x (N, 2)."""
    params = parameters(len(x), dtype, ("a", "b"), mu, sigma, {("a", "b"): partial})
    return model(("a", "b"), box=box), params, table(x, dtype, ("a", "b"), angle=angle, **NOISY)


def in_catalogue_axes(line, angle):
    """Stars at the nodes ``line``, in 0..1 of each side of the box in the catalogue's axes."""
    first, second = (low + (high - low) * line for low, high in (BOX.first, BOX.second))
    x, y = np.meshgrid(first, second, indexing="ij")
    return torch.stack(rotate(torch.as_tensor(x), torch.as_tensor(y), torch.tensor(-angle)), -1).reshape(-1, 2).numpy()


def test_the_angle_turns_the_stream_into_the_catalogue():
    x, y = rotate(torch.tensor(1.0), torch.tensor(0.0), torch.tensor(math.pi / 6))
    assert (x.item(), y.item()) == pytest.approx((math.sqrt(3) / 2, 0.5))
    data = table(np.array([[1.0, 0.0], [0.0, 2.0], [2.0, 0.0]]), torch.float64, ("a", "b"), angle=math.pi / 2, **NOISY)
    np.testing.assert_allclose(BOX.rotate(data), [[0, 1], [-2, 0], [0, 2]], atol=1e-12)
    assert BOX.inside(data).tolist() == [True, False, False]
    hole = data.with_columns({"angle": torch.tensor([0.0, math.nan, math.pi / 2])})
    assert BOX.inside(hole).tolist() == [True, True, False]
    assert model(("a", "b"), box=BOX).in_window(data).tolist() == [True, False, False]
    assert set(model(("a", "b"), box=BOX).columns) == {"phi1", "a", "b", "a_err", "b_err", "a_b_corr", "angle"}


@cut
def test_boxed_density_integrates_to_one(mu, sigma, angle, partial):
    line, weights = np.polynomial.legendre.leggauss(60)
    places = in_catalogue_axes((1 + line) / 2, angle)
    part, params, data = boxed(mu, sigma, angle, partial, places)
    ln_p = part.ln_likelihood(params, data)
    assert ln_p.isfinite().all()
    total = (ln_p.exp().numpy() * np.outer(weights, weights).ravel()).sum() * 3.0 * 4.5 / 4
    assert total == pytest.approx(1, abs=1e-6)
    single, params, rows = boxed(mu, sigma, angle, partial, places, torch.float32)
    np.testing.assert_allclose(single.ln_likelihood(params, rows), ln_p, atol=5e-4, rtol=1e-5)
    np.testing.assert_allclose(single.ln_likelihood(params, data), ln_p, atol=5e-4, rtol=1e-5)
    assert (single.ln_likelihood(params, rows.with_columns({"a": rows["a"] + 9.0})) == -math.inf).all()


@cut
def test_draws_fill_the_box(mu, sigma, angle, partial):
    part, params, data = boxed(mu, sigma, angle, partial, np.zeros((4000, 2)))
    if mu == CUT["outside"][0]:
        params["a.mu"] = torch.full_like(params["a.mu"], -2.6)  # some three sigma: what rejection can do
    drawn = data.with_columns(part.simulate(params, data))
    assert BOX.inside(drawn).all()
    rougher = {name: value.float() for name, value in params.items()}
    assert BOX.inside(data.with_columns(part.simulate(rougher, data))).all()
    back = in_catalogue_axes((np.arange(101) + 0.5) / 101, angle)
    nodes = table(back, torch.float64, ("a", "b"), angle=angle, **NOISY)
    density = part.ln_likelihood({n: v[:1].expand(len(back)) for n, v in params.items()}, nodes).exp().view(101, 101)
    for axis, (low, high) in enumerate((BOX.first, BOX.second)):
        below = np.concatenate([[0], density.sum(1 - axis).cumsum(0) / density.sum()])
        cdf = np.interp(BOX.rotate(drawn)[:, axis], np.linspace(low, high, 102), below)
        assert stats.kstest(cdf, "uniform").pvalue > 1e-3


def test_a_density_outside_the_box_cannot_be_drawn():
    part, params, data = boxed((60.0, 0.0), (0.5, 0.5), 0.0, 0.0, np.zeros((3, 2)))
    with pytest.raises(sml.InputError, match=r"the box .* holds a share of only 0.0e\+00 of the density of some"):
        part.simulate(params, data)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forty_sigma_from_the_box_the_gradient_leads_back(dtype):
    x = np.array([[0.5, 0.5], [1.0, -0.7], [19.0, 9.0]])
    part, params, data = boxed((20.0, 10.0), (0.4, 0.3), 0.3, 0.6, x, dtype)
    params = {name: value.requires_grad_() for name, value in params.items()}
    values = part.ln_likelihood(params, data)
    assert values.isneginf().tolist() == [False, False, True]
    gradients = dict(zip(params, torch.autograd.grad(values.sum(), list(params.values())), strict=True))
    assert all(g.isfinite().all() for g in gradients.values())
    if dtype == torch.float64:
        for name, value in params.items():
            moved = [{**params, name: value.detach() + side * 1e-4} for side in (1, -1)]
            difference = (part.ln_likelihood(moved[0], data) - part.ln_likelihood(moved[1], data)) / 2e-4
            torch.testing.assert_close(gradients[name][:2], difference.detach()[:2], rtol=1e-3, atol=1e-3)
            assert gradients[name][2] == 0


def test_half_a_proper_motion_has_the_plain_marginal():
    """As have a star without one of the errors and one without the angle; the first has everything."""
    part, params, data = boxed((0.3, -0.5), (0.4, 0.9), 0.7, 0.9, np.full((5, 2), 0.5))
    holes = {name: torch.tensor([0.5] * 5) for name in ("a", "b", "a_err", "angle")}
    for row, name in enumerate(holes, start=1):
        holes[name][row] = math.nan
    data = data.with_columns(holes)
    difference = part.ln_likelihood(params, data) - model(("a", "b")).ln_likelihood(params, data)
    assert difference[0] > 0.01
    assert difference[1:].tolist() == [0] * 4


def test_the_box_among_four_coordinates():
    """The marginal of the two coordinates gives the probability, here by scipy; they need not come first."""
    box = sml.builtin.RotatedBox(("d", "b"), "angle", first=(9.0, 11.5), second=(-1.5, 0.8))
    x, params = np.array([[1.3, -2.0, 0.1, 10.4]]), parameters(1, torch.float64)
    data = table(x, torch.float64, angle=0.2)
    turn = np.array([[math.cos(0.2), -math.sin(0.2)], [math.sin(0.2), math.cos(0.2)]])
    marginal = sum(covariance())[np.ix_([3, 1], [3, 1])]
    law = stats.multivariate_normal(turn @ MU[[3, 1]], turn @ marginal @ turn.T, abseps=1e-10, releps=1e-10)
    inside = law.cdf([11.5, 0.8], lower_limit=[9.0, -1.5])
    difference = model(box=box).ln_likelihood(params, data) - model().ln_likelihood(params, data)
    assert difference.item() == pytest.approx(-math.log(inside), abs=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "match"), [({"coord_names": ("a",)}, "two coordinates"), ({"first": (1, -1)}, "first = ")]
)
def test_a_box_that_is_none(kwargs, match):
    good = {"coord_names": ("a", "b"), "angle_name": "angle", "first": (0, 1), "second": (0, 1)}
    with pytest.raises(sml.InputError, match=match):
        sml.builtin.RotatedBox(**good | kwargs)


# Kernels.


def kernels(points, dtype=torch.float64, **kwargs):
    """A kernel density of the columns of ``points`` (N, 1 + F) after the first, phi1."""
    names = NAMES[: points.shape[1] - 1]
    part = sml.builtin.compat.KDEModel(coord_names=names, **{"broad": None} | kwargs).to(dtype)
    columns = dict(zip(("phi1", *names), torch.as_tensor(points, dtype=dtype).unbind(-1), strict=True))
    part.fit_points(sml.Data(columns))
    return part, sml.Data(columns)


def cloud(n=300, features=1):
    return np.random.default_rng(5).normal(size=(n, 1 + features))


def test_kernels_equal_scipy():
    """With weights that hardly depend on phi1."""
    points = cloud()
    part, data = kernels(points, bandwidth={"phi1": 1e6, "a": 0.3})
    law = stats.gaussian_kde(points[:, 1], 0.3 / points[:, 1].std(ddof=1))
    far = data.with_columns({"a": 8 * data["a"]})
    beside = data.with_columns({"a": data["a"] + 1e-3})  # a star is left out of its own density
    for rows in (beside, far):
        np.testing.assert_allclose(part.ln_likelihood({}, rows), law.logpdf(rows["a"]), atol=1e-9, rtol=1e-9)


def test_kernels_are_conditioned_and_cut():
    """The formula by scipy's truncnorm, for two coordinates; and the rule of the widths."""
    points, window = cloud(features=2), {"a": (-1.0, 0.7)}
    inside = points[(points[:, 1] >= -1.0) & (points[:, 1] <= 0.7)]
    part, _ = kernels(points, coord_bounds=window, bandwidth=2.0, max_points=1000)
    quartiles = np.quantile(inside, [0.25, 0.75], axis=0)
    spread = np.minimum(inside.std(0, ddof=1), (quartiles[1] - quartiles[0]) / np.diff(stats.norm.ppf([0.25, 0.75])))
    width = 2 * spread * (4 / (5 * len(inside))) ** (1 / 7)
    np.testing.assert_allclose(part.bandwidths, width, rtol=1e-6)
    x = np.array([[0.3, -0.9, 1.0], [-2.0, 0.69, -3.0], [9.0, 0.1, 0.2]])
    places = x[:, :1].clip(inside[:, 0].min(), inside[:, 0].max())  # beyond the points it is as at their end
    weights = stats.norm(inside[:, 0], width[0]).logpdf(places)
    low, high = (-1.0 - inside[:, 1]) / width[1], (0.7 - inside[:, 1]) / width[1]
    terms = stats.truncnorm(low, high, inside[:, 1], width[1]).logpdf(x[:, 1:2])
    terms = terms + stats.norm(inside[:, 2], width[2]).logpdf(x[:, 2:])
    expected = np.logaddexp.reduce(weights + terms, 1) - np.logaddexp.reduce(weights, 1)
    rows = sml.Data(dict(zip(("phi1", "a", "b"), torch.as_tensor(x).unbind(-1), strict=True)))
    np.testing.assert_allclose(part.ln_likelihood({}, rows), expected, atol=1e-8, rtol=1e-8)
    single = part.to(torch.float32).ln_likelihood({}, rows.to(dtype=torch.float32))
    np.testing.assert_allclose(single, expected, atol=1e-4, rtol=1e-4)


def test_kernels_do_not_depend_on_the_chunks(monkeypatch):
    part, data = kernels(cloud(features=2), bandwidth=1.0)
    whole = part.ln_likelihood({}, data)
    monkeypatch.setattr("stream_mapper.builtin.compat.kde._PAIRS", 1000)
    torch.testing.assert_close(part.ln_likelihood({}, data), whole)


def test_draws_from_kernels():
    """Given phi1 the coordinate is close to it, inside its window."""
    phi1 = np.linspace(-1, 1, 2000)
    part, data = kernels(
        np.stack([phi1, phi1], -1), coord_bounds={"a": (-1.0, 0.5)}, bandwidth={"phi1": 0.02, "a": 0.2}
    )
    torch.manual_seed(3)
    nodes = torch.linspace(-1, 0.5, 3001, dtype=torch.float64)
    for place in (-0.9, 0.3):
        drawn = part.simulate({}, sml.Data({"phi1": torch.full((3000,), place, dtype=torch.float64)}))["a"]
        assert ((drawn >= -1) & (drawn <= 0.5)).all()
        density = part.ln_likelihood({}, sml.Data({"phi1": torch.full_like(nodes, place), "a": nodes})).exp()
        below = torch.cumulative_trapezoid(density, nodes)
        assert below[-1].item() == pytest.approx(1, abs=1e-5)
        assert stats.kstest(np.interp(drawn, nodes[1:], below), "uniform").pvalue > 1e-3
    assert part.simulate({}, data[:0])["a"].shape == (0,)


def test_kernels_reload_with_any_number_of_points():
    part, data = kernels(cloud(200), bandwidth=1.5)
    few, _ = kernels(cloud(30), max_points=20)
    assert len(few.points) == 20
    file = io.BytesIO()
    torch.save({"whole": torch.nn.ModuleList([part]).state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)["whole"]
    for other in (few, sml.builtin.compat.KDEModel(coord_names=("a",), broad=None).double()):
        torch.nn.ModuleList([other]).load_state_dict(state)
        assert torch.equal(other.ln_likelihood({}, data), part.ln_likelihood({}, data))


def test_kernels_take_a_frozen_density():
    part, data = kernels(cloud(30))
    whole = sml.IndependentModels({"kde": part})
    kept = torch.arange(30.0)
    assert torch.equal(whole.ln_likelihood({}, data), part.ln_likelihood({}, data))
    assert torch.equal(whole.ln_likelihood({}, data, sml.models.KnownDensities({"kde": kept})), kept)


def test_kernels_name_what_they_lack():
    kind = sml.builtin.compat.KDEModel
    empty = kind(coord_names=("a",))
    data = sml.Data({"phi1": torch.zeros(3), "a": torch.zeros(3)})
    for use in (lambda: empty.ln_likelihood({}, data), lambda: empty.simulate({}, data)):
        with pytest.raises(sml.InputError, match=r"KDEModel over \['a'\] has no points; give it stars with fit_points"):
            use()
    with pytest.raises(sml.InputError, match=r"all stars have the same \['phi1', 'a'\]; give a bandwidth"):
        empty.fit_points(data)
    with pytest.raises(sml.InputError, match="1 stars in the window have"):
        empty.fit_points(data[:1])
    for bandwidth in (0.0, {"b": 1.0}, {"a": -1.0}):
        with pytest.raises(sml.InputError, match="needs positive numbers, by name among"):
            kind(coord_names=("a",), bandwidth=bandwidth)
