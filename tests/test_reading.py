"""From tables to stars: names, units, missing values, approximate errors, and every table that is refused."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.coordinates import (
    SkyCoord,
)
from astropy.table import Column as TableColumn
from astropy.table import MaskedColumn, Table
from small_tables import ERR, NAMES, PLX, RA, G, plain

from stream_mapper.catalog import (
    Blank,
    Column,
    Corrections,
    Extinction,
    Reading,
    SkyFrame,
    default_unit,
    find_column,
    load,
    read_table,
    to_data,
)
from stream_mapper.catalog.reading import absent_columns
from stream_mapper.errors import InputError

GD1 = Path(__file__).parents[2] / "shared/data/gd1/gd1_field_gaia_dr2_ps1.fits"
FRAME = "gala.coordinates.GD1Koposov10"


def asks(columns=("ra", "g"), **options):
    return lambda table: to_data(table, columns, path="t.fits", **options)


def field(**other):
    return plain(dec=TableColumn([20.0, 30, 40], unit="deg"), pmdec=TableColumn(PLX, unit="mas/yr"), **other)


def frame(name=FRAME, **init):
    return lambda table: SkyFrame(name, **init).add_stream_coordinates(table)


REFUSED = {
    "missing": (plain(), asks(["ra", "pmdec"]), r"t.fits: no column \['pmdec'\] .*; the table has \['source_id', 'ra'"),
    "mapped": (plain(), asks({"g": "gmag"}), r"no column \['gmag'\] \(for \['g'\]\)"),
    "nothing asked": (plain(), asks([]), "name at least one"),
    "unit": (plain(ra=RA * u.kg), asks(), "column 'ra' .* has unit 'kg'; 'deg' is needed"),
    "strange unit": (plain(), asks({"ra": Column("ra", "furlog")}), "unit 'furlog' is unknown"),
    "unknown unit": (
        plain(ra=TableColumn(RA, unit=u.Unit("x?", parse_strict="silent"))),
        asks(),
        "has unit 'x.'; 'deg' is needed; name the unit",
    ),
    "no rows": (plain()[:0], asks(), "t.fits: the table has no rows"),
    "text": (plain(g=["18", "null", "19"]), asks(), "column 'g' .* holds type <U4.*'null' in row 1; one number a star"),
    "objects": (plain(g=np.array([1, None, "\n"], object)), asks(), "holds type object"),
    "two numbers": (plain(g=np.ones((3, 2))), asks(), r"shape \(3, 2\)"),
    "sky positions": (plain(g=SkyCoord(RA, RA / 9, unit="deg")), asks(), "one number a star"),
    "infinite": (plain(g=[18, np.inf, -np.inf]), asks(), "column 'g' .* infinite in 2 rows, e.g. inf in row 1"),
    "too large": (plain(dm=[18, 1e300, 1]), asks("dm"), "'dm' is too large for torch.float32 in 1 rows"),
    "negative error": (plain(parallax_error=-ERR), asks(["parallax_err"]), "negative error in 3 rows"),
    "optional": (plain(), asks(optional=["r"]), r"optional columns \['r'\] are not among"),
    "two errors": (plain(), asks(NAMES, errors={"parallax": 0.1}), "'parallax' has an error column 'parallax_error'"),
    "error of what": (plain(), asks(errors={"r": 0.1}), "an error is given for 'r'"),
    "error sign": (plain(), asks(errors={"g": -0.1}), "give a number >= 0"),
    "error rule": (plain(), asks(errors={"g": {"off": 3}}), "errors.'g'. = {'off': 3}; give a number"),
    "error source": (plain(), asks(errors={"g": {"of": "r_err", "factor": 1}}), r"no column \['r_err'\]"),
    "no module": (field(), frame("gala.coordinates.NoFrame"), r"cannot be imported .*stream_mapper\[frames\]"),
    "no frame": (field(), frame("gala.coordinates.GD9"), r"'gala.coordinates.GD9' cannot be imported"),
    "no path": (field(), frame("GD1"), "cannot be imported"),
    "not a frame": (field(), frame("astropy.coordinates.SkyCoord"), "a frame class of astropy coordinates is needed"),
    "not a rotation": (field(), frame("astropy.coordinates.Galactocentric"), "give a rotation of ICRS"),
    "needs a place": (field(), frame("astropy.coordinates.AltAz"), "frame AltAz cannot be used"),
    "no position": (plain(), frame(), r"no column \['dec'\]"),
    "latitude": (field(), frame(dec="ra"), "declinations reach 152.0 deg; check"),
    "correlation": (
        field(pmra_error=ERR, pmdec_error=ERR, pmra_pmdec_corr=RA),
        frame(),
        "is outside -1..1 in 3 rows, e.g. 150.25 in row 0",
    ),
    "pm_corr": (field(), frame(pm_corr=1.5), "a correlation is in -1..1"),
}


@pytest.mark.parametrize(("table", "call", "match"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_tables(table, call, match):
    with pytest.raises(InputError, match=match) as caught:
        call(table)
    assert "\n" not in str(caught.value)


def test_names_and_units():
    assert find_column("pmra_err", ["pmra", "pmra_error"]) == "pmra_error"
    assert find_column("parallax_err", ["parallax_error", "parallax_err"]) == "parallax_err"
    assert find_column("parallax_err", ["e_Plx"]) == "e_Plx"
    assert find_column("g", ["G"]) is None
    units = {
        "phi1": "deg",
        "pm_phi1_err": "mas / yr",
        "radial_velocity": "km / s",
        "distance": "kpc",
        "g_err": "mag",
        "x_y_corr": "",
    }
    assert {name: default_unit(name) for name in units} == units


def test_units_are_assumed_and_said_once(caplog):
    caplog.set_level("INFO", logger="stream_mapper")
    table = plain(g=G, parallax=TableColumn(PLX, unit="arcsec"))
    columns = {
        "g": "g",
        "ra": Column("ra", "arcmin"),
        "parallax": Column("parallax", "mas"),
        "phi2": Column("g", "arcmin"),
    }
    data = to_data(table, columns, path="t.fits", dtype=torch.float64)
    assert data["ra"][0].item() == pytest.approx(RA[0] / 60)
    assert data["parallax"][0].item() == PLX[0]
    assert data["phi2"][0].item() == pytest.approx(0.3)
    said = [r.message for r in caplog.records if "no unit in the table" in r.message]
    assert said == ["t.fits: no unit in the table, assumed: g [mag]."]
    assert sum("replaced by" in r.message for r in caplog.records) == 2


def test_unmeasured_columns_are_warned_of(caplog):
    table = plain(g=MaskedColumn(G, mask=[1, 1, 1], unit="mag"))
    data = to_data(table, ["ra", "g", "r"], optional=["r"])
    assert not data.where["g", "r"].any()
    said = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert said == [
        "table: no column for the optional ['r']; taken as not measured.",
        "table: not one value is measured in ['g'].",
    ]


def test_approximate_errors(caplog):
    caplog.set_level("INFO", logger="stream_mapper")
    errors = {"g": 0.02, "pmra": {"of": "parallax_err", "factor": 1.25}}
    for columns in (
        ["g", "pmra"],
        ["g", "g_err", "pmra"],
        {"g": "g", "pmra": "pmra", "parallax_err": "parallax_error"},
    ):
        data = to_data(plain(), columns, errors=errors, dtype=torch.float64)
        assert data["g_err"].tolist() == [0.02] * 3
        assert data["pmra_err"].tolist() == (1.25 * ERR).tolist()
    assert "approximate errors: g: 0.02, pmra: {'of'" in caplog.text


def test_missing_error_of_a_measured_value_stays_missing():
    data = to_data(plain(parallax_error=[0.1, np.nan, 0.2]), ["parallax", "parallax_err"])
    assert data.where["parallax"].all()
    assert data.where["parallax_err"].tolist() == [True, False, True]


@pytest.mark.skipif(not GD1.is_file(), reason=f"the GD-1 field is not at {GD1}")
def test_gd1_field():
    names = ["phi1", "phi2", "pm_phi1", "pm_phi2", "pm_phi1_err", "pm_phi2_err", "parallax", "parallax_err"]
    columns = {
        **{n: n for n in names[:-1]},
        "parallax_err": "parallax_error",
        "g": "g_mean_psf_mag",
        "i": "i_mean_psf_mag",
    }
    pm = {"pmra": {"of": "parallax_err", "factor": 1.21}, "pmdec": {"of": "parallax_err", "factor": 1.45}}
    data, table = load(GD1, columns, SkyFrame(pm_corr=-0.58), errors={"g": 0.02, "i": 0.02, **pm}, dtype=torch.float64)
    assert len(data) == len(table) == 13_976
    assert table.colnames == read_table(GD1).colnames
    assert data["phi1"].min() >= -70
    assert data["phi1"].max() <= -20
    assert data["phi2"].abs().max() <= 5.6
    length = torch.hypot(data["pm_phi1"], data["pm_phi2"]).numpy()
    np.testing.assert_allclose(length, np.hypot(table["pmra"], table["pmdec"]), rtol=1e-9)
    variance = data["pm_phi1_err"] ** 2 + data["pm_phi2_err"] ** 2
    np.testing.assert_allclose(variance, np.asarray(table["parallax_error"]) ** 2 * (1.21**2 + 1.45**2), rtol=1e-9)
    assert (~data.where["g"]).sum() == 6914
    assert data.where["g_err"].all()


def test_faint_magnitudes_may_count_as_missing(caplog):
    """The astrometry is kept, and so is a star without the magnitude that the condition is of."""
    caplog.set_level("INFO", logger="stream_mapper")
    table = Table({"g": [20.0, 22.0, np.nan, 21.0], "r": [19.0, 21.0, 20.0, 20.5], "pmra": [1.0, 2.0, 3.0, 4.0]})
    blank = [Blank(["g", "r"], {"g": (None, 21.0)})]
    for data in (
        to_data(table, ["g", "r", "pmra"], blank=blank),
        Reading(["g", "r", "pmra"], blank=blank).load(table)[0],
    ):
        assert data.where["g"].tolist() == [True, False, False, True]
        assert data.where["r"].tolist() == [True, False, True, True]
        assert data.where["pmra"].all()
    assert "['g', 'r'] of 1 of 4 stars count as missing" in caplog.text
    corrected = to_data(table, ["g", "r"], blank=[*blank, Blank(["r"], {"r": (19.5, 30.0)})])
    assert corrected.where["r"].tolist() == [False, False, True, True]


def test_the_limit_is_of_the_corrected_magnitude():
    """A star of g = 21.2 behind 0.3 mag of dust is not fainter than 21."""
    table = Table({"g": [21.2], "ebv": [0.1], "ra": [0.0], "dec": [0.0]})
    corrections = Corrections(extinction=Extinction(ebv="ebv", coefficients={"g": 3.0}))
    blank = [Blank(["g"], {"g": (None, 21.0)})]
    assert to_data(table, ["g"], corrections=corrections, blank=blank)["g"].item() == pytest.approx(20.9)
    assert not to_data(table, ["g"], blank=blank).where["g"].any()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda: Blank([], {"g": (None, 21.0)}), "needs columns and ranges"),
        (lambda: Blank(["g"], {}), "needs columns and ranges"),
        (lambda: Blank(["g"], {"g": (21.0, 14.0)}), "lower < upper"),
        (lambda: Blank(["z"], {"g": (None, 21.0)}), "blank names .'z'., which are not read"),
    ],
)
def test_what_cannot_be_blanked_is_named(rule, message):
    with pytest.raises(InputError, match=message):
        to_data(Table({"g": [20.0]}), ["g"], blank=[rule()])


def test_a_column_that_nobody_asks_for_is_absent():
    """As in a checkpoint that was changed: a model reads more than its reading names."""
    assert absent_columns(["g", "g_err"], ["g"], optional=["g", "g_err"]) == ["g_err"]
    assert absent_columns(["g", "g_err"], ["g", "g_err"], optional=["g", "g_err"]) == []
    assert absent_columns(["g"], ["g", "g_err"], errors={"g": 0.1}, optional=["g", "g_err"]) == []
