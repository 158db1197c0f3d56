"""Build the sdist and the wheel, install each in a clean environment, and run the tests from outside the tree.

    python .ci/wheel.py [--python 3.12 ...] [--kind wheel] [-- arguments of pytest]

Needs `build`. Pythons that are not there are left out, with a word; the arguments of pytest are `tests -q` by default.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TORCH = "torch==2.13.0"
SHORT = ["--trainer.max_epochs=1", "--background.max_epochs=1", "--background.copies=0", "--results.draws=2"]
PYTHONS = ("3.11", "3.12", "3.13")
MUST_HOLD = (
    "stream_mapper/py.typed",
    "stream_mapper/experiments/mock/config.yaml",
    "stream_mapper/experiments/survey/simulate.yaml",
    "stream_mapper/experiments/pal5/track.ecsv",
    "stream_mapper/experiments/gd1/track.ecsv",
    "stream_mapper/experiments/indus/track.ecsv",
)


def built(folder: Path) -> dict[str, Path]:
    """The sdist, and the wheel that is built from it."""
    run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)])
    return {"sdist": next(folder.glob("*.tar.gz")), "wheel": next(folder.glob("*.whl"))}


def check_wheel(wheel: Path) -> None:
    """Stop if the wheel lacks something, or has something beside the package."""
    names = zipfile.ZipFile(wheel).namelist()
    lacking = [name for name in MUST_HOLD if name not in names]
    beside = [name for name in names if not name.startswith(("stream_mapper/", "stream_mapper-"))]
    caches = [name for name in names if "__pycache__" in name]
    if lacking or beside or caches:
        raise SystemExit(f"{wheel.name} lacks {lacking} and has {beside + caches} that do not belong into it")


def unpacked(sdist: Path, folder: Path) -> Path:
    """The tree of the sdist without the package: its tests find what is installed."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (tree,) = folder.iterdir()
    shutil.rmtree(tree / "stream_mapper")
    return tree


def tested(python: str, archive: Path, tree: Path, arguments: list[str], folder: Path) -> None:
    """Install an archive for a Python of its own, begin with an experiment, and run the tests."""
    run([python, "-m", "venv", str(folder)])
    inside = str(folder / "bin" / "python")
    run([inside, "-m", "pip", "install", "--quiet", TORCH])
    run([inside, "-m", "pip", "install", "--quiet", f"{archive}[test-base]"])
    command, mock = str(folder / "bin" / "stream-mapper"), folder / "mock"
    run([command, "init", "mock", "--output", str(mock)], folder)
    run([command, "fit", "-q", "-c", str(mock / "recipe.yaml"), *SHORT], folder)
    run([inside, "-m", "pytest", *arguments], tree)


def python_of(version: str) -> str | None:
    """A Python of a version that runs; a command that only stands for one, as pyenv's do, may not."""
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "--version"], capture_output=True, check=False).returncode:
        return None
    return python


def run(command: list[str], folder: Path | None = None) -> None:
    """Run a command, and stop if it fails."""
    print("$", *command, flush=True)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if (status := subprocess.run(command, cwd=folder, env=clean, check=False).returncode) != 0:
        raise SystemExit(status)


def main() -> None:
    """Build once, then test what was built in every environment."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--python", nargs="+", default=PYTHONS)
    parser.add_argument("--kind", nargs="+", default=("wheel", "sdist"), choices=("wheel", "sdist"))
    ours, sep = sys.argv[1:], "--"
    theirs = ours[ours.index(sep) + 1 :] if sep in ours else ["tests", "-q"]
    asked = parser.parse_args(ours[: ours.index(sep)] if sep in ours else ours)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archives = built(folder / "dist")
        check_wheel(archives["wheel"])
        tree = unpacked(archives["sdist"], folder / "tree")
        pythons = {version: python_of(version) for version in asked.python}
        if not any(pythons.values()):
            raise SystemExit(f"none of the Pythons {', '.join(pythons)} is here")
        for version, python in pythons.items():
            if python is None:
                print(f"no python{version} here")
                continue
            for kind in asked.kind:
                print(f"== {kind} on Python {version}", flush=True)
                tested(python, archives[kind], tree, theirs, folder / "environment")
                shutil.rmtree(folder / "environment")


if __name__ == "__main__":
    main()
