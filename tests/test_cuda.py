"""On a GPU the numbers are those of a CPU, and a step of the training waits for nothing."""

from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from test_device import ln_p_and_gradients, ready, step
from test_models import CASES, stars

import stream_mapper as sml
from stream_mapper.builtin.compat import FlowModel
from stream_mapper.builtin.isochrone import selection
from stream_mapper.catalog import read_table
from stream_mapper.fit import fit_command
from stream_mapper.predict import predict

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="it needs a GPU of NVIDIA's")

GPU = torch.device("cuda")
TOLERANCE = {torch.float64: {"rtol": 1e-8, "atol": 1e-8}, torch.float32: {"rtol": 2e-3, "atol": 2e-3}}

MOCK = Path(__file__).parent.parent / "experiments" / "mock" / "config.yaml"
SHORT = ["--background.max_epochs=3", "--trainer.max_epochs=3", "--results.draws=4", "--results.track_draws=4"]

cases = pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A short fit of the tailored mock, made on a GPU and read again."""
    folder = tmp_path_factory.mktemp("gpu")
    made = fit_command(["--config", str(MOCK), f"--trainer.default_root_dir={folder}", *SHORT])
    return sml.load(made.folder)


@contextmanager
def no_waiting():
    """Whatever waits for the device is an error."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@cases
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["double", "single"])
def test_densities_and_gradients_are_those_of_a_cpu(make, dtype):
    """Gradients are compared with the largest of their tensor, for a sum of rounded terms has no relative error."""
    case = make()
    model, data = case.model.to(dtype), stars(case, n=500).to(dtype=dtype)
    here, slopes = ln_p_and_gradients(model, data)
    there, slopes_there = ln_p_and_gradients(model.to(GPU), data.to(GPU))
    torch.testing.assert_close(there.cpu(), here, **TOLERANCE[dtype])
    for own, other in zip(slopes, slopes_there, strict=True):
        scale = own.abs().max().clamp_min(1e-6)
        torch.testing.assert_close(other.cpu() / scale, own / scale, **TOLERANCE[dtype])


@cases
def test_a_step_waits_for_nothing(make, monkeypatch):
    monkeypatch.setattr(selection, "_with_corners", lambda ln_p, *others: ln_p)  # as in test_device
    case = make()
    if isinstance(case.model, FlowModel):
        torch.distributions.Distribution.set_default_validate_args(False)  # as zuko's import does
    model, batch = ready(case.model, stars(case), GPU)
    step(model, batch)
    with no_waiting():
        step(model, batch)


@cases
def test_samples_are_made_where_the_model_is(make):
    case = make()
    data = stars(case)
    made = case.model.to(GPU).sample(data.to(GPU), seed=1)
    assert {made[name].device.type for name in made.names} == {"cuda"}
    assert case.model.in_window(made).all()


def test_waiting_is_seen():
    with pytest.raises(RuntimeError, match="synchroniz"), no_waiting():
        torch.ones(3, device=GPU).sum().item()


def test_a_fit_goes_to_a_gpu_and_back(fitted):
    """Memberships, their bands and the track are those of the CPU."""
    stars = fitted.catalogue.stars
    here, track = fitted.membership_columns(stars, 4), fitted.track(draws=4)
    there, track_there = fitted.to(GPU).membership_columns(stars, 4), fitted.track(draws=4)
    again = fitted.to("cpu").membership_columns(stars, 4)
    for name, values in here.items():
        torch.testing.assert_close(there[name], values, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(again[name], values)
    for name in ("phi2", "phi2_05", "phi2_95", "weight"):
        assert track_there[name] == pytest.approx(track[name], rel=1e-3, abs=1e-3)


def test_a_prediction_by_a_gpu_is_that_of_a_cpu(fitted, tmp_path):
    catalogue, best = fitted.folder / "memberships.parquet", fitted.folder / "checkpoints" / "best.ckpt"
    by = {
        device: read_table(predict(best, catalogue, tmp_path / f"{device}.parquet", draws=4, device=device))
        for device in ("cpu", str(GPU))
    }
    names = [name for name in by["cpu"].colnames if name.startswith(("p_", "in_window", "n_missing"))]
    for name in names:
        assert by[str(GPU)][name] == pytest.approx(by["cpu"][name], rel=1e-3, abs=1e-4)
