"""Isochrones whose [Fe/H], age, reddening and mass function are parameters. phi1 and phi2 are in deg."""

import itertools
import math
import pickle
import sys
import types
from pathlib import Path

import jsonargparse
import numpy as np
import pytest
import torch
import yaml
from isochrones import needs_mist
from small_models import state_of
from test_isochrone import make_stars, quadrature
from test_isochrone_readers import DSEP_DECAM, DSEP_PS1

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.builtin import (
    Isochrone,
    IsochroneGrid,
    IsochroneMVNorm,
    KroupaMassFunction,
    PowerLawFamily,
    PowerLawMassFunction,
)
from stream_mapper.description import build, describe
from stream_mapper.errors import InputError
from stream_mapper.params import ModelParameters
from stream_mapper.prior import NormalPrior

BASE = Isochrone.synthetic(points=300)
FUNCTION = PowerLawMassFunction(-0.5)
DISTANCE = {"distmod": {"mu": (13.0, 17.0), "ln-sigma": (-5.0, -1.0)}}
ERRORS = {"g": "g_err", "r": "r_err"}


def curve_of(feh, age=12.0):
    """A curve that changes evenly with [Fe/H] and age: redder and fainter, giants most in colour, and more massive."""
    z, old = feh + 2, age - 12
    g, r = BASE.magnitudes.unbind(-1)
    giant = torch.sigmoid((3.5 - g) / 0.4)
    r = r + 0.25 * z + 0.1 * old * giant
    colour = BASE.magnitudes[:, 0] - BASE.magnitudes[:, 1] + (0.12 + 0.10 * giant) * z + 0.01 * old
    mass = BASE.mass * (1 + 0.06 * z - 0.02 * old)
    return Isochrone(mass, torch.stack([r + colour, r], -1), ("g", "r"))


def grid_of(*fehs, ages=(12.0,)):
    points = [(feh, age) for feh in fehs for age in ages]
    return IsochroneGrid([curve_of(*point) for point in points], *zip(*points, strict=True))


def model_of(isochrone, constants=None, params=DISTANCE, mass_function=FUNCTION, **kwargs):
    return IsochroneMVNorm(
        isochrone=isochrone,
        phot_err_names=ERRORS,
        mass_function=mass_function,
        constants=constants and ModelParameters(constants),
        net=sml.nn.Constant(len(ModelParameters(params))),
        params=ModelParameters(params),
        **kwargs,
    )


def given(stars, **params):
    """Parameters and data of stars as the tests of the density make them."""
    magnitudes = torch.where(stars["where"], stars["magnitudes"], torch.nan)
    columns = dict(zip("gr", magnitudes.unbind(-1), strict=True))
    errors = dict(zip(ERRORS.values(), stars["errors"].unbind(-1), strict=True))
    data = Data({"phi1": torch.zeros(len(magnitudes)), **columns, **errors})
    values = {"distmod.mu": stars["distmod"], "distmod.ln-sigma": stars["ln_spread"]}
    return values | {name: torch.full((len(data),), value) for name, value in params.items()}, data


@pytest.mark.parametrize(("feh", "age"), [(-2.0, 12.0), (-1.8, 12.0), (-1.37, 12.6), (-1.0, 13.0)])
def test_the_density_is_that_of_the_isochrone_in_between(feh, age):
    """The curves change evenly, so that what lies between two is known; its density is summed up independently."""
    grid = grid_of(-2.0, -1.5, -1.0, ages=(12.0, 13.0))
    model = model_of(grid, {"feh": (-2.0, -1.0), "age": (12.0, 13.0)}, segments=80)
    stars = make_stars(curve_of(feh, age))
    found = model.ln_likelihood(*given(stars, feh=feh, age=age)).numpy()
    expected = quadrature(stars, curve_of(feh, age), FUNCTION)
    near = expected > -20
    assert np.median(np.abs(found - expected)) < 0.003
    assert np.abs(found - expected)[near].max() < 0.1
    other = quadrature(stars, curve_of(feh + 0.2, age), FUNCTION)
    assert np.median(np.abs(found - other)) > 0.1


def test_the_density_integrates_to_one_inside_its_window_between_the_isochrones():
    model = model_of(
        grid_of(-2.0, -1.0), {"feh": (-2.0, -1.0)}, scatter=0.02, segments=20, phot_bounds={"g": (15.0, 20.0)}
    )
    step = 0.04
    g, r = torch.meshgrid(torch.arange(15 + step / 2, 20, step), torch.arange(11.0, 24.0, step), indexing="ij")
    kept = (g - r - 0.5).abs() < 2.5
    magnitudes = torch.stack([g[kept], r[kept]], -1)
    stars = {"magnitudes": magnitudes, "errors": torch.full_like(magnitudes, 0.05), "where": magnitudes > 0}
    one = torch.ones(len(magnitudes))
    stars |= {"distmod": 15 * one, "ln_spread": math.log(0.1) * one}
    for feh in (-1.7, -1.2):
        total = model.ln_likelihood(*given(stars, feh=feh)).double().exp().sum().item() * step**2
        assert total == pytest.approx(1, abs=1e-3)


def test_each_star_has_the_slopes_of_its_own_parameters():
    """In double precision against finite differences: the end of a fit goes by the scores of single stars."""
    bounds = {"g": (13.0, 22.0), "r": (13.0, 21.5)}
    model = model_of(grid_of(-2.0, -1.0), {"feh": (-2.0, -1.0)}, phot_bounds=bounds).double()
    params, data = given(make_stars(curve_of(-1.4), n=30, dtype=torch.float64, errors=(0.03, 0.05)))
    inside = (model.in_window(data) & data.where[("g", "r")].any(-1)).nonzero()[:12, 0]
    params, data = {name: values[inside] for name, values in params.items()}, data[inside]

    def ln_p(feh, distmod):
        return model.ln_likelihood(params | {"feh": feh, "distmod.mu": distmod}, data)

    free = [torch.linspace(-1.9, -1.1, 12).double().requires_grad_(), params["distmod.mu"].clone().requires_grad_()]
    assert torch.autograd.gradcheck(ln_p, free, eps=1e-6, atol=1e-4, rtol=1e-4)


def test_reddening_and_offsets_move_the_isochrone_and_not_the_window():
    bounds = {"g": (14.0, 21.0)}
    model = model_of(
        curve_of(-1.5),
        {"ebv": (0.0, 0.2), "offset": {"r": (-0.1, 0.1)}},
        reddening={"g": 3.2, "r": 2.3},
        phot_bounds=bounds,
    )
    moved = Isochrone(BASE.mass * 1.03, curve_of(-1.5).magnitudes + torch.tensor([0.16, 0.165]), ("g", "r"))
    stars = make_stars(curve_of(-1.5), n=100)
    params, data = given(stars, ebv=0.05)
    found = model.ln_likelihood(params | {"offset.r": torch.full((100,), 0.05)}, data)
    plain = model_of(moved, phot_bounds=bounds)
    torch.testing.assert_close(found, plain.ln_likelihood(params, data), rtol=1e-3, atol=2e-3)
    assert torch.equal(~found.isinf(), model.in_window(data))
    assert 20 < found.isinf().sum() < 80


def test_the_mass_function_may_change_along_the_stream():
    family = PowerLawFamily(-3.0, 1.0)
    params = DISTANCE | {"mass-slope": (-3.0, 1.0)}
    model = model_of(curve_of(-1.5), params=params, mass_function=family, phot_bounds={"g": (14.0, 22.0)})
    stars = make_stars(curve_of(-1.5), n=60)
    for slope in (-2.0, -0.6, 0.87):
        params, data = given(stars, **{"mass-slope": slope})
        plain = model_of(curve_of(-1.5), mass_function=PowerLawMassFunction(slope), phot_bounds={"g": (14.0, 22.0)})
        found, expected = model.ln_likelihood(params, data), plain.ln_likelihood(params, data)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=3e-3)
    with pytest.raises(InputError, match="mass-slope is known from -3 to 1; its bounds are -4 and 1"):
        model_of(curve_of(-1.5), params=DISTANCE | {"mass-slope": (-4.0, 1.0)}, mass_function=family)


def test_draws_follow_the_density_of_each_star():
    """Half of the stars have each [Fe/H]; their mean magnitudes are those of the two curves."""
    torch.manual_seed(0)
    bounds, n = {"g": (14.0, 19.5)}, 40_000
    model, one = model_of(grid_of(-2.0, -1.0), {"feh": (-2.0, -1.0)}, phot_bounds=bounds), torch.ones(n)
    data = Data({"phi1": one, "g_err": 0.02 * one, "r_err": 0.02 * one})
    params = {"distmod.mu": 15 * one, "distmod.ln-sigma": -3 * one}
    fehs = torch.where(torch.arange(n) < n // 2, -1.9, -1.1)
    drawn = model.simulate(params | {"feh": fehs}, data)
    for feh in (-1.9, -1.1):
        expected = model_of(curve_of(feh), phot_bounds=bounds).simulate(params, data)
        for name in "gr":
            found = drawn[name][(fehs - feh).abs() < 0.01]
            assert found.mean().item() == pytest.approx(expected[name].mean().item(), abs=0.03)


def test_points_of_equal_phase_go_together():
    """Of one curve, at phases of its own: between two of them lies itself, however its points are placed."""
    phase = torch.linspace(0, 1, 300, dtype=torch.float64)
    whole = Isochrone(BASE.mass, BASE.magnitudes, BASE.bands, phase)
    thin = Isochrone(BASE.mass[::3], BASE.magnitudes[::3], BASE.bands, phase[::3])
    short, long = IsochroneGrid([whole, thin], feh=[-2.0, -1.0]).aligned()
    torch.testing.assert_close(short.magnitudes, long.magnitudes, atol=2e-3, rtol=0)
    assert short.mass[-1].item() == pytest.approx(BASE.mass[297].item())  # no more than both have


@needs_mist
def test_real_isochrones_of_one_library_share_their_phases():
    """Dartmouth's of [Fe/H] = -2.25 and -1.9; of two surveys, which does not matter here."""
    files = {-2.25: (DSEP_DECAM, {"g": "DECam_g", "r": "DECam_r"}), -1.9: (DSEP_PS1, {"g": "gP1", "r": "rP1"})}
    curves = [Isochrone.read(*file) for file in files.values()]
    model = IsochroneMVNorm(isochrone=IsochroneGrid(curves, feh=list(files)), scatter=0.02, constants=FEH_OF_DSEP)
    halfway = model.curve()[1].double()
    first, last, between = (turn_off(magnitudes) for magnitudes in (*(c.magnitudes for c in curves), halfway))
    assert between == pytest.approx((first + last) / 2, abs=0.004)
    tips = torch.stack([curve.magnitudes[-1] for curve in curves])
    torch.testing.assert_close(halfway[-1], tips.mean(0), atol=0.02, rtol=0)


FEH_OF_DSEP = ModelParameters({"feh": (-2.25, -1.9)})


def turn_off(magnitudes):
    """Colour of the bluest point of the main sequence."""
    g, r = magnitudes.unbind(-1)
    return (g - r)[(g > 2.5) & (g < 6)].min().item()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IsochroneGrid([BASE, BASE], feh=[-2.0]), "2 isochrones need a label each"),
        (lambda: IsochroneGrid([BASE, BASE], feh=[-2.0, -2.0]), "one isochrone for each"),
        (lambda: IsochroneGrid([BASE]), "one isochrone for each"),
        (lambda: IsochroneGrid([BASE, Isochrone.synthetic(points=90)], feh=[-2.0, -1.0]), "equally many points"),
        (lambda: IsochroneGrid([BASE, Isochrone.synthetic("g", points=300)], feh=[-2.0, -1.0]), "same bands"),
        (
            lambda: model_of(grid_of(-2.0, -1.0), {"feh": (-2.5, -1.0)}),
            "feh is known from -2 to -1; its bounds are -2.5",
        ),
        (lambda: model_of(curve_of(-2.0), {"feh": (-2.0, -1.0)}), "has the parameters .* got"),
        (lambda: model_of(curve_of(-2.0), {"ebv": (0.0, 0.1)}), "has the parameters"),
        (lambda: model_of(curve_of(-2.0), reddening={"i": 1.7}), "reddening of ..i.."),
    ],
)
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_model_of_a_grid_is_built_again_from_its_description():
    constants = {"feh": (-2.0, -1.0), "ebv": (0.0, 0.1)}
    priors = [NormalPrior("feh", -1.6, 0.2)]
    model = model_of(
        grid_of(-2.0, -1.0), constants, reddening={"g": 3.2}, priors=priors, mass_function=KroupaMassFunction()
    )
    model.constants.net.value.data = torch.tensor([0.1, -0.2])
    again = build(describe(model))
    again.load_state_dict(state_of(model))
    stars = Data({"phi1": torch.zeros(5), "g_err": torch.full((5,), 0.02), "r_err": torch.full((5,), 0.02)})
    model.fit_scalers(stars)
    again.fit_scalers(stars)
    drawn = model.sample(stars, seed=1)
    assert torch.equal(again.ln_likelihood(again(drawn), drawn), model.ln_likelihood(model(drawn), drawn))
    feh = model(stars)["feh"][0].item()
    assert model.ln_prior().item() == pytest.approx(-0.5 * ((feh + 1.6) / 0.2) ** 2)


class Interpolator:
    """The interface of minimint's (0.5), whose own grid takes gigabytes: stars of `curve_of`, and helium burners."""

    def __init__(self, filts, data_prefix=None):
        self.filts = filts
        if data_prefix == "nowhere":
            raise FileNotFoundError("logg_grid.npy")

    def getMaxMass(self, logage, feh):  # noqa: N802
        return curve_of(feh, 10 ** (logage - 9)).mass[-1].item() + 0.01

    def __call__(self, mass, logage, feh):
        curve = curve_of(float(feh), 10 ** (float(logage) - 9))
        g, r = (np.interp(mass, curve.mass.numpy(), band) for band in curve.magnitudes.numpy().T)
        columns = {name: g if name == "PS_g" else r for name in self.filts}
        phase = np.interp(g, [3.0, 3.5], [2.0, 0.0])
        phase[mass > curve.mass[-1].item()] = 3.0
        return columns | {"phase": np.where(mass < curve.mass[0].item(), np.nan, phase), "logl": mass}


@pytest.fixture
def minimint(monkeypatch):
    module = types.ModuleType("minimint")
    module.Interpolator = Interpolator
    monkeypatch.setitem(sys.modules, "minimint", module)


def test_isochrones_of_mist_at_any_age_and_metallicity(minimint):
    """With a stand-in for minimint."""
    bands, expected = {"g": "PS_g", "r": "PS_r"}, curve_of(-1.63, 12.4)
    curve = Isochrone.mist(age=12.4, feh=-1.63, bands=bands)
    assert curve.bands == ("g", "r")
    assert curve.mass[-1].item() == pytest.approx(expected.mass[-1].item(), rel=1e-4)  # the tip, no helium burner
    for ours, theirs in zip(curve.magnitudes.T, expected.magnitudes.T, strict=True):
        np.testing.assert_allclose(np.interp(expected.mass, curve.mass, ours), theirs, atol=0.02)
    assert len(Isochrone.mist(12.4, -1.63, bands, stop=None).mass) > len(curve.mass)
    assert Isochrone.mist(12.4, -1.63, "PS_g", mass_range=(0.5, 0.7)).mass.aminmax().max.item() <= 0.7
    grid = IsochroneGrid.mist(age=[12.0, 13.0], feh=[-1.5, -2.0], bands=bands)
    assert grid.axes == {"feh": [-2.0, -1.5], "age": [12.0, 13.0]}
    stars = make_stars(curve_of(-1.7, 12.4), n=100)
    model = model_of(grid, {"feh": (-2.0, -1.5), "age": (12.0, 13.0)}, segments=80)
    found = model.ln_likelihood(*given(stars, feh=-1.7, age=12.4)).numpy()
    assert np.median(np.abs(found - quadrature(stars, curve_of(-1.7, 12.4), FUNCTION))) < 0.02


def test_the_model_of_the_docs_can_be_built(minimint):
    page = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text()
    block = page.partition("#### When the isochrone is not known")[2].split("```")[1].removeprefix("yaml\n")
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--model", type=sml.Model)
    model = parser.instantiate_classes(parser.parse_object({"model": yaml.safe_load(block)})).model
    assert model.constants.params.names == ("feh", "age", "ebv", "offset.i")
    assert model.populations.axes == {"feh": (-2.5, -2.25, -2, -1.75, -1.5), "age": (11, 13)}
    expected = -0.5 * ((-2 + 1.9) / 0.3) ** 2  # [Fe/H] starts in the middle of its bounds
    assert model.ln_prior().item() == pytest.approx(expected, abs=1e-5)


def test_mist_says_what_it_lacks(minimint, monkeypatch):
    with pytest.raises(InputError, match=r"no grid of .'PS_g'. in nowhere; .*download_and_prepare"):
        Isochrone.mist(12.0, -1.5, "PS_g", folder="nowhere")
    with pytest.raises(InputError, match="fewer than two points of age=12 Gyr"):
        Isochrone.mist(12.0, -1.5, "PS_g", mass_range=(2.0, 3.0))
    monkeypatch.setitem(sys.modules, "minimint", None)
    with pytest.raises(InputError, match=r"pip install 'stream_mapper\[isochrones\]'"):
        Isochrone.mist(12.0, -1.5, "PS_g")


def life(mass, x):
    """Luminosity [dex] of stars of some masses at a share x of their lives: dwarfs to 0.9, giants to 0.97."""
    return 4 * np.log10(mass) + 20 * np.clip(x - 0.9, 0, None)


def grid_of_minimint(folder, neep=400):
    """A grid as minimint keeps it: lives of 10 Gyr m^-3, and a bolometric correction of 0.2 mag and [Fe/H] / 10."""
    fehs, masses, x = np.array([-2.5, -1.0]), np.linspace(0.1, 1.2, 111), np.linspace(0, 1, neep)
    shape = (2, len(masses), neep)
    grids = {
        "logage": 10 - 3 * np.log10(masses)[:, None] + np.log10(np.linspace(1e-3, 1, neep)),
        "logl": life(masses[:, None], x),
        "logteff": 3.8 - 0.2 * np.clip(x - 0.9, 0, None) + 0 * masses[:, None],
        "logg": 4.5 - 20 * np.clip(x - 0.9, 0, None) + 0 * masses[:, None],
        "phase": np.select([x < 0.9, x < 0.97], [0, 2], 3) + 0 * masses[:, None].astype(int),
    }
    for name, values in grids.items():
        np.save(folder / f"{name}_grid.npy", np.broadcast_to(values, shape))
    (folder / "interp.pkl").write_bytes(pickle.dumps({"umass": masses, "ufeh": fehs, "neep": neep}))
    points = np.array(list(itertools.product([3.0, 4.0], [0.0, 6.0], [-3.0, 0.0], [0.0, 1.0]))).T
    np.save(folder / "bolom_points.npy", points)
    np.save(folder / "filt_PS_g.npy", 0.2 + points[2] / 10)
    np.save(folder / "filt_PS_r.npy", 0.0 * points[2])


def test_minimint_itself_interpolates_a_small_grid(tmp_path):
    pytest.importorskip("minimint")
    grid_of_minimint(tmp_path)
    curve = Isochrone.mist(12.0, -1.5, {"g": "PS_g", "r": "PS_r"}, folder=str(tmp_path))
    mass = curve.mass.numpy()
    luminosity = life(mass, 1.2 * mass**3)
    near_nodes = np.abs(mass * 100 - np.round(mass * 100)) < 0.05  # between masses of the grid minimint is linear
    r, g = 4.74 - 2.5 * luminosity, 4.74 - 2.5 * luminosity - 0.05
    for found, expected in ((curve.magnitudes[:, 0], g), (curve.magnitudes[:, 1], r)):
        np.testing.assert_allclose(found.numpy()[near_nodes], expected[near_nodes], atol=0.05)
    assert 1.2 * mass[-1] ** 3 == pytest.approx(0.97, abs=0.01)
    longer = Isochrone.mist(12.0, -1.5, "PS_g", folder=str(tmp_path), stop="early_agb")
    assert 1.2 * longer.mass[-1].item() ** 3 == pytest.approx(1.0, abs=0.01)
    with pytest.raises(InputError, match="no grid of"):
        Isochrone.mist(12.0, -1.5, "PS_i", folder=str(tmp_path))
