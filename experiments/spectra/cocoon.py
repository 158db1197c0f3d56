"""A stream of a thin component and a cocoon with spectra of some stars, by a recipe: are the planted widths found?

    python experiments/spectra/cocoon.py [--seed 0] [--output table.md]

The stars are as Gaia and a survey of spectra see them: positions and proper motions of all, radial velocities and
[Fe/H] of the brighter two in five. The same table is read twice, [Fe/H] as bare numbers and in dex.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray

import stream_mapper as sml
from stream_mapper.catalog import Reading
from stream_mapper.results.run_folder import ResultOptions

Values = NDArray[np.float64]

PHI1 = (-15.0, 15.0)
WINDOW = {"phi2": (-4.0, 4.0), "pm_phi1": (-10.0, 0.0), "pm_phi2": (-7.0, 2.0)}
SIZES = {"thin": 1500, "cocoon": 1200, "background": 12_000}
WIDTHS = {
    "thin": {"phi2": 0.15, "pm_phi1": 0.04, "pm_phi2": 0.04, "radial_velocity": 2.5, "feh": 0.06},
    "cocoon": {"phi2": 0.6, "pm_phi1": 0.25, "pm_phi2": 0.25, "radial_velocity": 9.0, "feh": 0.18},
}
"""Planted widths [deg, mas/yr, km/s, dex]."""
COMPONENTS = {"stream": "thin", "cocoon": "cocoon"}
"""What the components of the model are of those that were planted."""
_SPECTRA = {"radial_velocity": "VRAD", "feh": "FEH"}
_SEEN = 0.4  # share of the stars with spectra
_AT = np.linspace(-12.0, 12.0, 9)  # places whose widths are averaged


def track(phi1: Values) -> dict[str, Values]:
    """Centre of both components at places [deg]."""
    s = phi1 / 15
    return {
        "phi2": 0.2 + 0.9 * s**2,
        "pm_phi1": -5.0 + 0.8 * s,
        "pm_phi2": -2.5 - 0.5 * s**2,
        "radial_velocity": -80.0 + 60.0 * s,
        "feh": np.full_like(s, -2.0),
    }


def stars(seed: int) -> Table:
    """The stars with errors, under the names of DESI's survey of the Milky Way, and what they truly are."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat(list(SIZES), list(SIZES.values()))
    phi1 = rng.uniform(*PHI1, len(kinds))
    true = _field(rng, len(kinds))
    for name, middle in track(phi1).items():
        for component, widths in WIDTHS.items():
            rows = kinds == component
            true[name][rows] = rng.normal(middle[rows], widths[name])
    faintness = rng.beta(3.0, 1.5, len(kinds))
    errors = {
        "pm_phi1": 0.03 + 0.25 * faintness**2,
        "pm_phi2": 0.03 + 0.25 * faintness**2,
        "radial_velocity": 0.8 + 6.0 * faintness**2,
        "feh": 0.04 + 0.16 * faintness**2,
    }
    without = faintness > np.quantile(faintness, _SEEN)
    table = Table({"phi1": phi1, "phi2": true["phi2"], "kind": kinds})
    for name, error in errors.items():
        seen, spelt = rng.normal(true[name], error), _SPECTRA.get(name, name)
        table[spelt] = np.where(without & (name in _SPECTRA), np.nan, seen)
        table[f"{spelt}_ERR" if name in _SPECTRA else f"{spelt}_err"] = error
    inside = np.all([(table[c] > low) & (table[c] < high) for c, (low, high) in WINDOW.items()], axis=0)
    return table[inside]


def _field(rng: np.random.Generator, size: int) -> dict[str, Values]:
    """Stars of disc and halo: what they are, without errors."""
    disc = rng.random(size) < 0.6
    return {
        "phi2": rng.uniform(*WINDOW["phi2"], size),
        "pm_phi1": np.where(disc, rng.normal(-2.5, 1.5, size), rng.normal(-4.0, 2.5, size)),
        "pm_phi2": np.where(disc, rng.normal(-2.0, 1.5, size), rng.normal(-2.5, 2.5, size)),
        "radial_velocity": np.where(disc, rng.normal(-10, 45, size), rng.normal(-30, 120, size)),
        "feh": np.where(disc, rng.normal(-0.6, 0.3, size), rng.normal(-1.5, 0.45, size)),
    }


def model_of() -> sml.MixtureModel:
    """The model by the recipe: the range of each width of the cocoon begins where that of the stream ends."""
    places = np.linspace(*PHI1, 7)
    known = {"phi1": places.tolist(), **{name: values.tolist() for name, values in track(places).items()}}
    between = {"phi2": 0.3, "pm_phi1": 0.1, "pm_phi2": 0.1, "radial_velocity": 5.0, "feh": 0.1}
    ranges = {name: (float(np.log(x / 10)), float(np.log(x)), float(np.log(x * 5))) for name, x in between.items()}
    return sml.recipes.Stream(
        track=known,
        window=WINDOW,
        phi1=PHI1,
        coordinates=list(between),
        ends=False,
        bounds={f"{name}.ln-sigma": (least, middle) for name, (least, middle, _) in ranges.items()},
        components={
            "cocoon": sml.recipes.Component(
                shared=[f"{name}.mu" for name in between],
                bounds={f"{name}.ln-sigma": (middle, most) for name, (_, middle, most) in ranges.items()},
            )
        },
    )


def fitted(table: Table) -> sml.Fit:
    """A fit of the table."""
    names = ["phi1", *WIDTHS["thin"]]
    columns = [*names, *(f"{name}_err" for name in names[2:])]
    return sml.fit(
        model_of(), table, Reading(columns, survey="desi_mws"), results=ResultOptions(draws=8, track_draws=100)
    )


def in_dex(table: Table) -> Table:
    """A copy whose [Fe/H] has its unit."""
    copy = table.copy()
    for name in ("FEH", "FEH_ERR"):
        copy[name].unit = u.dex
    return copy


def lines(fit: sml.Fit) -> list[str]:
    """A line a width: what was planted, what was found on average along the stream, and its band."""
    found = fit.track(at=_AT.tolist())
    rows = ["| component | coordinate | planted | found | 90 % band | found / planted |", "|---|---|---|---|---|---|"]
    for component, planted in COMPONENTS.items():
        part = found[found["component"] == component]
        for name, width in WIDTHS[planted].items():
            mean, low, high = (float(np.mean(part[f"{name}_sigma{q}"])) for q in ("", "_05", "_95"))
            rows.append(f"| {planted} | {name} | {width:g} | {mean:.3g} | {low:.3g}-{high:.3g} | {mean / width:.3f} |")
    return rows


def numbers(fit: sml.Fit, table: Table) -> list[str]:
    """A line a component: its true stars and those that the fit expects."""
    expected = {str(row["component"]): row for row in fit.components()}
    return [
        f"{planted}: {int((table['kind'] == planted).sum())} stars in the window, "
        f"{float(expected[component]['members']):.0f} expected"
        for component, planted in COMPONENTS.items()
    ]


def main(args: Sequence[str] | None = None) -> None:
    """Fit, and print the table."""
    parser = argparse.ArgumentParser(description="Planted widths of a thin component and a cocoon.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(args)
    warnings.filterwarnings("ignore", message="LightningCLI's args")
    table = stars(options.seed)
    fit = fitted(table)
    plain, with_unit = (fit.memberships(one, draws=0) for one in (table, in_dex(table)))
    same = all((plain[name] == with_unit[name]).all() for name in ("p_stream", "p_cocoon"))
    text = [*lines(fit), "", *numbers(fit, table), f"verdict: {fit.verdict}", f"same memberships in dex: {same}"]
    text += [f"{row['name']} {row['component']}: {row['message']}" for row in fit.checks if row["verdict"] == "fail"]
    print("\n".join(text))
    if options.output:
        options.output.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
