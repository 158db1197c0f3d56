"""The README's code runs, and the documentation names what is there."""

import base64
import importlib
import inspect
import json
import pkgutil
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import stream_mapper
from stream_mapper.builtin import Isochrone
from stream_mapper.paper import Figures

ROOT = Path(__file__).parent.parent


def test_readme_code_runs_as_it_says():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    names = {}
    exec(block, names)
    assert names["params"]["stream.phi2.mu"].shape == (5,)
    assert names["ln_p"].isfinite().all()
    assert names["ln_p"].shape == (5,)
    assert torch.allclose(names["p"].sum(-1), torch.ones(5))


def test_readme_commands_name_what_is_there():
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"--config (\S+)", text):
        assert (ROOT / path).is_file(), path


def test_the_isochrone_of_the_documentation_is_one():
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "configuration.md").read_text(), flags=re.DOTALL)
    (given,) = (block["isochrone"] for block in map(yaml.safe_load, blocks) if "isochrone" in block)
    reader = given["class_path"].removeprefix("stream_mapper.builtin.Isochrone.")
    bound = inspect.signature(getattr(Isochrone, reader)).bind(**given["init_args"])
    assert bound.arguments == given["init_args"]


def test_the_page_from_python_runs(tmp_path, monkeypatch, capsys):
    """Its densities lie in a module beside the program, as it says; what it promises of the fit holds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_densities", raising=False)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), flags=re.DOTALL):
        if module := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / module[1]).write_text(block)
            importlib.invalidate_caches()
        else:
            exec(compile(block, "python.md", "exec"), names)
    member, p = names["member"], names["p"]
    assert p[member].mean() > 0.8
    assert p[~member].mean() < 0.1
    assert len(names["likely"]) > 150
    assert (np.asarray(names["bare"]["n_missing"]) == 2).all()
    np.testing.assert_allclose(names["track"]["phi2"], [-0.25, 0.0, 0.25], atol=0.1)
    assert names["density"]["total_density"][0] == pytest.approx(75, rel=0.3)
    assert len(names["gaps"]) == 0
    assert names["functions"]["stream.sky.phi2.mu"].shape == (20, 2)
    assert set(names["mock"]["component"]) == {"stream", "background"}
    assert names["figures"].keys() >= {"sky", "track", "colour_magnitude"}
    assert f"{len(names['likely'])} likely members; the fit is {names['fit'].verdict}" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} >= {"runs", "example.ckpt"}


def test_every_public_module_is_in_the_api():
    """By itself, or by what its package gives by name."""
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    listed = set(re.findall(r"automodule:: (\S+)", pages))
    here = listed if find_spec("lsdb") else listed - {"stream_mapper.lsdb"}
    giving = {name for name in here if hasattr(importlib.import_module(name), "__all__")}
    found = {module.name: module.ispkg for module in pkgutil.walk_packages(stream_mapper.__path__, "stream_mapper.")}
    files = {name for name, is_package in found.items() if not is_package and "._" not in name}
    assert {name for name in files - listed if name.rpartition(".")[0] not in giving} == set()
    assert listed <= found.keys()


def test_every_figure_is_in_the_documentation():
    """By the name of the call that draws it; and no other is."""
    text = (ROOT / "docs" / "figures.md").read_text()
    named = set(re.findall(r"^\| `(\w+)\(", text, flags=re.M))
    calls = {name for name, one in vars(Figures).items() if inspect.isfunction(one) and not name.startswith("_")}
    assert named == calls - {"write"}


def test_pictures_of_the_gallery_are_small_and_shown():
    folder = ROOT / "docs" / "gallery"
    pages = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    shown = set(re.findall(r"\(gallery/(\w+\.png)\)", pages))
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.png")}
    assert set(sizes) == shown
    assert max(sizes.values()) <= 100_000


def test_the_densities_of_the_documentation_are_densities(capsys):
    names: dict[str, object] = {}
    text = (ROOT / "docs" / "densities.md").read_text()
    for block in re.findall(r"```\{executed\}\n(.*?)```", text, flags=re.DOTALL):
        exec(block, names)
    said = capsys.readouterr().out
    assert "integral: 1.0" in said or "integral: 0.999" in said
    assert names["drawn"]["phi2"].abs().max() <= 3
    lost = stream_mapper.Data({"phi1": torch.zeros(2), "phi2": torch.tensor([float("nan"), 5.0])})
    assert names["steps"].ln_likelihood({}, lost).tolist() == [0.0, -float("inf")]


def test_a_page_that_is_run_is_a_notebook_too(monkeypatch, tmp_path):
    """With the text, the code and what became of it, in their order; what only Sphinx understands is not left in it."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    made = importlib.import_module("to_notebook")
    text = (ROOT / "docs" / "tutorial.md").read_text()
    codes = re.findall(r"```\{executed\}\n((?:.*\n)*?)```\n", text)
    (tmp_path / "figure.png").write_bytes(b"\x89PNG of a figure")
    ran = [made.Ran(code, f"printed {i}\n") for i, code in enumerate(codes[1:])]
    ran = [made.Ran(codes[0], "", "fit.figures.overview()", tmp_path / "figure.png"), *ran]
    written = json.loads(made.notebook(text, ran))
    cells = written["cells"]
    first, *others = [cell for cell in cells if cell["cell_type"] == "code"]
    # the value of a cell is what Jupyter shows
    assert first["source"] == "%matplotlib inline\n" + codes[0] + "\nfit.figures.overview()"
    assert base64.b64decode(first["outputs"][0]["data"]["image/png"]) == b"\x89PNG of a figure"
    assert [cell["source"] for cell in others] == codes[1:]
    assert [cell["outputs"][0]["text"] for cell in others] == [one.printed for one in ran[1:]]
    said = [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]
    assert said[0].startswith("# Tutorial")
    assert not re.search(r"\{\w+\}`|^\(\w+\)=", "\n".join(said), flags=re.M)
    assert "blob/main/docs/recipes.md)" in "".join(said)
    if find_spec("nbformat"):
        importlib.import_module("nbformat").validate(written)


def test_every_public_name_is_in_the_api():
    """Classes and functions of every public module: with all of its module, by name, or as its package gives them."""
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    blocks = re.findall(r"automodule:: (\S+)\n((?: +:.*\n)*)", pages)
    wanted = {name: re.findall(r":members:(.*)\n", options) for name, options in blocks}
    given = {
        one.__module__ + "." + one.__name__
        for name, members in wanted.items()
        if members and (find_spec("lsdb") or name != "stream_mapper.lsdb")
        for one in (getattr(importlib.import_module(name), key, None) for key in _names_of(name, members[0]))
        if inspect.isclass(one) or inspect.isfunction(one)
    }
    missing = []
    for module in pkgutil.walk_packages(stream_mapper.__path__, "stream_mapper."):
        if "._" not in module.name and (find_spec("lsdb") or module.name != "stream_mapper.lsdb"):
            made = importlib.import_module(module.name)
            missing += [f"{module.name}.{name}" for name in _names_of(module.name, "") if _is_own(made, name)]
    assert sorted(set(missing) - given) == []


def _names_of(module, members):
    """The names of an automodule: those listed, or those that the module gives, or all public ones of its own."""
    made = importlib.import_module(module)
    public = [name for name in vars(made) if not name.startswith("_") and _is_own(made, name)]
    return [one.strip() for one in members.split(",") if one.strip()] or getattr(made, "__all__", public)


def _is_own(module, name):
    one = getattr(module, name, None)
    return (inspect.isclass(one) or inspect.isfunction(one)) and one.__module__ == module.__name__
