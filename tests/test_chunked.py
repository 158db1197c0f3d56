"""Large batches in chunks."""

import torch
from small_models import mixture, normal, phi2_at

from stream_mapper.builtin.compat import ZukoFlowModel, flow
from stream_mapper.inference import chunked
from stream_mapper.models import Batch
from stream_mapper.nn import Constant
from stream_mapper.utils import StandardScaler


def test_many_stars_in_chunks_are_the_same_stars(monkeypatch):
    """Value, derivatives and terms; a flow that is still trained is left to ordinary differentiation."""
    model = mixture("stream", stream=lambda: normal(net=Constant(2)))
    model.unpack_params_hooks = (lambda params: {**params, "stream.phi2.mu": params["stream.phi2.mu"][0]},)
    data = phi2_at(*torch.linspace(-1.9, 1.9, 41).tolist())
    data = data.with_columns({"phi2": torch.where(torch.arange(41) == 7, torch.nan, data["phi2"])})

    def values(trained=model):
        joint, total = chunked.ln_terms(trained, trained(data), Batch(data))
        weight = torch.linspace(0.5, 2, 41)
        return [joint, total.detach(), *torch.autograd.grad((weight * total).sum(), list(trained.parameters()))]

    whole = values()
    calls = []
    monkeypatch.setattr(chunked, "_STARS", 10)
    monkeypatch.setattr(chunked, "_of_chunk", lambda *a, f=chunked._of_chunk: calls.append(1) or f(*a))
    for found, expected in zip(values(), whole, strict=True):
        torch.testing.assert_close(found, expected)
    assert len(calls) == 5
    with torch.no_grad():
        torch.testing.assert_close(chunked.ln_terms(model, model(data), Batch(data))[1], whole[1])
    joint = ZukoFlowModel(
        net=flow(1, transforms=1), coord_names=("phi2",), data_scaler=StandardScaler(("phi1", "phi2"))
    )
    trained = mixture("stream", stream=lambda: joint)
    assert all(grad.isfinite().all() and grad.any() for grad in values(trained)[2:3])
