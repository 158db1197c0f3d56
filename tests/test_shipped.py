"""Our experiments travel with the package, and `init` writes them where they then work."""

import runpy
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from stream_mapper.__main__ import main
from stream_mapper.shipped import STARS, write_experiment
from stream_mapper.training.cli import StreamCLI

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", STARS)
def test_an_experiment_is_written_whole(name, here, capsys):
    main(["init", name])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{name}: {STARS[name]}"
    written = {path.name for path in (here / name).iterdir()}
    assert {f"{name}/{file}" for file in written} == set(said[said.index("") + 1 :])
    assert written == {path.name for path in (EXPERIMENTS / name).iterdir() if path.is_file()}
    texts = {path.name: path.read_text() for path in (here / name).iterdir()}
    assert "experiments/" + name not in "".join(texts.values())
    assert "shared/" not in "".join(texts.values())
    assert yaml.safe_load(texts["config.yaml"]).keys() >= {"data", "model"}


@pytest.mark.parametrize(("name", "file"), [("mock", "recipe"), ("survey", "recipe"), ("pal5", "config")])
def test_what_is_written_can_be_fitted_from_anywhere(name, file, here, monkeypatch):
    if name == "pal5":
        pytest.importorskip("gala")
    write_experiment(name, here / "a" / name)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    cli = StreamCLI(["--config", f"../a/{name}/{file}.yaml"])
    assert {"stream", "background"} <= set(cli.model.model.components)
    assert cli.datamodule.simulator is not None


def test_the_page_of_an_experiment_names_the_files_that_are_written(here):
    write_experiment("gd1", Path("mine"))
    page = (here / "mine" / "README.md").read_text()
    assert "--config mine/config.yaml --data.path gd1_field_gaia_dr2_ps1.fits" in page
    isochrone = yaml.safe_load((here / "mine" / "recipe.yaml").read_text())["model"]["model"]["init_args"]["isochrone"]
    assert "/" not in isochrone["init_args"]["path"]


def test_what_is_there_is_kept(here, capsys):
    (here / "mock").mkdir()
    (here / "mock" / "config.yaml").write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        main(["init", "mock"])
    assert "mock has config.yaml already; give another --output" in capsys.readouterr().err
    assert [path.name for path in (here / "mock").iterdir()] == ["config.yaml"]


def test_the_name_of_an_experiment_with_a_survey_is_that_of_a_stream(here, capsys):
    (here / "none").mkdir()
    with pytest.raises(SystemExit, match="2"):
        main(["init", "gd1", "--survey", "gaia_dr3", "--tracks", str(here / "none")])
    assert "gd1" in capsys.readouterr().err
    assert not (here / "gd1").exists()


def test_the_wheel_is_told_of_every_experiment_that_init_writes():
    told = WHEEL["force-include"]
    assert told == {f"experiments/{name}": f"stream_mapper/experiments/{name}" for name in STARS}


def test_the_wheel_holds_what_it_must(tmp_path):
    if not (ROOT / "stream_mapper").is_dir():
        pytest.skip("the package is not here but installed")
    wheels = pytest.importorskip("hatchling.builders.wheel")
    (path,) = wheels.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(path).namelist()
    assert {f"stream_mapper/page/templates/page.{ending}" for ending in ("html.jinja", "css", "js")} <= set(names)
    runpy.run_path(str(ROOT / ".ci" / "wheel.py"))["check_wheel"](Path(path))
    for name in STARS:
        there = {file.name for file in (EXPERIMENTS / name).iterdir() if file.is_file()}
        inside = {Path(file).name for file in names if file.startswith(f"stream_mapper/experiments/{name}/")}
        assert inside == there
