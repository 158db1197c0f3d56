"""Mass functions and nodes of isochrones."""

import json
import math

import jsonargparse
import numpy as np
import pytest
import torch
from isochrones import CURVES, curves
from scipy import integrate, stats

from stream_mapper.builtin.isochrone import (
    BrokenPowerLawMassFunction,
    CallableMassFunction,
    Isochrone,
    KroupaMassFunction,
    MassFunction,
    PowerLawMassFunction,
    StepMassFunction,
    UniformMassFunction,
    populate,
)
from stream_mapper.description import build, describe
from stream_mapper.errors import InputError


def chabrier(mass):
    """The log-normal of Chabrier (2003, PASP 115, 763, eq. 17) below one solar mass, as a user would write it."""
    return torch.exp(-((torch.log10(mass) - math.log10(0.079)) ** 2) / (2 * 0.69**2)) / mass


MASS_FUNCTIONS = {
    "salpeter": PowerLawMassFunction(-2.35),
    "shallow": PowerLawMassFunction(-0.5),
    "minus-one": PowerLawMassFunction(-1.0),
    "nearly-minus-one": PowerLawMassFunction(-1.0 + 1e-9),
    "kroupa": KroupaMassFunction(),
    "steps": StepMassFunction((0.05, 0.4, 0.6, 5.0), (2.0, 0.0, 1.0)),
    "callable": CallableMassFunction(chabrier),
}
mass_functions = pytest.mark.parametrize("function", MASS_FUNCTIONS.values(), ids=MASS_FUNCTIONS.keys())


@mass_functions
@pytest.mark.parametrize(("low", "high"), [(0.1, 0.8), (0.45, 0.55), (0.8, 0.8005)])
def test_mass_integral_agrees_with_quadrature(function, low, high):
    ends = torch.tensor([low, high], dtype=torch.float64)
    breaks = [e for e in getattr(function, "edges", torch.zeros(0)).tolist() if low < e < high]

    def dn_dm(m):
        return function(torch.tensor(m, dtype=torch.float64)).item()

    expected = integrate.quad(dn_dm, low, high, points=breaks or None, epsabs=0, epsrel=1e-9)[0]
    assert function.integral(*ends).item() == pytest.approx(expected, rel=1e-7)


@mass_functions
def test_weights_sum_to_one_and_samples_follow(function):
    curve = Isochrone.synthetic()
    nodes = curve.nodes(40)
    weights = function.segment_weights(nodes.mass, nodes.magnitudes)
    assert weights.shape == (40,)
    assert weights.sum().item() == pytest.approx(1, abs=1e-12)
    masses = function.sample(4000, 0.2, 0.8, torch.Generator().manual_seed(2))
    low, whole = torch.tensor(0.2, dtype=torch.float64), torch.tensor([0.2, 0.8], dtype=torch.float64)
    cdf = function.integral(low, masses) / function.integral(*whole)
    assert ((masses >= 0.2) & (masses <= 0.8)).all()
    assert stats.kstest(cdf.numpy(), "uniform").pvalue > 1e-3
    on_curve = function.sample_curve(500, curve.mass, curve.magnitudes, torch.Generator().manual_seed(2))
    assert ((on_curve >= curve.mass[0]) & (on_curve <= curve.mass[-1])).all()


def test_kroupa_is_continuous_and_has_its_slopes():
    function = KroupaMassFunction()
    for edge in (0.08, 0.5):
        sides = function(torch.tensor([edge * (1 - 1e-9), edge * (1 + 1e-9)], dtype=torch.float64))
        assert (sides[0] / sides[1]).item() == pytest.approx(1, abs=1e-7)
    for mass, slope in ((0.05, -0.3), (0.3, -1.3), (0.8, -2.3)):
        pair = function(torch.tensor([mass, 1.01 * mass], dtype=torch.float64)).log()
        assert (pair.diff() / math.log(1.01)).item() == pytest.approx(slope)


def test_uniform_weights_are_lengths_and_samples_follow_them():
    curve = Isochrone([0.2, 0.5, 0.7], [[10.0, 9.0], [7.0, 5.0], [6.0, 5.0]], ("g", "r"))
    weights = UniformMassFunction().segment_weights(curve.mass, curve.magnitudes)
    torch.testing.assert_close(weights, torch.tensor([5 / 6, 1 / 6], dtype=torch.float64))
    drawn = UniformMassFunction().sample_curve(6000, curve.mass, curve.magnitudes, torch.Generator().manual_seed(3))
    cdf = np.interp(drawn.numpy(), [0.2, 0.5, 0.7], [0, 5 / 6, 1])
    assert stats.kstest(cdf, "uniform").pvalue > 1e-3


def test_bad_mass_functions_are_named():
    with pytest.raises(InputError, match="edges need 1 slopes"):
        BrokenPowerLawMassFunction((0.1, 1.0), (-1.0, -2.0), (1.0, 1.0))
    with pytest.raises(InputError, match="edges must increase"):
        StepMassFunction((0.5, 0.1), (1.0,))
    curve = Isochrone.synthetic()
    with pytest.raises(InputError, match="no star between"):
        StepMassFunction((5.0, 6.0), (1.0,)).segment_weights(curve.mass, curve.magnitudes)


def numbers(mass):
    """What no mass function is."""
    return torch.where(mass > 0.4, -1.0, 1.0)


def test_any_function_of_the_mass_is_a_mass_function():
    flat, curve = CallableMassFunction(lambda mass: 2.0), Isochrone.synthetic()
    edges = torch.tensor([0.2, 0.3, 0.8])
    torch.testing.assert_close(flat.segment_measure(edges, edges), torch.tensor([0.2, 1.0]))
    power = CallableMassFunction(lambda mass: mass**-2.3)
    exact = PowerLawMassFunction(-2.3)
    for found, expected in zip(populate(curve, power, 60), populate(curve, exact, 60), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    with pytest.raises(InputError, match=r"numbers.*at 0.4\d* solar masses it is -1"):
        populate(curve, CallableMassFunction(numbers), 60)
    with pytest.raises(InputError, match="it is inf"):
        CallableMassFunction(lambda mass: torch.full_like(mass, math.inf)).icdf(torch.rand(3), 0.1, 1.0)


def test_a_mass_function_by_its_path():
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--function", type=MassFunction)
    path = {
        "class_path": "stream_mapper.builtin.CallableMassFunction",
        "init_args": {"function": "torch.nn.functional.sigmoid"},
    }
    function = parser.instantiate_classes(parser.parse_object({"function": path})).function
    assert function(torch.zeros(2)).tolist() == [0.5, 0.5]


def test_synthetic_curve_looks_old_and_metal_poor():
    curve = Isochrone.synthetic(("g", "r", "i"))
    mass, (g, r, _) = curve.mass, curve.magnitudes.T
    turn_off = (g - r).argmin()
    assert (mass.diff() > 0).all()
    assert 0.2 < mass[0] < 0.3
    assert 9 < g[0] < 11
    assert 3.5 < g[turn_off] < 4.5
    assert 0.18 < (g - r)[turn_off] < 0.26
    assert g[-1] == pytest.approx(-2)
    assert 0.9 < (g - r)[-1] < 1.0
    assert mass[-1] - mass[turn_off] < 0.03
    with pytest.raises(InputError, match=r"no band \['z'\]"):
        Isochrone.synthetic(("g", "z"))


@curves
@pytest.mark.parametrize("segments", [1, 20, 60])
def test_nodes_follow_the_curve(curve, segments):
    curve = CURVES[curve]()
    nodes = curve.nodes(segments)
    assert len(nodes.mass) == segments + 1
    assert nodes.bands == curve.bands
    assert (nodes.mass[0], nodes.mass[-1]) == (curve.mass[0], curve.mass[-1])
    assert (nodes.mass.diff() > 0).all()
    start, step = nodes.magnitudes[:-1], nodes.magnitudes.diff(dim=0)
    offset = curve.magnitudes[:, None] - start
    t = ((offset * step).sum(-1) / step.square().sum(-1)).clamp(0, 1)
    distance = (offset - t[..., None] * step).norm(dim=-1).min(dim=1).values
    assert distance.max() < {1: 2.0, 20: 0.05, 60: 0.006}[segments]


@pytest.mark.parametrize("masses", [True, False])
def test_a_curve_is_described_by_its_numbers(masses):
    magnitudes = Isochrone.synthetic(points=30).magnitudes
    curve = Isochrone(Isochrone.synthetic(points=30).mass if masses else None, magnitudes, ("g", "r"))
    again = build(json.loads(json.dumps(describe(curve))))
    assert again.has_masses == masses
    assert again.bands == ("g", "r")
    assert torch.equal(again.mass, curve.mass)
    assert torch.equal(again.magnitudes, magnitudes)


def test_nodes_of_a_curve_with_few_or_repeated_points():
    curve = Isochrone([0.2, 0.3, 0.5, 0.6, 0.7], [[9.0], [8.0], [8.0], [6.0], [6.0]], "g")
    nodes = curve.nodes(50)
    assert nodes.mass.tolist() == [0.2, 0.3, 0.7]
    assert nodes.magnitudes.tolist() == [[9.0], [8.0], [6.0]]
    with pytest.raises(InputError, match="at least one segment"):
        curve.nodes(0)


def test_bad_curves_are_named():
    with pytest.raises(InputError, match=r"points 1 and 2 have 0.5 then 0.5"):
        Isochrone([0.2, 0.5, 0.5], [[9.0], [8.0], [7.0]], ("g",))
    with pytest.raises(InputError, match=r"found \(2,\) and \(2, 1\)"):
        Isochrone([0.2, 0.5], [[9.0], [8.0]], ("g", "r"))
    with pytest.raises(InputError, match="finite"):
        Isochrone([0.2, 0.5], [[9.0], [math.nan]], ("g",))


def test_a_curve_without_masses_is_measured_by_its_length():
    magnitudes = Isochrone.synthetic(points=200).magnitudes
    curve = Isochrone(None, magnitudes, ("g", "r"))
    assert curve.mass[-1].item() == pytest.approx(np.linalg.norm(np.diff(magnitudes, axis=0), axis=1).sum())
    assert "no masses" in repr(curve)
    known = Isochrone(torch.linspace(0.2, 0.8, 200, dtype=torch.float64), magnitudes, ("g", "r"))
    for found, expected in zip(*(populate(c, UniformMassFunction(), 300) for c in (curve, known)), strict=True):
        torch.testing.assert_close(found, expected)
    # Few segments are placed by the curve alone: none of them is spent on how masses crowd.
    assert not curve.nodes(20).has_masses
    assert populate(curve, UniformMassFunction(), 20).tilts.abs().max() < 0.01
    with pytest.raises(InputError, match=r"KroupaMassFunction.*needs an isochrone with masses"):
        populate(curve, KroupaMassFunction(), 20)
    with pytest.raises(InputError, match="points 1 and 2 coincide"):
        Isochrone(None, [[9.0], [8.0], [8.0]], ("g",))


def test_a_curve_survives_its_state_dict_and_its_numbers():
    curve = Isochrone.synthetic(points=50)
    again = Isochrone(curve.mass.tolist(), curve.magnitudes.tolist(), list(curve.bands))
    assert again.bands == ("g", "r")
    assert torch.equal(again.magnitudes, curve.magnitudes)
    again.load_state_dict(curve.state_dict())
    assert set(curve.state_dict()) == {"mass", "magnitudes"}
