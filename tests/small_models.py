"""Small stars, models and networks that several files of tests share. phi1 and phi2 are in deg, g in mag."""

import io
import math

import torch
from torch import nn

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.nn import Constant, on_grid
from stream_mapper.params import ModelParameter, ModelParameters
from stream_mapper.prior import ControlRegions, HardThreshold
from stream_mapper.utils import StandardScaler

NAN = math.nan
WINDOW = {"phi2": (-2.0, 3.0)}


def table():
    return Data(
        {
            "phi1": torch.tensor([0.0, 10.0, 20.0, 30.0]),
            "g": torch.tensor([18.0, NAN, 20.0, 22.0]),
            "r": torch.tensor([17.0, 18.0, 19.0, NAN]),
            "id": torch.tensor([4, 3, 2, 1]),
        }
    )


def numbers():
    return StandardScaler(("phi1",), mean=[0.0], scale=[20.0])


def state_of(module):
    """The state through a file, as a checkpoint keeps it."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


MEAN_AND_WIDTH = ModelParameters({"phi2": {"mu": ModelParameter(), "ln-sigma": ModelParameter()}})
ONLY_WIDTH = MEAN_AND_WIDTH.without("phi2.mu")


def normal(kind=sml.builtin.Normal, **kwargs):
    given = {"coord_names": ("phi2",), "data_scaler": numbers()} | kwargs
    if "net" in given and "params" not in given:
        given["params"] = ModelParameters({"phi2": {"mu": ModelParameter(), "ln-sigma": ModelParameter()}})
    return kind(**given)


def uniform(name):
    return sml.builtin.Uniform(coord_names=(name,), coord_bounds={name: (0, 1)})


def mixture(*names, stream=None, background=True, net=None, priors=()):
    """Components over phi2, each with a weight that is the network's own output."""
    stream = stream or (lambda: normal(sml.builtin.TruncatedNormal, net=Constant(2), coord_bounds=WINDOW))
    parts = {name: stream() for name in names}
    if background:
        parts["background"] = sml.builtin.Uniform(coord_names=("phi2",), coord_bounds=WINDOW)
    params = ModelParameters({f"{name}.ln-weight": ModelParameter() for name in names})
    net = net or Constant(len(names))
    return sml.MixtureModel(parts, net=net, data_scaler=numbers(), params=params, priors=priors)


def phi2_at(*values):
    return Data({"phi1": torch.linspace(-10, 10, len(values)), "phi2": torch.tensor(values)})


LN_WEIGHTS = ("a.ln-weight", "b.ln-weight")


def switched(*ranges):
    """Two streams, each on in a range of phi1 only."""
    priors = [HardThreshold(name, *span) for name, span in zip(LN_WEIGHTS, ranges, strict=True)]
    parts = {"a": uniform("phi2"), "b": uniform("phi2"), "background": uniform("phi2")}
    weights = ModelParameters(dict.fromkeys(LN_WEIGHTS, (-2.0, -1.0)))
    return sml.MixtureModel(parts, net=Constant(2), params=weights, data_scaler=numbers(), priors=priors)


def line(slope):
    return lambda data: {"phi2.mu": slope * data["phi1"]}


def guided():
    guide = ControlRegions("phi2.mu", [0.0, 5.0], [1.0, 1.0], 0.25, lamda=10.0)
    bounds = {"coord_bounds": WINDOW, "priors": (guide,)}
    return mixture("stream", stream=lambda: normal(sml.builtin.TruncatedNormal, net=Constant(2), **bounds))


NETS = {
    "sequential": lambda: nn.Sequential(nn.Linear(1, 2)),
    "linear": lambda: nn.Linear(1, 2),
    "grid": lambda: on_grid(nn.Sequential(nn.Linear(1, 2)), span=(-2.0, 2.0)),
}
WIDTH = 0.8  # of the prior of a network's output, on average over the grid


def linear_gaussian(net):
    """A line mu = b + w x; residuals of one sigma to both sides make the scores' sum the posterior's precision."""
    model = normal(net=net, coord_err_names=("phi2_err",))
    layer = next(module for module in net.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.4], [0.0]]))
        layer.bias.copy_(torch.tensor([0.5, math.log(0.3)]))
    phi1 = torch.linspace(-35, 25, 60).repeat_interleave(2)
    error = torch.linspace(0.1, 2.0, 60).repeat_interleave(2)
    sigma = torch.hypot(error, torch.tensor(0.3))
    side = torch.tensor([1.0, -1.0]).repeat(60)
    x = phi1 / 20
    return model, Data({"phi1": phi1, "phi2": 0.5 + 0.4 * x + side * sigma, "phi2_err": error}), x, sigma
