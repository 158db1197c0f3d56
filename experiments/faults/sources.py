"""Sound inputs of every kind, small, of which the fuzzing makes unsound ones: the tests' own."""

from __future__ import annotations

import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from law import commanded

import stream_mapper as sml
from stream_mapper.catalog import Reading, write_table
from stream_mapper.commands import parse
from stream_mapper.fitted import Fit
from stream_mapper.inference.ensemble import Ensemble
from stream_mapper.models import Model
from stream_mapper.results.annotation import Intake

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from small_survey import COLUMNS, MODEL, stars

FORMATS = ("fits", "ecsv", "csv", "vot", "parquet")
SIMULATE = """\
simulator:
  class_path: stream_mapper.mock.TailoredMock
  init_args: {seed: 0, n_stream: 20, n_background: 30, error: 0.02, gaps: [[0.0, 1.0, 0.5]]}
"""
QUERY = """\
frame: {class_path: stream_mapper.catalog.SkyFrame, init_args: {frame: {pole: [34.5, 29.7], ra0: 200}}}
phi1: [-5, 5]
phi2: [-2, 2]
slice_width: 2.0
columns: [source_id, ra, dec]
cuts: {parallax: [null, 1.0], phot_g_mean_mag: [10.0, 20.0]}
row_limit: 1000
dry_run: true
"""


def _made(model: Model) -> Model:
    """A command with a model."""
    return model


def configured_model(folder: Path, raw: bytes) -> Any:
    """The model of a configuration, by the parser of the commands."""
    path = folder / "model.yaml"
    path.write_bytes(b"model:\n" + b"".join(b"  " + line for line in raw.splitlines(keepends=True)))
    made: list[Model] = []
    commanded(lambda given: made.append(_made(**parse(_made, given))), ["--config", str(path)])
    return made[0]


def model() -> Any:
    """The model of the configuration."""
    with tempfile.TemporaryDirectory() as folder:
        return configured_model(Path(folder), MODEL.encode())


def small_checkpoint(path: Path) -> Path:
    """A checkpoint of the model as it is before a fit, with all that a finished one has."""
    made = model()
    data, _ = Reading(COLUMNS).load(stars())
    made.fit_scalers(data)
    return Fit(made.eval(), Ensemble(made), Intake(Reading(COLUMNS))).save(path)


@cache
def isochrones() -> dict[str, tuple[str, Any]]:
    """Text of an isochrone of each kind, and what reads it."""
    import test_isochrone_readers as texts  # noqa: PLC0415

    read = sml.builtin.Isochrone
    return {
        "MIST": (
            texts.MIST_BLOCK.format(age=10.1, age_name="log10_isochrone_age_yr"),
            lambda path: (read.read_mist(path, ("PS_g", "PS_r")), read.read(path, "PS_g", age=12.6, stop=None)),
        ),
        "PARSEC": (
            texts.parsec_table(texts.parsec_rows(10.1)),
            lambda path: (read.read_parsec(path, {"g": "Gmag"}), read.read(path, "Gmag", stop="early_agb")),
        ),
        "Dartmouth": (
            texts.DARTMOUTH.format(feh=-1.9) + texts.SECOND_AGE,
            lambda path: (read.read_dartmouth(path, "gP1", age=12.5), read.read(path, "gP1", age=9)),
        ),
        "BaSTI": (
            texts.basti(12000),
            lambda path: (read.read_basti(path, ("G", "G_BP")), read.read(path, "G", stop="early_agb")),
        ),
    }


def isochrone_table() -> Table:
    """An isochrone as a table."""
    columns = {"Mini": [0.3, 0.6, 0.8], "Gmag": [9.0, 6.0, 2.0], "label": [1, 1, 3], "age": [12.0, 12.0, 12.0]}
    return Table(columns)


def track_table(sky: bool) -> Table:
    """A track, on the sky or in the frame of the stream."""
    place = np.linspace(0, 20, 9)
    first = {"ra": 150 + place, "dec": 25 + place / 3} if sky else {"phi1": place, "phi2": place / 10}
    moves = {"pmra": -place, "pmdec": place / 2} if sky else {"pm_phi1": -place, "phi2_width": 0.1 + place / 100}
    return Table({**first, **moves, "distance": 9 + place / 20})


def galstreams(folder: Path) -> list[Path]:
    """Files of galstreams with one stream: its track, its summary and the list of all."""
    from galstreams_files import thin_stream  # noqa: PLC0415

    thin_stream(folder)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def written(folder: Path, table: Table, suffix: str) -> bytes:
    """A table as a file has it."""
    path = folder / f"source.{suffix}"
    write_table(table, path)
    raw = path.read_bytes()
    path.unlink()
    return raw
