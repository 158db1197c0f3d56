"""Tables as other programs write them: what a file says is what is read, or it is refused in one line."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.io import fits, votable
from astropy.table import MaskedColumn, Table

from stream_mapper.catalog import Reading, load, read_table, write_table
from stream_mapper.catalog.formats.voparquet import CONTENT, VERSION
from stream_mapper.errors import InputError

CUT = "may have been cut short"


# FITS -----------------------------------------------------------------------------------------------------------------


def scaled_fits(path, kind, values, **cards):
    """A table with a column of integers whose header says more, as no writer of astropy's lets it."""
    stars = np.array(
        list(zip(np.arange(float(len(values))), values, strict=True)), dtype=[("phi1", ">f8"), ("g", kind)]
    )
    fits.BinTableHDU(stars).writeto(path)
    raw = bytearray(path.read_bytes())
    end = raw.find(b"END" + b" " * 77, 2880)
    text = "".join(f"{key:<8}= {value:>20}".ljust(80) for key, value in cards.items()) + "END".ljust(80)
    raw[end : end + len(text)] = text.encode()
    path.write_bytes(bytes(raw))


SCALED = {
    "a scale": (">i2", [1800, -32768, 1900], {"TNULL2": -32768, "TSCAL2": 0.01, "TZERO2": 0.0}, [18.0, None, 19.0]),
    "an offset": (">i4", [1, 7, 3], {"TNULL2": 7, "TSCAL2": 1.0, "TZERO2": 10.5}, [11.5, None, 13.5]),
    "a value like the null": (">i2", [1, 5, 2], {"TNULL2": 5, "TSCAL2": 5.0, "TZERO2": 0.0}, [5.0, None, 10.0]),
    "signed bytes": ("u1", [128, 255, 0], {"TNULL2": 255, "TZERO2": -128}, [0.0, None, -128.0]),
    "unsigned integers": (">i2", [-32767, 5, 3], {"TNULL2": 5, "TZERO2": 32768}, [1.0, None, 32771.0]),
    "no scale": (">i2", [18, -1, 19], {"TNULL2": -1}, [18.0, None, 19.0]),
    "no null": (">i2", [1800, -5, 1900], {"TSCAL2": 0.01, "TZERO2": 0.0}, [18.0, -0.05, 19.0]),
}


@pytest.mark.parametrize(("kind", "values", "cards", "expected"), SCALED.values(), ids=SCALED)
def test_a_null_of_fits_is_the_number_in_the_file(kind, values, cards, expected, tmp_path):
    path = tmp_path / "t.fits"
    scaled_fits(path, kind, values, **cards)
    column = read_table(path)["g"]
    found = [None if value is np.ma.masked else float(value) for value in column]
    assert found == [None if value is None else pytest.approx(value) for value in expected]


@pytest.mark.parametrize("suffix", ["fits", "parquet", "ecsv", "vot", "csv"])
def test_small_integers_stay_numbers(suffix, tmp_path):
    """Astropy writes bytes with a sign as booleans to FITS, and not at all to VOTables."""
    table = Table({"n": np.array([-100, 0, 100], np.int8)})
    table["m"] = MaskedColumn(np.array([1, 2, 3], np.int8), mask=[0, 1, 0])
    write_table(table, tmp_path / f"t.{suffix}")
    read = read_table(tmp_path / f"t.{suffix}")
    assert [int(n) for n in read["n"]] == [-100, 0, 100]
    assert np.ma.getmaskarray(np.ma.asarray(read["m"])).tolist() == [False, True, False]


def test_unsigned_integers_with_gaps_come_back(tmp_path):
    table = Table({"n": MaskedColumn(np.array([0, 7, 65535], np.uint16), mask=[0, 1, 0])})
    write_table(table, tmp_path / "t.fits")
    assert read_table(tmp_path / "t.fits")["n"].tolist() == [0, None, 65535]


# VOTable --------------------------------------------------------------------------------------------------------------


def vot(path, fields='<FIELD name="phi1" datatype="double" unit="deg"/>', rows=("1",), before="", after="", tables=1):
    data = "".join(f"<TR>{''.join(f'<TD>{cell}</TD>' for cell in row.split())}</TR>" for row in rows)
    table = f"<TABLE>{fields}<DATA><TABLEDATA>{data}</TABLEDATA></DATA></TABLE>" * tables
    path.write_text(
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
        f"{before}{table}{after}</RESOURCE></VOTABLE>"
    )
    return path


def status(value, text=""):
    return f'<INFO name="QUERY_STATUS" value="{value}">{text}</INFO>'


@pytest.mark.filterwarnings("ignore")
def test_columns_of_a_votable_are_called_by_their_names(tmp_path):
    fields = (
        '<FIELD ID="col_0" name="phi1" datatype="double"/><FIELD ID="SOURCE_ID" name="source_id" datatype="long"/>'
        '<FIELD name="E(B-V)" datatype="double" unit="mag"/><FIELD ID="x" name="a.b c" datatype="double"/>'
    )
    path = vot(tmp_path / "t.vot", fields, ["1 7 0.1 2"])
    assert read_table(path).colnames == ["phi1", "source_id", "E(B-V)", "a.b c"]
    assert load(path, ["ebv"])[0]["ebv"].item() == pytest.approx(0.1)


@pytest.mark.parametrize("place", ["before", "after"])
def test_an_answer_that_was_cut_short_is_said_to_be(place, tmp_path, caplog):
    path = vot(tmp_path / "t.vot", **{"before": status("OK"), "after": ""} | {place: status("OVERFLOW")})
    read_table(path)
    assert "QUERY_STATUS is OVERFLOW: the archive cut the answer short" in caplog.text
    caplog.clear()
    read_table(vot(path, before=status("OK")))
    assert caplog.text == ""


VOTABLES = {
    "the error of a query": (
        {"before": status("ERROR", "no such column gmag")},
        "query that failed: no such column gmag",
    ),
    "two tables": ({"tables": 2}, "holds 2 tables"),
    "no table": ({"tables": 0}, "holds 0 tables"),
    "two columns of a name": (
        {
            "fields": '<FIELD ID="a" name="g" datatype="double"/><FIELD ID="b" name="g" datatype="double"/>',
            "rows": ["1 2"],
        },
        r"more than one column is called \['g'\]",
    ),
}


@pytest.mark.parametrize(("kwargs", "says"), VOTABLES.values(), ids=VOTABLES)
def test_a_votable_that_is_no_table_of_stars_is_refused(kwargs, says, tmp_path):
    with pytest.raises(InputError, match=says):
        read_table(vot(tmp_path / "t.vot", **kwargs))


# CSV and ECSV ---------------------------------------------------------------------------------------------------------

WHOLE = "source_id,phi1,phi2\n1,1.25,3.5\n2,2.25,13.7512\n"
ECSV = "# %ECSV 1.0\n# ---\n# delimiter: ','\n# datatype:\n" + "".join(
    f"# - {{name: {name}, datatype: {kind}}}\n"
    for name, kind in (("source_id", "int64"), ("phi1", "float64"), ("phi2", "float64"))
)


@pytest.mark.parametrize("header", ["", ECSV], ids=["csv", "ecsv"])
@pytest.mark.parametrize("cut", range(1, 22))
def test_a_table_of_text_that_was_cut_is_refused_or_said_to_be(header, cut, tmp_path, caplog):
    """At every place in its last row."""
    path = tmp_path / ("t.ecsv" if header else "t.csv")
    path.write_text((header + WHOLE)[:-cut])
    refused, rows = "", 0
    try:
        rows = len(read_table(path))
    except InputError as error:
        refused = str(error)
    to_the_row_before = rows == 1 and cut == len("2,2.25,13.7512\n")
    assert "is the file complete?" in refused or CUT in caplog.text or to_the_row_before


@pytest.mark.parametrize("header", ["", ECSV], ids=["csv", "ecsv"])
@pytest.mark.parametrize("text", [WHOLE, "\ufeff" + WHOLE, WHOLE + "\n\n", WHOLE.replace("\n", "\r\n")])
def test_a_whole_table_of_text_is_read(header, text, tmp_path, caplog):
    """With the mark of a Windows editor, with empty lines, with its line ends."""
    path = tmp_path / ("t.ecsv" if header else "t.csv")
    mark = text.startswith("\ufeff")
    path.write_bytes(("\ufeff" * mark + header + text.removeprefix("\ufeff")).encode())
    table = read_table(path)
    assert table.colnames == ["source_id", "phi1", "phi2"]
    assert table["phi2"].tolist() == [3.5, 13.7512]
    assert caplog.text == ""


@pytest.mark.parametrize("null", ["null", "NULL", ""])
@pytest.mark.parametrize("header", ["", ECSV], ids=["csv", "ecsv"])
def test_a_null_in_text_is_a_missing_number(null, header, tmp_path):
    path = tmp_path / ("t.ecsv" if header else "t.csv")
    path.write_text(header + WHOLE.replace("13.7512", null))
    data, _ = load(path, ["phi1", "phi2"])
    assert data.where["phi2"].tolist() == [True, False]


def test_a_name_null_stays_a_name_in_ecsv(tmp_path):
    path = tmp_path / "t.ecsv"
    path.write_text(ECSV + "# - {name: label, datatype: string}\nsource_id,phi1,phi2,label\n1,1.5,null,null\n")
    assert read_table(path)["label"].tolist() == ["null"]


TEXTS = {
    "Latin-1": ("phi1,phi2\n1,2\n# L\u00e9o\n".encode("latin-1"), r"is in another encoding, not in UTF-8 \(line 3\)"),
    "UTF-16": ("phi1,phi2\n1,2\n".encode("utf-16"), "is in UTF-16, not in UTF-8"),
    "a longer row": (b"phi1,phi2\n1,2\n1,2,3\n", "line 3 has 3 fields, the header 2"),
    "a shorter row": (b"a,b,c\n1,2,3\n1,2\n1,2,3\n", "line 3 has 2 fields, the header 3"),
    "a null byte": (b"a,b\n1,2\n1,\0\n", "line 3 has a null byte"),
    "two columns of a name": (b"a,a\n1,2\n", r"more than one column is called \['a'\]"),
    "nothing": (b"", "cannot be read|holds no columns"),
}


@pytest.mark.parametrize(("raw", "says"), TEXTS.values(), ids=TEXTS)
def test_a_csv_that_is_no_table_is_refused_in_one_line(raw, says, tmp_path):
    (tmp_path / "t.csv").write_bytes(raw)
    with pytest.raises(InputError, match=says) as refused:
        read_table(tmp_path / "t.csv")
    assert "\n" not in str(refused.value)


# VOParquet ------------------------------------------------------------------------------------------------------------


def voparquet(path, unit="rad", extra=""):
    """A Parquet file as STIL writes it, without a word of astropy."""
    xml = (
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
        f'<FIELD name="phi1" datatype="double" unit="{unit}" ucd="pos.eq.ra"><DESCRIPTION>a place</DESCRIPTION></FIELD>'
        f'<FIELD name="g" datatype="double" unit="mag"/>{extra}</TABLE></RESOURCE></VOTABLE>'
    )
    arrow = pa.table({"phi1": [0.1, 0.2], "g": [18.0, 19.0]})
    pq.write_table(arrow.replace_schema_metadata({VERSION: b"1.0", CONTENT: xml.encode()}), path)
    return path


def test_units_of_voparquet_are_read(tmp_path):
    path = voparquet(tmp_path / "t.parquet")
    table = read_table(path)
    assert table["phi1"].unit == u.rad
    assert table["phi1"].description == "a place"
    assert table["phi1"].meta["ucd"] == "pos.eq.ra"
    assert Reading(["phi1"]).load(path)[0]["phi1"].tolist() == pytest.approx(np.rad2deg([0.1, 0.2]), rel=1e-6)


def test_units_of_fields_of_arrow_are_read(tmp_path):
    schema = pa.schema([pa.field("phi1", pa.float64(), metadata={"unit": "rad"})])
    pq.write_table(pa.table({"phi1": [0.1]}, schema=schema), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["phi1"].unit == u.rad


def test_a_broken_header_of_voparquet_is_said(tmp_path, caplog):
    arrow = pa.table({"phi1": [0.1]}).replace_schema_metadata({CONTENT: b"<VOTABLE><TABLE>"})
    pq.write_table(arrow, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["phi1"].unit is None
    assert "cannot be read" in caplog.text


@pytest.mark.filterwarnings("ignore")
def test_what_we_write_is_voparquet(tmp_path):
    table = Table({"phi1": [1.0] * u.deg, "feh": [-2.0] * u.dex, "name": ["a"], "n": np.array([1], np.int8)})
    table["phi1"].description = "a place"
    write_table(table, tmp_path / "t.parquet")
    metadata = pq.read_schema(tmp_path / "t.parquet").metadata
    assert metadata[VERSION] == b"1.0"
    fields = {f.name: f for f in votable.parse(io.BytesIO(metadata[CONTENT])).get_first_table().fields}
    assert list(fields) == table.colnames
    assert fields["phi1"].unit == u.deg
    assert fields["phi1"].description == "a place"
    assert str(fields["feh"].unit) == "dex"
