"""What stands around the package fits together: floors, tox, workflows, hooks, the citation."""

import configparser
import itertools
import re
import runpy
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FLOORS = runpy.run_path(str(ROOT / ".ci" / "floors.py"))["floors"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())


def loaded(path):
    return yaml.safe_load((ROOT / path).read_text())


def environments():
    """Names of the environments of tox.ini, braces written out."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "tox.ini")
    names = [section.removeprefix("testenv:").strip("{}").split(",") for section in parser.sections()]
    return set(itertools.chain(*names)) - {"tox", "testenv"}


def test_floors_become_exact_versions():
    project = {
        "name": "p",
        "dependencies": ["torch>=2", "a>=1.2", "b[x]>=3,<4"],
        "optional-dependencies": {"test-base": ["p[more]", "c-d>=5.0.1"], "more": ["e>=6"], "unused": ["f>=7"]},
    }
    assert FLOORS(project) == ["a==1.2", "b==3", "e==6", "c-d==5.0.1"]


@pytest.mark.parametrize("line", ["a", "a<2", "a==1"])
def test_a_dependency_without_a_floor_is_refused(line):
    with pytest.raises(ValueError, match="has no floor"):
        FLOORS({"name": "p", "dependencies": [line], "optional-dependencies": {"test-base": []}})


def test_every_dependency_of_the_project_has_a_floor_that_it_allows():
    pinned = dict(line.split("==") for line in FLOORS(PROJECT, "test"))
    asked = {found.name: found for found in map(Requirement, PROJECT["dependencies"])}
    assert asked.keys() - pinned.keys() == {"torch"}
    assert [name for name in asked.keys() - {"torch"} if not asked[name].specifier.contains(pinned[name])] == []
    assert {"gala", "pyvo", "lsdb", "pytest"} <= pinned.keys()


def test_tox_has_the_environments_of_the_project():
    assert {"test", "style", "docs", "floors", "py311", "py312", "py313"} <= environments()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_only_read_and_run_what_is_here(path):
    workflow = loaded(path)
    assert workflow["permissions"] == {"contents": "read"}
    documented = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        for command in commands(job):
            found = re.fullmatch(r"tox -e (\S+)", command)
            assert found[1] in environments() if found else command in documented, command


def commands(job):
    """What a job runs, a line for each row of its matrix."""
    lines = [line for step in job["steps"] for line in step.get("run", "").splitlines()]
    rows = job["strategy"]["matrix"]["include"]
    return {re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda m, row=row: row[m[1]], line) for line in lines for row in rows}


def test_workflows_run_every_environment():
    ran = set(itertools.chain(*(commands(job) for path in WORKFLOWS for job in loaded(path)["jobs"].values())))
    assert {f"tox -e {name}" for name in environments() - {"test"}} <= ran  # test is py3xx, whichever is there


def test_hooks_are_those_of_the_style():
    hooks = {hook["id"] for repository in loaded(".pre-commit-config.yaml")["repos"] for hook in repository["hooks"]}
    assert {"ruff", "ruff-format", "mypy", "end-of-file-fixer", "check-added-large-files"} <= hooks


def test_the_citation_is_the_paper_of_the_readme():
    citation = loaded("CITATION.cff")
    paper = citation["preferred-citation"]
    assert "version" not in citation  # it stands in stream_mapper/__init__.py
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Source"]
    readme = " ".join((ROOT / "README.md").read_text().split())
    first, second, *_ = (author["family-names"] for author in paper["authors"])
    assert f"{first}, {second} et al. {paper['year']}" in readme
    assert paper["url"] in readme
    assert paper["identifiers"][0]["value"].removeprefix("arXiv:") in paper["url"]
