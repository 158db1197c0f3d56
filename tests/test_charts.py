"""An atlas: what is done is not done again, what fails is a row, and who finishes first changes nothing."""

import json
import logging
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table, vstack
from galstreams_files import FRAME, truth, write_log, write_track
from tap_server import TapService

from stream_mapper import atlas as command
from stream_mapper.archive import Request
from stream_mapper.atlas import atlas
from stream_mapper.catalog import can_write_hats, read_table, to_table, write_hats, write_table
from stream_mapper.charts import PRODUCTS, Chart, chart, findings, made_plan, products, stars, task
from stream_mapper.cluster import LostWorkersError, Workers
from stream_mapper.errors import DivergedError, InputError
from stream_mapper.mock import TrackMock
from stream_mapper.signals import Terminated

NAMES = ("One", "Two", "Three")
STREAMS = tuple(f"track.st.{name}.me2020" for name in NAMES)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """A folder of galstreams with three streams, of one track each but the first, which has two."""
    folder = tmp_path_factory.mktemp("galstreams")
    rows = []
    for i, name in enumerate(NAMES):
        write_track(folder, f"st.{name}.me2020", np.linspace(-8, 8 + i, 65), "1111")
        rows.append(("st", 1, f"{name}-M20", name, "me2020", 0.2))
    write_track(folder, "st.One.you2010", np.linspace(-8, 8, 65), "1111")
    write_log(folder, [*rows, ("st", 0, "One-Y10", "One", "you2010", 0.2)])
    return str(folder / "tracks")


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """A folder with a table for each stream, called in different ways, and one that is of none."""
    folder = tmp_path_factory.mktemp("fields")
    for i, name in enumerate(("one.parquet", "Two-M20.ecsv", "track.st.Three.me2020.fits", "notes.csv")):
        write_table(Table({"ra": [150.0 + i, 151.0], "dec": [25.0, 26.0]}), folder / name)
    (folder / "README.md").write_text("no table")
    return str(folder)


@pytest.fixture(scope="module")
def sky(tracks, tmp_path_factory):
    """A HATS catalogue with the field of the first stream, and stars all over the sky; and all of these."""
    pytest.importorskip("hats")
    mock = to_table(TrackMock("One", 60, 600, survey="gaia_dr3", tracks=tracks).simulate())
    rng = np.random.default_rng(3)
    table = mock[rng.integers(0, len(mock), 4000)]
    table["ra"], table["dec"] = rng.uniform(0, 360, 4000), np.degrees(np.arcsin(rng.uniform(-1, 1, 4000)))
    whole = vstack([mock, table])
    whole["source_id"] = np.arange(len(whole))
    path = tmp_path_factory.mktemp("sky") / "sky"
    write_hats(whole, path, "sky", "a test", rows=300)
    return path, whole


class StandIn:
    """A fit that takes no time: it finds two stars, and notes what it was called for."""

    def __init__(self):
        self.fitted, self.errors = [], {}

    def fit(self, plan, stream, folder):
        self.fitted.append(stream.split(".")[2])
        if (error := self.errors.get(self.fitted[-1])) is not None:
            raise error
        return folder / "runs" / "version_0"

    def find(self, run, folder, least):
        number = len(folder.name) + 0.1
        of = {"component": np.array(["stream"] * 3), "phi1": np.arange(3.0)}
        two = {"ra": [number, 2.0], "dec": [3.0, -4.0], "p_member": [0.9, 0.7]}
        write_table(to_table(two), folder / "members.parquet")
        more = {"distance": np.full(3, number)} if "Two" in folder.name else {}
        write_table(to_table({**of, "phi2": np.full(3, number), **more}), folder / "track.parquet")
        write_table(Table({**of, "density": np.full(3, number)}), folder / "density.parquet")
        found = {"verdict": "believable", "run": "runs/version_0", "stars": 7, "listed": 2, "members": number}
        (folder / "numbers.json").write_text(json.dumps({**found, **({"distance": number} if more else {})}))


@pytest.fixture
def fit(monkeypatch):
    """The stand-in for the fit."""
    made = StandIn()
    monkeypatch.setattr(task, "fitted", made.fit)
    monkeypatch.setattr(task, "write_findings", made.find)
    return made


@pytest.fixture
def make(tracks, fields, tmp_path):
    """Makes an atlas in a folder; the bytes of its products by their names."""

    def made(output="atlas", **options):
        given = {"streams": list(NAMES), "output": str(tmp_path / output), "fields": fields, "tracks": tracks}
        atlas(**given | options)
        return products_of(tmp_path / output)

    return made


def products_of(folder):
    files = [path for name in PRODUCTS for path in [folder / name, *(folder / name).rglob("*")] if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_stopped_atlas_goes_on_to_the_same_bytes(make, fit, tmp_path):
    whole = make("a/atlas")
    without = set() if can_write_hats() else {"members_hats"}
    assert {name.partition("/")[0] for name in whole} == set(PRODUCTS) - without
    assert fit.fitted == [*NAMES]
    fit.errors["Two"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt, match="1 of 3 streams are done; the same command goes on from there"):
        make("b/atlas")
    assert products_of(tmp_path / "b" / "atlas") == {}
    fit.errors["Two"] = Terminated()
    with pytest.raises(Terminated) as stop:
        make("b/atlas")
    assert stop.value.left == "1 of 3 streams are done; the same command goes on from there"
    fit.errors.clear()
    fit.fitted.clear()
    assert make("b/atlas") == whole
    assert fit.fitted == ["Two", "Three"]
    fit.fitted.clear()
    assert make("b/atlas") == whole
    assert fit.fitted == []


def test_who_is_done_first_changes_nothing(make, fit, monkeypatch):
    in_order = make("a/atlas")
    results = Workers.results
    backwards = lambda self, function, items, *others: results(self, function, items[::-1], *others)  # noqa: E731
    monkeypatch.setattr(Workers, "results", backwards)
    assert make("b/atlas") == in_order
    assert fit.fitted == [*NAMES, *NAMES[::-1]]


FAILURES = {
    "refused": (InputError("its track turns\nback"), "its track turns back"),
    "diverged": (DivergedError("not finite any more"), "not finite any more"),
    "a fault": (RuntimeError("no such thing"), "RuntimeError: no such thing"),
    "of a file": (
        InputError("{atlas}/streams/st.Two.me2020/stars.parquet: odd"),
        "streams/st.Two.me2020/stars.parquet: odd",
    ),
}


@pytest.mark.parametrize(("error", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_a_row(error, reason, make, fit, tmp_path, caplog):
    caplog.set_level("INFO", "stream_mapper")
    fit.errors["Two"] = type(error)(str(error).format(atlas=tmp_path / "atlas"))
    found = make()
    table = read_table(tmp_path / "atlas" / "summary.ecsv")
    assert table["status"].tolist() == ["fitted", "failed", "fitted"]
    assert table["reason"][1] == reason
    assert table["verdict"].tolist()[::2] == ["believable", "believable"]
    assert np.isnan(table["members"]).tolist() == [False, True, False]
    assert np.ma.getmaskarray(table["stars"]).tolist() == [False, True, False]
    assert set(read_table(tmp_path / "atlas" / "members.parquet")["stream"]) == {"st.One.me2020", "st.Three.me2020"}
    page = found["index.html"].decode()
    assert reason in page
    assert 'href="streams/st.One.me2020/runs/version_0/report.html"' in page
    assert "st.Two.me2020/runs" not in page
    assert f"st.Two.me2020 (2 of 3) failed: {reason}" in caplog.messages
    fit.fitted.clear()
    assert make() == found
    assert fit.fitted == []


def test_a_fault_of_the_machine_is_none_of_the_stream(make, fit, tmp_path):
    fit.errors["Two"] = OSError("no space left")
    with pytest.raises(OSError, match="no space left"):
        make()
    fit.errors.clear()
    make()
    assert read_table(tmp_path / "atlas" / "summary.ecsv")["status"].tolist() == ["fitted"] * 3


def test_a_stream_that_workers_did_not_survive_is_a_row_and_is_tried_again(make, fit, tmp_path, monkeypatch):
    results = Workers.results

    def losing(self, function, items, name, lost):
        yield items[0], lost(items[0], LostWorkersError("4 workers ended"))
        yield from results(self, function, items[1:], name, lost)

    monkeypatch.setattr(Workers, "results", losing)
    make()
    table = read_table(tmp_path / "atlas" / "summary.parquet")
    assert table["reason"].tolist() == ["4 workers ended", "", ""]
    monkeypatch.undo()
    monkeypatch.setattr(task, "fitted", fit.fit)
    monkeypatch.setattr(task, "write_findings", fit.find)
    make()
    assert fit.fitted == ["Two", "Three", "One"]
    assert read_table(tmp_path / "atlas" / "summary.parquet")["status"].tolist() == ["fitted"] * 3


def test_the_tables_are_alike_for_all_streams(make, fit, tmp_path):
    make()
    table = read_table(tmp_path / "atlas" / "summary.ecsv")
    assert table["stream"].tolist() == [f"st.{name}.me2020" for name in NAMES]
    assert [name for name in table.colnames if not table[name].description] == []
    units = {name: str(table[name].unit) for name in ("distance", "phi2_sigma", "width", "phi1_begin", "pmra")}
    assert units == {"distance": "kpc", "phi2_sigma": "deg", "width": "pc", "phi1_begin": "deg", "pmra": "mas / yr"}
    assert {str(table[name].unit) for name in ("members", "mean_p_member", "stars")} == {"None"}
    assert read_table(tmp_path / "atlas" / "summary.parquet").colnames == table.colnames
    tracks = read_table(tmp_path / "atlas" / "tracks.ecsv")
    assert len(tracks) == 9
    assert np.isnan(np.ma.filled(tracks["distance"], np.nan)).tolist() == [True] * 3 + [False] * 3 + [True] * 3
    assert len(read_table(tmp_path / "atlas" / "members.parquet")) == 6
    assert "DATE" not in table.meta


def test_messages_of_a_fit_go_to_the_folder_of_its_stream(make, fit, tmp_path, capfd, messages_as_they_were):
    logging.getLogger("stream_mapper").addHandler(logging.StreamHandler())
    logging.getLogger("stream_mapper").setLevel("INFO")
    plain = fit.fit

    def telling(plan, stream, folder):
        logging.getLogger("stream_mapper").info("found %s", stream)
        print("a summary")
        return plain(plan, stream, folder)

    task.fitted = telling  # the fixture puts it back
    make()
    assert "a summary" not in capfd.readouterr().out
    text = (tmp_path / "atlas" / "streams" / "st.Two.me2020" / "log.txt").read_text()
    assert text == "found track.st.Two.me2020\na summary\n"
    assert len(logging.getLogger("stream_mapper").handlers) >= 1


REFUSED = {
    "an unknown name": ({"streams": ["Onee"]}, r"no track 'Onee'; there are One"),
    "no name": ({"streams": []}, "streams: give names of galstreams, or 'all'; got none"),
    "no stars": ({"fields": None}, "give the one that says where the stars are; got none of them"),
    "two places": ({"archive": "gaia"}, "where the stars are; got fields and archive"),
    "no folder": ({"fields": "nowhere"}, "fields: .*nowhere is no folder"),
    "no HATS": ({"fields": None, "catalogue": "tests"}, "catalogue: .*tests is no HATS catalogue or coll"),
    "a share": ({"members": 1.5}, "members is the probability above which a star is listed, from 0 to 1; got 1.5"),
    "no survey": ({"survey": "sdss_17"}, "survey 'sdss_17' is unknown; there are gaia_dr2"),
    "no isochrone": ({"isochrone": "none.cmd"}, r"isochrone: .*none\.cmd does not exist"),
    "no bands": ({"isochrone": "tox.ini"}, r"bands: say which columns of .*tox\.ini are which bands"),
    "no archive": ({"fields": None, "archive": "gaja"}, "archive: give 'gaia', or the address of another: url 'gaja'"),
    "no process": ({"processes": 0}, "processes must be 1 or more"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused(changes, message, make, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    with pytest.raises(InputError, match=message):
        make(**changes)
    assert not (tmp_path / "atlas").exists()


def test_fields_of_other_streams_alone_are_refused(make, tmp_path):
    (tmp_path / "other").mkdir()
    write_table(Table({"ra": [1.0]}), tmp_path / "other" / "Four.ecsv")
    with pytest.raises(InputError, match=r"other has no table of these streams, such as One\.parquet, Two\.parquet"):
        make(fields=str(tmp_path / "other"))


def test_the_folder_of_another_atlas_is_refused(make, fit, tmp_path):
    make(streams=["One", "Two"], members=0.5)
    said = r"another configuration: streams now with track\.st\.Three.*; members 0\.5, now 0\.25"
    with pytest.raises(InputError, match=said):
        make(members=0.25)
    with pytest.raises(InputError, match=r"fit \{\}, now \{'trainer\.max_epochs': 3\}; give what it was begun with"):
        make(streams=["One", "Two"], fit={"trainer": {"max_epochs": 3}})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"is not the folder of an atlas, which has atlas\.yaml; give another"):
        make("other")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file; give a folder that is to be made"):
        make("file")


def test_a_fit_without_figures_has_no_report_to_lead_to(make, fit):
    page = lambda found: found["index.html"].decode()  # noqa: E731
    assert "report.html" in page(make("with"))
    assert "report.html" not in page(make("without", fit={"results": {"figures": False}}))


def test_stars_that_changed_since_are_refused(make, fit, fields, tmp_path):
    """Half of the atlas would be of other stars."""
    shutil.copytree(fields, tmp_path / "mine")
    make(fields=str(tmp_path / "mine"))
    make(fields=str(tmp_path / "mine"))
    write_table(Table({"ra": [150.0, 151.0, 152.0], "dec": [25.0, 26.0, 25.5]}), tmp_path / "mine" / "one.parquet")
    with pytest.raises(InputError, match="the files of the stars have changed since; give what it was begun with"):
        make(fields=str(tmp_path / "mine"))


def test_all_streams_are_one_track_of_each(tracks, fields):
    assert set(made_plan("all", archive="gaia", tracks=tracks).streams) == set(STREAMS)
    assert made_plan("one-m20", archive="gaia", tracks=tracks).streams == STREAMS[:1]
    assert made_plan(["one", "st.One.me2020"], archive="gaia", tracks=tracks).streams == STREAMS[:1]


def test_all_of_a_folder_are_those_that_have_a_file(tracks, fields, tmp_path):
    found = made_plan("all", fields, tracks)
    assert set(found.streams) == set(STREAMS)
    assert Path(found.fields[STREAMS[1]]).name == "Two-M20.ecsv"
    shutil.copy(Path(fields) / "one.parquet", tmp_path)
    assert made_plan("all", str(tmp_path), tracks).streams == STREAMS[:1]
    assert made_plan(["One", "Two"], str(tmp_path), tracks).streams == STREAMS[:2]


def test_options_that_no_fit_has_end_the_command(sky, tracks, tmp_path):
    """They are those of every stream; of the first it is the parser of the fit that says so."""
    path, _ = sky
    with pytest.raises(InputError, match=r"fit: no option --trainer\.max_epohcs; did you mean --trainer\.max_epochs\?"):
        atlas(
            ["One", "Two"],
            output=str(tmp_path / "atlas"),
            catalogue=str(path),
            survey="gaia_dr3",
            tracks=tracks,
            fit={"trainer": {"max_epohcs": 3}},
        )
    assert not list((tmp_path / "atlas").glob("streams/*/outcome.json"))


def test_a_stream_without_a_field_fails_by_name(tracks, fields, tmp_path):
    shutil.copy(Path(fields) / "one.parquet", tmp_path)
    plan = made_plan(["One", "Two"], str(tmp_path), tracks)
    plan.open(tmp_path / "atlas")
    made = chart(plan, tmp_path / "atlas", STREAMS[1])
    assert (made.status, made.reason) == ("failed", "st.Two.me2020: the folder of fields has no table of it.")
    assert Chart.of(plan.folder(tmp_path / "atlas", STREAMS[1])) == made


def test_a_worker_without_the_folder_says_so(tracks, fields, tmp_path):
    with pytest.raises(InputError, match="every worker needs the files under the same path"):
        chart(made_plan("One", fields, tracks), tmp_path, STREAMS[0])


def test_the_command_says_how_many_and_ends_with_1_if_one_failed(
    tracks, fields, fit, tmp_path, capsys, caplog, messages_as_they_were
):
    config = {"streams": ["One", "Two"], "fields": fields, "tracks": tracks, "output": "atlas"}
    (tmp_path / "atlas.yaml").write_text(yaml.safe_dump(config))
    fit.errors["One"] = InputError("too few stars.")
    with pytest.raises(SystemExit) as stop:
        command.main(["--config", str(tmp_path / "atlas.yaml")])
    assert stop.value.code == command.SOME_FAILED == 1
    said = capsys.readouterr()
    assert said.out == f"2 streams: 1 believable, 1 failed; {tmp_path / 'atlas' / 'index.html'}\n"
    assert "st.One.me2020 (1 of 2) failed: too few stars." in said.err + caplog.text
    command.main(["--config", str(tmp_path / "atlas.yaml"), "--streams=Two", f"--output={tmp_path / 'other'}"])
    with pytest.raises(SystemExit) as stop:
        command.main(["--config", str(tmp_path / "atlas.yaml"), "--streams=[Two]"])
    assert stop.value.code == 2
    assert "streams now without track.st.One.me2020" in capsys.readouterr().err


def test_the_configuration_is_printed_and_read_again(tmp_path, capsys):
    with pytest.raises(SystemExit, match="0"):
        command.main(["--streams=[GD-1, Pal5]", "--output=atlas", "--archive=gaia", "--print_config"])
    settings = yaml.safe_load(capsys.readouterr().out)
    assert settings["streams"] == ["GD-1", "Pal5"]
    assert settings["members"] == 0.5


def test_a_stream_begins_with_the_stars_of_its_field(sky, tracks, tmp_path):
    path, whole = sky
    plan = made_plan("One", tracks=tracks, catalogue=str(path), survey="gaia_dr3", isochrone="synthetic")
    config = yaml.safe_load(stars.begin(plan, STREAMS[0], tmp_path).read_text())
    asked = yaml.safe_load((tmp_path / "query" / "query.yaml").read_text())
    phi1, phi2 = in_frame(whole)
    inside = (asked["phi1"][0] <= phi1) & (phi1 <= asked["phi1"][1])
    inside &= (asked["phi2"][0] <= phi2) & (phi2 <= asked["phi2"][1])
    found = read_table(tmp_path / "stars.parquet")
    assert sorted(found["source_id"]) == np.flatnonzero(inside).tolist()
    assert inside.sum() > 400
    assert config["data"]["path"] == str(tmp_path / "stars.parquet")
    assert config["model"]["model"]["init_args"]["coordinates"] == ["phi2", "pm_phi1", "pm_phi2", "photometry"]
    before = (tmp_path / "fit" / "config.yaml").read_bytes()
    (tmp_path / "query" / "query.yaml").write_text("of no use any more")
    assert stars.begin(plan, STREAMS[0], tmp_path).read_bytes() == before  # half of it may have been there


def in_frame(table):
    """phi1 and phi2 by astropy; the frame of the first track has its middle at zero, as the tests' frame has."""
    place = SkyCoord(np.asarray(table["ra"]) * u.deg, np.asarray(table["dec"]) * u.deg).transform_to(FRAME)
    return place.lon.wrap_at(180 * u.deg).deg, place.lat.deg


def test_a_field_outside_the_catalogue_is_refused(sky, tracks, tmp_path):
    _, whole = sky
    write_hats(whole[in_frame(whole)[0] > 60], tmp_path / "part", "part", "a test")
    plan = made_plan("One", tracks=tracks, catalogue=str(tmp_path / "part"), survey="gaia_dr3")
    with pytest.raises(InputError, match=r"part: has no stars in the field of the stream, phi1 \[-9\.6, 9\.6\]"):
        stars.begin(plan, STREAMS[0], tmp_path / "one")


def test_an_archive_is_asked_for_the_field(tracks, tmp_path):
    """With the cuts of the query, whose stars are kept."""
    pytest.importorskip("pyvo")
    rng = np.random.default_rng(0)
    sky = Table({name: rng.uniform(1, 2, 500) for name in Request("gaiadr3.gaia_source").names})
    sky["source_id"] = np.arange(500)
    at = SkyCoord(rng.uniform(-12, 12, 500) * u.deg, rng.uniform(-2, 3, 500) * u.deg, frame=FRAME).icrs
    sky["ra"], sky["dec"], sky["parallax"] = at.ra.deg, at.dec.deg, rng.normal(0, 0.1, 500)
    with TapService(sky) as service:
        plan = made_plan("One", tracks=tracks, archive=service.url, survey="gaia_dr3")
        path = stars.table_of(plan, STREAMS[0], tmp_path)
        asked = len(service.queries)
        assert stars.table_of(plan, STREAMS[0], tmp_path) == path
    assert len(service.queries) == asked > 1
    found = read_table(path)
    assert 100 < len(found) < 500
    assert np.abs(in_frame(found)[0]).max() <= 9.6
    assert {one.split("FROM")[1].split()[0] for one in service.queries} == {"gaiadr3.gaia_source"}


def test_numbers_of_a_stream():
    """Those of a made-up run: the middle is that of its ends, and bands are added in their logarithms."""
    at = np.linspace(-10, 10, 41)
    names = np.array(["stream"] * 41)
    track = to_table({"component": names, "phi1": at, "ra": at + 100, "phi2_sigma": np.full(41, 0.2)})
    track["supported"] = np.abs(at - 1) < 5
    track["distance"], track["distance_05"], track["distance_95"] = 10 + at / 10, 9 + at / 10, 12 + at / 10
    track["phi2_sigma_05"], track["phi2_sigma_95"] = 0.1, 0.4
    checks = Table({"name": ["bounds", "bounds", "ends"], "verdict": ["fail", "fail", "ok"]})
    checks["message"] = ["a", "a", "b"]
    whole = Table({"component": ["stream"], "members": [7.5], "members_05": [6.0], "members_95": [9.0]})
    tables = {"track": track, "density": track, "checks": checks, "components": whole}
    members, metrics = Table({"p_member": [0.9, 0.7]}), {"verdict": "doubtful", "stars": 50, "val_ln_likelihood": -3.0}
    found = findings.numbers(tables, metrics, members, "runs/version_0")
    assert (found["phi1_begin"], found["phi1_end"], found["phi1_middle"]) == (-3.5, 5.5, 1.0)
    assert (found["members"], found["members_05"], found["members_95"]) == (7.5, 6.0, 9.0)
    assert (found["listed"], found["doubts"], found["stars"], found["ra"]) == (2, "bounds: a", 50, 101.0)
    assert found["mean_p_member"] == pytest.approx(0.8)
    width = 0.2 * math.pi / 180 * 10_100
    assert found["width"] == pytest.approx(width)
    assert found["width_05"] == pytest.approx(width * math.exp(-math.hypot(math.log(2), math.log(10.1 / 9.1))))
    assert found["width_95"] == pytest.approx(width * math.exp(math.hypot(math.log(2), math.log(12.1 / 10.1))))
    assert "val_ln_likelihood" not in found
    with_ends = {"begin": [-6.0], "begin_05": [-7.0], "begin_95": [-5.0], "end": [2.0]}
    tables["components"] = Table({**{name: whole[name] for name in whole.colnames}, **with_ends})
    found = findings.numbers(tables, metrics, members[:0], "")
    assert (found["phi1_begin"], found["phi1_begin_05"], found["phi1_end"], found["phi1_middle"]) == (-6, -7, 2, -2)
    assert "mean_p_member" not in found


def test_a_stream_that_was_not_found_has_no_middle():
    track = to_table({"component": np.array(["stream"] * 2), "phi1": [0.0, 1.0], "distance": [9.0, 9.0]})
    track["supported"] = False
    tables = {"track": track, "components": Table({"component": ["stream"], "members": [0.0]})}
    tables["checks"] = Table({"name": ["detection"], "verdict": ["fail"], "message": ["none"]})
    row = findings.numbers(tables, {"verdict": "no stream"}, Table({"p_member": []}), "run")
    assert row == {"verdict": "no stream", "doubts": "detection: none", "run": "run", "listed": 0, "members": 0.0}
    assert math.isnan(products.summary([row])["distance"][0])


QUICK = {"trainer.max_epochs": 2, "background": {"max_epochs": 1, "copies": 0}}
QUICK |= {"results": {"draws": 2, "track_draws": 4}}


@pytest.mark.long
def test_fits_on_two_workers_are_those_of_one_process(sky, tracks, tmp_path):
    """Real ones, of a few steps: two streams of one field."""
    pytest.importorskip("distributed")
    path, _ = sky
    options = {"survey": "gaia_dr3", "isochrone": "synthetic", "tracks": tracks, "fit": QUICK, "catalogue": str(path)}
    found = []
    for i, processes in enumerate((1, 2)):
        output = tmp_path / str(i) / "atlas"
        table = atlas(streams=["One", "Two"], output=str(output), processes=processes, **options)
        found.append(products_of(output))
        report = output / "streams" / "st.One.me2020" / "runs" / "version_0" / "report.html"
        assert f'href="{report.relative_to(output)}"' in (output / "index.html").read_text()
        assert report.is_file()
    assert found[0] == found[1]
    assert table["status"].tolist() == ["fitted"] * 2
    one = table[table["stream"] == "st.One.me2020"][0]
    assert one["members"] > 10
    tracks_of = read_table(output / "tracks.ecsv")
    near = tracks_of[(tracks_of["stream"] == "st.One.me2020") & (np.abs(tracks_of["phi1"]) < 5)]
    phi1, phi2 = in_frame(near)
    np.testing.assert_allclose(phi1, near["phi1"], atol=1e-4)
    np.testing.assert_allclose(phi2, near["phi2"], atol=1e-4)
    assert np.abs(near["phi2"] - truth(near["phi1"])["phi2"]).max() < 1
