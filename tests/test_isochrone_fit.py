"""A fit whose isochrone has a wrong [Fe/H], which is or is not a parameter. phi1 and phi2 are in deg."""

import math

import numpy as np
import pytest
import torch
from astropy.table import Table
from test_isochrone_grid import FUNCTION, curve_of, grid_of, model_of

import stream_mapper as sml
from stream_mapper.params import ModelParameters
from stream_mapper.prior import NormalPrior
from stream_mapper.results.run_folder import ResultOptions


def stream_of(n=500, field=1500, feh=-1.5, distmod=15.0, seed=3):
    """Stars of a stream of [Fe/H] = -1.5, and an even field, in g < 21."""
    rng = np.random.default_rng(seed)
    curve = curve_of(feh)
    generator = torch.Generator().manual_seed(seed)
    mass = FUNCTION.sample(20 * n, float(curve.mass[0]), float(curve.mass[-1]), generator).numpy()
    bands = [np.interp(mass, curve.mass.numpy(), band.numpy()) + distmod for band in curve.magnitudes.unbind(-1)]
    size = len(mass)
    noisy = [band + 0.03 * rng.normal(size=size) for band in bands]
    bright = np.flatnonzero((noisy[0] < 21) & (noisy[0] > 13))[:n]
    sky = rng.uniform(-2, 2, field)
    g = rng.uniform(13, 21, field)
    columns = {
        "phi1": rng.uniform(-10, 10, n + field),
        "phi2": np.concatenate([rng.normal(0, 0.15, len(bright)), sky]),
        "g": np.concatenate([noisy[0][bright], g]),
        "r": np.concatenate([noisy[1][bright], g - rng.uniform(-0.2, 1.4, field)]),
    }
    errors = dict.fromkeys(("g_err", "r_err"), np.full(n + field, 0.03))
    return Table({name: values.astype(np.float32) for name, values in (columns | errors).items()})


def fit_with(isochrone, constants=None, priors=()):
    phot = model_of(isochrone, constants, phot_bounds={"g": (13.0, 21.0)}, priors=priors)
    sky = {"phi2": (-2.0, 2.0)}
    narrow = ModelParameters({"phi2": {"mu": (-1.0, 1.0), "ln-sigma": (-4.0, 0.0)}})
    stream = sml.builtin.TruncatedNormal(
        coord_names=["phi2"], coord_bounds=sky, net=sml.nn.Constant(2, scale=5.0), params=narrow
    )
    field = {
        "sky": sml.builtin.Uniform(coord_names=["phi2"], coord_bounds=sky),
        "photometry": EvenColours(),
    }
    model = sml.MixtureModel(
        {
            "stream": sml.IndependentModels({"sky": stream, "photometry": phot}),
            "background": sml.IndependentModels(field),
        },
        net=sml.nn.Constant(1, scale=5.0),
        params=ModelParameters({"stream.ln-weight": (-5.0, -0.3)}),
    )
    return sml.fit(
        model,
        stream_of(),
        data={"batch_size": 512},
        training={"learning_rate": 0.02},
        trainer={"max_epochs": 25},
        results=ResultOptions(draws=4, track_draws=60),
    )


class EvenColours(sml.Model):
    """Even in g and in g - r: the field of `stream_of`."""

    def __init__(self):
        super().__init__(coord_names=["g", "r"], coord_bounds={"g": (13.0, 21.0)})

    def forward(self, data):
        return {}

    def ln_likelihood(self, params, data):
        colour = data["g"] - data["r"]
        inside = (colour > -0.2) & (colour < 1.4) & (data["g"] > 13) & (data["g"] < 21)
        return torch.where(inside, -math.log(8 * 1.6), -30.0)

    def simulate(self, params, data):
        g = 13 + 8 * torch.rand(len(data))
        return {"g": g, "r": g + 0.2 - 1.6 * torch.rand(len(data))}


@pytest.mark.long
def test_an_isochrone_wrong_by_a_third_of_a_dex_biases_the_distance_unless_it_is_a_parameter():
    """The stream has [Fe/H] = -1.5 and is at 10 kpc; the guess is -1.8, with an error of 0.3 dex."""
    wrong = fit_with(curve_of(-1.8)).track(at=[0.0])
    assert wrong["distance_95"][0] < 9.5
    fit = fit_with(grid_of(-2.25, -1.75, -1.25, -1.0), {"feh": (-2.25, -1.0)}, [NormalPrior("feh", -1.8, 0.3)])
    free = fit.track(at=[0.0])
    assert free["distance"][0] == pytest.approx(10, rel=0.02)
    assert free["distance_05"][0] < 10 < free["distance_95"][0]
    row = fit.components()[0]
    assert row["feh_05"] < -1.5 < row["feh_95"]
    assert row["feh"] == pytest.approx(-1.5, abs=0.1)
    exact = fit_with(curve_of(-1.5)).track(at=[0.0])
    assert _width(free) > _width(exact)  # the band has what is not known of the isochrone


def _width(track):
    return track["distance_95"][0] - track["distance_05"][0]
