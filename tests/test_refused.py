"""What is refused, and how: one line for each message."""

import math
import re

import pytest
import torch
from small_models import MEAN_AND_WIDTH, NAN, ONLY_WIDTH, line, mixture, normal, numbers, phi2_at, table, uniform

import stream_mapper as sml
from stream_mapper import Data, InputError
from stream_mapper.builtin.compat import FlowModel, ZukoFlowModel, flow
from stream_mapper.nn import Constant, on_grid, sequential
from stream_mapper.params import ModelParameters
from stream_mapper.params.bounds import ClippedBounds, SigmoidBounds
from stream_mapper.params.scaler import StandardLnWidth, StandardWidth
from stream_mapper.prior import ControlRegions, HardThreshold
from stream_mapper.training.start import dry_run
from stream_mapper.utils import StandardScaler

CURVE = sml.builtin.Isochrone([0.5, 0.8], [[7.0, 6.5], [3.0, 2.6]], ("g", "r"))


def four_missing():
    columns = {name: torch.tensor([NAN]) for name in "abcd"} | {"phi1": torch.zeros(1), "e": torch.zeros(1)}
    return ZukoFlowModel(net=flow(5), coord_names=tuple("abcde")).ln_likelihood({}, Data(columns))


REFUSED = {
    "the columns of Data need one common length (N, ...); found {'a': 2, 'b': 3}": lambda: Data(
        {"a": torch.zeros(2), "b": torch.zeros(3)}
    ),
    "one common length (N, ...); found {}": lambda: Data({}),
    "one common length (N, ...); found {'a': None}": lambda: Data({"a": torch.tensor(1.0)}),
    "new columns have 2 rows; the data has 4": lambda: table().with_columns({"a": torch.zeros(2)}),
    "StandardScaler of ('a', 'b') needs 2 means and 2 scales": lambda: StandardScaler(("a", "b"), [1.0], [1.0]),
    "StandardScaler of ('a',) needs 1 means and 1 scales, or neither": lambda: StandardScaler(("a",), mean=[1.0]),
    "scales must be positive; got [0.0]": lambda: StandardScaler(("a",), [1.0], [0.0]),
    "column 'g' has no measured value": lambda: StandardScaler.fit(Data({"g": torch.tensor([NAN])})),
    "the scaler has no column ['z']; it has ['phi1']": lambda: numbers()[("phi1", "z")],
    "SigmoidBounds needs lower < upper; got 2 and 1": lambda: SigmoidBounds(2, 1),
    "ClippedBounds needs lower < upper; got 1 and 1": lambda: ClippedBounds(1, 1),
    "StandardWidth needs scale > 0; got 0": lambda: StandardWidth(0),
    "StandardLnWidth needs a finite ln_scale; got -inf": lambda: StandardLnWidth(-math.inf),
    "the network gives 3 outputs for the parameters ['phi2.mu', 'phi2.ln-sigma']": lambda: MEAN_AND_WIDTH(
        torch.zeros(1, 3)
    ),
    "parameter 'phi2.mu' must be a ModelParameter or (lower, upper); got 3": lambda: ModelParameters(
        {"phi2": {"mu": 3}}
    ),
    "dropout must be in [0, 1); got 1.0": lambda: sequential(1, 8, 2, 1, dropout=1.0),
    "the number of layers of a network must be 1 or more; got 0": lambda: sequential(1, 8, 0, 1),
    "the gain of a network must be positive; got 0": lambda: sequential(1, 8, 2, 1, gain=0),
    "a grid needs at least 2 nodes; got 1": lambda: on_grid(sequential(1, 8, 2, 1), size=1),
    "ControlRegions of mu: phi1, center and width have 2, 1 and 2 values": lambda: ControlRegions(
        "mu", [0, 1], [0], [1, 1]
    ),
    "phi1, center and width have 0, 0 and 0 values": lambda: ControlRegions("mu", [], [], 1.0),
    "widths must be > 0 and lamda >= 0; got [0.0]": lambda: ControlRegions("mu", [0], [0], 0.0),
    "no parameter 'mu'; the model has ['phi2.mu']": lambda: ControlRegions("mu", [0], [0], 1.0)(line(1)),
    "Normal: coord_bounds phi2: (3.0, -2.0) needs low < high": lambda: normal(coord_bounds={"phi2": (3, -2)}),
    "coord_bounds g: (0.0, 1.0) needs low < high and a name among ['phi2']": lambda: normal(coord_bounds={"g": (0, 1)}),
    "a network and its parameters come together; got net=Constant and params []": lambda: normal(
        net=Constant(1), params=ModelParameters()
    ),
    "got net=NoneType and params ['phi2.mu', 'phi2.ln-sigma']": lambda: normal(params=MEAN_AND_WIDTH),
    "Normal over ['g'] has the parameters ['g.ln-sigma', 'g.mu']; got ['phi2.ln-sigma', 'phi2.mu']": lambda: normal(
        net=Constant(2), params=MEAN_AND_WIDTH, coord_names=("g",)
    ),
    "no parameter 'phi2.mu' in a part that has ['phi2.ln-sigma', 'ln-weight']: list it in the part's params, or set": (
        lambda: dry_run(mixture("stream", stream=lambda: normal(net=Constant(1), params=ONLY_WIDTH)), phi2_at(0.0))
    ),
    "the network gives 1 outputs for the parameters ['phi2.mu', 'phi2.ln-sigma']": lambda: dry_run(
        mixture("stream", stream=lambda: normal(net=Constant(1), params=MEAN_AND_WIDTH)), phi2_at(0.0)
    ),
    "ControlRegions: no parameter 'phi2.m'; the model has ['phi2.mu', 'phi2.ln-sigma']": lambda: dry_run(
        normal(net=Constant(2), params=MEAN_AND_WIDTH, priors=(ControlRegions("phi2.m", [0.0], [0.0], 1.0),)),
        phi2_at(0.0),
    ),
    "HardThreshold of a.ln-weight needs lower < upper; got 2 and 1": lambda: HardThreshold("a.ln-weight", 2, 1),
    "HardThreshold switches off a ln-weight; got 'phi2.mu'": lambda: HardThreshold("phi2.mu", 0, 1),
    "HardThreshold: no parameter 'spur.ln-weight'; the model has ['stream": lambda: mixture(
        "stream", priors=(HardThreshold("spur.ln-weight", 0, 1),)
    )(phi2_at(0.0)),
    "to sample, Normal needs the columns ['phi2_err']; it was given ('phi1',)": lambda: normal(
        net=Constant(2), params=MEAN_AND_WIDTH, coord_err_names=["phi2_err"]
    ).sample(torch.zeros(1)),
    "to sample, every star needs a place and its errors; some have no ['phi1']": lambda: uniform("g").sample(
        torch.tensor([NAN])
    ),
    "the network of FlowModel, a Linear, has no log_prob": lambda: FlowModel(
        net=torch.nn.Linear(1, 1), coord_names=("phi2",)
    ).ln_likelihood({}, phi2_at(0.0)),
    "Uniform: give coord_bounds for ['phi2']": lambda: sml.builtin.Uniform(coord_names=("phi2",)),
    "Normal: errors for ['g'], which are not among ['phi2']": lambda: normal(coord_err_names={"g": "g_err"}),
    "2 error names ['a', 'b'] for 1 coordinates ['phi2']": lambda: normal(coord_err_names=["a", "b"]),
    "IndependentModels needs components with names without dots; got []": lambda: sml.IndependentModels({}),
    "names without dots; got ['a.b']": lambda: sml.IndependentModels({"a.b": uniform("g")}),
    "MixtureModel needs components with names without dots; got []": lambda: sml.MixtureModel({}),
    "the coordinates ['g'] belong to more than one of ['a', 'b']": lambda: sml.IndependentModels(
        {"a": uniform("g"), "b": uniform("g")}
    ),
    "must cover the same coordinates; found {'a': ['g'], 'b': ['r']}": lambda: sml.MixtureModel(
        {"a": uniform("g"), "b": uniform("r")}
    ),
    "MixtureModel: params must be ['stream.ln-weight']; got []": lambda: sml.MixtureModel(
        {"stream": uniform("g"), "background": uniform("g")}
    ),
    "a mixture of a background alone has no weight": lambda: sml.MixtureModel({"background": uniform("phi2")})(
        phi2_at(0.0)
    ),
    "Parallax2DistMod: no parameter 'a.parallax.mu'; the model has ['b']": lambda: sml.builtin.Parallax2DistMod(
        "a.parallax", "p.distmod"
    )({"b": torch.zeros(1)}),
    "ShareParameters: no parameter 'x'; the model has ['b']": lambda: sml.builtin.ShareParameters({"y": "x"})(
        {"b": torch.zeros(1)}
    ),
    "zuko.flows has no 'XYZ'": lambda: flow(1, kind="XYZ"),
    "ZukoFlowModel has no named parameters; got ['phi2.mu', 'phi2.ln-sigma']": lambda: ZukoFlowModel(
        net=flow(1), coord_names=("phi2",), params=MEAN_AND_WIDTH
    ),
    "a star lacks 4 of the coordinates ['a', 'b', 'c', 'd', 'e'] of one flow": four_missing,
    "IsochroneMVNorm has the parameters ['distmod.mu', 'distmod.ln-sigma'": lambda: sml.builtin.IsochroneMVNorm(
        isochrone=CURVE, scatter=0.02, params=MEAN_AND_WIDTH, net=Constant(2)
    ),
    "IsochroneMVNorm: phot_names ['g'] and bands ['g', 'r'] differ in length": lambda: sml.builtin.IsochroneMVNorm(
        isochrone=CURVE, phot_names=("g",)
    ),
    "phot_apply_dm [True] differ in length": lambda: sml.builtin.IsochroneMVNorm(isochrone=CURVE, phot_apply_dm=[True]),
    "one for each of the 2 bands": lambda: sml.builtin.IsochroneMVNorm(isochrone=CURVE, scatter=[0.1]),
    "one for each of the 2 points": lambda: sml.builtin.IsochroneMVNorm(isochrone=CURVE, scatter=[-0.1, 0.1]),
    "['r'] have neither errors nor scatter": lambda: sml.builtin.IsochroneMVNorm(
        isochrone=CURVE, phot_err_names={"g": "g_err"}
    ),
    "correlation c needs two columns with errors": lambda: sml.builtin.IsochroneMVNorm(
        isochrone=CURVE, phot_err_names={"g": "g_err"}, phot_corr_names={"c": ("g", "r")}, scatter=0.1
    ),
}


@pytest.mark.parametrize(("message", "call"), REFUSED.items(), ids=[m[:40] for m in REFUSED])
def test_what_is_wrong_is_said(message, call):
    with pytest.raises(InputError, match=re.escape(message)):
        call()
