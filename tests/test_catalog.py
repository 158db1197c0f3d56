"""Catalogues: formats, units, missing values, frames, and every refusal."""

import pickle
from pathlib import Path
from typing import ClassVar

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from astropy.coordinates import (
    ICRS,
    BaseCoordinateFrame,
    RepresentationMapping,
    SkyCoord,
    SphericalRepresentation,
    StaticMatrixTransform,
    frame_transform_graph,
)
from astropy.table import Column as TableColumn
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked

from stream_mapper.catalog import (
    Column,
    SkyFrame,
    default_unit,
    find_column,
    load,
    read_table,
    replace_file,
    to_data,
)
from stream_mapper.catalog import write_table as write
from stream_mapper.catalog.sky.orientation import frame_class, matrix_of_class
from stream_mapper.catalog.sky.rotation import angle_of, rotate, rotate_errors
from stream_mapper.errors import InputError

GD1 = Path(__file__).parents[2] / "shared/data/gd1/gd1_field_gaia_dr2_ps1.fits"
FRAME = "gala.coordinates.GD1Koposov10"
NAMES = ["ra", "pmra", "parallax", "parallax_err", "g"]
RA, PMRA, PLX = np.array([150.25, 151.5, 152.0]), np.array([-5.0, np.nan, -6.5]), np.array([0.125, 0.25, -0.5])
ERR, G = np.array([0.0625, 0.125, 0.25]), np.array([18.0, 19.5, np.nan])
SOURCE_ID = 635559124339440001


def plain(kind=float, **other):
    """The table of all format tests; `other` replaces columns."""
    columns = {
        "source_id": np.array([SOURCE_ID, 2, 3]),
        "ra": TableColumn(RA.astype(kind), unit="deg"),
        "pmra": TableColumn(PMRA.astype(kind), unit="mas / yr"),
        "parallax": TableColumn(PLX.astype(kind), unit="mas"),
        "parallax_error": TableColumn(ERR.astype(kind), unit="mas"),
        "g": TableColumn(G.astype(kind), unit="mag"),
    }
    return Table({**columns, **other})


def masked():
    pmra = MaskedColumn([-5.0, 99.0, -6.5], mask=[0, 1, 0], unit="mas / yr")
    return plain(pmra=pmra, g=MaskedColumn([18.0, 19.5, 99.0], mask=[0, 0, 1], unit="mag"))


def quantities():
    table = QTable(plain())
    table["pmra"] = Masked([-5.0, 99.0, -6.5] * u.mas / u.yr, mask=[0, 1, 0])
    return table


def other_units():
    ra = TableColumn(RA * 60, unit="arcmin")
    return plain(
        ra=ra,
        parallax=(PLX * 1e3 * u.uas),
        parallax_error=ERR * 1e-3 * u.arcsec,
        pmra=PMRA * u.uas / u.day * 1e3 / 365.25,
    )


TABLES = {
    "float64": plain,
    "float32": lambda: plain("f4"),
    "big-endian float64": lambda: plain(">f8"),
    "big-endian float32": lambda: plain(">f4"),
    "masked": masked,
    "quantities": quantities,
    "other units": other_units,
    "zero point": lambda: plain(g=TableColumn(G, unit="mag(AB)")),
    "no units": lambda: Table({name: np.asarray(column) for name, column in plain().items()}),
}


def assert_expected(data):
    for name, values in zip(NAMES, (RA, PMRA, PLX, ERR, G), strict=True):
        assert data[name].dtype == torch.float64
        assert data.where[name].tolist() == (~np.isnan(values)).tolist()
        np.testing.assert_allclose(data[name].numpy(), np.nan_to_num(values), rtol=1e-9)


@pytest.mark.filterwarnings("ignore:.*mag\\(AB\\)")
@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("suffix", ["", ".fits", ".ecsv", ".parquet", ".vot"])
def test_same_data_from_every_format(make, suffix, tmp_path):
    table = make()
    if suffix:
        write(table, tmp_path / f"t{suffix}")
        table = read_table(str(tmp_path / f"t{suffix}"))
    assert_expected(to_data(table, NAMES, dtype=torch.float64))
    assert table["source_id"][0] == SOURCE_ID


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"other units"}))
def test_csv_has_no_units(name, tmp_path):
    write(TABLES[name](), tmp_path / "t.csv")
    assert_expected(to_data(read_table(tmp_path / "t.csv"), NAMES, dtype=torch.float64))


@pytest.mark.parametrize("kind", [">i4", "<i8", ">i2"])
def test_integers_become_floats(kind):
    data = to_data(Table({"g": np.array([18, 19], dtype=kind)}), ["g"])
    assert data["g"].dtype == torch.float32
    assert data["g"].tolist() == [18, 19]


def test_parquet_of_others(tmp_path):
    columns = {"g": [18.0, None], "source_id": [SOURCE_ID, None], "name": ["a", None], "id2": [1, 2]}
    extra = {"kind": pa.array(["x", "y"]).dictionary_encode(), "r": pa.array([17.5, 18.5]).cast(pa.decimal128(5, 2))}
    pq.write_table(pa.table({**columns, **extra, "f": pa.array([1.5, None], pa.float32())}), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert table["source_id"][0] == SOURCE_ID
    assert table["source_id"].mask.tolist() == table["name"].mask.tolist() == [False, True]
    assert table["kind"].tolist() == ["x", "y"]
    data = to_data(table, ["g", "r", "f"])
    assert data["r"].tolist() == [17.5, 18.5]
    assert data.where["g", "f"].tolist() == [[True, True], [False, False]]


def test_parquet_of_astropy(tmp_path):
    for make in (masked, quantities):
        table = make()
        table.meta["origin"] = "Gaia"
        table.write(tmp_path / "t.parquet", format="parquet", overwrite=True)
        back = read_table(tmp_path / "t.parquet")
        assert_expected(to_data(back, NAMES, dtype=torch.float64))
        assert back.meta["origin"] == "Gaia"
        assert back.colnames == table.colnames


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".parquet"])
def test_write_keeps_units_metadata_text_and_arrays(suffix, tmp_path):
    table = plain(
        name=MaskedColumn(["a", "bb", "ü" if suffix != ".fits" else "c"], mask=[0, 1, 0]), flag=[True, False, True]
    )
    table["pair"] = np.arange(6.0).reshape(3, 2)
    table["count"] = MaskedColumn([1, 2, 3], mask=[1, 0, 0])
    table.meta["ORIGIN"] = "Gaia"
    write(table, tmp_path / f"t{suffix}")
    back = read_table(tmp_path / f"t{suffix}")
    assert back.colnames == table.colnames
    assert back.meta["ORIGIN"] == "Gaia"
    assert [back[n].unit for n in NAMES[:3]] == [u.deg, u.mas / u.yr, u.mas]
    for name in ("name", "flag", "pair", "count"):
        assert back[name].tolist() == table[name].tolist()
        assert back[name].dtype.kind == table[name].dtype.kind


def test_write_replaces_only_by_a_complete_file(tmp_path, monkeypatch):
    path = tmp_path / "t.ecsv"
    write(plain(), path)
    before = path.read_bytes()

    def fail(table, path, **_):
        Path(path).write_text("half")
        raise OSError("disk full\nsecond line")

    monkeypatch.setattr(Table, "write", fail)
    with pytest.raises(InputError, match=r"t\.ecsv: cannot be written as ascii\.ecsv: disk full\.$"):
        write(plain(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t.ecsv"]


def test_a_failed_write_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    def full(table, path, **_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Table, "write", full)
    path = tmp_path / "t.ecsv"
    with pytest.raises(InputError) as caught:
        write(plain(), path)
    told = f"{path}: cannot be written as ascii.ecsv: [Errno 28] No space left on device: '{path}'."
    assert str(caught.value) == told
    with pytest.raises(RuntimeError, match=rf"^file {path} is odd$"):
        replace_file(path, lambda new: (_ for _ in ()).throw(RuntimeError(f"file {new} is odd")))


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".parquet"])
def test_what_cannot_be_written_leaves_nothing(suffix, tmp_path):
    table = plain(odd=np.array([object(), 1, None], dtype=object))
    with pytest.raises(InputError, match=f"t{suffix}: cannot be written") as caught:
        write(table, tmp_path / f"t{suffix}")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "match"),
    [("no/t.ecsv", "its folder does not exist"), ("t.ecsv", "is a folder"), ("t.txt", "unknown suffix '.txt'")],
)
def test_write_refuses(name, match, tmp_path):
    (tmp_path / "t.ecsv").mkdir()
    with pytest.raises(InputError, match=match):
        write(plain(), tmp_path / name)


def truncated(path, fraction, n=5000):
    write(Table({"x": np.random.default_rng(0).normal(size=n)}), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    return path


FILES = {
    "missing": (lambda d: d / "no.fits", "does not exist"),
    "folder": (lambda d: d, "is a folder; give the path of a table"),
    "suffix": (lambda d: d / "t.dat", "unknown suffix '.dat'; use one of .fits"),
    "cut fits": (lambda d: truncated(d / "t.fits", 0.5), "cannot be read as fits: .*; is the file complete?"),
    "cut fits header": (lambda d: truncated(d / "t.fits", 0.05), "cannot be read as fits"),
    "cut parquet": (lambda d: truncated(d / "t.parquet", 0.5), "cannot be read as parquet"),
    "empty parquet": (lambda d: truncated(d / "t.parquet", 0), "cannot be read as parquet"),
    "empty fits": (lambda d: truncated(d / "t.fits", 0), "cannot be read as fits"),
    "cut ecsv": (lambda d: truncated(d / "t.ecsv", 0.0002), "cannot be read as ascii.ecsv"),
    "empty csv": (lambda d: truncated(d / "t.csv", 0), "holds no columns"),
}


def written(path, text):
    path.write_text(text)
    return path


FILES |= {
    "double": (lambda d: written(d / "t.csv", '\nx, y,"x"\n1,2,3\n'), r"more than one column is called \['x'\]"),
    "binary csv": (lambda d: written(d / "t.csv", "x" * 200_000), "no rows"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "match"), FILES.values(), ids=FILES.keys())
def test_refused_files(make, match, tmp_path):
    path = make(tmp_path)
    with pytest.raises(InputError, match=match) as caught:
        load(path, ["x"])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


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
    "too large": (plain(g=[18, 1e300, 1]), asks(), "'g' is too large for torch.float32 in 1 rows"),
    "negative error": (plain(parallax_error=-ERR), asks(["parallax_err"]), "negative error in 3 rows"),
    "optional": (plain(), asks(optional=["r"]), r"optional columns \['r'\] are not among"),
    "two errors": (plain(), asks(NAMES, errors={"parallax": 0.1}), "'parallax' has an error column 'parallax_error'"),
    "error of what": (plain(), asks(errors={"r": 0.1}), "an error is given for 'r'"),
    "error sign": (plain(), asks(errors={"g": -0.1}), "give a number >= 0"),
    "error rule": (plain(), asks(errors={"g": {"off": 3}}), "errors.'g'. = {'off': 3}; give a number"),
    "error source": (plain(), asks(errors={"g": {"of": "r_err", "factor": 1}}), r"no column \['r_err'\]"),
    "no module": (field(), frame("nowhere.Frame"), r"cannot be imported .*stream_mapper\[frames\]"),
    "no frame": (field(), frame("gala.coordinates.GD9"), r"'gala.coordinates.GD9' cannot be imported"),
    "no path": (field(), frame("GD1"), "cannot be imported"),
    "not a frame": (field(), frame("math.pi"), "a frame class of astropy coordinates is needed"),
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
        "rv": "km / s",
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
        "ra": Column("ra", "rad"),
        "parallax": Column("parallax", "mas"),
        "phi2": Column("g", "arcmin"),
    }
    data = to_data(table, columns, path="t.fits", dtype=torch.float64)
    assert data["ra"][0].item() == pytest.approx(np.rad2deg(RA[0]))
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


def sky(n=300):
    """Stars all over the sky with errors and correlations."""
    rng = np.random.default_rng(1)
    columns = {"ra": rng.uniform(0, 360, n) * u.deg, "dec": np.rad2deg(np.arcsin(rng.uniform(-1, 1, n))) * u.deg}
    motion = {name: rng.normal(0, 5, n) * u.mas / u.yr for name in ("pmra", "pmdec")}
    errors = {name: rng.uniform(0, 1, n) * u.mas / u.yr for name in ("pmra_error", "pmdec_error")}
    return QTable({**columns, **motion, **errors, "pmra_pmdec_corr": rng.uniform(-1, 1, n)})


def reference(name, table):
    """The stars in a frame of gala, by astropy alone."""
    motion = {"pm_ra_cosdec": table["pmra"], "pm_dec": table["pmdec"]}
    return SkyCoord(table["ra"], table["dec"], **motion).transform_to(frame_class(name)())


@pytest.mark.parametrize("name", [FRAME, "gala.coordinates.Pal5PriceWhelan18"])
def test_frame_agrees_with_astropy(name):
    table = sky()
    out, expected = SkyFrame(name).add_stream_coordinates(table), reference(name, table)
    np.testing.assert_allclose(out["phi1"].value, expected.phi1.wrap_at("180d").deg, atol=1e-11)
    np.testing.assert_allclose(out["phi2"].value, expected.phi2.deg, atol=1e-11)
    np.testing.assert_allclose(out["pm_phi1"].value, expected.pm_phi1_cosphi2.to_value("mas/yr"), atol=1e-8)
    np.testing.assert_allclose(out["pm_phi2"].value, expected.pm_phi2.to_value("mas/yr"), atol=1e-8)
    assert (np.abs(out["phi1"].value) <= 180).all()
    assert "phi1" not in table.colnames


def test_covariance_agrees_with_the_rotation_of_many_draws():
    """Errors of the rotated motion are the scatter of rotated draws, here by astropy for one star."""
    n, sigma, corr = 100_000, np.array([0.3, 0.8]), -0.58
    cov = np.array([[sigma[0] ** 2, corr * sigma.prod()], [corr * sigma.prod(), sigma[1] ** 2]])
    draws = np.random.default_rng(2).multivariate_normal([-7, -12], cov, n)
    star = {"ra": [150.0] * n * u.deg, "dec": [25.0] * n * u.deg}
    out = reference(FRAME, QTable({**star, "pmra": draws[:, 0] * u.mas / u.yr, "pmdec": draws[:, 1] * u.mas / u.yr}))
    scatter = np.cov(out.pm_phi1_cosphi2.value, out.pm_phi2.value)
    _, _, rotation = rotate(matrix_of_class(frame_class(FRAME)), np.array([150.0]), np.array([25.0]))
    got = rotate_errors(rotation, sigma[:1], sigma[1:], np.array([corr]))
    assert got[0][0] == pytest.approx(scatter[0, 0] ** 0.5, rel=0.01)
    assert got[1][0] == pytest.approx(scatter[1, 1] ** 0.5, rel=0.01)
    assert got[2][0] == pytest.approx(scatter[0, 1] / (scatter[0, 0] * scatter[1, 1]) ** 0.5, abs=0.01)


def test_covariance_keeps_trace_and_determinant():
    table = sky()
    out = SkyFrame().add_stream_coordinates(table)
    s1, s2, e1, e2 = (np.asarray(out[n].value) for n in ("pmra_error", "pmdec_error", "pm_phi1_err", "pm_phi2_err"))
    rho, turned = np.asarray(out["pmra_pmdec_corr"]), np.asarray(out["pm_phi1_pm_phi2_corr"])
    np.testing.assert_allclose(e1**2 + e2**2, s1**2 + s2**2, rtol=1e-9)
    np.testing.assert_allclose((e1 * e2) ** 2 * (1 - turned**2), (s1 * s2) ** 2 * (1 - rho**2), atol=1e-12)


@pytest.mark.parametrize("corr", [-1.0, 1.0])
def test_variance_is_never_negative(corr):
    table = sky()
    table["pmra_pmdec_corr"] = corr
    table["pmra_error"][:5] = table["pmdec_error"][:5] = 1e-9 * u.mas / u.yr
    out = SkyFrame().add_stream_coordinates(table)
    for name in ("pm_phi1_err", "pm_phi2_err", "pm_phi1_pm_phi2_corr"):
        assert np.isfinite(np.asarray(out[name])).all()
    assert (out["pm_phi1_err"][:5] >= 0).all()


class PoleFrame(BaseCoordinateFrame):
    """A frame with its pole at ra = 35 deg, dec = 28 deg, and phi1 = 0 on the meridian of ra = 200 deg."""

    frame_specific_representation_info: ClassVar = {
        SphericalRepresentation: [RepresentationMapping("lon", "phi1"), RepresentationMapping("lat", "phi2")]
    }


def towards(lon, lat):
    """Unit vectors of a place on the sky, and of east and north there, (N, 3) each; angles in rad."""
    place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)
    east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)], -1)
    return place, east, np.cross(place, east)


def _pole_matrix():
    pole, origin = (towards(*np.deg2rad([lon, lat]))[0] for lon, lat in ((35.0, 28.0), (200.0, 0.0)))
    second = np.cross(pole, origin) / np.linalg.norm(np.cross(pole, origin))
    return np.stack([np.cross(second, pole), second, pole])


frame_transform_graph.transform(StaticMatrixTransform, ICRS, PoleFrame)(_pole_matrix)


def test_angle_turns_the_stream_into_the_catalogue():
    """Against the unit vectors of both frames, each carried there by the matrix of the pole."""
    table, matrix = sky(), _pole_matrix()
    place, east, north = towards(*(table[name].to_value("rad") for name in ("ra", "dec")))
    x, y, z = matrix @ place.T
    _, along, across = towards(np.arctan2(y, x), np.arcsin(z))
    _, _, rotation = rotate(matrix_of_class(PoleFrame), table["ra"].value, table["dec"].value)
    theta = angle_of(rotation)
    np.testing.assert_allclose(np.cos(theta), np.sum(east * (along @ matrix), -1), atol=1e-9)
    np.testing.assert_allclose(np.sin(theta), np.sum(north * (along @ matrix), -1), atol=1e-9)
    np.testing.assert_allclose(np.cos(theta), np.sum(north * (across @ matrix), -1), atol=1e-9)


@pytest.mark.parametrize("name", [FRAME, "gala.coordinates.Pal5PriceWhelan18"])
def test_angle_is_a_column(name):
    table = sky()
    table["dec"][3] = np.nan * u.deg
    data, _ = load(table, ["pm_phi1", "pm_phi2", "pm_angle"], SkyFrame(name), dtype=torch.float64)
    assert data.where["pm_angle"].tolist() == [i != 3 for i in range(len(table))]
    x, y, theta = (data[n].numpy()[4:] for n in ("pm_phi1", "pm_phi2", "pm_angle"))
    np.testing.assert_allclose(x * np.cos(theta) - y * np.sin(theta), table["pmra"].value[4:], atol=1e-7)
    np.testing.assert_allclose(x * np.sin(theta) + y * np.cos(theta), table["pmdec"].value[4:], atol=1e-7)
    del table["pmra"], table["pmdec"]
    alone, _ = load(table, ["pm_angle"], SkyFrame(name), dtype=torch.float64)
    assert torch.equal(alone["pm_angle"], data["pm_angle"])
    assert default_unit("pm_angle") == "rad"


def test_correlation_falls_back_to_the_constant():
    with_corr, without = sky(), sky()
    with_corr["pmra_pmdec_corr"] = np.nan
    del without["pmra_pmdec_corr"]
    frames = SkyFrame(pm_corr=-0.5), SkyFrame(pm_corr=-0.5), SkyFrame()
    a, b, c = (
        f.add_stream_coordinates(t)["pm_phi1_err"] for f, t in zip(frames, (with_corr, without, without), strict=True)
    )
    assert (a == b).all()
    assert not (b == c).any()


def test_frame_leaves_gaps_where_they_are(caplog):
    table = sky(4)
    table["pmra"][1], table["dec"][2], table["pmdec_error"][3] = [
        np.nan * table[n].unit for n in ("pmra", "dec", "pmra")
    ]
    table["phi1"] = np.zeros(4)
    names = ["phi1", "phi2", "pm_phi1", "pm_phi2", "pm_phi1_err"]
    data, same = load(table, names, SkyFrame())
    expected = [[True] * 5, [True, True, False, False, True], [False] * 5, [True] * 4 + [False]]
    assert data.where[tuple(names)].tolist() == expected
    assert same is table
    assert (table["phi1"] == 0).all()
    assert "columns ['phi1'] are computed anew" in caplog.text


def test_frame_without_proper_motions_or_errors(caplog):
    table = sky()
    assert "pm_phi1" not in SkyFrame().add_stream_coordinates(table["ra", "dec"]).colnames
    del table["pmra_error"]
    assert "pm_phi1_err" not in SkyFrame().add_stream_coordinates(table).colnames
    assert "proper-motion errors need both" in caplog.text


def test_frame_takes_other_names_and_units():
    table, other = sky(), Table()
    other["RA_rad"], other["DE_ICRS"] = table["ra"].to(u.rad), table["dec"].to(u.arcmin)
    other["mu"], other["pmDE"] = table["pmra"].to(u.uas / u.yr), table["pmdec"].value
    out = SkyFrame(ra="RA_rad", pmra="mu").add_stream_coordinates(other)
    expected = SkyFrame().add_stream_coordinates(table)
    for name in ("phi1", "phi2", "pm_phi1", "pm_phi2"):
        np.testing.assert_allclose(out[name], expected[name].value, rtol=1e-9)


def test_frame_can_be_pickled():
    assert vars(pickle.loads(pickle.dumps(SkyFrame(pm_corr=0.5)))) == vars(SkyFrame(pm_corr=0.5))


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
