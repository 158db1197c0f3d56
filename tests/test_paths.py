"""Paths in a configuration start at its file, those on the command line in the working folder."""

from pathlib import Path

import pytest
import yaml

from stream_mapper import paths
from stream_mapper.catalog import read_table, read_track
from stream_mapper.commands import parse
from stream_mapper.fit import main as fit
from stream_mapper.query import query
from stream_mapper.simulate import main as simulate
from stream_mapper.training.cli import StreamCLI

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
CONFIG = """
data:
  path: stars.fits
  frame: {class_path: stream_mapper.catalog.SkyFrame, init_args: {frame: {track: GD-1-I21, tracks: galstreams}}}
background:
  path: ~/control.fits
trainer:
  default_root_dir: runs
model:
  model:
    class_path: stream_mapper.recipes.Stream
    init_args:
      phi1: [-45, 50]
      track: track.ecsv
      window: {phi2: [-2, 10]}
      isochrone: {class_path: stream_mapper.builtin.Isochrone.read, init_args: {path: /iso.cmd, bands: {g: PS_g}}}
      components:
        spur: {track: GD-1}
        plume: {track: {class_path: stream_mapper.catalog.read_track, init_args: {source: t.csv, tracks: ../tracks}}}
"""


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    """What ``--print_config`` says of that configuration, from a working folder that is not its own."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "a" / "b" / "config.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", "/home/of/me")

    def of(*arguments):
        with pytest.raises(SystemExit, match="0"):
            fit(["--config", "../a/b/config.yaml", *arguments, "--print_config"])
        return yaml.safe_load(capsys.readouterr().out)

    return of


def test_paths_of_a_file_start_at_the_file(printed, tmp_path):
    found, folder = printed(), tmp_path / "a" / "b"
    assert found["data"]["path"] == str(folder / "stars.fits")
    assert found["data"]["frame"]["init_args"]["frame"] == {"track": "GD-1-I21", "tracks": str(folder / "galstreams")}
    assert found["background"]["path"] == "/home/of/me/control.fits"
    assert found["trainer"]["default_root_dir"] == str(folder / "runs")
    recipe = found["model"]["model"]["init_args"]
    assert recipe["track"] == str(folder / "track.ecsv")
    assert recipe["isochrone"]["init_args"]["path"] == "/iso.cmd"
    assert recipe["components"]["spur"]["track"] == "GD-1"
    plume = recipe["components"]["plume"]["track"]["init_args"]
    assert (plume["source"], plume["tracks"]) == (str(folder / "t.csv"), str(tmp_path / "a" / "tracks"))


def test_paths_of_the_command_line_start_in_the_working_folder(printed, tmp_path):
    found = printed("--data.path", "mine.fits", "--background.path=~/mine.fits", "--trainer.default_root_dir", "mine")
    assert found["data"]["path"] == str(tmp_path / "here" / "mine.fits")
    assert found["background"]["path"] == "/home/of/me/mine.fits"
    assert found["trainer"]["default_root_dir"] == "mine"


def test_a_query_is_written_beside_its_configuration(tmp_path, monkeypatch):
    (tmp_path / "query.yaml").write_text("{frame: GD1Koposov10, phi1: [0, 1], phi2: [0, 1], output: stars.parquet}")
    monkeypatch.chdir(Path(__file__).parent)
    given = ["--config", str(tmp_path / "query.yaml"), "--work", "slices"]
    found = parse(query, given)
    assert found["output"] == str(tmp_path / "stars.parquet")
    assert found["work"] == str(Path(__file__).parent / "slices")


def test_a_simulated_table_is_written_beside_its_configuration(tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    mock = "{class_path: stream_mapper.mock.TailoredMock, init_args: {n_stream: 5, n_background: 9}}"
    (tmp_path / "mock.yaml").write_text(f"simulator: {mock}\noutput: stars.csv\n")
    simulate(["--config", "../mock.yaml"])
    assert len(read_table(tmp_path / "stars.csv")) == 14
    simulate(["--config", "../mock.yaml", "--output", "stars.csv"])
    assert (tmp_path / "here" / "stars.csv").is_file()


def test_the_configuration_of_a_run_does_not_depend_on_where_it_was_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli = StreamCLI(["--config", str(EXPERIMENTS / "mock" / "recipe.yaml"), "--trainer.default_root_dir=mine"])
    assert cli.kept()["trainer"]["default_root_dir"] == str(tmp_path / "mine")
    assert cli.trainer.default_root_dir == "mine"


@pytest.mark.parametrize("name", ["config", "recipe"])
def test_an_experiment_with_a_track_is_read_from_anywhere(name, tmp_path, monkeypatch):
    pytest.importorskip("gala")
    monkeypatch.chdir(tmp_path)
    cli = StreamCLI(["--config", str(EXPERIMENTS / "pal5" / f"{name}.yaml")])
    assert list(cli.model.model.components) == ["stream", "background"]


def test_from_python_the_home_folder_is_expanded_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(EXPERIMENTS / "pal5"))
    assert read_track("~/track.ecsv").coordinates.keys() >= {"phi2", "pm_phi1"}
    assert len(read_table("~/track.ecsv")) == len(read_table(EXPERIMENTS / "pal5" / "track.ecsv"))


def test_a_name_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert paths.absolute_if_file("GD-1") == "GD-1"
    assert paths.absolute_if_file("GD-1.ibata2021") == "GD-1.ibata2021"
    assert paths.absolute_if_file("gd1.ecsv") == str(tmp_path / "gd1.ecsv")
    (tmp_path / "thin").touch()
    assert paths.absolute_if_file("thin") == str(tmp_path / "thin")


def test_a_path_is_written_as_the_reader_of_the_file_sees_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert paths.written_in("stars.fits", Path("gd1")) == "../stars.fits"
    assert paths.written_in(tmp_path / "gd1" / "stars.fits", Path("gd1")) == "stars.fits"
    assert paths.written_in("/data/stars.fits", Path("gd1")) == "/data/stars.fits"
    assert paths.written_in("stars.fits", Path("/elsewhere")) == str(tmp_path / "stars.fits")
