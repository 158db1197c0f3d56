"""What the page of a run has of its stars and numbers; test_browser.py looks at it."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from astropy.table import MaskedColumn, Table

from stream_mapper.__main__ import main as console
from stream_mapper.page import Stars, stars_of, write_page
from stream_mapper.page.numbers import quoted
from stream_mapper.page.parts import by_component, table_part
from stream_mapper.page.source import source_of

N = 1000


def memberships(several=False, **other):
    """A table of memberships, its likeliest star first."""
    p = np.linspace(1, 0, N)
    columns = {"source_id": 2**62 + np.arange(N), "ra": np.linspace(0, 359, N), "dec": np.linspace(-90, 90, N)}
    columns |= {"p_stream": p, "p_background": 1 - p, "p_member": p, "p_member_05": p / 2, "p_member_95": p}
    columns |= {"p_spur": 0 * p} if several else {}
    columns |= {"in_window": np.arange(N) % 10 > 0} | other
    return Table({name: np.full(N, x) if np.ndim(x) == 0 else x for name, x in columns.items()})


def run_tables(table, names=("phi1", "phi2"), components=("stream", "background")):
    """As much of the tables of a run as the page reads."""
    inside = np.asarray(table["in_window"])
    values = {name: np.arange(N, dtype=float)[inside] + i for i, name in enumerate(names)}
    model = SimpleNamespace(coord_names=names[1:], components=dict.fromkeys(components), parts=lambda: [])
    intake = SimpleNamespace(id_of=lambda found: "source_id" if "source_id" in found else None)
    shown = lambda: (table[inside], values)  # noqa: E731
    return SimpleNamespace(place="phi1", model=model, intake=intake, memberships=table, shown=shown)


def test_stars_are_those_of_the_window_in_the_order_of_membership():
    stars = stars_of(run_tables(memberships()))
    assert len(stars.id) == stars.total == 900
    assert stars.sampled == ""
    assert (np.diff(stars.p[:, 0]) > 0).all()
    assert stars.id[-1] == str(2**62 + 1)  # exact, and the first is outside the window
    assert stars.coordinates["phi2"][-1] == 2
    assert stars.icrs[-1, 0] == pytest.approx(359 / 999)
    assert stars.components == {}


def test_of_many_stars_every_likely_one_is_shown():
    p = np.r_[np.full(50, 0.5), np.full(N - 50, 0.001)]
    stars = stars_of(run_tables(memberships(p_member=p, in_window=True)), most=200)
    assert len(stars.id) == 200
    assert (stars.p[:, 0] == 0.5).sum() == 50
    assert "200 of 1,000 stars" in stars.sampled
    assert stars.lowest == 0.01
    others = stars.coordinates["phi1"][:150]
    assert others.min() < 110
    assert others.max() > 940
    assert len(stars_of(run_tables(memberships(p_member=np.full(N, 0.5), in_window=True)), most=200).id) == N


def test_stars_without_identifier_or_place_on_the_sky_have_their_row():
    table = memberships()
    table.remove_columns(["source_id", "ra"])
    stars = stars_of(run_tables(table))
    assert (stars.id_name, stars.id[-1], stars.icrs) == ("row", "1", None)


def test_identifiers_that_are_missing_and_stars_without_membership():
    p = np.where(np.arange(N) == 1, np.nan, np.linspace(1, 0, N))
    id_ = MaskedColumn(np.arange(N), mask=np.arange(N) == 2)
    stars = stars_of(run_tables(memberships(p_member=p, source_id=id_)))
    assert len(stars.id) == 899
    assert stars.id[-2:] == ["3", ""]


def test_only_probabilities_that_were_computed_are_shown():
    table = memberships(several=True, p_member_05=np.nan, p_member_95=np.nan)
    source = source_of(stars_of(run_tables(table, components=("stream", "spur", "background"))))
    assert list(source.titles.values()) == ["source_id", "ra", "dec", "phi1", "phi2", "p_member", "p_stream", "p_spur"]
    assert source.model.data["x0"].dtype == np.float32
    assert source.model.data["ra"].dtype == np.float64


def of_run():
    """Tables of a run of two streams, the second of which is densest at phi1 = 1."""
    phi1 = np.array([0.0, 1.0, 2.0] * 2)
    whose = ["stream"] * 3 + ["spur"] * 3
    track = {"component": whose, "phi1": phi1, "supported": [True] * 5 + [False], "phi2": phi1, "phi2_05": phi1 - 0.013}
    track |= {"phi2_95": phi1 + 0.013, "distance": [8.0, 8.1, 8.2, np.nan, np.nan, np.nan]}
    density = {"component": whose, "phi1": phi1, "density": [5.0, 4, 3, 1, 2, 9]}
    components = {"component": ["stream", "spur", "member"], "members": [1234.4, 20.2, 1254.6]}
    components |= {"members_05": [1200.0, 12, 1220], "members_95": [1260.0, 29, 1290]}
    return {name: Table(x) for name, x in {"track": track, "density": density, "components": components}.items()}


def test_numbers_have_bands_and_sensible_digits():
    numbers = quoted({"in_window": 14652, "above_0.9": 1200}, of_run())
    assert numbers.components == ["stream", "spur", "all"]
    rows = {row.label: row.cells for row in numbers.rows}
    assert rows["stars in the window"] == ["", "", "14,652"]
    assert rows["members"] == ["1,234 (1,200 to 1,260)", "20 (12 to 29)", "1,255 (1,220 to 1,290)"]
    assert rows["φ₂"] == ["0.000 (-0.013 to 0.013)", "1.000 (0.987 to 1.013)", ""]  # each where it is densest
    assert rows["distance"] == ["8", "", ""]
    assert "spur at φ₁ = 1.00" in numbers.note


def test_numbers_of_a_run_without_tables():
    assert quoted({}, {}).rows == []


def test_worst_outcome_of_each_check_is_shown():
    rows = [("bounds", "a", "ok"), ("bounds", "a", "fail"), ("bounds", "b", "note"), ("support", "", "ok")]
    grid = by_component(Table(rows=rows, names=("name", "component", "verdict")))
    assert grid.head == ["check", "a", "b", "all stars"]
    assert grid.rows == [["bounds", "fail", "note", ""], ["support", "", "", "ok"]]


def test_text_of_users_is_escaped(tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    stars = Stars(
        *("phi1", {"phi1": np.arange(3.0), evil: np.arange(3.0)}, np.full((3, 3), 0.5), {evil: np.ones(3)}),
        *([evil] * 3, evil, None, [], None, 3),
    )
    tables = of_run() | {"members": Table({evil: [evil]})}
    (tmp_path / "config.yaml").write_text(evil)
    page = write_page(tmp_path, tables, {"verdict": evil, evil: 1}, {"OBJECT": evil, evil: evil}, stars).read_text()
    assert "<script>alert" not in page
    assert not re.search(r"<img(?! alt)", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
    assert "&lt;script&gt;alert(1)" in page


def test_page_without_stars_says_why(tmp_path):
    page = write_page(tmp_path, of_run(), {}, {}, None, "no <checkpoint>").read_text()
    assert "The stars are not shown: no &lt;checkpoint&gt;." in page
    assert "BokehJS" not in page
    assert len(page) < 20_000


def test_report_of_a_run_whose_checkpoint_cannot_be_read(tmp_path, capsys):
    (tmp_path / "metrics.json").write_text('{"verdict": "believable", "stars": 3}')
    (tmp_path / "checkpoints").mkdir()
    torch.save({"weights": torch.zeros(1)}, tmp_path / "checkpoints" / "best.ckpt")
    console(["report", str(tmp_path)])
    page = (tmp_path / "report.html").read_text()
    assert "The stars are not shown" in page
    assert "believable" in page


@pytest.mark.parametrize(
    ("metrics", "options", "message"),
    [
        ("[1, 2]", [], "metrics.json: holds a list, not numbers by name"),
        ('{"verdict": ', [], "metrics.json: is not complete"),
        ('{"stars": 3}', ["--figures"], "its figures cannot be drawn"),
    ],
)
def test_a_run_of_which_there_is_no_report_is_refused_in_a_line(metrics, options, message, tmp_path, capsys):
    (tmp_path / "metrics.json").write_text(metrics)
    with pytest.raises(SystemExit) as stop:
        console(["report", str(tmp_path), *options])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "report.html").exists()


def test_a_number_of_a_table_and_its_quantiles_are_one_column():
    given = {"kind": ["gap"], "phi1": [-20.123], "phi1_05": [-20.4], "phi1_95": [-19.8], "width_05": [1.0], "z": [7.0]}
    table = Table(given)
    table["phi1"].unit = "deg"
    (grid,) = table_part("features", "Gaps", table).tables
    assert grid.head == ["kind", "phi1 [deg]", "width_05", "z"]  # a quantile of nothing stays what it is
    assert grid.rows == [["gap", "-20.12 (-20.40 to -19.80)", "1", "7"]]
