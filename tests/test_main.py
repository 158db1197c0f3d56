"""The console script names its versions."""

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import stream_mapper
from stream_mapper.__main__ import main

ROOT = Path(__file__).parents[1]


def test_the_version_is_named_with_those_of_the_libraries(capsys):
    main(["--version"])
    libraries = f"torch {version('torch')}, lightning {version('lightning')}"
    assert capsys.readouterr().out == f"stream_mapper {stream_mapper.__version__} ({libraries})\n"


def test_naming_the_version_does_not_load_the_training():
    code = (
        "import sys; sys.argv = ['', '--version']; from stream_mapper.__main__ import main; main(); print(*sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    first, loaded = said.split("\n", 1)
    assert first.startswith(f"stream_mapper {stream_mapper.__version__} (torch")
    assert not {"lightning", "stream_mapper.training", "stream_mapper.fit"} & set(loaded.split())


def test_a_command_answers_signals_before_anything_heavy_is_loaded():
    """SIGTERM while torch or numpy are imported ends it with a line, for by then `main` has begun."""
    code = "import sys, stream_mapper.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "stream_mapper.signals" in loaded
    assert not {"torch", "numpy", "astropy", "jsonargparse"} & set(loaded)


def test_python_runs_the_package_as_a_command():
    command = [sys.executable, "-m", "stream_mapper", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"stream_mapper {stream_mapper.__version__} (")


def test_the_version_is_written_in_one_place():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert pyproject["project"]["dynamic"] == ["version"]
    assert pyproject["tool"]["hatch"]["version"] == {"path": "stream_mapper/__init__.py"}
    others = ["pyproject.toml", "docs/conf.py", *sorted((ROOT / "stream_mapper").glob("[!_]*.py"))]
    assert [path for path in others if f'"{stream_mapper.__version__}"' in (ROOT / path).read_text()] == []
