"""The fits: which stream is drawn, how it is fitted, and which verdict is right."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stream_mapper.mock import RandomMock, StreamTruth

sys.path.insert(0, str(Path(__file__).parents[1] / "checks"))
import cases as checks

Config = dict[str, Any]
Table = dict[str, NDArray[Any]]

KINDS = ("photometric", "survey")
BACKGROUND = {"photometric": 8000, "survey": 15_000}
CERTAIN_FROM = 150.0  # stars; a poorer stream may be called "no stream", too
_RICH = (500.0, 2000.0)  # stars of a stream whose fit has a fault
_NONE = (1e-9, 1e-9)
_EVERY = 10  # of ten fits one has no stream and one has a fault
_GUIDES = 7
# Parameter -> column, standard deviation of the guides about the truth, half width of the guide.
_GUIDED = {
    "phi2.mu": ("phi2", 0.12, 0.4),
    "pm_phi1.mu": ("pm_phi1", 0.15, 0.6),
    "pm_phi2.mu": ("pm_phi2", 0.15, 0.6),
    "distmod.mu": ("distmod", 0.1, 0.4),
}
_END_OFF, _END_REACH = 2.0, 8.0  # standard deviation of a guessed end about the truth, and half the interval [deg]
_LN_WEIGHT = [-14, -0.5]
_BOUNDS = {
    "position": {"phi2": {"mu": [-3.8, 3.8], "ln-sigma": [-4, -0.5]}},
    "proper_motion": {
        "pm_phi1": {"mu": [-11, -2], "ln-sigma": [-5, 0]},
        "pm_phi2": {"mu": [-6, 1], "ln-sigma": [-5, 0]},
    },
    "photometric": {"distmod": {"mu": [13, 17], "ln-sigma": [-5, -1.5]}},
}


@dataclass(frozen=True)
class Size:
    """How much is fitted, and for how long.

    Arguments:
        background: Expected number of background stars; by default that of the kind.
        epochs: Of the training.
        background_epochs: Of the training of the background.
        richness: Least and greatest expected number of stars of a stream.
        draws: Draws of the posterior; by default as many as a fit makes.
    """

    background: int | None = None
    epochs: int = 40
    background_epochs: int = 120
    richness: tuple[float, float] = (30.0, 2000.0)
    draws: int | None = None


QUICK = Size(700, 3, 2, (80.0, 150.0), 8)
"""A fit of a few seconds, whose bands are right in nothing but form."""


@dataclass(frozen=True)
class Case:
    """One fit.

    Attributes:
        name: Its name, which tells the kind, the seed and what is drawn.
        kind: What is measured of a star.
        seed: Seed of everything that is drawn.
        mock: What makes its stars, and knows the truth.
        right: Verdicts that are right.
        check: Checks of which one should name the fault, if there is one.
        config: Makes the configuration.
        change: What the fault does to the stars.
    """

    name: str
    kind: str
    seed: int
    mock: RandomMock
    right: tuple[str, ...]
    config: Callable[[], Config]
    check: tuple[str, ...] = ()
    change: Callable[[Table], Table] = dict

    def table(self) -> Table:
        """The stars."""
        return self.change(self.mock.simulate())

    @property
    def role(self) -> str:
        """``stream``, ``null`` or ``fault``."""
        return "fault" if self.check else "null" if self.right == ("no stream",) else "stream"


def case(index: int, seed: int = 0, kind: str | None = None, size: Size | None = None) -> Case:
    """The fit of an index; of ten one has no stream, and one a fault that its checks should name.

    Arguments:
        index: Number of the fit, from 0.
        seed: Added to the index, as the seed of the fit.
        kind: What is measured; by default both in turn.
        size: How much is fitted.
    """
    size, own = size or Size(), seed + index
    kind = kind or KINDS[(index + index // _EVERY) % 2]
    role = {_EVERY - 2: "null", _EVERY - 1: "fault"}.get(index % _EVERY, "stream")
    richness = {"null": _NONE, "fault": _RICH, "stream": size.richness}[role]
    mock = RandomMock(own, kind, size.background or BACKGROUND[kind], StreamTruth.drawn(own, richness))  # type: ignore[arg-type]
    config = partial(configuration, mock, own, size)
    if role == "fault":
        return _faulty(index // _EVERY, own, mock, config)
    certain = mock.truth.expected >= CERTAIN_FROM
    right = ("no stream",) if role == "null" else ("believable",) if certain else ("believable", "no stream")
    return Case(f"{kind}_{own:04d}_{role}", kind, own, mock, right, config)


def configuration(mock: RandomMock, seed: int, size: Size) -> Config:
    """The configuration of the survey's checks, with guides about the track of a stream."""
    config = checks.survey()
    rng = np.random.default_rng((seed, 1))
    mixture = config["model"]["model"]["init_args"]
    mixture["ends"] = _ends(mock.truth, rng)
    mixture["params"]["init_args"]["params"] = {"stream.ln-weight": _LN_WEIGHT}
    parts = mixture["components"]["stream"]["init_args"]["components"]
    if mock.kind == "photometric":
        _without_motions(config)
    for name, part in parts.items():
        part["init_args"]["params"]["init_args"]["params"] = _BOUNDS[name]
        for prior in part["init_args"]["priors"]:
            prior["init_args"] |= _guides(mock.truth, prior["init_args"]["param"], rng)
    guides = parts["position"]["init_args"]["priors"][0]["init_args"]
    band = config["background"]["off_stream"]["init_args"]
    band["center"] = [round(float(x), 2) for x in np.interp(band["phi1"], guides["phi1"], guides["center"])]
    band["width"] = 1.2 if math.exp(mock.truth.ln_width[0]) < 0.25 else 1.6
    config["background"]["max_epochs"], config["trainer"]["max_epochs"] = size.background_epochs, size.epochs
    config["seed_everything"] = seed
    config["results"] = {} if size.draws is None else {"draws": size.draws, "track_draws": size.draws}
    return config


def _guides(truth: StreamTruth, param: str, rng: np.random.Generator) -> Config:
    """Guides as somebody reads them off the sky: off by an offset, a slope and a scatter, and rounded."""
    column, off, width = _GUIDED[param]
    low, high = max(truth.begin, truth.extent[0] + 2), min(truth.end, truth.extent[1] - 2)
    phi1 = np.linspace(low, high, _GUIDES).round(1)
    centre = truth.centre(torch.from_numpy(phi1))[column].numpy()
    centre = centre + off * (rng.normal() + rng.normal() * np.linspace(-1, 1, _GUIDES)) / math.sqrt(2)
    centre = centre + 0.3 * off * rng.normal(size=_GUIDES)
    return {"phi1": phi1.tolist(), "center": centre.round(2).tolist(), "width": width}


def _ends(truth: StreamTruth, rng: np.random.Generator) -> Config:
    """Where the stream may begin and end, by eye: 16 deg about a guess, for an end inside the field."""
    low, high = truth.extent
    guesses = {
        side: (round(float(place + _END_OFF * rng.normal()), 1), low < place < high)
        for side, place in (("begin", truth.begin), ("end", truth.end))
    }
    found = {side: [guess - _END_REACH, guess + _END_REACH] for side, (guess, inside) in guesses.items() if inside}
    if len(found) == 2 and found["begin"][1] > found["end"][0]:
        found["begin"][1] = found["end"][0] = (found["begin"][1] + found["end"][0]) / 2
    return {"stream": {"class_path": "stream_mapper.Ends", "init_args": found}} if found else {}


def _without_motions(config: Config) -> None:
    """Leave out the proper motions; the magnitudes of the background are then the same everywhere."""
    config["data"]["columns"] = ["phi1", "phi2", "g", "r", "g_err", "r_err"]
    components = config["model"]["model"]["init_args"]["components"]
    components["stream"]["init_args"]["components"].pop("proper_motion")
    rest = components["background"]["init_args"]["components"]["rest"]["init_args"]
    rest.pop("indep_coord_names")
    rest |= {"coord_names": ["g", "r"], "net": {**rest["net"], "init_args": {"features": 2}}}


def _faulty(which: int, seed: int, mock: RandomMock, config: Callable[[], Config]) -> Case:
    """A fit with one of the faults of the checks."""
    truth = mock.truth
    middle = (max(truth.begin, -40.0) + min(truth.end, 40.0)) / 2
    phi2 = truth.centre(torch.tensor([middle]).double())["phi2"].item()
    away = -2.5 if phi2 > 0 else 2.5
    faults: list[tuple[str, Callable[[], Config], Callable[[Table], Table], tuple[str, ...]]] = [
        ("guides", partial(checks.astray, config, away), dict, ("guides",)),
        ("isochrone", config, checks.redder, ("predictive", "residuals")),
        ("distance", partial(checks.guided, config, "distmod.mu", "center", 1.5), dict, ("guides", "bounds")),
        ("hole", config, partial(checks.holed, phi1=middle, phi2=phi2 + 0.8, radius=1.3), ("footprint",)),
        ("width", partial(_tight, config, truth.ln_width[0] - 0.8), dict, ("bounds",)),
    ]
    name, faulty, change, check = faults[which % len(faults)]
    return Case(f"{mock.kind}_{seed:04d}_{name}", mock.kind, seed, mock, ("doubtful",), faulty, check, change)


def _tight(make: Callable[[], Config], upper: float) -> Config:
    """A bound of the width in phi2 that is less than the width."""
    config = make()
    parts = config["model"]["model"]["init_args"]["components"]["stream"]["init_args"]["components"]
    parts["position"]["init_args"]["params"]["init_args"]["params"] = {
        "phi2": {"mu": [-3.8, 3.8], "ln-sigma": [-5, upper]}
    }
    return config
