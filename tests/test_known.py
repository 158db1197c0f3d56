"""Densities known beforehand travel beside the stars, and nowhere else."""

import pytest
import torch

import stream_mapper as sml
from stream_mapper.builtin.compat import ZukoFlowModel, flow
from stream_mapper.inference.frozen import known_densities
from stream_mapper.models import Batch, KnownDensities
from stream_mapper.models.components import frozen_parts
from stream_mapper.training import BackgroundStage, train_background
from stream_mapper.training.background import BackgroundTraining

WINDOW = {"phi2": (-2.0, 2.0), "g": (15.0, 22.0)}


def mixture():
    """A stream over a flow in both coordinates."""
    params = sml.params.ModelParameters({"phi2": {"mu": (-1, 1), "ln-sigma": (-3, 0)}, "g": {"slope": (-1.0, 1.0)}})
    stream = sml.IndependentModels(
        {
            "sky": sml.builtin.TruncatedNormal(
                coord_names=["phi2"],
                coord_bounds={"phi2": WINDOW["phi2"]},
                net=sml.nn.Constant(2),
                params=params.without("g.slope"),
            ),
            "light": sml.builtin.Exponential(
                coord_names=["g"],
                coord_bounds={"g": WINDOW["g"]},
                net=sml.nn.Constant(1),
                params=params.without("phi2.mu", "phi2.ln-sigma"),
            ),
        }
    )
    background = sml.IndependentModels(
        {
            "sky": sml.builtin.Uniform(coord_names=["phi2"], coord_bounds={"phi2": WINDOW["phi2"]}),
            "light": ZukoFlowModel(net=flow(1, transforms=1), coord_names=["g"], coord_bounds={"g": WINDOW["g"]}),
        }
    )
    return sml.MixtureModel(
        {"stream": stream, "background": background},
        net=sml.nn.Constant(1),
        params=sml.params.ModelParameters({"stream.ln-weight": (-4.0, -1.0)}),
    )


def sky(n=200, missing=False):
    g = torch.empty(n).uniform_(15, 22)
    if missing:
        g[::7] = torch.nan
    return sml.Data({"phi1": torch.empty(n).uniform_(-10, 10), "phi2": torch.empty(n).uniform_(-2, 2), "g": g})


def frozen(missing=False):
    model, stars = mixture(), sky(missing=missing)
    model.fit_scalers(stars)
    model.components["background"].components["light"].requires_grad_(False)
    return model, stars


@pytest.mark.parametrize("missing", [False, True])
def test_a_known_density_is_the_one_that_would_be_computed(missing):
    model, stars = frozen(missing)
    known = known_densities(model, stars)
    assert list(known.frozen) == ["background.light"] == list(frozen_parts(model))
    params = model(stars)
    assert torch.equal(model.ln_joint(params, stars, known), model.ln_joint(params, stars))
    assert torch.equal(model.membership(params, stars, known), model.membership(params, stars))


def test_a_known_density_is_not_computed_again():
    model, stars = frozen()
    known = KnownDensities({"background.light": torch.full((len(stars),), -7.0)})
    background = model.ln_joint(model(stars), stars, known)[:, 1] - model(stars)["background.ln-weight"]
    torch.testing.assert_close(background, torch.full((len(stars),), -7.0 - torch.tensor(4.0).log().item()))


def test_rows_of_a_batch_are_rows_of_what_is_known():
    model, stars = frozen()
    whole = Batch(stars, known_densities(model, stars).with_skipped({"stream": torch.arange(200.0)}))
    for rows in (slice(3, 9), torch.tensor([5, 1]), stars["phi2"] > 0):
        some = whole[rows]
        assert torch.equal(some.known.frozen["background.light"], whole.known.frozen["background.light"][rows])
        assert torch.equal(some.known.skipped["stream"], whole.known.skipped["stream"][rows])
        assert torch.equal(some["g"], stars["g"][rows])
    again = Batch.cat(whole.split(64))
    assert torch.equal(again.known.skipped["stream"], whole.known.skipped["stream"])
    assert torch.equal(again.stars["g"], stars["g"])
    assert [len(part) for part in whole[:0].split(10)] == [0]


def test_other_coordinates_have_a_density_of_their_own():
    """A density that was computed of some coordinates was once a column, which sampled stars kept."""
    model, stars = frozen()
    known = known_densities(model, stars)
    drawn = model.sample(stars, seed=1)
    light = model.components["background"].components["light"]
    assert set(drawn.names) == {"phi1", "phi2", "g", "component"}
    moved = stars.with_columns({"phi1": stars["phi1"].flip(0), "g": stars["g"].flip(0)})
    assert torch.equal(light.ln_likelihood({}, moved), light.ln_likelihood({}, stars).flip(0))
    assert not torch.equal(light.ln_likelihood({}, drawn), known.frozen["background.light"])
    fresh = sml.Data({"phi1": drawn["phi1"], "g": drawn["g"]})
    assert torch.equal(light.ln_likelihood({}, drawn), light.ln_likelihood({}, fresh))


def test_a_training_that_fails_leaves_no_mark(monkeypatch):
    """A star that lacks a coordinate has the marginal, also after a training of the flow that was stopped."""
    model = ZukoFlowModel(net=flow(2), coord_names=["phi2", "g"], coord_bounds=WINDOW)
    stars = sky()
    model.fit_scalers(stars)
    lacking = stars.with_columns({"g": torch.full((200,), torch.nan)})
    before, flags = model.ln_likelihood({}, lacking), dict(vars(model))

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning.Trainer.fit", stop)
    with pytest.raises(KeyboardInterrupt):
        train_background(model, stars, BackgroundStage())
    assert torch.equal(model.ln_likelihood({}, lacking), before)
    assert {k for k, v in vars(model).items() if flags.get(k) is not v and not isinstance(v, dict)} == set()


def test_complete_stars_are_as_all_stars():
    """What is trained with complete stars only is the density of all of them."""
    model = ZukoFlowModel(net=flow(2), coord_names=["phi2", "g"], coord_bounds=WINDOW)
    stars = sky()
    model.fit_scalers(stars)
    torch.testing.assert_close(model.ln_complete(stars), model.ln_likelihood({}, stars))
    before = [weight.clone() for weight in model.parameters()]
    BackgroundTraining(BackgroundStage(max_epochs=2)).maximise(model, stars)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
