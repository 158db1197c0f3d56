"""Names and scalers of models made of models."""

import pytest
import torch
from small_models import WINDOW, mixture, normal, phi2_at

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.models import adopt, scope
from stream_mapper.nn import Constant, sequential
from stream_mapper.params import ModelParameters


def test_names_of_parts_are_prefixes():
    outer = sml.IndependentModels({"a": sml.IndependentModels({"b": normal(net=Constant(2))})})
    params = outer(phi2_at(0.0))
    assert list(params) == ["a.b.phi2.mu", "a.b.phi2.ln-sigma"]
    assert list(scope(params, "a.b")) == ["phi2.mu", "phi2.ln-sigma"]
    assert scope(params, "a.bb") == {}


def test_scalers_are_fitted_once_for_every_part():
    model = sml.IndependentModels({"a": normal(net=Constant(2), data_scaler=None)})
    part = model.components["a"]
    assert not part.indep_scaler.fitted
    model.fit_scalers(Data({"phi1": torch.tensor([0.0, 2.0])}))
    assert (part.indep_scaler.mean.item(), part.indep_scaler.scale.item()) == (1, 1)
    model.fit_scalers(Data({"phi1": torch.tensor([0.0, 200.0])}))
    assert part.indep_scaler.mean.item() == 1


def test_parts_are_had_by_their_names():
    model = sml.MixtureModel(
        {"stream": sml.IndependentModels({"sky": normal(net=Constant(2))}), "background": normal(net=Constant(2))},
        net=Constant(1),
        params=ModelParameters({"stream.ln-weight": (-3.0, -1.0)}),
    )
    assert model["stream"] is model.components["stream"]
    assert model["stream.sky"] is model["stream"]["sky"] is model.components["stream"].components["sky"]
    assert "stream" in model
    assert "spur" not in model
    with pytest.raises(sml.InputError, match=r"no component 'spur'; this MixtureModel has .'stream', 'background'."):
        model["spur"]
    with pytest.raises(sml.InputError, match="'background' is a Normal, which has no part 'sky'"):
        model["background.sky"]


def stream(bounds=(-1.0, 1.0), width=8):
    """A density of phi2 with a network."""
    params = ModelParameters({"phi2": {"mu": bounds, "ln-sigma": (-4.0, 0.0)}})
    net = sequential(1, width, 2, 2)
    return normal(sml.builtin.TruncatedNormal, net=net, params=params, coord_bounds=WINDOW)


def test_a_richer_model_starts_from_the_parts_of_a_fitted_one():
    fitted = mixture("stream", stream=stream)
    fitted["stream"].correction.set(torch.tensor([[0.1, 0.5, 0.2], [0.0, 0.3, 0.1]]), (-10.0, 10.0))
    rich, data = mixture("stream", "spur", stream=stream), phi2_at(0.1, 0.4, -0.2)
    assert not torch.equal(rich["stream"](data)["phi2.mu"], fitted["stream"](data)["phi2.mu"])
    assert adopt(rich, fitted) == ["stream"]  # the weights of a mixture of other components are not alike
    assert torch.equal(rich["stream"](data)["phi2.mu"], fitted["stream"](data)["phi2.mu"])
    assert not torch.equal(rich["spur"](data)["phi2.mu"], fitted["stream"](data)["phi2.mu"])
    adopt(rich, fitted, {"spur": "stream"})
    assert torch.equal(rich["spur"](data)["phi2.mu"], fitted["stream"](data)["phi2.mu"])
    with torch.no_grad():
        next(rich["spur"].net.parameters()).add_(1.0)
    assert not torch.equal(rich["spur"](data)["phi2.mu"], fitted["stream"](data)["phi2.mu"])


def test_a_mixture_of_the_same_components_has_the_weights_too():
    fitted, again = mixture("stream", stream=stream), mixture("stream", stream=stream)
    fitted.weights.net.value.data = torch.tensor([-2.5])
    assert adopt(again, fitted) == ["stream", "weights"]
    assert again(phi2_at(0.0))["stream.ln-weight"].item() == -2.5


@pytest.mark.parametrize(
    ("other", "parts", "message"),
    [
        (lambda: stream(bounds=(-2.0, 2.0)), {"stream": "stream"}, "differ in parameters or their bounds"),
        (lambda: stream(width=9), {"stream": "stream"}, "differ in the shape of their networks"),
        (lambda: normal(net=Constant(2)), {"stream": "stream"}, "differ in kind, TruncatedNormal and Normal"),
        (stream, {"spur": "stream"}, "no part 'spur'"),
        (stream, {"stream": "halo"}, "no part 'halo'"),
    ],
)
def test_parts_that_are_not_alike_are_named(other, parts, message):
    fitted = mixture("stream", stream=other)
    with pytest.raises(sml.InputError, match=message):
        adopt(mixture("stream", stream=stream), fitted, parts)
