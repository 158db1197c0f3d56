"""The kinds of inputs: how one is made unsound, what reads it, and what has to hold if it is used."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sources
import torch
import yaml
from astropy.table import Column, MaskedColumn, Table
from law import check_whole, commanded
from mutations import any_value, other_bytes, other_text, other_value

import stream_mapper as sml
from stream_mapper.catalog import Reading, read_footprint, read_track, write_table
from stream_mapper.commands import parse
from stream_mapper.configuration import check_text
from stream_mapper.errors import InputError
from stream_mapper.loading import load
from stream_mapper.pipeline import fit
from stream_mapper.predict import predict
from stream_mapper.query import query
from stream_mapper.report import report
from stream_mapper.results.run_folder import ResultOptions
from stream_mapper.simulate import simulate

Use = Callable[[Path, random.Random], None]
SHORT: dict[str, Any] = {"trainer": {"max_epochs": 1}, "results": ResultOptions(draws=2, track_draws=2)}
KINDS: dict[str, Use] = {}
"""By name, a function that makes an input of random numbers in an empty folder and lets the package read it."""


def kind(name: str) -> Callable[[Use], Use]:
    """Decorate the function of a kind."""

    def register(function: Use) -> Use:
        KINDS[name] = function
        return function

    return register


@functools.cache
def _file(suffix: str, which: str = "stars") -> bytes:
    table = {
        "stars": sources.stars,
        "isochrone": sources.isochrone_table,
        "track": lambda: sources.track_table(sky=False),
        "sky": lambda: sources.track_table(sky=True),
    }[which]()
    return sources.written(_scratch(), table, suffix)


@functools.cache
def _scratch() -> Path:
    import tempfile  # noqa: PLC0415

    return Path(tempfile.mkdtemp(prefix="faults-"))


def _changed(suffix: str, rng: random.Random, which: str = "stars") -> bytes:
    raw = _file(suffix, which)
    if suffix in ("ecsv", "csv", "vot") and rng.random() < 0.7:
        return other_text(raw.decode(), rng)
    return other_bytes(raw, rng)


# Tables ---------------------------------------------------------------------------------------------------------------


@kind("tables, bytes")
def table_bytes(folder: Path, rng: random.Random) -> None:
    """A file of stars in any format, changed."""
    suffix = rng.choice(sources.FORMATS)
    path = folder / f"stars.{suffix}"
    path.write_bytes(_changed(suffix, rng))
    _read_stars(path)


@kind("tables, values")
def table_values(folder: Path, rng: random.Random) -> None:
    """Stars with columns of other types, shapes, units and numbers, written by the package and read again."""
    path = folder / f"stars.{rng.choice(sources.FORMATS)}"
    write_table(_other_stars(rng), path)
    _read_stars(path)


def _read_stars(path: Path) -> None:
    stars, table = Reading(sources.COLUMNS).load(path)
    assert len(stars) == len(table)
    for name in sources.COLUMNS:
        assert stars[name].isfinite().all(), name


def _other_stars(rng: random.Random) -> Table:
    table = sources.stars(rng.choice((0, 1, 2, 40)))
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(table.colnames)
        with contextlib.suppress(ValueError, TypeError, OverflowError, RuntimeError):  # numpy has no such column
            table[name] = rng.choice(_COLUMNS)(np.asarray(table[name]), rng)
    if rng.random() < 0.2:
        table.rename_column(rng.choice(table.colnames), rng.choice(("PHI2", "x", "é", "a b", "p_member", "ra")))
    return table


def _objects(values: list[Any]) -> Any:
    column = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        column[i] = value
    return column


def _spoilt(values: Any, rng: random.Random) -> Any:
    numbers = (np.nan, np.inf, -np.inf, 1e300, 99.0, -999.0, 9999.0, 1e20, 0.0, -1.0)
    values = np.array(values, dtype=float)
    values[rng.randrange(len(values)) if len(values) else slice(None)] = rng.choice(numbers)
    return values


_TYPES = ("i1", "i2", "u1", "u2", "u8", ">f4", ">i4", "f2", "?", "U20", "S9")
_COLUMNS: tuple[Callable[[Any, random.Random], Any], ...] = (
    _spoilt,
    _spoilt,
    lambda v, rng: np.nan_to_num(v).astype(rng.choice(_TYPES)),
    lambda v, rng: v.astype(rng.choice(("c16", "O", "U3", "S3"))),
    lambda v, rng: MaskedColumn(v, mask=np.reshape([rng.random() < 0.5 for _ in v.flat], v.shape)),
    lambda v, rng: MaskedColumn(v, mask=True),  # noqa: ARG005
    lambda v, rng: Column(v, unit=rng.choice(("", "kg", "rad", "mas / yr", "dex", "mag(AB)", "km s-1", "deg2", "kpc"))),
    lambda v, rng: np.stack([v, v], axis=-1),  # noqa: ARG005
    lambda v, rng: np.array([rng.choice(("", "nan", "1.5", "text", "null")) for _ in v], dtype="U5"),
    lambda v, rng: _objects([any_value(rng) for _ in v]),
    lambda v, rng: np.full(len(v), np.datetime64("2020-01-01")),  # noqa: ARG005
)


@kind("predictions of tables")
def prediction(folder: Path, rng: random.Random) -> None:
    """The command predict with a file of stars that was changed."""
    suffix = rng.choice(("fits", "csv", "parquet", "parquet"))
    path, output = folder / f"stars.{suffix}", folder / f"out.{rng.choice(('fits', 'parquet'))}"
    if rng.random() < 0.5:
        path.write_bytes(_changed(suffix, rng))
    else:
        write_table(_other_stars(rng), path)
    args = ["--checkpoint", str(_checkpoint()), "--catalogue", str(path), "--output", str(output), "--draws", "0"]
    _whole(folder, output, lambda: commanded(lambda given: predict(**parse(predict, given)), args))


def _whole(folder: Path, output: Path, command: Callable[[], None]) -> None:
    before = set(folder.rglob("*"))
    try:
        command()
    except InputError:
        check_whole(folder, output, before, refused=True)
        raise
    check_whole(folder, output, before, refused=False)


# Configurations -------------------------------------------------------------------------------------------------------


def _configured(folder: Path, raw: bytes, function: Callable[..., Any], *more: str) -> None:
    path = folder / "c.yaml"
    path.write_bytes(raw)
    commanded(lambda given: function(**parse(function, given)), ["--config", str(path), *more])


def _other_yaml(text: str, rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return other_text(text, rng)
    return yaml.safe_dump(other_value(yaml.safe_load(text), rng), allow_unicode=True).encode()


@kind("configurations, text")
def configuration_text(folder: Path, rng: random.Random) -> None:
    """A configuration as YAML, by itself."""
    path = folder / "c.yaml"
    path.write_bytes(other_text(sources.MODEL, rng) if rng.random() < 0.7 else other_bytes(sources.MODEL.encode(), rng))
    check_text(path)


@kind("configurations, simulate")
def configuration_of_simulate(folder: Path, rng: random.Random) -> None:
    """The command simulate."""
    output, raw = folder / "out.parquet", _other_yaml(sources.SIMULATE, rng)
    (folder / "c.yaml").touch()
    _whole(folder, output, lambda: _configured(folder, raw, simulate, "--output", str(output)))


@kind("configurations, query")
def configuration_of_query(folder: Path, rng: random.Random) -> None:
    """The command query, which here only says what it would ask."""
    raw = _other_yaml(sources.QUERY, rng)
    _configured(folder, raw, query, "--output", str(folder / "out.parquet"), "--dry_run", "true")


@kind("configurations, model")
def configuration_of_model(folder: Path, rng: random.Random) -> None:
    """A model through the parser."""
    sources.configured_model(folder, _other_yaml(sources.MODEL, rng))


@kind("fits of models")
def fit_of_model(folder: Path, rng: random.Random) -> None:
    """A fit of one epoch, of a model with other values."""
    raw = yaml.safe_dump(other_value(yaml.safe_load(sources.MODEL), rng)).encode()
    fit(sources.configured_model(folder, raw), sources.stars(), sources.COLUMNS, **SHORT)


# Isochrones and tracks ------------------------------------------------------------------------------------------------


@kind("isochrones")
def isochrone(folder: Path, rng: random.Random) -> None:
    """A file of any of the kinds, changed."""
    name = rng.choice((*sources.isochrones(), "table"))
    if name == "table":
        suffix = rng.choice(sources.FORMATS)
        path = folder / f"isochrone.{suffix}"
        path.write_bytes(_changed(suffix, rng, "isochrone"))
        curves = (sml.builtin.Isochrone.read(path, {"G": "Gmag"}),)
    else:
        text, read = sources.isochrones()[name]
        path = folder / "isochrone.dat"
        path.write_bytes(other_text(text, rng) if rng.random() < 0.8 else other_bytes(text.encode(), rng))
        curves = read(path)
    for curve in curves:
        assert curve.magnitudes.isfinite().all()
        assert (curve.mass.diff() > 0).all()


@kind("tracks")
def track(folder: Path, rng: random.Random) -> None:
    """A table with a track, on the sky or in the frame of the stream."""
    which, suffix = rng.choice(("track", "sky")), rng.choice(sources.FORMATS)
    path = folder / f"t.{suffix}"
    path.write_bytes(_changed(suffix, rng, which))
    _check_track(read_track(str(path), "gala.coordinates.GD1Koposov10" if which == "sky" else None))


@kind("tracks of galstreams")
def galstreams_track(folder: Path, rng: random.Random) -> None:
    """The files of galstreams, one of them changed."""
    source = _galstreams()
    shutil.copytree(source, folder, dirs_exist_ok=True)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(paths)
    path.write_bytes(other_text(path.read_text(), rng) if rng.random() < 0.8 else other_bytes(path.read_bytes(), rng))
    name = rng.choice(("Thin", "Thin-M20", str(next(p for p in paths if p.name.endswith("me2020.ecsv")))))
    _check_track(read_track(name, "astropy.coordinates.ICRS", tracks=str(folder / "tracks")))


@functools.cache
def _galstreams() -> Path:
    folder = _scratch() / "galstreams"
    folder.mkdir()
    sources.galstreams(folder)
    return folder


def _check_track(found: sml.Track) -> None:
    phi1 = np.asarray(found.phi1)
    assert np.isfinite(phi1).all()
    assert (np.diff(phi1) > 0).all()


@kind("footprints")
def footprint(folder: Path, rng: random.Random) -> None:
    """A region of the sky as a MOC in any of its formats, or as a HEALPix map."""
    name, raw = rng.choice(_regions())
    path = folder / name
    path.write_bytes(
        other_bytes(raw, rng) if name.endswith("fits") or rng.random() < 0.5 else other_text(raw.decode(), rng)
    )
    read_footprint(str(path), "astropy.coordinates.ICRS", phi1=(0.0, 10.0), phi2=(-5.0, 5.0), step=1.0)


@functools.cache
def _regions() -> list[tuple[str, bytes]]:
    from mocpy import MOC  # noqa: PLC0415

    moc = MOC.from_string("2/0-191")
    folder = _scratch()
    for name, form in {"m.fits": "fits", "m.json": "json", "m.txt": "ascii"}.items():
        moc.save(folder / name, format=form, overwrite=True)
    table = Table({"PIXEL": np.arange(192), "VALUE": np.ones(192)})
    table.meta |= {"ORDERING": "NESTED", "NSIDE": 4}
    table.write(folder / "map.fits", overwrite=True)
    return [(name, (folder / name).read_bytes()) for name in ("m.fits", "m.json", "m.txt", "map.fits")]


def prepare() -> None:
    """Make the sound inputs that take long."""
    _checkpoint()
    _run()
    _regions()


# Fits -----------------------------------------------------------------------------------------------------------------


@functools.cache
def _checkpoint() -> Path:
    return sources.small_checkpoint(_scratch() / "best.ckpt")


@functools.cache
def _entries() -> Any:
    return torch.load(_checkpoint(), weights_only=True)


def _check_fit(path: Path) -> None:
    """The memberships of a fit are probabilities, or something is refused."""
    table = load(path).memberships(sources.stars(), draws=0)
    p = np.stack([table["p_stream"], table["p_background"]])
    inside = np.asarray(table["in_window"]) & (np.asarray(table["n_missing"]) >= 0)
    assert np.isfinite(p[:, inside]).all()
    assert np.allclose(p[:, inside].sum(0), 1, atol=1e-4)


@kind("checkpoints, bytes")
def checkpoint_bytes(folder: Path, rng: random.Random) -> None:
    """A checkpoint with other bytes, or cut."""
    path = folder / "x.ckpt"
    path.write_bytes(other_bytes(_checkpoint().read_bytes(), rng))
    _check_fit(path)


@kind("checkpoints, values")
def checkpoint_values(folder: Path, rng: random.Random) -> None:
    """A checkpoint that says something else."""
    path = folder / "x.ckpt"
    torch.save(other_value(copy.deepcopy(_entries()), rng), path)
    _check_fit(path)


@functools.cache
def _run() -> Path:
    folder = _scratch() / "run"
    fit(sources.model(), sources.stars(), sources.COLUMNS, folder=folder, **SHORT)
    return folder


@kind("run folders")
def run_folder(folder: Path, rng: random.Random) -> None:
    """A finished run with one file changed, of which a report is made, and which is loaded."""
    shutil.copytree(_run(), folder, dirs_exist_ok=True)
    path = rng.choice(sorted(path for path in folder.iterdir() if path.suffix in _READ))
    if path.suffix == ".json" and rng.random() < 0.5:
        path.write_text(json.dumps(other_value(json.loads(path.read_text()), rng)))
    elif path.suffix == ".parquet":
        path.write_bytes(other_bytes(path.read_bytes(), rng))
    else:
        path.write_bytes(other_text(path.read_text(), rng))
    report(str(folder))
    load(folder)


_READ = (".json", ".ecsv", ".parquet", ".yaml")
