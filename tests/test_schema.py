"""Names and units of the tables of surveys, and configurations that read them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from astropy.table import Column as TableColumn
from astropy.table import Table
from lightning.pytorch.cli import LightningArgumentParser

from stream_mapper.catalog import Column, Reading, read_table, survey_bands, to_data
from stream_mapper.catalog import write_table as write
from stream_mapper.catalog.schema import GAIA_CORRELATIONS, assumed_unit, default_unit, find_column
from stream_mapper.errors import InputError
from stream_mapper.results.provenance import internal_names
from stream_mapper.training import CatalogueDataModule
from stream_mapper.training.cli import StreamCLI  # noqa: F401 (with it parsers know paths)

PAIRS = {
    "gaia archive": ("gaia_dr3", "G", "phot_g_mean_mag", "phot_g_mean_flux_over_error"),
    "gaia BP": ("gaia_dr2", "BP", "phot_bp_mean_mag", "phot_bp_mean_flux_over_error"),
    "gaia VizieR": ("gaia_dr3", "RP", "RPmag", "e_RPmag"),
    "gaia colour": ("gaia_dr3", "bp_rp", "BP-RP", "e_BP-RP"),
    "ps1 archive": ("panstarrs1", "g", "g_mean_psf_mag", "g_mean_psf_mag_error"),
    "ps1 MAST": ("panstarrs1", "i", "iMeanPSFMag", "iMeanPSFMagErr"),
    "ps1 VizieR": ("panstarrs1", "y", "ymag", "e_ymag"),
    "des": ("des", "Y", "WAVG_MAG_PSF_Y", "WAVG_MAGERR_PSF_Y"),
    "des coadd": ("des", "g", "MAG_PSF_G", "MAGERR_PSF_G"),
    "delve": ("delve", "z", "wavg_mag_psf_z", "wavg_magerr_psf_z"),
    "rubin": ("rubin", "u", "u_psfMag", "u_psfMagErr"),
    "rubin model": ("rubin", "r", "r_cModelMag", "r_cModelMagErr"),
    "VizieR position": (None, "ra", "RA_ICRS", "e_RA_ICRS"),
    "rubin position": (None, "dec", "coord_dec", "coord_decErr"),
    "VizieR parallax": (None, "parallax", "Plx", "e_Plx"),
    "VizieR motion": (None, "pmdec", "pmDE", "e_pmDE"),
    "velocity": (None, "radial_velocity", "radial_velocity", "radial_velocity_error"),
    "Gaia RVS": ("gaia_dr3", "radial_velocity", "radial_velocity", "radial_velocity_error"),
    "Gaia RVS in VizieR": ("gaia_dr3", "radial_velocity", "RV", "e_RV"),
    "DESI velocity": ("desi_mws", "radial_velocity", "VRAD", "VRAD_ERR"),
    "DESI velocity of the Data Lab": ("desi_mws", "radial_velocity", "vrad", "vrad_err"),
    "DESI metallicity": ("desi_mws", "feh", "FEH", "FEH_ERR"),
    "S5 velocity": ("s5", "radial_velocity", "vel_calib", "vel_calib_std"),
    "S5 metallicity": ("s5", "feh", "feh50", "feh_calib_std"),
    "LAMOST velocity": ("lamost", "radial_velocity", "rv", "rv_err"),
    "LAMOST metallicity": ("lamost", "feh", "feh", "feh_err"),
    "APOGEE velocity": ("apogee", "radial_velocity", "VHELIO_AVG", "VERR"),
    "APOGEE metallicity": ("apogee", "feh", "FE_H", "FE_H_ERR"),
    "SEGUE velocity": ("segue", "radial_velocity", "ELODIERVFINAL", "ELODIERVFINALERR"),
    "SEGUE metallicity": ("segue", "feh", "FeHAdop", "FeHAdopUnc"),
    "Gaia without extinction": ("gaia_dr3_dereddened", "BP", "GBP0", "phot_bp_mean_mag_error"),
    "DES without extinction": ("des_dereddened", "g", "wavg_mag_psf_g_dered", "wavg_magerr_psf_g"),
    "PS1 without extinction": ("panstarrs1_dereddened", "r", "rmag_dered", "e_rmag"),
    "bare": ("panstarrs1", "g", "g", "g_err"),
}


@pytest.mark.parametrize(("survey", "name", "value", "error"), PAIRS.values(), ids=PAIRS.keys())
def test_a_value_and_its_error_are_found(survey, name, value, error):
    columns = ["other", error, value]
    for asked in {survey, None}:
        assert find_column(name, columns, asked) == value
        assert find_column(f"{name}_err", columns, asked) == error
    assert find_column(name, ["other", error], survey) is None


def test_magnitudes_with_and_without_extinction_are_not_mixed():
    columns = ["phot_g_mean_mag", "phot_bp_mean_mag", "phot_rp_mean_mag", "BP0", "RP0", "g", "g0"]
    assert survey_bands(columns) == ("gaia_dr3", ("G", "BP", "RP"))
    assert survey_bands([*columns, "G0"], "gaia_dr3") == ("gaia_dr3_dereddened", ("G", "BP", "RP"))
    with pytest.raises(InputError, match=r"'BP' may be any of the columns \['phot_bp_mean_mag', 'BP0'\]"):
        find_column("BP", columns)
    assert find_column("BP", columns, "gaia_dr3") == "phot_bp_mean_mag"
    assert find_column("g", columns) == "g"
    reading = Reading(["BP", "g"], survey=["gaia_dr3_dereddened", "des"])
    assert internal_names(columns, reading) == {"BP0": "BP", "g": "g"}


def test_the_ten_correlations():
    assert len(GAIA_CORRELATIONS) == 10
    for name, spelt in GAIA_CORRELATIONS.items():
        assert find_column(name, [name]) == name
        assert find_column(name, ["x", spelt]) == spelt
        assert default_unit(name) == ""
    assert GAIA_CORRELATIONS["dec_parallax_corr"] == "DEPlxcor"


def test_units_that_catalogues_imply():
    """Gaia's errors of positions are in mas although the positions are in deg."""
    assert (default_unit("ra_err"), assumed_unit("ra_err"), assumed_unit("ra")) == ("deg", "mas", "deg")
    data = to_data(Table({"ra": [1.0], "ra_error": [3600.0]}), ["ra", "ra_err"], dtype=torch.float64)
    assert data["ra_err"].item() == pytest.approx(0.001)
    table = Table({"ra": [1.0], "ra_error": TableColumn([1.0], unit="arcsec")})
    assert to_data(table, ["ra", "ra_err"])["ra_err"].item() == pytest.approx(1 / 3600)


def test_gaia_magnitude_errors(caplog):
    caplog.set_level("INFO", logger="stream_mapper")
    ratio = np.array([1000.0, 20.0, 0.0, -3.0, np.nan])
    table = Table({"phot_g_mean_mag": np.full(5, 18.0), "phot_g_mean_flux_over_error": ratio})
    data = to_data(table, ["G", "G_err"], dtype=torch.float64, survey="gaia_dr3")
    assert data.where["G_err"].tolist() == [True, True, False, False, False]
    # -2.5 log10(1 - 1/R) to first order in 1/R
    np.testing.assert_allclose(data["G_err"][:2], [1.0857362e-3, 5.428681e-2], rtol=1e-6)
    assert "read G from phot_g_mean_mag, G_err from phot_g_mean_flux_over_error" in caplog.text
    renamed = Table({"m": [18.0], "snr": [20.0]})
    columns = {"G": "m", "G_err": Column("snr", form="flux_over_error")}
    assert to_data(renamed, columns)["G_err"].item() == pytest.approx(5.428681e-2)


REFUSED = {
    "unknown": (["gmag"], "g", "sdss_dr99", r"survey \['sdss_dr99'\] is unknown; known are \['gaia_dr2'"),
    "two surveys": (["g_mean_psf_mag", "MAG_PSF_G"], "g", None, r"'g' may be any of .*'MAG_PSF_G'.*; name one"),
    "two magnitudes": (["g_psfMag", "g_cModelMag"], "g", "rubin", "'g' may be any of the columns"),
    "error of two": (["gmag", "g_psfMag", "e_gmag"], "g_err", None, "'g' may be any of the columns"),
    "fluxes": (["g_psfFlux", "g_psfFluxErr"], "g", "rubin", r"has \['g_psfFlux'\] and no magnitude; fluxes are not"),
    "other survey": (["g_mean_psf_mag"], "g", "des", r"no column \['g'\]"),
}


@pytest.mark.parametrize(("names", "asked", "survey", "match"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_names(names, asked, survey, match):
    with pytest.raises(InputError, match=match):
        to_data(Table({name: [18.0] for name in names}), [asked], survey=survey)


def test_refused_settings():
    with pytest.raises(InputError, match="form 'log' is unknown; leave it out, or give flux_over_error"):
        Column("x", form="log")
    with pytest.raises(InputError, match=r"survey .* is unknown"):
        Reading(["g"], survey=["des", "dse"])


def test_a_named_survey_decides():
    names = ["g_mean_psf_mag", "MAG_PSF_G", "MAGERR_PSF_G"]
    assert find_column("g", names, "des") == "MAG_PSF_G"
    assert find_column("g_err", names, ["delve"]) == "MAGERR_PSF_G"
    assert find_column("g", names, ["gaia_dr2", "panstarrs1"]) == "g_mean_psf_mag"


def gaia_dr3(n=500):
    """Rows as the Gaia archive gives them, with every error and correlation."""
    rng = np.random.default_rng(3)
    units = {"ra": "deg", "dec": "deg", "parallax": "mas", "pmra": "mas / yr", "pmdec": "mas / yr"}
    values = {"ra": rng.uniform(140, 160, n), "dec": rng.uniform(20, 40, n), "parallax": rng.normal(0.1, 0.1, n)}
    values |= {name: rng.normal(-5, 3, n) for name in ("pmra", "pmdec")}
    table = Table({"source_id": rng.integers(1 << 60, size=n)})
    for name, unit in units.items():
        table[name] = TableColumn(values[name], unit=unit)
        table[f"{name}_error"] = TableColumn(rng.uniform(0.02, 0.5, n), unit=unit.replace("deg", "mas"))
    draws = rng.normal(size=(n, 5, 8))
    matrix = np.einsum("nik,njk->nij", draws, draws)
    scale = np.sqrt(np.einsum("nii->ni", matrix))
    matrix /= scale[:, :, None] * scale[:, None, :]
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    for name, (i, j) in zip(GAIA_CORRELATIONS, pairs, strict=True):
        table[name] = matrix[:, i, j]
    for low in ("g", "bp", "rp"):
        table[f"phot_{low}_mean_mag"] = TableColumn(rng.uniform(15, 20, n), unit="mag")
        table[f"phot_{low}_mean_flux_over_error"] = rng.uniform(5, 2000, n)
    return table


def configured(text):
    """The data module of a configuration."""
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(CatalogueDataModule, "data")
    config = parser.parse_object(yaml.safe_load(text))
    return parser.instantiate_classes(config).data


def loaded(text):
    """The stars of a configuration, and their table."""
    module = configured(text)
    return module.intake.reading.load(module.path)


GAIA = """
data:
  path: {path}
  survey: gaia_dr3
  columns: [phi1, phi2, pm_phi1, pm_phi2, pm_phi1_err, pm_phi2_err, pm_phi1_pm_phi2_corr,
    parallax, parallax_err, G, BP, RP, G_err, BP_err, RP_err]
  frame: {{class_path: stream_mapper.catalog.SkyFrame, init_args: {{frame: gala.coordinates.GD1Koposov10}}}}
"""


@pytest.mark.parametrize("suffix", [".fits", ".csv", ".parquet"])
def test_a_gaia_table_by_a_few_lines(suffix, tmp_path):
    table = gaia_dr3()
    write(table, tmp_path / f"gaia{suffix}")
    stars, back = loaded(GAIA.format(path=tmp_path / f"gaia{suffix}"))
    assert back.colnames == table.colnames
    assert stars.where[stars.names].all()
    np.testing.assert_allclose(stars["BP_err"], 1.0857362 / table["phot_bp_mean_flux_over_error"], rtol=1e-6)
    total = stars["pm_phi1_err"] ** 2 + stars["pm_phi2_err"] ** 2
    np.testing.assert_allclose(total, table["pmra_error"] ** 2 + table["pmdec_error"] ** 2, rtol=1e-5)


GD1 = """
data:
  path: {path}
  survey: [gaia_dr2, panstarrs1]
  columns: [phi1, phi2, pm_phi1, pm_phi2, pm_phi1_err, pm_phi2_err, pm_angle, g, i, g_err, i_err]
  frame:
    class_path: stream_mapper.catalog.SkyFrame
    init_args: {{frame: gala.coordinates.GD1Koposov10, pm_corr: -0.58}}
  errors:
    pmra: {{of: parallax_err, factor: 1.21}}
    pmdec: {{of: parallax_err, factor: 1.45}}
    g: 0.02
    i: 0.02
"""

NGC103 = """
data:
  path: {path}
  survey: gaia_dr3
  columns: [ra, dec, parallax, parallax_err, pmra, pmra_err, pmdec, pmdec_err, G, G_err, bp_rp, bp_rp_err]
"""


def test_the_field_of_indus_has_magnitudes_without_extinction(shared_data):
    table = read_table(shared_data / "indus/indus_field_gaia_dr3.fits")
    assert survey_bands(table.colnames) == ("gaia_dr3_dereddened", ("G", "BP", "RP"))
    data = to_data(table, ["G", "BP", "RP", "BP_err"], optional=["BP_err"], survey="gaia_dr3_dereddened")
    assert data["G"].max() <= 20
    assert data.where["BP_err"].sum() == len(table) - 785


def test_real_tables_by_a_few_lines(shared_data):
    found = {}
    files = {GD1: "gd1/gd1_field_gaia_dr2_ps1.fits", NGC103: "fields/ngc103_region_gaia_dr3.csv"}
    for text, name in files.items():
        assert len(text.strip().splitlines()) <= 15
        path = shared_data / name
        found[name], table = loaded(text.format(path=path))
        assert table.colnames == read_table(path).colnames
    gd1, ngc103 = found.values()
    assert len(gd1) == 13_976
    assert (~gd1.where["g"]).sum() == 6914
    assert gd1["phi2"].abs().max() < 5.6
    assert len(ngc103) == 8683
    assert ngc103["G"][0].item() == pytest.approx(18.23631)
    assert ngc103["bp_rp_err"][0].item() == pytest.approx(0.0181)
    assert (~ngc103.where["bp_rp"]).sum() == 141


def test_what_is_read_of_a_table_is_enough():
    """A table that has only the columns that are said to be read gives the same stars."""
    table = gaia_dr3(20)
    reading = configured(GAIA.format(path=Path("unused"))).intake.reading
    read = reading.columns_read([*table.colnames, "phot_g_mean_flux"])
    assert "source_id" not in read
    assert "phot_g_mean_flux_over_error" in read
    whole, _ = reading.load(table, dtype=torch.float64)
    some, _ = reading.load(table[read], dtype=torch.float64)
    assert all(torch.equal(whole[name], some[name]) for name in whole.names)
    assert reading.absent([name for name in table.colnames if "bp" not in name], ["BP", "BP_err"]) == ["BP", "BP_err"]
