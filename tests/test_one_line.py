"""What a user can get wrong is one line and exit status 2, before the training; a fit that diverges says with what."""

import inspect
import math
import re

import pytest
import torch
import yaml
from small_models import WINDOW, mixture, normal

import stream_mapper as sml
from stream_mapper.commands import parse, run
from stream_mapper.configuration import load
from stream_mapper.data import Data
from stream_mapper.errors import DivergedError, InputError, check_finite
from stream_mapper.messages import input_error
from stream_mapper.mock import TailoredMock
from stream_mapper.mock.base import simulated
from stream_mapper.models.known import Batch
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameters
from stream_mapper.params.bounds import ClippedBounds, SigmoidBounds
from stream_mapper.predict import predict
from stream_mapper.prior import ControlRegions, FunctionPrior, HardThreshold, NormalPrior
from stream_mapper.query import query
from stream_mapper.simulate import simulate
from stream_mapper.training import StreamModule
from stream_mapper.training.diverged import explain
from stream_mapper.utils import StandardScaler

pytestmark = pytest.mark.usefixtures("messages_as_they_were")

NAN, INF = math.nan, math.inf

REFUSED = {
    "bounds of NaN": lambda: SigmoidBounds(NAN, 1),
    "bounds without an end": lambda: SigmoidBounds(-INF, 1),
    "bounds beyond single precision": lambda: SigmoidBounds(0, 1e300),
    "bounds in reverse": lambda: SigmoidBounds(1, 0),
    "bounds of text": lambda: SigmoidBounds("a", 1),
    "bounds of a yes": lambda: SigmoidBounds(False, True),
    "clipped bounds of NaN": lambda: ClippedBounds(NAN, 1),
    "a parameter of one number": lambda: ModelParameters({"phi2.mu": (1.0,)}),
    "a parameter without bounds": lambda: ModelParameters({"phi2.mu": None}),
    "guides of NaN": lambda: ControlRegions("phi2.mu", [0.0], [NAN], 1.0),
    "guides at NaN": lambda: ControlRegions("phi2.mu", [NAN], [0.0], 1.0),
    "guides of infinite width": lambda: ControlRegions("phi2.mu", [0.0], [0.0], INF),
    "guides of a width of NaN": lambda: ControlRegions("phi2.mu", [0.0, 1.0], [0.0, 0.0], [1.0, NAN]),
    "guides without width": lambda: ControlRegions("phi2.mu", [0.0], [0.0], 0.0),
    "guides of strength NaN": lambda: ControlRegions("phi2.mu", [0.0], [0.0], 1.0, lamda=NAN),
    "a prior of NaN": lambda: NormalPrior("feh", NAN, 1.0),
    "a prior of sigma NaN": lambda: NormalPrior("feh", 0.0, NAN),
    "a threshold of NaN": lambda: HardThreshold("a.ln-weight", NAN, 1.0),
    "a function at NaN": lambda: FunctionPrior(torch.sum, [NAN]),
    "a scaler of NaN": lambda: StandardScaler(("phi1",), mean=[NAN], scale=[1.0]),
    "a scaler of scale NaN": lambda: StandardScaler(("phi1",), mean=[0.0], scale=[NAN]),
    "a window of NaN": lambda: sml.builtin.Uniform(coord_names=["g"], coord_bounds={"g": (NAN, 1)}),
    "a window in reverse": lambda: sml.builtin.Uniform(coord_names=["g"], coord_bounds={"g": (1, 0)}),
    "ends of NaN": lambda: sml.Ends(begin=(NAN, 1.0)),
    "a network without outputs": lambda: sml.nn.sequential(1, 4, 2, 0),
    "a network of gain NaN": lambda: sml.nn.sequential(1, 4, 2, 1, gain=NAN),
    "a network of dropout 1": lambda: sml.nn.sequential(1, 4, 2, 1, dropout=1.0),
    "a network of no width": lambda: sml.nn.sequential(1, 0, 2, 1),
    "a learning rate of NaN": lambda: StreamModule(mixture("stream"), learning_rate=NAN),
    "a learning rate without an end": lambda: StreamModule(mixture("stream"), learning_rate=INF),
    "a learning rate of zero": lambda: StreamModule(mixture("stream"), learning_rate=0.0),
    "a decay of NaN": lambda: StreamModule(mixture("stream"), weight_decay=NAN),
    "a warm-up of NaN": lambda: StreamModule(mixture("stream"), warm_up=NAN),
    "a large seed": lambda: simulated(TailoredMock(seed=10**30)),
    "an error of NaN": lambda: simulated(TailoredMock(error=NAN)),
    "an error of None": lambda: simulated(TailoredMock(error=None)),
    "a negative number of stars": lambda: simulated(TailoredMock(n_stream=-5)),
    "gaps of NaN": lambda: simulated(TailoredMock(gaps=[(NAN, 1.0, 0.5)])),
    "gaps of two numbers": lambda: simulated(TailoredMock(gaps=[(1.0, 1.0)])),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_a_number_that_cannot_be_used_is_refused_when_it_is_given(make):
    with pytest.raises(InputError) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_numbers_that_can_be_used_are_not():
    check_finite("x", [0.0, -1e30, 1])
    assert ClippedBounds(0, INF).upper == INF
    assert len(simulated(TailoredMock(n_stream=5, n_background=5))["phi1"]) == 10


# Errors inside a configuration ----------------------------------------------------------------------------------------


def wants(params: ModelParameters | None = None, bounds: SigmoidBounds | None = None) -> None:
    """A command with parameters."""


def parsed(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    return run(lambda args: parse(wants, args), ["--config", str(tmp_path / "c.yaml")])


PARAMS = "params: {{class_path: stream_mapper.params.ModelParameters, init_args: {{params: {{a.mu: {}}}}}}}\n"
TEXTS = {
    "bounds in reverse": (PARAMS.format([1, 0]), "SigmoidBounds needs lower < upper; got 1.0 and 0.0"),
    "bounds of NaN": (PARAMS.format("[.nan, 1]"), "SigmoidBounds needs lower < upper; got nan"),
    "bounds without an end": (PARAMS.format("[-.inf, 1]"), "bounds of SigmoidBounds must be finite"),
    "a key twice": ("bounds: {}\nparams: null\nbounds: {}\n", "'bounds' is there twice, in the lines 1 and 3"),
    "a key twice inside": (PARAMS.format("[0, 1], a.mu: [0, 2]"), "'a.mu' is there twice, in the lines 1 and 1"),
    "base 60": (PARAMS.format("[13:20:00, 1]"), "line 1: 13:20:00 is of base 60 in YAML, 48000"),
    "base 60 with a point": (PARAMS.format("[00:42:44.3, 1]"), "line 1: 00:42:44.3 is of base 60 in YAML, 2564.3"),
    "base 8": (PARAMS.format("[0200, 1]"), "line 1: 0200 is of base 8"),
    "no YAML": ("params: [1, 2", "rror"),
    "no mapping": ("- 1\n- 2\n", "onfig"),
    "a misspelt key": ("parms: 1\n", "parms"),
    "nested without end": ("params: " + "[" * 3000 + "]" * 3000, "nested"),
    "a bomb": (
        "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)),
        "entries|nested",
    ),
    "a mapping that holds itself": ("params: &a [*a]\n", "nested"),
}


@pytest.mark.parametrize(("text", "says"), TEXTS.values(), ids=TEXTS)
def test_a_wrong_configuration_is_one_line(text, says, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        parsed(tmp_path, text)
    lines = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 2
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert re.search(says, lines[0])


ENCODED = {
    "Latin-1": ("# L\u00e9o\n".encode("latin-1"), "is in another encoding, not in UTF-8 (line 1)"),
    "UTF-16": ("bounds: null\n".encode("utf-16"), "is in UTF-16, not in UTF-8"),
    "a table": (b"SIMPLE  =                    T\xff", "is a table or an archive, and no configuration, which is YAML"),
    "a later line": (b"bounds: null\n# \xe9\n", "(line 2)"),
}


@pytest.mark.parametrize(("raw", "says"), ENCODED.values(), ids=ENCODED)
def test_a_configuration_in_another_encoding_is_one_line(raw, says, tmp_path, capsys):
    (tmp_path / "c.yaml").write_bytes(raw)
    with pytest.raises(SystemExit):
        run(lambda args: parse(wants, args), ["--config", str(tmp_path / "c.yaml")])
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_configuration_in_utf_8_is_read(mark, tmp_path):
    (tmp_path / "c.yaml").write_text(mark + "# L\u00e9o\n" + PARAMS.format([0, 1]), encoding="utf-8")
    assert parse(wants, ["--config", str(tmp_path / "c.yaml")])["params"].names == ("a.mu",)


VALUES = {
    "{a: 1e3, b: 1.5, c: 12, d: 0.5, e: 0, f: -7, g: .inf}": {
        **{"a": 1000.0, "b": 1.5, "c": 12, "d": 0.5},
        **{"e": 0, "f": -7, "g": INF},
    },
    "{a: '13:20:00', b: 2016-01-01, c: '0200', d: null, e: true}": {
        **{"a": "13:20:00", "b": "2016-01-01", "c": "0200"},
        **{"d": None, "e": True},
    },
    "{base: &x {a: 1, b: 2}, more: {<<: *x, b: 3}}": {"base": {"a": 1, "b": 2}, "more": {"a": 1, "b": 3}},
    "[1_000, 0x10, -0.5e-3, .5]": [1000, 16, -0.0005, 0.5],
    "text": "text",
    "[0:30:00, 00:12:00:00]": ["0:30:00", "00:12:00:00"],  # times, which YAML reads as text
    "{a, b}": "{a, b}",
}


@pytest.mark.parametrize(("text", "value"), VALUES.items())
def test_values_mean_what_they_look_like(text, value):
    assert load(text) == value
    if isinstance(value, dict) and "base" not in value:
        assert yaml.safe_load(text).keys() == value.keys()


def test_an_input_error_is_found_behind_what_wraps_it():
    inner, outer = InputError("the bounds"), ValueError("a library wraps it")
    outer.__cause__ = RuntimeError("and another")
    outer.__cause__.__context__ = inner
    assert input_error(outer) is inner
    outer.__cause__.__suppress_context__ = True
    assert input_error(outer) is None
    assert input_error(KeyError("a defect of the program")) is None


def test_a_defect_of_the_program_keeps_its_traceback():
    def broken(_):
        raise ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError):
        run(broken, [])


# Divergence -----------------------------------------------------------------------------------------------------------


class Breaks(sml.builtin.Normal):
    """A normal law whose density, or gradient, is not finite for the stars at phi2 above two."""

    how = "density"

    def ln_likelihood(self, params, data):
        ln_p = super().ln_likelihood(params, data)
        far = data["phi2"] > 2
        if self.how == "density":
            return torch.where(far, ln_p * NAN, ln_p)
        root = torch.where(far, params["phi2.mu"] * 0, 1.0).sqrt()  # its slope at zero is infinite
        return ln_p + root * params["phi2.mu"]


@pytest.mark.parametrize("how", ["density", "gradient"])
def test_a_fit_that_diverges_says_which_star_and_parameters_began_it(how):
    model = normal(Breaks, net=Constant(2), data_scaler=None)
    model.how = how
    phi2 = torch.tensor([0.0, 0.1, -0.3, 0.2, 2.5, 0.1, 2.75])
    stars = Data({"phi1": torch.arange(7.0), "phi2": phi2})
    said = explain(model, Batch(stars))
    assert "phi1 = 4, phi2 = 2.5, where phi2.mu = " in said
    assert ("2 of 7 stars have a log density of nan" in said) == (how == "density")
    assert ("the gradient begins with a star" in said) == (how == "gradient")
    assert (explain(model, Batch(stars[:4])) == "every star alone has a finite gradient") == (how == "gradient")


def test_what_else_a_fit_may_begin_to_diverge_with():
    guide = ControlRegions("phi2.mu", [0.0], [0.0], 0.5)
    model = normal(net=Constant(2), data_scaler=None, priors=[guide], coord_bounds=WINDOW)
    batch = Batch(Data({"phi1": torch.zeros(2), "phi2": torch.zeros(2)}))
    with torch.no_grad():
        next(model.parameters()).fill_(NAN)
    assert "log prior is not finite" in explain(model, batch)
    model.priors = torch.nn.ModuleList()
    assert "are not finite" in explain(model, batch)


def test_divergence_is_an_error_of_the_input_and_of_numbers():
    assert issubclass(DivergedError, InputError)
    assert issubclass(DivergedError, FloatingPointError)


GIVEN = {
    predict: {"checkpoint": "a.ckpt", "catalogue": "b.fits", "output": "c.fits"},
    query: {"frame": "gala.coordinates.GD1Koposov10", "phi1": [-1, 1], "phi2": [-1, 1], "output": "c.parquet"},
    simulate: {"simulator": {"class_path": "stream_mapper.mock.TailoredMock"}, "output": "c.fits"},
}
NULLABLE = [
    (function, name)
    for function in (predict, query, simulate)
    for name, parameter in inspect.signature(function).parameters.items()
    if parameter.default not in (None, inspect.Parameter.empty) and name not in ("allow", "patience")
]


@pytest.mark.parametrize(("function", "name"), NULLABLE)
def test_null_is_no_number(function, name, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(GIVEN[function] | {name: None}))
    with pytest.raises(SystemExit) as stop:
        parse(function, ["--config", str(tmp_path / "c.yaml")])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {name}: null is no value for it; leave it out for ")
