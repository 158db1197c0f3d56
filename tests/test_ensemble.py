"""Several fits of one model in one process."""

import copy
import json
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from small_models import state_of

import stream_mapper as sml
from stream_mapper.catalog import read_table
from stream_mapper.fit import main as fit
from stream_mapper.inference.draws import drawn_params, over_draws
from stream_mapper.inference.ensemble import Ensemble
from stream_mapper.inference.frozen import known_densities
from stream_mapper.inference.membership import drawn_memberships, memberships
from stream_mapper.inference.screening import repeated, screened, skipped_by_each
from stream_mapper.inference.track import track
from stream_mapper.models import Batch
from stream_mapper.nn import Constant, on_grid, redraw, sequential
from stream_mapper.pipeline import polish, posterior
from stream_mapper.predict import main as predict
from stream_mapper.prior import ControlRegions, FunctionPrior, HardThreshold
from stream_mapper.simulate import main as simulate
from stream_mapper.training import StreamModule, start_from_guides
from stream_mapper.training.batches import Batches

MOCK = str(Path(__file__).parent.parent / "experiments" / "mock" / "config.yaml")
SMALL = "{class_path: stream_mapper.mock.TailoredMock, init_args: {n_stream: 300, n_background: 900, seed: 3}}"
WINDOW = {"phi2": (-2.0, 2.0), "parallax": (0.0, 1.0)}
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


def shared_width(params):
    """A hook: the parallax is as wide as its place says."""
    return {**params, "stream.parallax.ln-sigma": params["stream.parallax.mu"] - 3}


def narrow(params, _):
    """A prior on the width."""
    return -((params["stream.phi2.ln-sigma"] + 2) ** 2)


def mixture(dropout=0.0):
    """A stream with a track and a range over a flat background, with guides, hooks and priors of every kind."""
    guide = ControlRegions("phi2.mu", phi1=[-5.0, 5.0], center=[-0.5, 0.5], width=0.1)
    names = {"phi2.mu": (-2.0, 2.0), "phi2.ln-sigma": (-4.0, -1.0), "parallax.mu": (0.1, 0.9)}
    stream = sml.builtin.TruncatedNormal(
        coord_names=["phi2", "parallax"],
        coord_bounds=WINDOW,
        net=on_grid(sequential(1, 8, 3, 3, dropout=dropout, gain=3.0)),
        params=sml.params.ModelParameters(names),
        priors=[guide],
    )
    return sml.MixtureModel(
        {"stream": stream, "background": sml.builtin.Uniform(coord_names=list(WINDOW), coord_bounds=WINDOW)},
        net=sequential(1, 8, 2, 1, dropout=dropout, gain=5.0),
        params=sml.params.ModelParameters({"stream.ln-weight": (-5.0, -0.5)}),
        unpack_params_hooks=[shared_width],
        priors=[HardThreshold("stream.ln-weight", -8.0, 8.0), FunctionPrior(narrow, [0.0, 1.0])],
    )


def sky(size=1500):
    """Stars of such a stream, a fifth of all."""
    phi1 = torch.empty(size).uniform_(-10, 10)
    member = (torch.rand(size) < 0.2) & (phi1.abs() < 8)
    phi2 = torch.where(member, 0.1 * phi1 + 0.1 * torch.randn(size), torch.empty(size).uniform_(-2, 2)).clamp(-2, 2)
    parallax = torch.where(member, 0.4 + 0.05 * torch.randn(size), torch.rand(size)).clamp(0, 1)
    parallax[::50] = torch.nan
    return sml.Data({"phi1": phi1, "phi2": phi2, "parallax": parallax})


def ensemble(size=3, **kwargs):
    """A module whose fits have started from the guides, and its stars."""
    stars = sky()
    module = StreamModule(
        mixture(), ensemble_size=size, learning_rate=0.02, screen_every=2, weight_decay=0.01, **kwargs
    )
    module.model.fit_scalers(stars)
    for one in module.ensemble.fits(module.model):
        with one:
            start_from_guides(module.model, steps=50)
    return module, stars


class Curve(Callback):
    """Log likelihood of all stars, (K,), after each epoch."""

    def __init__(self, stars):
        self.stars, self.values = stars, []

    @torch.no_grad()
    def on_train_epoch_end(self, trainer, pl_module):
        self.values.append(pl_module.ln_likelihoods(Batch(self.stars)).mean(1))


def trained(module, stars, clip=0.2):
    """The curve of a short fit in which the gradients are cut, (epochs, K)."""
    curve = Curve(stars)
    trainer = L.Trainer(
        max_epochs=8,
        accelerator="cpu",
        devices=1,
        gradient_clip_val=clip,
        callbacks=[curve],
        log_every_n_steps=1,
        **QUIET,
    )
    trainer.fit(module, Batches(stars, 300, shuffle=True))
    return torch.stack(curve.values)


def by_itself(module, member):
    """A fit of one member alone, from where it is."""
    with member:
        return StreamModule(copy.deepcopy(module.model), learning_rate=0.02, screen_every=2, weight_decay=0.01)


def test_each_member_is_trained_as_if_it_were_alone():
    module, stars = ensemble()
    alone = [by_itself(module, member) for member in module.ensemble.fits(module.model)]
    curves = trained(module, stars)
    assert curves.shape == (8, 3)
    for index, (single, member) in enumerate(zip(alone, module.ensemble.fits(module.model), strict=True)):
        assert trained(single, stars)[:, 0].tolist() == pytest.approx(curves[:, index].tolist(), abs=1e-4)
        with member:
            for name, value in single.model(stars).items():
                assert torch.allclose(module.model(stars)[name], value, atol=5e-3), name
    assert (curves[-1] > curves[0] + 0.01).all()
    assert curves[0].unique().numel() == 3


POSTERIOR = ("factor", "moves", "edges", "edge_rows", "weights", "weight_rows")


def test_one_member_is_the_fit_it_always_was():
    module, _ = ensemble(size=1)
    assert not list(module.ensemble.parameters())
    names = {f"model.{name}" for name in module.model.state_dict()}
    assert module.state_dict().keys() == names | {f"ensemble.posteriors.0.{name}" for name in POSTERIOR}


def test_fits_start_from_networks_of_their_own():
    torch.manual_seed(1)
    model = mixture()
    before = copy.deepcopy(model.state_dict())
    fits = Ensemble(model, 4)
    starts = torch.stack([next(iter(weights.values())).flatten() for weights in fits.weights_of(model)])
    assert len(starts.unique(dim=0)) == 4
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("gain", [1.0, 30.0])
def test_a_network_drawn_anew_has_its_gain(gain):
    net = sequential(1, 400, 2, 2, gain=gain)
    width = lambda: (net[0].weight.abs().max().item(), net[0].bias.std().item(), net[-1].weight.std().item())  # noqa: E731
    first, weights = width(), net[0].weight.clone()
    redraw(on_grid(net))
    assert not torch.equal(weights, net[0].weight)
    assert width() == pytest.approx(first, rel=0.15)
    assert list(net.state_dict()) == ["0.weight", "0.bias", "3.weight", "3.bias"]


def test_a_constant_starts_as_it_is():
    net = Constant(3)
    redraw(net)
    assert not net.value.any()


def test_skipped_densities_are_those_of_each_fit():
    module, stars = ensemble()
    model, fits, batch = module.model, module.ensemble.fits, Batch(stars)
    apart = Batch(stars, batch.known.with_skipped(skipped_by_each(model, batch, 1e-2, fits=fits)))
    side_by_side = repeated(apart, 3)
    for index, one in enumerate(fits(model)):
        with one:
            own = screened(model, batch, 1e-2).known.skipped["stream"]
        rows = slice(index * len(stars), (index + 1) * len(stars))
        assert torch.equal(own.nan_to_num(7.0), side_by_side.known.skipped["stream"][rows].nan_to_num(7.0))
        assert all(torch.equal(stars[name], side_by_side.stars[name][rows]) for name in stars.names)
        assert 0 < own.isnan().sum() < len(stars)


def screened_as_a_fit(module, stars, index):
    """The stars as one fit of an ensemble sees them."""
    with module.ensemble.fits(module.model)[index]:
        return screened(module.model, Batch(stars), 1e-6)


def finished(**kwargs):
    """An ensemble of two with its posterior, the second stream well off the first's."""
    module, stars = ensemble(2, **kwargs)
    model, batches = module.eval().model, [[screened_as_a_fit(module, stars, one)] for one in range(2)]
    posterior(model, module.ensemble, batches, polish(model, module.ensemble, batches))
    bias = module.ensemble.weights[0]["_components/stream/net/net/6/bias"]
    bias.data[0] += 0.5
    return module, stars


def test_results_are_the_mean_over_the_fits_and_bands_hold_what_lies_between():
    module, stars = finished()
    model, fits, draw = module.model, module.ensemble.fits, module.ensemble.draw_of(module.model)
    grid = torch.linspace(-7, 7, 9)
    joint = track(model, grid, draw, 60, fits)["stream"]
    p = memberships(model, stars, fits=fits)
    tracks, own = [], []
    for one, laplace in zip(fits(model), module.ensemble.posteriors, strict=True):
        with one:
            tracks.append(track(model, grid, laplace.draw, 60)["stream"])
            own.append(memberships(model, stars))
    for name in ("phi2", "phi2_sigma", "weight"):
        assert np.allclose(joint[name], (tracks[0][name] + tracks[1][name]) / 2, atol=1e-6), name
    assert torch.allclose(p["p_member"], (own[0]["p_member"] + own[1]["p_member"]) / 2, atol=1e-6)
    assert torch.allclose(p["p_stream"] + p["p_background"], torch.ones(len(stars)), atol=1e-6)
    low, high = joint["phi2_05"], joint["phi2_95"]
    assert (low < tracks[0]["phi2"]).all()
    assert (high > tracks[1]["phi2"]).all()
    assert (high - low > torch.maximum(*(t["phi2_95"] - t["phi2_05"] for t in tracks))).all()


def test_memberships_are_means_over_the_draws():
    module, stars = finished()
    model, draw = module.model, module.ensemble.draw_of(module.model)
    found = memberships(model, stars, draw, 20, fits=module.ensemble.fits)
    each = []
    for index in range(20):
        with draw(model, index), torch.no_grad():
            each.append(model.membership(model(stars), stars))
    alike = torch.stack(each[:8]).aminmax(dim=0)
    alike = (alike.max - alike.min).amax(-1) < 1e-4
    assert 0.1 < alike.double().mean() < 0.9  # both kinds are there
    mean = torch.where(alike[:, None], torch.stack(each[:8]).mean(0), torch.stack(each).mean(0))
    for i, name in enumerate(model.components):
        torch.testing.assert_close(found[f"p_{name}"], mean[:, i], atol=2e-6, rtol=0)
        torch.testing.assert_close(found[f"p_{name}"], torch.stack(each).mean(0)[:, i], atol=2e-4, rtol=0)
    drawn = drawn_memberships(model, Batch(stars, known_densities(model, stars)), draw, 20)
    torch.testing.assert_close(drawn, torch.stack(each)[..., 0], atol=2e-6, rtol=0)
    assert drawn_memberships(model, Batch(stars[:0], known_densities(model, stars[:0])), draw, 20).shape == (20, 0)
    assert (found["p_member_05"] <= found["p_member"]).all()
    assert (found["p_member"] <= found["p_member_95"]).all()


def test_draws_go_round_the_fits():
    module, _ = finished()
    place = sml.Data({"phi1": torch.zeros(1)})
    draw, drawn = module.ensemble.draw_of(module.model), []
    for index in range(20):
        with draw(module.model, index), torch.no_grad():
            drawn.append(module.model(place)["stream.phi2.mu"].item())
    assert max(drawn[0::2]) < min(drawn[1::2])
    assert len(set(drawn)) == 20
    assert module.model(place)["stream.phi2.mu"].item() < min(drawn[1::2])


@pytest.mark.parametrize("branches", [False, True])
def test_parameters_of_all_draws_at_once_are_those_of_one_after_the_other(branches, monkeypatch):
    module, stars = finished()
    model, draw = module.model, module.ensemble.draw_of(module.model)
    calls, forward = [], type(model).forward
    monkeypatch.setattr(type(model), "forward", lambda own, data: (calls.append(1), forward(own, data))[1])
    if branches:
        model.unpack_params_hooks = (lambda p: p if p["stream.phi2.mu"].max() > 5 else shared_width(p),)
    with torch.no_grad():
        found, count = drawn_params(model, draw, range(3, 10), stars), len(calls)
        each = over_draws(model, draw, range(3, 10), lambda _: model(stars))
    assert count == (2 + 7 if branches else 2)
    for name, values in found.items():
        expected = torch.stack([params[name].expand(len(stars)) for params in each])
        torch.testing.assert_close(values, expected, rtol=1e-6, atol=1e-6)


def test_fits_with_dropout_have_masks_of_their_own():
    stars = sky(300)
    module = StreamModule(mixture(dropout=0.3), ensemble_size=2)
    module.model.fit_scalers(stars)
    own, other = module.ensemble.weights_of(module.model)
    with torch.no_grad():
        for name, weight in own.items():
            other[name].copy_(weight)
    first, second = module.ensemble.evaluate(module.model, stars)[0]["stream.phi2.mu"].view(2, -1)
    assert not torch.equal(first, second)
    assert trained(module, stars).isfinite().all()
    with module.ensemble.draw_of(module.model)(module.model, 1):
        assert module.model(stars)["stream.phi2.mu"].isfinite().all()


def test_what_branches_on_a_parameter_is_named_before_the_fit():
    model = mixture()
    model.unpack_params_hooks = (lambda params: params if params["stream.phi2.mu"].max() > 5 else shared_width(params),)
    module = StreamModule(model, ensemble_size=2)
    with pytest.raises(sml.InputError, match=r"asks for the value of a parameter.*model.ensemble_size=1"):
        module.ensemble.evaluate(model, sky(10))


@pytest.mark.parametrize("size", [0, -2])
def test_no_fits_are_refused(size):
    with pytest.raises(sml.InputError, match=r"model.ensemble_size must be 1 or more"):
        StreamModule(mixture(), ensemble_size=size)


def test_a_checkpoint_holds_the_ensemble(tmp_path):
    stars = tmp_path / "stars.parquet"
    simulate(["--simulator", SMALL, "--output", str(stars)])
    arguments = ["--config", MOCK, "--data.path", str(stars), "--trainer.default_root_dir", str(tmp_path)]
    quick = [
        "--background.max_epochs=2",
        "--trainer.max_epochs=12",
        "--results.draws=5",
        "--results.track_draws=5",
        "--results.figures=false",
    ]
    fit([*arguments, *quick, "--model.ensemble_size=2"])
    run, output = tmp_path / "version_0", tmp_path / "again.parquet"
    checkpoint = str(run / "checkpoints" / "best.ckpt")
    predict(["--checkpoint", checkpoint, "--catalogue", str(stars), "--output", str(output), "--draws", "5"])
    again, table = read_table(output), read_table(run / "memberships.parquet")
    for name in table.colnames:
        if name.startswith("p_"):
            assert np.abs(np.asarray(again[name]) - np.asarray(table[name])).max() < 1e-5, name
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["average_precision"] > 0.9
    assert metrics["val_ln_likelihood"] > np.mean(metrics["val_ln_likelihood_ensemble"])


def test_each_fit_has_corrections_of_its_own():
    module, stars = finished()
    again = Ensemble(copy.deepcopy(module.model), 2)
    again.load_state_dict(state_of(module.ensemble))
    values = []
    for ensemble in (module.ensemble, again):
        for one in ensemble.fits(module.model):
            with one, torch.no_grad():
                values.append((module.model.components["stream"].correction.values.clone(), module.model(stars)))
    assert not torch.equal(values[0][0], values[1][0])
    for (correction, params), (same, kept) in zip(values[:2], values[2:], strict=True):
        assert torch.equal(correction, same)
        assert all(torch.equal(params[name], kept[name]) for name in params)
