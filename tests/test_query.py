"""Queries of the Gaia archive: their text, the slices on the sky, and runs against a TAP service on this machine."""

import logging
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.table import MaskedColumn, vstack
from tap_server import TapService, simulated_sky, winding
from test_commands import refused

from stream_mapper.archive import DATA_LAB, Archive, Field, Patience, Request, Slice
from stream_mapper.archive.answer import RefusedError, TransientError, failure, read_answer
from stream_mapper.archive.field import box
from stream_mapper.catalog import SkyFrame, read_table, to_data
from stream_mapper.catalog.sky.orientation import orientation
from stream_mapper.catalog.sky.rotation import rotate
from stream_mapper.errors import InputError
from stream_mapper.query import main, query

PAL5 = "gala.coordinates.Pal5PriceWhelan18"
GD1 = "gala.coordinates.GD1Koposov10"
WINDOWS = {
    "Pal 5": (PAL5, (-20, 20), (-5, 5), 2),
    "north of the stream": (PAL5, (-7, 6), (3, 9), 2.5),
    "south of the stream": (PAL5, (-7, 6), (-9, -3), 13),
    "GD-1, over the edge of its longitudes": (GD1, (150, 215), (-3, 3), 10),
    "around the celestial pole": (GD1, (-40, 60), (20, 78), 30),
    "all around": (GD1, (-180, 180), (-75, 70), 45),
    "a sliver": ("astropy.coordinates.ICRS", (359.9, 360.05), (-0.1, 0.02), 0.1),
}


@pytest.fixture(autouse=True)
def own_messages():
    """The commands' messages go to the error stream of the test, and to none that is closed."""
    handlers = logging.getLogger("stream_mapper").handlers
    kept, handlers[:] = handlers[:], []
    yield
    handlers[:] = kept


@pytest.fixture(params=WINDOWS.values(), ids=WINDOWS)
def window(request):
    """A field, its slices, and how finely its polygons can follow it [deg]."""
    frame, phi1, phi2, width = request.param
    field = Field(SkyFrame(frame), phi1, phi2)
    return field, field.slices(width)


def points(field, number=20_000, beyond=0.0):
    """ra, dec [deg] of random points of a field, many of them at its edges, or of points beyond its edges."""
    rng = np.random.default_rng(1)
    phi1, phi2 = (rng.uniform(low - beyond, high + beyond, number) for low, high in (field.phi1, field.phi2))
    phi2[: number // 8], phi2[number // 8 : number // 4] = field.phi2[0] + 1e-9, field.phi2[1] - 1e-9
    phi1[number // 4 : number // 3], phi1[number // 3 : number // 2] = field.phi1[0] + 1e-9, field.phi1[1] - 1e-9
    x, y, z = field.matrix.T @ _directions(phi1, phi2)
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arcsin(z))


def _directions(phi1, phi2):
    lon, lat = np.radians(phi1), np.radians(phi2)
    return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def test_every_star_is_in_one_slice_and_in_its_polygon(window):
    field, slices = window
    ra, dec = points(field)
    masks = np.array([field.inside(part, ra, dec) for part in slices])
    assert (masks.sum(0) == 1).all()
    for part, mask in zip(slices, masks, strict=True):
        assert mask.any()
        assert winding(ra, dec, field.polygon(part))[mask].all(), part


def test_edges_of_slices_belong_to_one_of_them(window):
    field, slices = window
    phi1 = np.repeat([part.low for part in slices] + [field.phi1[1] - 1e-9], 100)
    phi2 = np.tile(np.linspace(field.phi2[0] + 1e-9, field.phi2[1] - 1e-9, 100), len(slices) + 1)
    x, y, z = field.matrix.T @ _directions(phi1, phi2)
    ra, dec = np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arcsin(z))
    masks = np.array([field.inside(part, ra, dec) for part in slices])
    first = phi1 == field.phi1[0]  # by rounding these may be beyond the field
    assert (masks.sum(0)[~first] == 1).all()
    for part, mask in zip(slices, masks, strict=True):
        assert winding(ra, dec, field.polygon(part))[mask].all()


def test_polygons_hold_little_else(window):
    field, slices = window
    for part in slices:
        polygon = field.polygon(part)
        phi1, phi2 = field.coordinates(*polygon.T)
        phi1 = (phi1 - part.low + 180) % 360 - 180 + part.low
        assert phi1.min() > part.low - 1e-3
        assert phi1.max() < part.high + 1e-3
        assert (phi2 > field.phi2[0] - 0.05).all()
        assert (phi2 < field.phi2[1] + 0.05).all()
        corners = _directions(*polygon.T)
        centre = corners.mean(1)
        turned = np.cross(corners, np.roll(corners, -1, 1), axis=0)
        assert centre @ turned.sum(1) < 0  # counterclockwise from inside the sphere


def test_boxes_hold_their_polygons_and_little_else(window):
    field, slices = window
    for part in slices:
        (first, last), (low, high) = box(field.polygon(part))
        ra, dec = points(field, 60_000)
        mine = field.inside(part, ra, dec)
        width = (last - first) % 360 or 360
        assert ((((ra - first) % 360 <= width) | (width == 360)) & (dec >= low) & (dec <= high))[mine].all()
        assert -90 <= low < high <= 90
        assert 0 <= first <= 360
        assert 0 <= last <= 360
        holds_a_pole = any(winding(np.zeros(1), np.array([pole]), field.polygon(part))[0] for pole in (-90.0, 90.0))
        if not holds_a_pole:  # all of the box's sides are touched
            margin = 1.5  # deg: the points are few
            assert dec[mine].min() < low + margin
            assert dec[mine].max() > high - margin
            along = (ra[mine] - first) % 360 * np.cos(np.radians(dec[mine]))
            assert width == 360 or along.min() < margin


def test_coordinates_are_the_frame_s_and_do_not_depend_on_the_company(window):
    field, _ = window
    ra, dec = points(field, 1001)
    phi1, phi2 = field.coordinates(ra, dec)
    assert ((phi1 >= field.phi1[0]) & (phi1 < field.phi1[0] + 360)).all()
    for some in (slice(0, 1), slice(3, 10), slice(17, 900, 7)):
        assert [x.tolist() for x in field.coordinates(ra[some], dec[some])] == [
            phi1[some].tolist(),
            phi2[some].tolist(),
        ]


@pytest.mark.parametrize("frame", [PAL5, GD1])
def test_matrix_is_the_rotation_of_the_frame(frame):
    field = Field(SkyFrame(frame), (-180, 180), (-80, 80))
    rng = np.random.default_rng(2)
    ra, dec = rng.uniform(0, 360, 1000), np.degrees(np.arcsin(rng.uniform(-1, 1, 1000)))
    phi1, phi2, _ = rotate(orientation(frame).matrix, ra, dec)
    ours = field.coordinates(ra, dec)
    # gala's own matrices are rotations to 1e-8 only
    assert np.degrees(np.abs(_directions(*ours) - _directions(phi1, phi2)).max()) < 1e-6
    assert np.abs(field.matrix @ field.matrix.T - np.eye(3)).max() < 1e-14


GOLDEN = """\
SELECT gaia.source_id,
  gaia.ra,
  gaia.dec,
  gaia.parallax,
  xmatch.original_ext_source_id,
  xmatch.angular_distance,
  xmatch.number_of_neighbours,
  xmatch.number_of_mates,
  ps1.g_mean_psf_mag,
  ps1.g_mean_psf_mag_error,
  ps1.r_mean_psf_mag,
  ps1.r_mean_psf_mag_error,
  ps1.i_mean_psf_mag,
  ps1.i_mean_psf_mag_error,
  ps1.z_mean_psf_mag,
  ps1.z_mean_psf_mag_error,
  ps1.y_mean_psf_mag,
  ps1.y_mean_psf_mag_error
FROM gaiadr3.gaia_source AS gaia
  LEFT OUTER JOIN gaiadr3.panstarrs1_best_neighbour AS xmatch ON xmatch.source_id = gaia.source_id
  LEFT OUTER JOIN gaiadr2.panstarrs1_original_valid AS ps1 ON ps1.obj_id = xmatch.original_ext_source_id
WHERE 1 = CONTAINS(POINT('ICRS', gaia.ra, gaia.dec), POLYGON('ICRS',
    11.00010002, -1.00010000,
    9.99989998, -1.00010000,
    9.99989998, 1.00010000,
    11.00010002, 1.00010000))
  AND gaia.phot_g_mean_mag <= 20.5
  AND gaia.pmra BETWEEN -5 AND 3.25
  AND ps1.g_mean_psf_mag >= 15
  AND (gaia.ruwe < 1.4 OR gaia.ruwe IS NULL)"""


def test_text_of_a_query():
    field = Field(SkyFrame("astropy.coordinates.ICRS"), (10, 11), (-1, 1))
    cuts = {"phot_g_mean_mag": (None, 20.5), "pmra": (-5, 3.25), "ps1.g_mean_psf_mag": (15, None)}
    where = "gaia.ruwe < 1.4\n  OR gaia.ruwe IS NULL"
    request = Request(columns=["parallax", "ra"], cuts=cuts, where=where, crossmatch="panstarrs1")
    (part,) = field.slices(2)
    text = request.adql(field.polygon(part))
    assert text == GOLDEN
    assert re.findall(r"\.(\w+),?$", text.split("FROM")[0], re.MULTILINE) == list(request.names)


def test_default_columns_are_those_of_the_release():
    names = {release: set(Request(f"gaia{release}.gaia_source").names) for release in ("dr2", "dr3")}
    assert names["dr3"] - names["dr2"] == {"ruwe", "nu_eff_used_in_astrometry", "pseudocolour"}
    assert not names["dr2"] - names["dr3"]
    assert sum(name.endswith("_corr") for name in names["dr2"]) == 10
    assert {"pmra_pmdec_corr", "parallax_error", "phot_bp_mean_flux_over_error", "ecl_lat"} <= names["dr2"]
    assert "gaiadr2.panstarrs1_best_neighbour" in Request("gaiadr2.gaia_source", crossmatch="panstarrs1")._tables()


JOINS = {  # tables of the Gaia archive, each joined to one before it
    "gaiadr2": ["gaiadr2.tmass_best_neighbour", "gaiadr1.tmass_original_valid"],
    "gaiadr3": [
        "gaiadr3.tmass_psc_xsc_best_neighbour",
        "gaiadr3.tmass_psc_xsc_join",
        "gaiadr1.tmass_original_valid",
    ],
}


@pytest.mark.parametrize("release", JOINS)
def test_2mass_is_joined_by_the_tables_of_the_release(release):
    request = Request(f"{release}.gaia_source", ["ra"], {"tmass.j_m": (None, 15.8)}, crossmatch="twomass")
    text = request.adql(Field(SkyFrame("astropy.coordinates.ICRS"), (10, 11), (-1, 1)).polygon(Slice(10, 11)))
    joined = re.findall(r"JOIN (\S+) AS (\w+) ON (\w+)\.\w+ = (\w+)\.\w+", text)
    assert [table for table, *_ in joined] == JOINS[release]
    known = {"gaia"}
    for _, alias, left, right in joined:
        assert left == alias
        assert right in known
        known.add(alias)
    assert "tmass.ks_m,\n  tmass.ks_msigcom\nFROM" in text
    assert "AND tmass.j_m <= 15.8" in text
    assert request.names[-6:] == ("j_m", "j_msigcom", "h_m", "h_msigcom", "ks_m", "ks_msigcom")


SELECTED = {  # of the surveys that the Data Lab has, the first and the last column
    "des": ("des.ra AS survey_ra", "des.wavg_magerr_psf_y"),
    "delve": ("delve.ra AS survey_ra", "delve.magerr_psf_z"),
}


@pytest.mark.parametrize("survey", SELECTED)
def test_des_and_delve_are_asked_of_the_data_lab_with_a_box(survey):
    request = Request(columns=["parallax"], cuts={"parallax": (None, 1), "pmra": (0, None)}, crossmatch=survey)
    assert request.service is DATA_LAB
    field = Field(SkyFrame("astropy.coordinates.ICRS"), (359, 361), (-1, 1))
    text = request.adql(field.polygon(Slice(359, 361)))
    first, last = SELECTED[survey]
    assert f"gaia.parallax,\n  {first},\n" in text
    assert f"  {last}\nFROM gaia_dr3.gaia_source AS gaia\n  LEFT OUTER JOIN {survey}_dr2.x1p5__" in text
    assert "__gaia_dr3__gaia_source AS xmatch ON xmatch.id2 = gaia.source_id\n" in text
    assert re.search(rf"AS {survey} ON {survey}\.\w+_object_id = xmatch.id1", text)
    assert "POLYGON" not in text
    assert re.search(r"\(gaia\.ra >= 358\.98\d+ OR gaia\.ra <= 1\.01\d+\)\n  AND gaia\.dec BETWEEN -1\.01", text)
    assert "AND gaia.parallax <= 1\n" in text
    assert text.endswith("AND gaia.pmra BETWEEN 0 AND 1e+30")  # its missing numbers are greater than all others


def test_spectra_of_desi_are_joined_beside_photometry():
    request = Request(columns=["parallax"], crossmatch="delve", spectra="desi")
    assert request.names[-4:] == ("vrad", "vrad_err", "feh", "feh_err")
    assert request.names[4:6] == ("survey_ra", "survey_dec")
    assert "LEFT OUTER JOIN desi_dr1.mws AS desi ON desi.source_id = gaia.source_id" in request._tables()
    with pytest.raises(InputError, match="ps1 is at the Gaia archive and desi is at the Astro Data Lab: no service"):
        Request(crossmatch="panstarrs1", spectra="desi")
    with pytest.raises(InputError, match=r"desi is at the Astro Data Lab, which has gaiadr3\.gaia_source alone"):
        Request("gaiadr2.gaia_source", spectra="desi")
    with pytest.raises(InputError, match="spectra 'lamost' is unknown; use one of desi"):
        Request(spectra="lamost")


def test_the_next_release_is_a_name_of_a_table():
    request = Request("gaiadr4.gaia_source", crossmatch="panstarrs1")
    assert request._tables().split()[:4] == ["gaiadr4.gaia_source", "AS", "gaia", "LEFT"]
    assert "gaiadr4.panstarrs1_best_neighbour AS xmatch" in request._tables()
    assert request.names == Request("gaiadr3.gaia_source", crossmatch="panstarrs1").names
    with pytest.raises(InputError, match="crossmatch 'sdss' is unknown; use one of panstarrs1, twomass, des, delve"):
        Request(crossmatch="sdss")


VOTABLE = """<?xml version="1.0"?>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">
<INFO name="QUERY_STATUS" value="OK"/><TABLE>
<FIELD name="SOURCE_ID" datatype="long"/>
<FIELD name="flux" datatype="float" unit="'electron'.s**-1" ucd="phot.flux"><DESCRIPTION>Flux</DESCRIPTION></FIELD>
<FIELD name="flag" datatype="char" arraysize="*"/>
<DATA><TABLEDATA>
<TR><TD>1</TD><TD>2.5</TD><TD>VARIABLE</TD></TR>
<TR><TD>2</TD><TD></TD><TD></TD></TR>
</TABLEDATA></DATA></TABLE><INFO name="QUERY_STATUS" value="OVERFLOW"/></RESOURCE></VOTABLE>"""


def test_answers_are_read_whole_or_not_at_all(tmp_path):
    from stream_mapper.catalog import write_table

    path = tmp_path / "answer.vot.gz"  # a service may send it plain all the same
    path.write_text(VOTABLE)
    answer = read_answer(path).with_names(("source_id", "flux"))
    assert answer.overflow
    assert answer.table.colnames == ["source_id", "flux"]
    write_table(read_answer(path).table, tmp_path / "answer.parquet")
    table = read_table(tmp_path / "answer.parquet")
    assert table["flag"][0] == "VARIABLE"
    assert table["flux"].description == "Flux"
    assert table["flux"].meta["ucd"] == "phot.flux"
    with pytest.raises(InputError, match=r"lacks the columns \['ra'\]; it has \['SOURCE_ID'"):
        read_answer(path).with_names(("source_id", "ra"))
    for end in ("<TR><TD>2", "</TABLEDATA>", "</TABLE>", "</RESOURCE>", "</VOTABLE>"):
        path.write_text(VOTABLE[: VOTABLE.index(end)])
        with pytest.raises(TransientError, match="not complete"):
            read_answer(path)


def test_errors_are_told_apart():
    fault = '<VOTABLE><INFO name="QUERY_STATUS" value="ERROR">1 unresolved identifiers: foo !</INFO><INFO/></VOTABLE>'
    assert isinstance(failure(fault, 500), RefusedError)
    assert isinstance(failure(fault), RefusedError)
    assert str(failure(fault)) == "1 unresolved identifiers: foo !"
    assert isinstance(failure("not found", 404), RefusedError)
    for status in (429, 500, 503):
        assert isinstance(failure("busy", status), TransientError)
    assert isinstance(failure("statement timeout"), TransientError)


# Against a service.

FIELD = ((-10, 10), (-5, 5))
QUICK = Patience(attempts=4, pause=0.01, timeout=2.0, job_time=30)
COLUMNS = ["parallax", "phot_g_mean_mag", "phot_variable_flag"]


@pytest.fixture(scope="module")
def sky():
    """Stars in and around the field."""
    return simulated_sky(Field(SkyFrame(PAL5), *FIELD), 3000)


@pytest.fixture
def service(sky):
    """A service with that sky."""
    pytest.importorskip("pyvo")
    with TapService(sky) as running:
        yield running


@pytest.fixture
def fetch(service, tmp_path):
    """Fetch the field from the service, in five slices."""

    def run(**changes):
        given = {"frame": PAL5, "phi1": FIELD[0], "phi2": FIELD[1], "slice_width": 4.0, "columns": COLUMNS}
        given |= {"url": service.url, "patience": QUICK, "output": str(tmp_path / "stars.parquet"), **changes}
        query(**given)
        return read_table(given["output"])

    return run


def expected(sky, faintest=99.0):
    """source_id of the stars of the field, in order."""
    phi1, phi2, _ = rotate(orientation(PAL5).matrix, np.asarray(sky["ra"]), np.asarray(sky["dec"]))
    inside = (np.abs(phi1) <= 10) & (np.abs(phi2) <= 5) & (np.asarray(sky["phot_g_mean_mag"]) <= faintest)
    return sorted(np.asarray(sky["source_id"])[inside].tolist())


def test_a_field_is_fetched_with_its_units_and_its_history(fetch, service, sky):
    table = fetch(crossmatch="panstarrs1", cuts={"phot_g_mean_mag": (None, 20.0)})
    assert sorted(table["source_id"]) == expected(sky, 20.0)
    assert table.colnames[:6] == ["source_id", "ra", "dec", *COLUMNS]
    assert [str(table[name].unit) for name in ("ra", "parallax", "g_mean_psf_mag")] == ["deg", "mas", "mag"]
    assert table["parallax"].description == "Parallax"
    assert table["source_id"].meta["ucd"] == "meta.id;meta.main"
    row = {int(i): n for n, i in enumerate(sky["source_id"])}
    given = sky[[row[int(i)] for i in table["source_id"]]]
    for name in ("ra", "dec", *COLUMNS):
        assert np.array_equal(np.asarray(table[name]), np.asarray(given[name])), name
    none = given["g_mean_psf_mag"].mask | (np.asarray(given["g_mean_psf_mag"]) == -999)
    assert np.array_equal(table["g_mean_psf_mag"].mask, none)
    history = table.meta["query"]
    assert history["archive"] == service.url
    assert history["frame"] == PAL5
    assert history["phi1"] == [-10, 10]
    assert [part["adql"] for part in history["slices"]] == service.queries
    assert re.match(r"stream_mapper \S+, pyvo \S+", history["software"])
    assert np.array_equal(history["frame_matrix"], Field(SkyFrame(PAL5), *FIELD).matrix)
    phi1 = SkyFrame(PAL5).add_stream_coordinates(table)["phi1"]
    edges = np.searchsorted([-6, -2, 2, 6], phi1, side="right")
    assert (np.diff(edges) >= 0).all()


FAULTS = {
    "start": {"start": [500, 503, "drop", None, "hang"]},
    "phase": {"phase": [500, None, "drop", 429, "hang"]},
    "result": {"result": [502, None, "drop", "hang"]},
    "answers cut short": {"result": ["truncate", "truncate", None, "truncate"]},
    "jobs that fail": {"phase": ["error", "aborted", None, "error"]},
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_failures_are_tried_again(faults, fetch, service, sky, caplog):
    service.faults |= {kind: list(some) for kind, some in faults.items()}
    assert sorted(fetch()["source_id"]) == expected(sky)
    assert not any(service.faults.values())
    (given,) = faults.values()
    assert caplog.text.count("attempt") == sum(fault is not None for fault in given)


def test_the_last_failure_names_the_slice_and_the_same_command_goes_on(fetch, service, sky, tmp_path):
    service.faults["start"] = [None, None, *[500] * QUICK.attempts]
    message = r"slice phi1 -2 to 2: the archive failed \(status 500: the server is <tired>\), in the last of 4 attempts"
    with pytest.raises(ConnectionError, match=message):
        fetch()
    assert [path.name for path in tmp_path.iterdir()] == ["stars.slices"]
    assert sorted(fetch()["source_id"]) == expected(sky)
    assert len(service.queries) == len(set(service.queries)) == 5
    (tmp_path / "stars.slices" / "manifest.json").touch()
    asked = service.requests.total()
    fetch()
    assert service.requests.total() == asked


def test_a_killed_query_goes_on_where_it_was(fetch, service, sky, tmp_path):
    service.faults["start"] = [None, None, *["hang"] * 99]
    output, work = str(tmp_path / "stars.parquet"), tmp_path / "work"
    arguments = ["--frame", PAL5, "--phi1=[-10,10]", "--phi2=[-5,5]", "--slice_width=4", "--url", service.url]
    arguments += [f"--columns={COLUMNS}", "--output", output, "--work", str(work)]
    command = [sys.executable, "-m", "stream_mapper.query", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while service.requests["start"] < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not Path(output).exists()
    assert len(list(work.glob("*.parquet"))) == 2
    service.faults["start"] = []
    assert sorted(fetch(work=str(work))["source_id"]) == expected(sky)
    assert len(service.queries) == 5


def test_ctrl_c_says_what_is_kept(fetch, service, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Archive, "_wait", stop)
    with pytest.raises(KeyboardInterrupt, match=r"slices are kept in .*stars.slices; the same command goes on"):
        fetch()
    assert not (tmp_path / "stars.parquet").exists()


def test_what_does_not_fit_the_query_is_fetched_again(fetch, service, sky, tmp_path):
    fetch()
    one, two = sorted((tmp_path / "stars.slices").glob("*.parquet"))[:2]
    one.write_bytes(one.read_bytes()[:100])
    two.unlink()
    fetch()
    assert len(service.queries) == 7
    assert sorted(fetch(cuts={"phot_g_mean_mag": (None, 18.0)})["source_id"]) == expected(sky, 18.0)
    assert len(service.queries) == 12


@pytest.mark.parametrize("limits", [{"cap": 150}, {"row_limit": 150}, {"cap": 150, "row_limit": 150}], ids=str)
def test_a_slice_that_is_cut_short_is_split(limits, fetch, service, sky):
    service.cap = limits.get("cap")
    changes = {"row_limit": limits["row_limit"]} if "row_limit" in limits else {}
    table = fetch(**changes)
    assert sorted(table["source_id"]) == expected(sky)
    assert len(service.queries) > 15
    assert max(part["rows"] for part in table.meta["query"]["slices"]) <= 150
    fetch(**changes)
    assert len(service.queries) == len(set(service.queries))


def test_what_cannot_be_split_is_an_error(fetch, service, tmp_path):
    service.sky = service.sky[np.zeros(30, dtype=int)]
    service.sky["source_id"] = np.arange(30)
    service.sky["ra"], service.sky["dec"] = 229.0, 0.1
    with pytest.raises(InputError, match=r"has more than 20 rows and cannot be cut narrower; give cuts"):
        fetch(row_limit=20)
    assert not (tmp_path / "stars.parquet").exists()
    assert len(fetch(row_limit=31)) == 30


def test_a_star_that_comes_twice_is_refused(fetch, service, sky, tmp_path):
    twice = expected(sky)[7]
    service.sky = vstack([sky, sky[np.asarray(sky["source_id"]) == twice]])
    with pytest.raises(InputError, match=rf"1 stars came more than once, such as source_id \[{twice}\]"):
        fetch()
    assert not (tmp_path / "stars.parquet").exists()


@pytest.fixture(scope="module")
def data_lab_sky(sky):
    """The same stars as the Data Lab has them: NaN for none, matches twice, the nearer or surer of which comes last."""
    table, number = sky[[*COLUMNS, "source_id", "ra", "dec"]], len(sky)
    rng = np.random.default_rng(3)
    table["parallax"] = np.where(rng.random(number) < 0.2, np.nan, table["parallax"])
    for name in (f"{what}_psf_{band}" for band in "griz" for what in ("mag", "magerr")):
        table[name] = np.where(rng.random(number) < 0.1, 99.0, rng.uniform(16, 22, number))
    table["survey_ra"], table["survey_dec"] = table["ra"], table["dec"] + 1e-5
    table["vrad"], table["vrad_err"] = rng.normal(0, 100, number), rng.uniform(1, 2, number)
    table["feh"], table["feh_err"] = rng.normal(-1.5, 0.5, number), 0.1
    for name in ("vrad", "vrad_err", "feh", "feh_err"):
        table[name] = MaskedColumn(table[name], mask=np.arange(number) % 3 > 0)
    farther, unsure = table[::5].copy(), table[::3].copy()
    farther["survey_dec"] += 2e-4
    farther["vrad_err"] = 0.1
    unsure["vrad_err"] = 9.0
    for wrong in (farther, unsure):
        wrong["mag_psf_g"], wrong["vrad"] = 5.0, 999.0
    return vstack([farther, unsure, table])


def test_of_several_matches_the_nearest_is_kept(data_lab_sky, sky, fetch, tmp_path):
    with TapService(data_lab_sky, geometry=False) as service:
        table = fetch(url=service.url, crossmatch="delve", spectra="desi", cuts={"parallax": (-9, None)})
        with pytest.raises(InputError, match=r"function point.* does not exist"):
            fetch(url=service.url, work=str(tmp_path / "polygons"))
    known = set(np.asarray(data_lab_sky["source_id"])[np.isfinite(data_lab_sky["parallax"])].tolist())
    assert sorted(table["source_id"]) == [star for star in expected(sky) if star in known]
    assert len(table) > 500
    magnitudes = np.ma.asarray(table["mag_psf_g"])
    assert 0.05 < magnitudes.mask.mean() < 0.2
    assert magnitudes.min() > 15
    assert np.ma.asarray(table["vrad"]).max() < 900
    assert np.ma.asarray(table["vrad_err"]).max() < 3
    velocities = to_data(table, ["radial_velocity", "radial_velocity_err", "g", "g_err"], survey=["delve", "desi_mws"])
    assert 0.2 < velocities.where["radial_velocity"].double().mean() < 0.5


def test_slices_may_be_empty_but_not_all(fetch, service, sky, tmp_path):
    some = sky[np.asarray(sky["ra"]) > 229]
    service.sky = some[:0]
    with pytest.raises(InputError, match="no star in this field that passes the cuts; nothing is written"):
        fetch(work=str(tmp_path / "empty"))
    assert not (tmp_path / "stars.parquet").exists()
    service.sky = some
    assert sorted(fetch()["source_id"]) == expected(some)


REFUSED = {
    "lower end first": ({"phi1": "[20,-20]"}, "the window phi1 [20.0, -20.0], phi2 [-5.0, 5.0] is not one"),
    "more than a circle": ({"phi1": "[-20,350]"}, "at most 360 deg of phi1"),
    "no number": ({"phi2": "[.nan,5]"}, "is not one"),
    "a pole": ({"phi2": "[-5,90]"}, "reaches beyond 80 deg"),
    "a frame that is not there": ({"frame": "gala.coordinates.Pal6"}, "Pal6' cannot be imported"),
    "no width": ({"slice_width": "0"}, "slice_width must be a number above zero"),
    "too wide": ({"slice_width": "90"}, "slice_width = 90; at most 60 deg"),
    "a catalogue that is not there": ({"catalogue": "gaiadr9.gaia_source"}, "gaiadr9.gaia_source"),
    "no name": ({"columns": "['ra; DROP']"}, "columns ['ra; DROP'] are no names"),
    "no bounds": ({"cuts": "{parallax: [null, null]}"}, "parallax has the bounds [None, None]"),
    "bounds in disorder": ({"cuts": "{parallax: [1, 0]}"}, "parallax has the bounds [1.0, 0.0]"),
    "an expression": ({"cuts": "{bp - rp: [0, 1]}"}, "'bp - rp' is no name of a column; write other conditions in 'wh"),
    "a comment": ({"where": "ruwe < 1 -- good"}, "give one without comments and semicolons"),
    "no folder": ({"output": "nowhere/stars.parquet"}, "its folder does not exist"),
    "another format": ({"output": "stars.fits"}, "end the name with .parquet"),
    "no folder to work in": ({"work": "nowhere/work"}, "nowhere/work cannot be made"),
    "no row": ({"row_limit": "0"}, "row_limit must be 1 or more"),
    "no attempt": ({"patience.attempts": "0"}, "attempts must be 1 or more"),
    "no address": ({"url": "gea.esac.esa.int"}, "is no address of a TAP service"),
    "no service": (
        {"url": "http://127.0.0.1:9/tap", "patience.attempts": "1"},
        "slice phi1 -20 to -18: the connection failed",
    ),
    "misspelt": ({"phi3": "1"}, "phi3"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_unusable_input_is_refused_in_one_line(changes, message, tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyvo")
    monkeypatch.chdir(tmp_path)
    given = {"frame": PAL5, "phi1": "[-20,20]", "phi2": "[-5,5]", "output": "stars.parquet"}
    given |= {"patience.attempts": "2", "patience.pause": "0.01", "patience.timeout": "1", **changes}
    assert message in refused(main, [f"--{name}={value}" for name, value in given.items()], capsys)
    assert not list(tmp_path.glob("*.parquet"))


def test_an_unknown_column_is_said_at_once(service, tmp_path, capsys):
    arguments = ["--frame", PAL5, "--phi1=[-10,10]", "--phi2=[-5,5]", "--url", service.url, "--columns=[colour]"]
    line = refused(main, [*arguments, "--output", str(tmp_path / "stars.parquet")], capsys)
    assert "slice phi1 -10 to -8" in line
    assert "refuses the query: Cannot parse query: 1 unresolved identifiers: colour" in line
    assert service.requests["start"] == 1
    assert not (tmp_path / "stars.parquet").exists()


def test_without_pyvo_the_error_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyvo", None)
    arguments = ["--frame", PAL5, "--phi1=[-10,10]", "--phi2=[-5,5]", "--output", str(tmp_path / "stars.parquet")]
    assert "pip install 'stream_mapper[query]'" in refused(main, arguments, capsys)
    assert not list(tmp_path.iterdir())
    main([*arguments, "--dry_run=true"])
    said = capsys.readouterr().out
    assert said.count("-- slice phi1 ") == said.count("CONTAINS") == 10


def test_the_config_of_the_documentation_is_one(tmp_path, capsys):
    text = (Path(__file__).parents[1] / "docs" / "query.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "query.yaml").write_text(block)
    main(["--config", str(tmp_path / "query.yaml"), "--dry_run=true"])
    assert "ps1.g_mean_psf_mag" in capsys.readouterr().out
