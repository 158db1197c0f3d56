"""Prediction of catalogues of any size: in parts, in chunks, in processes, and again from where it stopped."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from astropy.io.votable import parse
from astropy.table import MaskedColumn, Table

from stream_mapper import cluster
from stream_mapper.catalog import find_parts, read_table, write_table
from stream_mapper.cluster import Workers
from stream_mapper.commands import run as as_command
from stream_mapper.devices import without_sync
from stream_mapper.errors import InputError
from stream_mapper.fit import main as fit
from stream_mapper.inference import membership
from stream_mapper.inference.draws import over_draws, quantiles
from stream_mapper.inference.frozen import known_densities
from stream_mapper.inference.membership import memberships, p_member
from stream_mapper.loading import load
from stream_mapper.predict import main, predict
from stream_mapper.prediction import Predictor, part_folder, parts, predictor, streamed, worker
from stream_mapper.quantiles import QUANTILE_NAMES
from stream_mapper.simulate import main as simulate

ROOT = Path(__file__).parent.parent
MOCK = str(ROOT / "experiments" / "mock" / "config.yaml")
SMALL = "{class_path: stream_mapper.mock.TailoredMock, init_args: {n_stream: 300, n_background: 900, seed: 3}}"
QUICK = [
    "--background.max_epochs=1",
    "--trainer.max_epochs=2",
    "--results.draws=2",
    "--results.track_draws=2",
    "--results.figures=false",
]
DRAWS = 4

load_once = cache(load)


@pytest.fixture(scope="module")
def stars(tmp_path_factory):
    """The simulated stars."""
    path = tmp_path_factory.mktemp("stars") / "stars.parquet"
    simulate(["--simulator", SMALL, "--output", str(path)])
    return path


@pytest.fixture(scope="module")
def best(stars, tmp_path_factory):
    """The checkpoint of a hasty fit to them."""
    root = tmp_path_factory.mktemp("runs")
    fit(["--config", MOCK, "--data.path", str(stars), "--trainer.default_root_dir", str(root), *QUICK])
    return str(root / "version_0" / "checkpoints" / "best.ckpt")


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch):
    """The model is rebuilt once in this process, not by each of many predictions."""
    monkeypatch.setattr(predictor, "load", load_once)


@pytest.fixture(scope="module")
def catalogue(stars):
    """Those stars with columns that only Parquet can hold, a few not measured or outside, by arrow."""
    table = read_table(stars)
    table["g"] = MaskedColumn(table["g"], mask=np.arange(len(table)) % 7 == 0)
    table["phi2"][5:9] = 40.0
    table.meta["survey"] = "mock"
    write_table(table, stars.with_name("odd.parquet"))
    arrow = pq.read_table(stars.with_name("odd.parquet"))
    n = len(arrow)
    lists = pa.array([[float(i)] * (i % 3) if i % 5 else None for i in range(n)], pa.list_(pa.float32()))
    kinds = pa.array((["a", None, "b"] * n)[:n]).dictionary_encode()
    added = {
        "id": pa.array(range(n)),
        "kind": kinds,
        "light_curve": lists,
        "wide": pa.array(["é"] * n, pa.large_string()),
    }
    for name, column in added.items():
        arrow = arrow.append_column(name, column)
    return arrow.replace_schema_metadata({**arrow.schema.metadata, b"other": b"kept"})


def stars_of(own, catalogue):
    """The stars of an arrow table as a predictor reads them."""
    names = own.annotation.columns_read(catalogue.column_names)
    return own.annotation.read(Table({name: catalogue[name].to_numpy() for name in names}), "table")


@pytest.fixture(scope="module")
def expected(best, catalogue):
    """The memberships of all the stars at once."""
    own = Predictor(best, DRAWS)
    return own(stars_of(own, catalogue))


def one_file(arrow, path, rows=100):
    path = path.with_suffix(".parquet")
    pq.write_table(arrow, path, row_group_size=rows)
    return path


def one_group(arrow, path):
    return one_file(arrow, path, len(arrow))


def folder(arrow, path, names=("a.parquet", "b/c.parquet", "b/d.parquet", "e.parquet")):
    """A folder of files, one of them empty, with others that are no data."""
    cuts = [0, 500, 500, 900, len(arrow)]
    for name, (low, high) in zip(names, pairwise(cuts), strict=True):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(arrow.slice(low, high - low), path / name, row_group_size=130)
    (path / "_metadata").write_text("no data")
    (path / ".hidden.parquet").write_text("no data")
    return path


def hats(arrow, path):
    """A HATS catalogue, one of its pixels a folder of files."""
    pytest.importorskip("hats")
    pixels = ["Norder=0/Dir=0/Npix=1", "Norder=0/Dir=0/Npix=2", "Norder=1/Dir=0/Npix=30"]
    names = [f"dataset/{pixels[0]}.parquet", f"dataset/{pixels[1]}/0.parquet", f"dataset/{pixels[1]}/1.parquet"]
    folder(arrow, path, (*names, f"dataset/{pixels[2]}.parquet"))
    (path / "_metadata").unlink()
    (path / "dataset" / "_common_metadata").write_bytes(b"")
    (path / "dataset" / "_metadata").write_bytes(b"")
    (path / "partition_info.csv").write_text("Norder,Npix\n0,1\n0,2\n1,30\n")
    (path / "per_partition_statistics.parquet").write_text("old")
    (path / "data_thumbnail.parquet").write_text("old")
    text = f"obs_collection=stars\ndataproduct_type=object\nhats_nrows={len(arrow)}\nhats_cols_default=id phi1\n"
    text += "hats_col_ra=phi1\nhats_col_dec=phi2\nhats_estsize=1\nhats_creation_date=2026-01-01\nobs_title=a=b\n"
    (path / "hats.properties").write_text(text)
    return path


LAYOUTS = {"one file": one_file, "one row group": one_group, "folder": folder, "HATS": hats}


OF_HATS = ("data_thumbnail.parquet", "per_partition_statistics.parquet")


def rows_of(path):
    """The rows of a file, or of all parts of a folder in order."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*.parquet") if p.name not in OF_HATS)
    return pa.concat_tables([pq.ParquetFile(file).read() for file in files])


def assert_same_memberships(arrow, expected, atol=1e-6):
    for name, values in expected.items():
        np.testing.assert_allclose(arrow[name].to_numpy().astype(float), values.astype(float), atol=atol, err_msg=name)


@pytest.mark.parametrize("output", ["members.parquet", "members"])
@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_each_star_once(make, output, best, catalogue, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(streamed, "find_parts", partial(find_parts, rows=300))
    source, target = make(catalogue, tmp_path / "in"), tmp_path / output
    predict(best, str(source), str(target), draws=DRAWS, chunk_size=128)
    result = rows_of(target)
    carried = result.select(catalogue.column_names).cast(catalogue.schema)
    assert [name for name in catalogue.column_names if not carried[name].equals(catalogue[name])] == []
    assert result.schema.field("light_curve").type == catalogue.schema.field("light_curve").type
    assert result.schema.metadata[b"other"] == b"kept"
    assert result.column_names == [*catalogue.column_names, *expected]
    assert_same_memberships(result, expected)
    assert {path.name for path in tmp_path.iterdir()} == {source.name, output}


def test_parts_mirror_those_of_the_catalogue(best, catalogue, tmp_path):
    source = hats(catalogue, tmp_path / "in")
    predict(best, str(source), str(tmp_path / "out"), draws=1)
    data = {p.relative_to(source) for p in source.rglob("Npix=*") if p.is_file()}
    data |= {p.relative_to(source) for p in source.rglob("Npix=*/*.parquet")}
    found = {p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file()}
    others = ["_stream_mapper.json", "hats.properties", "partition_info.csv", "dataset/_metadata"]
    assert found == data | {Path(name) for name in [*others, "dataset/_common_metadata"]}
    footers = pq.read_metadata(tmp_path / "out" / "dataset" / "_metadata")
    assert footers.num_rows == len(catalogue)
    assert footers.row_group(0).column(0).file_path == "Norder=0/Dir=0/Npix=1.parquet"
    schema = pq.read_schema(tmp_path / "out" / "dataset" / "_common_metadata")
    assert "p_member_95" in schema.names
    assert b'name="p_member_95"' in schema.metadata[b"IVOA.VOTable-Parquet.content"]
    lines = (tmp_path / "out" / "hats.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines if "=" in line)
    assert properties["hats_cols_default"].startswith("id phi1 p_stream p_background p_member ")
    assert int(properties["hats_estsize"]) > 1
    assert properties["obs_title"] == "a=b"
    assert properties["hats_builder"].startswith("stream_mapper v")
    assert "hats_creation_date" not in properties  # the same command gives the same bytes


def test_units_and_metadata_survive(best, catalogue, tmp_path):
    arrow = catalogue.append_column("p_member", pa.array(range(len(catalogue))))
    source = one_file(arrow, tmp_path / "in")
    predict(best, str(source), str(tmp_path / "out.parquet"), draws=1)
    table, given = read_table(tmp_path / "out.parquet"), read_table(source)
    assert {name: table[name].unit for name in given.colnames if name != "p_member"} == {
        name: given[name].unit for name in given.colnames if name != "p_member"
    }
    assert table.meta["survey"] == "mock"
    assert table["p_member_input"].tolist() == list(range(len(arrow)))
    assert table["p_member"].unit is None
    header = pq.read_schema(tmp_path / "out.parquet").metadata[b"table_meta_yaml"].decode()
    assert "- name: p_member_95\n" in header
    assert table["p_member_95"].info.meta["ucd"] == "stat.percentile;stat.probability"
    assert table.meta["CKPTHASH"] == hashlib.sha256(Path(best).read_bytes()).hexdigest()
    assert "DATE" not in table.meta  # the same command gives the same bytes


def bytes_of(path):
    """What each file of a result holds."""
    if path.is_file():
        return path.read_bytes()
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*.parquet")}


@pytest.mark.parametrize("chunk_size", [37, 5000])
def test_the_size_of_a_chunk_changes_no_membership(chunk_size, best, catalogue, expected, tmp_path):
    """To the rounding of float32."""
    source = one_file(catalogue, tmp_path / "in")
    predict(best, str(source), str(tmp_path / "out.parquet"), draws=DRAWS, chunk_size=chunk_size)
    assert_same_memberships(rows_of(tmp_path / "out.parquet"), expected)


def dies_once(task, folder, part):
    """What computes a part on a worker, which the second part kills in the middle, the first time."""
    mark = folder.parent / "killed"
    if part.place == "b/d.parquet" and not mark.exists():
        mark.touch()
        whole = parts.PartWriter._chunks

        def chunks(self, *arguments):
            yield next(whole(self, *arguments))
            os.kill(os.getpid(), signal.SIGKILL)

        parts.PartWriter._chunks = chunks
    return worker.compute_part(task, folder, part)


def test_two_processes_give_the_same_bytes_though_one_is_killed(best, catalogue, tmp_path, caplog, monkeypatch):
    pytest.importorskip("distributed")
    source = folder(catalogue, tmp_path / "in")
    run = lambda name, **how: predict(best, str(source), str(tmp_path / name), draws=2, chunk_size=200, **how)  # noqa: E731
    run("one")
    caplog.clear()
    monkeypatch.setattr(streamed, "compute_part", dies_once)
    run("two", processes=2)
    assert (tmp_path / "killed").exists()
    said = [line for line in caplog.messages if "a worker ended early" in line]
    assert len(said) == 1
    assert "b/d.parquet" in said[0]
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


@pytest.mark.parametrize(("moment", "output"), [("log", "out"), ("complete_hats", "out"), ("_merge", "out.parquet")])
def test_one_command_twice_at_once_leaves_one_result(moment, output, best, catalogue, tmp_path, monkeypatch):
    source, target = folder(catalogue, tmp_path / "in"), tmp_path / output
    run = partial(predict, best, str(source), str(target), draws=2)
    place, at_work = (Predictor if moment == "log" else streamed), []
    complete = getattr(place, moment)

    def behind_another(*arguments):
        if not at_work:
            at_work.append(True)
            run()
        complete(*arguments)

    monkeypatch.setattr(place, moment, behind_another)
    run()
    assert len(rows_of(target)) == len(catalogue)
    assert {path.name for path in tmp_path.iterdir()} == {"in", output}


@pytest.fixture
def stopped(monkeypatch):
    """Let predictions stop in the middle of a part, and count the parts that are begun."""
    begun, compute = [], parts.PartWriter._chunks

    def stop_at(count, error=KeyboardInterrupt):
        def chunks(self, part, *arguments):
            begun.append(part.place)
            for chunk in compute(self, part, *arguments):
                yield chunk
                if len(begun) == count:
                    raise error

        monkeypatch.setattr(parts.PartWriter, "_chunks", chunks)
        begun.clear()
        return begun

    return stop_at


@pytest.mark.parametrize("output", ["out.parquet", "out"])
def test_a_stopped_prediction_goes_on_and_gives_the_same_bytes(output, best, catalogue, stopped, tmp_path, capsys):
    source = folder(catalogue, tmp_path / "in")
    arguments = ["--checkpoint", best, "--catalogue", str(source), "--draws", "2", "--chunk_size", "200", "--output"]
    main([*arguments, str(tmp_path / f"whole_{output}")])
    stopped(3)
    with pytest.raises(SystemExit) as status:
        main([*arguments, str(tmp_path / output)])
    assert status.value.code == 130
    assert "interrupted: 2 of 4 parts are done; the same command goes on from there" in capsys.readouterr().err
    assert not (tmp_path / output).exists()
    left = tmp_path / f".{output}.parts"
    (left / ".0a1b-a.parquet").write_text("what a process leaves that is killed while it writes")
    begun = stopped(0)
    main([*arguments, str(tmp_path / output)])
    assert begun == ["b/d.parquet", "e.parquet"]
    assert bytes_of(tmp_path / output) == bytes_of(tmp_path / f"whole_{output}")
    assert not left.exists()


def refused(capsys, function):
    """The one line a command fails with."""
    with pytest.raises(SystemExit) as stop:
        as_command(lambda _: function(), [])
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "tpu", "cpu:7"])
def test_a_device_that_is_not_there_is_refused(device, best, stars, tmp_path, capsys):
    line = refused(capsys, lambda: predict(best, stars, tmp_path / "out.parquet", device=device))
    assert f"device '{device}' is not to be had here; there are cpu." in line
    assert list(tmp_path.iterdir()) == []


def test_parts_of_different_predictions_are_not_mixed(best, catalogue, stopped, tmp_path, capsys):
    source, target = folder(catalogue, tmp_path / "in"), tmp_path / "out"
    run = lambda **how: predict(best, str(source), str(target), **{"draws": 2, "chunk_size": 200, **how})  # noqa: E731
    stopped(3)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert "(draws 2, now 3); give what it was started with to go on, or --overwrite true" in refused(
        capsys, lambda: run(draws=3)
    )
    assert "chunk_size 200, now 300" in refused(capsys, lambda: run(chunk_size=300))
    pq.write_table(catalogue.slice(0, 10), source / "a.parquet")
    assert "1 of the inputs changed, such as a.parquet" in refused(capsys, run)
    begun = stopped(0)
    run(overwrite=True)
    assert len(begun) == 4
    begun.clear()
    run()
    assert begun == []
    assert "exists and is not the result of this prediction (draws 2, now 3)" in refused(capsys, lambda: run(draws=3))
    run(draws=3, overwrite=True)
    assert json.loads((target / part_folder.MANIFEST).read_text())["draws"] == 3
    (target / part_folder.MANIFEST).unlink()
    line = refused(capsys, lambda: run(draws=3, overwrite=True))
    assert line.endswith("give another output.")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def broken(path, arrow):
    (path / "e.parquet").write_bytes((path / "e.parquet").read_bytes()[:-20])


def another_type(path, arrow):
    kind = arrow["id"].cast(pa.float64())
    pq.write_table(arrow.set_column(arrow.column_names.index("id"), "id", kind), path / "e.parquet")


def infinite(path, arrow):
    g = arrow["g"].to_numpy().copy()
    g[150] = np.inf
    pq.write_table(arrow.set_column(arrow.column_names.index("g"), "g", pa.array(g)), path / "e.parquet")


def no_files(path, arrow):
    for file in path.rglob("*.parquet"):
        file.unlink()


def no_stars(path, arrow):
    for file in path.rglob("[!.]*.parquet"):
        pq.write_table(arrow.slice(0, 0), file)


def no_primary(path, arrow):
    hats(arrow, path / "field")
    (path / "collection.properties").write_text("obs_collection=c\nhats_primary_table_url=stars\n")


def no_pixel(path, arrow):
    hats(arrow, path)
    (path / "dataset" / "Norder=1" / "Dir=0" / "Npix=30.parquet").unlink()


def no_properties(path, arrow):
    hats(arrow, path)
    (path / "hats.properties").write_text("obs_collection=stars\n")


BAD_FOLDERS = {
    broken: "e.parquet: cannot be read as parquet: ",
    another_type: r"columns are not those of .*a.parquet: it has \['id \(double\)'\] and lacks \['id \(int64",
    infinite: r"e.parquet, from row 100: column 'g' \(for 'g'\) is infinite in 1 rows, e.g. inf in row 50",
    no_files: "is a folder; give the path of a table, or of a folder with Parquet files in it",
    no_stars: "the table has no rows",
    no_primary: r"its catalogue stars is not in the collection; there are \['field'\]",
    no_pixel: "1 of 3 pixels have no file, such as dataset/Norder=1/Dir=0/Npix=30; is the copy complete",
    no_properties: "its properties cannot be used: .*dataproduct_type",
}


@pytest.mark.parametrize(("spoil", "message"), BAD_FOLDERS.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_bad_folders_are_refused_and_nothing_half_written(spoil, message, best, catalogue, tmp_path, capsys):
    source = folder(catalogue, tmp_path / "in")
    spoil(source, catalogue)
    line = refused(capsys, lambda: predict(best, str(source), str(tmp_path / "out"), draws=1, chunk_size=100))
    assert re.search(message, line), line
    assert not (tmp_path / "out").exists()


BAD_OUTPUTS = {
    "inside": ({"output": "in/out"}, "is inside the catalogue"),
    "FITS": ({"output": "out.fits"}, "a folder of Parquet is written as .parquet or as a folder"),
    "outside": ({"catalogue": "in/b", "output": "in", "overwrite": True}, "the catalogue in/b is inside it"),
    "here": ({"output": "."}, "give it a name of its own"),
    "no parent": ({"output": "no/out"}, "the folder it would be in does not exist"),
    "file": ({"output": "file"}, "is a file"),
    "foreign": ({"output": "foreign", "overwrite": True}, "exists and is not the result of this prediction"),
    "FITS in parts": ({"catalogue": "stars.fits", "output": "out"}, "only Parquet is written as a folder of parts"),
    "FITS shared out": (
        {"catalogue": "stars.fits", "output": "out.fits", "scheduler": "tcp://127.0.0.1:1"},
        "only the parts of Parquet",
    ),
    "two clusters": (
        {"output": "out", "processes": 2, "scheduler": "tcp://127.0.0.1:1"},
        "processes and scheduler: each says where to compute; give one of them",
    ),
    "no scheduler": ({"output": "out", "scheduler": "tcp://127.0.0.1:1"}, "no scheduler answers at tcp://127.0.0.1:1"),
    "no scheduler's file": ({"output": "out", "scheduler_file": "no.json"}, "no.json: does not exist"),
    "no process": ({"output": "out", "processes": 0}, "processes must be 1 or more"),
    "no chunk": ({"output": "out", "chunk_size": 0}, "chunk_size must be 1 or more"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_OUTPUTS.values(), ids=BAD_OUTPUTS)
def test_bad_arguments_are_refused(arguments, message, best, catalogue, stars, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT", 0.5)
    if arguments.keys() & {"scheduler", "scheduler_file"}:
        pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    folder(catalogue, tmp_path / "in")
    (tmp_path / "file").touch()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "mine.txt").touch()
    write_table(read_table(stars), tmp_path / "stars.fits")
    before = sorted(tmp_path.rglob("*"))
    assert message in refused(
        capsys, lambda: predict(**{"checkpoint": best, "catalogue": "in", "draws": 1, **arguments})
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_warnings_are_said_once_of_the_whole_catalogue(best, catalogue, tmp_path, caplog):
    caplog.set_level("INFO", "stream_mapper")
    bare = catalogue.replace_schema_metadata(None).set_column(3, "g", pa.array([None] * len(catalogue), pa.float32()))
    bare = bare.drop_columns(["r", "r_err"]).append_column("p_member", bare["phi1"])
    source = folder(bare, tmp_path / "in")
    predict(best, str(source), str(tmp_path / "out"), draws=1, chunk_size=50)
    predict(
        best,
        str(one_file(bare.drop_columns(["light_curve", "wide"]), tmp_path / "one")),
        str(tmp_path / "out.fits"),
        draws=1,
    )
    said = [record.getMessage() for record in caplog.records]
    texts = (
        "no unit in the table, assumed: phi1 [deg]",
        "no column for the optional ['r', 'r_err']",
        "not one value is measured in ['g']",
        "they are kept as ['p_member_input']",
        f"4 of {len(bare)} stars are outside the fitted window",
    )
    for text in texts:  # once by the parts, once by the table that is read whole
        assert len([line for line in said if text in line]) == 2, text
    assert len(said) == 2 * len(texts)


def test_warnings_of_the_model_are_counted(best, catalogue, tmp_path, caplog, monkeypatch):
    """A flow's warning names a number of stars, another in each chunk."""

    def known(model, stars):
        warnings.warn(f"the marginal is uncertain for {len(stars)} of {2 * len(stars)} stars: so.", stacklevel=2)
        return known_densities(model, stars)

    monkeypatch.setattr(membership, "known_densities", known)
    monkeypatch.setattr(membership, "have_limits", lambda _: False)  # so that it is computed of every star
    source = folder(catalogue, tmp_path / "in")
    predict(best, str(source), str(tmp_path / "out"), draws=1, chunk_size=100)
    said = [record.getMessage() for record in caplog.records if "uncertain" in record.getMessage()]
    assert said == [f"the marginal is uncertain for {len(catalogue) - 4} of {len(catalogue)} stars: so."]


def test_draws_are_computed_where_they_matter_and_change_nothing_elsewhere(best, catalogue):
    own = Predictor(best, 8)
    stars, model, draw = stars_of(own, catalogue), own.fit.model, own.fit.draw
    known = known_densities(model, stars)
    found = memberships(model, stars, draw, 8, known)
    with torch.no_grad():
        p_of_draw = lambda _: p_member(model, model.membership(model(stars), stars, known))  # noqa: E731
        all_of_them = quantiles(torch.stack(over_draws(model, draw, range(8), p_of_draw)))
    p = found["p_member"]
    alike = torch.stack([found[f"p_member_{name}"] for name in QUANTILE_NAMES]) == p
    assert 0.05 < alike.all(0).float().mean() < 0.999
    first, last = torch.minimum(all_of_them[0], p), torch.maximum(all_of_them[-1], p)
    for name, expected in zip(QUANTILE_NAMES, [first, *all_of_them[1:-1], last], strict=True):
        off = (found[f"p_member_{name}"] - expected).abs()
        assert off[~alike.all(0)].max() < 1e-5
        assert off.max() < 1e-3
    assert (found["p_member_05"] <= p).all()
    assert (found["p_member_95"] >= p).all()


@pytest.mark.parametrize("draws", [0, 8])
@pytest.mark.parametrize("broad", [True, False])
def test_limits_change_no_bit(best, catalogue, monkeypatch, draws, broad):
    own = Predictor(best, draws)
    table, computed = stars_of(own, catalogue), []
    known = membership.known_densities
    monkeypatch.setattr(membership, "known_densities", lambda model, s: (computed.append(len(s)), known(model, s))[1])
    if not broad:
        for name in ("parallax", "photometric"):
            monkeypatch.setitem(own.fit.model[f"background.{name}"]._modules, "broad", None)
    found = own(table)
    some, _ = sum(computed), computed.clear()
    with without_sync():
        expected = own(table)
    assert (some < 0.9 * sum(computed)) == broad
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].astype(float), values.astype(float), atol=1e-5, err_msg=name)
    monkeypatch.setattr(membership, "have_limits", lambda _: False)
    for name, values in own(table).items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_threads_change_no_bit(best, catalogue, expected, monkeypatch):
    monkeypatch.setattr(membership, "_CHUNK", 100)
    own = Predictor(best, DRAWS)
    one = own(stars_of(own, catalogue))
    torch.set_num_threads(3)
    try:
        several = own(stars_of(own, catalogue))
    finally:
        torch.set_num_threads(1)
    for name, values in one.items():
        np.testing.assert_array_equal(several[name], values, err_msg=name)
        np.testing.assert_allclose(values.astype(float), expected[name].astype(float), atol=1e-6, err_msg=name)


def test_without_draws_there_are_no_quantiles_and_no_warning(best, catalogue, tmp_path, caplog):
    source, target = folder(catalogue, tmp_path / "in"), tmp_path / "out.parquet"
    predict(best, str(source), str(target), draws=0)
    found = read_table(target)
    assert np.isnan(np.ma.filled(found["p_member_50"], np.nan)).all()
    assert np.isfinite(found["p_member"]).all()
    assert not [record for record in caplog.records if "quantiles" in record.getMessage()]


def as_lsdb_writes(stars, path, **how):
    """The simulated stars as LSDB writes them, at made-up places on the sky."""
    lsdb = pytest.importorskip("lsdb")
    frame = read_table(stars)["phi1", "phi2", "parallax", "g", "r", "g_err", "r_err"].to_pandas()
    frame = frame.assign(id=np.arange(len(frame)), ra=frame.phi1 % 360, dec=5 * frame.phi2, p_member=7.0)
    margin = 7200.0 if how.get("as_collection", True) else None
    made = lsdb.from_dataframe(frame, ra_column="ra", dec_column="dec", partition_rows=300, margin_threshold=margin)
    made.write_catalog(path, **how)
    return path


@pytest.fixture(scope="module")
def by_lsdb(stars, tmp_path_factory):
    """A HATS catalogue."""
    return as_lsdb_writes(stars, tmp_path_factory.mktemp("hats") / "stars", as_collection=False)


@pytest.fixture(scope="module")
def collection(stars, tmp_path_factory):
    """A collection: a catalogue and its margin."""
    return as_lsdb_writes(stars, tmp_path_factory.mktemp("hats") / "collection", catalog_name="field")


def test_lsdb_opens_the_result_and_computes_the_same(best, by_lsdb, tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "load", load)  # a model for each thread, as there is without the cache
    lsdb, here = pytest.importorskip("lsdb"), pytest.importorskip("stream_mapper.lsdb")
    predict(best, str(by_lsdb), str(tmp_path / "members"), draws=3)
    given, written = lsdb.open_catalog(by_lsdb), lsdb.open_catalog(tmp_path / "members")
    mapped = here.predict_catalog(best, given, draws=3)
    assert mapped.npartitions == written.npartitions > 1
    assert list(mapped.columns) == list(written.columns)
    ours, theirs = written.compute(), mapped.compute()
    assert ours["id"].tolist() == theirs["id"].tolist() == given.compute()["id"].tolist()
    assert (ours["p_member_input"] == 7).all()
    for name in ("p_stream", "p_background", "p_member", *(f"p_member_{q}" for q in QUANTILE_NAMES), "n_missing"):
        np.testing.assert_allclose(ours[name].astype(float), theirs[name].astype(float), atol=1e-6, err_msg=name)
    members = mapped.query("p_member > 0.5").compute()
    assert set(members["id"]) == set(ours["id"][ours["p_member"] > 0.5])
    assert len(members) > 50


def test_a_collection_becomes_one_with_its_margin(best, collection, tmp_path, caplog):
    lsdb = pytest.importorskip("lsdb")
    caplog.set_level("INFO", "stream_mapper")
    predict(best, str(collection), str(tmp_path / "members"), draws=2)
    given, made = lsdb.open_catalog(collection), lsdb.open_catalog(tmp_path / "members")
    assert made.hc_collection.default_margin == given.hc_collection.default_margin
    assert made.margin.compute()["id"].tolist() == given.margin.compute()["id"].tolist() != []
    assert "p_member_input" in made.margin.columns
    once = made.compute().set_index("id")
    repeated = made.margin.compute().set_index("id")
    np.testing.assert_allclose(repeated["p_member"], once["p_member"][repeated.index], atol=1e-6)
    said = [line for line in caplog.messages if "outside the fitted window" in line]
    assert all(f"of {len(once)} stars" in line for line in said)
    folder = tmp_path / "members" / "field"
    assert "p_member::max_value" in pq.read_schema(folder / "per_partition_statistics.parquet").names
    votable = pq.read_schema(folder / "dataset" / "_common_metadata").metadata[b"IVOA.VOTable-Parquet.content"]
    fields = {field.name: field for field in parse(io.BytesIO(votable)).get_first_table().fields}
    assert fields["p_member"].ucd == "stat.probability"
    assert "phi1" in fields
    predict(best, str(collection), str(tmp_path / "members.parquet"), draws=2)
    assert sorted(read_table(tmp_path / "members.parquet")["id"]) == sorted(once.index)


def test_without_its_package_hats_is_refused_in_a_line(best, catalogue, tmp_path, capsys, monkeypatch):
    source = hats(catalogue, tmp_path / "in")
    for name in [name for name in sys.modules if name.partition(".")[0] == "hats"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hats", None)
    line = refused(capsys, lambda: predict(best, str(source), str(tmp_path / "out"), draws=1))
    assert "pip install 'stream_mapper[hats]'" in line


@pytest.fixture(scope="module")
def scheduler_file(tmp_path_factory):
    """The file of a scheduler of Dask with one worker of two threads, as somebody else has started them."""
    pytest.importorskip("distributed")
    file = tmp_path_factory.mktemp("cluster") / "scheduler.json"
    here = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", *here, "--port", "0"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", *here, "--nthreads", "2", "--no-nanny"]
    started = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for command in (scheduler, worker)]
    while not file.is_file():
        time.sleep(0.1)
    yield file
    for process in reversed(started):
        process.kill()
        process.wait()


def test_a_cluster_that_runs_already_gives_the_same_bytes(best, collection, scheduler_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = lambda name, **how: predict(best, str(collection), name, draws=2, **how)  # noqa: E731
    run("one")
    run("theirs", scheduler_file=str(scheduler_file))
    files = {str(path.relative_to("one")): path.read_bytes() for path in Path("one").rglob("*") if path.is_file()}
    assert files == {name: (Path("theirs") / name).read_bytes() for name in files}
    address = json.loads(scheduler_file.read_text())["address"]
    copy = shutil.copy(best, tmp_path / "best.ckpt")
    monkeypatch.setattr(part_folder, "digest_of", lambda _: "of another")
    with pytest.raises(InputError, match=r"best.ckpt: is another file for a worker; every worker needs the files"):
        predict(str(copy), str(collection), "other", draws=2, scheduler=address)


def test_workers_elsewhere_have_the_device_that_is_asked_for_and_this_process_need_not(
    best, catalogue, tmp_path, monkeypatch
):
    """Nothing here has a GPU; neither has the stand-in for the workers, which are told of one."""
    told = []

    def results(self, function, items, *_):
        told.append(function.args[0].device)
        compute = partial(function.func, replace(function.args[0], device="cpu"), *function.args[1:])
        return ((item, compute(item)) for item in items)

    monkeypatch.setattr(Workers, "results", results)
    source = folder(catalogue, tmp_path / "in")
    predict(best, str(source), str(tmp_path / "out"), draws=1, device="cuda", scheduler="tcp://127.0.0.1:1")
    assert told == ["cuda"]
    assert json.loads((tmp_path / "out" / part_folder.MANIFEST).read_text())["device"] == "cuda"


@pytest.mark.long
def test_jobs_of_slurm_compute_the_parts(best, catalogue, tmp_path, monkeypatch):
    """The commands of SLURM are stand-ins that start and end a job on this machine."""
    jobqueue = pytest.importorskip("dask_jobqueue")
    source = folder(catalogue, tmp_path / "in")
    job = tmp_path / "job.sh"  # the script that is handed over does not last
    submit = f'cp "$1" {job}\nsetsid bash {job} > /dev/null 2>&1 &\necho "Submitted batch job $!"'
    commands = {"sbatch": submit, "scancel": 'kill -- "-$1"'}
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    here = {"host": "127.0.0.1", "dashboard_address": None}
    with jobqueue.SLURMCluster(cores=1, memory="8GB", scheduler_options=here) as cluster:
        cluster.scale(jobs=1)
        predict(best, str(source), str(tmp_path / "out"), draws=2, scheduler=cluster.scheduler_address)
    predict(best, str(source), str(tmp_path / "one"), draws=2)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "one")
