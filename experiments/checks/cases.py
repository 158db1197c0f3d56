"""The fits of docs/checks.md: good ones, fields without a stream, and one for each fault that a fit must not hide."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from stream_mapper.catalog import to_table, write_table
from stream_mapper.fit import fit_command
from stream_mapper.fitted import Fit
from stream_mapper.mock import SurveyMock, TailoredMock

Config = dict[str, Any]
Table = dict[str, NDArray[Any]]

ROOT = Path(__file__).parents[2]
EPOCHS = 40
OF_FEW_STARS = 120  # epochs of a flow over 15,000 stars: as many steps as the survey's 107,000 take in 20


@dataclass(frozen=True)
class Case:
    """One fit: what is fitted, to which stars, and what its judgement should be.

    Attributes:
        config: Makes the configuration.
        table: Makes the stars.
        verdict: The verdict that is right.
        check: The check that should name the fault, if there is one.
    """

    config: Callable[[], Config]
    table: Callable[[], Table]
    verdict: str
    check: str = ""


def mock() -> Config:
    """The tailored mock: position, parallax and photometry."""
    return _read("mock")


def photometric() -> Config:
    """The tailored mock without its parallaxes: position and photometry, as of a photometric survey."""
    config = mock()
    config["data"]["columns"] = ["phi1", "phi2", "g", "r", "g_err", "r_err"]
    stream = _components(config)["stream"]["init_args"]
    stream.pop("unpack_params_hooks")
    position = stream["components"]["astrometric"]["init_args"]
    position |= {"coord_names": ["phi2"], "coord_bounds": {"phi2": [-2, 10]}, "priors": position["priors"][:1]}
    position["net"]["init_args"]["net"]["init_args"]["features"] = 2
    position["params"] = _parameters({"phi2": {"mu": [-2, 10], "ln-sigma": [-4, 0]}})
    photometry = stream["components"]["photometric"]["init_args"]
    photometry["net"] = copy.deepcopy(position["net"])
    photometry["params"] = _parameters({"distmod": {"mu": [13, 18], "ln-sigma": [-4, -1]}})
    guides = {"param": "distmod.mu", "phi1": [-20, 0, 15, 30], "center": [14.3, 15.0, 15.5, 15.85], "width": 0.4}
    photometry["priors"] = [{"class_path": "stream_mapper.prior.ControlRegions", "init_args": guides}]
    _components(config)["background"]["init_args"]["components"].pop("parallax")
    return config


def survey() -> Config:
    """The survey mock, without its spur: position, proper motions and photometry."""
    config = _read("survey")
    mixture = config["model"]["model"]["init_args"]
    mixture["net"]["init_args"]["net"]["init_args"]["features"] = 1
    mixture["params"]["init_args"]["params"].pop("spur.ln-weight")
    mixture.pop("unpack_params_hooks")
    mixture["ends"].pop("spur")
    _components(config).pop("spur")
    config["background"]["max_epochs"] = OF_FEW_STARS
    return config


def guided(make: Callable[[], Config], param: str, key: str, shift: float) -> Config:
    """A configuration with the guides of a parameter moved, in their places or their centres."""
    config = make()
    for guides in _guides(config, param):
        guides[key] = [value + shift for value in guides[key]]
    return config


def astray(make: Callable[[], Config], shift: float) -> Config:
    """The guides in phi2 moved, and the band that the background is not trained on with them."""
    config = guided(make, "phi2.mu", "center", shift)
    band = config["background"]["off_stream"]["init_args"]
    band["center"] = [value + shift for value in band["center"]]
    return config


def beside(make: Callable[[], Config], shift: float = 75.0) -> Config:
    """Every guide at places where there are no stars."""
    config = make()
    for guides in [*_guides(config, "phi2.mu"), *_guides(config, "parallax.mu")]:
        guides["phi1"] = [value + shift for value in guides["phi1"]]
    return config


def too_tight(make: Callable[[], Config], upper: float) -> Config:
    """A bound of the width in phi2 that is less than the width."""
    config = make()
    position = _stream(config)["astrometric"]["init_args"]["params"]["init_args"]["params"]
    position["phi2"]["ln-sigma"] = [-5, upper]
    return config


def trained_where(make: Callable[[], Config], **bounds: list[float | None]) -> Config:
    """A background that is trained on the stars inside some bounds alone."""
    config = make()
    cut = {"class_path": "stream_mapper.selection.Cut", "init_args": {"bounds": bounds}}
    both = [config["background"]["off_stream"], cut]
    config["background"]["off_stream"] = {
        "class_path": "stream_mapper.selection.All",
        "init_args": {"selections": both},
    }
    return config


def tailored(seed: int, stream: int = 1200, background: int = 8000) -> Table:
    """Stars of the tailored mock."""
    return TailoredMock(seed=seed, n_stream=stream, n_background=background).simulate()


def sky(seed: int, stream: int = 500, spur: int = 0, background: int = 15_000) -> Table:
    """Stars of the survey mock."""
    return SurveyMock(seed=seed, n_stream=stream, n_spur=spur, n_background=background).simulate()


def redder(table: Table, by: float = 0.1) -> Table:
    """Stream stars of another colour than the isochrone's [mag]."""
    of_stream = table["true_component"] != "background"
    return table | {"r": np.where(of_stream, table["r"] - by, table["r"])}


def holed(table: Table, phi1: float, phi2: float, radius: float) -> Table:
    """Stars outside a disc on the sky [deg]."""
    kept = np.hypot(table["phi1"] - phi1, table["phi2"] - phi2) > radius
    return {name: values[kept] for name, values in table.items()}


def with_spur(table: Table, size: int = 150, above: float = 0.9) -> Table:
    """Stars with a further stream, 20 deg long and parallel to the first."""
    other = tailored(seed=99, stream=4 * size, background=10)
    rows = (other["true_component"] == "stream") & (other["phi1"] > 0) & (other["phi1"] < 20)
    rows = np.flatnonzero(rows)[:size]
    spur = {name: values[rows] for name, values in other.items()} | {"phi2": other["phi2"][rows] + above}
    return {name: np.concatenate([values, spur[name]]) for name, values in table.items()}


def fit_of(config: Config, table: Table, folder: Path) -> Fit:
    """The fit of a table, by the command, in a folder that then has the table, ``given.yaml`` and the run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(to_table(table), folder / "stars.parquet")
    config["data"]["path"] = str(folder / "stars.parquet")
    config["trainer"] |= {"default_root_dir": str(folder), "logger": False}
    (folder / "given.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    fit = fit_command(["--config", str(folder / "given.yaml"), "--results.figures=false"])
    if fit is None:
        raise RuntimeError(f"{folder}: this process has no fit.")
    return fit


def cases(good: int = 14) -> Iterator[tuple[str, Case]]:
    """Every case by name; ``good`` of each of three kinds of good fit."""
    kinds = {
        "mock": (mock, tailored),
        "photometric": (photometric, partial(tailored, stream=800)),
        "survey": (survey, sky),
    }
    for i in range(good):
        for kind, (config, table) in kinds.items():
            yield f"good {kind} {i}", Case(config, partial(table, 10 + i), "believable")
    yield from _weak()
    yield from _faults()


def _weak() -> Iterator[tuple[str, Case]]:
    for seed in (3, 4):
        for name, config in (("mock", mock), ("photometric", photometric)):
            yield f"no stream {name} {seed}", Case(config, partial(tailored, seed, 0), "no stream")
            yield f"100 stars {name} {seed}", Case(config, partial(tailored, seed, 125), "believable")
        yield f"no stream survey {seed}", Case(survey, partial(sky, seed, 0), "no stream")
        yield f"100 stars survey {seed}", Case(survey, partial(sky, seed, 100), "believable")


def _faults() -> Iterator[tuple[str, Case]]:
    stars = partial(tailored, 2)
    guides = partial(Case, verdict="doubtful", check="guides")
    for name, config, table in (
        ("mock", mock, stars),
        ("photometric", photometric, stars),
        ("survey", survey, partial(sky, 5)),
    ):
        yield f"guides 2.5 deg off, {name}", guides(partial(astray, config, 2.5), table)
    for name, config, table in (("photometric", photometric, stars), ("survey", survey, partial(sky, 5))):
        shifted = partial(guided, config, "distmod.mu", "center", 1.5)
        yield f"distance guides 1.5 mag off, {name}", guides(shifted, table)
    yield "guides beside the stars", Case(partial(beside, mock), stars, "doubtful", "overlap")
    yield "width bound too tight", Case(partial(too_tight, mock, -2.7), stars, "doubtful", "bounds")
    for name, config in (("mock", mock), ("photometric", photometric)):
        yield (
            f"isochrone 0.1 mag off, {name}",
            Case(config, lambda: redder(stars()), "doubtful", "predictive, residuals"),
        )
        hole = partial(holed, phi1=5.0, phi2=0.2 if name == "mock" else 1.5, radius=1.3)
        yield f"hole in the footprint, {name}", Case(config, lambda h=hole: h(stars()), "doubtful", "footprint")
        yield (
            f"spur not modelled, {name}",
            Case(config, lambda: with_spur(stars()), "doubtful", "predictive, residuals"),
        )
    yield "spur not modelled, survey", Case(survey, partial(sky, 1, spur=80), "doubtful", "predictive, residuals")
    support = partial(Case, table=stars, verdict="doubtful", check="support")
    yield "flow trained where g > 19.5", support(partial(trained_where, photometric, g=[19.5, None]))
    yield "flow trained where g < 21", support(partial(trained_where, mock, g=[None, 21.0]))
    yield "flow trained where phi1 < 5", support(partial(trained_where, photometric, phi1=[-45, 5]))


def _read(name: str) -> Config:
    config = yaml.safe_load((ROOT / "experiments" / name / "config.yaml").read_text())
    config["data"].pop("simulator")
    config["trainer"]["max_epochs"] = EPOCHS
    config["background"].pop("max_epochs")  # as many as its steps take
    config["results"] = {"draws": 2, "track_draws": 2}
    return config


def _components(config: Config) -> Config:
    return config["model"]["model"]["init_args"]["components"]


def _stream(config: Config) -> Config:
    return _components(config)["stream"]["init_args"]["components"]


def _guides(config: Config, param: str) -> Iterator[Config]:
    for part in _stream(config).values():
        for prior in part["init_args"].get("priors", []):
            if prior["init_args"].get("param") == param:
                yield prior["init_args"]


def _parameters(params: Config) -> Config:
    return {"class_path": "stream_mapper.params.ModelParameters", "init_args": {"params": params}}
