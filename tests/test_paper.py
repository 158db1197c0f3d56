"""Figures for a paper show what the stars, the fit and the guides say."""

import math
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from astropy.table import Table
from small_models import mixture, normal

import stream_mapper as sml
from stream_mapper.errors import InputError
from stream_mapper.paper import Figures
from stream_mapper.paper.counts import density_and_weight, widths
from stream_mapper.paper.cuts import windows_and_guides
from stream_mapper.paper.overview import overview
from stream_mapper.paper.sky import density_map, smoothed
from stream_mapper.paper.slices import colour_magnitude_slices, on_and_off
from stream_mapper.paper.style import ONE_COLUMN, TWO_COLUMNS
from stream_mapper.paper.subject import Component, Guide, Subject, subject_of
from stream_mapper.paper.tracks import track_residuals
from stream_mapper.prior import ControlRegions
from stream_mapper.results.annotation import Intake
from stream_mapper.results.run_folder import RunTables
from stream_mapper.windows import Window, WindowAlong

N, MEMBERS = 6000, 1500
PLACES = np.linspace(-10, 10, 41)
OFF = 0.05  # deg that the members lie above the track of the fit
CURVE = np.array([[8.0, 7.2], [4.0, 3.8], [0.0, -0.6]])
DRAWN = {
    "overview": overview,
    "track_residuals": track_residuals,
    "density_and_weight": density_and_weight,
    "widths": widths,
    "density_map": density_map,
    "colour_magnitude_slices": colour_magnitude_slices,
    "windows_and_guides": windows_and_guides,
}


def banded(name, values, spread):
    steps = {"": 0, "_05": -1.6, "_16": -1, "_84": 1, "_95": 1.6}
    return {f"{name}{q}": np.broadcast_to(values + z * spread, len(PLACES)) for q, z in steps.items()}


def whole(columns):
    return Table({name: np.broadcast_to(x, len(PLACES)) for name, x in columns.items()})


@pytest.fixture(scope="module")
def subject():
    """A thin stream above its own track, its stars on the curve at modulus 15, over an even field."""
    rng = np.random.default_rng(0)
    member = np.arange(N) < MEMBERS
    phi1 = rng.uniform(-10, 10, N)
    height = rng.uniform(0, 8, N)
    stars = {
        "phi1": phi1,
        "phi2": np.where(member, OFF + 0.1 * rng.normal(size=N), rng.uniform(-3, 3, N)),
        "pm": np.where(member, rng.normal(2, 0.2, N), rng.uniform(-5, 5, N)),
        "pm_err": np.full(N, 0.1),
        "g": np.where(member, 15 + height, rng.uniform(15, 23, N)),
    }
    colour = np.interp(height, CURVE[::-1, 0], (CURVE[:, 0] - CURVE[:, 1])[::-1])
    stars["r"] = stars["g"] - np.where(member, colour, rng.uniform(-0.5, 1.5, N))
    p = np.where(member, 1.0, 0.0)
    track = {"component": ["stream"] * len(PLACES), "phi1": PLACES, "weight": 0.25, "supported": True}
    for name, centre, width in (("phi2", 0.0, 0.1), ("pm", 2.0, 0.2), ("distmod", 15.0, 0.02)):
        track |= banded(name, centre, 0.01) | banded(f"{name}_sigma", width, width / 10)
    density = {"component": ["stream"] * len(PLACES), "phi1": PLACES, "total_density": 300.0}
    density |= banded("weight", 0.25, 0.01) | banded("density", 75.0, 3.0)
    features = Table({"component": ["stream"], "kind": ["gap"], "phi1": [2.0], "width": [1.0]})
    stream = Component("stream", "C0", p, "phi1", whole(track), whole(density))
    guides = [Guide("stream", "phi2", np.array([-5.0, 5.0]), np.array([0.2, 0.2]), np.array([0.5, 0.4]))]
    open_above = {"phi2": Window(-3.0, 3.0), "pm": WindowAlong([-10.0, 10.0], -5.0, None)}
    beyond = {"phi1": np.array([11.0, 12.0]), "phi2": np.array([4.0, 4.0])}
    off = np.abs(stars["phi2"]) > 1
    names = ["phi2", "pm", "distmod"]
    return Subject("phi1", stars, p, [stream], names, features, guides, open_above, ["g", "r"], CURVE, beyond, off)


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_as_wide_as_columns_and_leave_the_settings_alone(subject, name, tmp_path):
    before = dict(mpl.rcParams)
    figure = DRAWN[name](subject)
    assert dict(mpl.rcParams) == before
    assert figure.get_figwidth() == (ONE_COLUMN if name == "widths" else TWO_COLUMNS)
    assert figure.get_figheight() < 9.3
    figure.savefig(tmp_path / "figure.png", dpi=40)


def test_the_legend_of_several_components_is_inside_the_figure(subject):
    first = subject.components[0]
    figure = widths(replace(subject, components=[first, *(replace(first, name=f"spur {i}") for i in range(3))]))
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width


def of_label(axes, label):
    return [one for one in axes.get_lines() if one.get_label() == label]


def test_means_of_the_members_lie_where_the_stars_are(subject):
    figure = track_residuals(subject, {"others": sml.Track([-8.0, 8.0], {"phi2": [0.1, 0.3]})})
    below = figure.axes[1]
    ((values, errors),) = [
        (container.lines[0].get_ydata(), container.lines[2][0].get_segments())
        for container in below.containers
        if container.get_label() == "mean of members"
    ]
    half = np.array([np.ptp(np.asarray(bar)[:, 1]) / 2 for bar in errors])
    assert len(values) == 16
    assert half == pytest.approx(0.1 / math.sqrt(MEMBERS / 16), rel=0.3)
    assert np.mean((values - OFF) ** 2 / half**2) == pytest.approx(1, abs=0.8)
    (others,) = of_label(below, "others")
    np.testing.assert_allclose(others.get_ydata(), [0.1, 0.3])


def test_guides_and_windows_are_where_they_were_given(subject):
    figure = windows_and_guides(subject)
    sky, motion = figure.axes
    (bars,) = [one for one in sky.containers if one.get_label() == "guides of stream"]
    ends = np.array([np.asarray(bar)[:, 1] for bar in bars.lines[2][0].get_segments()])
    np.testing.assert_allclose(np.sort(ends, axis=1), [[-0.3, 0.7], [-0.2, 0.6]])
    assert [line.get_ydata()[0] for line in of_label(sky, "window")] == [-3, 3]
    assert [line.get_ydata()[0] for line in of_label(motion, "window")] == [-5]  # the other side is open
    sizes = [len(one.get_offsets()) for one in sky.collections]
    off = int(subject.off_stream.sum())
    assert {2, off, N - off} <= set(sizes)


def test_stars_on_and_off_the_stream(subject):
    on, off = on_and_off(subject)
    member = subject.p > 0.5
    inside = math.erf((2 - 0.5) / math.sqrt(2)) / 2 + math.erf((2 + 0.5) / math.sqrt(2)) / 2  # 2 widths, 0.5 off
    assert on[member].mean() == pytest.approx(inside * math.erf(2 / math.sqrt(2)), abs=0.03)
    assert not off[member].any()
    assert on[~member].mean() == pytest.approx(0.4 / 6 * 0.9 / 10, rel=0.3)
    assert off[~member].mean() == pytest.approx(5 / 6 * 0.9 / 10, rel=0.2)


def test_the_difference_of_the_diagrams_is_the_stream(subject):
    """The counts add up to the members that are on it, and lie along the curve."""
    figure = colour_magnitude_slices(subject, 2)
    images = [image for axes in figure.axes for image in axes.get_images()]
    assert len(images) == 2
    member = (subject.p > 0.5) & on_and_off(subject)[0]
    assert sum(image.get_array().sum() for image in images) == pytest.approx(member.sum(), rel=0.1)
    (line,) = of_label(figure.axes[0], "isochrone at the fitted distance of the middle")
    np.testing.assert_allclose(line.get_ydata(), 15 + CURVE[:, 0])


def test_without_stars_off_the_stream_there_is_no_difference(subject):
    near = np.abs(subject.stars["phi2"]) < 0.3
    one = replace(subject.components[0], p=subject.p[near])
    few = {name: values[near] for name, values in subject.stars.items()}
    figure = colour_magnitude_slices(replace(subject, stars=few, p=subject.p[near], components=[one]))
    assert [image for axes in figure.axes for image in axes.get_images()] == []


def test_the_map_is_stars_per_square_degree_up_to_the_edges(subject):
    everywhere, members = (axes.get_images()[0].get_array().T for axes in density_map(subject).axes[:2])
    assert np.nanmean(everywhere) == pytest.approx(N / 120, rel=0.02)
    field = N - MEMBERS
    assert np.nanmean(everywhere[:, [0, 1, -2, -1]]) == pytest.approx(field / 120, rel=0.2)
    assert np.nanmean(members) == pytest.approx(MEMBERS / 120, rel=0.02)
    assert np.nanmax(members[:, :30]) < 1e-3


def test_smoothing_keeps_the_sum_and_has_the_width_it_is_told():
    edges = np.linspace(0, 10, 101), np.linspace(0, 5, 51)
    counts = np.zeros((100, 50))
    counts[50, 25] = 7.0
    found = smoothed(counts, (0.5, 0.3), edges)
    middles = [0.5 * (places[1:] + places[:-1]) for places in edges]
    assert found.sum() == pytest.approx(7)
    for axis, width in enumerate((0.5, 0.3)):
        law = found.sum(1 - axis) / 7
        mean = (law * middles[axis]).sum()
        assert math.sqrt((law * (middles[axis] - mean) ** 2).sum()) == pytest.approx(width, rel=0.01)


def test_what_cannot_be_drawn_says_why(subject):
    with pytest.raises(InputError, match="need an isochrone"):
        colour_magnitude_slices(replace(subject, bands=[], curve=None))
    with pytest.raises(InputError, match="needs phi2"):
        density_map(replace(subject, stars={"phi1": subject.places}))
    with pytest.raises(InputError, match="no window and no guides"):
        windows_and_guides(replace(subject, windows={}, guides=[]))


@pytest.fixture
def tables():
    """The tables of a run of a model with a guide, two of whose stars are outside."""
    guided = lambda: normal(  # noqa: E731
        sml.builtin.TruncatedNormal,
        net=sml.nn.Constant(2),
        coord_bounds={"phi2": (-2.0, 3.0)},
        priors=[ControlRegions("phi2.mu", [0.0], [0.5], 0.25)],
    )
    model = mixture("stream", stream=guided, net=sml.nn.Constant(1)).eval()
    n = 200
    stars = sml.Data({"phi1": torch.linspace(-10, 10, n), "phi2": torch.linspace(-2.1, 3, n)})
    table = Table({"p_member": np.full(n, 0.5), "p_stream": np.full(n, 0.5), "in_window": stars["phi2"].numpy() > -2})
    track = {"component": ["stream"] * 5, "phi1": np.linspace(-10, 10, 5), "supported": [False, True, True, True, True]}
    track |= {"phi2": np.zeros(5), "phi2_sigma": np.ones(5)}
    density = {"component": ["stream"] * 5, "phi1": np.linspace(-10, 10, 5), "weight": np.full(5, 0.5)}
    density |= {"density": np.full(5, 5.0), "total_density": np.full(5, 10.0)}
    return RunTables(model, Intake.of_model(model), table, Table(track), Table(density), stars)


def test_what_figures_are_of_comes_from_the_tables_of_a_run(tables):
    subject = subject_of(tables, sml.selection.Cut({"phi2": (0.0, 3.0)}))
    (stream,) = subject.components
    assert len(subject.p) + len(subject.outside["phi2"]) == len(tables.memberships)
    assert (subject.off_stream == (subject.stars["phi2"] >= 0)).all()
    assert stream.of("phi1").tolist() == [-5, 0, 5, 10]
    assert np.isnan(stream.at("phi2", np.array([-7.0, 0.0]))).tolist() == [True, False]
    (guide,) = subject.guides
    assert (guide.component, guide.name, guide.center[0], guide.width[0]) == ("stream", "phi2", 0.5, 0.25)
    assert subject.windows["phi2"].extent == (-2.0, 3.0)


def test_figures_are_written_in_the_formats_asked_for(tables, tmp_path, monkeypatch):
    figures = Figures(lambda: tables)
    assert figures.subject is figures.subject
    names = set(dict(figures._ours()))
    assert names == {"overview", "track_residuals", "widths", "density_and_weight", "density_map", "windows_and_guides"}
    monkeypatch.setattr(Figures, "__call__", lambda self: {"widths": self.widths()})
    paths = figures.write(tmp_path / "figures")
    assert {path.name for path in paths} == {"widths.png", "widths.pdf"}
    assert (tmp_path / "figures" / "widths.pdf").read_bytes()[:4] == b"%PDF"
    with pytest.raises(InputError, match=r"no \['docx'\]"):
        figures.write(tmp_path, ("docx",))
