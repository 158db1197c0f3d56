"""Tables that cannot be used: one clear line, exit status 2, and nothing written; and what is kept with a flag."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.table import MaskedColumn
from small_survey import COLUMNS, MODEL
from small_survey import stars as survey

from stream_mapper.catalog import read_table, write_table
from stream_mapper.fit import main as fit
from stream_mapper.loading import load
from stream_mapper.predict import main as predict
from stream_mapper.quantiles import QUANTILE_NAMES

N = 300
CONFIG = f"""
data: {{columns: [{", ".join(COLUMNS)}]}}
results: {{draws: 1, track_draws: 1}}
trainer: {{max_epochs: 1}}
model:
  model:
{textwrap.indent(MODEL, "    ")}"""


def stars():
    """A table that is as it should be."""
    return survey(N)


def cell(name, value, row=7):
    """The table with one value changed."""

    def spoil(table):
        table[name][row] = value
        return table

    return spoil


def without(*names):
    def spoil(table):
        table.remove_columns(names)
        return table

    return spoil


def column(name, values):
    def spoil(table):
        table[name] = values
        return table

    return spoil


def unit(name, spelt):
    """The unit as a file spells it, whatever astropy thinks of it."""

    def spoil(table):
        table[name] = MaskedColumn(np.asarray(table[name]), unit=u.Unit(spelt, parse_strict="silent"))
        return table

    return spoil


def rows(count):
    return lambda table: table[:count]


def copied(table):
    table["source_id"][20] = table["source_id"][4]
    return table


TEXTS = np.array(["0.1"] * 9 + ["bright"] + ["0.1"] * (N - 10))
NONE = MaskedColumn(np.zeros(N), mask=True)


class Case(NamedTuple):
    """What is wrong, and what a fit and a prediction say of it; None if that is no reason to stop."""

    spoil: object
    fit: str
    predict: str | None = ""  # the same

    @property
    def predicted(self):
        return self.fit if self.predict == "" else self.predict


CASES = {
    "unknown unit": Case(unit("phi2", "furlongs"), "'phi2' .* has unit 'furlongs'; 'deg' is needed; name the unit"),
    "unit of something else": Case(unit("g", "kg"), "'g' .* has unit 'kg'; 'mag' is needed"),
    "no errors": Case(without("phi2_err"), r"no column \['phi2_err'\] .*the table has \['source_id', 'phi1'"),
    "no errors of magnitudes": Case(
        without("g_err"),
        r"no column \['g_err'\]",
        r"no column for the errors \['g_err'\] of \['g'\]; add them, or remove",
    ),
    "negative error": Case(
        cell("pm_phi1_err", -0.1), r"'pm_phi1_err'\) is a negative error in 1 rows, e.g. -0.1 in row 7"
    ),
    "error of zero": Case(
        cell("phi2_err", 0.0), r"'phi2_err'\) is an error of zero in 1 rows, e.g. 0.0 in row 7; mark"
    ),
    "infinite": Case(
        cell("pm_phi2", -np.inf), r"'pm_phi2'\) is infinite in 1 rows, e.g. -inf in row 7; mark it as missing"
    ),
    "too large": Case(cell("phi2", 1e300), "a value that no star has in 1 rows, e.g. 1e\\+300 in row 7"),
    "copies": Case(
        copied, "'source_id' has 2 rows that share an identifier, e.g. 1000000000000000004 in rows 4 and 20; rem"
    ),
    "correlation": Case(cell("pm_phi1_pm_phi2_corr", -1.2), r"_corr'\) is outside -1..1 in 1 rows, e.g. -1.2 in row 7"),
    "text": Case(column("g", TEXTS), "'g' .* holds type <U6, .*'bright' in row 9; one number a star is needed"),
    "no phi1 at all": Case(column("phi1", NONE), r"not one value is measured in \['phi1'\]"),
    "no proper motion at all": Case(column("pm_phi1", NONE), r"not one value is measured in \['pm_phi1'\]", None),
    "no magnitude at all": Case(column("g", NONE), r"measured in \['g'\], which the model reads; give a table", None),
    "no rows": Case(rows(0), "has no rows; stars are needed"),
    "one row": Case(rows(1), "1 of 1 stars are inside the model's window .*; a fit needs 2 or more", None),
}
WAYS = ("fit", "whole", "streamed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The configuration, the good table, and a checkpoint of a fit to it; nobody looks at the figures."""
    quick = pytest.MonkeyPatch()
    quick.setattr("stream_mapper.results.run_folder.RunTables.figures", lambda *_: {})
    root = tmp_path_factory.mktemp("bad")
    (root / "config.yaml").write_text(CONFIG)
    write_table(stars(), root / "good.parquet")
    fit(["--config", str(root / "config.yaml"), "--data.path", str(root / "good.parquet"), *to(root / "runs")])
    yield root
    quick.undo()


def to(path):
    return ["--trainer.default_root_dir", str(path)]


@pytest.fixture(autouse=True)
def loaded_once(folder, monkeypatch):
    """The model is rebuilt once, not by each of many predictions."""
    if not hasattr(loaded_once, "run"):
        loaded_once.run = load(best(folder))
    monkeypatch.setattr("stream_mapper.prediction.predictor.load", lambda path: loaded_once.run)


def best(folder):
    return str(folder / "runs" / "version_0" / "checkpoints" / "best.ckpt")


def go(way, folder, path, place):
    """Run the command on a table, its results below a place."""
    if way == "fit":
        return fit(["--config", str(folder / "config.yaml"), "--data.path", str(path), *to(place / "runs")])
    target = place / ("members.parquet" if way == "streamed" else "members.fits")
    arguments = ["--checkpoint", best(folder), "--catalogue", str(path), "--output", str(target), "--draws", "1"]
    predict([*arguments, "--chunk_size", "64"])
    return read_table(target)


def written(table, way, place):
    path = place / ("in.fits" if way == "whole" else "in.parquet")
    write_table(table, path)
    return path


def refused(way, folder, path, place, capsys):
    """The one line the command fails with, after which nothing is there."""
    before = set(place.iterdir())
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        go(way, folder, path, place)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert "Traceback" not in "".join(lines)
    assert set(place.iterdir()) == before
    return errors[0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_bad_table_is_refused_in_one_line_and_nothing_written(case, way, folder, tmp_path, capsys):
    path, message = written(case.spoil(stars()), way, tmp_path), case.fit if way == "fit" else case.predicted
    if message is None:
        table = go(way, folder, path, tmp_path)
        assert len(table) == len(read_table(path))
        assert np.isfinite(np.asarray(table["p_member"])).all()
        return
    line = refused(way, folder, path, tmp_path, capsys)
    assert re.search(message, line), line
    assert str(path) in line or "stars are inside" in line, line


def test_the_table_is_good_but_for_what_is_wrong(folder):
    """The check itself can fail."""
    assert (folder / "runs" / "version_0" / "memberships.parquet").is_file()


@pytest.mark.parametrize(
    ("way", "share"), [("fit", 0.5), *((way, share) for way in ("whole", "streamed") for share in (0.02, 0.5, 0.999))]
)
def test_a_truncated_file_is_refused(share, way, folder, tmp_path, capsys):
    path = written(stars(), way, tmp_path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    line = refused(way, folder, path, tmp_path, capsys)
    assert re.search(f"{path.name}: cannot be read as (parquet|fits): .*; is the file complete", line), line


def test_a_parquet_file_with_a_broken_middle_leaves_no_parts(folder, tmp_path, capsys):
    path = tmp_path / "in.parquet"
    write_table(stars(), tmp_path / "whole.parquet")
    pq.write_table(pq.read_table(tmp_path / "whole.parquet"), path, row_group_size=100, use_dictionary=False)
    data = bytearray(path.read_bytes())
    middle = pq.read_metadata(path).row_group(1).column(1).data_page_offset
    data[middle : middle + 40] = b"\xff" * 40
    path.write_bytes(bytes(data))
    assert "is the file complete" in refused("streamed", folder, path, tmp_path, capsys)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_outside_or_has_no_place_is_kept_with_a_flag(way, folder, tmp_path):
    table = stars()
    table["phi2"][3], table["pm_phi1"][4], table["phi1"][5], table["phi2"][6] = 40.0, -70.0, np.nan, np.nan
    found = go(way, folder, written(table, way, tmp_path), tmp_path)
    if way == "fit":
        found = read_table(tmp_path / "runs" / "version_0" / "memberships.parquet")
    assert found["source_id"].tolist() == table["source_id"].tolist()
    inside = np.asarray(found["in_window"])
    assert np.flatnonzero(~inside).tolist() == [3, 4, 5]
    assert np.asarray(found["n_missing"])[[3, 6, 7]].tolist() == [0, 1, 0]
    p = np.stack([np.asarray(found["p_stream"]), np.asarray(found["p_background"])])
    assert p[:, [3, 4]].tolist() == [[0, 0], [1, 1]]
    names = ("p_stream", "p_background", "p_member", *(f"p_member_{q}" for q in QUANTILE_NAMES))
    assert np.isnan([np.asarray(found[name])[5] for name in names]).all()
    assert np.allclose(np.delete(p, 5, 1).sum(0), 1)


def test_identifiers_may_be_missing_and_named(folder, tmp_path, capsys):
    table = stars()
    table["source_id"] = MaskedColumn(table["source_id"], mask=np.arange(N) < 2)
    table["other"] = ["a"] * N
    path = written(table, "fit", tmp_path)
    go("streamed", folder, path, tmp_path)
    arguments = ["--config", str(folder / "config.yaml"), "--data.path", str(path), *to(tmp_path / "runs")]
    for name, said in {
        "other": "'other' has 300 rows that share an identifier, e.g. a in rows 0 and 1",
        "gone": "data.id",
    }.items():
        with pytest.raises(SystemExit):
            fit([*arguments, "--data.id", name])
        assert said in capsys.readouterr().err
    fit([*arguments, "--data.id="])


def test_copies_are_looked_for_within_a_chunk(folder, tmp_path, monkeypatch):
    """Of a catalogue that does not fit in memory not more is known at once; a membership is of one star alone."""
    monkeypatch.setattr("stream_mapper.prediction.streamed._PROBE", 64)
    table = stars()
    table["source_id"][250] = table["source_id"][4]
    assert len(go("streamed", folder, written(table, "streamed", tmp_path), tmp_path)) == N


def test_an_empty_part_of_a_catalogue_is_no_fault(folder, tmp_path):
    (tmp_path / "in").mkdir()
    for name, part in {"a": stars()[:0], "b": stars()}.items():
        write_table(part, tmp_path / "in" / f"{name}.parquet")
    arguments = ["--checkpoint", best(folder), "--output", str(tmp_path / "out"), "--draws", "1"]
    predict([*arguments, "--catalogue", str(tmp_path / "in")])
    assert {p.name: len(read_table(p)) for p in Path(tmp_path / "out").glob("*.parquet")} == {
        "a.parquet": 0,
        "b.parquet": N,
    }
