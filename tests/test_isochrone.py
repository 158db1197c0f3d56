"""The density along an isochrone against quadrature."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from isochrones import CURVES, curves

from stream_mapper.builtin import IsochroneMVNorm
from stream_mapper.builtin.isochrone import (
    Isochrone,
    KroupaMassFunction,
    PowerLawMassFunction,
    UniformMassFunction,
    ln_isochrone,
    populate,
    segments,
)
from stream_mapper.devices import without_sync


def along(curve, length):
    """Mass and magnitudes of a curve at given lengths along it, and its whole length."""
    mass, magnitudes = curve.mass.double().numpy(), curve.magnitudes.double().numpy()
    places = np.append(0, np.cumsum(np.linalg.norm(np.diff(magnitudes, axis=0), axis=1)))
    return (
        np.interp(length * places[-1], places, mass),
        np.stack([np.interp(length * places[-1], places, band) for band in magnitudes.T], -1),
    )


def quadrature(stars, curve, function, points=20_000, applies=None, scatter=0.0):
    """ln p by summing over the original curve, with a covariance matrix inverted per star."""
    mass, ends = along(curve, np.linspace(0, 1, points + 1))
    weights = function.segment_weights(torch.tensor(mass), torch.tensor(ends)).numpy()
    middles = along(curve, (np.arange(points) + 0.5) / points)[1]
    columns = [stars[name].double().numpy() for name in ("magnitudes", "errors", "distmod", "ln_spread")]
    result = []
    for m, s, mu, ln_spread, where in zip(*columns, stars["where"].numpy(), strict=True):
        a = (np.ones(len(m)) if applies is None else applies)[where]
        covariance = np.diag(s[where] ** 2 + scatter**2) + np.exp(2 * ln_spread) * np.outer(a, a)
        residual = m[where] - mu * a - middles[:, where]
        terms = -0.5 * np.sum(residual @ np.linalg.inv(covariance) * residual, -1)
        norm = -0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
        result.append(norm + np.logaddexp.reduce(terms[weights > 0] + np.log(weights[weights > 0])))
    return np.array(result)


def make_stars(curve, n=240, seed=0, errors=(0.008, 0.05), missing=0.2, dtype=torch.float32):
    """Stars on a curve and, one in four, off it; some lack a band."""
    rng = np.random.default_rng(seed)
    absolute = along(curve, rng.uniform(0, 1, n))[1]
    size, distmod = absolute.shape, rng.uniform(13.5, 16, n)
    spread = 10 ** rng.uniform(math.log10(0.003), math.log10(0.2), n)
    error = rng.uniform(*errors, size)
    magnitudes = absolute + (distmod + spread * rng.normal(size=n))[:, None] + error * rng.normal(size=size)
    magnitudes += (rng.random(n) < 0.25)[:, None] * rng.normal(size=size) * 0.2
    where = np.ones(size, dtype=bool)
    lacking = np.flatnonzero(rng.random(n) < missing)
    where[lacking, rng.integers(0, size[1], len(lacking))] = False
    columns = {"magnitudes": magnitudes, "errors": error, "distmod": distmod, "ln_spread": np.log(spread)}
    return {k: torch.tensor(v, dtype=dtype) for k, v in columns.items()} | {"where": torch.tensor(where)}


def density(stars, curve, function, segments=80, applies=None, **changes):
    dtype = stars["magnitudes"].dtype
    factors = torch.ones(len(curve.bands)) if applies is None else torch.tensor(applies)
    values = {**stars, **populate(curve, function, segments).to(stars["magnitudes"])._asdict()}
    return ln_isochrone(**{**values, "applies": factors.to(dtype), **changes})


MASS_FUNCTIONS = {
    "uniform": UniformMassFunction(),
    "power-law": PowerLawMassFunction(-0.5),
    "salpeter": PowerLawMassFunction(-2.35),
    "kroupa": KroupaMassFunction(),
}


@curves
@pytest.mark.parametrize("function", MASS_FUNCTIONS.values(), ids=MASS_FUNCTIONS.keys())
def test_segments_agree_with_quadrature(curve, function):
    curve = CURVES[curve]()
    stars = make_stars(curve)
    expected = quadrature(stars, curve, function)
    error = np.abs(density(stars, curve, function).double().numpy() - expected)
    near = expected > -20
    assert np.median(error) < 0.003
    assert error[near].max() < 0.1
    assert (error / (1 + np.abs(expected))).max() < 0.1


@pytest.mark.parametrize(
    ("function", "scatter", "atol"),
    [(UniformMassFunction(), 0.0, 1e-4), (PowerLawMassFunction(-0.5), 0.0, 2e-4), (UniformMassFunction(), 0.03, 1e-4)],
)
def test_enough_segments_are_exact(function, scatter, atol):
    curve = Isochrone.synthetic(points=120)
    stars = make_stars(curve, n=60, dtype=torch.float64)
    expected = quadrature(stars, curve, function, points=200_000, scatter=scatter)
    found = density(stars, curve, function, 119, scatter=scatter).numpy()
    np.testing.assert_allclose(found, expected, atol=atol, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [UniformMassFunction(), KroupaMassFunction()])
def test_very_unequal_errors(dtype, function):
    curve = Isochrone.synthetic()
    stars = make_stars(curve, n=60, missing=0, dtype=dtype)
    stars["errors"] = torch.tensor([[0.001, 5.0], [5.0, 5.0], [5.0, 0.001]], dtype=dtype).repeat(20, 1)
    expected = quadrature(stars, curve, function, points=100_000)
    np.testing.assert_allclose(density(stars, curve, function).double().numpy(), expected, atol=0.02)


def test_a_colour_does_not_feel_the_modulus():
    g, r = Isochrone.synthetic().magnitudes.unbind(-1)
    curve, function = (
        Isochrone(Isochrone.synthetic().mass, torch.stack([r, g - r], -1), ("r", "g-r")),
        UniformMassFunction(),
    )
    stars = make_stars(curve, n=60, dtype=torch.float64)
    stars["magnitudes"][:, 1] -= stars["distmod"]
    applies = np.array([1.0, 0.0])
    expected = quadrature(stars, curve, function, applies=applies)
    found = density(stars, curve, function, 200, applies=applies).numpy()
    np.testing.assert_allclose(found, expected, atol=0.03, rtol=0.002)
    farther = density(stars | {"where": torch.tensor([[False, True]]).expand(60, 2)}, curve, function, applies=applies)
    shifted = stars | {"where": torch.tensor([[False, True]]).expand(60, 2), "distmod": stars["distmod"] + 3}
    torch.testing.assert_close(density(shifted, curve, function, applies=applies), farther, rtol=0, atol=0)


def test_missing_bands_drop_exactly():
    curve, function = Isochrone.synthetic(("g", "r", "i")), PowerLawMassFunction(-0.5)
    stars = make_stars(curve, n=50, missing=0, dtype=torch.float64)
    population, where = populate(curve, function, 60), torch.tensor([True, False, True])
    two = {k: stars[k][:, where] if stars[k].ndim == 2 else stars[k] for k in stars}
    population = population.bands([0, 2])
    expected = ln_isochrone(**two, **population._asdict(), applies=torch.ones(2))
    stars["where"] = where.expand(50, 3)
    stars["magnitudes"][:, 1], stars["errors"][:, 1] = 1e6, 0
    torch.testing.assert_close(density(stars, curve, function, 60), expected)
    stars["where"] = torch.zeros(50, 3, dtype=torch.bool)
    assert (density(stars, curve, function, 60) == 0).all()


def test_density_integrates_to_one_over_magnitudes():
    curve, function = Isochrone.synthetic(), PowerLawMassFunction(-0.5)
    step = 0.04
    g, r = torch.meshgrid(*[torch.arange(7.0, 28.0, step, dtype=torch.float64)] * 2, indexing="ij")
    kept = (g - r).add(0.5).abs() < 2.2
    m = torch.stack([g[kept], r[kept]], -1)
    ones = torch.ones(len(m), dtype=torch.float64)
    stars = {"magnitudes": m, "errors": torch.full_like(m, 0.05), "where": torch.ones_like(m, dtype=torch.bool)}
    stars |= {"distmod": 15 * ones, "ln_spread": math.log(0.1) * ones}
    total = density(stars, curve, function, 20, scatter=0.02).exp().sum() * step**2
    assert total.item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shift", [0.0, 3.0, 300.0, 30_000.0])
def test_gradients_are_finite_at_any_distance(shift, dtype):
    curve, function = Isochrone.synthetic(("g", "r", "i")), PowerLawMassFunction(-0.5)
    stars = make_stars(curve, n=40, dtype=dtype)
    stars["magnitudes"][:, 0] += shift
    stars["where"][0], stars["errors"][1] = False, 5.0
    nodes = populate(curve, function, 60).nodes.to(dtype)
    free = [stars["distmod"], stars["ln_spread"], nodes, torch.tensor(0.01, dtype=dtype)]
    free = [values.clone().requires_grad_() for values in free]
    changed = stars | {"distmod": free[0], "ln_spread": free[1], "nodes": free[2], "scatter": free[3]}
    ln_p = density(stars, curve, function, 60, **{k: changed[k] for k in ("distmod", "ln_spread", "nodes", "scatter")})
    assert ln_p.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(ln_p.sum(), free))


def test_gradients_equal_finite_differences():
    curve = Isochrone.synthetic()
    stars = make_stars(curve, n=8, dtype=torch.float64, errors=(0.03, 0.05))
    stars["errors"][0] = 5.0
    population = populate(curve, PowerLawMassFunction(-0.5), 12)
    assert population.tilts.abs().max() > 0.5

    def ln_p(distmod, ln_spread, nodes):
        changed = stars | population._replace(nodes=nodes)._asdict() | {"distmod": distmod, "ln_spread": ln_spread}
        return ln_isochrone(**changed, applies=torch.ones(2).double())

    free = [v.clone().requires_grad_() for v in (stars["distmod"], stars["ln_spread"], population.nodes)]
    assert torch.autograd.gradcheck(ln_p, free, eps=1e-6, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("errors", [(0.002, 0.01), (0.008, 0.05), (0.5, 5.0)])
@pytest.mark.parametrize("scatter", [0.0, "by segment"])
def test_far_segments_are_left_out_without_loss(dtype, errors, scatter):
    curve, function = Isochrone.synthetic(), PowerLawMassFunction(-0.5)
    stars = make_stars(curve, n=300, errors=errors, dtype=dtype)
    stars["magnitudes"][:60] += torch.linspace(-2, 2, 60, dtype=dtype)[:, None] * torch.tensor([1.0, -0.3])
    free = [stars[name].requires_grad_() for name in ("distmod", "ln_spread")]
    changes = {"scatter": torch.linspace(0.01, 0.1, 80, dtype=dtype)[:, None].expand(80, 2)} if scatter else {}

    def values():
        ln_p = density(stars, curve, function, **changes)
        return [ln_p.detach(), *torch.autograd.grad(ln_p.sum(), free)]

    near = values()
    with without_sync():
        everything = values()
    tolerance = {"rtol": 2e-3, "atol": 2e-3} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
    for found, expected in zip(near, everything, strict=True):
        torch.testing.assert_close(found, expected, **tolerance)


def test_segments_that_matter_are_few():
    curve = Isochrone.synthetic()
    stars = make_stars(curve, n=300, missing=0.0)
    population = populate(curve, UniformMassFunction(), 60).to(stars["magnitudes"])
    residual = stars["magnitudes"] - stars["distmod"][:, None]
    noise = segments.Noise(stars["errors"], stars["where"], stars["ln_spread"], torch.ones(2), population.scatter)
    steps = population.nodes.diff(dim=0)
    along = segments._Curve(population.nodes[1:] - steps / 2, steps, population.ln_weights, population.tilts)
    rows, _ = segments._pairs(residual, segments.whiten(noise), along)
    assert 300 <= len(rows) < 0.3 * 300 * 60


def test_repeated_nodes_and_empty_segments_are_harmless():
    curve, function = Isochrone.synthetic(), PowerLawMassFunction(-0.5)
    stars, population = make_stars(curve, n=30), populate(curve, function, 30)
    expected = density(stars, curve, function, 30)
    doubled = torch.cat([population.nodes[:10], population.nodes[9:]]).float().requires_grad_()
    empty = torch.tensor([-math.inf]), torch.tensor([0.0])
    padded = [torch.cat([v[:9], e, v[9:]]).float() for v, e in zip(population[1:3], empty, strict=True)]
    found = density(stars, curve, function, nodes=doubled, ln_weights=padded[0], tilts=padded[1])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)
    assert torch.autograd.grad(found.sum(), doubled)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bands", [[0], [0, 2], [0, 1, 2]])
@pytest.mark.parametrize("step", [0.0, 1e-12])
def test_a_segment_of_one_colour_is_a_place_and_not_everywhere(step, bands, dtype):
    nodes = torch.tensor([[0, 0, 0], [step, 1, step], [1.0, 2, 1]], dtype=dtype)
    where = torch.zeros(4, 3, dtype=torch.bool)
    where[:, bands] = True
    stars = {
        "magnitudes": torch.tensor([-2.0, 0, 0.3, 5], dtype=dtype)[:, None] + torch.tensor([0.0, 0.1, -0.05]).to(dtype),
        "errors": torch.tensor([0.1, 0.2, 0.05], dtype=dtype).expand(4, 3),
        "where": where,
        "distmod": torch.zeros(4, dtype=dtype),
        "ln_spread": torch.full((4,), -3.0, dtype=dtype),
        "applies": torch.ones(3, dtype=dtype),
        "ln_weights": torch.tensor([0.7, 0.3], dtype=dtype).log(),
    }
    along = torch.linspace(0, 1, 20001, dtype=torch.float64)[:, None]
    noise = torch.diag(stars["errors"][0, bands].double() ** 2) + math.exp(-6)
    places = [a + along * (b - a) for a, b in pairwise(nodes.double()[:, bands])]
    laws = [torch.distributions.MultivariateNormal(place, noise) for place in places]
    seen = stars["magnitudes"][:, None, bands].double()
    means = torch.stack([law.log_prob(seen).logsumexp(-1) for law in laws], -1) - math.log(len(along))
    expected = torch.logsumexp(means + stars["ln_weights"].double(), -1)
    torch.testing.assert_close(ln_isochrone(**stars, nodes=nodes).double(), expected, rtol=1e-3, atol=1e-3)


def test_the_mass_function_is_kroupas_unless_another_is_named(caplog):
    curve = Isochrone.synthetic(points=100)
    bare = Isochrone(None, curve.magnitudes, curve.bands)
    cases = [  # isochrone, what is asked for, what its stars have to follow
        (curve, None, KroupaMassFunction()),
        (curve, UniformMassFunction(), UniformMassFunction()),
        (bare, UniformMassFunction(), UniformMassFunction()),
    ]
    for isochrone, asked, expected in cases:
        model = IsochroneMVNorm(isochrone=isochrone, mass_function=asked, scatter=0.02)
        torch.testing.assert_close(model.ln_weights.double(), populate(isochrone, expected, 60).ln_weights)
    assert not caplog.records
    by_default = IsochroneMVNorm(isochrone=bare, scatter=0.02)
    assert torch.equal(by_default.ln_weights, model.ln_weights)
    assert "no initial masses" in caplog.text
    giants = curve.magnitudes[1:, 0] < 2.0
    shares = [
        f.segment_weights(curve.mass, curve.magnitudes)[giants].sum() for f in (KroupaMassFunction(), cases[1][1])
    ]
    assert shares[0] < 0.02
    assert shares[1] > 0.25
