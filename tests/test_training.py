"""The module that trains a model, and the numbers of a run."""

from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from astropy.table import Table

import stream_mapper as sml
from stream_mapper.builtin.compat import ZukoFlowModel, flow
from stream_mapper.devices import without_sync
from stream_mapper.nn import Constant
from stream_mapper.pipeline import Trained, which_weights
from stream_mapper.results.metrics import THRESHOLDS, truth_metrics
from stream_mapper.results.run_folder import ResultOptions
from stream_mapper.results.summary import summary
from stream_mapper.training import BackgroundStage, StreamModule, train_background
from stream_mapper.training.batches import Batches
from stream_mapper.training.callbacks import FitProgress, StopEarly, StopOnNonFinite
from stream_mapper.training.length import FEWEST, epochs_for, set_length
from stream_mapper.training.trainer import make_trainer


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


def thin_stream(size, share, half, most):
    """A mixture of a thin stream and an even background over phi2, and the phi2 of stars of it.

    The window reaches to ``half`` on either side, and ln-weight to ``most``; ``share`` of the stars are the stream's.
    """
    names = sml.params.ModelParameters({"phi2": {"mu": (-1.0, 1.0), "ln-sigma": (-4.0, -1.0)}})
    window = {"phi2": (-half, half)}
    stream = sml.builtin.TruncatedNormal(coord_names=["phi2"], coord_bounds=window, net=Constant(2), params=names)
    model = sml.MixtureModel(
        {"stream": stream, "background": sml.builtin.Uniform(coord_names=["phi2"], coord_bounds=window)},
        net=Constant(1),
        params=sml.params.ModelParameters({"stream.ln-weight": (-4.0, most)}),
    )
    member = torch.rand(size) < share
    return model, torch.where(member, 0.3 + 0.1 * torch.randn(size), torch.empty(size).uniform_(-half, half))


def fitted(screen_every, epochs=40):
    """Parameters of a thin stream in a wide window after a short fit of stars drawn from it."""
    torch.manual_seed(1)
    model, phi2 = thin_stream(3000, 0.1, 10.0, -1.0)
    batches = Batches(sml.Data({"phi1": torch.zeros(3000), "phi2": phi2}), 500, shuffle=True)
    stars = batches.whole.stars
    model.fit_scalers(stars)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", devices=1, enable_model_summary=False, **quiet)
    trainer.fit(StreamModule(model, learning_rate=0.1, screen_every=screen_every), batches)
    skipped = [(~values.isnan()).float().mean().item() for values in batches.whole.known.skipped.values()]
    return {name: value[0].item() for name, value in model(stars[:1]).items()}, sum(skipped)


def test_a_screened_fit_ends_where_a_full_one_does():
    (full, none), (screened, share) = fitted(0), fitted(5)
    assert none == 0
    assert share > 0.5
    assert screened == pytest.approx(full, abs=0.01)
    assert screened["stream.phi2.mu"] == pytest.approx(0.3, abs=0.03)
    assert screened["stream.ln-weight"] == pytest.approx(np.log(0.1), abs=0.15)


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


@pytest.mark.parametrize(
    ("ran", "best", "said"),
    [
        (30, 30, "those of epoch 30, the best on the held-out stars; the fit ran all 30 epochs."),
        (12, 5, "those of epoch 5, the best on the held-out stars; the fit stopped early, after 12 of 30"),
        (30, None, "those of the end; the fit ran all 30 epochs."),
    ],
)
def test_the_log_says_which_weights_are_kept(ran, best, said):
    trained = Trained(1.0, epochs=ran, asked=30, best_epoch=best, step=ran, learning_rate=0.0, folder=Path())
    assert f"the weights are {said}" in which_weights(trained)


@pytest.mark.parametrize("at_terminal", [True, False])
def test_the_bar_says_whose_members_it_counts(at_terminal, capsys, monkeypatch):
    monkeypatch.setattr("stream_mapper.training.callbacks.is_shown", lambda: at_terminal)
    bar, metrics = FitProgress(), {"train/members": torch.tensor(12.0)}
    trainer = SimpleNamespace(max_epochs=1, current_epoch=0, callback_metrics=metrics)
    bar.on_train_start(trainer, None)
    bar.on_train_epoch_end(trainer, None)
    bar.on_train_end(trainer, None)
    assert ("members (training)=12" in capsys.readouterr().err) == at_terminal


def flow_model():
    return ZukoFlowModel(net=flow(2), coord_names=["g", "r"])


def test_a_flow_without_stars_is_named_by_its_coordinates():
    stars = sml.Data({"phi1": torch.zeros(12), "g": torch.ones(12), "r": torch.tensor([1.0] * 9 + [torch.nan] * 3)})
    with pytest.raises(sml.InputError, match=r"the flow over \['g', 'r'\] needs 10 .* or more; found 9"):
        train_background(sml.IndependentModels({"photometry": flow_model()}), stars, BackgroundStage())


def test_a_bad_gradient_is_named_without_what_is_inside():
    module = StreamModule(sml.IndependentModels({"photometry": flow_model()}))
    weight = next(module.parameters())
    weight.grad = torch.full_like(weight, torch.nan)
    with pytest.raises(FloatingPointError, match=r"step 3: the gradient of \['model.photometry.flow"):
        StopOnNonFinite().on_before_optimizer_step(SimpleNamespace(global_step=3), module, None)


def test_a_bad_gradient_is_named_by_its_first_step_when_looked_at_later():
    """As on a device that is only looked at now and then, in which time all the weights have become NaN."""
    module = StreamModule(sml.IndependentModels({"photometry": flow_model()}))
    first, *others = module.parameters()
    guard = StopOnNonFinite(every_n_steps=5)
    with without_sync():
        for step in range(4):
            for weight in (first, *others):
                weight.grad = torch.full_like(weight, torch.nan if (step == 1 and weight is first) or step > 1 else 0.0)
            guard.on_before_optimizer_step(SimpleNamespace(global_step=step), module, None)
        with pytest.raises(FloatingPointError, match=r"step 1: the gradient of \['[^',]*'\] is not finite"):
            guard.on_before_optimizer_step(SimpleNamespace(global_step=4), module, None)
        guard.on_validation_start(None, module)
        guard.on_before_optimizer_step(SimpleNamespace(global_step=5), module, None)
        with pytest.raises(FloatingPointError, match="step 5"):
            guard.on_validation_start(None, module)


@pytest.mark.parametrize(("stars", "batch", "epochs"), [(500, None, 600), (13_000, 2048, 86), (200_000, 2048, 7)])
def test_a_fit_is_as_long_as_the_number_of_stars_asks_for(stars, batch, epochs):
    assert epochs_for(stars, batch) == epochs
    assert epochs_for(10_000 * stars, 2048) == FEWEST
    trainer = make_trainer("", logger=False)
    set_length(trainer, stars, batch)
    assert trainer.max_epochs == epochs
    given = make_trainer("", logger=False, max_epochs=3)
    set_length(given, stars, batch)
    assert given.max_epochs == 3
    by_steps = make_trainer("", logger=False, max_steps=700)
    set_length(by_steps, stars, batch)
    assert by_steps.max_epochs == -(-700 // len(Batches(sml.Data({"phi1": torch.zeros(stars)}), batch)))


def tiny():
    """A mixture of a stream and an even background over phi2, and stars of it."""
    model, phi2 = thin_stream(300, 0.3, 2.0, -0.5)
    return model, Table({"phi1": torch.empty(300).uniform_(-5, 5).numpy(), "phi2": phi2.numpy()})


@pytest.mark.parametrize(("weights", "epochs"), [("end", 40), ("best", 40)])
def test_a_fit_keeps_the_weights_that_are_asked_for(weights, epochs, caplog):
    model, table = tiny()
    few = ResultOptions(draws=1, track_draws=1)
    with caplog.at_level("INFO", logger="stream_mapper"):
        fit = sml.fit(model, table, training={"weights": weights}, trainer={"max_epochs": epochs}, results=few)
    assert fit.metrics["epochs"] == epochs  # nothing stops it before its schedule has ended
    assert ("best_epoch" in fit.metrics) == (weights == "best")
    assert (f"those of the end; the fit ran all {epochs} epochs" in caplog.text) == (weights == "end")


@pytest.mark.parametrize(("patience", "epochs"), [(None, 12), (3, 4)])
def test_only_with_patience_a_fit_is_stopped(patience, epochs, caplog):
    """No epoch is better than the first by ten nats."""
    model, table = tiny()
    few, stop = ResultOptions(draws=1, track_draws=1), StopEarly(patience, min_delta=10.0)
    with caplog.at_level("INFO", logger="stream_mapper"):
        fit = sml.fit(model, table, trainer={"max_epochs": 12, "callbacks": [stop]}, results=few)
    assert fit.metrics["epochs"] == epochs
    assert ("stopped early, after 4 of 12 epochs" in caplog.text) == (epochs == 4)


def test_the_table_of_a_fit_without_a_stream_can_be_printed():
    """Where no star has a probable membership by the truth, the optimum has no calibration error."""
    p = np.array([0.5, 0.02, 0.0])
    table = Table({"p_member": p, "true_component": ["background"] * 3, "true_p_member": np.zeros(3)})
    metrics = truth_metrics(table) | {"stars": 3, "in_window": 3, "expected_members": 0.52, "seconds": 1.0}
    assert "optimal_calibration_error" not in metrics
    metrics |= {f"above_{cut}": 0 for cut in THRESHOLDS} | {"verdict": "no stream"}
    text = summary(metrics, Path("nowhere"))
    assert "no stream" in text
    assert "calibration error where p > 0.01" in text
