"""Hooks that link the parameters of components. Parallaxes are in mas."""

import math

import pytest
import torch
from astropy import units as u
from astropy.coordinates import Distance
from small_models import WINDOW, normal, numbers, phi2_at

import stream_mapper as sml
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameters


@pytest.mark.parametrize(("parallax", "sigma"), [(0.1, 0.005), (1.0, 0.1), (0.065, 0.001)])
def test_parallax_sets_the_distance_modulus(parallax, sigma):
    hook = sml.builtin.Parallax2DistMod("astrometric.parallax", "photometric.distmod")
    given = {"astrometric.parallax.mu": parallax, "astrometric.parallax.ln-sigma": math.log(sigma)}
    out = hook({name: torch.tensor([value], dtype=torch.float64) for name, value in given.items()})
    assert set(out) == {*given, "photometric.distmod.mu", "photometric.distmod.ln-sigma"}
    modulus = [Distance(parallax=p * u.mas).distmod.value for p in (parallax, parallax - 1e-5, parallax + 1e-5)]
    assert out["photometric.distmod.mu"].item() == pytest.approx(modulus[0], abs=1e-9)
    slope = abs(modulus[2] - modulus[1]) / 2e-5
    assert out["photometric.distmod.ln-sigma"].exp().item() == pytest.approx(slope * sigma, rel=1e-4)


def test_shared_parameters():
    hook = sml.builtin.ShareParameters({"spur.pm": "stream.pm", "spur.w": "stream.w"})
    given = {"stream.pm.mu": torch.ones(1), "stream.pm.ln-sigma": torch.zeros(1), "stream.pmx": torch.ones(1)}
    out = hook({**given, "stream.w": torch.ones(1)})
    assert set(out) - set(given) == {"stream.w", "spur.pm.mu", "spur.pm.ln-sigma", "spur.w"}
    assert out["spur.pm.mu"] is given["stream.pm.mu"]


def test_shared_parameters_in_a_mixture():
    stream, spur = normal(net=Constant(2)), normal()
    background = sml.builtin.Uniform(coord_names=("phi2",), coord_bounds=WINDOW)
    names = ("stream.ln-weight", "spur.ln-weight")
    model = sml.MixtureModel(
        {"stream": stream, "spur": spur, "background": background},
        net=Constant(2),
        data_scaler=numbers(),
        params=ModelParameters(dict.fromkeys(names, (-3.0, -1.0))),
        unpack_params_hooks=(sml.builtin.ShareParameters({"spur.phi2": "stream.phi2"}),),
    )
    data = phi2_at(0.0, 1.0)
    p = model.membership(model(data), data)
    torch.testing.assert_close(p[:, 0], p[:, 1])
