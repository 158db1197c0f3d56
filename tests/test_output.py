"""What results say of themselves, in every format, and the tables for other programs."""

import hashlib
import html
import json
import math
import re
from html.parser import HTMLParser
from importlib.metadata import version

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.votable import parse as parse_votable
from astropy.io.votable.ucd import check_ucd
from astropy.table import MaskedColumn, QTable, Table

from stream_mapper.__main__ import main as console
from stream_mapper.catalog import Column, SkyFrame, annotate, identifier, read_table, write_table
from stream_mapper.catalog.export import galstreams_tables, to_icrs
from stream_mapper.catalog.metadata import note_of
from stream_mapper.catalog.schema import COLUMNS
from stream_mapper.errors import InputError
from stream_mapper.fit import main as fit
from stream_mapper.predict import main as predict
from stream_mapper.results.exports import check_formats, write_galstreams, write_memberships

FORMATS = ("fits", "vot", "ecsv", "parquet")
GD1 = "gala.coordinates.GD1Koposov10"
ROUNDED = 3e-8  # gala's matrix of this frame has seven digits: a rotation only to as many
FACTS = {
    "MODEL": "MixtureModel(stream, background)",
    "FRAME": GD1,
    "CREATOR": "stream_mapper 0.1.0",
    "CONFHASH": "0123456789abcdef" * 4,
    "CKPTHASH": "fedcba9876543210" * 4,
    "DATE": "2026-01-02T03:04:05",
    "FRAME_REFLEX": "distance 8.1 kpc, U, V, W = 12.9, 245.6, 7.78 km/s",
}


def everything():
    """A table of every type of column there is, with gaps."""
    gaps = [False, True, False]
    return Table(
        {
            "source_id": MaskedColumn([2**62 + 1, 0, 999_999], mask=gaps),
            "short": MaskedColumn(np.array([-32768, 5, 32767], dtype=np.int16), mask=gaps),
            "ra": [10.0, 20.0, 30.0] * u.deg,
            "pmra": MaskedColumn([1.5, 0.0, -math.pi], mask=gaps, unit=u.mas / u.yr),
            "pmra_err": MaskedColumn(np.float32([0.1, 0.2, 0.3]), unit=u.mas / u.yr),
            "g": [18.1, 19.2, 20.3] * u.mag,
            "name": ["Gaia DR3 1", "μ Cep", "x"],
            "note": MaskedColumn(["a", "b", "c"], mask=gaps),
            "seen": [True, False, True],
            "p_member": [0.25, 1e-12, 1.0],
            "in_window": [True, True, False],
        }
    )


@pytest.mark.parametrize("ending", FORMATS)
def test_round_trip_keeps_what_a_paper_needs(ending, tmp_path):
    table, path = everything(), tmp_path / f"stars.{ending}"
    table.meta.update(FACTS)
    annotate(
        table, {name: name for name in table.colnames if name not in ("short", "name", "note", "seen")}, "source_id"
    )
    write_table(table, path)
    back = read_table(path)
    assert back.colnames == table.colnames
    for name in table.colnames:
        there = ~np.ma.getmaskarray(np.ma.asarray(table[name]))
        assert np.ma.asarray(back[name])[there].tolist() == np.ma.asarray(table[name])[there].tolist(), name
        assert back[name].unit == table[name].unit, name
        assert back[name].dtype.kind == table[name].dtype.kind, name
        assert (back[name].info.meta or {}).get("ucd") == (table[name].info.meta or {}).get("ucd"), name
        assert (back[name].info.description or "") == (table[name].info.description or ""), name
    assert {key: back.meta[key] for key in FACTS} == FACTS
    assert back["source_id"].dtype.itemsize == 8
    for name in ("source_id", "short", "pmra"):
        assert np.ma.getmaskarray(back[name]).tolist() == [False, True, False], name
    assert str(np.ma.asarray(back["note"]).filled("")[1]) == ""


def test_the_headers_are_those_other_programs_read(tmp_path):
    table = annotate(everything(), {"ra": "ra", "p_member": "p_member"}, "source_id")
    table.meta.update(FACTS)
    write_table(table, tmp_path / "a.fits")
    header = fits.getheader(tmp_path / "a.fits", 1)
    assert (header["TUCD1"], header["TUCD3"]) == ("meta.id;meta.main", "pos.eq.ra")
    assert header["TCOMM3"].startswith("right ascension, ICRS")
    assert header["TUNIT3"] == "deg"
    assert header["CONFHASH"] == FACTS["CONFHASH"]
    write_table(table, tmp_path / "a.vot")
    votable = parse_votable(tmp_path / "a.vot", verify="exception")
    fields = {field.name: field for field in votable.get_first_table().fields}
    assert (fields["ra"].ucd, fields["ra"].unit, fields["p_member"].ucd) == ("pos.eq.ra", u.deg, "stat.probability")
    assert {info.name: info.value for info in votable.resources[0].infos} == FACTS


def test_a_missing_boolean_is_missing_in_fits_as_a_byte(tmp_path):
    write_table(Table({"seen": MaskedColumn([True, False, True], mask=[0, 1, 0])}), tmp_path / "a.fits")
    assert read_table(tmp_path / "a.fits")["seen"].tolist() == [1, None, 1]


def test_a_missing_integer_is_not_a_number_of_the_column(tmp_path):
    values = np.arange(-128, 127).astype(np.int8).astype(np.int16)
    ends = np.array([*values, *np.iinfo(np.int16).min + np.arange(3), np.iinfo(np.int16).max, 0], dtype=np.int16)
    mask = np.arange(len(ends)) == len(ends) - 1
    write_table(Table({"n": MaskedColumn(ends, mask=mask)}), tmp_path / "a.fits")
    assert np.ma.getmaskarray(read_table(tmp_path / "a.fits")["n"]).tolist() == mask.tolist()


NAMES = [
    *COLUMNS,
    *(f"{name}_err" for name in (*(n for n, quantity in COLUMNS.items() if quantity.unit), "g", "J")),
    *("pmra_pmdec_corr", "g", "r0", "ps1_i", "G", "BP", "J", "Ks", "whatever"),
    *("p_stream", "p_member", "p_member_05", "p_member_50", "p_member_84", "n_missing", "in_window", "selected"),
    *("phi2_sigma", "phi2_05", "distance_95", "distance_sigma", "weight", "weight_05", "density", "component"),
    *(
        "phi2_50",
        "phi2_sigma_16",
        "distance_sigma_50",
        "weight_50",
        "density_95",
        "members",
        "members_50",
        "members_84",
    ),
    *("begin", "begin_width", "end_width_05", "end_50"),
]


@pytest.mark.parametrize("name", NAMES)
def test_ucds_are_words_of_the_ivoa(name):
    note = note_of(name)
    assert not note.ucd or check_ucd(note.ucd, check_controlled_vocabulary=True, has_colon=False), note
    assert note.description
    assert note.ucd or name.startswith(("phi2", "density", "weight", "members", "begin_width", "end_width")), name


def test_the_check_of_ucds_can_fail():
    assert not check_ucd("pos.stream;phi1", check_controlled_vocabulary=True)


def test_identifiers_are_found_by_name():
    assert identifier(["ra", "objid", "SOURCE_ID"]) == "SOURCE_ID"
    assert identifier(["ra", "objID"]) == "objID"
    assert identifier(["ra", "dec"]) is None


def frame_of(path):
    """A frame of gala or astropy, by its import path."""
    module, _, name = path.rpartition(".")
    return getattr(pytest.importorskip(module), name)()


def test_icrs_is_the_inverse_of_the_rotation_of_stars():
    generator = np.random.default_rng(1)
    lon, lat = generator.uniform(-180, 180, 1000), generator.uniform(-60, 60, 1000)
    pm = generator.normal(0, 10, (2, 1000))
    for path, close in ((GD1, ROUNDED), ("astropy.coordinates.Galactic", 1e-9)):
        icrs = to_icrs(SkyFrame(path).orientation.matrix, lon, lat, *pm)
        sky = SkyCoord(
            icrs["ra"] * u.deg, icrs["dec"] * u.deg, **{n: icrs[n] * u.mas / u.yr for n in icrs if "pm" in n}
        )
        back = sky.transform_to(frame_of(path)).represent_as("unitspherical", s="unitsphericalcoslat")
        motion = back.differentials["s"]
        assert np.abs((back.lon.deg - lon + 180) % 360 - 180).max() < close
        assert np.abs(back.lat.deg - lat).max() < close
        assert np.abs(motion.d_lon_coslat.to_value("mas/yr") - pm[0]).max() < close
        assert np.abs(motion.d_lat.to_value("mas/yr") - pm[1]).max() < close


def test_track_of_galstreams_is_read_back_and_rotated(tmp_path):
    phi1 = np.linspace(-60.0, -20.0, 81)
    track = {"phi1": phi1, "phi2": 0.001 * (phi1 + 40) ** 2, "pm_phi1": -13 + 0 * phi1, "pm_phi2": -3 + 0.01 * phi1}
    track["distance"] = 8 + 0.01 * phi1
    points, summary = galstreams_tables(SkyFrame(GD1).orientation.matrix, track, {"phi2": 0.2}, "GD-1", "GD-1")
    for table, name in ((points, "t.ecsv"), (summary, "t.summary.ecsv")):
        write_table(table, tmp_path / name)
    # as galstreams itself reads them (core.py, Track6D)
    sky = SkyCoord(**QTable.read(tmp_path / "t.ecsv"))
    there = sky.transform_to(frame_of(GD1))
    assert np.abs(there.phi1.wrap_at(180 * u.deg).deg - phi1).max() < ROUNDED
    assert np.abs(there.phi2.deg - track["phi2"]).max() < ROUNDED
    assert np.abs(there.pm_phi1_cosphi2.to_value("mas/yr") - track["pm_phi1"]).max() < ROUNDED
    assert np.abs(there.pm_phi2.to_value("mas/yr") - track["pm_phi2"]).max() < ROUNDED
    assert np.abs(there.distance.kpc - track["distance"]).max() < ROUNDED
    row = QTable.read(tmp_path / "t.summary.ecsv")[0]
    assert (row["StreamName"], str(row["InfoFlags"])) == ("GD-1", "1110")
    assert (row["end_o.ra"], row["end_f.dec"]) == (sky.ra[0], sky.dec[-1])
    assert row["mid.ra"] == sky.ra[40]
    assert row["width_phi2"] == 0.2 * u.deg


def test_pole_of_a_great_circle_is_that_of_its_frame():
    phi1 = np.linspace(-60.0, -20.0, 81)
    _, summary = galstreams_tables(
        SkyFrame(GD1).orientation.matrix, {"phi1": phi1, "phi2": 0 * phi1}, {}, "GD-1", "GD-1"
    )
    pole = SkyCoord(0 * u.deg, 90 * u.deg, frame=frame_of(GD1)).icrs
    assert summary["pole.ra"][0].deg == pytest.approx(pole.ra.deg, abs=ROUNDED)
    assert summary["pole.dec"][0].deg == pytest.approx(pole.dec.deg, abs=ROUNDED)
    assert str(summary["InfoFlags"][0]) == "1000"
    assert summary["mid.distance"][0] == 1 * u.kpc


def test_a_format_that_cannot_hold_the_table_is_left_out(tmp_path, caplog):
    table = Table({"n": np.array([1, 2], dtype=np.uint64)})
    assert [path.name for path in write_memberships(table, tmp_path, ["votable"])] == ["memberships.parquet"]
    assert "memberships.vot: cannot be written as votable" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["memberships.parquet"]


def test_proper_motions_without_the_suns_are_not_those_of_galstreams(tmp_path, caplog):
    phi1 = np.linspace(-60.0, -20.0, 9)
    track = Table({"component": ["stream"] * 9, "supported": [True] * 9, "phi1": phi1, "phi2": 0 * phi1})
    track["pm_phi1"], track["pm_phi2"] = phi1, phi1
    caplog.set_level("INFO", "stream_mapper")
    columns = {"phi1": "phi1", "pm_phi1": "pm_phi1_reflex", "pm_phi2": Column("pm_phi2_reflex")}
    for read, flags in ((columns, "1000"), (["pm_phi1", "pm_phi2"], "1010")):
        write_galstreams(track, SkyFrame(GD1), "", tmp_path, read)
        assert str(read_table(tmp_path / "track.galstreams.summary.ecsv")["InfoFlags"][0]) == flags
    write_galstreams(track, None, "", tmp_path / "nowhere")
    assert "no data.frame, so the track has no place on the sky" in caplog.text


def test_unknown_formats_are_refused():
    with pytest.raises(InputError, match=r"formats: got \['doc'\] among \['fits', 'doc'\]; give some of parquet"):
        check_formats(["fits", "doc"])
    with pytest.raises(InputError, match="got none"):
        check_formats([])


NET = "{{class_path: stream_mapper.nn.sequential, init_args: {{data: 1, hidden_features: 8, layers: 2, features: {}}}}}"
CONFIG = """
data:
  path: {path}
  columns: [phi1, phi2, g]
  frame: {{class_path: stream_mapper.catalog.SkyFrame, init_args: {{frame: gala.coordinates.GD1Koposov10}}}}
results: {{formats: [parquet, fits, ecsv, votable], best: 7, draws: 3, track_draws: 4, name: Mock-1}}
trainer: {{max_epochs: 3, default_root_dir: {root}}}
model:
  model:
    class_path: stream_mapper.MixtureModel
    init_args:
      net: {one}
      params:
        class_path: stream_mapper.params.ModelParameters
        init_args: {{params: {{stream.ln-weight: [-5, -0.1]}}}}
      components:
        stream:
          class_path: stream_mapper.builtin.TruncatedNormal
          init_args:
            coord_names: [phi2]
            coord_bounds: {{phi2: [-5, 5]}}
            net: {two}
            params:
              class_path: stream_mapper.params.ModelParameters
              init_args: {{params: {{phi2: {{mu: [-1, 1], ln-sigma: [-3, 0]}}}}}}
        background:
          class_path: stream_mapper.builtin.Uniform
          init_args: {{coord_names: [phi2], coord_bounds: {{phi2: [-5, 5]}}}}
"""


def sky_table():
    """A stream along phi2 = 0 in a field of GD-1, in ICRS, with identifiers, one of them missing."""
    generator = np.random.default_rng(3)
    phi1, phi2 = generator.uniform(-60, -20, 600), np.r_[generator.normal(0, 0.2, 200), generator.uniform(-5, 5, 400)]
    icrs = to_icrs(SkyFrame(GD1).orientation.matrix, phi1, phi2, 0 * phi1, 0 * phi1)
    ids = MaskedColumn(2**61 + np.arange(600), mask=np.arange(600) == 5)
    table = Table({"source_id": ids, "ra": icrs["ra"] * u.deg, "dec": icrs["dec"] * u.deg})
    table["g"] = MaskedColumn(generator.uniform(15, 20, 600), mask=np.arange(600) % 9 == 0, unit=u.mag)
    table["name_of"] = [f"star_{i}" for i in range(600)]
    table.meta["survey"] = "mock"
    return table


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short fit to stars on the sky, written in all formats."""
    pytest.importorskip("gala")
    root = tmp_path_factory.mktemp("output")
    write_table(sky_table(), root / "stars.fits")
    names = {"path": root / "stars.fits", "root": root / "runs", "one": NET.format(1), "two": NET.format(2)}
    (root / "config.yaml").write_text(CONFIG.format(**names))
    fit(["--config", str(root / "config.yaml")])
    return root / "runs" / "version_0"


def test_a_fit_writes_every_format_alike(run):
    tables = {ending: read_table(run / f"memberships.{ending}") for ending in FORMATS}
    best = hashlib.sha256((run / "checkpoints" / "best.ckpt").read_bytes()).hexdigest()
    config = hashlib.sha256((run / "config.yaml").read_bytes()).hexdigest()
    for ending, table in tables.items():
        said = table.meta
        assert said["OBJECT"] == "Mock-1", ending
        assert said["FRAME"] == GD1
        assert said["MODEL"] == "MixtureModel(stream, background)"
        assert said["CREATOR"].startswith("stream_mapper ")
        assert (said["CKPTHASH"], said["CONFHASH"]) == (best, config)
        assert said["SURVEY"] == "mock"
        assert table["ra"].info.meta["ucd"] == "pos.eq.ra"
        assert table["source_id"].info.meta["ucd"] == "meta.id;meta.main"
        assert table["p_stream"].info.meta["ucd"] == "stat.probability"
        assert table["in_window"].dtype.kind == "b"
        assert np.array_equal(np.asarray(table["p_member"]), np.asarray(tables["parquet"]["p_member"])), ending
        assert table["source_id"].tolist() == sky_table()["source_id"].tolist()
    track = read_table(run / "track.ecsv")
    assert track.meta["CONFHASH"] == config
    assert track["phi2_sigma"].info.description == "intrinsic width: latitude across the stream"


def test_best_members_are_the_best(run):
    members, table = read_table(run / "members.ecsv"), read_table(run / "memberships.parquet")
    assert len(members) == 7
    assert members.colnames[:6] == ["source_id", "ra", "dec", "phi1", "phi2", "p_member"]
    assert np.asarray(members["p_member"]).tolist() == sorted(np.asarray(table["p_member"]), reverse=True)[:7]
    row = {one["source_id"]: one for one in table if one["source_id"] is not np.ma.masked}
    for one in (one for one in members if one["source_id"] is not np.ma.masked):
        assert one["ra"] == row[one["source_id"]]["ra"]
    latex = (run / "members.tex").read_text()
    assert latex.startswith(r"\begin{deluxetable*}")
    assert r"\colhead{source\_id}" in latex
    assert latex.count(r"\\") >= 6
    assert "The 7 stars of the highest membership of Mock-1." in latex


def test_track_of_a_fit_lies_on_the_sky(run):
    track = read_table(run / "track.ecsv")
    track = track[track["supported"]]
    points = read_table(run / "track.galstreams.ecsv")
    there = SkyCoord(np.asarray(points["ra"]) * u.deg, np.asarray(points["dec"]) * u.deg).transform_to(frame_of(GD1))
    assert np.abs(there.phi1.wrap_at(180 * u.deg).deg - track["phi1"]).max() < 1e-6
    assert np.abs(there.phi2.deg - track["phi2"]).max() < 1e-6
    assert str(read_table(run / "track.galstreams.summary.ecsv")["InfoFlags"][0]) == "1000"


@pytest.mark.parametrize("ending", FORMATS)
def test_predict_says_what_it_is_by(run, ending, tmp_path):
    path, best = tmp_path / f"members.{ending}", run / "checkpoints" / "best.ckpt"
    arguments = ["--checkpoint", str(best), "--output", str(path), "--draws", "3", "--catalogue"]
    predict([*arguments, str(run / "memberships.parquet" if ending == "parquet" else run.parents[1] / "stars.fits")])
    table, fitted = read_table(path), read_table(run / "memberships.parquet")
    for key in ("OBJECT", "MODEL", "FRAME", "CREATOR", "CONFHASH", "CKPTHASH"):
        assert table.meta[key] == fitted.meta[key], key
    assert table.meta["FITDATE"] <= fitted.meta["DATE"]
    assert "DATE" not in table.meta  # the same command gives the same bytes
    assert table["p_member_50"].info.meta["ucd"] == "stat.probability;stat.median"
    assert table["dec"].info.description == "declination, ICRS"
    np.testing.assert_allclose(table["p_member"], fitted["p_member"], atol=1e-6)


def test_the_checkpoint_of_a_fit_stays_plain(run):
    kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["stream_mapper"]
    assert kept["model"]["class_path"] == "stream_mapper.MixtureModel"
    assert json.loads(json.dumps(kept)) == kept


def test_a_frame_says_more_of_itself_if_it_can():
    from stream_mapper.results.provenance import _of_frame

    class Frame(SkyFrame):
        def metadata(self):
            return {"name": "GD-1", "reflex": {"distance": 8.1}, "none": None}

    assert _of_frame(Frame()) == {"FRAME": "GD-1", "FRAME_REFLEX": '{"distance": 8.1}'}
    assert _of_frame(None) == {"FRAME": "as read"}


def test_report_is_one_page_that_needs_nothing_else(run, capsys):
    first = (run / "report.html").read_text()  # the fit wrote it
    console(["report", str(run)])
    assert capsys.readouterr().out == f"report: {run / 'report.html'}\n"
    page = (run / "report.html").read_text()
    seen = {"sky", "proper_motions", "colour_magnitude"}  # the linked views
    assert abs(len(page) - len(first)) < 0.01 * len(page)
    drawn = {path.stem for path in (run / "figures").glob("*.png")} - seen
    assert page.count('src="data:image/png;base64,') == len(drawn) > 2
    HTMLParser(convert_charrefs=True).feed(page)
    own = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)  # Bokeh's are asked for their requests in a browser
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import""", own)
    for text in ("expected_members", "p_member", "class_path: stream_mapper.MixtureModel", "CONFHASH"):
        assert text in own, text
    assert f"torch</td><td>{version('torch')}</td>" in own
    verdict = json.loads((run / "metrics.json").read_text())["verdict"]
    assert f'<strong data-testid="verdict">{verdict}</strong>' in page
    checks = read_table(run / "checks.ecsv")
    assert not any("magnitude" in (checks[name].info.description or "") for name in checks.colnames)
    assert all(message in html.unescape(own) for message in checks["message"])
    assert page.count("<tr>") > 7 + 10


def test_report_refuses_what_is_no_run(tmp_path, capsys):
    for name, said in {"nowhere": "has no metrics.json that can be read", "cut": "is not complete"}.items():
        folder = tmp_path / name
        if name == "cut":
            folder.mkdir()
            (folder / "metrics.json").write_text('{"stars": 1')
        with pytest.raises(SystemExit) as stop:
            console(["report", str(folder)])
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert not (folder / "report.html").exists()
