"""Whether the contamination that a fit of the Indus field expects is that of the control field.

    python experiments/indus/contamination.py RUN ../shared/data/indus/indus_control_gaia_dr3.fits

The stars of the control field are moved onto the strip of the field, each to the same share of its height, and given a
membership. None is of the stream, so those above the threshold are false; they count as many as the stars that the fit
takes for background.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray

import stream_mapper as sml
from stream_mapper.catalog import read_table

SLICES = (-40, -30, -20, -8, 5, 20, 35, 50)  # phi1 [deg]
EVERY = 5.0  # deg between the places of the edges of the control field's strip
LIKELY = 0.8

Values = NDArray[np.float64]


def edges(phi1: Values, phi2: Values, places: Values) -> tuple[Values, Values]:
    """Lowest and highest phi2 [deg] of the stars about some places phi1."""
    near = [phi2[np.abs(phi1 - place) <= EVERY / 2] for place in places]
    return np.array([values.min() for values in near]), np.array([values.max() for values in near])


def moved(control: Table, low: Values, high: Values) -> Table:
    """The control field with phi2 at the same share between other edges, (N,) each."""
    phi1, phi2 = (np.asarray(control[name], dtype=float) for name in ("phi1", "phi2"))
    places = np.arange(SLICES[0], SLICES[-1] + EVERY, EVERY)
    own_low, own_high = (np.interp(phi1, places, edge) for edge in edges(phi1, phi2, places))
    out = control.copy()
    out["phi2"] = low + np.clip((phi2 - own_low) / (own_high - own_low), 0.001, 0.999) * (high - low)
    return out


def rows(stars: Table, control: Table) -> list[list[Any]]:
    """Slice, stars, control stars, expected members, likely ones, and the false of these by fit and by control."""
    out = []
    for low, high in [*pairwise(SLICES), (SLICES[0], SLICES[-1])]:
        here, there = (np.asarray((t["phi1"] >= low) & (t["phi1"] < high)) for t in (stars, control))
        p, q = np.asarray(stars["p_member"][here]), np.asarray(control["p_member"][there])
        p, q = p[np.isfinite(p)], q[np.isfinite(q)]
        likely = p[p > LIKELY]
        false = (q > LIKELY).sum() * (len(p) - p.sum()) / max(len(q), 1)
        out.append([f"{low}..{high}", len(p), len(q), p.sum(), len(likely), (1 - likely).sum(), false])
    return out


def main(args: Sequence[str] | None = None) -> None:
    """Print the table of the README."""
    parser = argparse.ArgumentParser(description="Contamination of a fit of the Indus field, by its control field.")
    parser.add_argument("run")
    parser.add_argument("control")
    options = parser.parse_args(args)
    fit, control = sml.load(options.run), read_table(options.control)
    window = fit.model["stream.position"].windows["phi2"]
    low, high = (edge.numpy() for edge in window.at(torch.as_tensor(np.asarray(control["phi1"], dtype=np.float32))))
    stars = read_table(Path(options.run) / "memberships.parquet")
    found = rows(stars, fit.memberships(moved(control, low, high), draws=0))
    print(
        "| phi1 [deg] | field | control | expected members | p > 0.8 | false by the fit | false by the control field |"
    )
    for name, n, m, members, likely, own, false in found:
        print(f"| {name} | {n:,} | {m:,} | {members:.0f} | {likely:,} | {own:.1f} | {false:.1f} |")


if __name__ == "__main__":
    main()
