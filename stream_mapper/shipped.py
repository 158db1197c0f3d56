"""The experiments of the project, which travel with the package: ``stream-mapper init mock`` writes one of them."""

from __future__ import annotations

import re
from pathlib import Path

from stream_mapper.errors import InputError
from stream_mapper.paths import from_here

STARS = {
    "mock": "its stars are simulated by the fit itself; simulate.yaml writes them as a table.",
    "survey": "its stars are simulated by the fit itself; simulate.yaml writes them as a table.",
    "pal5": "its stars are simulated by the fit itself; query.yaml fetches those of the sky from the Gaia archive.",
    "gd1": "its table is in github.com/datacarpentry/astronomy-python, its isochrone from "
    "stellar.dartmouth.edu/models; README.md says which.",
    "indus": "its tables are in github.com/s5collab/Ophiuchus_Indus_paper_material, its isochrone from "
    "stev.oapd.inaf.it/cgi-bin/cmd; README.md says which.",
}
"""Where the stars of each experiment are from."""

_OF_A_TRACK = "A stream of that name is decided from its track and your table with --table, --survey or --phi1."
_FILES = (".yaml", ".ecsv", ".md", ".py")
_MINE = re.compile(r"(\.\./)+shared/data/\w+/")  # where the data of the project lie beside the repository


def write_experiment(name: str, folder: Path) -> list[str]:
    """Write the files of an experiment, their paths being those of the folder.

    Arguments:
        name: One of `STARS`.
        folder: Where they are written; it is made if it is not there.

    Returns:
        What to print: what it is, and the files.

    Raises:
        InputError: If one of the files is there already.
    """
    sources = sorted(path for path in (_experiments() / name).iterdir() if path.suffix in _FILES)
    if there := [path.name for path in sources if (folder / path.name).exists()]:
        raise InputError(f"{folder} has {', '.join(there)} already; give another --output, or remove them.")
    folder.mkdir(parents=True, exist_ok=True)
    shown = from_here(folder)
    for path in sources:
        (folder / path.name).write_text(_moved(path.read_text(), name, shown))
    also = [] if name in ("mock", "survey") else [_OF_A_TRACK]
    return [f"{name}: {STARS[name]}", *also, "", *(str(shown / path.name) for path in sources)]


def _moved(text: str, name: str, folder: Path) -> str:
    """A text of an experiment as it reads in another folder, beside whose configuration the data lie."""
    return _MINE.sub("", text).replace(f"experiments/{name}/", f"{folder}/")


def _experiments() -> Path:
    """The folder of the experiments: inside an installed package, beside one that is used where it is developed."""
    package = Path(__file__).parent
    folders = [package / "experiments", package.parent / "experiments"]
    found = [folder for folder in folders if all((folder / name).is_dir() for name in STARS)]
    if not found:
        raise InputError(f"the experiments are not in {folders[0]}; install the package anew, by its wheel.")
    return found[0]
