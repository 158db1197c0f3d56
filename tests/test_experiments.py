"""The scripts of the experiments: what they import is there, and the benchmarks of a model run on a small one."""

import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import stream_mapper as sml
from stream_mapper.fitted import Fit
from stream_mapper.inference.checks import CHECKS as CHECKS_OF_A_FIT
from stream_mapper.inference.ensemble import Ensemble
from stream_mapper.nn import on_grid, sequential
from stream_mapper.results.annotation import Intake

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
BENCHMARKS = EXPERIMENTS / "benchmarks"
CHECKS = EXPERIMENTS / "checks"
COVERAGE = EXPERIMENTS / "coverage"
FEATURES = EXPERIMENTS / "features"
FAULTS = EXPERIMENTS / "faults"
ATLAS = EXPERIMENTS / "atlas"
SHARED = {"common": "fitted", "cases": "cases"}  # what other scripts import, and a function of each
SHARED |= {
    "judge": "judge",
    "zones": "zones_of",
    "streams": "case",
    "outcomes": "outcome",
    "summaries": "summary",
    "simulated": "Stream",
    "fields": "Field",
    "kinds": "prepare",
    "law": "outcome",
    "mutations": "other_bytes",
    "sources": "stars",
    "table_of_slips": "slips",
}
SCRIPTS = sorted(EXPERIMENTS.rglob("*.py"))
WINDOW = {"phi2": (-2.0, 10.0)}


@pytest.fixture(autouse=True)
def _beside(monkeypatch):
    """The scripts find what lies beside them, as when they are run from there; nothing else does afterwards."""
    for folder in (ATLAS, BENCHMARKS, CHECKS, COVERAGE, FAULTS, FEATURES):
        monkeypatch.syspath_prepend(str(folder))
    yield
    for name in SHARED:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of a model of the mock's phi2, its background a kernel density."""
    params = sml.params.ModelParameters({"phi2": {"mu": (-2, 10), "ln-sigma": (-4, 0)}})
    stream = sml.builtin.TruncatedNormal(
        coord_names=["phi2"], coord_bounds=WINDOW, net=on_grid(sequential(1, 8, 2, 2)), params=params
    )
    kernels = sml.builtin.compat.KDEModel(coord_names=["phi2"], coord_bounds=WINDOW)
    stars = runpy.run_path(str(BENCHMARKS / "common.py"))["mock_stars"](50, ("phi1", "phi2"))
    kernels.fit_points(stars)
    model = sml.MixtureModel(
        {"stream": stream, "background": kernels},
        net=sml.nn.Constant(1),
        params=sml.params.ModelParameters({"stream.ln-weight": (-4, -1)}),
    )
    model.fit_scalers(stars)
    return Fit(model.eval(), Ensemble(model), Intake.of_model(model)).save(tmp_path_factory.mktemp("fit") / "fit.ckpt")


def test_there_are_scripts():
    assert {"run.py", "training.py", "calibration.py"} <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_a_script_imports_is_there(path):
    if path.parent.name == "nuts":
        pytest.importorskip("pyro", reason="needs pyro-ppl, which only this comparison does")
    if path.parent.name == "faults":
        pytest.importorskip("hypothesis")
    names = runpy.run_path(str(path), run_name="imported")
    assert callable(names[SHARED.get(path.stem, "main")])


def test_each_case_of_the_checks_can_be_made():
    found = dict(runpy.run_path(str(CHECKS / "cases.py"))["cases"](good=1))
    assert {case.verdict for case in found.values()} == {"believable", "doubtful", "no stream"}
    named = {name for case in found.values() for name in case.check.split(", ") if name}
    assert named <= {check.__name__ for check in CHECKS_OF_A_FIT}
    for name, case in found.items():
        parts = case.config()["model"]["model"]["init_args"]["components"]
        assert "stream" in parts, name


def test_a_cocoon_is_wider_than_its_stream_may_be():
    names = runpy.run_path(str(EXPERIMENTS / "spectra" / "cocoon.py"), run_name="imported")
    model, parts = names["model_of"](), ("position", "proper_motion", "radial_velocity", "feh")
    ranges = {
        component: {
            name: part.params[f"{name}.ln-sigma"].bounds
            for part in map(model.components[component].components.get, parts)
            for name in part.coord_names
        }
        for component in names["COMPONENTS"]
    }
    for component, planted in names["COMPONENTS"].items():
        for name, width in names["WIDTHS"][planted].items():
            assert ranges[component][name].lower < math.log(width) < ranges[component][name].upper
            assert ranges["stream"][name].upper == ranges["cocoon"][name].lower
    table = names["stars"](0)
    assert set(names["WIDTHS"]["thin"]) == set(model.coord_names)
    assert 0.35 < np.isfinite(table["FEH"]).mean() < 0.45


def test_the_table_of_the_checks_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    names = runpy.run_path(str(CHECKS / "table.py"), run_name="imported")
    kept = {"verdict": "no stream", "seconds": 1.0, "checks": [{"name": "detection", "verdict": "fail"}]}
    (tmp_path / "no_stream_mock_3.json").write_text(json.dumps(kept))
    names["main"](["--folder", str(tmp_path), "--only", "no stream mock 3"])
    assert "| no stream mock 3 | no stream | no stream | detection |  |" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["training", "lightning_overhead", "inference", "footprint"])
def test_a_benchmark_times_what_it_says(name, checkpoint, monkeypatch, capsys):
    arguments = ["--checkpoint", str(checkpoint), "--stars", "300", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert found["stars"] == 300
    times = found.get("seconds") or {key: found[key] for key in ("by_trainer", "by_hand")}
    assert all(seconds > 0 for seconds in times.values())
    if name == "training":
        assert {"screened", "part: stream", "part: background"} <= times.keys()
        assert found["bytes"]["part: background"] < 0.1 * found["bytes"]["part: stream"]  # its density is known
