"""The JSON schema of a configuration: what can be fitted is valid, what cannot is not."""

import json
from pathlib import Path

import pytest
import yaml

from stream_mapper.fit import main as fit
from stream_mapper.training.help import SECTIONS
from stream_mapper.training.schema import fit_schema

jsonschema = pytest.importorskip("jsonschema")

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
CONFIGS = sorted(path for path in EXPERIMENTS.glob("*/*.yaml") if path.stem in ("config", "recipe"))
MOCK = EXPERIMENTS / "mock" / "config.yaml"


@pytest.fixture(scope="module")
def validator():
    """What tells whether a configuration is valid."""
    schema = fit_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_experiments_are_valid(path, validator):
    assert [error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))] == []


SPOILT = {
    "section": ("trainer:", "traner:"),
    "key": ("batch_size", "batchsize"),
    "type": ("max_epochs: 30", "max_epochs: many"),
    "argument of a part": ("mass_function:", "mass_functon:"),
    "class": ("builtin.TruncatedNormal", "builtin.TruncatedNorma"),
    "two numbers": ("mu: [0.055, 0.21]", "mu: [0.055, 0.21, 3]"),
}


@pytest.mark.parametrize(("old", "new"), SPOILT.values(), ids=SPOILT)
def test_what_is_misspelt_is_not_valid(old, new, validator):
    text = MOCK.read_text()
    assert old in text
    assert not validator.is_valid(yaml.safe_load(text.replace(old, new)))


def test_it_is_printed_with_what_the_arguments_mean(capsys):
    assert fit(["--print_schema"]) is None
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"].keys() == {*SECTIONS, "seed_everything"}
    assert schema["properties"]["data"]["properties"]["path"]["description"].startswith("The table: FITS")
    choices = [one.get("$ref", "") for one in schema["$defs"]["any-Model"]["anyOf"]]
    assert "#/$defs/stream_mapper.recipes.Stream" in choices
