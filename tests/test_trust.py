"""Checkpoints and configurations name what they are made of; a hostile one is refused before anything is imported."""

import copy
import sys
from pathlib import Path

import pytest
import torch
import yaml
from small_models import mixture

import stream_mapper as sml
from stream_mapper import trust
from stream_mapper.catalog import SkyFrame, escaped
from stream_mapper.commands import parse, take_allowed
from stream_mapper.data import Data
from stream_mapper.description import build
from stream_mapper.errors import InputError
from stream_mapper.inference.ensemble import Ensemble
from stream_mapper.models.base import Model
from stream_mapper.prior import Prior
from stream_mapper.results.checkpoint import HEADER, header_of, write_checkpoint

MODULE = "never_to_be_imported"  # its import writes a file
TO_BE = ("imported_by_a_checkpoint", "imported_by_a_configuration")  # modules that are, each by one test


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module whose import leaves a trace, on the path of Python; the trace."""
    trace = tmp_path / "trace"
    for name in (MODULE, *TO_BE):
        (tmp_path / f"{name}.py").write_text(
            f"from pathlib import Path\nPath({str(trace)!r}).touch()\n"
            "from stream_mapper.builtin import Uniform\nclass Mine(Uniform):\n    pass\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(trust, "_REGISTERED", set())
    return trace


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small checkpoint, as plain data."""
    model = mixture("stream", net=sml.nn.Constant(1))
    path = tmp_path_factory.mktemp("written") / "best.ckpt"
    ensemble = Ensemble(model, 1)
    write_checkpoint(path, model, ensemble, header_of(model, ensemble))
    return path


def edited(path, edit):
    """The checkpoint with an edit, as a file of its own."""
    entries = torch.load(path, weights_only=True)
    edit(entries)
    torch.save(entries, path.with_name("edited.ckpt"))
    return path.with_name("edited.ckpt")


def with_net(class_path, *args, **init_args):
    """An edit: the network of the weights is something else."""
    described = {"class_path": class_path, "args": list(args), "init_args": init_args}
    return lambda entries: entries[HEADER]["model"]["init_args"].update(net=described)


def with_hook(path):
    """An edit: a function of the parameters."""
    hooks = [{"function": path}]
    return lambda entries: entries[HEADER]["model"]["init_args"].update(unpack_params_hooks=hooks)


def with_prior(path):
    """An edit: a prior that is a function."""
    init = {"function": {"function": path}, "phi1": [0.0]}
    prior = {"class_path": "stream_mapper.prior.FunctionPrior", "init_args": init}
    return lambda entries: entries[HEADER]["model"]["init_args"].update(priors=[prior])


def with_frame(path):
    """An edit: the frame of the stream."""
    frame = {"class_path": "stream_mapper.catalog.SkyFrame", "init_args": {"frame": path}}
    reading = {"class_path": "stream_mapper.catalog.Reading", "init_args": {"columns": ["phi1"], "frame": frame}}
    intake = {"class_path": "stream_mapper.results.annotation.Intake", "init_args": {"reading": reading}}
    return lambda entries: entries[HEADER].update(intake=intake)


HOSTILE = {
    "a function that makes modules of code": with_net(
        "torch.fx.graph_module.reduce_graph_module", body={"_code": "pass"}, import_block="import os"
    ),
    "a module of one's own": with_net(f"{MODULE}.Mine"),
    "what torch.nn imports": with_net("torch.nn.modules.module.functools.partial", {"function": "os.system"}),
    "what we import": with_net("stream_mapper.data.torch.nn.Linear", 1, 1),
    "a module we import": with_net("stream_mapper.nn.math"),
    "a class of ours that is no part of a model": with_net("stream_mapper.training.cli.StreamCLI", args=[]),
    "a function of ours": with_net("stream_mapper.catalog.write_table"),
    "a hook": with_hook("os.system"),
    "a hook that we import": with_hook("stream_mapper.nn.math.exp"),
    "a hook in a module of one's own": with_hook(f"{MODULE}.Mine"),
    "a prior": with_prior("os.system"),
    "a prior in a module of one's own": with_prior(f"{MODULE}.Mine"),
    "a frame": with_frame(f"{MODULE}.Mine"),
    "a path that is no text": with_net(["os", "system"]),
    "a path of nothing": with_net(""),
}


@pytest.mark.parametrize("edit", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_checkpoint_is_refused_before_an_import(edit, written, trap):
    with pytest.raises(InputError) as refused:
        sml.load(edited(written, edit))
    assert "\n" not in str(refused.value)
    assert not trap.exists()
    assert MODULE not in sys.modules


def test_the_checkpoint_that_was_edited_is_sound(written, trap):
    """Else the refusals above would say nothing."""
    assert list(sml.load(edited(written, lambda entries: None)).model.components) == ["stream", "background"]
    assert not trap.exists()


def test_what_the_user_allows_may_be_named(trap):
    module = TO_BE[0]
    described = {"class_path": f"{module}.Mine", "init_args": {"coord_names": ["g"], "coord_bounds": {"g": [0, 1]}}}
    with pytest.raises(InputError, match=f"--allow {module}"):
        build(described)
    assert not trap.exists()
    sml.allow(module)
    assert isinstance(build(described), sml.builtin.Uniform)
    with pytest.raises(InputError, match="is not of stream_mapper's models"):
        build({"class_path": f"{module}.Path", "init_args": {}})  # which that module has imported
    with pytest.raises(InputError, match="no dotted name"):
        sml.allow("a package")


def test_nobody_is_told_to_allow_the_standard_library():
    for path in ("os.system", "subprocess.Popen", "torch.load", "stream_mapper.data.torch.load"):
        with pytest.raises(InputError, match="No model is made of that") as refused:
            build({"class_path": path})
        assert "--allow" not in str(refused.value)


def drop(*keys):
    def edit(entries):
        for key in keys[:-1]:
            entries = entries[key]
        del entries[keys[-1]]

    return edit


def put(**header):
    return lambda entries: entries[HEADER].update(copy.deepcopy(header))


def states(change):
    return lambda entries: entries["state_dict"].update({k: change(v) for k, v in entries["state_dict"].items()})


def reads(**arguments):
    reading = {"class_path": "stream_mapper.catalog.Reading", "init_args": {"columns": ["phi1"], **arguments}}
    return put(intake={"class_path": "stream_mapper.results.annotation.Intake", "init_args": {"reading": reading}})


UNUSABLE = {
    "another model": (
        put(
            model={"class_path": "stream_mapper.builtin.Uniform", "init_args": {"coord_names": [], "coord_bounds": {}}}
        ),
        "holds a Uniform; memberships need a MixtureModel|cannot be built",
    ),
    "an argument of a newer version": (
        lambda entries: entries[HEADER]["model"]["init_args"].update(newer=1),
        "cannot be built .*unexpected keyword argument 'newer'.*written by",
    ),
    "a class that is gone": (
        put(model={"class_path": "stream_mapper.models.Gone", "init_args": {}}),
        "stream_mapper.models.Gone cannot be imported; is its package installed, and of the version",
    ),
    "a weight more": (lambda entries: entries["state_dict"].update({"model.more": torch.zeros(1)}), "Unexpected key"),
    "a weight less": (lambda entries: entries["state_dict"].popitem(), "Missing key"),
    "shapes": (states(lambda v: v.flatten()[:1].repeat(7)), "do not fit the model"),
    "complex numbers": (states(lambda v: v.to(torch.complex64)), "do not fit the model.*complex64"),
    "integers": (states(lambda v: v.long()), "do not fit the model.*int64"),
    "NaN": (states(lambda v: v * float("nan")), "have NaN.*had diverged"),
    "numbers beyond a square": (states(lambda v: v + 1e29), "are those of no fit.* has 1e.29"),
    "state of text": (lambda entries: entries["state_dict"].update(a="b"), "entries are of other types"),
    "no state": (drop("state_dict"), r"has no \['state_dict'\]"),
    "no header": (drop(HEADER), "is not a checkpoint of stream_mapper"),
    "a header of another type": (lambda entries: entries.update({HEADER: [1]}), "entries are of other types"),
    "a newer format": (
        put(format=1000),
        "has the format 1000, and 2 is read here; predict with the version that wrote",
    ),
    "no format": (drop(HEADER, "format"), "has the format None"),
    "no model": (drop(HEADER, "model"), "holds no description of its model"),
    "no size": (drop(HEADER, "ensemble_size"), "ensemble_size is None"),
    "a size that fills the memory": (put(ensemble_size=10**12), "ensemble_size is 1000000000000"),
    "copies of text": (put(copies="all"), "copies is 'all'"),
    "an intake of another class": (put(intake={"class_path": "stream_mapper.prior.HardThreshold"}), "cannot be built"),
    "an intake that is a number": (put(intake=3), "a int where a Intake is needed"),
    "columns that are a number": (reads(columns=3), "Reading: columns cannot be 3"),
    "a column that is a number": (reads(columns=["phi1", 0.5]), r"Reading: columns cannot be \['phi1', 0.5\]"),
    "corrections that are a number": (reads(corrections=1), "Reading: corrections cannot be 1"),
    "a reading that is a number": (
        put(intake={"class_path": "stream_mapper.results.annotation.Intake", "init_args": {"reading": 0.5}}),
        "Intake: reading cannot be 0.5",
    ),
    "hooks that are lists": (
        lambda entries: entries[HEADER]["model"]["init_args"].update(unpack_params_hooks=[[1]]),
        r"unpack_params_hooks cannot be \[\[1\]\]",
    ),
    "options that are a number": (put(options=3), "a int where a ResultOptions is needed"),
    "facts": (put(facts=[1]), "a list where a dict is needed"),
    "checks": (put(checks=[1]), "a int where a dict is needed"),
    "profile": (put(profile="flat"), "a str where a Tensor is needed"),
    "nested without end": (
        put(model={"class_path": "stream_mapper.MixtureModel", "init_args": [[]] * 3}),
        "cannot be built",
    ),
}


@pytest.mark.parametrize(("edit", "says"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_checkpoint_that_cannot_be_used_is_one_line(edit, says, written):
    with pytest.raises(InputError, match=says) as refused:
        sml.load(edited(written, edit))
    assert "\n" not in str(refused.value)


def wants(model: Model | None = None, prior: Prior | None = None) -> None:
    """A command with a model and a prior."""


def configured(tmp_path, text, *args):
    path = tmp_path / "c.yaml"
    path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    return parse(wants, ["--config", str(path), *args])


MINE = {"class_path": f"{MODULE}.Mine", "init_args": {"coord_names": ["g"], "coord_bounds": {"g": [0, 1]}}}
PRIOR = {"class_path": "stream_mapper.prior.FunctionPrior", "init_args": {"phi1": [0.0]}}
HOSTILE_CONFIGURATIONS = {
    "a function that makes modules of code": {"model": {"class_path": "torch.fx.graph_module.reduce_graph_module"}},
    "a module of one's own": {"model": MINE},
    "a module of one's own, inside": {
        "model": {"class_path": "stream_mapper.IndependentModels", "init_args": {"components": {"a": MINE}}}
    },
    "a function": {"prior": {**PRIOR, "init_args": {"phi1": [0.0], "function": "os.system"}}},
    "a function of a module of one's own": {
        "prior": {**PRIOR, "init_args": {"phi1": [0.0], "function": f"{MODULE}.Path"}}
    },
    "a function that we import": {
        "prior": {**PRIOR, "init_args": {"phi1": [0.0], "function": "stream_mapper.nn.math.exp"}}
    },
    "a file that permits itself": {"allow": [MODULE], "model": MINE},
    "a class of a number": {"model": {"class_path": 3}},
}


@pytest.mark.parametrize("values", HOSTILE_CONFIGURATIONS.values(), ids=HOSTILE_CONFIGURATIONS)
def test_a_hostile_configuration_is_refused_before_an_import(values, tmp_path, trap, capsys):
    with pytest.raises((InputError, SystemExit)) as refused:
        configured(tmp_path, values)
    said = capsys.readouterr().err.strip() or str(refused.value)
    assert "\n" not in said
    assert "Traceback" not in said
    assert not trap.exists()
    assert MODULE not in sys.modules


def test_a_configuration_names_what_the_command_line_allows(tmp_path, trap):
    mine = {**MINE, "class_path": f"{TO_BE[1]}.Mine"}
    made = configured(tmp_path, {"model": mine}, "--allow", TO_BE[1])
    assert isinstance(made["model"], sml.builtin.Uniform)
    assert trap.exists()
    assert set(made) == {"model", "prior"}


def test_allowed_names_are_taken_from_the_command_line(trap):
    given = ["--allow", "a.b", "--x", "1", "--allow=c", "--allow", "[d, 'e']", "--config=f=g"]
    assert take_allowed(given) == ["--x", "1", "--config=f=g"]
    assert trust.allowed() == ("a.b", "c", "d", "e")
    with pytest.raises(InputError, match="no name follows"):
        take_allowed(["--allow"])
    with pytest.raises(InputError, match="no dotted name"):
        take_allowed(["--allow", "rm -r"])


def test_a_frame_is_of_astropy_or_gala():
    assert SkyFrame("astropy.coordinates.ICRS").metadata()["name"] == "astropy.coordinates.ICRS"
    for path in ("os.path", f"{MODULE}.Mine", "astropy.table.Table"):
        with pytest.raises(InputError, match=r"is not of astropy\.coordinates or gala.coordinates"):
            SkyFrame(path).metadata()
    with pytest.raises(InputError, match="a frame class of astropy coordinates is needed"):
        SkyFrame("astropy.coordinates.SkyCoord").metadata()


LATEX = {
    "\\input{/etc/passwd}": "\\textbackslash{}input\\{/etc/passwd\\}",
    "\\write18{x}": "\\textbackslash{}write18\\{x\\}",
    "a & b % c": "a \\& b \\% c",
    "^^5cinput": "\\textasciicircum{}\\textasciicircum{}5cinput",
    "~$x$": "\\textasciitilde{}\\$x\\$",
    "two\nlines\r\x00": "two lines",
    "#1_2": "\\#1\\_2",
    "plain 12.5": "plain 12.5",
}


@pytest.mark.parametrize(("words", "cell"), LATEX.items())
def test_text_has_no_commands_in_latex(words, cell):
    assert escaped(words) == cell
    assert set(escaped(words).replace("\\", "")) <= set(cell)


def test_a_checkpoint_of_this_format_is_read_by_every_later_version():
    """The file was written when the format was new; a change of classes that it names has to keep reading it."""
    model = sml.load(Path(__file__).parent / "checkpoints" / "format_2.ckpt").model
    stars = Data({"phi1": torch.tensor([-10.0, 0.0, 10.0]), "phi2": torch.tensor([0.5, -0.2, 2.0])})
    members = model.membership(model(stars), stars)[:, 0]
    assert members.tolist() == pytest.approx([0.9268, 0.9713, 0.8958], abs=1e-4)
