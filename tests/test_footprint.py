"""Footprints: what was seen of the sky, and what a fit makes of a hole in it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from astropy.io import fits
from matplotlib.path import Path as Polyline
from scipy import stats

import stream_mapper as sml
from stream_mapper.builtin.compat import FlowModel, ZukoFlowModel, flow
from stream_mapper.catalog import SkyFrame, read_footprint
from stream_mapper.description import build, describe
from stream_mapper.distributions import TruncatedNormal
from stream_mapper.distributions.interval import ln_interval
from stream_mapper.inference.checks import Evidence
from stream_mapper.inference.checks.terms import terms
from stream_mapper.inference.density import kernel_width, smooth_density, stars_behind
from stream_mapper.inference.frozen import known_densities
from stream_mapper.inference.screening import screened
from stream_mapper.models.known import Batch
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameter, ModelParameters
from stream_mapper.selection import ClusterMask
from stream_mapper.selection.cuts import separation
from stream_mapper.training.background import BackgroundStage, BackgroundTraining
from stream_mapper.training.cli import StreamCLI

MOCK = Path(__file__).parent.parent / "experiments" / "mock" / "config.yaml"
FIELD = [(-10.0, -3.0), (10.0, -3.0), (10.0, 3.0), (-10.0, 3.0)]
SLANTED = [(8.0, -4.0), (20.0, -2.0), (20.0, 4.0), (8.0, 2.0)]
HOLE = [(-5.0, 0.2), (-2.0, 0.5), (-3.0, 2.5)]
BOWTIE = [(-9.0, -2.0), (-6.0, 0.0), (-6.0, -2.0), (-9.0, 0.0)]
MASK = ClusterMask(0.5, phi1=3.0, phi2=1.0)
FOOTPRINT = sml.Footprint.of_polygons([FIELD, SLANTED], [HOLE, BOWTIE], [MASK.circle])


def places(n=20_000):
    return sml.Data({"phi1": torch.empty(n).uniform_(-12, 22), "phi2": torch.empty(n).uniform_(-5, 5)})


def seen_by_matplotlib(data):
    points = np.stack([data["phi1"], data["phi2"]], -1)
    inside = [Polyline(polygon).contains_points(points) for polygon in (FIELD, SLANTED, HOLE)]
    bowtie = [
        Polyline([(-7.5, -1.0), *side]).contains_points(points) for side in (BOWTIE[1:3], BOWTIE[:1] + BOWTIE[3:])
    ]
    return (inside[0] | inside[1]) & ~inside[2] & ~bowtie[0] & ~bowtie[1] & MASK(data).numpy()


def test_polygons_hold_what_they_hold():
    data = places()
    assert (FOOTPRINT.holds(data).numpy() != seen_by_matplotlib(data)).sum() <= 1


def test_a_sampled_footprint_is_the_same_to_within_its_step():
    def is_seen(phi1, phi2):
        return seen_by_matplotlib(sml.Data({"phi1": phi1, "phi2": phi2}))

    found = sml.Footprint.sampled(is_seen, (-12.0, 22.0), (-5.0, 5.0), step=0.05)
    data = places()
    wrong = (found.holds(data) != FOOTPRINT.holds(data)).double().mean()
    assert wrong < 0.05 * 90 / 340  # half a step about all edges, 90 deg long, of 340 square deg


def test_polygons_side_by_side_are_one():
    tiles = [[(x, y), (x + 1.0, y), (x + 1.0, y + 1.0), (x, y + 1.0)] for x in range(4) for y in range(3)]
    footprint = sml.Footprint.of_polygons(tiles)
    assert footprint.places.tolist() == [0.0, 4.0]
    assert footprint.edges.tolist() == [[[0.0, 3.0, 0.0, 3.0]]]


def test_a_place_outside_is_seen_nowhere_and_a_missing_one_anywhere():
    data = sml.Data({"phi1": torch.tensor([-11.0, 0.0, 0.0]), "phi2": torch.tensor([0.0, 0.0, math.nan])})
    assert FOOTPRINT.holds(data).tolist() == [False, True, True]
    law = sml.builtin.Uniform(coord_names=["phi2"], coord_bounds={"phi2": (-3, 3)}, footprint=FOOTPRINT)
    assert law.in_window(data).tolist() == [False, True, True]
    torch.testing.assert_close(law.ln_likelihood({}, data), torch.tensor([-math.inf, -math.log(6), 0.0]))
    with pytest.raises(sml.InputError, match="1 have none"):
        law.sample(data[:1].select(["phi1"]))


def test_a_description_makes_it_again():
    again = build(describe(FOOTPRINT))
    assert all(map(torch.equal, again.buffers(), FOOTPRINT.buffers()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sml.Footprint([0.0], []), "places must increase"),
        (lambda: sml.Footprint([0.0, 1.0], [[]]), "need 1 lists of strips"),
        (lambda: sml.Footprint([0.0, 1.0], [[(1, 0, 0, 1)]]), "are not in order"),
        (lambda: sml.Footprint.of_polygons([]), "one polygon that was seen"),
        (lambda: sml.Footprint.of_polygons([FIELD[:2]]), "three corners"),
        (lambda: sml.Footprint.of_polygons([FIELD], circles=[(0, 0, -1)]), "radius of a circle"),
        (lambda: sml.Footprint.of_polygons([HOLE], [FIELD]), "with 0 strips"),
        (lambda: sml.Footprint.sampled(lambda x, y: x > 0, (1.0, 0.0), (0.0, 1.0)), "give the lower end first"),
        (
            lambda: sml.builtin.Uniform(coord_names=["g"], coord_bounds={"g": (0, 1)}, footprint=FOOTPRINT),
            "footprint of phi2 along phi1",
        ),
    ],
)
def test_what_is_no_footprint_is_refused(make, message):
    with pytest.raises(sml.InputError, match=message):
        make()


def position_flow(names=("phi2",), transforms=1, **kwargs):
    columns = ("phi1", *names)
    scale = sml.utils.StandardScaler(columns, mean=[0.0] * len(columns), scale=[6.0] + [2.0] * len(names))
    net = flow(len(names), transforms=transforms, hidden_features=[8])
    return ZukoFlowModel(net=net, coord_names=names, data_scaler=scale, footprint=FOOTPRINT, **kwargs)


def boxed(box):
    names = ("phi2", "pm_phi1", "pm_phi2")
    return sml.builtin.MultivariateNormal(coord_names=names, box=box, footprint=FOOTPRINT)


BOX = sml.builtin.RotatedBox(("pm_phi1", "pm_phi2"), "pm_angle", (-5.0, 5.0), (-5.0, 5.0))
TURNED = sml.builtin.RotatedBox(("phi2", "pm_phi2"), "pm_angle", (-5.0, 5.0), (-5.0, 5.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: position_flow(("phi2", "g"), transforms=2), "cannot be normalised over a footprint of phi2"),
        (lambda: position_flow(("g", "phi2")), "with phi2 first in coord_names"),
        (lambda: position_flow(("phi2", "pm_phi2"), box=TURNED), "in no box"),
        (lambda: position_flow(("g",)), "footprint of phi2 along phi1"),
        (lambda: FlowModel(net=torch.nn.Identity(), coord_names=["phi2"], footprint=FOOTPRINT), "a flow of zuko"),
        (lambda: boxed(BOX), "a box or a footprint, not both"),
    ],
)
def test_a_footprint_that_a_density_cannot_take_is_refused(make, message):
    with pytest.raises(sml.InputError, match=message):
        make()


def test_what_was_seen_of_a_frozen_density_is_known_beforehand():
    """A flow over positions beside a stream: the mixture is the same with the densities that are known."""
    torch.manual_seed(2)
    stream = sml.builtin.TruncatedNormal(
        coord_names=["phi2"],
        coord_bounds={"phi2": (-6.0, 6.0)},
        footprint=FOOTPRINT,
        net=Constant(2),
        params=ModelParameters({"phi2": {"mu": (-1.0, 1.0), "ln-sigma": (-2.0, 0.0)}}),
    )
    background = position_flow(coord_bounds={"phi2": (-6.0, 6.0)}).requires_grad_(False)
    weights = ModelParameters({"stream.ln-weight": (-3.0, -1.0)})
    model = sml.MixtureModel({"stream": stream, "background": background}, net=Constant(1), params=weights)
    model.fit_scalers(places(300))
    stars = model.sample(torch.empty(300).uniform_(-9.9, 19), seed=1)
    known = known_densities(model, stars)
    assert set(known.seen) == set(known.frozen) == {"background"}
    params = model(stars)
    torch.testing.assert_close(model.ln_joint(params, stars, known), model.ln_joint(params, stars))
    torch.testing.assert_close(model.ln_seen(params, stars, known), model.ln_seen(params, stars))
    some = torch.arange(0, 300, 7)
    other = known[some].with_skipped({})
    torch.testing.assert_close(
        model.ln_joint(model(stars[some]), stars[some], other), model.ln_joint(params, stars)[some]
    )


def test_a_flow_learns_the_density_of_all_stars_beside_a_hole():
    """Stars normal in phi2, of which a half was not seen at some places: what was seen tells of what was not."""
    torch.manual_seed(4)
    n = 12_000
    stars = sml.Data({"phi1": torch.empty(n).uniform_(-10, 10), "phi2": 0.5 + torch.randn(n)})
    footprint = sml.Footprint.of_polygons([FIELD], [[(0.0, 0.5), (8.0, 0.5), (8.0, 3.1), (0.0, 3.1)]])
    seen = stars[footprint.holds(stars)]
    net = flow(1, kind="MAF", transforms=1, hidden_features=[8])  # one normal law at each phi1
    model = ZukoFlowModel(net=net, coord_names=["phi2"], coord_bounds={"phi2": (-60.0, 60.0)}, footprint=footprint)
    model.pretrain(seen, BackgroundTraining(BackgroundStage(max_epochs=30)))
    at = sml.Data({"phi1": torch.tensor([-5.0, 4.0])})
    assert model.ln_seen({}, at).exp().tolist() == pytest.approx([0.993, 0.5], abs=0.04)


def test_the_probability_of_an_interval_holds_far_in_the_tails():
    low, high = torch.tensor([-1.0, 5.0, 30.0, -41.0]), torch.tensor([2.0, 6.0, 31.0, -40.0])
    law = torch.distributions.Normal(torch.zeros(4), 1.0)
    upper = stats.norm.logsf(np.abs([[-1, 2], [5, 6], [30, 31], [40, 41]]))
    expected = upper[:, 0] + np.log1p(-np.exp(upper[:, 1] - upper[:, 0]))
    expected[0] = np.log(stats.norm.cdf(2) - stats.norm.cdf(-1))
    np.testing.assert_allclose(ln_interval(law, low, high), expected, rtol=1e-5)
    cut = TruncatedNormal(torch.zeros(4), 1.0, torch.full((4,), -100.0), torch.full((4,), 100.0))
    np.testing.assert_allclose(ln_interval(cut, low, high), expected, rtol=1e-5)


# A uniform field of 6 deg with a stream of 0.2 deg, of which the survey did not see a stretch beside the track.

WINDOW = {"phi2": (-3.0, 3.0)}
GAP = [(-4.0, 0.4), (4.0, 0.4), (4.0, 3.1), (-4.0, 3.1)]
WEIGHT = 0.1


def mixture(footprint, width=0.2):
    """Of a stream with a weight and a width of its own and the field; the parameters are those of the truth."""

    def fixed(values):
        net = Constant(len(values))
        net.value.data = torch.tensor(values)
        return net

    def free(*names):
        return ModelParameters({name: ModelParameter() for name in names})

    given = {"coord_names": ["phi2"], "coord_bounds": WINDOW, "footprint": footprint}
    stream = sml.builtin.TruncatedNormal(
        **given, net=fixed([0.0, math.log(width)]), params=free("phi2.mu", "phi2.ln-sigma")
    )
    parts = {"stream": stream, "background": sml.builtin.Uniform(**given)}
    return sml.MixtureModel(parts, net=fixed([math.log(WEIGHT)]), params=free("stream.ln-weight"))


def field(n=40_000):
    """All stars of the truth, and those of them that were seen."""
    stars = mixture(None).sample(torch.empty(n).uniform_(-10, 10), seed=1)
    footprint = sml.Footprint.of_polygons([FIELD], [GAP])
    return stars, stars[footprint.holds(stars)], footprint


def maximised(model, data):
    """The model at its highest likelihood."""
    model = model.double()
    data = data.to(dtype=torch.float64)
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = -model.ln_likelihood(model(data), data).mean()
        value.backward()
        return value

    optimiser.step(loss)
    return {name: values[0].item() for name, values in model(data).items()}


def test_a_hole_beside_the_track_is_not_read_as_stream():
    _, seen, footprint = field()
    near = seen[seen["phi1"].abs() < 4]
    blind, sighted = maximised(mixture(None), near), maximised(mixture(footprint), near)
    count = 0.4 * 40_000  # stars of the truth on that stretch
    sigma = math.sqrt(WEIGHT / count) * 3  # of the weight, the field under the stream included
    assert sighted["stream.ln-weight"] == pytest.approx(math.log(WEIGHT), abs=4 * sigma / WEIGHT)
    assert math.exp(blind["stream.ln-weight"]) > WEIGHT + 10 * sigma
    assert math.exp(sighted["stream.phi2.ln-sigma"]) == pytest.approx(0.2, abs=0.03)
    assert sighted["stream.phi2.mu"] == pytest.approx(0.0, abs=0.03)


def test_one_weight_fits_the_stretch_with_the_hole_and_the_others():
    """The weight is that of all stars, seen or not, so that it need not follow the hole."""
    _, seen, footprint = field()
    found = maximised(mixture(footprint), seen)
    assert found["stream.ln-weight"] == pytest.approx(math.log(WEIGHT), abs=0.08)


def test_shares_are_those_of_the_stars_that_were_seen():
    stars, seen, footprint = field()
    model = mixture(footprint)
    data = sml.Data({"phi1": torch.tensor([0.0])})
    shares = model.ln_shares(model(data), data).exp()[0]
    near = seen[seen["phi1"].abs() < 4]
    of_stream = (near["component"] == 0).double().mean().item()
    assert shares[0].item() == pytest.approx(of_stream, abs=0.01)
    share = len(near) / len(stars[stars["phi1"].abs() < 4])
    assert model.ln_seen(model(data), data).exp().item() == pytest.approx(share, abs=0.015)


def test_skipped_components_leave_the_density_as_it_is():
    _, seen, footprint = field(2000)
    model, data = mixture(footprint), seen
    whole = model.ln_likelihood(model(data), data)
    batch = screened(model, Batch(data), 1e-3)
    assert not batch.known.skipped["stream"].isnan().all()
    torch.testing.assert_close(model.ln_likelihood(model(data), data, batch.known), whole)


def test_a_density_along_the_stream_is_that_of_all_stars():
    _, seen, footprint = field()
    at = torch.linspace(-9.5, 9.5, 39)
    counts = stars_behind(mixture(footprint), seen)
    assert stars_behind(mixture(None), seen) is None
    whole, part = smooth_density(at, seen["phi1"], counts), smooth_density(at, seen["phi1"])
    width = kernel_width(counts.sum().item(), 20.0)
    spread = math.sqrt(2000 / (width * math.sqrt(4 * math.pi)))  # of 2000 stars a deg
    assert ((whole - 2000).abs() < 5 * spread).all()
    assert (part[at.abs() < 3] < 1600).all()


MATRIX = [[0.0, 0.8, 0.6], [-1.0, 0.0, 0.0], [0.0, -0.6, 0.8]]
CIRCLES = [(1.0, -0.5, 0.3)]


def on_the_sky(data):
    """ra and dec [deg] of places in the frame of the matrix."""
    lon, lat = (np.deg2rad(data[name].double().numpy()) for name in ("phi1", "phi2"))
    place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)
    x, y, z = (place @ np.array(MATRIX)).T
    return np.rad2deg(np.arctan2(y, x)), np.rad2deg(np.arcsin(z))


@pytest.mark.parametrize("kind", ["moc", "ring", "nested", "partial"])
def test_maps_of_the_sky_are_read_into_the_frame_of_the_stream(kind, tmp_path):
    mocpy, cdshealpix = pytest.importorskip("mocpy"), pytest.importorskip("cdshealpix")
    data = sml.Data({"phi1": torch.empty(5000).uniform_(-4, 4), "phi2": torch.empty(5000).uniform_(-3, 3)})
    lon, lat = on_the_sky(data)
    ra, dec = Longitude(lon, u.deg), Latitude(lat, u.deg)
    centre = on_the_sky(sml.Data({"phi1": torch.tensor([1.0]), "phi2": torch.tensor([0.5])}))
    path = tmp_path / "seen.fits"
    moc = mocpy.MOC.from_cone(
        Longitude(centre[0][0], u.deg), Latitude(centre[1][0], u.deg), radius=2 * u.deg, max_depth=9
    )
    seen = np.asarray(moc.contains_lonlat(ra, dec))
    if kind == "moc":
        moc.save(str(path), format="fits")
    else:
        write_map(path, kind, moc, cdshealpix)
    frame = SkyFrame({"matrix": MATRIX, "name": "mine"})
    found = read_footprint(str(path), frame, (-4.0, 4.0), (-3.0, 3.0), step=0.05, circles=CIRCLES)
    distance = separation(data["phi1"], data["phi2"], *CIRCLES[0][:2]).numpy()
    wrong = found.holds(data).numpy() != (seen & (distance > CIRCLES[0][2]))
    assert 0.1 < seen.mean() < 0.5
    assert wrong.mean() < 0.03


def write_map(path, kind, moc, cdshealpix):
    """A HEALPix map of the pixels of a MOC."""
    nside = 512
    cells = moc.flatten().astype(np.int64)
    values = np.zeros(12 * nside**2, dtype=np.float32)
    values[cdshealpix.to_ring(cells, 9).astype(np.int64) if kind == "ring" else cells] = 0.9
    columns = [fits.Column(name="FRACTION", format="E", array=values)]
    if kind == "partial":
        numbers = fits.Column(name="PIXEL", format="K", array=cells)
        columns = [numbers, fits.Column(name="FRACTION", format="E", array=values[cells])]
    hdu = fits.BinTableHDU.from_columns(columns)
    hdu.header["ORDERING"], hdu.header["NSIDE"] = "RING" if kind == "ring" else "NESTED", nside
    hdu.writeto(path)


def test_what_is_no_map_is_refused(tmp_path):
    frame = SkyFrame({"matrix": MATRIX, "name": "mine"})
    with pytest.raises(sml.InputError, match="no such file"):
        read_footprint(str(tmp_path / "none.fits"), frame, (0.0, 1.0), (0.0, 1.0))
    (tmp_path / "text.fits").write_text("nothing")
    with pytest.raises(sml.InputError, match="cannot be read as FITS"):
        read_footprint(str(tmp_path / "text.fits"), frame, (0.0, 1.0), (0.0, 1.0))


def test_a_configuration_may_have_one(tmp_path):
    config = yaml.safe_load(MOCK.read_text())
    corners = [[-20, -2], [30, -2], [30, 10], [-20, 10]]
    given = {
        "class_path": "stream_mapper.Footprint.of_polygons",
        "init_args": {"seen": [corners], "circles": [[3, 1, 0.5]]},
    }
    components = config["model"]["model"]["init_args"]["components"].values()
    parts = [part["init_args"] for group in components for part in group["init_args"]["components"].values()]
    for part in parts:
        if "phi2" in part.get("coord_bounds", {}):
            part["footprint"] = given
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    model = StreamCLI(["--config", str(path), "--trainer.accelerator=cpu"]).model.model
    assert model.has_footprint
    stars = sml.Data({name: torch.full((2,), 0.1) for name in model.columns})
    stars = stars.with_columns({"phi1": torch.tensor([3.0, 3.0]), "phi2": torch.tensor([1.2, 2.0])})
    assert model.in_window(stars).tolist() == [False, True]
    assert build(describe(model)).has_footprint


def test_the_terms_of_the_checks_are_those_of_the_mixture():
    _, seen, footprint = field(2000)
    model = mixture(footprint)
    found = terms(Evidence(model, seen))
    torch.testing.assert_close(found.joint, model.ln_joint(model(seen), seen))
    torch.testing.assert_close(found.weight("stream"), model.ln_shares(model(seen), seen)[:, 0].exp())
