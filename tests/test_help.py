"""The help of a fit is a page, with its sections on request; every command can be told to say less or more."""

import logging

import pytest

from stream_mapper.commands import run
from stream_mapper.errors import InputError
from stream_mapper.fit import main as fit
from stream_mapper.progress import is_quiet
from stream_mapper.training.help import SECTIONS, USUAL
from stream_mapper.training.trainer import only_warnings


@pytest.fixture(autouse=True)
def _level():
    """The level of our messages is put back."""
    ours = logging.getLogger("stream_mapper")
    before = ours.level
    yield
    ours.setLevel(before)


def help_of(arguments, capsys):
    with pytest.raises(SystemExit, match="0"):
        fit(arguments)
    return capsys.readouterr().out


def test_the_help_is_a_page(capsys):
    text = help_of(["--help"], capsys)
    assert len(text.splitlines()) < 40
    assert max(map(len, text.splitlines())) <= 120
    assert all(f"  {name} " in text for name in SECTIONS)


def test_the_page_names_what_is_there(capsys):
    every = help_of(["--help", "all"], capsys)
    handled = {"--print_schema", "--quiet", "--verbose"}  # before the parser is asked
    for option in USUAL:
        name = option.split(", ")[-1].split()[0]
        assert name in handled or f"{name} " in every or f"{name}\n" in every, name


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_has_its_own_options_only(section, capsys):
    text = help_of(["-h", section], capsys)
    options = [line.split()[0] for line in text.splitlines() if line.startswith("  --")]
    assert len(options) > 3
    assert all(option.removeprefix("--").split(".")[0] == section for option in options)


def test_a_section_that_is_not_there_suggests_one(capsys):
    with pytest.raises(SystemExit, match="2"):
        fit(["--help", "dta"])
    assert "no section dta; did you mean data?" in capsys.readouterr().err


def test_the_arguments_of_a_class_are_listed(capsys):
    text = help_of(["--model.model.help", "stream_mapper.MixtureModel"], capsys)
    assert "--model.model.components" in text


@pytest.mark.parametrize(("option", "level"), {"-q": 30, "--quiet": 30, "-v": 10, "--verbose": 10, "--x": 20}.items())
def test_how_much_is_told(option, level):
    seen = run(lambda given: (given, logging.getLogger("stream_mapper").level, is_quiet()), ["a", option])
    assert seen == (["a", "--x"] if option == "--x" else ["a"], level, level == 30)


def test_verbose_lets_lightning_speak_and_says_where_an_error_comes_from(capsys):
    def failing(_):
        with only_warnings():
            assert logging.getLogger("lightning.pytorch").level != logging.WARNING
        raise InputError("no such star")

    with pytest.raises(SystemExit, match="2"):
        run(failing, ["-v"])
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.endswith("error: no such star\n")
    with pytest.raises(SystemExit, match="2"):
        run(refuse, [])
    assert capsys.readouterr().err == "error: no such star\n"


def refuse(_):
    raise InputError("no such star")
