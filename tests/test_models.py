"""Laws that every density obeys, for one table of models, and values of the composite ones.

Units: phi1 and phi2 in deg, parallax in mas, g and r in mag; log densities in nats.
"""

import copy
import io
import math
import pickle
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
import zuko
from scipy import stats
from torch.optim.swa_utils import AveragedModel

import stream_mapper as sml
from stream_mapper.models.components import ComponentModel
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameter, ModelParameters
from stream_mapper.params.bounds import SigmoidBounds

ERROR = 0.2  # of every coordinate that has one, in its unit
WIDE = {"phi2": (-9.0, 9.0)}
WINDOW = {"phi2": (-2.0, 3.0)}
CURVE = sml.builtin.Isochrone([0.5, 0.65, 0.8], [[7.5, 7.0], [5.0, 4.7], [3.0, 2.4]], ("g", "r"))
DISTMOD = {"distmod.mu": (14.0, 16.0), "distmod.ln-sigma": (-3.0, -2.0)}


class Case(NamedTuple):
    """A model and the box its density is integrated over: (low, high, nodes) by coordinate.

    The box of a window that moves is that at phi1 = 0; elsewhere it is moved and stretched to the window there.
    """

    model: sml.Model
    box: dict[str, tuple[float, float, int]]


def net(features):
    return sml.nn.sequential(data=1, hidden_features=8, layers=3, features=features)


def gridded(features):
    """On a grid of half the range of phi1, whose ends are no round numbers."""
    return sml.nn.on_grid(net(features), size=64, span=(-0.9, 1.1))


def scaler():
    return sml.utils.StandardScaler(("phi1",), mean=[3.0], scale=[20.0])


def coordinate(kind, window, params=None, nodes=20_001, errors=False, **kwargs):
    """A case of a one-dimensional density of phi2; ``params`` are intervals by name."""
    params = ModelParameters({"phi2": params} if params else {})
    model = kind(
        coord_names=("phi2",),
        coord_err_names=("phi2_err",) if errors else None,
        coord_bounds=window,
        data_scaler=scaler(),
        params=params,
        **({"net": net(len(params))} if len(params) else {}) | kwargs,
    )
    return Case(model, {"phi2": (*window["phi2"], nodes)})


def normal(mu=(-0.5, 0.5), ln_sigma=(-1.5, -1.0)):
    return {"mu": mu, "ln-sigma": ln_sigma}


def skewed(mu, ln_sigma, skew):
    return normal(mu, ln_sigma) | {"skew": skew}


def isochrone(bands, curve=CURVE, **kwargs):
    curve = sml.builtin.Isochrone(curve.mass, curve.magnitudes[:, : len(bands)], bands)
    defaults = {
        "phot_err_names": {"g": "g_err"},
        "mass_function": sml.builtin.KroupaMassFunction(),
        "segments": 10,
        "scatter": 0.2,
        "net": net(2),
        "params": ModelParameters(DISTMOD),
    }
    return sml.builtin.IsochroneMVNorm(isochrone=curve, data_scaler=scaler(), **defaults | kwargs)


PM = {"pm_phi1": (-4.0, 4.0), "pm_phi2": (-5.0, 3.0)}
CORRELATED = {
    "coord_err_names": ["pm_phi1_err", "pm_phi2_err"],
    "coord_corr_names": {"pm_corr": ["pm_phi1", "pm_phi2"]},
}


def multivariate(params, nodes, **kwargs):
    """A case of a correlated Gaussian of two proper motions, and of phi2 where ``params`` has it."""
    params = ModelParameters({"pm_phi1": normal(ln_sigma=(-1.0, -0.7)), "pm_phi2": normal((-1.5, -1.0)), **params})
    box = PM | ({"phi2": (-4.0, 4.0)} if "phi2.mu" in params else {})
    model = sml.builtin.MultivariateNormal(
        coord_names=tuple(box), data_scaler=scaler(), net=net(len(params)), params=params, **CORRELATED | kwargs
    )
    return Case(model, {name: (*window, nodes) for name, window in box.items()})


def multivariate_3():
    correlations = {"pm_phi1.pm_phi2.corr": (-0.7, -0.5), "pm_phi2.phi2.corr": (0.3, 0.5)}
    return multivariate(
        correlations | {"phi2": normal(ln_sigma=(-1.0, -0.7))},
        81,
        coord_err_names={"phi2": "phi2_err"},
        coord_corr_names=None,
    )


def multivariate_box():
    """In a box that holds the whole density: tests/test_multivariate.py has those that cut it."""
    box = sml.builtin.RotatedBox(("pm_phi1", "pm_phi2"), "pm_angle", (-5.0, 7.0), (-7.0, 5.0))
    return multivariate({}, 201, box=box)


def kernels(window=None, **kwargs):
    """Kernels about a slanted line in (g, r)."""
    bandwidth = {"phi1": 20.0, "g": 0.7, "r": 0.6}
    model = sml.builtin.compat.KDEModel(coord_names=("g", "r"), coord_bounds=window, bandwidth=bandwidth, **kwargs)
    phi1, g = torch.empty(200).uniform_(-40, 40), torch.empty(200).uniform_(17, 23)
    model.fit_points(sml.Data({"phi1": phi1, "g": g, "r": g - 1 + 0.01 * phi1 + 0.3 * torch.randn(200)}))
    reach = {"g": (3.0, 37.0), "r": (2.0, 36.0)} | (window or {})
    return Case(model, {name: (*reach[name], 351) for name in reach})


MAGNITUDES = {"g": (14.0, 26.0, 401), "r": (13.0, 26.0, 401)}
UNEVEN = [[0.2, 0.1], [0.1, 0.2], [0.4, 0.3]]  # a scatter by point of the curve and band
SEEN = {"g": (17.0, 21.0), "r": (16.5, 20.2)}


def seen(bands=("g", "r"), windows=("g", "r"), nodes=121, **kwargs):
    """An isochrone seen through windows of some of its bands; the curve runs through their corner."""
    model = isochrone(bands, phot_bounds={name: SEEN[name] for name in windows}, **kwargs)
    return Case(model, {name: (*SEEN[name], nodes) if name in windows else MAGNITUDES[name] for name in bands})


def of_grid(windows=(), nodes=121):
    """An isochrone with constants, [Fe/H] among them, whose mass function changes along the stream."""
    redder = sml.builtin.Isochrone(CURVE.mass * 1.1, CURVE.magnitudes + torch.tensor([0.2, 0.0]), ("g", "r"))
    model = sml.builtin.IsochroneMVNorm(
        isochrone=sml.builtin.IsochroneGrid([CURVE, redder], feh=[-2.0, -1.0]),
        phot_err_names={"g": "g_err"},
        phot_bounds={name: SEEN[name] for name in windows},
        mass_function=sml.builtin.PowerLawFamily(-3.0, 1.0, step=1.0),
        segments=10,
        scatter=0.2,
        reddening={"g": 3.2, "r": 2.3},
        constants=ModelParameters({"feh": (-2.0, -1.0), "ebv": (0.0, 0.1), "offset.r": (-0.1, 0.1)}),
        data_scaler=scaler(),
        net=net(3),
        params=ModelParameters(DISTMOD | {"mass-slope": (-2.9, 0.9)}),
    )
    with torch.no_grad():
        model.constants.net.value.copy_(torch.tensor([0.1, -0.2, 0.3]))
    return Case(model, {n: (*SEEN[n], nodes) if n in windows else MAGNITUDES[n] for n in ("g", "r")})


def colour():
    """A magnitude and a colour, each with a window, and most stars on the lower main sequence."""
    g, r = CURVE.magnitudes.unbind(-1)
    curve = sml.builtin.Isochrone(CURVE.mass, torch.stack([g, g - r], -1), ("g", "g-r"))
    windows = {"g": (17.0, 21.0), "g-r": (0.2, 1.0)}
    steep = {"mass_function": sml.builtin.PowerLawMassFunction(-8.0), "segments": 2, "phot_apply_dm": (True, False)}
    model = isochrone(("g", "g-r"), curve, phot_bounds=windows, **steep)
    return Case(model, {name: (*window, 121) for name, window in windows.items()})


def three_bands():
    g, r = CURVE.magnitudes.unbind(-1)
    curve = sml.builtin.Isochrone(CURVE.mass, torch.stack([g, r, 1.2 * r - 0.2 * g], -1), ("g", "r", "i"))
    model = isochrone(("g", "r", "i"), curve, phot_bounds={"g": (18.0, 19.0)}, segments=3, scatter=0.3)
    return Case(model, {"g": (18.0, 19.0, 41), "r": (15.5, 20.5, 61), "i": (15.0, 20.5, 61)})


def correlated(**kwargs):
    errors = {"phot_err_names": ("g_err", "r_err"), "phot_corr_names": {"g_r_corr": ("g", "r")}, "scatter": 0.1}
    return seen(**errors, **kwargs)


def flow(kind, names, window=None, transforms=2, **kwargs):
    network = getattr(zuko.flows, kind)(len(names), 1, transforms=transforms, hidden_features=[8, 8])
    columns = ("phi1", "g", "r")
    numbers = sml.utils.StandardScaler(columns, mean=[3.0, 20.0, 19.0], scale=[20.0, 1.5, 1.2])
    model = sml.builtin.compat.ZukoFlowModel(
        net=network, coord_names=names, coord_bounds=window, data_scaler=numbers, **kwargs
    )
    nodes = 4001 if len(names) == 1 else 401
    reach = {"g": (2.0, 38.0), "r": (4.0, 34.0)} if kwargs.get("broad") else {"g": (8.0, 32.0), "r": (9.4, 28.6)}
    reach |= window or {}
    return Case(model, {name: (*reach[name], nodes) for name in names})


TURN = sml.WindowAlong(phi1=[-50.0, 0.0, 60.0], low=[-4.0, -2.0, -2.5], high=[1.0, 3.0, 0.5])
WIDE_TURN = sml.WindowAlong(phi1=[-50.0, 0.0, 60.0], low=[-11.0, -9.0, -7.0], high=[9.0, 9.0, 8.0])
BRIGHT = sml.WindowAlong(phi1=[-50.0, 0.0, 60.0], low=[17.4, 17.0, 16.5], high=[20.5, 21.0, 20.6])
G_TURN = sml.WindowAlong(phi1=[-50.0, 0.0, 60.0], low=[17.5, 17.0, 18.0], high=[22.5, 23.0, 24.5])
R_TURN = sml.WindowAlong(phi1=[-50.0, 0.0, 60.0], low=[16.0, 16.5, 16.9], high=[21.0, 22.0, 21.5])
TURNS = {"g": G_TURN, "r": R_TURN}


def turning(kind, params=None, nodes=20_001, errors=False, window=TURN, **kwargs):
    """A case of a one-dimensional density of phi2 in a window that moves."""
    case = coordinate(kind, WINDOW, params, nodes, errors, **kwargs)
    again = dict(case.model._arguments[1], coord_bounds={"phi2": window})
    return Case(kind(**again), {"phi2": (*edges_at(window, 0.0), nodes)})


def edges_at(window, phi1):
    """Edges of a window at one place."""
    low, high = window.at(torch.tensor([float(phi1)], dtype=torch.float64))
    return low.item(), high.item()


def turning_isochrone(bands, windows, nodes):
    model = isochrone(bands, phot_bounds=windows)
    return Case(model, {n: (*edges_at(windows[n], 0.0), nodes) if n in windows else MAGNITUDES[n] for n in bands})


def turning_kernels():
    case = kernels(FLOW_WINDOW)
    model = b.compat.KDEModel(coord_names=("g", "r"), coord_bounds=TURNS, bandwidth=case.model.bandwidth)
    model.points, model.bandwidths = case.model.points, case.model.bandwidths
    return Case(model, case.box)


def turning_flow(kind, windows, transforms=2):
    case = flow(kind, ("g", "r"), {name: FLOW_WINDOW[name] for name in windows}, transforms)
    again = dict(case.model._arguments[1], coord_bounds=windows)
    return Case(type(case.model)(**again), case.box)


FIELD = [(-50.0, -2.5), (50.0, -2.0), (50.0, 2.5), (-50.0, 3.5)]
HOLE = [(-45.0, 0.3), (0.0, -1.0), (45.0, 0.4), (45.0, 1.5), (0.0, 0.2), (-45.0, 1.2)]
FOOTPRINT = sml.Footprint.of_polygons([FIELD], [HOLE], circles=[(10.0, -1.5, 0.4)])


def half_seen(kind, params=None, window=WINDOW, **kwargs):
    """A case of a one-dimensional density of phi2, of which a part was seen."""
    return coordinate(kind, window, params, footprint=FOOTPRINT, **kwargs)


def half_seen_mixture():
    parts = {
        "stream": half_seen(b.TruncatedNormal, normal(), errors=True).model,
        "spur": half_seen(b.TruncatedNormal, normal(mu=(1.0, 1.5))).model,
        "background": half_seen(b.Exponential, {"slope": (0.2, 0.4)}).model,
    }
    params = ModelParameters({"stream.ln-weight": (-2.0, -1.0), "spur.ln-weight": (-2.0, -1.0)})
    return Case(sml.MixtureModel(parts, net=net(2), data_scaler=scaler(), params=params), {"phi2": (-2.0, 3.0, 20_001)})


def half_seen_multivariate():
    """Positions correlated with a proper motion, both with errors."""
    names = ("phi2", "pm_phi1")
    params = ModelParameters(
        {name: normal(ln_sigma=(-1.0, -0.7)) for name in names} | {"phi2.pm_phi1.corr": (0.5, 0.7)}
    )
    model = sml.builtin.MultivariateNormal(
        coord_names=names,
        coord_err_names=["phi2_err", "pm_phi1_err"],
        coord_bounds=WINDOW,
        data_scaler=scaler(),
        net=net(len(params)),
        params=params,
        footprint=FOOTPRINT,
    )
    return Case(model, {"phi2": (*WINDOW["phi2"], 4001), "pm_phi1": (-4.0, 4.0, 61)})


def half_seen_kernels(window=WINDOW, **kwargs):
    """Kernels about a slanted line in (phi2, g)."""
    bandwidth = {"phi1": 20.0, "phi2": 0.7, "g": 0.6}
    model = sml.builtin.compat.KDEModel(
        coord_names=("phi2", "g"), coord_bounds=window, bandwidth=bandwidth, footprint=FOOTPRINT, **kwargs
    )
    phi1, phi2 = torch.empty(25).uniform_(-40, 40), torch.empty(25).uniform_(-2, 3)
    g = 19 + phi2 + 0.01 * phi1 + 0.3 * torch.randn(25)
    model.fit_points(sml.Data({"phi1": phi1, "phi2": phi2, "g": g}))
    edges = edges_at(window["phi2"], 0.0) if isinstance(window.get("phi2"), sml.WindowAlong) else (-4.0, 5.0)
    return Case(model, {"phi2": (*(window.get("phi2") if window == WINDOW else edges), 4001), "g": (-1.0, 40.0, 81)})


def half_seen_flow(names=("phi2", "g"), window=WINDOW, kind="NSF", transforms=1, nodes=4001, **kwargs):
    """A flow over positions, and over a magnitude if ``names`` has it."""
    network = getattr(zuko.flows, kind)(len(names), 1, transforms=transforms, hidden_features=[8, 8])
    columns = ("phi1", "phi2", "g")
    numbers = sml.utils.StandardScaler(columns, mean=[3.0, 0.3, 20.0], scale=[20.0, 1.2, 1.5])
    model = sml.builtin.compat.ZukoFlowModel(
        net=network, coord_names=names, coord_bounds=window, data_scaler=numbers, footprint=FOOTPRINT, **kwargs
    )
    phi2 = window.get("phi2", (-5.0, 5.0))
    edges = edges_at(phi2, 0.0) if isinstance(phi2, sml.WindowAlong) else phi2
    box = {"phi2": (*edges, nodes), "g": (5.0, 35.0, 81)}
    return Case(model, {name: box[name] for name in names})


FLOW_WINDOW = {"g": (17.0, 23.0), "r": (16.5, 22.0)}


class FromElsewhere(torch.nn.Module):
    """A network with log_prob and sample of its own: a normal law about a line in the context."""

    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(2, 2)

    def log_prob(self, x, context):
        return (
            torch.distributions.Normal(self.line(context), torch.full_like(x, 0.5), validate_args=False)
            .log_prob(x)
            .sum(-1)
        )

    def sample(self, context):
        return self.line(context) + 0.5 * torch.randn_like(self.line(context))


def adapter():
    """A density from elsewhere, conditioned on phi1 and on the error of g."""
    numbers = sml.utils.StandardScaler(("phi1", "g", "r"), mean=[3.0, 20.0, 19.0], scale=[20.0, 1.5, 1.2])
    model = sml.builtin.compat.FlowModel(
        net=FromElsewhere(), coord_names=("g", "r"), err_names=("g_err",), coord_bounds=FLOW_WINDOW, data_scaler=numbers
    )
    model.err_scaler = sml.utils.StandardScaler(("g_err",), mean=[math.log(0.1)], scale=[0.7])
    return Case(model, {name: (*window, 401) for name, window in FLOW_WINDOW.items()})


def cocoon():
    """A stream in a cocoon about the same track, over phi2, switched off below phi1 = 0."""
    wide = sml.builtin.TruncatedNormal(
        net=net(1),
        coord_names=("phi2",),
        coord_bounds=WINDOW,
        data_scaler=scaler(),
        params=ModelParameters({"phi2": {"ln-sigma": (-0.5, 0.0)}}),
    )
    parts = {
        "stream": coordinate(b.TruncatedNormal, WINDOW, normal(), errors=True).model,
        "cocoon": wide,
        "background": coordinate(b.Uniform, WINDOW).model,
    }
    model = sml.MixtureModel(
        parts,
        net=net(2),
        data_scaler=scaler(),
        params=ModelParameters({"stream.ln-weight": (-2.0, -1.0), "cocoon.ln-weight": (-2.0, -1.0)}),
        unpack_params_hooks=(b.ShareParameters({"cocoon.phi2.mu": "stream.phi2.mu"}),),
        priors=(sml.prior.HardThreshold("cocoon.ln-weight", lower=0.0),),
    )
    return Case(model, {"phi2": (-2.0, 3.0, 4001)})


def independent():
    track, _ = coordinate(sml.builtin.TruncatedNormal, WINDOW, normal(), errors=True)
    parts = {"astrometric": track, "photometric": isochrone(("g",))}
    return Case(sml.IndependentModels(parts), {"phi2": (-2.0, 3.0, 401), "g": (13.0, 27.0, 401)})


def hooked():
    """Parallax and magnitude, with the modulus set by the parallax."""
    params = ModelParameters({"parallax": {"mu": (0.09, 0.11), "ln-sigma": (-6.0, -5.0)}})
    plx = sml.builtin.Normal(net=net(2), coord_names=("parallax",), data_scaler=scaler(), params=params)
    parts = {"plx": plx, "phot": isochrone(("g",), net=None, params=None)}
    link = sml.builtin.Parallax2DistMod("plx.parallax", "phot.distmod")
    box = {"parallax": (0.03, 0.17, 401), "g": (13.0, 27.0, 401)}
    return Case(sml.IndependentModels(parts, unpack_params_hooks=(link,)), box)


def chain():
    """The magnitude depends on phi2, which has a density of its own."""
    track, _ = coordinate(b.TruncatedNormal, WINDOW, normal())
    network = zuko.flows.NSF(1, 2, transforms=1, hidden_features=[8, 8])
    names = ("phi1", "phi2", "g")
    magnitude = b.compat.ZukoFlowModel(
        net=network,
        coord_names=("g",),
        indep_coord_names=("phi1", "phi2"),
        data_scaler=sml.utils.StandardScaler(names, mean=[3.0, 0.0, 20.0], scale=[20.0, 0.2, 1.5]),
    )
    box = {"phi2": (-2.0, 3.0, 401), "g": (11.0, 29.0, 401)}
    return Case(sml.IndependentModels({"track": track, "phot": magnitude}), box)


def mixture():
    """A stream and a background of (phi2, g): every kind of part at once."""
    stream = sml.IndependentModels(
        {"phi2": coordinate(sml.builtin.Normal, WIDE, normal(), errors=True).model, "g": isochrone(("g",))}
    )
    background = sml.IndependentModels(
        {"phi2": coordinate(sml.builtin.Uniform, WIDE).model, "g": flow("NSF", ("g",), {"g": (13.0, 27.0)}).model}
    )
    model = sml.MixtureModel(
        {"stream": stream, "background": background},
        net=net(1),
        data_scaler=scaler(),
        params=ModelParameters({"stream.ln-weight": (-2.0, -1.0)}),
    )
    return Case(model, {"phi2": (-9.0, 9.0, 801), "g": (13.0, 27.0, 401)})


def two_streams():
    """A mixture of two streams whose proposed weights sum past one, over phi2."""
    window = sml.builtin.TruncatedNormal, WINDOW
    parts = {
        "stream": coordinate(*window, normal(), errors=True).model,
        "spur": coordinate(*window, normal(mu=(1.0, 1.5))).model,
        "background": coordinate(sml.builtin.Exponential, WINDOW, {"slope": (0.2, 0.4)}).model,
    }
    names = [f"{name}.ln-weight" for name in parts]
    params = ModelParameters({name: ModelParameter(SigmoidBounds(-0.5, 0.5)) for name in names})
    model = sml.MixtureModel(parts, net=net(2), data_scaler=scaler(), params=params)
    return Case(model, {"phi2": (-2.0, 3.0, 4001)})


def ended():
    """Two streams of two ends and of one, and what is outside them, over phi2."""
    ends = {"stream": sml.Ends(begin=(-30.0, -10.0), end=(10.0, 30.0)), "spur": sml.Ends(end=(-10.0, 20.0))}
    case = two_streams()
    again = dict(case.model._arguments[1], net=net(2), ends=ends)
    model = sml.MixtureModel(case.model.components, **again)
    with torch.no_grad():
        model.ends.net.value.add_(0.1 * torch.randn(6))
    return Case(model, case.box)


b = sml.builtin
CASES = {
    "uniform": lambda: coordinate(b.Uniform, WINDOW),
    "exponential-falls": lambda: coordinate(b.Exponential, WINDOW, {"slope": (1.0, 2.0)}),
    "exponential-rises": lambda: coordinate(b.Exponential, WINDOW, {"slope": (-30.0, -20.0)}),
    "exponential-flat": lambda: coordinate(b.Exponential, WINDOW, {"slope": ModelParameter()}, net=Constant(1)),
    "exponential-falls-errors": lambda: coordinate(b.Exponential, WINDOW, {"slope": (1.0, 2.0)}, errors=True),
    "exponential-flat-errors": lambda: coordinate(
        b.Exponential, WINDOW, {"slope": ModelParameter()}, net=Constant(1), errors=True
    ),
    "exponential-moves-errors": lambda: turning(b.Exponential, {"slope": (-2.0, -1.0)}, errors=True),
    "exponential-half-seen-errors": lambda: half_seen(b.Exponential, {"slope": (1.0, 2.0)}, errors=True),
    "normal": lambda: coordinate(b.Normal, WIDE, normal()),
    "normal-errors": lambda: coordinate(b.Normal, WIDE, normal(), errors=True),
    "normal-cold": lambda: coordinate(b.Normal, WIDE, normal(ln_sigma=(-5.0, -4.6))),
    "truncated-normal": lambda: coordinate(b.TruncatedNormal, WINDOW, normal()),
    "truncated-normal-on-grid": lambda: coordinate(b.TruncatedNormal, WINDOW, normal(), net=gridded(2)),
    "truncated-normal-errors": lambda: coordinate(b.TruncatedNormal, WINDOW, normal(), errors=True),
    "truncated-normal-cold": lambda: coordinate(b.TruncatedNormal, WIDE, normal(ln_sigma=(-5.0, -4.6))),
    "truncated-normal-40-sigma": lambda: coordinate(b.TruncatedNormal, WINDOW, normal((13.2, 13.3), (-1.4, -1.35))),
    "truncated-normal-40-sigma-errors": lambda: coordinate(
        b.TruncatedNormal, WINDOW, normal((-14.1, -14.0), (-1.4, -1.35)), errors=True
    ),
    "skew-normal": lambda: coordinate(b.SkewNormal, WIDE, skewed((-0.5, 0.5), (-1.0, -0.5), (-2.0, 4.0))),
    "skew-normal-errors": lambda: coordinate(
        b.SkewNormal, WIDE, skewed((-0.5, 0.5), (-1.0, -0.5), (-2.0, 4.0)), errors=True
    ),
    "skew-normal-50": lambda: coordinate(b.SkewNormal, WIDE, skewed((-0.5, 0.5), (-1.0, -0.5), (49.0, 51.0))),
    "skew-normal--50-errors": lambda: coordinate(
        b.SkewNormal, WIDE, skewed((-0.5, 0.5), (-1.0, -0.5), (-51.0, -49.0)), errors=True
    ),
    "skew-normal-cold": lambda: coordinate(b.SkewNormal, WIDE, skewed((-0.5, 0.5), (-5.0, -4.6), (-2.0, 4.0))),
    "truncated-skew-normal-cold": lambda: coordinate(
        b.TruncatedSkewNormal, WIDE, skewed((-0.5, 0.5), (-5.0, -4.6), (-2.0, 4.0))
    ),
    "truncated-skew-normal": lambda: coordinate(
        b.TruncatedSkewNormal, WINDOW, skewed((-0.5, 0.5), (-0.5, 0.5), (-2.0, 4.0))
    ),
    "truncated-skew-normal-50-errors": lambda: coordinate(
        b.TruncatedSkewNormal, WINDOW, skewed((-0.5, 0.5), (-0.5, 0.5), (49.0, 51.0)), errors=True
    ),
    "truncated-skew-normal-40-scales": lambda: coordinate(
        b.TruncatedSkewNormal, WINDOW, skewed((13.2, 13.3), (-1.4, -1.35), (-2.0, -1.5))
    ),
    "truncated-skew-normal-40-scales-suppressed-errors": lambda: coordinate(
        b.TruncatedSkewNormal, WINDOW, skewed((13.2, 13.3), (-1.4, -1.35), (4.0, 6.0)), errors=True
    ),
    "sloped-rises": lambda: coordinate(b.Sloped, WINDOW, {"slope": (0.06, 0.08)}),
    "sloped-falls": lambda: coordinate(b.Sloped, WINDOW, {"slope": (-0.08, -0.06)}),
    "sloped-flat": lambda: coordinate(b.Sloped, WINDOW, {"slope": (-0.08, 0.08)}, net=Constant(1)),
    "multivariate-normal-2": lambda: multivariate({}, 201),
    "multivariate-normal-3": multivariate_3,
    "multivariate-normal-box": multivariate_box,
    "isochrone-1": lambda: Case(isochrone(("g",)), {"g": (13.0, 27.0, 4001)}),
    "isochrone-2": lambda: Case(isochrone(("g", "r")), MAGNITUDES),
    "isochrone-1-window": lambda: seen(("g",), ("g",), nodes=2001),
    "isochrone-2-half-window": lambda: seen(windows=("g",), nodes=201),
    "isochrone-2-windows": seen,
    "isochrone-colour-windows": colour,
    "isochrone-3-window": three_bands,
    "isochrone-correlated": lambda: Case(correlated(windows=()).model, MAGNITUDES),
    "isochrone-correlated-windows": correlated,
    "isochrone-scatter-along": lambda: Case(isochrone(("g", "r"), scatter=UNEVEN), MAGNITUDES),
    "isochrone-scatter-along-windows": lambda: seen(scatter=[0.3, 0.15, 0.4]),
    "isochrone-grid": of_grid,
    "isochrone-grid-window": lambda: of_grid(("g",)),
    "isochrone-grid-windows": lambda: of_grid(("g", "r")),
    "uniform-moves": lambda: turning(b.Uniform),
    "uniform-one-edge-moves": lambda: turning(b.Uniform, window=sml.WindowAlong([-30.0, 9.0], [-3.0, -2.0], 3.0)),
    "exponential-moves": lambda: turning(b.Exponential, {"slope": (1.0, 2.0)}),
    "truncated-normal-moves": lambda: turning(b.TruncatedNormal, normal()),
    "truncated-normal-moves-errors": lambda: turning(b.TruncatedNormal, normal(), errors=True),
    "normal-moves": lambda: turning(b.Normal, normal(), window=WIDE_TURN),
    "skew-normal-moves": lambda: turning(
        b.SkewNormal, skewed((-0.5, 0.5), (-1.0, -0.5), (-2.0, 4.0)), window=WIDE_TURN
    ),
    "truncated-skew-normal-moves-errors": lambda: turning(
        b.TruncatedSkewNormal, skewed((-0.5, 0.5), (-0.5, 0.5), (-2.0, 4.0)), errors=True
    ),
    "sloped-moves": lambda: turning(b.Sloped, {"slope": (0.06, 0.08)}),
    "multivariate-normal-moves": lambda: multivariate(
        {}, 201, coord_bounds={"pm_phi1": sml.WindowAlong([0.0, 50.0], [-4.0, -4.5], [4.0, 4.4])}
    ),
    "isochrone-1-moves": lambda: turning_isochrone(("g",), {"g": BRIGHT}, 2001),
    "isochrone-2-half-moves": lambda: turning_isochrone(("g", "r"), {"g": BRIGHT}, 201),
    "isochrone-2-moves": lambda: turning_isochrone(("g", "r"), {"g": BRIGHT, "r": R_TURN}, 121),
    "nsf-2-moves": lambda: turning_flow("NSF", TURNS),
    "nsf-chain-2-moves": lambda: turning_flow("NSF", TURNS, transforms=1),
    "maf-2-half-moves": lambda: turning_flow("MAF", {"r": R_TURN}),
    "kernels-moves": turning_kernels,
    "uniform-half-seen": lambda: half_seen(b.Uniform),
    "uniform-moves-half-seen": lambda: turning(b.Uniform, footprint=FOOTPRINT),
    "exponential-half-seen": lambda: half_seen(b.Exponential, {"slope": (-2.0, -1.0)}),
    "sloped-half-seen": lambda: half_seen(b.Sloped, {"slope": (0.06, 0.08)}),
    "normal-half-seen-errors": lambda: half_seen(b.Normal, normal(), WIDE, nodes=80_001, errors=True),
    "truncated-normal-half-seen": lambda: half_seen(b.TruncatedNormal, normal()),
    "truncated-normal-40-sigma-half-seen": lambda: half_seen(b.TruncatedNormal, normal((13.2, 13.3), (-1.4, -1.35))),
    "skew-normal-half-seen": lambda: half_seen(
        b.SkewNormal, skewed((-0.5, 0.5), (-1.0, -0.5), (-2.0, 4.0)), WIDE, nodes=80_001
    ),
    "truncated-skew-normal-half-seen-errors": lambda: half_seen(
        b.TruncatedSkewNormal, skewed((-0.5, 0.5), (-0.5, 0.5), (-2.0, 4.0)), errors=True
    ),
    "half-seen-mixture": half_seen_mixture,
    "multivariate-normal-half-seen": half_seen_multivariate,
    "kernels-half-seen": lambda: half_seen_kernels(broad=0.02),
    "kernels-moves-half-seen": lambda: half_seen_kernels({"phi2": TURN}, broad=0.2),
    "kernels-open-half-seen": lambda: half_seen_kernels({}, broad=0.02),
    "nsf-1-half-seen": lambda: half_seen_flow(("phi2",), transforms=2, nodes=20_001, broad=0.2),
    "maf-1-open-half-seen": lambda: half_seen_flow(("phi2",), {}, "MAF", nodes=20_001),
    "nsf-chain-2-half-seen": lambda: half_seen_flow(broad=0.2),
    "nsf-chain-2-moves-half-seen": lambda: half_seen_flow(window={"phi2": TURN}),
    "nsf-chain-2-open-half-seen": lambda: half_seen_flow(window={}, broad=None),
    "nsf-1": lambda: flow("NSF", ("g",)),
    "nsf-1-window": lambda: flow("NSF", ("g",), {"g": FLOW_WINDOW["g"]}),
    "nsf-2": lambda: flow("NSF", ("g", "r")),
    "nsf-2-window": lambda: flow("NSF", ("g", "r"), FLOW_WINDOW),
    "nsf-chain-2-window": lambda: flow("NSF", ("g", "r"), FLOW_WINDOW, transforms=1),
    "adapter": adapter,
    "nsf-2-narrow": lambda: flow("NSF", ("g", "r"), broad=None),
    "nsf-2-broad": lambda: flow("NSF", ("g", "r"), broad=0.3),
    "nsf-chain-2-broad-half-window": lambda: flow("NSF", ("g", "r"), {"g": FLOW_WINDOW["g"]}, transforms=1, broad=0.3),
    "maf-2": lambda: flow("MAF", ("g", "r")),
    "maf-2-window": lambda: flow("MAF", ("g", "r"), FLOW_WINDOW),
    "maf-2-half-window": lambda: flow("MAF", ("g", "r"), {"r": FLOW_WINDOW["r"]}),
    "kernels": kernels,
    "kernels-narrow": lambda: kernels(broad=None),
    "kernels-window": lambda: kernels(FLOW_WINDOW),
    "kernels-half-window": lambda: kernels({"r": FLOW_WINDOW["r"]}),
    "independent": independent,
    "hooked": hooked,
    "mixture": mixture,
    "two-streams": two_streams,
    "ended": ended,
    "cocoon": cocoon,
}
cases = pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
mixtures = pytest.mark.parametrize("make", [mixture, two_streams, ended, cocoon, half_seen_mixture])


def stars(case, n=40, spread=1.0):
    """Stars in the middle of the box, ``spread`` of it wide, at any phi1."""
    columns = {"phi1": torch.empty(n).uniform_(-40, 40)}
    for name, (low, high, _) in case.box.items():
        columns[name] = (low + high) / 2 + spread * (high - low) * torch.empty(n).uniform_(-0.499, 0.499)
        columns[name], _ = moved(case, name, columns[name], columns["phi1"])
        if spread <= 1 and case.model.has_footprint and name == "phi2":
            columns[name] = to_what_was_seen(case, columns[name], columns["phi1"])
    extra = {
        "pm_corr": torch.empty(n).uniform_(-0.9, 0.9),
        "g_r_corr": torch.full((n,), -0.6),
        "pm_angle": torch.empty(n).uniform_(-0.3, 0.3),
    }
    columns |= {name: column for name, column in extra.items() if name in case.model.columns}
    return sml.Data(columns | {name: torch.full((n,), ERROR) for name in errors_of(case.model)})


def moved(case, name, x, phi1):
    """Values of a coordinate in the box, taken to the window at phi1 if it moves, and the factor of the change."""
    windows = [part.windows[name] for part in case.model.parts() if part.windows[name].moves]
    if not windows:
        return x, torch.ones_like(phi1)
    low, high = windows[0].at(phi1.to(x.dtype))
    left, right, _ = case.box[name]
    return low + (high - low) * (x - left) / (right - left), (high - low) / (right - left)


def to_what_was_seen(case, x, phi1):
    """The next place that was seen inside the window."""
    low, high, seen = FOOTPRINT.strips(phi1)
    window = next(part.windows["phi2"] for part in case.model.parts() if "phi2" in part.coord_names)
    bottom, top = (edge[:, None] for edge in window.at(phi1))
    low, high = torch.maximum(low, bottom) + 1e-3, torch.minimum(high, top) - 1e-3
    inside = torch.minimum(torch.maximum(x[:, None], low), high)
    nearest = (inside - x[:, None]).abs() + 1e3 * (~seen | (high < low))
    return inside.gather(1, nearest.argmin(1, keepdim=True))[:, 0]


def errors_of(model):
    return [name for name in model.columns if name.endswith("_err")]


def on_grid(case, names, rows):
    """Every star of ``rows`` at every node of a grid over ``names``, star by star, and the trapezoid's ln-weights.

    The weights are (nodes,), or (stars, nodes) where a window moves.
    """
    lines = [torch.linspace(*case.box[name]) for name in names]
    ln_weights = torch.zeros(())
    for line in lines:
        ln_line = torch.full_like(line, math.log((line[-1] - line[0]) / (len(line) - 1)))
        ln_line[[0, -1]] -= math.log(2)
        ln_weights = (ln_weights[..., None] + ln_line).flatten()
    nodes = torch.cartesian_prod(*lines).view(-1, len(names))
    repeated = rows[torch.arange(len(rows)).repeat_interleave(len(nodes))]
    columns = {}
    for i, name in enumerate(names):
        columns[name], factor = moved(case, name, nodes[:, i].repeat(len(rows)), repeated["phi1"])
        ln_weights = ln_weights + factor.view(len(rows), -1).log()
    return repeated.with_columns(columns), ln_weights


@torch.no_grad()
def ln_integral(case, names, rows):
    """ln of the integral over ``names`` for each star of ``rows``, by the trapezoidal rule."""
    nodes, ln_weights = on_grid(case, names, rows)
    return (ln_p(case.model, nodes).view(len(rows), -1) + ln_weights).logsumexp(-1)


def ln_p(model, data):
    return model.ln_likelihood(model(data), data)


def without(data, *names):
    return data.with_columns({name: torch.full((len(data),), torch.nan) for name in names})


@cases
def test_one_finite_number_a_star(make):
    case = make()
    values = ln_p(case.model, stars(case))
    assert values.shape == (40,)
    assert values.dtype == torch.float32
    assert values.isfinite().all()


@cases
def test_density_integrates_to_one(make):
    case = make()
    total = ln_integral(case, tuple(case.box), stars(case, n=1)).exp().item()
    assert total == pytest.approx(1, abs=1e-3)


def windowed_isochrone(case):
    parts = [m for m in case.model.modules() if isinstance(m, b.IsochroneMVNorm)]
    return {name for part in parts for name in part.coord_bounds}


@cases
def test_a_missing_coordinate_leaves_the_marginal(make):
    case = make()
    rows = stars(case, n=12, spread=0.5)
    # Of a star without a magnitude nothing is known of that magnitude's window: what is left is no marginal.
    free = set(case.box) - windowed_isochrone(case) if len(case.box) > 1 else set(case.box)
    for name in [name for name in case.box if name in free]:
        found = ln_p(case.model, without(rows, name)).detach()
        difference = found - ln_integral(case, (name,), rows)
        assert difference.square().mean().sqrt() < 0.02
        assert found.isfinite().all()


@pytest.mark.parametrize("make", [seen, colour, correlated])
def test_a_magnitude_that_is_missing_takes_its_window_along(make):
    """The density of the other magnitude integrates to one over its own window, whatever window the missing one has."""
    case = make()
    for name, other in (tuple(case.box), tuple(case.box)[::-1]):
        rows = without(stars(case, n=3), other)
        box = {name: (*case.box[name][:2], 2001)}
        torch.testing.assert_close(ln_integral(Case(case.model, box), (name,), rows), torch.zeros(3), atol=2e-4, rtol=0)


@cases
def test_a_star_without_coordinates_says_nothing(make):
    case = make()
    torch.testing.assert_close(ln_p(case.model, without(stars(case), *case.box)), torch.zeros(40), atol=1e-5, rtol=0)


@cases
def test_a_missing_value_reaches_nothing_else(make):
    case = make()
    rows = stars(case)
    holes = {}
    for i, name in enumerate(case.box):
        holes[name] = torch.where(torch.arange(40) % 4 == i, torch.nan, rows[name])
    some = ln_p(case.model, rows.with_columns(holes))
    assert some.isfinite().all()
    torch.testing.assert_close(some[3::4], ln_p(case.model, rows)[3::4], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def uniforms(case, rows):
    """Draws at the first row's place as numbers that are uniform if the draws follow the density, (N, coordinates).

    Each coordinate's cdf is conditional on those before it (Rosenblatt 1952), by the trapezoidal rule.
    """
    lines = [
        moved(case, name, torch.linspace(*case.box[name], dtype=torch.float64), rows["phi1"][:1])[0]
        for name in case.box
    ]
    nodes, _ = on_grid(case, tuple(case.box), rows[:1])
    density = ln_p(case.model, nodes).exp().double().view(*map(len, lines))
    x = case.model.sample(rows, seed=3)[tuple(case.box)].double()
    found = []
    for i, line in enumerate(lines):
        left = density
        for later in lines[:i:-1]:
            left = torch.trapezoid(left, later)
        near = tuple(((x[:, j] - other[0]) / (other[1] - other[0])).round().long() for j, other in enumerate(lines[:i]))
        below = torch.nn.functional.pad(torch.cumulative_trapezoid(left, line), (1, 0))
        for step in (1, -1) if i else ():  # the node next to a draw may be beyond the edge of what was seen
            below = torch.where(below[..., -1:] == 0, below.roll(step, i - 1), below)
        below = (below / below[..., -1:])[near].expand(len(x), -1)
        position = (x[:, i] - line[0]) / (line[1] - line[0])
        k = position.long().clamp(0, len(line) - 2)[:, None]
        low, high = below.gather(1, k), below.gather(1, k + 1)
        found.append(torch.lerp(low, high, (position[:, None] - k).clamp(0, 1))[:, 0])
    return torch.stack(found, -1).numpy()


@cases
def test_samples_follow_the_density(make):
    case = make()
    found = uniforms(case, stars(case, n=1)[torch.zeros(2000, dtype=torch.long)])
    for column in found.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3


def test_the_test_of_samples_can_fail():
    case = CASES["normal-errors"]()
    rows = stars(case, n=1)[torch.zeros(2000, dtype=torch.long)]
    case.model.simulate = lambda params, data: {"phi2": 0.8 * torch.randn(2000) * ERROR + params["phi2.mu"]}
    assert stats.kstest(uniforms(case, rows)[:, 0], "uniform").pvalue < 1e-6


@cases
def test_samples_are_stars_of_the_model(make):
    case = make()
    rows = stars(case)
    some = case.model.sample(rows.select([n for n in case.model.columns if n not in case.box]), seed=1)
    assert set(case.model.columns) <= set(some.names)
    assert case.model.in_window(some).all()
    assert ln_p(case.model, some).isfinite().all()
    assert all(torch.equal(some[n], case.model.sample(rows, seed=1)[n]) for n in case.box)
    assert not all(torch.equal(some[n], case.model.sample(rows, seed=2)[n]) for n in case.box)
    assert len(case.model.sample(rows[:0])) == 0


def part_was_seen(case, name):
    """Whether a coordinate has a footprint in a density of others too."""
    parts = [part for part in case.model.parts() if part.has_footprint and not isinstance(part, ComponentModel)]
    return any(len(part.coord_names) > 1 and part.footprint.coord == name for part in parts)


@cases
def test_a_missing_error_is_a_missing_coordinate(make):
    case = make()
    rows = stars(case)
    parts = [part for part in case.model.modules() if isinstance(part, sml.Model)]
    for name in {name for part in parts for name in part.error_names.values()}:
        expected = ln_p(case.model, without(rows, name.removesuffix("_err")))
        if part_was_seen(case, name.removesuffix("_err")):  # how likely a star was seen depends on its error
            rows = rows.with_columns({name: torch.zeros(40)})
            expected = ln_p(case.model, without(rows, name.removesuffix("_err")))
        torch.testing.assert_close(ln_p(case.model, without(rows, name)), expected)


@cases
@pytest.mark.parametrize("spread", [1.0, 1e3])
def test_gradients_are_finite(make, spread):
    """In the window and far beyond its edges; stars without probability have no gradient."""
    case = make()
    rows = stars(case, spread=spread)
    values = ln_p(case.model, rows)
    assert not values.isnan().any()
    trained = {name: weight for name, weight in case.model.named_parameters() if weight.requires_grad}
    if not trained:
        assert values.requires_grad is False
        return
    kept = values.isfinite()
    gradients = torch.autograd.grad(values[kept].sum(), list(trained.values()), allow_unused=True)
    found = {name: g for name, g in zip(trained, gradients, strict=True) if g is not None}
    assert set(found) == set(trained)
    assert {name: g for name, g in found.items() if not g.isfinite().all()} == {}
    if spread == 1.0:
        assert any((g != 0).any() for g in found.values())


@cases
def test_gradients_equal_finite_differences(make):
    """Along a random direction in the space of all weights, in double precision."""
    case = make()
    model = case.model.to(torch.float64)
    rows = stars(case, n=12, spread=0.6).to(dtype=torch.float64)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if not weights:
        return
    start = [weight.detach().clone() for weight in weights]
    direction = [torch.randn_like(weight) for weight in weights]

    @torch.no_grad()
    def after(step):
        for weight, at, d in zip(weights, start, direction, strict=True):
            weight.copy_(at + step * d)
        return ln_p(model, rows).sum().item()

    slopes = torch.autograd.grad(ln_p(model, rows).sum(), weights)
    slope = sum((s * d).sum() for s, d in zip(slopes, direction, strict=True)).item()
    h = 1e-5
    numerical = (8 * (after(h) - after(-h)) - (after(2 * h) - after(-2 * h))) / (12 * h)
    assert slope == pytest.approx(numerical, rel=2e-5, abs=1e-5)


COLD = [f"{name}-cold" for name in ("normal", "truncated-normal", "skew-normal", "truncated-skew-normal")]


@pytest.mark.parametrize("name", [*COLD, "isochrone-1", "isochrone-2"])
def test_gradients_are_finite_a_thousand_sigma_away(name):
    case = CASES[name]()
    reach = {"phi2": 9.0, "g": 300.0, "r": 300.0}  # the colds' widths are 0.01 deg, the isochrone's 0.3 mag
    ends = torch.tensor([-1.0, 1.0])
    columns = {c: (0.0 if c == "phi2" else 20.0) + reach[c] * ends for c in case.box}
    rows = sml.Data({"phi1": torch.zeros(2)} | columns | {e: torch.full((2,), ERROR) for e in errors_of(case.model)})
    values = ln_p(case.model, rows)
    assert (values < -1e5).all()
    assert values.isfinite().all()
    weights = [weight for weight in case.model.parameters() if weight.requires_grad]
    for gradient in torch.autograd.grad(values.mean(), weights):
        assert gradient.isfinite().all()
        assert (gradient != 0).any()


@cases
def test_outside_its_window_a_star_is_impossible(make):
    case = make()
    boxed = [m for m in case.model.modules() if isinstance(m, b.RotatedBox)]
    parts = case.model.parts()
    windowed = boxed + [part for part in parts if part.coord_bounds or part.has_footprint]
    beyond = stars(case).with_columns({name: torch.full((40,), 1e3) for name in case.box})
    assert bool((~case.model.in_window(beyond)).all()) == bool(windowed)
    values = ln_p(case.model, beyond)
    assert not values.isnan().any()
    soft = any(
        isinstance(m, b.Normal | b.SkewNormal | b.MultivariateNormal) for m in windowed
    )  # these flag stars and do not truncate
    if windowed and not soft:
        assert (values == -math.inf).all()


@cases
def test_positions_in_whole_numbers(make):
    case = make()
    rows = stars(case)
    whole = rows.with_columns({"phi1": rows["phi1"].round()})
    integers = whole.with_columns({"phi1": whole["phi1"].long()})
    torch.testing.assert_close(ln_p(case.model, integers), ln_p(case.model, whole))


@cases
def test_double_precision(make):
    case = make()
    rows = stars(case)
    single = ln_p(case.model, rows)
    finer = ln_p(case.model, rows.to(dtype=torch.float64))
    double = ln_p(case.model.to(torch.float64), rows.to(dtype=torch.float64))
    assert double.dtype == torch.float64
    for other in (single, finer, ln_p(case.model, rows)):
        torch.testing.assert_close(other.double(), double, atol=2e-4, rtol=2e-4)


@cases
def test_state_copy_and_pickle_keep_the_numbers(make):
    case = make()
    rows = stars(case)
    expected = ln_p(case.model, rows)
    file = io.BytesIO()
    torch.save(case.model.state_dict(), file)
    file.seek(0)
    other = make().model
    if list(other.parameters()) and make not in [case for name, case in CASES.items() if "-flat" in name]:
        assert not torch.equal(ln_p(other, rows), expected)
    other.load_state_dict(torch.load(file, weights_only=True))
    averaged = AveragedModel(case.model)
    for _ in range(3 if list(case.model.parameters()) else 0):
        averaged.update_parameters(case.model)
    for model in (other, copy.deepcopy(case.model), pickle.loads(pickle.dumps(case.model))):
        assert torch.equal(ln_p(model, rows), expected)
    torch.testing.assert_close(ln_p(averaged.module, rows), expected)


@cases
def test_the_state_is_tensors_alone_and_goes_through_safetensors(make):
    case = make()
    rows, state = stars(case), case.model.state_dict()
    assert [name for name, value in state.items() if not isinstance(value, torch.Tensor)] == []
    other = make().model
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)))
    assert torch.equal(ln_p(other, rows), ln_p(case.model, rows))
    assert {name: tuple(value.shape) for name, value in other.state_dict().items()} == {
        name: tuple(value.shape) for name, value in state.items()
    }


@cases
def test_tables_of_no_star_and_of_one(make):
    case = make()
    rows = stars(case)
    all_rows = ln_p(case.model, rows)
    assert ln_p(case.model, rows[:0]).shape == (0,)
    torch.testing.assert_close(ln_p(case.model, rows[7:8]), all_rows[7:8], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ln_p(case.model, rows[rows["phi1"] > 0]), all_rows[rows["phi1"] > 0])


@cases
def test_columns_are_all_that_is_read(make):
    case = make()
    rows = stars(case)
    assert {"phi1", *case.box} <= set(case.model.columns)
    extra = rows.with_columns({"gmag": torch.full((40,), torch.nan)})
    assert torch.equal(ln_p(case.model, extra.select(case.model.columns)), ln_p(case.model, extra))


@mixtures
def test_memberships_sum_to_one(make):
    case = make()
    rows = stars(case)
    rows = rows.with_columns({"phi2": torch.where(torch.arange(40) % 4 == 0, torch.nan, rows["phi2"])})
    params = case.model(rows)
    p = case.model.membership(params, rows)
    assert p.shape == (40, len(case.model.components))
    torch.testing.assert_close(p.sum(-1), torch.ones(40))
    assert ((p >= 0) & (p <= 1)).all()
    shares = case.model.ln_joint(params, rows) - case.model.ln_likelihood(params, rows)[:, None]
    torch.testing.assert_close(shares.exp(), p)


@mixtures
def test_the_membership_of_the_generating_model_is_calibrated(make):
    """Among stars given p, a share p is of that component: the model that makes the stars is the optimum."""
    case = make()
    rows = stars(case, n=1)[torch.zeros(20_000, dtype=torch.long)]
    rows = case.model.sample(rows.with_columns({"phi1": torch.empty(20_000).uniform_(-40, 40)}), seed=5)
    p = case.model.membership(case.model(rows), rows)
    assert (p.gather(1, rows["component"][:, None]) > 0).all()
    for i in range(p.shape[1]):
        for lower in torch.arange(0, 1, 0.1):
            binned = (p[:, i] >= lower) & (p[:, i] < lower + 0.1)
            expected, spread = p[binned, i].sum(), (p[binned, i] * (1 - p[binned, i])).sum().sqrt()
            assert ((rows["component"][binned] == i).sum() - expected).abs() <= 4 * spread + 1e-3


def test_a_chain_of_conditional_densities():
    """A part that depends on another's coordinate; a star without that coordinate has no place."""
    test_density_integrates_to_one(chain)
    test_samples_follow_the_density(chain)
    test_gradients_are_finite(chain, 1.0)
    case = chain()
    rows = stars(case)
    assert case.model.indep_coord_names == ("phi1",)
    assert (ln_p(case.model, without(rows, "phi2")) == -math.inf).all()
    assert not case.model.in_window(without(rows, "phi2")).any()
    torch.testing.assert_close(ln_integral(case, ("g",), rows), ln_p(case.model, without(rows, "g")), atol=2e-3, rtol=0)


# Values of the isochrone and of the flows, at parameters set by hand.


def test_isochrone_of_one_segment_is_a_smeared_line():
    """Flat in g from M = 3 to 7 at modulus 15: a uniform law 4 mag wide, convolved with scatter, depth and error."""
    curve = sml.builtin.Isochrone([0.5, 0.8], [[7.0], [3.0]], ("g",))
    uniform = b.UniformMassFunction()
    model = b.IsochroneMVNorm(
        isochrone=curve, phot_err_names=("g_err",), mass_function=uniform, segments=1, scatter=0.1
    )
    g = torch.linspace(16, 24, 33, dtype=torch.float64)
    params = {"distmod.mu": torch.full_like(g, 15.0), "distmod.ln-sigma": torch.full_like(g, math.log(0.2))}
    data = sml.Data({"phi1": g, "g": g, "g_err": torch.full_like(g, 0.3)})
    width = math.sqrt(0.1**2 + 0.2**2 + 0.3**2)
    law = stats.norm(0, width)
    expected = np.log((law.cdf(g - 18) - law.cdf(g - 22)) / 4)
    found = model.to(torch.float64).ln_likelihood(params, data)
    np.testing.assert_allclose(found[4:-4], expected[4:-4], atol=1e-6)


def test_depth_moves_all_magnitudes_together():
    """Between two bands of a point-like population the depth is a covariance, so the colour does not feel it."""
    curve = sml.builtin.Isochrone([0.7999, 0.8], [[4.0001, 3.5001], [4.0, 3.5]], ("g", "r"))
    model = b.IsochroneMVNorm(isochrone=curve, segments=1, scatter=0.1).to(torch.float64)
    m = torch.tensor([[19.0, 18.5], [19.3, 18.8], [19.3, 18.2], [18.8, 18.6]], dtype=torch.float64)
    ones = torch.ones(4, dtype=torch.float64)
    params = {"distmod.mu": 15 * ones, "distmod.ln-sigma": math.log(0.5) * ones}
    found = model.ln_likelihood(params, sml.Data({"phi1": ones, "g": m[:, 0], "r": m[:, 1]}))
    law = stats.multivariate_normal([19.0, 18.5], 0.01 * np.eye(2) + 0.25 * np.ones((2, 2)))
    np.testing.assert_allclose(found, law.logpdf(m), atol=2e-3)


def test_flow_of_a_known_law():
    """A flow that is the standard normal: the density of the scaled and stretched coordinates is known."""

    class Standard(torch.nn.Module):
        def forward(self, context):
            base = torch.distributions.Normal(torch.zeros_like(context), 1.0, validate_args=False)
            return torch.distributions.Independent(base, 1, validate_args=False)

    numbers = sml.utils.StandardScaler(("phi1", "g"), mean=[0.0, 20.0], scale=[1.0, 1.5])
    free = sml.builtin.compat.ZukoFlowModel(net=Standard(), coord_names=("g",), data_scaler=numbers, broad=None)
    g = torch.linspace(17.1, 22.9, 30)
    data = sml.Data({"phi1": torch.zeros(30), "g": g})
    np.testing.assert_allclose(ln_p(free, data), stats.norm(20, 1.5).logpdf(g), atol=1e-5)
    # A normal law of the width the stretch gives to a uniform one is that uniform law
    numbers = sml.utils.StandardScaler(("phi1", "g"), mean=[0.0, 20.0], scale=[1.0, 6 / math.sqrt(2 * math.pi)])
    cut = sml.builtin.compat.ZukoFlowModel(
        net=Standard(), coord_names=("g",), data_scaler=numbers, coord_bounds={"g": (17.0, 23.0)}, broad=None
    )
    np.testing.assert_allclose(ln_p(cut, data), -math.log(6), atol=1e-5)
