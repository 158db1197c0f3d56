"""The commands, from a table to a run folder and back."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy import units as u
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stream_mapper.__main__ import main as console
from stream_mapper.builtin import Isochrone, Uniform
from stream_mapper.catalog import read_table, write_table
from stream_mapper.description import describe
from stream_mapper.errors import InputError
from stream_mapper.fit import main as fit
from stream_mapper.loading import load
from stream_mapper.models import MixtureModel
from stream_mapper.nn import Constant
from stream_mapper.paper import Figures
from stream_mapper.params import ModelParameters
from stream_mapper.predict import main as predict
from stream_mapper.quantiles import QUANTILE_NAMES
from stream_mapper.query import main as query
from stream_mapper.results.annotation import membership_names
from stream_mapper.simulate import main as simulate
from stream_mapper.training import BackgroundStage
from stream_mapper.training.cli import StreamCLI

ROOT = Path(__file__).parent.parent
MOCK = str(ROOT / "experiments" / "mock" / "config.yaml")
SMALL = "{class_path: stream_mapper.mock.TailoredMock, init_args: {n_stream: 300, n_background: 900, seed: 3}}"
QUICK = ["--background.max_epochs=8", "--trainer.max_epochs=30", "--results.draws=6", "--results.track_draws=8"]
SHORTEST = ["--background.max_epochs=1", "--trainer.max_epochs=1", "--results.draws=1", "--results.track_draws=1"]
SHORTEST += ["--results.figures=false"]
RUN = {
    "config.yaml",
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
    "memberships.parquet",
    "track.ecsv",
    "density.ecsv",
    "features.ecsv",
    "components.ecsv",
    "metrics.json",
    "figures/sky.png",
    "figures/colour_magnitude.png",
    "figures/weight.png",
    "figures/density.png",
    "figures/track.png",
    "figures/widths.png",
}


@pytest.fixture(scope="module")
def stars(tmp_path_factory):
    """A small simulated table on disk."""
    path = tmp_path_factory.mktemp("stars") / "stars.parquet"
    simulate(["--simulator", SMALL, "--output", str(path)])
    return path


@pytest.fixture(scope="module")
def run(stars, tmp_path_factory):
    """A short fit of that table."""
    root = tmp_path_factory.mktemp("runs")
    fit(["--config", MOCK, "--data.path", str(stars), "--trainer.default_root_dir", str(root), *QUICK])
    return root / "version_0"


def test_run_folder_is_complete_and_finds_the_stream(run):
    found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert found >= RUN
    assert any("events.out.tfevents" in name for name in found)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["average_precision"] > 0.97
    assert metrics["optimal_average_precision"] > 0.99
    assert metrics["expected_members"] == pytest.approx(metrics["true_members"], rel=0.1)
    assert metrics["expected_members_05"] < metrics["expected_members"] < metrics["expected_members_95"]
    assert metrics["distance_rms_relative"] < 0.1
    assert metrics["epochs"] == 30
    assert "best_epoch" not in metrics


def test_every_file_of_a_run_is_documented(run):
    table = (ROOT / "docs" / "quickstart.md").read_text().split("## The run folder")[1]
    for path in run.iterdir():
        assert f"`{re.sub(r'tfevents.*', 'tfevents.*', path.name)}" in table, path


def test_what_tensorboard_is_shown_is_documented(run):
    """Every tag but Lightning's own, and every line of the table of tags has one."""
    files = [EventAccumulator(str(path), {"images": 1, "scalars": 0}) for path in run.glob("events.out.tfevents.*")]
    found = []
    for events in files:
        events.Reload()
        found += [tag for kind in ("scalars", "images", "histograms", "tensors") for tag in events.Tags()[kind]]
    (trained,) = [events for events in files if "train/learning_rate" in events.Tags()["scalars"]]
    assert max(one.value for one in trained.Scalars("train/learning_rate")) == pytest.approx(1e-2, rel=0.1)
    text = (ROOT / "docs" / "tensorboard.md").read_text()
    documented = [re.sub(r"<\w+>", "[^/]+", tag) for tag in re.findall(r"^\| `([^`]+)`", text, flags=re.M)]
    tags = {tag.removesuffix("/text_summary") for tag in found} - {"epoch"}
    assert {tag for tag in tags if not any(re.fullmatch(one, tag) for one in documented)} == set()
    assert {one for one in documented if not any(re.fullmatch(one, tag) for tag in tags)} == set()


def test_report_draws_every_figure_first_if_asked(run, tmp_path, monkeypatch):
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("events*", "last.ckpt"))
    monkeypatch.setattr(Figures, "__call__", lambda self: {"windows": self.windows_and_guides()})
    console(["report", str(copy), "--figures"])
    assert (copy / "figures" / "windows.pdf").is_file()
    assert "windows" in (copy / "report.html").read_text()
    assert load(copy).off_stream.coord == "phi2"


def test_memberships_keep_the_table_and_are_probabilities(run, stars):
    table, given = read_table(run / "memberships.parquet"), read_table(stars)
    for name in given.colnames:
        assert np.array_equal(np.asarray(table[name]), np.asarray(given[name])), name
        assert table[name].unit == given[name].unit
    parts = [np.asarray(table[f"p_{q}"]) for q in ("stream", "background")]
    assert np.allclose(sum(parts), 1, atol=1e-6)
    assert np.allclose(table["p_member"], parts[0], atol=1e-6)
    bands = np.stack([np.asarray(table[f"p_member_{q}"]) for q in QUANTILE_NAMES])
    assert (np.diff(bands, axis=0) >= 0).all()
    assert (bands[-1] - bands[0]).max() > 1e-3
    assert (np.asarray(table["n_missing"]) == 0).all()


def test_track_and_density_have_their_columns(run):
    track, density = read_table(run / "track.ecsv"), read_table(run / "density.ecsv")
    for name, unit in {"phi2": u.deg, "parallax": u.mas, "distmod": u.mag, "distance": u.kpc}.items():
        for column in (name, f"{name}_sigma"):
            bands = [f"{column}_{q}" for q in QUANTILE_NAMES]
            assert all(track[one].unit == unit for one in (column, *bands)), column
            assert (np.diff(np.stack([np.asarray(track[one]) for one in bands]), axis=0) >= 0).all(), column
        assert (track[f"{name}_sigma_05"] > 0).all()
    weight = np.asarray(density["weight"])
    assert np.allclose(track["weight"], weight, rtol=1e-6)
    assert track["weight"].unit is None
    nearby = np.asarray(density["total_density"]) * np.ptp(density["phi1"]) / 20
    assert track["supported"].tolist() == (weight * nearby >= 1).tolist()
    extent = np.asarray(track["phi1"])[track["supported"]]  # of a field of -45 to 50
    assert extent.min() == pytest.approx(-20, abs=12)
    assert extent.max() == pytest.approx(30, abs=12)
    assert density["density"].unit == 1 / u.deg
    step = np.diff(density["phi1"])[0]
    assert np.sum(density["total_density"]) * step == pytest.approx(
        len(read_table(run / "memberships.parquet")), rel=0.02
    )
    wider = (density["density_95"] / density["density_05"]) / (density["weight_95"] / density["weight_05"])
    assert np.nanmedian(np.asarray(wider)) > 1  # beyond an end both are nothing
    features = read_table(run / "features.ecsv")
    assert features.colnames[:3] == ["component", "kind", "phi1"]
    assert features["width"].unit == u.deg
    members = json.loads((run / "metrics.json").read_text())["expected_members"]
    assert np.sum(density["density"]) * step == pytest.approx(members, rel=0.1)


def test_checkpoint_is_plain(run):
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    header = checkpoint["stream_mapper"]
    plain = {key: header[key] for key in ("model", "intake", "facts")}
    assert json.loads(json.dumps(plain)) == plain
    assert all(isinstance(values, torch.Tensor) for values in checkpoint["state_dict"].values())


def test_isochrones_of_files_are_kept_as_numbers():
    kept = describe({"isochrone": Isochrone([0.5, 0.8], [[8.0], [4.0]], ("g",))})
    assert kept["isochrone"]["class_path"] == "stream_mapper.builtin.Isochrone"
    assert kept["isochrone"]["init_args"]["magnitudes"] == [[8.0], [4.0]]
    assert kept["isochrone"]["init_args"]["bands"] == ["g"]


def test_flows_are_trained_where_the_mixture_is(stars, tmp_path, monkeypatch):
    seen = []
    training = "stream_mapper.training.background.BackgroundTraining.maximise"
    monkeypatch.setattr(training, lambda self, *_: seen.append(self.hardware.options["accelerator"]))
    path = tmp_path / "stars.parquet"
    write_table(read_table(stars)[::5], path)
    arguments = ["--config", MOCK, "--data.path", str(path), "--trainer.default_root_dir", str(tmp_path / "runs")]
    fit([*arguments, *SHORTEST, "--trainer.accelerator=cpu"])
    assert seen == ["cpu"] * 2 * (1 + BackgroundStage().copies)


def test_predict_in_a_new_process_reproduces_the_run(run, stars, tmp_path):
    output = tmp_path / "again.parquet"
    command = [sys.executable, "-m", "stream_mapper.predict", "--checkpoint", str(run / "checkpoints" / "best.ckpt")]
    command += ["--catalogue", str(stars), "--output", str(output), "--draws", "6"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, timeout=300)
    again, table = read_table(output), read_table(run / "memberships.parquet")
    for name in table.colnames:
        if name.startswith("p_"):
            assert np.abs(np.asarray(again[name]) - np.asarray(table[name])).max() < 1e-5, name


@pytest.fixture
def predicted(run, tmp_path):
    """Memberships of a table, by the checkpoint of the run."""

    def of(table, name="other.fits"):
        write_table(table, tmp_path / name)
        arguments = ["--checkpoint", str(run / "checkpoints" / "best.ckpt"), "--draws", "6"]
        predict([*arguments, "--catalogue", str(tmp_path / name), "--output", str(tmp_path / "members.ecsv")])
        return read_table(tmp_path / "members.ecsv")

    return of


def test_predict_on_other_stars_in_another_order_of_columns(run, stars, predicted):
    table = read_table(stars)[100:400]
    other = table[["r_err", "phi2", "g", "true_component", "g_err", "r", "parallax", "phi1"]]
    reference = np.asarray(read_table(run / "memberships.parquet")["p_member"])[100:400]
    assert np.abs(np.asarray(predicted(other)["p_member"]) - reference).max() < 1e-5


def test_predict_on_one_star(run, stars, predicted):
    reference = np.asarray(read_table(run / "memberships.parquet")["p_member"])[7]
    assert np.asarray(predicted(read_table(stars)[7:8])["p_member"])[0] == pytest.approx(reference, abs=1e-5)


def test_predict_with_missing_photometry(stars, predicted):
    table = read_table(stars)
    table["g"][::2] = np.nan
    table["r"][::4] = np.nan
    member = np.asarray(table["true_component"]) == "stream"
    out = predicted(table)
    assert np.asarray(out["n_missing"])[:4].tolist() == [2, 0, 1, 0]
    p = np.asarray(out["p_member"])
    assert np.isfinite(p).all()
    assert p[member].mean() > 0.8
    assert p[~member].mean() < 0.1


def test_predict_without_photometric_columns(stars, predicted):
    table = read_table(stars)["phi1", "phi2", "parallax"]
    out = predicted(table)
    assert (np.asarray(out["n_missing"]) == 2).all()
    assert np.isfinite(np.asarray(out["p_member"])).all()


def test_predict_says_which_stars_are_beyond_the_fit(stars, predicted, caplog):
    table = read_table(stars)[:50]
    table["phi1"][:2] = 80.0
    predicted(table)
    assert "2 of 50 stars lie beyond the fitted range, phi1" in caplog.text


def test_stars_outside_the_window_are_kept_with_a_flag(stars, predicted, caplog):
    table = read_table(stars)[:50]
    table["phi2"][3] = 40.0
    out = predicted(table)
    assert len(out) == 50
    assert not out["in_window"][3]
    assert out["p_member"][3] == 0
    assert out["p_background"][3] == 1
    assert np.isfinite(np.asarray(out["p_member"])).all()
    window = "{'phi2': (-2.0, 10.0), 'parallax': (0.058823, 0.200001)}"
    assert f"1 of 50 stars are outside the fitted window {window}; their membership is zero" in caplog.text


def test_predict_says_plainly_that_a_table_is_wholly_outside_the_window(stars, predicted, caplog):
    table = read_table(stars)[:50]
    table["phi2"] = np.linspace(40.0, 50.0, 50)
    assert not np.asarray(predicted(table)["p_member"]).any()
    assert "none of the 50 stars is inside the fitted window {'phi2': (-2.0, 10.0)" in caplog.text
    assert "every membership is zero; the table spans {'phi2': (40.0, 50.0)" in caplog.text


def test_predict_says_nothing_where_all_is_well(stars, predicted, caplog):
    predicted(read_table(stars)[:50])
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def with_names_of_results(table, *names):
    """The table with its row numbers under other names."""
    for name in names:
        table[name] = np.arange(len(table))
    return table


def test_columns_called_like_results_are_kept_under_another_name(stars, predicted, caplog):
    out = predicted(with_names_of_results(read_table(stars)[:50], "p_member", "in_window"), "taken.fits")
    for name in ("p_member", "in_window"):
        assert out[f"{name}_input"].tolist() == list(range(50))
    assert 0 < np.asarray(out["p_member"]).max() <= 1
    assert out["in_window"].tolist() == [True] * 50
    said = (
        "its columns ['p_member', 'in_window'] are called like results; they are kept as ['p_member_input', 'in_window"
    )
    assert said in caplog.text
    assert "taken.fits" in caplog.text


def test_fit_says_what_it_does_with_the_table(stars, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("stream_mapper.training.background.BackgroundTraining.maximise", lambda *_: None)
    path = tmp_path / "stars.parquet"
    table = with_names_of_results(read_table(stars)[::5], "p_stream")
    table["phi2"][:3] = np.nan, 12.0, 40.0
    write_table(table, path)
    root = ["--trainer.default_root_dir", str(tmp_path / "runs")]
    given = fit(["--config", MOCK, "--data.path", str(path), *root, *SHORTEST]).catalogue.table
    assert given["p_stream"].dtype.kind == "f"
    assert given["p_stream_input"][7] == 7
    assert f"{path}: its columns ['p_stream'] are called like results" in caplog.text
    assert f"2 of {len(table)} stars are outside the model's window" in caplog.text


def test_a_component_cannot_be_called_member():
    law = Uniform(coord_names=["phi2"], coord_bounds={"phi2": (-1, 1)})
    params = ModelParameters({"member.ln-weight": (-3, 0)})
    with pytest.raises(InputError, match=r"\['p_member'\] of the memberships"):
        membership_names(MixtureModel({"member": law, "background": law}, net=Constant(1), params=params))


def spoilt(stars, change):
    """The table with one thing wrong, beside it on disk."""
    table = read_table(stars)
    changed = change(table)
    table = table if changed is None else changed
    path = stars.parent / f"{change.__name__}.parquet"
    write_table(table, path)
    return path


def no_parallax(table):
    table.remove_column("parallax")


def mass_unit(table):
    table["parallax"].unit = u.kg


def no_rows(table):
    return table[:0]


def all_outside(table):
    table["phi2"] = np.asarray(table["phi2"]) - 60


def taken(table):
    with_names_of_results(table, "p_member", "p_member_input")


BAD_TABLES = {
    no_parallax: "parallax",
    mass_unit: "kg",
    no_rows: "0 rows|no rows|empty",
    all_outside: "0 of .* stars are inside",
    taken: r"\['p_member'\] are called like results, and \['p_member_input'\] are taken too",
}


def refused(command, arguments, capsys):
    """The one line a command fails with."""
    with pytest.raises(SystemExit) as stop:
        command(arguments)
    assert stop.value.code not in (0, None)
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert not any("Traceback" in line for line in lines)
    return errors[0]


@pytest.mark.parametrize(("change", "message"), BAD_TABLES.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_fit_refuses_a_bad_table_in_one_line(stars, change, message, tmp_path, capsys):
    arguments = ["--config", MOCK, "--data.path", str(spoilt(stars, change)), "--trainer.default_root_dir"]
    line = refused(fit, [*arguments, str(tmp_path / "runs")], capsys)
    assert re.search(message, line), line
    assert not (tmp_path / "runs").exists()


BAD_ARGUMENTS = {
    "no config": (["--config", "nowhere.yaml"], "nowhere.yaml"),
    "no table": (["--config", MOCK, "--data.path", "nowhere.fits"], "nowhere.fits"),
    "misspelt key": (["--config", MOCK, "--data.cord=1"], "cord"),
    "misspelt argument": (["--config", MOCK, "--data.simulator.init_args.sed=1"], "sed"),
    "inside a component": (["--config", MOCK, "--model.model.init_args.components.stream.scatter=1"], "in the config"),
    "wrong type": (["--config", MOCK, "--trainer.max_epochs=many"], "max_epochs"),
    "no epoch": (["--config", MOCK, "--background.max_epochs=0"], "background.max_epochs must be 1 or more"),
    "no batch": (["--config", MOCK, "--data.batch_size=0"], "data.batch_size must be 1 or more"),
    "no training": (["--config", MOCK, "--data.val_fraction=1"], "data.val_fraction must be between 0 and 1"),
    "no draw": (["--config", MOCK, "--results.draws=0"], "results.draws must be 1 or more"),
    "half precision": (["--config", MOCK, "--trainer.precision=bf16-mixed"], "precision must be 32-true or 64-true"),
    "nothing held out": (["--config", MOCK, "--trainer.limit_val_batches=0"], "limit_val_batches must not be 0"),
    "no step": (["--config", MOCK, "--model.learning_rate=-1"], "model.learning_rate must be a number above zero"),
    "no step of the flows": (["--config", MOCK, "--background.learning_rate=0"], "background.learning_rate must be"),
    "no number": (["--config", MOCK, "--model.learning_rate=.nan"], "above zero; got nan"),
    "growing weights": (["--config", MOCK, "--model.weight_decay=-1"], "model.weight_decay must be 0 or more"),
    "rise without end": (["--config", MOCK, "--model.warm_up=1"], "model.warm_up in 0..1; got 0.0 and 1.0"),
    "no end": (["--config", MOCK, "--trainer.max_epochs=0"], "--trainer.max_epochs"),
    "other weights": (["--config", MOCK, "--model.weights=middle"], "model.weights"),
    "no table at all": (["--config", MOCK, "--data.simulator=null"], "--data.path"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_fit_refuses_bad_arguments_in_one_line(arguments, message, tmp_path, capsys):
    line = refused(fit, [*arguments, "--trainer.default_root_dir", str(tmp_path / "runs")], capsys)
    assert message in line
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def interrupted_at(stars, tmp_path, monkeypatch, capsys):
    """What a fit says when Ctrl-C comes inside a function, and its run folder."""
    handler = signal.getsignal(signal.SIGINT)  # Lightning ignores further ones

    def at(name):
        def stop(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(f"stream_mapper.training.{name}", stop)
        given = ["--config", MOCK, "--data.path", str(stars), "--trainer.default_root_dir", str(tmp_path)]
        with pytest.raises(SystemExit) as status:
            fit([*given, *QUICK, "--background.max_epochs=1", "--trainer.max_epochs=1"])
        assert status.value.code == 130
        lines = capsys.readouterr().err.splitlines()
        return [line for line in lines if line.startswith("interrupted: ")], tmp_path / "version_0"

    yield at
    signal.signal(signal.SIGINT, handler)


def test_an_interrupted_fit_says_what_is_left(interrupted_at):
    for name in (
        "datamodule.Reading.load",
        "module.StreamModule.validation_step",
    ):  # before, and while the flows are trained
        lines, folder = interrupted_at(name)
        assert lines == ["interrupted: nothing was written"]
        assert not folder.exists()


def test_a_fit_interrupted_in_its_epochs_leaves_checkpoints_only(interrupted_at):
    lines, folder = interrupted_at("callbacks.FitProgress.on_train_epoch_end")
    advice = f"stream-mapper fit --resume {folder} goes on with it"
    assert lines == [f"interrupted: {folder} is not complete: {advice}"]
    assert not list(folder.glob("*.parquet"))


def test_an_interrupted_prediction_says_so(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("stream_mapper.prediction.predictor.load", stop)
    with pytest.raises(SystemExit) as status:
        predict(["--checkpoint", "best.ckpt", "--catalogue", "a.fits", "--output", "b.fits"])
    assert status.value.code == 130
    assert capsys.readouterr().err == "interrupted: nothing was written\n"


def test_fit_names_a_misspelt_key_of_the_file(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(Path(MOCK).read_text().replace("mass_function:", "mass_functon:"))
    assert "mass_functon" in refused(fit, ["--config", str(config)], capsys)


def test_predict_refuses_bad_input_and_writes_nothing(run, stars, tmp_path, capsys):
    best = str(run / "checkpoints" / "best.ckpt")
    fake = tmp_path / "fake.ckpt"
    fake.write_text("this is no checkpoint")
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"weights": torch.zeros(3)}, foreign)
    cut, empty = tmp_path / "cut.ckpt", tmp_path / "empty.ckpt"
    cut.write_bytes(Path(best).read_bytes()[:5000])
    empty.touch()
    output = tmp_path / "members.parquet"
    cases = {
        "no such checkpoint": ("nowhere.ckpt", stars, output),
        "is not a checkpoint": (fake, stars, output),
        "it has no": (foreign, stars, output),
        "cut.ckpt is damaged or not complete; a fit writes": (cut, stars, output),
        "empty.ckpt is empty": (empty, stars, output),
        "is a folder; give the path of a table": (best, tmp_path, output),
        "nowhere.fits": (best, "nowhere.fits", output),
        "parallax": (best, spoilt(stars, no_parallax), output),
        "are called like results": (best, spoilt(stars, taken), output),
        "members.doc": (best, stars, tmp_path / "members.doc"),
        "folder": (best, stars, tmp_path / "nowhere" / "members.parquet"),
    }
    for message, (checkpoint, catalogue, target) in cases.items():
        arguments = ["--checkpoint", str(checkpoint), "--catalogue", str(catalogue), "--output", str(target)]
        assert message in refused(predict, arguments, capsys)
    assert {path.suffix for path in tmp_path.iterdir()} == {".ckpt"}


GD1 = str(ROOT / "experiments" / "gd1" / "config.yaml")
FIELD = ROOT.parent / "shared" / "data" / "gd1" / "gd1_field_gaia_dr2_ps1.fits"


@pytest.fixture
def in_root(monkeypatch):
    """The working directory of the experiments' relative paths."""
    if not FIELD.exists():
        pytest.skip(f"the GD-1 field {FIELD} is not here")
    monkeypatch.chdir(ROOT)


@pytest.mark.long
@pytest.mark.usefixtures("in_root")
def test_gd1_runs_on_the_real_field(tmp_path):
    quick = ["--background.max_epochs=1", "--trainer.max_epochs=2", "--results.draws=2", "--results.track_draws=2"]
    fit(["--config", GD1, "--data.path", str(FIELD), "--trainer.default_root_dir", str(tmp_path), *quick])
    table = read_table(tmp_path / "version_0" / "memberships.parquet")
    given = read_table(FIELD)
    assert np.array_equal(np.asarray(table["source_id"]), np.asarray(given["source_id"]))
    seen = np.asarray(table["in_window"])
    p = np.stack([np.asarray(table[f"p_{name}"]) for name in ("stream", "spur", "background")])
    assert np.allclose(p.sum(0)[seen], 1, atol=1e-6)
    g = np.asarray(given["g_mean_psf_mag"], dtype=float)
    faint = g - 0.0634 > 21.2
    assert not seen[faint].any()
    assert np.array_equal(seen[~faint], np.asarray(table["selected"])[~faint])  # a star without g keeps its place
    assert (tmp_path / "version_0" / "figures" / "proper_motions.png").is_file()


@pytest.mark.usefixtures("in_root")
def test_gd1_without_a_table_says_where_to_get_one(tmp_path, capsys):
    line = refused(fit, ["--config", GD1, "--trainer.default_root_dir", str(tmp_path / "runs")], capsys)
    assert "--data.path" in line
    assert "Data Science" in line


def test_console_script_knows_its_commands(capsys, tmp_path):
    commands = "the commands are init, fit, finish, predict, simulate, report, query"
    assert f"no command 'fly'; {commands}" in refused(console, ["fly"], capsys)
    assert f"no command is given; {commands}" in refused(console, [], capsys)
    console(["--help"])
    assert "{init,fit,finish,predict,simulate,report,query,atlas}" in capsys.readouterr().out
    console(["simulate", "--simulator", SMALL, "--output", str(tmp_path / "stars.csv")])
    assert (tmp_path / "stars.csv").is_file()


@pytest.mark.parametrize(
    ("name", "command"), {"fit": fit, "predict": predict, "simulate": simulate, "query": query}.items()
)
def test_help_calls_the_command_by_its_name(name, command, capsys):
    with pytest.raises(SystemExit):
        command(["--help"])
    assert capsys.readouterr().out.startswith(f"usage: stream-mapper {name} [")


def test_simulate_is_reproducible_and_refuses_a_folder_that_is_not_there(tmp_path, capsys):
    for name in ("a.parquet", "b.parquet"):
        simulate(["--config", str(ROOT / "experiments" / "mock" / "simulate.yaml"), "--output", str(tmp_path / name)])
    assert read_table(tmp_path / "a.parquet")["phi2"].tolist() == read_table(tmp_path / "b.parquet")["phi2"].tolist()
    arguments = ["--simulator", SMALL, "--output", str(tmp_path / "nowhere" / "stars.parquet")]
    assert "nowhere" in refused(simulate, arguments, capsys)


def test_a_saved_config_makes_a_run_elsewhere(run, tmp_path):
    cli = StreamCLI(["--config", str(run / "config.yaml"), "--trainer.default_root_dir", str(tmp_path)])
    assert Path(cli.trainer.log_dir) == tmp_path / "version_0"
    assert list(cli.model.model.components) == ["stream", "background"]
