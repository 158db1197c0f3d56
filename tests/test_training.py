"""The module that trains a model, and the numbers of a run."""

import lightning as L
import numpy as np
import pytest
import torch
from astropy.table import Table

import stream_mapper as sml
from stream_mapper.nn import Constant
from stream_mapper.results.metrics import truth_metrics
from stream_mapper.training import StreamModule
from stream_mapper.training.batches import Batches


@pytest.mark.parametrize("epochs", [1, 2, 5, 10, 20, 60])
def test_a_fit_of_any_length_ends_nearer_the_truth(epochs):
    """The mean of a Gaussian, from zero towards one; the learning rate rises and falls in any number of steps."""
    parameters = sml.params.ModelParameters({"phi2": {"mu": sml.params.ModelParameter(), "ln-sigma": (-1.0, 1.0)}})
    model = sml.builtin.Normal(coord_names=["phi2"], net=Constant(2), params=parameters)
    stars = sml.Data({"phi1": torch.zeros(200), "phi2": 1 + torch.randn(200)})
    model.fit_scalers(stars)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", devices=1, **quiet)
    trainer.fit(StreamModule(model, learning_rate=0.05), Batches(stars))
    moved = model(stars)["phi2.mu"][0].item()
    assert 0 < moved < 1.3
    assert trainer.optimizers[0].param_groups[0]["lr"] <= 0.05 + 1e-9


@pytest.mark.parametrize(("power", "error"), [(1.0, 0.0), (0.5, 1 / 6), (2.0, 1 / 6)])
def test_the_calibration_error_tells_right_from_wrong(power, error):
    """Stars that are members with probability p, given p to some power as their membership."""
    p = torch.rand(50_000, dtype=torch.float64)
    component = np.where(torch.rand(50_000) < p, "stream", "background")
    table = Table({"p_member": p.numpy() ** power, "true_component": component, "true_p_member": p.numpy()})
    metrics = truth_metrics(table, {"few_": p.numpy() < 0.5})
    assert metrics["optimal_calibration_error"] < 0.01
    assert metrics["calibration_error"] == pytest.approx(error, abs=0.02)
    assert metrics["few_optimal_calibration_error"] < 0.015
    assert metrics["few_average_precision"] == pytest.approx(metrics["few_optimal_average_precision"], abs=1e-9)
