"""Parallax zero point, extinction and floors: against their sources, in a fit and in a prediction."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from astropy.table import Table
from test_frames import write_track
from test_schema import configured

from stream_mapper.catalog import Corrections, Extinction, Reading, SkyFrame, load, read_table, to_data, write_table
from stream_mapper.catalog.extinction import gaia_extinction
from stream_mapper.errors import InputError
from stream_mapper.fit import main as fit
from stream_mapper.predict import main as predict
from stream_mapper.track import Track

PS1 = {"g": 3.172, "i": 1.682}


def stars(**other):
    columns = {
        "ra": [150.0, 151.0, 152.0],
        "dec": [30.0, 31.0, 32.0],
        "g_mean_psf_mag": [18.0, 19.0, np.nan],
        "i_mean_psf_mag": [17.5, 18.2, 19.0],
        "EBV": [0.1, 0.2, 0.05],
    }
    return Table({**columns, **other})


def read(table, columns, survey=None, **corrections):
    return to_data(table, columns, survey=survey, corrections=Corrections(**corrections), dtype=torch.float64)


@pytest.mark.parametrize(
    ("setting", "ebv"),
    [({"ebv": "EBV"}, [0.1, 0.2, 0.05]), ({"ebv": 0.3}, [0.3] * 3), ({"ebv": "EBV", "scale": 2.0}, [0.2, 0.4, 0.1])],
    ids=["column", "value", "scale"],
)
def test_extinction_of_a_survey(setting, ebv, caplog):
    caplog.set_level("INFO", logger="stream_mapper")
    table = stars()
    before = table.copy()
    data = read(table, ["g", "i"], extinction=Extinction(**setting))
    for name, rate in PS1.items():
        expected = np.asarray(table[f"{name}_mean_psf_mag"]) - rate * np.asarray(ebv)
        np.testing.assert_allclose(data[name][data.where[name]], expected[~np.isnan(expected)], rtol=1e-12)
    assert not data.where["g"][2]
    assert table.colnames == before.colnames
    assert (table["i_mean_psf_mag"] == before["i_mean_psf_mag"]).all()
    assert "extinction by E(B-V) of" in caplog.text
    assert "(Schlafly & Finkbeiner 2011)" in caplog.text


def test_coefficients_may_be_given():
    data = read(stars(), ["g", "i"], extinction=Extinction(ebv="EBV", coefficients={"g": 3.0, "i": 0.0}))
    assert data["g"][0].item() == pytest.approx(17.7)
    assert data["i"].tolist() == [17.5, 18.2, 19.0]
    renamed = stars(mag=[18.0, 19.0, 20.0])
    colour = {"colour": "mag", "g": "g_mean_psf_mag"}
    data = read(renamed, colour, extinction=Extinction(ebv=0.1, coefficients={"colour": 1.5}))
    assert data["colour"].tolist() == pytest.approx([17.85, 18.85, 19.85])
    assert data["g"][0].item() == pytest.approx(18 - 0.3172)


def test_a_bare_band_is_of_the_survey_that_is_named():
    table = Table({"g": [18.0], "r": [17.5]})
    data = read(table, ["g", "r"], "des", extinction=Extinction(ebv=0.1))
    assert [data["g"].item(), data["r"].item()] == pytest.approx([18 - 0.3237, 17.5 - 0.2176])
    data = read(table, ["g", "r"], ["gaia_dr3", "rubin"], extinction=Extinction(ebv=0.1))
    assert data["r"].item() == pytest.approx(17.5 - 0.2273)


def test_missing_reddening_is_missing(caplog):
    data = read(stars(EBV=[0.1, np.nan, 0.05]), ["i"], extinction=Extinction(ebv="EBV"))
    assert data.where["i"].tolist() == [True, False, True]
    assert "1 stars have no E(B-V); their magnitudes count as missing" in caplog.text


def test_gaia_extinction_is_its_own_polynomial():
    """k at the colour that comes out is the published polynomial, written out for one star."""
    ebv, colour = np.array([0.15]), np.array([1.1])
    absorbed = gaia_extinction(ebv, colour)
    total = 3.1 * 0.86 * 0.15
    bare = 1.1 - absorbed["BP"][0] + absorbed["RP"][0]
    k = 0.9761 - 0.1704 * bare + 0.0086 * bare**2 + 0.0011 * bare**3
    k += -0.0438 * total + 0.0013 * total**2 + 0.0099 * bare * total
    assert absorbed["G"][0] == pytest.approx(k * total, rel=1e-9)
    k = 0.6104 - 0.0170 * bare - 0.0026 * bare**2 - 0.0017 * bare**3
    k += -0.0078 * total + 0.00005 * total**2 + 0.0006 * bare * total
    assert absorbed["RP"][0] == pytest.approx(k * total, rel=1e-9)
    rates = {name: values[0] / (0.86 * 0.15) for name, values in absorbed.items()}
    assert rates == pytest.approx({"G": 2.5, "BP": 3.2, "RP": 1.85}, rel=0.05)
    wild = gaia_extinction(np.array([0.0, 2.0, 0.3, 0.3]), np.array([1.0, -5.0, 9.0, np.nan]))
    assert all(np.isfinite(values).all() and (values >= 0).all() for values in wild.values())


def test_gaia_colours_are_reddened_alike():
    columns = {"phot_g_mean_mag": [18.0, 19.0], "phot_bp_mean_mag": [18.5, np.nan], "phot_rp_mean_mag": [17.4, 18.2]}
    table = Table({**columns, "bp_rp": [1.1, np.nan]})
    data = read(table, ["G", "BP", "RP", "bp_rp"], "gaia_dr3", extinction=Extinction(ebv=0.15))
    assert data["bp_rp"][0].item() == pytest.approx((data["BP"] - data["RP"])[0].item())
    alone = read(table, ["G"], extinction=Extinction(ebv=0.15))
    assert torch.equal(alone["G"], data["G"])
    assert data.where["G"].all()
    reading = Reading(["G"], corrections=Corrections(extinction=Extinction(ebv="EBV")))
    assert reading.columns_read([*table.colnames, "EBV", "x"]) == ["phot_g_mean_mag", "bp_rp", "EBV"]


def test_a_map_of_dustmaps(monkeypatch):
    class Query:
        def __call__(self, places):
            return places.ra.deg / 1000

    module = ModuleType("dustmaps.sfd")
    module.SFDQuery = Query
    monkeypatch.setitem(sys.modules, "dustmaps", ModuleType("dustmaps"))
    monkeypatch.setitem(sys.modules, "dustmaps.sfd", module)
    table = stars(ra=[150.0, np.nan, 152.0])
    data = read(table, ["i"], extinction=Extinction(map="sfd"))
    assert data.where["i"].tolist() == [True, False, True]
    assert data["i"][0].item() == pytest.approx(17.5 - 1.682 * 0.15)
    reading = Reading(["i"], corrections=Corrections(extinction=Extinction(map="sfd")))
    assert reading.columns_read(table.colnames) == ["ra", "dec", "i_mean_psf_mag"]


class InDepth:
    """A tenth of a magnitude of E(B-V) a kpc, as Bayestar answers."""

    def __call__(self, places, mode="random_sample"):
        print("Loading samples ...")
        assert mode == "median"
        return 0.1 * places.distance.to_value("kpc")


@pytest.mark.parametrize(
    ("distance", "dust"),
    [
        (2.0, [0.2, 0.2, np.nan]),
        ("far", [0.1, np.nan, np.nan]),
        (Track([0.0, 10.0], {"phi2": [0.0, 0.0], "distance": [1.0, 3.0]}), [0.1, 0.2, np.nan]),
    ],
    ids=["number", "column", "track"],
)
def test_a_map_with_depth_has_the_dust_up_to_a_distance(distance, dust, monkeypatch, capsys):
    module = ModuleType("dustmaps.bayestar")
    module.BayestarQuery = InDepth
    monkeypatch.setitem(sys.modules, "dustmaps", ModuleType("dustmaps"))
    monkeypatch.setitem(sys.modules, "dustmaps.bayestar", module)
    table = stars(ra=[150.0, 151.0, np.nan], far=[1.0, np.nan, 2.0], phi1=[0.0, 5.0, 10.0])
    extinction = Extinction(map="bayestar", distance=distance)
    data = read(table, ["i"], extinction=extinction)
    expected = np.asarray(table["i_mean_psf_mag"]) - 1.682 * np.asarray(dust)
    np.testing.assert_allclose(data["i"].numpy()[data.where["i"].numpy()], expected[np.isfinite(expected)], rtol=1e-6)
    assert data.where["i"].tolist() == np.isfinite(expected).tolist()
    assert capsys.readouterr().out == ""
    read_too = Reading(["i"], corrections=Corrections(extinction=extinction)).columns_read(table.colnames)
    assert set(read_too) >= {"ra", "dec"} | ({"far"} if distance == "far" else set())


def bayestar_file(path):
    """A file of dustmaps' Bayestar: 12 pixels, of whose dust 0.1 mag a magnitude of modulus is between 4 and 14."""
    h5py, edges = pytest.importorskip("h5py"), np.arange(4.0, 14.5, 0.5)
    columns = [("nside", "i4"), ("healpix_index", "i8"), ("DM_reliable_min", "f4"), ("DM_reliable_max", "f4")]
    pixels = np.array([(1, i, 4.0, 14.0) for i in range(12)], dtype=columns)
    dust = np.tile(0.1 * (edges - 4), (12, 1)).astype("f4")
    with h5py.File(path, "w") as file:
        file.create_dataset("pixel_info", data=pixels).attrs["DM_bin_edges"] = edges
        file["best_fit"] = dust
        file["samples"] = np.stack([dust] * 3, axis=1)


def test_bayestar_of_dustmaps(tmp_path, monkeypatch):
    module = pytest.importorskip("dustmaps.bayestar")
    (tmp_path / "bayestar").mkdir()
    bayestar_file(tmp_path / "bayestar" / "bayestar2019.h5")
    monkeypatch.setattr(module, "data_dir", lambda: str(tmp_path))
    table = stars(ra=[10.0, 150.0, 250.0])
    data = read(table, ["i"], extinction=Extinction(map="bayestar", distance=1.0))  # modulus 10
    absorbed = np.asarray(table["i_mean_psf_mag"]) - data["i"].numpy()
    np.testing.assert_allclose(absorbed[np.isfinite(absorbed)], 1.682 * 0.6, rtol=1e-4)
    assert np.isfinite(absorbed).sum() >= 2


def gaia(n=6):
    """Stars with five and six parameters, one without, one too faint, one without a colour."""
    table = Table({"parallax": np.linspace(0.1, 0.6, n), "phot_g_mean_mag": [14.0, 17.0, 19.5, 21.3, 18.0, 16.0]})
    table["nu_eff_used_in_astrometry"] = [1.5, 1.6, np.nan, 1.4, np.nan, np.nan]
    table["pseudocolour"] = [np.nan, np.nan, 1.45, np.nan, np.nan, np.nan]
    table["ecl_lat"], table["astrometric_params_solved"] = np.linspace(-60, 60, n), [31, 31, 95, 31, 3, 31]
    table["parallax"][4] = np.nan
    return table


def test_parallax_zero_point_of_the_package(caplog):
    zpt = pytest.importorskip("zero_point.zpt")
    caplog.set_level("INFO", logger="stream_mapper")
    table = gaia()
    data = read(table, ["parallax"], "gaia_dr3", parallax_zero_point=True)
    zpt.load_tables()
    names = ["phot_g_mean_mag", "nu_eff_used_in_astrometry", "pseudocolour", "ecl_lat", "astrometric_params_solved"]
    for row in (0, 1, 2):
        expected = table["parallax"][row] - zpt.get_zpt(*([table[name][row]] for name in names))[0]
        assert data["parallax"][row].item() == pytest.approx(expected, abs=1e-12)
        assert data["parallax"][row].item() > table["parallax"][row]
    assert data.where["parallax"].tolist() == [True] * 4 + [False, True]
    assert data["parallax"][5].item() == pytest.approx(table["parallax"][5])
    assert "of 4 stars 1 are outside the range of the fit" in caplog.text
    assert "1 parallaxes have no zero point" in caplog.text


def test_parallax_zero_point_calls_the_package(monkeypatch):
    """Where the package is not installed: it is given arrays inside its ranges, of stars that it can do alone."""
    seen = {}

    def get_zpt(*values, _warnings):
        seen["values"] = np.stack(values)
        return np.full(len(values[0]), -0.03)

    package, module = ModuleType("zero_point"), SimpleNamespace(load_tables=lambda: None, get_zpt=get_zpt)
    monkeypatch.setitem(sys.modules, "zero_point", package)
    monkeypatch.setitem(sys.modules, "zero_point.zpt", module)
    data = read(gaia(), ["parallax"], parallax_zero_point=True)
    assert seen["values"].shape == (5, 4)
    assert (seen["values"][0] < 21).all()
    assert data["parallax"][:4].tolist() == pytest.approx([0.13, 0.23, 0.33, 0.43])
    reading = Reading(["parallax"], corrections=Corrections(parallax_zero_point=True))
    assert reading.columns_read([*gaia().colnames, "x"]) == gaia().colnames


def test_a_constant_zero_point():
    assert read(gaia(), ["parallax"], parallax_zero_point=-0.029)["parallax"][0].item() == pytest.approx(0.129)
    assert read(gaia(), ["parallax"])["parallax"][0].item() == 0.1


def test_floors_add_in_quadrature_and_keep_covariances():
    table = Table({"ra": [150.0], "dec": [30.0], "pmra": [1.0], "pmdec": [2.0], "pmra_error": [0.3]})
    table["pmdec_error"], table["pmra_pmdec_corr"] = [0.4], [0.5]
    names = ["pm_phi1_err", "pm_phi2_err", "pm_phi1_pm_phi2_corr", "phi1"]
    frame = SkyFrame({"pole": [34.6, 29.7], "ra0": 200.0})
    plain, _ = load(table, names, frame, dtype=torch.float64)
    floors = Corrections(floors={"pm_phi1": 0.03, "pm_phi2": 0.2})
    data, _ = load(table, names, frame, corrections=floors, dtype=torch.float64)
    for name, floor in floors.floors.items():
        assert data[f"{name}_err"].item() == pytest.approx(np.hypot(plain[f"{name}_err"].item(), floor))
    covariance = [d[names[0]] * d[names[1]] * d[names[2]] for d in (plain, data)]
    assert covariance[0].item() == pytest.approx(covariance[1].item())
    assert abs(data[names[2]].item()) < abs(plain[names[2]].item())
    # A floor on a constant error, too, and where the column is not there.
    data = to_data(Table({"g": [18.0]}), ["g"], errors={"g": 0.03}, corrections=Corrections(floors={"g": 0.04}))
    assert data["g_err"].item() == pytest.approx(0.05)
    columns = ["ra", "g", "g_err"]
    data = to_data(table, columns, optional=["g", "g_err"], corrections=Corrections(floors={"g": 0.04}))
    assert not data.where["g_err"].any()


REFUSED = {
    "floor of what": ({"floors": {"r": 0.1}}, r"a floor is given for 'r', whose error is not read; there are \[\]"),
    "no parallax": ({"parallax_zero_point": -0.03}, "which is not read; add it to the columns"),
    "no column": ({"extinction": Extinction(ebv="SFD")}, r"no column \['SFD'\] \(for \['ebv'\]\)"),
    "no coefficient": ({"extinction": Extinction(ebv=0.1)}, "no coefficient is known for 'mag' .*; name data.survey"),
    "coefficient of what": ({"extinction": Extinction(ebv=0.1, coefficients={"z": 1.0})}, r"coefficients of \['z'\]"),
    "no map": (
        {"extinction": Extinction(map="dustmaps.nowhere.Query", scale=1.0)},
        "the map 'dustmaps.nowhere.Query' cannot be used",
    ),
}


@pytest.mark.parametrize(("setting", "match"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_tables(setting, match):
    with pytest.raises(InputError, match=match) as caught:
        read(stars(mag=[1.0, 2.0, 3.0]), ["ra", "g", "mag"], **setting)
    assert "\n" not in str(caught.value)


def test_extinction_is_not_taken_out_twice():
    table = Table({"G0": [18.0], "gmag_dered": [19.0]})
    for name, column in {"G": "G0", "g": "gmag_dered"}.items():
        with pytest.raises(InputError, match=rf"by their names \['{column}'\] are without extinction"):
            to_data(table, {name: column}, corrections=Corrections(extinction=Extinction(ebv=0.1)))
    named = to_data(table, ["G"], survey="gaia_dr3_dereddened")
    given = to_data(
        table, {"G": "G0"}, corrections=Corrections(extinction=Extinction(ebv=0.1, coefficients={"G": 0.0}))
    )
    assert named["G"].item() == given["G"].item() == 18


WRONG = {
    "nothing": (Extinction, "either ebv, a column or a value, or map"),
    "both": (lambda: Extinction(ebv=0.1, map="sfd"), "either ebv"),
    "scale": (lambda: Extinction(map="dustmaps.planck.PlanckQuery"), "give scale, or one of"),
    "no distance": (lambda: Extinction(map="bayestar"), "needs a distance"),
    "no depth": (lambda: Extinction(map="sfd", distance=8.0), "is of a map with depth"),
    "no map for a distance": (lambda: Extinction(ebv=0.1, distance=8.0), "is of a map with depth"),
    "a distance of nothing": (lambda: Extinction(map="bayestar", distance=0.0), "must be a number above zero"),
    "numbers": (lambda: Extinction(ebv=float("nan")), "have to be numbers"),
    "floor": (lambda: Corrections(floors={"g": -1.0}), "floors >= 0"),
    "zero point": (lambda: Corrections(parallax_zero_point=float("inf")), "must be numbers"),
}


@pytest.mark.parametrize(("make", "match"), WRONG.values(), ids=WRONG.keys())
def test_refused_settings(make, match):
    with pytest.raises(InputError, match=match):
        make()


def test_no_package_for_the_zero_point(monkeypatch):
    monkeypatch.setitem(sys.modules, "zero_point", None)
    monkeypatch.setitem(sys.modules, "zero_point.zpt", None)
    with pytest.raises(InputError, match="needs the package gaiadr3-zeropoint; pip install"):
        read(gaia(), ["parallax"], parallax_zero_point=True)


CONFIG = """
data:
  path: unused
  survey: [gaia_dr3, panstarrs1]
  columns: [phi1, parallax, g, i, g_err]
  frame: {class_path: stream_mapper.catalog.SkyFrame, init_args: {frame: {pole: [34.6, 29.7], ra0: 200}}}
  errors: {g: 0.01}
  corrections:
    parallax_zero_point: -0.017
    extinction: {ebv: EBV, coefficients: {g: 3.0}}
    floors: {g: 0.02}
"""


def test_a_configuration_of_corrections():
    reading = configured(CONFIG).intake.reading
    table = stars(parallax=[0.1, 0.2, 0.3], other=[1, 2, 3])
    data, same = reading.load(table, dtype=torch.float64)
    assert same is table
    assert data["g"][0].item() == pytest.approx(17.7)
    assert data["i"][0].item() == pytest.approx(17.5 - 0.1682)
    assert data["parallax"].tolist() == pytest.approx([0.117, 0.217, 0.317])
    assert data["g_err"][0].item() == pytest.approx(np.hypot(0.01, 0.02))
    names = reading.columns_read(table.colnames)
    assert "other" not in names
    some, _ = reading.load(table[names], dtype=torch.float64)
    assert all(torch.equal(data[name], some[name]) for name in data.names)


FIT = """
data:
  survey: panstarrs1
  columns: [phi1, phi2, pm_phi1_reflex, g]
  frame:
    class_path: stream_mapper.catalog.SkyFrame
    init_args:
      frame: {{track: GD-9-S21, tracks: {tracks}}}
      reflex: {{distance: {{track: GD-9-S21, tracks: {tracks}}}}}
  corrections: {{extinction: {{ebv: EBV}}}}
model:
  model:
    class_path: stream_mapper.MixtureModel
    init_args:
      net: {{class_path: stream_mapper.nn.Constant, init_args: {{features: 1}}}}
      params:
        class_path: stream_mapper.params.ModelParameters
        init_args: {{params: {{stream.ln-weight: [-6, -0.1]}}}}
      components:
        stream:
          class_path: stream_mapper.builtin.TruncatedNormal
          init_args:
            coord_names: [phi2, pm_phi1_reflex, g]
            coord_bounds: {{phi2: [-5, 5], pm_phi1_reflex: [-40, 40], g: [10, 25]}}
            net: {{class_path: stream_mapper.nn.Constant, init_args: {{features: 6}}}}
            params:
              class_path: stream_mapper.params.ModelParameters
              init_args:
                params:
                  phi2: {{mu: [-1, 1], ln-sigma: [-2, 0]}}
                  pm_phi1_reflex: {{mu: [-20, 20], ln-sigma: [-1, 2]}}
                  g: {{mu: [15, 22], ln-sigma: [-1, 1]}}
        background:
          class_path: stream_mapper.builtin.Uniform
          init_args:
            coord_names: [phi2, pm_phi1_reflex, g]
            coord_bounds: {{phi2: [-5, 5], pm_phi1_reflex: [-40, 40], g: [10, 25]}}
"""


@pytest.mark.filterwarnings("ignore")
def test_a_prediction_reads_as_the_fit_did(tmp_path):
    """Reddened stars predicted by the checkpoint alone: the files of the track are gone, the rows come in chunks."""
    tracks, rng, n = write_track(tmp_path), np.random.default_rng(7), 400
    columns = {"ra": rng.uniform(140, 160, n), "dec": rng.uniform(31, 38, n), "EBV": rng.uniform(0, 1, n)}
    columns |= {"pmra": rng.normal(-5, 2, n), "pmdec": rng.normal(-12, 2, n), "note": np.arange(n)}
    columns["g_mean_psf_mag"] = rng.normal(19, 1, n) + 3.172 * columns["EBV"]
    write_table(Table(columns), tmp_path / "stars.parquet")
    (tmp_path / "config.yaml").write_text(FIT.format(tracks=tracks))
    given = ["--config", str(tmp_path / "config.yaml"), "--data.path", str(tmp_path / "stars.parquet")]
    quick = ["--trainer.max_epochs=2", "--results.draws=2", "--results.track_draws=2", "--results.figures=false"]
    fit([*given, "--trainer.default_root_dir", str(tmp_path / "runs"), *quick])
    run = tmp_path / "runs" / "version_0"
    for path in tracks.iterdir():
        path.unlink()
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    intake = checkpoint["stream_mapper"]["intake"]["init_args"]
    kept = intake["reading"]["init_args"]["frame"]["init_args"]
    assert kept["frame"]["name"] == "track.st.GD-9.someone2021"
    assert len(kept["reflex"]["distance"]["phi1"]) == 9
    source = ["--checkpoint", str(run / "checkpoints" / "best.ckpt"), "--draws", "2", "--catalogue"]
    out = ["--output", str(tmp_path / "out.parquet"), "--chunk_size", "150"]
    predict([*source, str(tmp_path / "stars.parquet"), *out])
    fitted, predicted = read_table(run / "memberships.parquet"), read_table(tmp_path / "out.parquet")
    np.testing.assert_allclose(predicted["p_member"], fitted["p_member"], atol=1e-5)
    assert np.ptp(fitted["p_member"]) > 0.01
    np.testing.assert_array_equal(predicted["g_mean_psf_mag"], columns["g_mean_psf_mag"])
    write_table(Table({**columns, "EBV": np.zeros(n)}), tmp_path / "bare.parquet")
    predict([*source, str(tmp_path / "bare.parquet"), "--output", str(tmp_path / "other.parquet")])
    assert np.abs(read_table(tmp_path / "other.parquet")["p_member"] - predicted["p_member"]).max() > 1e-3
