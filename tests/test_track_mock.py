"""A field around a track: every density is normalised, the oracle is calibrated, and the sky is that of astropy."""

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.coordinates import SkyCoord
from galstreams_files import FRAME, real_tracks, write_log, write_track
from scipy import integrate, stats
from scipy.special import expit, logit

from stream_mapper import Track
from stream_mapper.builtin import Isochrone, PowerLawMassFunction
from stream_mapper.catalog import SkyFrame, read_table, to_table
from stream_mapper.catalog.sky.library import Library
from stream_mapper.errors import InputError
from stream_mapper.mock import TrackMock
from stream_mapper.mock.field.measurement import measure_field
from stream_mapper.mock.field.surveys import FIELD_SURVEYS
from stream_mapper.mock.survey.measurement import PASSBANDS
from stream_mapper.mock.survey.photometry import CurvePhotometry
from stream_mapper.results.metrics import truth_metrics
from stream_mapper.simulate import main as simulate

TRACK = Track(
    [-12.0, 0.0, 15.0],
    {"phi2": [-0.8, 0.4, 0.1], "pm_phi1": [-3.0, -2, -1.5], "pm_phi2": [-1.0, -1.2, -2], "distmod": [15.0, 15.3, 16.0]},
)
AXES = SkyCoord([0, 90, 0] * u.deg, [0, 0, 90] * u.deg, frame=FRAME).icrs.cartesian.xyz.value.T
ASTROMETRY, LEAST_P = ("pmra", "pmdec", "parallax", "pmra_err", "pmdec_err", "pmra_pmdec_corr", "parallax_err"), 1e-3


def mock(survey, **other):
    settings = {"n_stream": 1500, "n_background": 6000, "width": 0.3, "seed": 3, "matrix": AXES.tolist()}
    return TrackMock(TRACK, survey=survey, **settings | other)


@pytest.fixture(scope="module", params=FIELD_SURVEYS)
def drawn(request):
    """A mock with many stars that lack something, and its stars."""
    made = mock(request.param, missing_photometry=0.2, missing_astrometry=0.2)
    return made, made.simulate()


@pytest.fixture(scope="module")
def measured(drawn):
    """Stars of each population, in the frame."""
    made, generator = drawn[0], torch.Generator().manual_seed(5)
    measure = (made.survey.passbands, (0.0, 0.0), made.rotation, generator)
    return [measure_field(population.sample(generator), *measure) for population in made.populations]


def one(stars, **grid):
    """The first complete star, repeated over a grid of some of its columns."""
    row = int(torch.stack([~column.isnan() for column in stars.values()]).all(0).nonzero()[0])
    size = len(next(iter(grid.values())))
    return {name: column[row].expand(size).clone() for name, column in stars.items()} | grid


def integral(ln_density, stars, **axes):
    """Trapezoidal integral of a density of stars over a grid of one or two of their columns."""
    grid = torch.meshgrid(*axes.values(), indexing="ij")
    columns = {name: column.reshape(-1) for name, column in zip(axes, grid, strict=True)}
    values = ln_density(one(stars, **columns)).exp().reshape(grid[0].shape).numpy()
    for axis in reversed(axes.values()):
        values = integrate.trapezoid(values, axis.numpy(), axis=-1)
    return values


def line(low, high, size=2001):
    return torch.linspace(low, high, size, dtype=torch.float64)


def test_every_density_integrates_to_one(drawn, measured):
    made = drawn[0]
    for population, stars in zip(made.populations, measured, strict=True):
        places = line(*made.window.phi1)
        number = integrate.trapezoid(population.ln_number(places).exp(), places)
        assert number == pytest.approx(population.size, rel=1e-4)
        star = one(stars, phi2=line(0, 1, 1))
        error = float(star["parallax_err"])
        motion = {"pm_phi1": line(-40, 36, 401), "pm_phi2": line(-40, 36, 401)}
        if population is made.stream:
            centre = population.shape.centre(star["phi1"])
            reach = 8 * float(torch.hypot(star["pm_phi1_err"], star["pm_phi2_err"]) + 0.05)
            motion = {name: line(float(centre[name]) - reach, float(centre[name]) + reach, 401) for name in motion}
        axes = {"phi2": {"phi2": line(*made.window.phi2)}, "proper_motion": motion}
        axes["parallax"] = {"parallax": line(-10 * error, 8 + 10 * error, 20_001)}
        for name, grid in axes.items():
            total = integral(getattr(population, f"ln_{name}"), stars, **grid)
            assert total == pytest.approx(1, abs=1e-3), name


@pytest.mark.parametrize("survey", ["panstarrs1", "des"])
def test_photometry_integrates_to_one_within_the_limits(survey):
    made = mock(survey, n_stream=5, n_background=20, scatter=0.08, depth=0.1)
    first, second = made.survey.passbands.bands
    low, high = made.survey.passbands.limits
    generator = torch.Generator().manual_seed(0)
    for population in made.populations:
        grid = {first: line(low, high, 250), second: line(low - 3.5, high + 1.5, 320)}
        total = integral(population.ln_photometry, population.sample(generator), **grid)
        assert total == pytest.approx(1, abs=3e-3)


def test_three_bands_without_the_third_are_two():
    survey, curve = FIELD_SURVEYS["gaia_dr3"], Isochrone.synthetic(("g", "r", "i"))
    three = survey.passbands._replace(bands=("g", "r", "i"))
    two = three._replace(bands=("g", "r"), errors=three.errors[:2])
    pair = Isochrone(curve.mass, curve.magnitudes[:, :2], ("g", "r"))
    law = PowerLawMassFunction(-0.5)
    wide, narrow = (CurvePhotometry(*made, law, 0.015, 0.03, bands) for *made, bands in [(curve, three), (pair, two)])
    distmod = torch.full((4,), 15.2, dtype=torch.float64)
    magnitudes = wide.sample(distmod, torch.Generator().manual_seed(1))
    for row in magnitudes:
        third = line(float(row[2]) - 4, float(row[2]) + 4, 2001)
        grid = torch.cat([row[:2].expand(len(third), 2), third[:, None]], -1)
        found = integrate.trapezoid(wide.ln_density(grid, distmod[:1].expand(len(third))).exp(), third)
        assert found == pytest.approx(narrow.ln_density(row[None, :2], distmod[:1]).exp().item(), rel=1e-3)


def test_one_point_of_a_curve_is_a_normal_law():
    curve = Isochrone([0.5, 0.5001], [[4.0, 3.5], [4.0001, 3.5001]], ("g", "r"))
    photometry = CurvePhotometry(curve, PowerLawMassFunction(-0.5), 0.015, 0.08)
    mean = np.array([19.0, 18.5])
    variance = [
        error.variance(torch.tensor(m)).item() + 0.015**2 for error, m in zip(PASSBANDS.errors, mean, strict=True)
    ]
    law = stats.multivariate_normal(mean, np.diag(variance) + 0.08**2)
    magnitudes = np.array([[19.0, 18.5], [19.05, 18.6], [18.9, 18.45]])
    found = photometry.ln_density(torch.tensor(magnitudes), torch.full((3,), 15.0, dtype=torch.float64))
    assert found.numpy() == pytest.approx(law.logpdf(magnitudes), abs=0.02)


def calibration(p, member):
    """p value of the number of members in each bin of probability."""
    bins = np.digitize(p, [0, 1e-3, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 1 + 1e-9])
    found, expected, variance = (np.bincount(bins, weights=w) for w in (member, p, p * (1 - p)))
    used = variance > 1
    if not used.any():
        return 1.0  # no star is in doubt
    return stats.chi2(used.sum()).sf((((found - expected) ** 2)[used] / variance[used]).sum())


SUBSETS = {
    "all": lambda stars, band: np.isfinite(stars["ra"]),
    "without photometry": lambda stars, band: np.isnan(stars[band]),
    "without astrometry": lambda stars, band: np.isnan(stars["pmra"]),
    "complete": lambda stars, band: np.isfinite(stars["pmra"] + stars[band]),
}


@pytest.mark.parametrize("subset", SUBSETS.values(), ids=SUBSETS)
def test_the_oracle_is_calibrated(subset, drawn):
    made, stars = drawn
    rows = subset(stars, made.survey.passbands.bands[0])
    p, member = stars["true_p_member"][rows], stars["true_component"][rows] == "stream"
    assert calibration(p, member) > LEAST_P
    assert abs(p.sum() - member.sum()) < 3.5 * np.sqrt((p * (1 - p)).sum())


@pytest.mark.parametrize("power", [0.7, 1.4], ids=["too unsure", "too sure"])
def test_calibration_can_fail(power, drawn):
    _, stars = drawn
    sharpened = expit(power * logit(np.clip(stars["true_p_member"], 1e-300, 1 - 1e-12)))
    assert calibration(sharpened, stars["true_component"] == "stream") < LEAST_P


def test_more_is_known_of_a_star_that_is_measured(drawn):
    made, stars = drawn
    band = made.survey.passbands.bands[0]
    precision = []
    for name in ("without photometry", "complete"):
        rows = SUBSETS[name](stars, band)
        table = to_table({column: values[rows] for column, values in stars.items()})
        table["p_member"] = table["true_p_member"]
        precision.append(truth_metrics(table)["optimal_average_precision"])
    assert 0.4 < precision[0] < precision[1] <= 1


def test_the_sky_is_that_of_astropy(drawn):
    _, stars = drawn
    rows = (stars["true_component"] == "stream") & np.isfinite(stars["pmra"])
    sky = SkyCoord(
        stars["ra"][rows] * u.deg,
        stars["dec"][rows] * u.deg,
        pm_ra_cosdec=stars["pmra"][rows] * u.mas / u.yr,
        pm_dec=stars["pmdec"][rows] * u.mas / u.yr,
    ).transform_to(FRAME)
    phi1 = sky.lon.wrap_at(180 * u.deg).deg
    assert stars["true_phi2"][rows] == pytest.approx(np.interp(phi1, TRACK.phi1, TRACK.values("phi2")), abs=1e-9)
    pull = (sky.lat.deg - stars["true_phi2"][rows]) / 0.3
    assert stats.kstest(pull, stats.norm.cdf).pvalue > LEAST_P
    turned = SkyFrame({"matrix": AXES}).add_stream_coordinates(to_table(stars))[rows]
    for name, motion in {"pm_phi1": sky.pm_lon_coslat, "pm_phi2": sky.pm_lat}.items():
        off = motion.to_value("mas / yr") - stars[f"true_{name}"][rows]
        assert stats.kstest(off / np.hypot(turned[f"{name}_err"], 0.05), stats.norm.cdf).pvalue > LEAST_P
    parallax = (stars["parallax"] - stars["true_parallax"])[rows] / stars["parallax_err"][rows]
    assert stats.kstest(parallax, stats.norm.cdf).pvalue > LEAST_P


def test_errors_of_the_motion_are_correlated_as_they_say():
    stars = to_table(mock("gaia_dr3", n_stream=4000, n_background=0, dispersion=0.01).simulate())
    turned = SkyFrame({"matrix": AXES}).add_stream_coordinates(stars[np.isfinite(stars["pmra"])])
    names = ("pm_phi1", "pm_phi2")
    sigma = [np.hypot(turned[f"{name}_err"], 0.01) for name in names]
    pulls = [np.asarray(turned[name] - turned[f"true_{name}"]) / s for name, s in zip(names, sigma, strict=True)]
    share = np.asarray(
        turned["pm_phi1_pm_phi2_corr"] * turned["pm_phi1_err"] * turned["pm_phi2_err"] / sigma[0] / sigma[1]
    )
    slope = (pulls[0] * pulls[1] * share).sum() / (share**2).sum()
    assert abs(slope - 1) < 3.5 / np.sqrt((share**2).sum()) < 0.35


def test_what_is_measured(drawn):
    made, stars = drawn
    bands = made.survey.passbands.bands
    assert set(stars) >= {"ra", "dec", *ASTROMETRY, *bands, *(f"{band}_err" for band in bands)}
    low, high = made.survey.passbands.limits
    g, seen = stars[bands[0]], np.isfinite(stars[bands[0]])
    assert low <= g[seen].min() < g[seen].max() <= high
    for name in ASTROMETRY:
        assert (np.isnan(stars[name]) == np.isnan(stars["pmra"])).all()
    assert np.isnan(stars["pmra"][seen & (g > 20.7)]).all()
    bright = seen & (g < 20.7)
    assert stats.binomtest(int(np.isnan(stars["pmra"][bright]).sum()), int(bright.sum()), 0.2).pvalue > LEAST_P
    faint, clear = bright & (g > 19.5), bright & (g < 17)
    assert np.nanmedian(stars["pmra_err"][faint]) > 4 * np.nanmedian(stars["pmra_err"][clear])
    assert np.abs(stars["pmra_pmdec_corr"][bright & np.isfinite(stars["pmra"])]).max() < 0.4


def test_truth_is_at_the_track(drawn):
    made, _ = drawn
    truth = made.truth_at([-12.0, -6.0, 0.0, 15.0])
    assert truth["distmod"].tolist() == pytest.approx([15, 15.15, 15.3, 16])
    assert truth["distance"].tolist() == pytest.approx((10 ** (np.array([15, 15.15, 15.3, 16]) / 5 - 2)).tolist())
    assert truth["phi2_sigma"].tolist() == [0.3] * 4
    assert truth["weight"][[0, 3]].tolist() == [0, 0]
    assert (truth["weight"][1:3] > 0.1).all()


SIZES = {"empty": (0, 0), "one of the stream": (1, 0), "one of the field": (0, 1), "no stream": (0, 50)}


@pytest.mark.parametrize("survey", FIELD_SURVEYS)
@pytest.mark.parametrize(("n_stream", "n_background"), SIZES.values(), ids=SIZES)
def test_tables_may_be_small(survey, n_stream, n_background):
    stars = mock(survey, n_stream=n_stream, n_background=n_background).simulate()
    assert {len(column) for column in stars.values()} == {n_stream + n_background}
    assert (stars["true_component"] == "stream").sum() == n_stream
    assert stars["true_p_member"] == pytest.approx([float(n_stream > 0)] * (n_stream + n_background))


def test_a_seed_gives_its_stars():
    first, again, other = (mock("gaia_dr3", n_background=200, seed=seed).simulate() for seed in (3, 3, 4))
    for name, column in first.items():
        assert np.array_equal(column, again[name], equal_nan=name != "true_component"), name
    assert not np.isin(first["ra"], other["ra"]).any()


@pytest.fixture
def tracks(tmp_path):
    """A stream of galstreams that knows its position alone, and one that knows all."""
    unknown = {"distance": 1.0, "pm_ra_cosdec": 0.0, "pm_dec": 0.0, "radial_velocity": 0.0}
    phi1 = np.linspace(-20, 20, 81)
    write_track(tmp_path, "st.Poor.me2020", phi1, "1000", **{name: np.full(81, x) for name, x in unknown.items()})
    write_track(tmp_path, "st.Rich.me2020", phi1, "1111", (0.25, 0.0, 0.0))
    write_log(tmp_path, [("st", 1, f"{name}-M20", name, "me2020", -1.0) for name in ("Poor", "Rich")])
    return str(tmp_path / "tracks")


def test_a_field_around_a_stream_of_galstreams(tracks):
    stars = TrackMock("rich", 400, 400, tracks=tracks).simulate()
    assert stars["true_phi2_sigma"] == pytest.approx([0.25] * 800)
    member = stars["true_component"] == "stream"
    there = SkyCoord(stars["ra"] * u.deg, stars["dec"] * u.deg).transform_to(FRAME)
    assert np.std((there.lat.deg - stars["true_phi2"])[member]) == pytest.approx(0.25, rel=0.15)
    phi1 = there.lon.wrap_at(180 * u.deg).deg
    assert stars["true_distance"][member] == pytest.approx(9 + phi1[member] / 20, abs=1e-2)


def test_what_a_track_lacks_is_drawn(tracks):
    first, second = (TrackMock("poor", 5, 5, tracks=tracks, seed=seed).truth_at([0.0]) for seed in (0, 1))
    for name in ("distmod", "pm_phi1", "pm_phi2"):
        assert torch.isfinite(first[name]).all()
        assert first[name] != second[name]


def test_a_part_of_a_track_and_a_field_of_its_own():
    stars = mock("des", n_stream=50, n_background=50, phi1=(-4, 6), phi2=(-1.5, 2.5)).simulate()
    there = SkyCoord(stars["ra"] * u.deg, stars["dec"] * u.deg).transform_to(FRAME)
    assert np.abs(there.lon.wrap_at(180 * u.deg).deg - 1).max() <= 5
    assert np.abs(there.lat.deg - 0.5).max() <= 2


def test_the_command_simulates_it(tmp_path, tracks):
    config = tmp_path / "simulate.yaml"
    settings = f"track: rich, tracks: {tracks}, n_stream: 20, n_background: 30, survey: des"
    config.write_text(f"simulator:\n  class_path: stream_mapper.mock.TrackMock\n  init_args: {{{settings}}}\n")
    simulate(["--config", str(config), "--output", str(tmp_path / "stars.ecsv")])
    stars = read_table(tmp_path / "stars.ecsv")
    assert len(stars) == 50
    assert str(stars["pmra_err"].unit) == "mas / yr"


BAD = {
    "survey 'hst' cannot be simulated; there are gaia_dr3, panstarrs1, des": {"survey": "hst"},
    "n_stream must be 0 or more": {"n_stream": -1},
    "width of TrackMock must be": {"width": 0.0},
    "needs an isochrone in the bands": {"isochrone": Isochrone.synthetic(("r", "g"))},
    "no part of the track is in phi1": {"phi1": (30, 40)},
    "no star of the isochrone is inside 14.0 < G < 20.5": {
        "track": Track([0.0, 1.0], {"phi2": [0.0, 0.0], "distmod": [26.0, 26.0]})
    },
    "needs a track with phi2 at two places": {"track": Track([0.0], {"phi2": [0.0]})},
    "shares of TrackMock": {"missing_photometry": 1.0},
}


@pytest.mark.parametrize(("message", "other"), BAD.items(), ids=BAD)
def test_what_cannot_be_simulated_is_refused(message, other):
    with pytest.raises(InputError, match=message):
        TrackMock(**{"track": TRACK, "survey": "gaia_dr3", **other})


def test_fields_around_galstreams_own_tracks():
    library = Library(real_tracks())
    for entry in np.random.default_rng(1).choice(np.array(library.entries, dtype=object), 6, replace=False):
        stars = TrackMock(entry.name, 40, 400, tracks=library.folder).simulate()
        p, member = stars["true_p_member"], stars["true_component"] == "stream"
        assert len(p) == 440
        assert abs(p.sum() - member.sum()) < 5 * np.sqrt((p * (1 - p)).sum()) + 1e-3
