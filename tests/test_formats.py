"""Formats of tables: what each keeps, how it is written, and every file that is refused."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from astropy.table import MaskedColumn, Table
from small_tables import NAMES, SOURCE_ID, TABLES, assert_expected, masked, plain, quantities

from stream_mapper.catalog import load, read_table, replace_file, to_data
from stream_mapper.catalog import write_table as write
from stream_mapper.errors import InputError


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
