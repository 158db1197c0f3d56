"""Errors of the parser are one line: where, what was found, what was meant."""

from pathlib import Path

import pytest

from stream_mapper.__main__ import main as console
from stream_mapper.commands import run
from stream_mapper.errors import InputError
from stream_mapper.fit import main as fit
from stream_mapper.messages import explained, input_error, like

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
RECIPE = (EXPERIMENTS / "mock" / "recipe.yaml").read_text()
CONFIG = (EXPERIMENTS / "mock" / "config.yaml").read_text()
FRAME = "data:\n  frame: {class_path: stream_mapper.catalog.SkyFrame, init_args: {WHAT}}\n"

SPOILT = {
    "argument of a part": (
        CONFIG,
        "mass_function:",
        "mass_functon:",
        "IsochroneMVNorm): no argument mass_functon; did you mean mass_function?",
    ),
    "argument inside a union": (
        CONFIG,
        "hidden_features: 32",
        "hiden_features: 32",
        "(stream_mapper.nn.sequential): no argument hiden_features; did you mean hidden_features?",
    ),
    "type inside a union": (CONFIG, "features: 4, gain: 3", "features: four", "net.net.features"),
    "class": (
        CONFIG,
        "builtin.TruncatedNormal",
        "builtin.TruncatedNorma",
        "there is no TruncatedNorma in stream_mapper.builtin; did you mean TruncatedNormal?",
    ),
    "window": (CONFIG, "{phi2: [-2, 10], parallax", "{phi2: [-2, x], parallax", "expected float; got x"),
    "argument of a recipe": (
        RECIPE,
        "coordinates:",
        "coordinate:",
        "model.model (stream_mapper.recipes.Stream): no argument coordinate; did you mean coordinates?",
    ),
    "value of several types": (
        RECIPE,
        "widths: {parallax: 0.02}",
        "widths: {parallax: wide}",
        "model.model.widths (stream_mapper.recipes.Stream): expected float or list; got wide",
    ),
    "key": (RECIPE, "batch_size", "batchsize", "no option data.batchsize; did you mean data.batch_size?"),
    "section": (RECIPE, "data:", "dta:", "; did you mean data?"),
    "bounds": (CONFIG, "mu: [-2, 10]", "mu: [10, -2]", "error: SigmoidBounds needs lower < upper; got 10.0 and -2.0."),
    "frame": (
        RECIPE,
        "data:\n",
        FRAME.replace("WHAT", "pm_corr: 3"),
        "error: pm_corr = 3.0; a correlation is in -1..1.",
    ),
    "key of a frame": (RECIPE, "data:\n", FRAME.replace("WHAT", "frame: {trac: x}"), "error: frame: ['trac'] of"),
}


def line_of(command, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        command(arguments)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    return line


@pytest.mark.parametrize(("text", "old", "new", "said"), SPOILT.values(), ids=SPOILT)
def test_a_fault_of_the_configuration_is_its_innermost_cause(text, old, new, said, tmp_path, capsys):
    assert old in text
    (tmp_path / "config.yaml").write_text(text.replace(old, new))
    line = line_of(fit, ["--config", str(tmp_path / "config.yaml")], capsys)
    assert said in line
    assert len(line) < 220
    assert "NoneType" not in line


ARGUMENTS = {
    "--seed_everthing=1": "no option --seed_everthing; did you mean --seed_everything?",
    "--trainer.max_epoch=1": "no option --trainer.max_epoch; did you mean --trainer.max_epochs?",
    "--data.simulator.init_args.sed=1": (
        "data.simulator (stream_mapper.mock.TailoredMock): no argument sed; did you mean seed?"
    ),
    "--trainer.max_epochs=many": "trainer.max_epochs: expected int; got many",
}


@pytest.mark.parametrize(("argument", "said"), ARGUMENTS.items())
def test_a_fault_of_the_command_line_is_its_innermost_cause(argument, said, capsys):
    line = line_of(fit, ["--config", str(EXPERIMENTS / "mock" / "recipe.yaml"), argument], capsys)
    assert line == f"error: {said}"


def test_a_misspelt_command_suggests_the_nearest(capsys):
    assert "no command 'simulat'; did you mean simulate?" in line_of(console, ["simulat"], capsys)
    assert "did you mean" not in line_of(console, ["xyz"], capsys)


def test_earlier_words_of_the_parser_are_understood():
    assert explained("Key 'daata.path' is not expected", ["data.path"]) == "no option daata.path; did you mean data?"
    said = "Group 'data' does not accept nested key 'paht'"
    assert explained(said, ["data.path", "data.seed"]) == "no option data.paht; did you mean data.path?"


def test_what_is_not_understood_stays():
    assert explained("Something\n  odd") == "Something odd"
    assert like("zzz", ["fit"]) == ""


def test_an_error_of_the_program_is_not_made_one_of_the_input():
    def broken(_):
        raise ValueError("a bug")

    assert input_error(ValueError("a bug")) is None
    with pytest.raises(ValueError, match="a bug"):
        run(broken, [])


def test_an_error_of_the_input_is_found_where_the_parser_wrapped_it():
    outer = ValueError("Does not validate")
    outer.__cause__ = InputError("no such star")
    assert str(input_error(outer)) == "no such star"
