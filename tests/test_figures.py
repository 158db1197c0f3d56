"""Figures show what their tables and the truth say."""

import numpy as np
import pytest
from astropy.table import Table, vstack

from stream_mapper.results.figures import along, figures

N, PHI1 = 400, np.linspace(-10, 10, 21)
CURVE = np.array([[8.0, 7.5, 7.2], [4.0, 3.8, 3.7], [0.0, -0.6, -0.9]])


def stars(**other):
    """Stars of a field, with the truth of a stream between phi1 -5 and 5."""
    rng = np.random.default_rng(0)
    phi1 = rng.uniform(-10, 10, N)
    there = np.where(np.abs(phi1) < 5, 0.2, 0.0)
    columns = {"phi1": phi1, "phi2": rng.normal(0, 1, N), "pm_phi1": rng.normal(0, 1, N), "pm_phi2": phi1}
    magnitudes = {"g": rng.uniform(18, 22, N), "r": rng.uniform(17, 21, N), "i": np.full(N, np.nan)}
    truth = {"true_weight": there, "true_phi2": phi1 / 10, "true_distance": np.full(N, 10.0)}
    return columns | magnitudes | truth | {"true_distance_sigma": np.full(N, 0.1)} | other


def track(component="stream", **other):
    columns = {"component": [component] * len(PHI1), "phi1": PHI1, "weight": 0.2, "supported": np.abs(PHI1) <= 5}
    for name, value in {"phi2": PHI1 / 10, "distmod": 15.0, "distance": 10.0}.items():
        columns |= {name: value, f"{name}_sigma": 0.1, f"{name}_05": value - 0.1, f"{name}_95": value + 0.1}
        columns |= {f"{name}_sigma_05": 0.06, f"{name}_sigma_95": 0.15}
    return Table({name: np.broadcast_to(x, len(PHI1)) for name, x in (columns | other).items()})


def density(component="stream", **other):
    weight = np.where(np.abs(PHI1) <= 5, 0.2, 0.001)
    columns = {"component": [component] * len(PHI1), "phi1": PHI1, "total_density": 20.0}
    for name, value in {"weight": weight, "density": 20 * weight}.items():
        columns |= {name: value, f"{name}_05": value / 2, f"{name}_95": np.where(weight > 0.1, 1.5 * value, 1e3)}
    return Table({name: np.broadcast_to(x, len(PHI1)) for name, x in (columns | other).items()})


def drawn(table=None, tracks=None, densities=None, photometry=("g", "r"), curve=CURVE[:, :2]):
    """Every figure by name."""
    table = stars() if table is None else table
    p = np.linspace(0, 1, N)
    return dict(figures(table, p, tracks or track(), densities or density(), photometry, curve))


@pytest.fixture(scope="module")
def usual():
    return drawn()


def line(axes, label):
    (found,) = [one for one in axes.get_lines() if one.get_label() == label]
    x, y = found.get_data()
    return np.asarray(x, dtype=float), np.asarray(y, dtype=float)


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()] if figure.legends else []


def test_every_figure_is_drawn(usual, tmp_path):
    assert list(usual) == ["sky", "proper_motions", "colour_magnitude", "weight", "density", "track", "widths"]
    for name, figure in usual.items():
        figure.savefig(tmp_path / f"{name}.png")


def test_legends_say_what_is_drawn(usual):
    everything = ["stream", "band: 5-95 %", "truth"]
    assert {name: legend(usual[name]) for name in ("sky", "weight", "density", "track", "widths")} == {
        "sky": everything[:2],
        "weight": everything,
        "density": [*everything[:2], "sum of p in bins", "truth"],
        "track": everything,
        "widths": everything,
    }
    for name in ("sky", "proper_motions", "colour_magnitude"):
        assert usual[name].axes[-1].get_ylabel() == "membership p (coloured: p > 0.1)"


def test_isochrone_at_the_streams_distance(usual):
    _, right, _ = usual["colour_magnitude"].axes
    colour, magnitude = line(right, "isochrone")
    assert np.allclose(colour, [0.5, 0.2, 0.6])
    assert np.allclose(magnitude, [8, 4, 0])
    points = right.collections[0].get_offsets()
    assert np.allclose(points[:, 1], stars()["g"] - 15)


def test_truth_beside_the_fit(usual):
    field = stars()
    order = np.argsort(field["phi1"])
    there = np.abs(field["phi1"][order]) < 5
    (weight,), (number,) = usual["weight"].axes, usual["density"].axes
    assert np.allclose(line(weight, "truth")[1], field["true_weight"][order])
    assert np.allclose(line(number, "truth")[1], 20 * field["true_weight"][order])
    expected = {
        "track": {r"$\phi_2$": field["phi1"][order] / 10, "distance modulus": 15.0, "distance": 10.0},
        "widths": {"distance modulus": 0.1 / 10 * 5 / np.log(10), "distance": 0.1},
    }
    for name, panels in expected.items():
        for coordinate, value in panels.items():
            (axes,) = [axes for axes in usual[name].axes if f"{coordinate} [" in axes.get_ylabel()]
            assert np.allclose(line(axes, "truth")[1], np.where(there, value, np.nan), equal_nan=True), coordinate


def drawn_along(p):
    return along(stars(), density(), np.abs(PHI1) <= 5, "density", "density", p)


def test_members_are_counted_in_bins_with_the_root_as_their_bar():
    (bars,) = drawn_along(p=np.linspace(0, 1, N)).axes[0].containers
    middle, values = bars.lines[0].get_data()
    width = 20 / 50
    assert values.sum() * width == pytest.approx(N / 2, rel=0.01)
    assert np.diff(middle).min() == pytest.approx(width, rel=0.01)
    ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
    np.testing.assert_allclose((ends[:, 1] - ends[:, 0]) / 2, np.sqrt(values / width), rtol=5e-3)


def test_axes_are_tight_about_lines_and_supported_bands(usual):
    assert usual["weight"].axes[0].get_ylim() == pytest.approx((0, 1.05 * 0.3))
    assert drawn_along(p=np.full(N, 0.001)).axes[0].get_ylim() == pytest.approx((0, 1.05 * 6.0))
    assert usual["track"].axes[-1].get_xlim() == pytest.approx((-10, 10), abs=0.2)


def test_the_track_is_drawn_where_it_is_supported(usual):
    for axes in (*usual["track"].axes, *usual["widths"].axes):
        assert line(axes, "stream")[0].tolist() == list(range(-5, 6))


def test_widths_are_drawn_with_their_bands(usual):
    for axes in usual["widths"].axes:
        (band,) = axes.collections
        heights = band.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == pytest.approx((0.06, 0.15))
    assert "band: 5-95 %" in legend(usual["widths"])


def test_a_component_without_a_coordinate_or_quantiles():
    part = track("spur", phi2_05=np.nan, phi2_95=np.nan)
    part.remove_columns([name for name in part.colnames if name.startswith("dist")])
    both = drawn(tracks=vstack([part, track()]), densities=vstack([density("spur"), density()]))
    first, *rest = both["track"].axes
    assert line(first, "spur")[0].tolist() == line(first, "stream")[0].tolist()
    assert all(one.get_label() != "spur" for axes in rest for one in axes.get_lines())
    assert legend(both["track"]) == ["spur", "stream", "band: 5-95 %", "truth"]
    assert len(both["colour_magnitude"].axes) == 3


def test_what_is_not_there_is_not_drawn():
    assert "colour_magnitude" not in drawn(photometry=("g", "i"))
    assert "colour_magnitude" not in drawn(photometry=(), curve=None)
    plain = {name: x for name, x in stars().items() if not name.startswith(("true_", "pm_"))}
    bare = drawn(plain, track()["component", "phi1", "weight", "supported", "phi2", "phi2_sigma"])
    assert list(bare) == ["sky", "colour_magnitude", "weight", "density", "track", "widths"]
    assert len(bare["colour_magnitude"].axes) == 2
    assert legend(bare["weight"]) == ["stream", "band: 5-95 %"]
    assert legend(bare["track"]) == ["stream"]


def test_a_stream_without_weight_has_empty_figures(tmp_path):
    nothing = {f"{name}{q}": 0.0 for name in ("weight", "density") for q in ("", "_05", "_95")}
    empty = drawn(tracks=track(supported=False), densities=density(**nothing))
    for name, figure in empty.items():
        figure.savefig(tmp_path / f"{name}.png")
    assert empty["weight"].axes[0].get_ylim()[1] > 0
