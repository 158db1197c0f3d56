"""What the fit of a stream found, in tables that are alike for all streams."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Row, Table

from stream_mapper.catalog import read_table, replace_file, to_icrs, write_table
from stream_mapper.fitted import Catalogue, Fit
from stream_mapper.loading import load
from stream_mapper.results.provenance import with_facts
from stream_mapper.results.run_folder import RunTables
from stream_mapper.utils import floats

NUMBERS = "numbers.json"
TABLES = {"members": "members.parquet", "tracks": "track.parquet", "densities": "density.parquet"}
"""What of each stream goes into a table of the atlas, and its file in the folder of the stream."""

BAND = ("05", "95")
AT_MIDDLE = (
    *("phi2", "pm_phi1", "pm_phi2", "distance", "distmod", "radial_velocity", "feh"),
    *("phi2_sigma", "pm_phi1_sigma", "pm_phi2_sigma", "distmod_sigma", "radial_velocity_sigma"),
)
"""What the summary has of the track, in the middle of the stream."""

_TRUTH = ("true_members", "average_precision", "optimal_average_precision", "distance_coverage")
_PC = 1000 * math.pi / 180  # pc of a degree at a kpc
_ICRS = {"pm_ra_cosdec": "pmra", "pm_dec": "pmdec"}


def write_findings(run: Path, folder: Path, least: float) -> None:
    """Write the numbers, the members, the track and the density of a stream.

    Arguments:
        run: The folder of its fit.
        folder: Where the files go.
        least: Probability above which a star is a member.

    Raises:
        InputError: If the run cannot be read.
    """
    fit = load(run)
    tables = {name: read_table(run / f"{name}.ecsv") for name in ("track", "density", "components", "checks")}
    if fit.catalogue is None:
        raise ValueError(f"{run} has no memberships")  # as a fit never leaves it
    members = _members(fit, fit.catalogue, tables, least)
    tables["track"] = _with_icrs(tables["track"], fit)
    found = {"members": members, "tracks": tables["track"], "densities": tables["density"]}
    for name, table in found.items():
        table.meta.clear()  # of this one fit, and of the time it was made
        write_table(table, folder / TABLES[name])
    text = json.dumps(numbers(tables, fit.metrics, members, run.relative_to(folder).as_posix()), indent=1) + "\n"
    replace_file(folder / NUMBERS, lambda new: new.write_text(text))


def numbers(
    tables: Mapping[str, Table], metrics: Mapping[str, Any], members: Table, run: str
) -> dict[str, float | str | None]:
    """The row of the summary of a stream, by the names of its columns; what is not known is not in it.

    Arguments:
        tables: The tables of its run: track, density, components, checks.
        metrics: The numbers of its run.
        members: The table of its members.
        run: The run folder, in that of the stream.
    """
    component = str(tables["track"]["component"][0])
    track = _of(tables["track"], component)
    row: dict[str, Any] = {"verdict": metrics.get("verdict", ""), "doubts": _doubts(tables["checks"]), "run": run}
    row |= {name: metrics[name] for name in ("stars", "in_window", *_TRUTH) if name in metrics}
    row |= {"listed": len(members)}
    if len(members):
        row["mean_p_member"] = float(np.mean(np.asarray(members["p_member"])))
    whole = _of(tables["components"], component)
    for name in ("members", "begin", "end"):
        row |= _banded(whole[0], name, f"phi1_{name}" if name != "members" else name) if len(whole) else {}
    there = np.asarray(track["supported"]).astype(bool)
    places = np.asarray(track["phi1"], dtype=float)
    if there.any():
        row.setdefault("phi1_begin", float(places[there].min()))
        row.setdefault("phi1_end", float(places[there].max()))
    if {"phi1_begin", "phi1_end"} <= row.keys():
        row["phi1_middle"] = (row["phi1_begin"] + row["phi1_end"]) / 2
        row |= _middle(track, int(np.abs(places - row["phi1_middle"]).argmin()))
    return {name: value for name, value in row.items() if not (isinstance(value, float) and math.isnan(value))}


def _middle(track: Table, place: int) -> dict[str, float]:
    """Centre and width of the track in the middle, where it is on the sky, and the width in pc."""
    row = track[place]
    out = {name: float(row[name]) for name in ("ra", "dec", "pmra", "pmdec") if name in track.colnames}
    for name in AT_MIDDLE:
        out |= _banded(row, name, name)
    return out | width_in_pc(out)


def width_in_pc(row: Mapping[str, float]) -> dict[str, float]:
    """The width across the sky in pc, with its band: those of angle and distance, in quadrature of their logarithms.

    >>> round(width_in_pc({"phi2_sigma": 0.2, "distance": 10.0})["width"], 3)
    34.907
    """
    if not {"phi2_sigma", "distance"} <= row.keys():
        return {}
    width = row["phi2_sigma"] * row["distance"] * _PC
    out = {"width": width}
    for end, sign in zip(BAND, (-1, 1), strict=True):
        if all(row.get(f"{name}_{end}", 0.0) > 0 for name in ("phi2_sigma", "distance")):
            ways = [math.log(row[f"{name}_{end}"] / row[name]) for name in ("phi2_sigma", "distance")]
            out[f"width_{end}"] = width * math.exp(sign * math.hypot(*ways))
    return out


def _members(fit: Fit, catalogue: Catalogue, tables: Mapping[str, Table], least: float) -> Table:
    """The likely members, the likeliest first, with what every stream has of them."""
    run = RunTables(fit.model, fit.intake, catalogue.table, tables["track"], tables["density"], catalogue.stars)
    stars, _ = run.selected()
    return run.best(int((np.asarray(stars["p_member"]) > least).sum()))


def _with_icrs(track: Table, fit: Fit) -> Table:
    """The track with its place, and its motion, on the sky, where its frame says how it lies there."""
    frame, track = fit.intake.reading.frame, track.copy()
    if frame is None or "phi2" not in track.colnames:
        return track
    none = np.full(len(track), np.nan)
    motion = [floats(track[name]) if name in track.colnames else none for name in ("pm_phi1", "pm_phi2")]
    icrs = to_icrs(frame.orientation.matrix, floats(track["phi1"]), floats(track["phi2"]), *motion)
    for i, (name, values) in enumerate(icrs.items()):
        column = _ICRS.get(name, name)
        if column not in track.colnames:
            track.add_column(values, name=column, index=2 + i)
            track[column].unit = "deg" if column in ("ra", "dec") else "mas / yr"
    return with_facts(track, {}, {name: name for name in track.colnames})


def _of(table: Table, component: str) -> Table:
    return table[np.asarray(table["component"]).astype(str) == component]


def _doubts(checks: Table) -> str:
    """The checks that fail, with what they found."""
    failing = checks[np.asarray(checks["verdict"]).astype(str) == "fail"]
    said = dict.fromkeys(f"{row['name']}: {row['message']}" for row in failing)
    return "; ".join(said)


def _banded(row: Row, name: str, called: str) -> dict[str, float]:
    """A number of a row with the ends of its band, as far as they are there."""
    return dict(_numbers(row, name, called))


def _numbers(row: Row, name: str, called: str) -> Iterator[tuple[str, float]]:
    for ending in ("", *(f"_{end}" for end in BAND)):
        if name + ending in row.colnames and not np.ma.is_masked(value := row[name + ending]):
            yield called + ending, float(value)
