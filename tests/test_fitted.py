"""The door from Python: a fit, what it says, and its way to a file and back."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.table import Table
from user_densities import Clump, Histogram, straight

import stream_mapper as sml
from stream_mapper import description
from stream_mapper.catalog import Reading, read_table, write_table
from stream_mapper.inference.frozen import known_densities
from stream_mapper.inference.track import supported
from stream_mapper.predict import predict
from stream_mapper.quantiles import QUANTILE_NAMES
from stream_mapper.results.run_folder import ResultOptions, photometry
from stream_mapper.selection import Cut
from stream_mapper.training import BackgroundStage, OffStream

WINDOW = {"phi2": (-2.0, 2.0), "g": (14.0, 22.0), "r": (14.0, 22.0)}
SHORT = {"max_epochs": 25}


def model_of(clump=Clump, histogram=Histogram):
    """A thin stream of a user's own photometric density over a background of a user's own pre-trained one."""
    sky = {"phi2": WINDOW["phi2"]}
    light = sml.params.ModelParameters({"g": {"mu": (14, 22), "ln-sigma": (-3, 0)}, "r": {"mu": (14, 22)}})
    stream = {
        "sky": sml.builtin.TruncatedNormal(
            coord_names=["phi2"],
            coord_bounds=sky,
            net=sml.nn.sequential(1, 8, 2, 2),
            params=sml.params.ModelParameters({"phi2": {"mu": (-1, 1), "ln-sigma": (-4, 0)}}),
        ),
        "light": clump(
            coord_names=["g", "r"],
            coord_err_names=["g_err", "r_err"],
            coord_bounds={name: WINDOW[name] for name in "gr"},
            net=sml.nn.Constant(3),
            params=light,
        ),
    }
    background = {
        "sky": sml.builtin.Uniform(coord_names=["phi2"], coord_bounds=sky),
        "light": sml.IndependentModels({name: histogram(name, *WINDOW[name]) for name in "gr"}),
    }
    return sml.MixtureModel(
        {"stream": sml.IndependentModels(stream), "background": sml.IndependentModels(background)},
        net=sml.nn.Constant(1),
        params=sml.params.ModelParameters({"stream.ln-weight": (-4.0, -0.5)}),
        unpack_params_hooks=[straight],
    )


def stars(n=1200):
    """A table of such stars, a fifth of them of the stream."""
    rng = np.random.default_rng(1)
    member = rng.random(n) < 0.2
    columns = {
        "phi1": rng.uniform(-10, 10, n),
        "phi2": np.where(member, rng.normal(0.3, 0.1, n), rng.uniform(-2, 2, n)),
    }
    for name, centre in {"g": 18.0, "r": 17.5}.items():
        columns[name] = np.where(member, rng.normal(centre, 0.2, n), rng.uniform(14, 22, n)).clip(14, 22)
        columns[f"{name}_err"] = np.full(n, 0.05)
    columns["g"][::50] = np.nan
    return Table({**columns, "name": [f"star {i}" for i in range(n)], "member": member})


@pytest.fixture(scope="module")
def fit():
    """A fit from Python."""
    off = OffStream(coord="phi2", phi1=[-10, 10], center=[0.3, 0.3], width=0.8)
    return sml.fit(
        model_of(),
        stars(),
        background=BackgroundStage(off_stream=off),
        data={"batch_size": 400, "selection": Cut({"phi1": (-9.5, 9.5)})},
        training={"learning_rate": 0.03},
        trainer=SHORT,
        results=ResultOptions(draws=6, track_draws=8, best=5, name="Clumpy"),
    )


def test_a_fit_of_densities_of_ones_own_finds_the_stream(fit):
    """A pre-trained density and a photometric one that the package has never heard of."""
    table = fit.catalogue.table
    p, member = np.asarray(table["p_member"]), np.asarray(table["member"])
    assert p[member].mean() > 0.7
    assert p[~member].mean() < 0.1
    histogram = fit.model.components["background"].components["light"].components["g"]
    assert histogram.ln_height.unique().numel() > 1
    known = known_densities(fit.model.requires_grad_(False), fit.catalogue.stars)
    assert {"background.light.g", "background.light.r"} == set(known.frozen)
    names, curve = photometry(fit.model)
    assert names == ["g", "r"]
    assert curve.shape == (2, 2)
    bare = fit.memberships(table["phi1", "phi2"], draws=0)
    assert (np.asarray(bare["n_missing"]) == 2).all()


def test_a_fit_says_how_its_background_was_trained(fit):
    """The held-out density is that of no stream: even over 8 mag in each of two coordinates that are histograms."""
    found = fit.metrics["val_ln_likelihood_background"]
    assert found == {"g": pytest.approx(-np.log(8), abs=0.15), "r": pytest.approx(-np.log(8), abs=0.15)}
    assert fit.metrics["outside_support_background"] == 0
    table, off = fit.catalogue.table, np.abs(np.asarray(fit.catalogue.table["phi2"]) - 0.3) > 0.8
    expected = np.asarray(table["p_member"])[off & np.asarray(table["selected"])].mean()
    assert fit.metrics["stream_share_of_background"] == pytest.approx(expected, abs=2e-3)


def test_a_background_trained_beside_the_stream(tmp_path, caplog):
    """A control field of stars that are brighter in g, read and selected as the stream's."""
    rng, n = np.random.default_rng(5), 2000
    g, r = rng.uniform(14, 16, n), rng.uniform(14, 22, n)
    errors = {"g_err": np.full(n, 0.05), "r_err": np.full(n, 0.05)}
    path = tmp_path / "control.parquet"
    write_table(Table({"phi1": rng.uniform(-20, 20, n), "phi2": rng.uniform(5, 7, n), "g": g, "r": r, **errors}), path)
    stage = BackgroundStage(path=str(path))
    data = {"selection": Cut({"phi1": (-9.5, 9.5)})}
    options = {"training": {"learning_rate": 0.03}, "results": ResultOptions(draws=1, track_draws=2)}
    with caplog.at_level("INFO", logger="stream_mapper"):
        fit = sml.fit(model_of(), stars(400), background=stage, data=data, trainer={"max_epochs": 2}, **options)
    found = fit.metrics["val_ln_likelihood_background"]
    assert found["g"] == pytest.approx(-np.log(2), abs=0.3)
    assert found["r"] == pytest.approx(-np.log(8), abs=0.15)
    assert fit.metrics["stream_share_of_background"] == 0
    assert "no off_stream selection" not in caplog.text
    inside = int((np.abs(read_table(path)["phi1"]) < 9.5).sum())
    assert f"of the {inside} stars that the background was trained on" in caplog.text
    write_table(read_table(path)["phi1", "phi2"], path)
    with pytest.raises(sml.InputError, match=r"control\.parquet"):
        sml.fit(model_of(), stars(400), background=stage, data=data, trainer={"max_epochs": 1}, **options)


def test_magnitudes_without_errors_are_counted(caplog):
    table = stars(400)
    table["g_err"][:7], table["r_err"][5:9] = np.nan, np.nan
    table["g"][0] = np.nan
    options = {"trainer": {"max_epochs": 1}, "results": ResultOptions(draws=1, track_draws=1)}
    with caplog.at_level("WARNING", logger="stream_mapper"):
        fit = sml.fit(model_of(), table, **options)
    assert fit.metrics["magnitudes_without_errors"] == 8
    assert "8 of 400 stars have a magnitude without its error" in caplog.text


def test_a_component_is_there_where_a_star_of_it_is_expected():
    """Of 1000 stars over 20 deg, 50 are within a twentieth of the range; a field without a stream has none of it."""
    weight = torch.tensor([1e-6, 0.015, 0.05, 0.5])
    assert supported(weight, torch.full((4,), 50.0)).tolist() == [False, False, True, True]
    assert not supported(torch.full((9,), 1e-5), torch.full((9,), 50.0)).any()


def test_members_are_the_likely_ones_in_order(fit):
    members = fit.members(0.5)
    p = np.asarray(members["p_member"])
    assert len(members) > 50
    assert (p > 0.5).all()
    assert (np.diff(p) <= 0).all()
    assert members["selected"].all()
    assert len(fit.members(1.0)) == 0


def test_a_track_at_any_place(fit):
    whole = fit.track()
    assert len(whole) == 256
    one = fit.track(whole["phi1"][100])
    assert len(one) == 1
    for name in ("phi2", "phi2_sigma", "phi2_05", "phi2_95", "weight", "supported"):
        assert one[name][0] == pytest.approx(whole[name][100], abs=1e-6), name
    assert one["phi2_05"][0] < one["phi2"][0] < one["phi2_95"][0]
    assert np.isnan(fit.track([0.0], draws=0)["phi2_05"][0])


@pytest.mark.parametrize("name", ["phi2", "phi2_sigma", "g_sigma"])
def test_bands_of_a_track_are_in_order_about_its_best(fit, name):
    table = fit.track(np.linspace(-9, 9, 5), draws=200)
    bands = np.stack([np.asarray(table[f"{name}_{q}"]) for q in QUANTILE_NAMES])
    assert (np.diff(bands, axis=0) > 0).all()
    assert (np.abs(table[name] - bands[2]) < 0.5 * (bands[3] - bands[1])).all()
    assert (bands > 0).all() or not name.endswith("_sigma")


def test_members_and_their_band(fit):
    """A number is the sum of memberships among the fitted stars, and the truth is within its band or near."""
    (row,) = fit.components(draws=64)
    of = fit.catalogue.table[np.asarray(fit.catalogue.table["selected"])]
    assert row["component"] == "stream"
    assert row["members"] == pytest.approx(np.sum(of["p_stream"]), rel=1e-6)
    bands = [row[f"members_{q}"] for q in QUANTILE_NAMES]
    assert np.all(np.diff(bands) > 0)
    assert bands[0] < row["members"] < bands[-1]
    assert abs(row["members"] - np.sum(of["member"])) < bands[-1] - bands[0]
    assert (fit.components(draws=64)["members_95"] == row["members_95"]).all()
    assert np.isnan(fit.components(draws=0)["members_50"]).all()
    assert fit.metrics["expected_members_50"] == fit.components()["members_50"][0]


def test_a_density_at_any_place(fit):
    whole = fit.density()
    step = np.diff(whole["phi1"])[0]
    selected = np.asarray(fit.catalogue.table["selected"])
    assert np.sum(whole["total_density"]) * step == pytest.approx(selected.sum(), rel=0.02)
    one = fit.density([float(whole["phi1"][7])])
    assert one["density"][0] == pytest.approx(whole["density"][7], rel=1e-5)
    between = fit.density((whole["phi1"][7] + whole["phi1"][8]) / 2)["total_density"][0]
    assert between == pytest.approx((whole["total_density"][7] + whole["total_density"][8]) / 2, rel=0.02)


def test_functions_drawn_from_the_posterior(fit):
    drawn = fit.draws(30, [0.0, 5.0])
    assert drawn["phi1"].tolist() == [0.0, 5.0]
    mu = drawn["stream.sky.phi2.mu"]
    assert mu.shape == (30, 2)
    assert 0 < mu.std(0).max() < 0.2
    assert np.array_equal(mu, fit.draws(30, [0.0, 5.0])["stream.sky.phi2.mu"])


def test_stars_drawn_from_the_fit(fit):
    n = 400
    given = {"phi1": np.linspace(-9, 9, n), "g_err": np.full(n, 0.05), "r_err": np.full(n, 0.05)}
    drawn = fit.sample(given, seed=3)
    assert set(np.asarray(drawn["component"])) == {"stream", "background"}
    assert str(drawn["phi2"].unit) == "deg"
    assert np.array_equal(drawn["g"], fit.sample(given, seed=3)["g"])
    found = fit.memberships(drawn, draws=0)
    member = np.asarray(drawn["component"]) == "stream"
    assert np.asarray(found["p_member"])[member].mean() > 0.6
    with pytest.raises(sml.InputError, match=r"to sample, MixtureModel needs the columns \['g_err', 'r_err'\]"):
        fit.sample(0.0)


def test_stars_by_internal_names_have_memberships(fit):
    table = fit.catalogue.table
    again = fit.memberships(fit.catalogue.stars, draws=fit.options.draws)
    np.testing.assert_allclose(again["p_member"], table["p_member"], atol=1e-6)


@pytest.fixture(scope="module")
def saved(fit, tmp_path_factory):
    return fit.save(tmp_path_factory.mktemp("saved") / "clumpy")


def test_a_saved_fit_is_the_fit(fit, saved):
    again = sml.load(saved)
    one, other = fit.catalogue.table, again.catalogue.table
    for name in ("p_member", "p_member_05", "p_member_95", "selected", "n_missing", "in_window"):
        assert np.array_equal(np.asarray(one[name]), np.asarray(other[name])), name
    assert dict(again.metrics) == json.loads((saved / "metrics.json").read_text())
    for made, kept in ((fit.track([1.0]), again.track([1.0])), (fit.density([1.0]), again.density([1.0]))):
        for name in made.colnames[2:]:
            assert made[name][0] == pytest.approx(kept[name][0], rel=1e-6), name
    assert list(read_table(saved / "components.ecsv")[0]) == pytest.approx(list(again.components()[0]), rel=1e-6)
    assert again.facts["OBJECT"] == "Clumpy"
    assert again.verdict == fit.verdict
    assert again.figures().keys() == fit.figures().keys() >= {"sky", "track", "colour_magnitude"}
    assert {path.name for path in saved.iterdir()} >= {
        "track.ecsv",
        "density.ecsv",
        "features.ecsv",
        "selection.ecsv",
        "members.tex",
    }


def test_the_command_predicts_with_a_fit_from_python(fit, saved, tmp_path):
    """A model trained from Python once could not be predicted from."""
    stars().write(tmp_path / "stars.ecsv")
    best = str(saved / "checkpoints" / "best.ckpt")
    target = tmp_path / "out.parquet"
    arguments = ["--checkpoint", best, "--catalogue", str(tmp_path / "stars.ecsv"), "--output", str(target)]
    command = [sys.executable, "-m", "stream_mapper.predict", *arguments, "--draws", "6"]
    options = {"capture_output": True, "text": True, "timeout": 300}
    options["env"] = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    refused = subprocess.run(command, check=False, **options)
    assert refused.returncode == 2
    assert "call stream_mapper.allow('user_densities')" in refused.stderr
    assert not target.exists()
    done = subprocess.run([*command, "--allow", "[user_densities]"], check=False, **options)
    assert done.returncode == 0, done.stderr
    one, other = fit.catalogue.table, read_table(target)
    for name in ("p_member", "p_member_05", "p_member_95"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-6)


def test_processes_of_a_prediction_know_what_is_allowed(saved, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    (tmp_path / "in").mkdir()
    table = sml.load(saved).catalogue.table["phi1", "phi2", "g", "r", "g_err", "r_err"]
    for name, rows in (("a", slice(0, 300)), ("b", slice(300, 500))):
        write_table(table[rows], tmp_path / "in" / f"{name}.parquet")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    best = str(saved / "checkpoints" / "best.ckpt")
    predict(best, str(tmp_path / "in"), str(tmp_path / "out"), draws=6, processes=2, allow=["user_densities"])
    parts = [read_table(tmp_path / "out" / f"{name}.parquet") for name in "ab"]
    expected = sml.load(saved).catalogue.table["p_member"]
    np.testing.assert_allclose(np.concatenate([part["p_member"] for part in parts]), expected[:500], atol=1e-6)


def test_a_checkpoint_alone_knows_its_track_but_not_its_stars(fit, tmp_path):
    again = sml.load(fit.save(tmp_path / "fit.ckpt"))
    assert again.density([1.0])["density"][0] == pytest.approx(fit.density([1.0])["density"][0], rel=1e-6)
    with pytest.raises(sml.InputError, match="load it from its run folder"):
        again.members()
    with pytest.raises(sml.InputError, match="load it from its run folder"):
        again.save(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_trainer_of_ones_own_writes_checkpoints_that_can_be_loaded(tmp_path):
    """StreamModule and Lightning's Trainer, without the pipeline."""
    lightning = pytest.importorskip("lightning")
    from stream_mapper.training import CatalogueDataModule, StreamModule

    stars().write(tmp_path / "stars.ecsv")
    names = ["phi1", "phi2", "g", "r", "g_err", "r_err"]
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "devices": 1}
    trainer = lightning.Trainer(max_epochs=2, default_root_dir=tmp_path, logger=False, **quiet)
    module = StreamModule(model_of(), ensemble_size=2)
    trainer.fit(module, CatalogueDataModule(names, str(tmp_path / "stars.ecsv")))
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    again = sml.load(tmp_path / "own.ckpt")
    assert len(again.ensemble) == 2
    data = again.intake.reading.load(stars())[0]
    module.eval()
    for one, other in zip(module.ensemble.fits(module.model), again.ensemble.fits(again.model), strict=True):
        with one, other, torch.no_grad():
            assert torch.equal(
                module.model.ln_joint(module.model(data), data), again.model.ln_joint(again.model(data), data)
            )
    assert again.draw is None
    with pytest.raises(sml.InputError, match="no posterior to draw from"):
        again.draws(at=[0.0])


def test_a_model_that_cannot_be_described_is_fitted_and_refused_a_file(tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="stream_mapper")
    model = model_of()
    model.unpack_params_hooks = ()
    model = sml.MixtureModel(
        dict(model.components),
        net=sml.nn.Constant(1),
        params=sml.params.ModelParameters({"stream.ln-weight": (-4.0, -0.5)}),
        unpack_params_hooks=[lambda params: {**straight(params)}],
    )
    fit = sml.fit(model, stars(300), trainer={"max_epochs": 1}, results=ResultOptions(draws=1, track_draws=1))
    assert len(fit.members(0.0)) > 0
    with pytest.raises(sml.InputError, match=r"<lambda> cannot be imported, so it cannot be kept in a checkpoint"):
        fit.save(tmp_path / "fit.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_description_builds_classes_that_are_allowed_only(tmp_path):
    for path in ("os.system", "subprocess.Popen", "torch.load", "builtins.eval", "pickle.loads"):
        with pytest.raises(sml.InputError, match="is not of stream_mapper's models, torch"):
            description.build({"class_path": path, "init_args": {}})
    with pytest.raises(sml.InputError, match="is no class"):
        description.build({"class_path": "stream_mapper.catalog.write_table", "init_args": {}})
    with pytest.raises(sml.InputError, match="cannot be imported"):
        description.build({"class_path": "stream_mapper.builtin.Nothing"})
    assert description.build(
        {"class_path": "user_densities.Histogram", "init_args": {"coord": "g", "low": 0, "high": 1}}
    )


@pytest.mark.parametrize(
    "module",
    [torch.nn.Tanh(), sml.params.ModelParameter(), sml.params.ModelParameter(sml.params.bounds.SigmoidBounds(0, 1))],
    ids=["Tanh", "free parameter", "bounded parameter"],
)
def test_a_module_without_arguments_is_described(module):
    """Its constructor is torch's, whose signature has any arguments and which takes none."""
    again = description.build(description.describe(module))
    raw = torch.linspace(-2, 2, 5)
    assert torch.equal(again(raw), module(raw))


@pytest.mark.parametrize("kind", ["MAF", "NSF", "NCSF"])
def test_a_flow_of_zuko_is_described_by_its_layers(kind):
    import zuko

    network = getattr(zuko.flows, kind)(2, 1, transforms=3, hidden_features=[8, 4])
    plain = description.describe(network)
    assert plain["init_args"]["hidden_features"] == [8, 4]
    description.check_rebuilds(network, plain)
    odd = getattr(zuko.flows, kind)(2, 1, transforms=3, hidden_features=[8, 4], activation=torch.nn.Tanh)
    with pytest.raises(sml.InputError, match="cannot be told"):
        description.describe(odd)


def test_what_a_fit_needs_is_said(tmp_path):
    with pytest.raises(sml.InputError, match="a fit needs a MixtureModel, which has memberships; got a Uniform"):
        sml.fit(sml.builtin.Uniform(coord_names=["g"], coord_bounds={"g": (0, 1)}), stars())
    with pytest.raises(sml.InputError, match="no column"):
        sml.fit(model_of(), stars()["phi1", "phi2"], Reading(["phi1", "phi2", "g", "r", "g_err", "r_err"]))
    with pytest.raises(sml.InputError, match=r"is not the folder of a finished fit|no such checkpoint"):
        sml.load(tmp_path)


def test_a_loaded_fit_has_the_same_density_and_features(fit, tmp_path):
    """From a checkpoint the bands, the noise of counting included; from a folder the stars, and so their features."""
    again = sml.load(fit.save(tmp_path / "run"))
    for name in ("density_05", "density_95"):
        np.testing.assert_allclose(again.density([-5.0, 4.0])[name], fit.density([-5.0, 4.0])[name], rtol=1e-5)
    assert len(fit.features()) == len(again.features()) == 0  # the stream is even
    with pytest.raises(sml.InputError, match="not at hand"):
        sml.load(tmp_path / "run" / "checkpoints" / "best.ckpt").features()
