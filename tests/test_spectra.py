"""Streams with spectra of some stars: a thin component and a cocoon. phi1 and phi2 are in deg, velocities in km/s."""

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.table import Column, Table

import stream_mapper as sml
from stream_mapper.builtin import Normal, ShareParameters, TruncatedNormal
from stream_mapper.catalog import Reading, read_table, to_data, write_table
from stream_mapper.catalog.metadata import note_of
from stream_mapper.errors import InputError
from stream_mapper.params import ModelParameters
from stream_mapper.results.run_folder import ResultOptions

SKY = {"phi2": (-4.0, 4.0)}
WIDTHS = {
    "thin": {"phi2": 0.12, "radial_velocity": 2.5, "feh": 0.05},
    "cocoon": {"phi2": 0.7, "radial_velocity": 9.0, "feh": 0.15},
}
CENTRES = {"phi2": 0.2, "radial_velocity": -80.0, "feh": -2.0}
ERRORS = {"radial_velocity": 2.0, "feh": 0.1}
SIZES = {"thin": 1500, "cocoon": 1200, "background": 2500}
COLUMNS = ["phi1", "phi2", "radial_velocity", "radial_velocity_err", "feh", "feh_err"]


def stars(seed=5):
    """A DESI-like table; three stars of five have no spectrum."""
    rng = np.random.default_rng(seed)
    parts = {
        q: {name: rng.normal(CENTRES[name], width, SIZES[q]) for name, width in w.items()} for q, w in WIDTHS.items()
    }
    n = SIZES["background"]
    field = {"radial_velocity": rng.normal(20, 110, n), "feh": rng.normal(-1.1, 0.5, n)}
    parts["background"] = {"phi2": rng.uniform(-4, 4, n)} | field
    names = {"phi2": "phi2", "radial_velocity": "VRAD", "feh": "FEH"}
    columns = {theirs: np.concatenate([part[ours] for part in parts.values()]) for ours, theirs in names.items()}
    none = rng.random(len(columns["phi2"])) < 0.6
    for ours, error in ERRORS.items():
        values = columns[names[ours]] + rng.normal(0, error, len(none))
        columns[names[ours]] = np.where(none, np.nan, values)
        columns[f"{names[ours]}_ERR"] = np.full(len(none), error)
    kept = np.abs(columns["phi2"]) < 4
    return Table({"phi1": rng.uniform(-10, 10, len(none)), **columns})[kept]


def component(widths):
    """A density of position, velocity and metallicity, with bounds of the widths."""
    return sml.IndependentModels(
        {
            "sky": part(TruncatedNormal, {"phi2": {"mu": (-1, 1), "ln-sigma": widths["phi2"]}}, coord_bounds=SKY),
            "spectra": part(
                Normal,
                {
                    "radial_velocity": {"mu": (-120, -40), "ln-sigma": widths["radial_velocity"]},
                    "feh": {"mu": (-2.5, -1.5), "ln-sigma": widths["feh"]},
                },
                coord_err_names={name: f"{name}_err" for name in ERRORS},
            ),
        }
    )


def part(kind, params, **kwargs):
    params = ModelParameters(params)
    net = sml.nn.Constant(len(params), scale=5.0)
    return kind(
        coord_names=list(dict.fromkeys(n.split(".")[0] for n in params.names)), net=net, params=params, **kwargs
    )


def model_of():
    thin = component({"phi2": (-4, -1), "radial_velocity": (-1, 1.7), "feh": (-5, -1)})
    cocoon = component({"phi2": (-1, 0.7), "radial_velocity": (1.7, 4), "feh": (-4, 0)})
    of_field = {"radial_velocity": {"mu": (-100, 100), "ln-sigma": (3, 6)}, "feh": {"mu": (-2, 0), "ln-sigma": (-2, 1)}}
    field = {
        "sky": sml.builtin.Uniform(coord_names=["phi2"], coord_bounds=SKY),
        "spectra": part(Normal, of_field, coord_err_names={name: f"{name}_err" for name in ERRORS}),
    }
    paths = {"sky": ["phi2"], "spectra": ["radial_velocity", "feh"]}
    shared = [f"{path}.{name}.mu" for path, names in paths.items() for name in names]
    return sml.MixtureModel(
        {"thin": thin, "cocoon": cocoon, "background": sml.IndependentModels(field)},
        net=sml.nn.Constant(2, scale=5.0),
        params=ModelParameters({"thin.ln-weight": (-4, -0.5), "cocoon.ln-weight": (-4, -0.5)}),
        unpack_params_hooks=[ShareParameters({f"cocoon.{name}": f"thin.{name}" for name in shared})],
    )


@pytest.fixture(scope="module")
def fit():
    return sml.fit(
        model_of(),
        stars(),
        Reading(COLUMNS, survey="desi_mws"),
        data={"batch_size": 1024},
        training={"learning_rate": 0.03},
        trainer={"max_epochs": 30},
        results=ResultOptions(draws=4, track_draws=40),
    )


def test_the_widths_of_a_thin_component_and_a_cocoon_are_found(fit):
    track = fit.track(at=[0.0])
    for row in track:
        for name, planted in WIDTHS[row["component"]].items():
            if name != "feh":  # whose errors are twice the width of the thin component
                assert row[f"{name}_sigma"] == pytest.approx(planted, rel=0.1)
            assert row[name] == pytest.approx(CENTRES[name], abs=planted / 5)
            assert row[f"{name}_sigma_05"] < planted * 1.05
            assert row[f"{name}_sigma_95"] > planted / 1.05
    assert str(track["radial_velocity_sigma"].unit) == "km / s"
    assert str(track["feh"].unit) == "dex"


UNITS = {"dex": u.dex, "dex of a number": u.dex(1), "dimensionless": u.dimensionless_unscaled}


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS.keys())
def test_memberships_are_the_same_with_and_without_the_unit(fit, unit, tmp_path):
    table = stars()[::10]
    plain = fit.memberships(table, draws=0)
    assert 0.05 < np.mean(plain["p_thin"]) < 0.6
    for name in ("FEH", "FEH_ERR"):
        table[name].unit = unit
    for given in (table, *_read_back(table, tmp_path, unit)):
        found = fit.memberships(given, draws=0)
        np.testing.assert_array_equal(found["p_thin"], plain["p_thin"])


def _read_back(table, folder, unit):
    """The table through files that keep its units."""
    if unit != u.dex:
        return []
    paths = [folder / name for name in ("stars.fits", "stars.ecsv", "stars.parquet", "stars.vot")]
    for path in paths:
        write_table(table, path)
    return [read_table(path) for path in paths]


def test_a_dex_is_never_a_magnitude_nor_made_of_one():
    table = Table(
        {"ALPHA_FE": Column([0.3], unit="dex"), "FEH": Column([-1.9], unit="mag"), "g": Column([18.0], unit="dex")}
    )
    assert to_data(table, ["ALPHA_FE"])["ALPHA_FE"].item() == pytest.approx(0.3)
    with pytest.raises(InputError, match=r"'FEH'.* has unit 'mag'; 'dex' is needed"):
        to_data(table, ["feh"])


def test_spectra_of_two_surveys_are_not_mistaken_for_one():
    table = Table({"VRAD": [1.0], "VRAD_ERR": [0.5], "VHELIO_AVG": [2.0], "VERR": [0.1]})
    with pytest.raises(InputError, match=r"'radial_velocity' may be any of .*VRAD.*VHELIO_AVG"):
        to_data(table, ["radial_velocity"])
    both = to_data(table, ["radial_velocity", "radial_velocity_err"], survey="apogee")
    assert both["radial_velocity"].item() == 2
    assert both["radial_velocity_err"].item() == pytest.approx(0.1)
    named = to_data(table, {"radial_velocity": "VRAD", "radial_velocity_err": "VRAD_ERR"})
    assert torch.equal(named["radial_velocity"], torch.tensor([1.0]))


def test_what_spectra_tell_has_ucds():
    assert note_of("radial_velocity_err").ucd == "stat.error;spect.dopplerVeloc"
    assert note_of("feh").ucd == "phys.abund.Fe"
