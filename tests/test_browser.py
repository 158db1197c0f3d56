"""The page of a run in a browser: what a reader sees and does."""

import csv
import os
import re

import numpy as np
import pytest
from astropy.table import Table

from stream_mapper.page import Stars, write_page

browser = pytest.importorskip("browser", reason="tornado, which Bokeh needs, is not installed")
if browser.CHROMIUM is None:
    pytest.skip("no chromium or google-chrome is installed", allow_module_level=True)
if "STREAM_MAPPER_BROWSER" not in os.environ:
    pytest.skip("set STREAM_MAPPER_BROWSER, or run tox -e browser: it takes minutes", allow_module_level=True)

EVIL = "<script>document.title='evil'</script>\"'`&</script><img src=x onerror=\"document.title='evil'\">"
N = 2_000


def stars(n=N, photometry=("g", "r"), several=True, icrs=True, **other):
    """Stars of a field and of a stream at phi2 = phi1 / 10, in the order of their membership."""
    rng = np.random.default_rng(3)
    p = np.sort(np.clip(rng.beta(0.15, 0.9, n), 0, 1)).astype(np.float32).astype(float)
    phi1 = rng.uniform(-10, 10, n)
    columns = {"phi1": phi1, "phi2": np.where(p > 0.5, phi1 / 10 + rng.normal(0, 0.1, n), rng.uniform(-3, 3, n))}
    columns |= {name: rng.normal(0, 1, n) for name in ("pm_phi1", "pm_phi2", "parallax")}
    columns["parallax"][: n // 10] = np.nan
    columns |= {"g": rng.uniform(18, 22, n), "r": rng.uniform(17, 21, n)} if photometry else {}
    curve = np.array([[8.0, 7.5], [4.0, 3.8], [0.0, -0.6]]) if photometry else None
    return Stars(
        along="phi1",
        coordinates=columns,
        p=np.stack([p, p * 0.9, 1 - (1 - p) * 0.9], -1),
        components={"stream": p * 0.75, "spur" + EVIL: p * 0.25} if several else {},
        id=[str(2**62 + i) for i in range(n - 1)] + [EVIL],
        id_name=f"source_id,{EVIL}",
        icrs=np.stack([rng.uniform(0, 360, n), rng.uniform(-90, 90, n)], -1) if icrs else None,
        photometry=list(photometry),
        curve=curve,
        total=n,
        **other,
    )


def tables(distance=True):
    """What goes with them."""
    phi1 = np.linspace(-10, 10, 21)
    track = {"component": ["stream"] * 21, "phi1": phi1, "supported": np.abs(phi1) < 8, "phi2": phi1 / 10}
    track |= {"distmod": 14 + phi1 / 10} if distance else {}
    density = {"component": ["stream"] * 21, "phi1": phi1, "density": [3.0] * 21}
    checks = [("detection", "stream" + EVIL, "fail", EVIL, 1.0, 2.0), ("bounds", "stream", "ok", "fine", 0.0, 1.0)]
    names = ("name", "component", "verdict", "message", "value", "limit")
    return {"track": Table(track), "density": Table(density), "checks": Table(rows=checks, names=names)}


def write(folder, given, **other):
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(f"name: {EVIL}\n")
    metrics = {"verdict": "doubtful", "in_window": len(given.id)}
    return write_page(folder, tables(**other), metrics, {"OBJECT": "GD-1" + EVIL}, given)


@pytest.fixture(scope="module")
def window():
    with browser.Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("page"), stars())


@pytest.fixture
def page(window, written):
    window.open(written)
    return window


def set_threshold(window, value):
    change = "const t = document.querySelector('[data-testid=threshold]');"
    window.evaluate(f"{{ {change} t.value = '{value}'; t.dispatchEvent(new Event('input', {{bubbles: true}})); }}")
    window.wait(f"document.getElementById('threshold-value').textContent === '{value}'")


SETTLED = "new Promise(r => { let n = 0; const next = () => ++n > 5 ? r() : requestAnimationFrame(next); next(); })"


def frame(window, name):
    """Left, top, right and bottom of what a view draws in, in the window."""
    window.evaluate(f"document.getElementById('view-{name}').scrollIntoView({{ behavior: 'instant' }})")
    window.evaluate(f"({SETTLED})")
    of_view = f"Bokeh.index.find_one_by_id(Bokeh.documents[0].roots().find(r => r.name === '{name}').id)"
    inside = f"(() => {{ const v = {of_view}, b = v.frame.bbox, r = v.el.getBoundingClientRect();"
    return window.evaluate(inside + "return [r.x + b.left, r.y + b.top, r.x + b.right, r.y + b.bottom]; })()")


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def downloaded(window):
    for old in window.folder.iterdir():
        old.unlink()
    window.evaluate("document.querySelector('[data-testid=download]').click()")
    for _ in range(100):
        found = [path for path in window.folder.iterdir() if path.suffix == ".csv"]
        if found:
            return rows_of(found[0])
        window.evaluate("new Promise(r => setTimeout(r, 50))")
    raise AssertionError("nothing was downloaded")


def selected(window):
    return window.evaluate("Array.from(StreamPage.models().stars.selected.indices)")


def test_page_says_nothing_and_asks_for_nothing(page):
    assert page.errors == []
    assert page.requests == []
    assert page.text("verdict") == "doubtful"
    assert "evil" not in page.evaluate("document.title").split("<")[0]
    assert page.evaluate("document.title").startswith("GD-1<script>")  # as text


def test_threshold_counts_stars_and_contamination(page):
    p = stars().p[:, 0]
    for limit in (0.5, 0.9, 0.1):
        set_threshold(page, limit)
        assert int(page.text("members")) == (p > limit).sum()
        assert float(page.text("contamination")) == pytest.approx((1 - p)[p > limit].sum(), rel=0.06)


def test_box_on_the_sky_selects_in_every_view_and_in_the_file(page):
    given, (left, top, right, bottom) = stars(), frame(page, "sky")
    page.drag((left + 0.3 * (right - left), top + 5), (left + 0.6 * (right - left), bottom - 5))
    page.wait("StreamPage.models().stars.selected.indices.length > 0")
    rows = selected(page)
    phi1 = given.coordinates["phi1"]
    assert phi1[rows].min() == pytest.approx(-4, abs=0.3)
    assert phi1[rows].max() == pytest.approx(2, abs=0.3)
    inside = (
        (phi1 > phi1[rows].min() + 1e-4) & (phi1 < phi1[rows].max() - 1e-4) & (np.abs(given.coordinates["phi2"]) < 2.9)
    )
    assert set(np.flatnonzero(inside)) <= set(rows)
    views = "Bokeh.documents[0].roots().map(r => r.renderers ? r.renderers.map(g => g.data_source) : []).flat()"
    assert page.evaluate(f"{views}.filter(s => s === StreamPage.models().stars).length") == 4  # one source, four views
    head, *body = downloaded(page)
    assert head[0] == given.id_name
    assert {line[0] for line in body} == {given.id[row] for row in rows}
    column = head.index("phi1")
    np.testing.assert_allclose(sorted(float(line[column]) for line in body), np.sort(phi1[rows]), rtol=1e-6)
    assert re.match(rf"{len(rows)} selected", page.text("selected"))


def test_without_a_selection_the_file_has_the_stars_above_the_threshold(page):
    given = stars()
    set_threshold(page, 0.9)
    head, *body = downloaded(page)
    wanted = given.p[:, 0] > 0.9
    assert sorted(line[0] for line in body) == sorted(np.array(given.id)[wanted].tolist())
    p = [float(line[head.index("p_member")]) for line in body]
    assert p == sorted(p, reverse=True)
    np.testing.assert_allclose(p, given.p[wanted, 0][::-1], rtol=1e-7)
    ra = {line[0]: float(line[head.index("ra")]) for line in body}
    assert all(ra[one] == value for one, value in zip(np.array(given.id)[wanted], given.icrs[wanted, 0], strict=True))


def test_range_of_phi1_narrows_the_counts_and_moves_the_isochrone(page):
    given = stars()
    magnitudes = page.evaluate("Array.from(StreamPage.models().curve.data.magnitude)")
    assert magnitudes == pytest.approx([22, 18, 14], abs=1e-3)
    page.evaluate("{ const {along} = StreamPage.models(); along.start = 2; along.end = 6; }")
    page.wait("document.getElementById('from').textContent === '2.00'")
    phi1, p = given.coordinates["phi1"], given.p[:, 0]
    assert int(page.text("members")) == ((p > 0.5) & (phi1 > 2) & (phi1 < 6)).sum()
    moved = page.evaluate("Array.from(StreamPage.models().curve.data.magnitude)")
    assert moved == pytest.approx([22.4, 18.4, 14.4], abs=1e-3)
    page.evaluate("document.getElementById('everything').click()")
    page.wait("document.getElementById('from').textContent !== '2.00'")
    assert int(page.text("members")) == (p > 0.5).sum()


def test_links_lead_to_the_chosen_star(page):
    given = stars()
    assert page.evaluate("document.querySelector('[data-testid=simbad]').href") == ""
    page.evaluate("StreamPage.models().stars.selected.indices = [3, 1500, 7]")
    address = page.evaluate("decodeURIComponent(document.querySelector('[data-testid=simbad]').href)")
    ra, dec = given.icrs[1500]
    assert address.startswith("https://simbad.cds.unistra.fr/simbad/sim-coo?")
    assert f"{ra:.6f} {dec:+.6f}" in address
    assert f"{ra:.6f} {dec:+.6f}" in page.evaluate("decodeURIComponent(document.getElementById('aladin').href)")


def test_hovering_shows_the_star_as_text(page):
    where = "const s = StreamPage.models().stars, i = s.data.p.length - 1;"
    view = "const v = Bokeh.index.find_one_by_id(Bokeh.documents[0].roots().find(r => r.name === 'sky').id);"
    scales = "const {x_scale, y_scale} = v.frame, r = v.el.getBoundingClientRect();"
    left, top, *_ = frame(page, "sky")
    point = page.evaluate(
        f"(() => {{ {where} {view} {scales}"
        "return [r.x + x_scale.compute(s.data.x0[i]), r.y + y_scale.compute(s.data.x1[i])]; })()"
    )
    page.point((left + 3, top + 3))
    page.point(point)
    deep = "const all = n => [n, ...(n.shadowRoot ? all(n.shadowRoot) : []), ...[...n.childNodes].flatMap(all)];"
    shown = (
        f"(() => {{ {deep} return all(document.body).filter(n => n.nodeType === 3).map(n => n.data).join(' '); }})()"
    )
    page.wait(f"{shown}.includes('p_member_95:')")
    assert EVIL in page.evaluate(shown)
    assert page.evaluate("document.title").startswith("GD-1<script>")
    assert page.errors == []


SHAPES = {
    "no photometry": ({"photometry": ()}, {"distance": False}, ["overview", "sky", "proper-motions", "parallax"]),
    "no distance": ({}, {"distance": False}, ["overview", "sky", "proper-motions", "colour-magnitude", "parallax"]),
    "one stream, not on the sky": (
        {"several": False, "icrs": False},
        {},
        ["overview", "sky", "proper-motions", "colour-magnitude", "parallax"],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_only_what_is_there_is_shown(window, tmp_path, shape):
    given, other, views = SHAPES[shape]
    window.open(write(tmp_path, stars(**given), **other))
    assert window.evaluate("Bokeh.documents[0].roots().map(r => r.name).filter(n => n)") == views
    assert (window.errors, window.requests) == ([], [])
    assert window.evaluate("document.getElementById('simbad') !== null") == given.get("icrs", True)


def test_the_numbers_of_several_components_are_not_cut(window, tmp_path):
    columns = ("members", "begin", "feh")  # of these labels the last is as long as any
    banded = {name + end: [-28.12345, 7.12345, 1198.0] for name in columns for end in ("", "_05")}
    banded |= {f"{name}_95": [-28.0, 7.2, 1200.0] for name in columns}
    components = Table({"component": ["stream", "spur", "member"], **banded})
    (tmp_path / "figures").mkdir()
    window.open(write_page(tmp_path, tables() | {"components": components}, {"in_window": N}, {}, stars()))
    table = "document.querySelector('#glance .wide')"
    assert window.evaluate(f"{table}.querySelectorAll('th').length") == 4
    assert window.evaluate(f"{table}.scrollWidth <= {table}.clientWidth")
    assert window.evaluate(f"{table}.getBoundingClientRect().right <= document.documentElement.clientWidth")


def test_a_page_of_many_stars_is_small_and_quick(window, tmp_path):
    path = write(tmp_path, stars(100_000))
    assert path.stat().st_size < 15e6
    window.send("Performance.enable", timeDomain="threadTicks")  # not the drawing, which is a graphics card's

    def work():
        return {m["name"]: m["value"] for m in window.send("Performance.getMetrics")["metrics"]}["TaskDuration"]

    window.open(path)
    opened = work()
    set_threshold(window, 0.8)
    window.evaluate(SETTLED)
    changed = work() - opened
    print(f"{opened:.2f} s of work to open, {changed:.2f} s to change, {path.stat().st_size / 1e6:.1f} MB")
    assert opened < 5
    assert changed < 2
