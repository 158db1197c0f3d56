"""Numbers that archives write where there is no value are missing values, whatever error is beside them."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from stream_mapper.catalog import Column, Reading, read_table, write_table
from stream_mapper.catalog.stand_ins import impossible, stand_ins
from stream_mapper.errors import InputError

NAN = np.nan
# Survey, columns of the table, internal names, and what stands for a missing value and its error there.
SURVEYS = {
    "DES": ("des", {"g": "WAVG_MAG_PSF_G", "g_err": "WAVG_MAGERR_PSF_G"}, 99.0, 99.0),
    "DELVE": ("delve", {"g": "mag_psf_g", "g_err": "magerr_psf_g"}, 99.0, 0.02),
    "Pan-STARRS": ("panstarrs1", {"g": "gMeanPSFMag", "g_err": "gMeanPSFMagErr"}, -999.0, -999.0),
    "Pan-STARRS, an error of NaN": ("panstarrs1", {"g": "gMeanPSFMag", "g_err": "gMeanPSFMagErr"}, -999.0, NAN),
    "SDSS": (None, {"g": "g", "g_err": "g_err"}, -9999.0, -9999.0),
    "SExtractor": (None, {"g": "g", "g_err": "g_err"}, 99.0, 0.0 + 99.0),
    "DAOPHOT": (None, {"g": "g", "g_err": "g_err"}, 99.9999, 9.9999),
    "VISTA": (None, {"g": "g", "g_err": "g_err"}, -9.999995e8, -9.999995e8),
    "HSC": (None, {"g": "g", "g_err": "g_err"}, 1e20, 1e20),
    "a largest number": (None, {"g": "g", "g_err": "g_err"}, float(np.float32(3.4e38)), 0.01),
    "four nines": (None, {"g": "g", "g_err": "g_err"}, 9999.0, 0.01),
    "a negative one": (None, {"g": "g", "g_err": "g_err"}, -99.0, -99.0),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["double", "single"])
@pytest.mark.parametrize(("survey", "spelt", "value", "error"), SURVEYS.values(), ids=SURVEYS)
def test_a_stand_in_is_a_missing_value(survey, spelt, value, error, dtype, caplog):
    values = {"g": np.array([20.0, value, 21.0], dtype), "g_err": np.array([0.01, error, 0.02], dtype)}
    table = Table({spelt[name]: column for name, column in values.items()})
    data, kept = Reading(["g", "g_err"], survey=survey).load(table)
    assert data.where["g"].tolist() == [True, False, True]
    assert "stand for missing values, taken as not measured" in caplog.text
    assert spelt["g"] in caplog.text
    assert kept[spelt["g"]][1] == dtype(value)  # the table is as it was


VALUES = {
    "g": [-1.5, 0.0, 9.99, 20.0, 35.0],
    "bp_rp": [-0.5, 0.0, 4.0],
    "radial_velocity": [-99.0, 99.0, 550.0, -412.5],
    "pmra": [-98.0, 0.0, 100.0, 3.5, 10393.0],
    "parallax": [-9.99, 0.01, 768.0],
    "feh": [-4.5, 0.0, 0.5],
    "ra": [0.0, 99.0, 359.99],
    "phi1": [-180.0, 99.0, 99.99],
    "distance": [0.1, 99.0, 999.0],
    "g_err": [0.001, 1.0, 5.0],
    "pmra_err": [0.02, 9.9],
    "pmra_pmdec_corr": [-0.99, 0.999],
    "n_params": [3.0, 31.0, 95.0],
    "source_id": [99.0, 9999.0],
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_a_value(name):
    numbers = np.array(VALUES[name])
    assert not stand_ins(name, numbers).any()
    assert not impossible(name, numbers).any()


STAND_INS = {
    "g": [99, 99.9, 99.99, -99.999, 999, -9999, 1e20, 1e5, -1e30],
    "pmra": [99, -999, 9999, 1e20],
    "radial_velocity": [999, -9999, 1e20],
    "feh": [9.99, 99, -9999, -999],
    "ra": [999, -9999, 1e20],
    "g_err": [9.999, 99, -99, -999],
    "pmra_err": [-99, -999.9, 9999],
}


@pytest.mark.parametrize("name", STAND_INS)
def test_every_spelling_is_known(name):
    numbers = np.array(STAND_INS[name], dtype=float)
    assert stand_ins(name, numbers).all()
    assert stand_ins(name, numbers.astype(np.float32).astype(float)).all()


REFUSED = {
    "a magnitude": ("g", [20.0, 60.0], "'g' .* no star has in 1 rows, e.g. 60.0 in row 1"),
    "a right ascension in seconds": ("ra", [10.0, 48000.0], "'ra' .*e.g. 48000.0 in row 1"),
    "a place": ("phi1", [10.0, 361.0], "e.g. 361.0 in row 1"),
    "a latitude": ("phi2", [-91.0, 3.0], "e.g. -91.0 in row 0"),
}


@pytest.mark.parametrize(("name", "values", "says"), REFUSED.values(), ids=REFUSED)
def test_what_no_star_has_is_refused_with_its_row(name, values, says):
    with pytest.raises(InputError, match=says):
        Reading([name]).load(Table({name: values}))


def test_a_table_may_say_what_is_missing():
    table = Table({"g": [20.0, 99.0, -1.0]})
    assert Reading({"g": Column("g", missing=[-1])}).load(table)[0].where["g"].tolist() == [True, True, False]
    assert Reading({"g": Column("g", missing=[])}).load(table)[0].where["g"].all()
    assert Reading(["g"]).load(table)[0].where["g"].tolist() == [True, False, True]


def test_stars_with_a_stand_in_are_rotated_as_stars_without_a_motion():
    from stream_mapper.catalog import SkyFrame

    frame = SkyFrame({"pole": [34.6, 29.7], "ra0": 200})
    table = Table(
        {"ra": [120.0, 121.0] * u.deg, "dec": [20.0, 21.0] * u.deg, "pmra": [1.0, -999.0], "pmdec": [2.0, 1.0]}
    )
    data, _ = Reading(["phi1", "pm_phi1", "pm_phi2"], frame).load(table)
    assert data.where["pm_phi1"].tolist() == data.where["pm_phi2"].tolist() == [True, False]


@pytest.mark.parametrize("suffix", ["fits", "parquet", "ecsv", "csv", "vot"])
def test_in_every_format(suffix, tmp_path):
    path = tmp_path / f"t.{suffix}"
    write_table(Table({"g": np.array([20.0, 99.99], dtype=np.float32)}), path)
    assert Reading(["g"]).load(read_table(path))[0].where["g"].tolist() == [True, False]
