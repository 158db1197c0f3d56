"""The oldest versions that pyproject.toml allows, as constraints for pip.

    python .ci/floors.py floors.txt && python -m pip install -c floors.txt -e ".[test]"

torch is left out: its build is chosen by hand, before.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
BY_HAND = ("torch",)
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<extras>[\w,.-]+)\])?(>=(?P<floor>[\w.]+))?")


def floors(project: dict[str, Any], extra: str = "test-base") -> list[str]:
    """A line ``name==version`` for each dependency of a project and of an extra.

    Arguments:
        project: The table ``[project]`` of a pyproject.toml.
        extra: Name of the extra; the extras of the project that it names count too.

    Raises:
        ValueError: If a dependency has no floor.
    """
    lines = [*project["dependencies"], *_of_extra(project, extra)]
    return [f"{name}=={floor}" for name, floor in map(_floor, lines) if name not in BY_HAND]


def _of_extra(project: dict[str, Any], extra: str) -> Iterator[str]:
    """Dependencies of an extra and of the extras it refers to."""
    for line in project["optional-dependencies"][extra]:
        found = _parsed(line)
        if found["name"] != project["name"]:
            yield line
            continue
        for other in found["extras"].split(","):
            yield from _of_extra(project, other)


def _floor(line: str) -> tuple[str, str]:
    found = _parsed(line)
    if not found["floor"]:
        raise ValueError(f"{line!r} has no floor; write it as name>=version.")
    return found["name"], found["floor"]


def _parsed(line: str) -> dict[str, str]:
    found = _REQUIREMENT.match(line)
    if not found:
        raise ValueError(f"{line!r} is no requirement; write it as name>=version.")
    return found.groupdict()


if __name__ == "__main__":
    text = "\n".join(floors(tomllib.loads(PYPROJECT.read_text())["project"])) + "\n"
    Path(sys.argv[1]).write_text(text)
