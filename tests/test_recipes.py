"""Recipes: short configurations, what they make, the long form they stand for, and what they refuse."""

import math
import re
from pathlib import Path

import pytest
import torch
import yaml

import stream_mapper as sml
from stream_mapper.builtin import Isochrone, MultivariateNormal, Normal, ShareParameters, TruncatedNormal, Uniform
from stream_mapper.builtin.compat import ZukoFlowModel, flow
from stream_mapper.description import build, describe
from stream_mapper.errors import InputError
from stream_mapper.fit import main as fit
from stream_mapper.models import MixtureModel
from stream_mapper.pipeline import read
from stream_mapper.prior import ControlRegions
from stream_mapper.recipes import Component, Stream
from stream_mapper.training import BackgroundStage
from stream_mapper.training.cli import StreamCLI
from stream_mapper.training.off_stream import off_stream_of, with_off_stream

ROOT = Path(__file__).parent.parent
LINES = {"gd1": 45, "pal5": 35, "mock": 20, "survey": 30}
TRACK = {
    "phi1": [-20.0, 0.0, 20.0],
    "phi2": [0.0, 1.0, 0.0],
    "phi2_width": [0.4, 0.2, 0.4],
    "pm_phi1": [-6.0, -7.0, -6.5],
    "pm_phi2": [-3.0, -2.5, -3.0],
    "distance": [8.0, 10.0, 12.0],
}
WINDOW = {"phi2": (-4.0, 4.0), "pm_phi1": (-12.0, 0.0), "pm_phi2": (-8.0, 3.0)}
ISOCHRONE = Isochrone.synthetic(bands=["g", "r"])


def recipe(**changes):
    """A stream in positions, proper motions and photometry."""
    return Stream(**{"track": TRACK, "window": WINDOW, "phi1": (-40.0, 22.0), "isochrone": ISOCHRONE, **changes})


def stars(model, n=400):
    """Places and errors for each column that a model reads, and coordinates drawn from it."""
    columns = {name: torch.full((n,), 0.05) for name in model.columns}
    model.fit_scalers(sml.Data(columns | {"phi1": torch.linspace(-40.0, 22.0, n)} | coordinates(model, n)))
    return sml.Data(columns | {"phi1": torch.linspace(-40.0, 22.0, n)} | coordinates(model, n))


def coordinates(model, n):
    """Values in the middle half of each window, or about a magnitude of 18."""
    generator = torch.Generator().manual_seed(0)
    windows = dict.fromkeys(model.coord_names, (16.0, 20.0)) | {
        name: (0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high) for name, (low, high) in edges(model).items()
    }
    return {name: low + (high - low) * torch.rand(n, generator=generator) for name, (low, high) in windows.items()}


def edges(model):
    found = sml.models.base.windows_of(model)
    return {name: w if isinstance(w, tuple) else w.extent for name, w in found.items()}


def part(model, path):
    component, name = path.split(".")
    return model.components[component].components[name]


def bounds(model, path, name):
    found = part(model, path).params[name].bounds
    return found.lower, found.upper


def guides(model):
    """Guides by component, part and parameter."""
    return {
        f"{component}.{name}.{guide.param}": guide
        for component, whole in model.components.items()
        for name, one in getattr(whole, "components", {}).items()
        for guide in one.priors
    }


@pytest.mark.parametrize("name", LINES)
def test_recipes_of_the_experiments_are_short(name):
    text = (ROOT / "experiments" / name / "recipe.yaml").read_text().rstrip("\n")
    assert len(text.split("\n")) <= LINES[name]
    assert max(map(len, text.split("\n"))) <= 130


def test_one_track_guides_every_coordinate():
    model = recipe()
    found = guides(model)
    assert list(found) == [
        "stream.position.phi2.mu",
        "stream.proper_motion.pm_phi1.mu",
        "stream.proper_motion.pm_phi2.mu",
        "stream.photometric.distmod.mu",
    ]
    assert found["stream.position.phi2.mu"].center.tolist() == [0.0, 1.0, 0.0]
    assert found["stream.position.phi2.mu"].width.tolist() == pytest.approx([0.4, 0.2, 0.4])
    assert found["stream.proper_motion.pm_phi1.mu"].width.tolist() == [0.5] * 3
    moduli = [5 * math.log10(100 * d) for d in TRACK["distance"]]
    assert found["stream.photometric.distmod.mu"].center.tolist() == pytest.approx(moduli, abs=1e-4)
    assert all(guide.phi1.tolist() == TRACK["phi1"] for guide in found.values())


def test_widths_of_the_track_give_way_to_those_given_and_null_drops_a_guide():
    model = recipe(widths={"phi2": [0.1, 0.2, 0.3], "pm_phi1": None, "distmod": 0.2})
    found = guides(model)
    assert found["stream.position.phi2.mu"].width.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert found["stream.photometric.distmod.mu"].width.tolist() == pytest.approx([0.2] * 3)
    assert "stream.proper_motion.pm_phi1.mu" not in found
    assert bounds(model, "stream.proper_motion", "pm_phi1.mu") == WINDOW["pm_phi1"]


def test_the_width_of_a_distance_is_that_of_its_modulus_and_parallax():
    track = {"phi1": [0.0, 1.0], "phi2": [0.0, 0.0], "distance": [10.0, 20.0], "distance_width": [1.0, 1.0]}
    asked = {"window": {"phi2": (-4.0, 4.0)}, "track": track, "phi1": None}
    modulus = guides(recipe(**asked))["stream.photometric.distmod.mu"]
    assert modulus.width.tolist() == pytest.approx([5 / math.log(10) * share for share in (0.1, 0.05)], rel=1e-4)
    model = recipe(**asked, coordinates=["phi2", "parallax", "photometry"])
    parallax = guides(model)["stream.parallax.parallax.mu"]
    assert parallax.center.tolist() == pytest.approx([0.1, 0.05], rel=1e-4)
    assert parallax.width.tolist() == pytest.approx([0.01, 0.0025], rel=1e-4)
    assert not len(part(model, "stream.photometric").params)
    params = model(sml.Data({"phi1": torch.tensor([0.5])}))
    mu, distmod = params["stream.parallax.parallax.mu"], params["stream.photometric.distmod.mu"]
    assert distmod.item() == pytest.approx(10 - 5 * math.log10(mu.item()), abs=1e-5)


def test_ranges_hold_the_track_and_are_inside_the_window():
    model = recipe()
    low, high = bounds(model, "stream.position", "phi2.mu")
    assert (low, high) == pytest.approx((-1.2, 1.6))
    assert bounds(recipe(window=WINDOW | {"phi2": (-1.0, 2.0)}), "stream.position", "phi2.mu")[0] == -1.0
    thinnest, widest = bounds(model, "stream.position", "phi2.ln-sigma")
    assert math.exp(widest) == pytest.approx(0.6, rel=1e-3)  # of guides of 0.4
    assert math.exp(widest - thinnest) == pytest.approx(50, rel=1e-2)
    narrow = recipe(window=WINDOW | {"phi2": (-1.0, 1.4)})
    assert math.exp(bounds(narrow, "stream.position", "phi2.ln-sigma")[1]) == pytest.approx(0.3, rel=1e-3)
    assert math.exp(bounds(model, "stream.photometric", "distmod.ln-sigma")[1]) == pytest.approx(0.15, rel=1e-3)
    given = recipe(bounds={"phi2.ln-sigma": (-3.0, -1.0), "ln-weight": (-6.0, -1.0)})
    assert bounds(given, "stream.position", "phi2.ln-sigma") == (-3.0, -1.0)
    assert (
        given.weights.params["stream.ln-weight"].bounds.lower,
        given.weights.params["stream.ln-weight"].bounds.upper,
    ) == (-6.0, -1.0)


def test_the_stream_ends_where_its_track_does_inside_the_field():
    model = recipe()
    assert model.ends.params.names == ("stream.begin", "stream.ln-begin-width")
    found = model.ends.params["stream.begin"].bounds
    assert (found.lower, found.upper) == (-28.0, -12.0)
    assert not len(recipe(phi1=(-22.0, 22.0)).ends.params)
    assert not len(recipe(phi1=None).ends.params)
    assert not len(recipe(ends=False).ends.params)
    asked = recipe(ends=sml.Ends(end=(10.0, 20.0)))
    assert asked.ends.params.names == ("stream.end", "stream.ln-end-width")


def test_guides_are_inside_the_field():
    assert guides(recipe(phi1=(-5.0, 22.0)))["stream.position.phi2.mu"].phi1.tolist() == [0.0, 20.0]
    with pytest.raises(InputError, match="no place of the track is in phi1 30 to 40; it runs from -20 to 20"):
        recipe(phi1=(30.0, 40.0))


def test_parts_follow_the_windows():
    model = recipe(window={"phi2": (-4.0, 4.0)})
    assert type(part(model, "stream.proper_motion")) is Normal
    assert type(part(recipe(), "stream.proper_motion")) is TruncatedNormal
    correlated = part(recipe(correlation=True), "stream.proper_motion")
    assert type(correlated) is MultivariateNormal
    assert correlated.corr_names == {"pm_phi1_pm_phi2_corr": ("pm_phi1", "pm_phi2")}
    boxed = recipe(window={"phi2": (-4.0, 4.0), "pmra": (-7.0, -2.0), "pmdec": (-15.0, -11.0)})
    for path in ("stream.proper_motion", "background.rest"):
        box = part(boxed, path).box
        assert (box.first, box.second) == ((-7.0, -2.0), (-15.0, -11.0))
    moving = recipe(window={"phi2": 1.5})
    low, high = part(moving, "stream.position").windows["phi2"].at(torch.tensor([0.0, 20.0]))
    assert torch.stack([low, high]).tolist() == [[-0.5, -1.5], [2.5, 1.5]]
    footprint = sml.Footprint([-40.0, 22.0], [[(-4.0, 4.0, -4.0, 4.0)]])
    seen = recipe(footprint=footprint)
    assert all(component.has_footprint for component in seen.components.values())


def test_the_background_has_one_flow_and_spectra_one_each():
    model = recipe(
        coordinates=["feh", "photometry", "radial_velocity", "pm_phi1", "pm_phi2", "phi2"],
        track=TRACK | {"radial_velocity": [10.0, 20.0, 30.0], "feh": [-2.0] * 3},
    )
    found = {name: one.coord_names for name, one in model.components["background"].components.items()}
    assert found == {
        "position": ("phi2",),
        "rest": ("pm_phi1", "pm_phi2", "g", "r"),
        "feh": ("feh",),
        "radial_velocity": ("radial_velocity",),
    }
    assert part(model, "background.rest").indep_coord_names == ("phi1", "phi2")
    assert part(model, "background.feh").indep_coord_names == ("phi1",)
    assert "stream.radial_velocity.radial_velocity.mu" in guides(model)
    apart = recipe(background="flows").components["background"].components
    assert list(apart) == ["position", "proper_motion", "photometric"]


def test_any_part_network_prior_and_hook_can_be_given():
    even = Uniform(coord_names=["phi2"], coord_bounds={"phi2": (-4.0, 4.0)})
    net = sml.nn.sequential(1, 8, 2, 2)
    guide = ControlRegions("stream.ln-weight", [0.0], [-3.0], 1.0)
    hook = ShareParameters({"stream.position.phi2.extra": "stream.position.phi2.mu"})
    model = recipe(
        parts={"background.position": even},
        nets={"stream.position": net, "weights": sml.nn.sequential(1, 8, 2, 1)},
        priors=[guide],
        hooks=[hook],
    )
    assert part(model, "background.position") is even
    assert part(model, "stream.position").net is net
    assert list(model.priors) == [guide]
    assert "stream.position.phi2.extra" in model(sml.Data({"phi1": torch.zeros(2)}))
    whole = sml.IndependentModels(
        {
            "all": ZukoFlowModel(coord_names=["pm_phi1", "pm_phi2", "g", "r"], net=flow(4)),
            "phi2": Uniform(coord_names=["phi2"], coord_bounds={"phi2": (-4.0, 4.0)}),
        }
    )
    assert recipe(background=whole).components["background"] is whole


def test_a_spur_has_its_own_place_and_all_else_of_the_stream():
    spur = Component(track={"phi1": [-5.0, 5.0], "phi2": [2.0, 2.0]}, widths={"phi2": 0.2})
    model = recipe(components={"spur": spur})
    assert [name for name in guides(model) if name.startswith("spur")] == ["spur.position.phi2.mu"]
    params = model(sml.Data({"phi1": torch.linspace(-10, 10, 5)}))
    for name in ("proper_motion.pm_phi1.mu", "proper_motion.pm_phi2.ln-sigma", "photometric.distmod.mu"):
        assert torch.equal(params[f"spur.{name}"], params[f"stream.{name}"])
    assert not torch.equal(params["spur.position.phi2.mu"], params["stream.position.phi2.mu"])
    assert model.weights.params.names == ("stream.ln-weight", "spur.ln-weight")
    assert {"spur.begin", "spur.end"} <= set(model.ends.params.names)
    beside = guides(recipe(components={"spur": Component(offset={"phi2": 1.5}, phi1=(-10.0, 10.0))}))
    assert beside["spur.position.phi2.mu"].center.tolist() == pytest.approx([2.0, 2.25, 2.5, 2.25, 2.0])


def test_a_cocoon_shares_the_centres_and_has_its_own_widths():
    shared = ["phi2.mu", "pm_phi1.mu", "pm_phi2.mu", "distmod"]
    wide = {f"{name}.ln-sigma": (-1.0, 0.5) for name in ("phi2", "pm_phi1", "pm_phi2")}
    model = recipe(components={"cocoon": Component(shared=shared, bounds=wide)})
    params = model(sml.Data({"phi1": torch.linspace(-10, 10, 5)}))
    assert torch.equal(params["cocoon.position.phi2.mu"], params["stream.position.phi2.mu"])
    assert part(model, "cocoon.position").params.names == ("phi2.ln-sigma",)
    assert bounds(model, "cocoon.proper_motion", "pm_phi1.ln-sigma") == (-1.0, 0.5)


def test_a_parallax_that_is_shared_sets_one_distance():
    spur = {"spur": Component(offset={"phi2": 1.5})}
    asked = {"coordinates": ["phi2", "parallax", "photometry"], "window": {"phi2": (-4.0, 4.0)}}
    params = recipe(**asked, components=spur)(sml.Data({"phi1": torch.zeros(2)}))
    assert torch.equal(params["spur.photometric.distmod.mu"], params["stream.photometric.distmod.mu"])
    own = {"spur": Component(track={"phi1": [0.0], "parallax": [0.2]})}
    params = recipe(**asked, components=own)(sml.Data({"phi1": torch.zeros(2)}))
    mu = params["spur.parallax.parallax.mu"]
    assert torch.allclose(params["spur.photometric.distmod.mu"], 10 - 5 * mu.log10())
    free = recipe(**asked, parallax_sets_distance=False)
    assert part(free, "stream.photometric").params.names == ("distmod.mu", "distmod.ln-sigma")


REFUSED = {
    "the recipe needs the window of phi2": {"window": {}},
    r"windows are given of \['b'\]": {"window": WINDOW | {"b": (0.0, 1.0)}},
    "its lower edge first": {"window": {"phi2": (4.0, -4.0)}},
    "two edges of pmra and two of pmdec": {"window": {"phi2": (-4.0, 4.0), "pmra": (-7.0, -2.0)}},
    "photometry needs an isochrone": {"isochrone": None, "coordinates": ["phi2", "photometry"]},
    "must be different ones": {"coordinates": ["phi2", "phi2", "photometry"]},
    r"errors are of \['parallax'\]": {"errors": ["parallax"]},
    r"parts has \['stream.sky'\]; this recipe has the parts": {
        "parts": {"stream.sky": Uniform(coord_names=["phi2"], coord_bounds={"phi2": (-4.0, 4.0)})}
    },
    "no range for the centre in 'feh'": {"coordinates": ["phi2", "feh", "photometry"], "window": {"phi2": 2.0}},
    r"widths are of \['feh'\]": {"widths": {"feh": 0.1}},
    "needs phi1, places in deg": {"track": {"phi2": [0.0]}},
    "the track's distance must be positive": {"track": TRACK | {"distance": [0.0, 1.0, 2.0]}},
    "components.spur has nothing of its own": {"components": {"spur": Component()}},
    "a track or an offset": {"components": {"spur": Component(track=TRACK, offset={"phi2": 1.0})}},
    r"spur shares \['feh'\]": {"components": {"spur": Component(offset={"phi2": 1.0}, shared=["feh"])}},
    "must not be called stream or background": {"components": {"stream": Component(offset={"phi2": 1.0})}},
    r"background must be one of \['flow', 'flows'\]": {"background": "flaw"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_suffice_is_refused(message):
    with pytest.raises(InputError, match=message):
        recipe(**REFUSED[message])


def test_a_recipe_is_remembered_by_its_parts():
    model = recipe(components={"spur": Component(offset={"phi2": 1.5})})
    plain = describe(model)
    assert plain["class_path"] == "stream_mapper.MixtureModel"
    assert "recipes" not in str(plain)
    again = build(plain)
    data = stars(model)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.ln_likelihood(again(data), data), model.ln_likelihood(model(data), data))


def test_stars_off_the_stream_are_away_from_every_guide_of_position():
    model = recipe(components={"spur": Component(track={"phi1": [0.0], "phi2": [2.5]}, widths={"phi2": 0.1})})
    chosen = off_stream_of(model)
    assert [repr(one) for one in chosen.parts()] == [
        "OffStream(phi2 beyond 1.4 to 1.6 of the track)",
        "OffStream(phi2 beyond 0.4 of the track)",
    ]
    data = sml.Data({"phi1": torch.zeros(4), "phi2": torch.tensor([1.0, 2.95, 2.5, -3.0])})
    assert chosen(data).tolist() == [False, True, False, True]
    stage = with_off_stream(BackgroundStage(), model)
    assert stage.off_stream is not None
    beside = BackgroundStage(path="control.fits")
    assert with_off_stream(beside, model) is beside
    given = BackgroundStage(off_stream=sml.selection.Cut({"phi2": (2.0, None)}))
    assert with_off_stream(given, model) is given
    narrow = recipe(window=WINDOW | {"phi2": (-1.0, 1.4)}, widths={"phi2": 1.0})
    assert repr(off_stream_of(narrow)) == "OffStream(phi2 beyond 0.9 of the track)"  # three eighths of the window


def test_coordinates_that_are_trained_beforehand_have_no_hole():
    net = flow(1)
    learned = {"background.position": ZukoFlowModel(coord_names=["phi2"], coord_bounds={"phi2": (-4.0, 4.0)}, net=net)}
    assert off_stream_of(recipe(parts=learned)) is None


def small(path, root):
    """A configuration of an experiment with few stars and steps."""
    quick = [
        "--background.max_epochs=1",
        "--trainer.max_epochs=2",
        "--results.draws=2",
        "--results.track_draws=2",
        "--results.figures=false",
    ]
    return ["--config", str(path), "--trainer.default_root_dir", str(root), *quick]


def model_of(path):
    """The model of a configuration, by the command line."""
    return StreamCLI(["--config", str(path)]).model.model


@pytest.fixture
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


NEEDS = {
    "gd1": ["../shared/data/isochrones/DSEP_PS1_12.5Gyr_feh-1.90_afe0.4.dat"],
    "pal5": [],
    "mock": [],
    "survey": [],
}


@pytest.mark.usefixtures("in_root")
@pytest.mark.parametrize("name", NEEDS)
def test_the_long_form_of_a_recipe_makes_the_same_model(name, tmp_path, capsys):
    if name in FIELDS:
        pytest.importorskip("gala")
    if lost := [path for path in NEEDS[name] if not Path(path).is_file()]:
        pytest.skip(f"{lost} are not here")
    short = ROOT / "experiments" / name / "recipe.yaml"
    fit(["--config", str(short), "--expand"])
    text = capsys.readouterr().out
    long = tmp_path / "long.yaml"
    long.write_text(text)
    plain = yaml.safe_load(text)
    assert plain["model"]["model"]["class_path"] == "stream_mapper.MixtureModel"
    assert plain["background"]["off_stream"]
    assert "recipes" not in text
    assert "phi2.mu" in text
    first, again = model_of(short), model_of(long)
    assert first.state_dict().keys() == again.state_dict().keys()
    fixed = {name: value for name, value in first.state_dict().items() if "priors" in name}
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in fixed.items())
    data = stars(first)
    again.load_state_dict(first.state_dict())
    params, others = first(data), again(data)
    assert params.keys() == others.keys()
    assert all(torch.equal(params[name], others[name]) for name in params)
    assert torch.equal(first.ln_likelihood(params, data), again.ln_likelihood(others, data))
    assert torch.equal(first.ln_prior(), again.ln_prior())
    assert repr(off_stream_of(first)) == repr(off_stream_of(again))


def test_print_config_shows_the_recipe(capsys):
    with pytest.raises(SystemExit):
        fit(["--config", str(ROOT / "experiments" / "mock" / "recipe.yaml"), "--print_config"])
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["model"]["model"]["class_path"] == "stream_mapper.recipes.Stream"
    assert shown["model"]["model"]["init_args"]["scatter"] == 0.02


def test_a_fit_by_a_recipe_is_loaded_without_it(tmp_path, monkeypatch):
    fewer = ["--data.simulator.init_args.n_background=900", "--data.simulator.init_args.n_stream=300"]
    fit([*small(ROOT / "experiments" / "mock" / "recipe.yaml", tmp_path), *fewer])
    saved = yaml.safe_load((tmp_path / "version_0" / "config.yaml").read_text())
    assert saved["model"]["model"]["class_path"] == "stream_mapper.recipes.Stream"
    assert "expand" not in saved
    monkeypatch.setattr("stream_mapper.recipes.Stream", None)
    fitted = sml.load(str(tmp_path / "version_0" / "checkpoints" / "best.ckpt"))
    assert isinstance(fitted.model, MixtureModel)
    assert list(fitted.model.components) == ["stream", "background"]


FIELDS = {"gd1": ["--data.path", "../shared/data/gd1/gd1_field_gaia_dr2_ps1.fits"], "pal5": []}


@pytest.mark.usefixtures("in_root")
@pytest.mark.parametrize("name", FIELDS)
def test_the_columns_are_those_that_the_recipe_and_the_selection_read(name):
    pytest.importorskip("gala")
    if lost := [path for path in (*FIELDS[name][1:], *NEEDS[name]) if not Path(path).is_file()]:
        pytest.skip(f"{lost} are not here")
    cli = StreamCLI(["--config", f"experiments/{name}/recipe.yaml", *FIELDS[name]])
    long = StreamCLI(["--config", f"experiments/{name}/config.yaml", *FIELDS[name]])
    found = read(cli.model.model, cli.model.ensemble, cli.datamodule)
    again = read(long.model.model, long.model.ensemble, long.datamodule)
    assert set(found.stars.names) == set(again.stars.names)
    assert torch.equal(found.fitted, again.fitted)


def test_what_a_recipe_lacks_is_one_line(tmp_path, capsys):
    text = (ROOT / "experiments" / "mock" / "recipe.yaml").read_text().replace("phi2: [-2, 10], ", "")
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(SystemExit):
        fit(["--config", str(tmp_path / "recipe.yaml")])
    line = capsys.readouterr().err.strip()
    assert line == "error: the recipe needs the window of phi2: its lowest and highest value, or its half-width [deg]."


PAGE = (ROOT / "docs" / "recipes.md").read_text()


def test_the_page_counts_the_lines_of_the_recipes():
    for name in LINES:
        lines = len((ROOT / "experiments" / name / "recipe.yaml").read_text().splitlines())
        assert re.search(rf"experiments/{name}/recipe.yaml`[^`]*?\b{lines}\b", PAGE), (name, lines)


def test_the_code_of_the_page_runs():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names = {}
    exec(block, names)
    assert isinstance(names["model"], MixtureModel)


def test_the_pieces_of_the_page_are_taken(tmp_path):
    first, pieces, stars_of, beside = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL))
    told = first["model"]["model"]["init_args"] | pieces | {"coordinates": ["phi2", "photometry"]}
    told["window"] = {"phi2": [-4, 4]}
    assert set(stars_of) == {"isochrone", "reddening", "population"}
    moved = {"track": TRACK, "coordinates": None, "components": beside["components"], "phi1": [-60, 20]}
    for name, arguments in (("one", told), ("two", {**told, **moved, "errors": None, "nets": None})):
        given = {"model": {"model": {"class_path": "stream_mapper.recipes.Stream", "init_args": arguments}}}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**given, "data": {"path": "stars.fits"}}, sort_keys=False))
        model = model_of(path)
        params = model(sml.Data({"phi1": torch.zeros(1)}))
        assert "stream.position.phi2.extra" in params
        assert type(part(model, "background.position")) is Uniform
    assert list(model.components) == ["stream", "spur", "cocoon", "background"]
    assert torch.equal(params["cocoon.position.phi2.mu"], params["stream.position.phi2.mu"])
