"""Names and scalers of models made of models."""

import torch
from small_models import normal, phi2_at

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.models import scope
from stream_mapper.nn import Constant


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
