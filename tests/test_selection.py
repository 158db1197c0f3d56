"""Selections: what each lets in, how they combine, and what a fit and a prediction do with them."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from astropy import units as u
from astropy.coordinates import SkyCoord
from matplotlib.path import Path as Polyline

from stream_mapper import Data, Track, WindowAlong
from stream_mapper.builtin import Isochrone, Normal, Uniform
from stream_mapper.catalog import Reading, read_table, to_table, write_table
from stream_mapper.errors import InputError
from stream_mapper.fit import main as fit
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameters
from stream_mapper.predict import main as predict
from stream_mapper.results.annotation import Intake
from stream_mapper.selection import All, Any, ClusterMask, Cut, IsochroneBand, Not, OffStream, Polygon, TrackBand
from stream_mapper.simulate import main as simulate
from stream_mapper.training import CatalogueDataModule
from stream_mapper.training.cli import StreamCLI
from stream_mapper.training.cuts import warn_unlike_window

ROOT = Path(__file__).parent.parent
MOCK = ROOT / "experiments" / "mock" / "config.yaml"
CURVE = Isochrone.synthetic(("g", "r"))
TRACK = Track([-10.0, 10.0], {"phi2": [0.0, 2.0], "distmod": [14.0, 16.0]}, {"phi2": [0.5, 1.0]})
SQUARE = [(-1, -1), (1, -1), (1, 1), (-1, 1)]


def field(size=4000, dtype=torch.float32, seed=0):
    """Stars with everything, a tenth of each column missing."""
    generator = torch.Generator().manual_seed(seed)
    ranges = {"phi1": (-12, 12), "phi2": (-3, 3), "ra": (0, 360), "dec": (-90, 90), "g": (13, 24), "r": (13, 24)}
    columns = {
        name: (low + (high - low) * torch.rand(size, generator=generator, dtype=torch.float64)).to(dtype)
        for name, (low, high) in ranges.items()
    }
    columns["r"] = columns["g"] - 1.5 * torch.rand(size, generator=generator).to(dtype)
    columns |= {"g_err": torch.full((size,), 0.02, dtype=dtype), "r_err": torch.full((size,), 0.03, dtype=dtype)}
    lost = {name: torch.rand(size, generator=generator) < 0.1 for name in columns}
    return Data({name: values.masked_fill(lost[name], torch.nan) for name, values in columns.items()})


def _polygon(data):
    corners = [(-2, -2), (2, -1), (0, 0), (2, 2), (-3, 1)]
    points = np.stack([data["phi1"].double().numpy(), data["phi2"].double().numpy()], -1)
    return Polyline([*corners, corners[0]]).contains_points(points)


def _band(data):
    x = data["phi1"].double().numpy()
    off = np.abs(data["phi2"].double().numpy() - np.interp(x, [-10, 10], [0, 2]))
    return off <= np.interp(x, [-10, 10], [0.5, 1])


def _cone(data):
    stars = SkyCoord(data["ra"].double().numpy() * u.deg, data["dec"].double().numpy() * u.deg)
    return (stars.separation(SkyCoord(229.638 * u.deg, 2.081 * u.deg)) > 40 * u.deg).__array__()


def _isochrone(data):
    g, r, x = (data[name].double().numpy() for name in ("g", "r", "phi1"))
    absolute = g - np.interp(x, [-10, 10], [14, 16])
    nodes = CURVE.magnitudes.double().numpy()[::-1]  # M_g rises
    colour = np.interp(absolute, nodes[:, 0], nodes[:, 0] - nodes[:, 1])
    width = 0.1 + 2 * np.hypot(np.where(data.where["g_err"], 0.02, 0), np.where(data.where["r_err"], 0.03, 0))
    there = (absolute >= nodes[0, 0]) & (absolute <= nodes[-1, 0]) & (g >= 15) & (g <= 21)
    return there & (np.abs(g - r - colour) <= width)


# Selection, an independent answer for stars with everything, and the columns without which it cannot judge.
CASES = {
    "cut": (Cut({"g": (16, 21)}), lambda d: (d["g"] >= 16).numpy() & (d["g"] <= 21).numpy(), ["g"]),
    "open cut": (Cut({"phi2": (None, 1)}), lambda d: (d["phi2"] <= 1).numpy(), ["phi2"]),
    "cut by errors": (
        Cut({"g": (16, 21)}, errors=30.0),
        lambda d: ((d["g"] - 18.5).abs() <= 2.5 + 30 * d["g_err"]).numpy(),
        ["g", "g_err"],
    ),
    "colour": (Cut({"g - r": (0.2, 0.9)}), lambda d: ((d["g"] - d["r"] - 0.55).abs() <= 0.35).numpy(), ["g", "r"]),
    "polygon": (Polygon("phi1", "phi2", [(-2, -2), (2, -1), (0, 0), (2, 2), (-3, 1)]), _polygon, ["phi1", "phi2"]),
    "band": (TrackBand("phi2", track=TRACK), _band, ["phi1", "phi2"]),
    "band in numbers": (
        TrackBand("phi2", [0.5, 1.0], phi1=[-10, 10], center=[0, 2]),
        _band,
        ["phi1", "phi2"],
    ),
    "cluster": (ClusterMask(40, ra=229.638, dec=2.081), _cone, ["ra", "dec"]),
    "isochrone": (
        IsochroneBand(CURVE, TRACK, 0.1, ("g", "r"), errors=2, magnitudes=(15, 21)),
        _isochrone,
        ["g", "r", "phi1"],
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("selection", "expected", "needs"), CASES.values(), ids=CASES)
def test_selection_agrees_with_another_way_to_say_it_and_lets_the_unknown_pass(selection, expected, needs, dtype):
    data = field(dtype=dtype)
    known = data.where[needs].all(-1).numpy()
    mask = selection(data)
    assert mask.shape == (len(data),)
    assert mask.dtype == torch.bool
    found, answer = mask.numpy(), expected(data)
    assert (found != answer)[known].sum() <= (dtype == torch.float32)  # an edge, in other rounding
    assert 0.01 < answer[known].mean() < 0.99
    assert found[~known].all()
    assert (~selection)(data).numpy()[~known].all()
    assert ((~selection)(data).numpy() ^ found)[known].all()
    assert set(needs) <= set(selection.columns)


@pytest.mark.parametrize(("selection", "expected", "needs"), CASES.values(), ids=CASES)
def test_a_column_that_is_not_there_is_named(selection, expected, needs):
    with pytest.raises(InputError, match=f"no column {needs[0]!r}; the data has .*data.columns"):
        selection(field(10).without(needs[0]))


def test_combinations_know_what_they_do_not_know():
    data = Data({"a": torch.tensor([0.0, 0.0, 2.0, 2.0, torch.nan, torch.nan]), "b": torch.tensor([0.0, 2.0] * 3)})
    a, b = Cut({"a": (-1, 1)}), Cut({"b": (-1, 1)})
    assert All([a, b])(data).tolist() == (a & b)(data).tolist() == [True, False, False, False, True, False]
    assert Any([a, b])(data).tolist() == (a | b)(data).tolist() == [True, True, True, False, True, True]
    assert Not(a & b)(data).tolist() == [False, True, True, True, True, True]
    assert (~(a | b))(data).tolist() == [False, False, False, True, False, True]
    assert Not(Not(a & b))(data).tolist() == (a & b)(data).tolist()
    for selection, alike in ((~(a & b), ~a | ~b), (~(a | b), ~a & ~b)):  # de Morgan
        assert selection(data).tolist() == alike(data).tolist()


def test_off_stream_leaves_out_what_it_cannot_judge():
    data = Data({"phi1": torch.tensor([0.0, 0.0, 0.0, torch.nan]), "phi2": torch.tensor([0.9, 4.0, torch.nan, 4.0])})
    assert OffStream("phi2", 2.0, phi1=[-10, 10], center=[0, 2])(data).tolist() == [False, True, False, False]
    assert Not(TrackBand("phi2", 2.0, track=TRACK))(data).tolist() == [False, True, True, True]


def test_windows_are_those_of_intervals_that_all_must_pass():
    cut = Cut({"g": (16, 21), "phi2": (None, 3)})
    both = All([cut, Cut({"g": (15, 20)}), ~Cut({"r": (0, 1)}), Any([Cut({"r": (5, 9)}), cut])])
    assert cut.window() == {"g": (16, 21), "phi2": (-math.inf, 3)}
    assert both.window() == {"g": (16, 20), "phi2": (-math.inf, 3)}
    assert (cut | cut).window() == {}


def test_counts_add_up():
    data = field()
    selection = All([Cut({"g": (16, 21), "phi2": (-2, 2)}), ClusterMask(40, ra=229.638, dec=2.081)])
    counts = selection.counts(data)
    assert counts["cut"] == [
        "Cut(g: 16 to 21)",
        "Cut(phi2: -2 to 2)",
        "ClusterMask(cluster: 40 deg about ra 229.638, dec 2.081)",
    ]
    assert counts["left"][-1] == selection(data).sum() == len(data) - sum(counts["removed"])
    assert counts["alone"][0] == counts["removed"][0] == len(data) - counts["left"][0]
    assert all(alone >= removed for alone, removed in zip(counts["alone"], counts["removed"], strict=True))
    assert counts["unknown"][:2] == [int((~data.where[name]).sum()) for name in ("g", "phi2")]


BAD = {
    "give the lower one first": lambda: Cut({"g": (21, 16)}),
    "one column or more; got none": lambda: Cut({}),
    "needs three corners": lambda: Polygon("g", "r", SQUARE[:2]),
    "needs a track, or phi1 and center": lambda: TrackBand("phi2", 1.0),
    "needs 2 finite values": lambda: TrackBand("phi2", 1.0, phi1=[0, 1], center=[0]),
    "places phi1 that increase": lambda: TrackBand("phi2", 1.0, phi1=[1, 0], center=[0, 0]),
    "3 widths of 'phi2' for 2 places": lambda: TrackBand("phi2", [1, 1, 1], phi1=[0, 1], center=[0, 0]),
    "the track has no 'pm_phi1'; it has": lambda: TrackBand("pm_phi1", 1.0, track=TRACK),
    r"the track has no 'distmod'; it has \['phi2'\]": lambda: TrackBand("distmod", track=TRACK),
    "must be a number above zero; got 0.0": lambda: TrackBand("phi2", 0, track=TRACK),
    "give its centre as ra and dec, or phi1 and phi2": lambda: ClusterMask(1, ra=3.0),
    "dec is in -90..90": lambda: ClusterMask(1, ra=3.0, dec=120),
    "has no band": lambda: IsochroneBand(CURVE, 14.0, 0.1, ("g", "z")),
    "give the brighter one first": lambda: IsochroneBand(CURVE, 14.0, 0.1, ("g", "r"), magnitudes=(20, 16)),
    "All needs one selection or more": lambda: All([]),
}


@pytest.mark.parametrize(("message", "make"), BAD.items(), ids=BAD)
def test_what_makes_no_sense_is_refused(message, make):
    with pytest.raises(InputError, match=message):
        make()


def law(**bounds):
    return Uniform(coord_names=list(bounds), coord_bounds=bounds)


TRACK = Track([-10.0, 10.0], {"phi2": [0.0, 3.0]})
NORMAL = Normal(coord_names=["g"], net=Constant(2), params=ModelParameters({"g": {"mu": (0, 1), "ln-sigma": (0, 1)}}))
WINDOWS = {
    "agrees": (Cut({"phi2": (-3, 3)}), law(phi2=(-3, 3)), None),
    "wider": (Cut({"phi2": (-4, None)}), law(phi2=(-3, 3)), None),
    "of nothing modelled": (Cut({"parallax": (None, 1)}), law(phi2=(-3, 3)), None),
    "mask": (ClusterMask(1, phi1=0, phi2=0), law(phi2=(-3, 3)), None),
    "narrower": (Cut({"phi2": (-2, 3)}), law(phi2=(-3, 3)), r"cuts phi2 at \(-2.0, 3.0\), but .* \(-3.0, 3.0\)"),
    "open": (Cut({"g": (None, 21)}), NORMAL, "cuts g at .*all its values"),
    "polygon": (Polygon("phi1", "phi2", SQUARE), law(phi2=(-3, 3)), r"a cut on \['phi2'\], which the model is over"),
    "turned round": (~Cut({"phi2": (-2, 3)}), law(phi2=(-3, 3)), "no window of the model can hold it"),
    "band": (TrackBand("phi2", 2.0, TRACK), law(phi2=WindowAlong.about(TRACK, "phi2", 2.0)), None),
    "band in a wider window": (TrackBand("phi2", 2.0, TRACK), law(phi2=(-9, 9)), r"phi2 at .*-2..1 to 2..5 along phi1"),
    "band wider than a window": (TrackBand("phi2", 2.5, TRACK), law(phi2=WindowAlong.about(TRACK, "phi2", 2.0)), None),
    "bands of two widths": (
        TrackBand("phi2", [1.5, 2.0], TRACK),
        law(phi2=WindowAlong.about(TRACK, "phi2", 2.0)),
        "cuts phi2 at",
    ),
    "band and cut": (
        TrackBand("phi2", 2.0, TRACK) & Cut({"phi2": (-1, 9)}),
        law(phi2=WindowAlong.about(TRACK, "phi2", 2.0)),
        "cuts phi2 at",
    ),
    "off the stream": (OffStream("phi2", 2.0, TRACK), law(phi2=(-3, 3)), "no window of the model can hold it"),
    "turned": (Cut({"pmra": (-7, -2)}), law(pm_phi1=(-9, 9), pm_phi2=(-9, 9)), "RotatedBox"),
}


@pytest.mark.parametrize(("selection", "model", "message"), WINDOWS.values(), ids=WINDOWS)
def test_a_cut_that_the_densities_do_not_know_is_told(selection, model, message, caplog):
    warn_unlike_window(selection, model)
    assert [record.levelname for record in caplog.records] == (["WARNING"] if message else [])
    if message:
        assert re.search(message, caplog.text)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a short fit of the mock with a selection and a track of its own, and the stars it was of."""
    root = tmp_path_factory.mktemp("selected")
    stars = "{class_path: stream_mapper.mock.TailoredMock, init_args: {n_stream: 300, n_background: 900, seed: 3}}"
    simulate(["--simulator", stars, "--output", str(root / "stars.parquet")])
    config = yaml.safe_load(MOCK.read_text())
    cuts = [
        {"class_path": "stream_mapper.selection.Cut", "init_args": {"bounds": {"g": [None, 21.5], "phi2": [-2, 10]}}},
        {"class_path": "stream_mapper.selection.ClusterMask", "init_args": {"radius": 1, "phi1": 20, "phi2": 3}},
        {
            "class_path": "stream_mapper.selection.IsochroneBand",
            "init_args": {
                "isochrone": {"class_path": "stream_mapper.builtin.Isochrone.synthetic"},
                "distmod": 15.0,
                "width": 3.0,
                "color": ["g", "r"],
            },
        },
    ]
    config["data"]["selection"] = {"class_path": "stream_mapper.selection.All", "init_args": {"selections": cuts}}
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    quick = [
        "--background.max_epochs=2",
        "--trainer.max_epochs=3",
        "--results.draws=2",
        "--results.track_draws=2",
        "--results.figures=false",
    ]
    arguments = ["--config", str(root / "config.yaml"), "--data.path", str(root / "stars.parquet")]
    fit([*arguments, "--trainer.default_root_dir", str(root / "runs"), *quick])
    cli = StreamCLI(arguments)
    return root, cli.datamodule.read(cli.model.model)


def test_the_fit_leaves_out_the_others_and_keeps_them_in_the_table(run):
    root, fitted = run
    folder = root / "runs" / "version_0"
    given, table = read_table(root / "stars.parquet"), read_table(folder / "memberships.parquet")
    g = np.asarray(given["g"])
    off = np.hypot(np.asarray(given["phi1"]) - 20, np.asarray(given["phi2"]) - 3)  # the cosine of 3 deg is one
    selected = np.asarray(table["selected"])
    assert len(table) == len(given)
    assert not selected[(g > 21.5) | (off < 0.99)].any()
    assert selected.sum() < len(given) - 100
    rows = torch.cat([fitted.train_rows, fitted.val_rows]).numpy()
    assert sorted(rows) == np.flatnonzero(selected & np.asarray(table["in_window"])).tolist()
    assert (np.asarray(table["p_member"])[~selected] > 0).any()  # it is computed for them all the same
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["stars"] == len(given)
    assert metrics["selected"] == selected.sum()
    assert metrics["expected_members"] == pytest.approx(np.asarray(table["p_member"])[selected].sum())
    assert metrics["true_members"] == (np.asarray(given["true_component"]) == "stream")[selected].sum()


def test_the_run_folder_has_the_table_of_cuts(run):
    root, _ = run
    cuts = read_table(root / "runs" / "version_0" / "selection.ecsv")
    members = read_table(root / "runs" / "version_0" / "memberships.parquet")
    assert cuts.colnames == ["cut", "alone", "removed", "left", "unknown"]
    assert [text.split("(")[0] for text in cuts["cut"]] == [
        "Cut",
        "Cut",
        "ClusterMask",
        "IsochroneBand",
        "the window of the model",
    ]
    assert cuts["left"][-2] == members["selected"].sum()
    assert cuts["left"][-1] == (members["selected"] & members["in_window"]).sum()


def test_predict_says_the_same_of_them(run, tmp_path):
    root, _ = run
    best = root / "runs" / "version_0" / "checkpoints" / "best.ckpt"
    kept = torch.load(best, weights_only=True)["stream_mapper"]["intake"]["init_args"]["selection"]
    assert json.loads(json.dumps(kept)) == kept
    members = read_table(root / "runs" / "version_0" / "memberships.parquet")
    for name in ("stars.parquet", "stars.fits"):  # by chunks, and whole
        write_table(read_table(root / "stars.parquet"), tmp_path / name)
        output = tmp_path / f"members_{name}"
        predict(["--checkpoint", str(best), "--catalogue", str(tmp_path / name), "--output", str(output), "--draws=2"])
        assert np.asarray(read_table(output)["selected"]).tolist() == np.asarray(members["selected"]).tolist()


def test_nothing_left_is_an_error():
    table = to_table({"phi1": np.zeros(50), "phi2": np.linspace(-3, 3, 50)})
    intake = Intake(Reading(["phi1", "phi2"]), Cut({"phi2": (90, None)}))
    datamodule = CatalogueDataModule.of_table(table, intake)
    with pytest.raises(InputError, match="0 of 50 stars are selected and inside the model's window"):
        datamodule.read(law(phi2=(-3, 3)))
