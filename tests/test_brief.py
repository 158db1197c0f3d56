"""The example of the brief, as its page in the documentation has it, runs, trains and reloads."""

import contextlib
import io
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import stream_mapper as sml
from stream_mapper.params.bounds import SigmoidBounds

PAGE = Path(__file__).parents[1] / "docs" / "brief_example.md"
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks():
    """Code of the page, block by block, and the number of those that build the model."""
    found = CODE.findall(PAGE.read_text())
    building = next(i for i, code in enumerate(found) if code.startswith("model = sml.MixtureModel("))
    return found, building + 1


def execute(code, names):
    for number, block in enumerate(code):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    return names


def build():
    """The names of the page once the model is built, on stars inside the window."""
    code, building = blocks()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a Jacobian that disagrees with the scaler would warn
        names = execute(code[:building], {})
    names["data"] = names["data"][names["model"].in_window(names["data"])]
    return names


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The names of the page at its end, what it printed, and where it ran."""
    code, _ = blocks()
    folder, printed = tmp_path_factory.mktemp("page"), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's remarks on a fit this small
        return execute(code, {}), printed.getvalue(), folder


def values(names):
    model, data = names["model"].eval(), names["data"]
    with torch.no_grad():
        return model.ln_likelihood(model(data), data)


def test_the_example_is_whole():
    code, building = blocks()
    text = "".join(code)
    assert building < len(code)
    assert "..." not in text
    for name in ("Uniform", "Exponential", "Normal", "IsochroneMVNorm", "compat.ZukoFlowModel"):
        assert f"sml.builtin.{name}(" in text


def test_parameters_have_the_names_and_bounds_of_the_brief():
    names = build()
    params = names["model"](names["data"])
    track = {f"{c}.{p}" for c in ("phi2", "parallax") for p in ("mu", "ln-sigma")}
    assert set(params) == {
        "stream.ln-weight",
        "background.ln-weight",
        "background.astrometric.parallax.parallax.slope",
        "stream.photometric.distmod.mu",
        "stream.photometric.distmod.ln-sigma",
        *(f"stream.astrometric.{name}" for name in track),
    }
    slope = params["background.astrometric.parallax.parallax.slope"]
    assert ((slope > 15) & (slope < 25)).all()
    assert isinstance(names["bkg_plx_model"].params["parallax.slope"].bounds, SigmoidBounds)
    weights = params["stream.ln-weight"].exp() + params["background.ln-weight"].exp()
    torch.testing.assert_close(weights, torch.ones(len(names["data"])))
    modulus = 10 - 5 * params["stream.astrometric.parallax.mu"].log10()
    torch.testing.assert_close(params["stream.photometric.distmod.mu"], modulus)


def test_likelihoods_and_gradients_are_finite():
    names = build()
    model, data = names["model"], names["data"]
    assert len(data) > 1500
    ln_p = model.ln_likelihood(model(data), data)
    assert ln_p.shape == (len(data),)
    assert ln_p.isfinite().all()
    weights = dict(model.named_parameters())
    gradients = dict(zip(weights, torch.autograd.grad(ln_p.mean(), list(weights.values())), strict=True))
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    untouched = [name for name, gradient in gradients.items() if not (gradient != 0).any()]
    flow = [name for name in weights if ".flow." in name]
    assert set(untouched) < set(flow)  # of its layers of four ReLUs some may start without any that is on


def test_stars_without_photometry_keep_a_membership():
    names = build()
    model, data = names["model"].eval(), names["data"][:100]
    dark = data.with_columns({name: torch.full((100,), torch.nan) for name in ("g", "r", "g_err", "r_err")})
    p = model.membership(model(dark), dark)
    torch.testing.assert_close(p.sum(-1), torch.ones(100))
    astrometry = {q: model.components[q].components["astrometric"] for q in model.components}
    params = model(dark)
    ln_p = torch.stack(
        [
            params[f"{q}.ln-weight"] + part.ln_likelihood(sml.models.scope(params, f"{q}.astrometric"), data)
            for q, part in astrometry.items()
        ],
        -1,
    )
    torch.testing.assert_close(p, ln_p.softmax(-1))


def test_a_missing_magnitude_error_biases_no_star():
    """A star whose g has no error has no g, in the stream and in the background alike."""
    names = build()
    model, data = names["model"].eval(), names["data"][:100]
    nan = torch.full((100,), torch.nan)
    no_error, no_value = data.with_columns({"g_err": nan}), data.with_columns({"g": nan})
    torch.testing.assert_close(model.membership(model(no_error), no_error), model.membership(model(no_value), no_value))


@pytest.mark.parametrize("beyond", [{"phi2": 40.0}, {"parallax": 0.5}, {"g": 40.0}])
def test_outside_the_window_no_star_is_a_member(beyond):
    names = build()
    model, data = names["model"], names["data"][:50]
    out = data.with_columns({name: torch.full((50,), value) for name, value in beyond.items()})
    assert not model.in_window(out).any()
    assert model.membership(model(out), out).tolist() == [[0.0, 1.0]] * 50


def test_training_finds_the_stream(page):
    names, printed, _ = page
    assert names["after"] > names["before"] + 1
    inside = sml.Data({name: torch.from_numpy(names["table"][name]).float() for name in names["columns"]})
    labels = names["table"]["true_component"][names["model"].in_window(inside).numpy()] == "stream"
    members = names["membership"].detach().numpy()
    assert members[labels].mean() > 3 * members[~labels].mean()
    assert f"{len(names['data'])} stars inside the window" in printed
    assert f"mean ln p after training: {names['after']:.2f} nats" in printed
    assert f"expected members: {members.sum():.0f}" in printed


def test_state_rebuilds_the_model(page):
    names, _, folder = page
    other = build()
    assert not np.allclose(values(other), values(names), atol=0.1)
    other["model"].load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    assert torch.equal(values(other), values(names))
    p, q = (n["model"].membership(n["model"](n["data"]), n["data"]) for n in (names, other))
    assert torch.equal(p, q)


def test_the_trainers_checkpoint_is_a_fit(page):
    names, _, _ = page
    np.testing.assert_allclose(names["members"]["p_stream"], names["membership"].detach(), atol=1e-6)
    track = names["track"]
    assert np.asarray(track["phi1"]).tolist() == [0, 5, 10]
    assert (np.asarray(track["phi2_05"]) <= np.asarray(track["phi2_95"])).all()
    with pytest.raises(sml.InputError, match="stopped before its density was found"):
        names["fit"].density(0.0)
