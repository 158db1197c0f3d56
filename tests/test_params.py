"""Bounds, scalers and names of parameters."""

import math

import pytest
import torch
from small_models import table

from stream_mapper.params import ModelParameter, ModelParameters
from stream_mapper.params.bounds import ClippedBounds, NoBounds, SigmoidBounds
from stream_mapper.params.scaler import Identity, StandardLnWidth, StandardLocation, StandardWidth
from stream_mapper.utils import StandardScaler


def test_bounds_and_scalers():
    raw = torch.tensor([-1e3, -1.0, 0.0, 1.0, 1e3], requires_grad=True)
    location = StandardLocation(10.0, 2.0)
    assert location(raw)[1:4].tolist() == [8, 10, 12]
    assert StandardWidth(2.0)(raw)[3].item() == 2
    assert StandardLnWidth(-2.5)(raw)[1:4].tolist() == [-3.5, -2.5, -1.5]
    assert torch.equal(Identity()(raw), raw)
    assert torch.equal(NoBounds()(raw, location), location(raw))
    assert ClippedBounds(9.0, 11.0)(raw, location).tolist() == [9, 9, 10, 11, 11]
    sigmoid = SigmoidBounds(15.0, 25.0)(raw, location)
    assert sigmoid[2].item() == 20
    assert sigmoid[3].item() == pytest.approx(15 + 10 / (1 + math.exp(-1)))
    assert ((sigmoid >= 15) & (sigmoid <= 25)).all()
    assert torch.autograd.grad(sigmoid.sum(), raw)[0].isfinite().all()


def test_scalers_of_parameters_from_the_data():
    scaler = StandardScaler.fit(table(), ("phi1", "g"))
    location = StandardLocation.from_data_scaler(scaler, "g")
    assert (location.mean, location.scale) == (20, scaler.scale[1].item())
    assert StandardLnWidth.from_data_scaler(scaler, "g").ln_scale == pytest.approx(0.5 * math.log(8 / 3))


def test_parameters_are_split_and_named_once():
    params = ModelParameters(
        {"phi2": {"mu": ModelParameter(scaler=StandardLocation(1.0, 2.0)), "ln-sigma": (-3.0, 0.0)}, "a.b": (0, 1)}
    )
    assert params.names == ("phi2.mu", "phi2.ln-sigma", "a.b")
    assert len(params) == 3
    assert "phi2.mu" in params
    values = params(torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]))
    assert {name: value.tolist() for name, value in values.items()} == {
        "phi2.mu": [3, 5],
        "phi2.ln-sigma": [-1.5, -1.5],
        "a.b": [0.5, 0.5],
    }
    assert params.without("phi2.mu").names == ("phi2.ln-sigma", "a.b")
    assert isinstance(params["a.b"].bounds, SigmoidBounds)
    assert len(ModelParameters()) == 0
