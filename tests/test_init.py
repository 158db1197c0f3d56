"""What is decided for a stream: the laws that every decision keeps, and what a table changes."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from galstreams_files import real_tracks, truth, write_log, write_track

from stream_mapper.builtin import Isochrone
from stream_mapper.catalog import SkyFrame, table_facts, to_table
from stream_mapper.catalog.facts import deepest
from stream_mapper.catalog.sky.library import Library
from stream_mapper.decisions import Choice, Decisions, decide
from stream_mapper.decisions.distance import Cells, Scan
from stream_mapper.decisions.light import SURVEY_LIMITS, complete
from stream_mapper.decisions.likelihood import OnAndBeside
from stream_mapper.decisions.peak import LEAST_RATIO, LEAST_SIGNIFICANCE, motion_peak
from stream_mapper.errors import InputError
from stream_mapper.mock import TrackMock

NOTHING = {"distance": 1.0, "pm_ra_cosdec": 0.0, "pm_dec": 0.0, "radial_velocity": 0.0}
STREAMS = {  # name: (phi1, InfoFlags, what is not known or not as it is, width in the literature)
    "Thin": ((-20, 20), "1111", {}, 0.05),
    "Wide": ((-15, 15), "1111", {}, 1.2),
    "Huge": ((-15, 15), "1111", {}, 9.0),
    "Long": ((-90, 110), "1111", {}, 1.0),
    "Short": ((-0.5, 0.5), "1111", {}, 0.1),
    "Dark": ((-20, 20), "1000", NOTHING, -9.0),
    "Mean": ((-20, 20), "1000", NOTHING | {"distance": 12.0}, 0.4),
    "Moving": ((-20, 20), "1010", {"distance": 1.0, "radial_velocity": 0.0}, 0.3),
    "Near": ((-20, 20), "1111", {"distance": 1.5}, 0.4),
}


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """A folder of streams of every kind."""
    folder = tmp_path_factory.mktemp("galstreams")
    for name, (ends, flags, other, _) in STREAMS.items():
        phi1 = np.linspace(*ends, 161)
        columns = {key: np.full(161, value) for key, value in other.items()}
        if name == "Long":
            columns["distance"] = np.full(161, 20.0)
        write_track(folder, f"st.{name}.me2020", phi1, flags, **columns)
    rows = [("st", 1, f"{name}-M20", name, "me2020", width) for name, (*_, width) in STREAMS.items()]
    write_log(folder, rows)
    return str(folder / "tracks")


def keeps_the_laws(decisions):
    """What holds for the decisions of any stream."""
    for field in fields(decisions):
        choice = getattr(decisions, field.name)
        assert isinstance(choice, Choice)
        assert choice.reason.endswith("."), field.name
        assert "\n" not in choice.reason
    low, high = decisions.phi1.value
    assert -180 <= low < high <= 180
    places = len(decisions.guides.value["phi2"])
    assert 2 <= places <= 12
    found = decisions.found_motion.value
    lengths = {name: places if found is None or name not in found.coordinates else 2 for name in decisions.guides.value}
    assert {name: len(widths) for name, widths in decisions.guides.value.items()} == lengths
    assert min(min(widths) for widths in decisions.guides.value.values()) > 0
    window = decisions.phi2.value
    half = window if isinstance(window, float) else (window[1] - window[0]) / 2
    ranges = {name: np.exp(edges) for name, edges in decisions.bounds.value.items()}
    assert all(least < most for least, most in ranges.values())
    assert 4 * ranges["phi2.ln-sigma"][1] <= half * 1.001
    assert 0 < decisions.off_stream.value <= 0.6 * half * 1.001
    for name, (least, most) in decisions.motions.value.items():
        assert 4 * ranges[f"{name}.ln-sigma"][1] < (most - least) / 2
    bright, faint = decisions.magnitudes.value
    assert bright < faint
    assert ("photometry" in decisions.coordinates.value) == (decisions.absolute.value is not None)
    assert len(decisions.lines()) == len(fields(decisions))


@pytest.mark.parametrize("survey", SURVEY_LIMITS)
@pytest.mark.parametrize("name", STREAMS)
def test_every_stream_gets_decisions_that_keep_the_laws(name, survey, tracks):
    keeps_the_laws(decide(name, survey=survey, tracks=tracks))


def test_these_laws_can_be_broken(tracks):
    decisions = decide("Thin", tracks=tracks)
    with pytest.raises(AssertionError):
        keeps_the_laws(replace(decisions, off_stream=Choice(3.0, "Too far.")))
    with pytest.raises(AssertionError):
        keeps_the_laws(replace(decisions, phi1=Choice((3.0, -3.0), "Turned around.")))


def test_widths_are_those_of_the_literature(tracks):
    thin, wide, huge = (decide(name, tracks=tracks) for name in ("Thin", "Wide", "Huge"))
    assert thin.phi2.value[1] - max(truth(np.linspace(-20, 20, 99))["phi2"]) == pytest.approx(2, abs=0.01)
    assert wide.phi2.value[1] - max(truth(np.linspace(-15, 15, 99))["phi2"]) == pytest.approx(7.2, abs=0.01)
    assert np.exp(wide.bounds.value["phi2.ln-sigma"]) == pytest.approx([1.2 / 8, 1.8], rel=1e-3)
    assert wide.off_stream.value == pytest.approx(3.6)
    assert "as wide as a field can be" in huge.phi2.reason
    assert "6 widths of 1.2 deg" in wide.phi2.reason


def test_motions_do_not_swallow_the_halo(tracks):
    far, near = (decide(name, tracks=tracks).bounds.value["pm_phi1.ln-sigma"][1] for name in ("Thin", "Near"))
    assert far == -1.2
    assert near == pytest.approx(math.log(8 / (4.74 * 1.5)), abs=1e-3)


def test_what_is_not_known_is_said(tracks):
    dark, mean = decide("Dark", tracks=tracks), decide("Mean", tracks=tracks)
    assert dark.coordinates.value == ("phi2", "pm_phi1", "pm_phi2")
    assert "photometry with a known distance" in dark.coordinates.reason
    assert set(dark.guides.value) == {"phi2"}
    assert "look for a peak" in dark.motions.reason
    assert dark.sources.value == {}
    assert "no track of the stream knows its velocity" in dark.sources.reason
    assert "a usual one, as none is known" in dark.bounds.reason
    assert set(mean.guides.value["distmod"]) == {0.75}
    assert mean.sources.value == {"distance": "track.st.Mean.me2020 (mean)"}
    near, far = (5 * np.log10(12) + 10 + off for off in (-0.95, 0.95))
    assert mean.absolute.value == pytest.approx((12 - far, 20.5 - near), abs=2e-3)


def test_the_field_reaches_beyond_the_track_and_long_ones_are_cut(tracks):
    assert decide("Thin", tracks=tracks).phi1.value == pytest.approx((-24, 24))
    assert decide("Short", tracks=tracks).phi1.value == pytest.approx((-1.5, 1.5))
    long = decide("Long", tracks=tracks)
    assert long.phi1.value == pytest.approx((-50, 50))  # 12 deg high
    assert "more than 1200 deg2 have too many kinds of stars" in long.phi1.reason
    assert "--phi1 '[-95, -50] and [50, 115]'" in long.phi1.reason
    bent = decide("Long", tracks=tracks, phi1=(-90, 110))
    assert bent.phi2.value == 6
    assert "About the track, which bends by 16 deg" in bent.phi2.reason
    assert decide("Thin", tracks=tracks, phi1=(-5, 5)).phi1.value == (-5, 5)


@pytest.mark.parametrize("survey", ["gaia_dr3", "panstarrs1", "des"])
def test_a_table_tells_its_survey_depth_and_gaps(survey, tracks):
    mock = TrackMock("Thin", 200, 4000, survey=survey, tracks=tracks, phi1=(-10, 15), missing_photometry=0.1)
    table = to_table(mock.simulate())
    decisions = decide("thin", table, survey=None if survey == "gaia_dr3" else survey, tracks=tracks)
    keeps_the_laws(decisions)
    bands = mock.survey.passbands.bands
    assert set(decisions.bands.value) == set(bands)
    assert decisions.phi1.value == pytest.approx((-10, 15), abs=0.2)
    faint = min(mock.survey.passbands.limits[1], SURVEY_LIMITS[survey].faint + 0.5)
    assert decisions.magnitudes.value[1] == pytest.approx(faint, abs=0.2)
    assert set(decisions.errors.value) == {"pm_phi1", "pm_phi2", "parallax", *bands}
    assert set(decisions.missing.value) == {"pm_phi1", "pm_phi2", "parallax", *bands}
    assert f"{bands[0]} {np.isnan(table[bands[0]]).mean():.1%}" in decisions.missing.reason
    assert "stars of the table are left" in decisions.off_stream.reason


def test_magnitudes_without_extinction_are_taken_where_a_table_has_them(tracks):
    mock = TrackMock("Thin", 200, 4000, survey="gaia_dr3", tracks=tracks, phi1=(-10, 15))
    table = to_table(mock.simulate())
    observed = decide("thin", table, tracks=tracks)
    assert observed.dereddened.value is False
    assert "data.corrections.extinction" in observed.dereddened.reason
    for ours, theirs in {"G": "G0", "BP": "GBP0", "RP": "GRP0"}.items():
        table[theirs] = table[ours] - 0.3
        table.rename_columns([ours, f"{ours}_err"], [f"phot_{ours.lower()}_mean_mag{end}" for end in ("", "_error")])
    free = decide("thin", table, tracks=tracks)
    keeps_the_laws(free)
    assert free.dereddened.value is True
    assert "G0, GBP0, GRP0" in free.dereddened.reason
    assert (free.survey.value, free.bands.value) == ("gaia_dr3", ("G", "BP", "RP"))
    assert free.errors.value == observed.errors.value
    assert free.magnitudes.value[0] == pytest.approx(observed.magnitudes.value[0] - 0.3, abs=0.01)


def test_a_narrow_table_is_said_to_be(tracks):
    table = to_table(TrackMock("Wide", 100, 500, tracks=tracks, phi2=(-2.5, 2.5)).simulate())
    decisions = decide("Wide", table, tracks=tracks)
    keeps_the_laws(decisions)
    assert "too few: fetch a wider field" in decisions.phi2.reason
    assert "too few for a flow (below 2000)" in decisions.off_stream.reason


def test_a_table_without_motions_or_magnitudes(tracks):
    table = to_table(TrackMock("Thin", 50, 500, tracks=tracks).simulate())["ra", "dec"]
    decisions = decide("Thin", table, tracks=tracks)
    assert decisions.coordinates.value == ("phi2",)
    assert decisions.motions.value == {}
    assert "Without proper motions" in decisions.coordinates.reason


def field_of(seed, size, members=0, drift=(0.0, 0.0)):
    """Places, motions, and distances from the track in its widths, of a field with some stars of a stream."""
    rng = np.random.default_rng(seed)
    disc = rng.normal((-2.5, -3.5), (4.2, 3.4), (size, 2))
    motions = np.where((rng.random(size) < 0.7)[:, None], disc, rng.normal((-1, -2), 2, (size, 2)))
    along, distance = rng.uniform(-1, 1, size + members), np.abs(rng.uniform(0, 10, size + members))
    distance[size:] = np.abs(rng.normal(0, 1, members))
    stream = np.array([3.0, -1.0]) + along[size:, None] * drift + rng.normal(0, 0.3, (members, 2))
    return along, np.concatenate([motions, stream]), distance < 2, distance > 3


@pytest.mark.parametrize("drift", [(0.0, 0.0), (2.0, -1.0), (-0.7, 2.6)])
def test_the_motion_of_a_stream_is_a_peak(drift):
    peak = motion_peak(*field_of(1, 20_000, 120, drift))
    assert peak.significance > LEAST_SIGNIFICANCE
    assert peak.motion == pytest.approx((3, -1), abs=0.2)
    assert peak.drift == pytest.approx(drift, abs=0.55)
    assert 60 < peak.excess < 160


def test_noise_is_no_peak():
    assert [motion_peak(*field_of(seed, 6000)) for seed in range(12)] == [None] * 12
    assert motion_peak(*field_of(1, 20_000, 8)) is None


def field_with_errors(seed, members):
    """As `field_of`, with errors of 0.05 to 0.9 mas/yr, the members bright."""
    along, motions, on, off = field_of(seed, 600, members)
    rng = np.random.default_rng(seed)
    errors = np.repeat(rng.uniform(0.3, 0.9, (len(along), 1)), 2, axis=1)
    errors[rng.random(len(along)) < 0.1] = 0.05
    errors[600:] = 0.05
    motions[600:] = rng.normal((3.0, -1.0), 0.1, (members, 2))
    return along, motions + errors * rng.normal(size=motions.shape), on, off, errors


def test_few_bright_stars_are_a_peak_by_their_errors():
    *stars, errors = field_with_errors(3, 10)
    assert motion_peak(*stars) is None
    peak = motion_peak(*stars, errors)
    assert peak.significance > LEAST_RATIO
    assert peak.motion == pytest.approx((3, -1), abs=0.15)
    assert 6 < peak.excess < 15
    assert [motion_peak(*field_with_errors(seed, 0)) for seed in range(8)] == [None] * 8


def test_the_likelihood_ratio_is_that_of_sums_over_stars():
    """Beside the track a narrow and a broad Gaussian about each star, and a little of an even law; cells are fine."""
    rng = np.random.default_rng(0)
    on, beside = rng.normal((1, -2), 1.5, (60, 2)), rng.normal((1, -2), 1.5, (400, 2))
    on[:9] = rng.normal((2.0, 0.5), 0.1, (9, 2))
    errors = np.full((60, 2), 0.2)
    square = ((on[:, None] - beside) ** 2).sum(-1)
    sums = [share * np.exp(-square / 2 / h**2).sum(1) / (2 * np.pi * h**2) for share, h in ((0.85, 0.5), (0.15, 2.0))]
    law = (sum(sums) + 2 / 30**2) / 402
    variance = 0.2**2 + 0.25**2
    stream = np.exp(-((on - (2.0, 0.5)) ** 2).sum(1) / 2 / variance) / (2 * np.pi * variance)
    shares = np.geomspace(0.004, 0.4, 12)
    expected = max(np.log((1 - share) + share * stream / law).sum() for share in shares)
    found = OnAndBeside(on, errors, beside, np.full((400, 2), 0.2)).about((2.0, 0.5))
    assert found.ln_ratio == pytest.approx(expected, rel=0.1)
    assert found.stars == pytest.approx(9, abs=4)
    assert found.motion == pytest.approx((2.0, 0.5), abs=0.2)


def test_a_peak_needs_stars_on_the_track_and_beside_it():
    along, motions, on, off = field_of(1, 500)
    assert motion_peak(along, motions, on & False, off) is None
    assert motion_peak(along, motions, on, off & False) is None
    assert motion_peak(along, motions * np.nan, on, off) is None


@pytest.mark.parametrize("isochrone", [None, Isochrone.synthetic(("g", "r"))], ids=["no isochrone", "isochrone"])
def test_a_motion_that_no_track_knows_is_looked_for(isochrone, tracks):
    mock = TrackMock("Mean", 300, 10_000, survey="panstarrs1", tracks=tracks)
    decisions = decide("Mean", to_table(mock.simulate()), survey="panstarrs1", isochrone=isochrone, tracks=tracks)
    keeps_the_laws(decisions)
    found, true = decisions.found_motion.value, mock.truth_at([0.0])
    for name in ("pm_phi1", "pm_phi2"):
        assert found.values(name) == pytest.approx([float(true[name])] * 2, abs=0.2)
        assert decisions.guides.value[name] == [1.0, 1.0]
        low, high = decisions.motions.value[name]
        assert (low + high) / 2 == pytest.approx(float(true[name]), abs=0.2)
    assert "sigma" in decisions.found_motion.reason


def test_a_motion_is_not_looked_for_in_vain(tracks):
    table = to_table(TrackMock("Mean", 0, 5000, survey="panstarrs1", tracks=tracks).simulate())
    nothing = decide("Mean", table, survey="panstarrs1", tracks=tracks)
    assert nothing.found_motion.value is None
    assert "give the isochrone, a narrower field or the motion" in nothing.found_motion.reason
    assert "pm_phi1" not in nothing.guides.value
    assert nothing.coordinates.value == ("phi2", "pm_phi1", "pm_phi2", "photometry")
    light = decide("Mean", table, survey="panstarrs1", isochrone=Isochrone.synthetic(("g", "r")), tracks=tracks)
    assert light.coordinates.value == ("phi2", "photometry")
    assert "a wrong one loses its stars" in light.coordinates.reason
    assert "A track of the stream knows" in decide("Thin", table, tracks=tracks).found_motion.reason
    assert "no proper motions" in decide("Mean", table["ra", "dec"], tracks=tracks).found_motion.reason


def slices_of(modulus, drift, height, seed=0):
    """Five slices of a field at moduli every 0.1 mag: noise, and a stream at a modulus."""
    moduli, rng = np.arange(10, 21.01, 0.1), np.random.default_rng(seed)
    centres = modulus + drift * np.linspace(-1, 1, 5)
    stream = height * np.exp(-0.5 * ((moduli - centres[:, None]) / 0.3) ** 2)
    excess = stream + rng.normal(0, 1, (5, len(moduli)))
    return Scan(excess, np.ones((5, len(moduli))), ((height * excess - height**2 / 2)[..., None],))


@pytest.mark.parametrize("drift", [0.0, 0.75, -0.5])
def test_the_distance_of_a_stream_is_a_peak(drift):
    found = slices_of(16.4, drift, 8).peak()
    assert found.distmod == pytest.approx(16.4, abs=0.2)
    assert found.drift == pytest.approx(drift, abs=0.25)
    assert found.half < 0.5
    assert found.significance > 8
    assert [slices_of(16.4, 0, 0, seed).peak() for seed in range(12)] == [None] * 12


def test_a_scan_compares_the_stars_on_a_track_with_those_beside_it():
    on, off = np.array([[8.0, 2.0], [4.0, 6.0]]), np.array([[40.0, 10.0], [8.0, 12.0]])
    field = np.array([3.0, 1.0])
    scan = Cells(on, off, field, 0.1).scan(np.array([[0.0, 5.0], [7.0, 0.0]]))
    np.testing.assert_allclose(scan.excess, 0, atol=1e-12)
    weight = 0.1 * 5 / (0.9 * 1 + 0.1 * 5)  # of the second cell at the first modulus
    np.testing.assert_allclose(scan.variance[:, 0], [1.2 * 2 * weight**2, 1.5 * 6 * weight**2])
    most = 0.7  # the largest share that is tried
    ln_without = [np.log(3), np.log(1)]
    ln_with = [np.log((1 - most) * 3), np.log((1 - most) * 1 + most * 5)]
    smooth = on + [[0.2], [0.5]] * (off.sum(-1, keepdims=True) * field / 4 - off)
    np.testing.assert_allclose(scan.gains[0][:, 0, -1], smooth @ np.subtract(ln_with, ln_without))


@pytest.mark.parametrize(("name", "survey"), [("Dark", "des"), ("Moving", "gaia_dr3")])
def test_a_distance_that_no_track_knows_is_looked_for(name, survey, tracks):
    mock = TrackMock(name, 400, 6000, survey=survey, tracks=tracks, seed=1)
    isochrone = Isochrone.synthetic(SURVEY_LIMITS[survey].bands if survey == "gaia_dr3" else ("g", "i"))
    decisions = decide(name, to_table(mock.simulate()), survey=survey, isochrone=isochrone, tracks=tracks)
    keeps_the_laws(decisions)
    found, true = decisions.found_distance.value, float(mock.truth_at([0.0])["distmod"])
    assert np.median(found.values("distmod")) == pytest.approx(true, abs=0.3)
    assert set(decisions.guides.value["distmod"]) == set(found.half_width("distmod"))
    assert "photometry" in decisions.coordinates.value
    assert "sigma" in decisions.found_distance.reason
    assert decisions.sources.value["distance"] == "a scan of the table's stars (mean)"


def test_a_distance_is_not_looked_for_in_vain(tracks):
    table, isochrone = to_table(TrackMock("Dark", 0, 4000, survey="des", tracks=tracks).simulate()), ("g", "i")
    nothing = decide("Dark", table, survey="des", isochrone=Isochrone.synthetic(isochrone), tracks=tracks)
    keeps_the_laws(nothing)
    assert nothing.found_distance.value is None
    assert "at no distance are stars on the track more" in nothing.found_distance.reason
    facts = table_facts(table, SkyFrame({"track": "Dark", "tracks": tracks}), "des")
    narrow = np.abs(facts.phi2 - truth(facts.phi1)["phi2"]) < 0.19
    alone = decide("Dark", table[narrow], survey="des", isochrone=Isochrone.synthetic(isochrone), tracks=tracks)
    assert alone.found_distance.value is None  # no star is beside the track
    faint = table.copy()
    faint["g"] += 8
    beyond = decide("Dark", faint, survey="des", isochrone=Isochrone.synthetic(isochrone), tracks=tracks)
    assert "No star is within the limits of the survey" in beyond.found_distance.reason
    other = decide("Dark", table, survey="des", isochrone=Isochrone.synthetic(("G", "RP")), tracks=tracks)
    assert "no two bands of the isochrone" in other.found_distance.reason
    assert "these were not given" in decide("Dark", table, survey="des", tracks=tracks).found_distance.reason
    assert "A track of the stream knows" in decide("Thin", tracks=tracks).found_distance.reason


def test_the_faintest_stars_count_where_a_table_was_cut_at_them():
    """A tail of few faint stars is not where a survey ends; nor are counts complete where they fall."""
    rising = 14 + np.log1p(np.random.default_rng(0).random(20_000) * (np.exp(8) - 1))  # dN/dm grows to 22
    assert deepest(rising) == rising.max()
    assert deepest(np.append(rising, 25.0)) == pytest.approx(np.percentile(rising, 99.5), abs=0.01)
    assert complete(rising, 22.0) == 22.0
    fading = rising[np.random.default_rng(1).random(20_000) < 1 / (1 + np.exp(5 * (rising - 21)))]
    assert complete(fading, fading.max()) == pytest.approx(20.9, abs=0.4)


def test_facts_are_those_of_the_table(tracks):
    stars = TrackMock("Thin", 50, 500, survey="des", tracks=tracks).simulate()
    facts = table_facts(to_table(stars), SkyFrame({"track": "Thin", "tracks": tracks}), "des")
    assert (facts.size, facts.survey, facts.bands) == (550, "des", ("g", "i"))
    assert facts.ranges["g"] == (np.nanmin(stars["g"]), np.nanmax(stars["g"]))
    assert facts.missing["pm_phi1"] == pytest.approx(np.isnan(stars["pmra"]).mean())


def with_velocities(table, mock, share, seed=0):
    """The table with radial velocities of some stars: 5 km/s about the track for its members, 100 about zero else."""
    rng = np.random.default_rng(seed)
    member = table["true_component"] == "stream"
    rv = np.where(
        member,
        truth(table["true_phi2"] * 0)["radial_velocity"] + rng.normal(0, 5, len(table)),
        rng.normal(0, 100, len(table)),
    )
    table["radial_velocity"] = np.where(rng.random(len(table)) < share, rv, np.nan)
    table["radial_velocity_error"] = np.where(np.isfinite(table["radial_velocity"]), 2.0, np.nan)
    return table


def test_radial_velocities_are_fitted_where_there_are_enough(tracks):
    mock = TrackMock("Thin", 200, 4000, tracks=tracks)
    table = to_table(mock.simulate())
    assert "The table has none" in decide("Thin", table, tracks=tracks).velocity.reason
    few = decide("Thin", with_velocities(table.copy(), mock, 0.01), tracks=tracks)
    assert not few.velocity.value
    assert "too few for a flow (below 200)" in few.velocity.reason
    enough = decide("Thin", with_velocities(table.copy(), mock, 0.2), tracks=tracks)
    keeps_the_laws(enough)
    assert enough.coordinates.value[-1] == "radial_velocity"
    assert "radial_velocity" in enough.errors.value
    assert set(enough.guides.value["radial_velocity"]) == {20.0}
    assert enough.bounds.value["radial_velocity.ln-sigma"] == (0.0, 2.7)
    assert "radial_velocity.mu" not in enough.bounds.value
    assert enough.spectra.value is None


def test_a_velocity_that_no_track_knows_has_a_range_and_no_guide(tracks):
    mock = TrackMock("Dark", 200, 4000, tracks=tracks)
    table = with_velocities(to_table(mock.simulate()), mock, 0.2)
    table.rename_columns(["radial_velocity", "radial_velocity_error"], ["VRAD", "VRAD_ERR"])
    decisions = decide("Dark", table, tracks=tracks)
    keeps_the_laws(decisions)
    assert "radial_velocity" not in decisions.guides.value
    assert decisions.bounds.value["radial_velocity.mu"] == (-450.0, 450.0)
    assert decisions.spectra.value == "desi_mws"
    assert "radial_velocity" in decisions.errors.value


def test_correlations_are_read_where_there_are_any(tracks):
    table = to_table(TrackMock("Thin", 50, 500, tracks=tracks).simulate())
    assert decide("Thin", tracks=tracks).correlation.value
    assert decide("Thin", table, tracks=tracks).correlation.value
    table.remove_column("pmra_pmdec_corr")
    assert not decide("Thin", table, tracks=tracks).correlation.value


def test_no_member_is_cut_by_its_parallax_or_its_colour(tracks):
    curve = Isochrone.synthetic(("g", "r"))
    mock = TrackMock("Near", 500, 2000, survey="panstarrs1", tracks=tracks)
    table = to_table(mock.simulate())
    decisions = decide("Near", table, survey="panstarrs1", isochrone=curve, tracks=tracks)
    keeps_the_laws(decisions)
    member = table["true_component"] == "stream"
    near = table["parallax"] - 3 * table["parallax_err"] <= decisions.parallax.value
    assert decisions.parallax.value == pytest.approx(10 ** ((0.75 + 0.2) / 5) / 1.5, rel=1e-3)
    assert (near | ~np.isfinite(table["parallax"]))[member].mean() > 0.995
    assert near[~member].mean() < 0.95
    name, (low, high) = decisions.colour.value
    assert name == "g - r"
    colour = table["g"] - table["r"]
    assert (((colour > low) & (colour < high)) | ~np.isfinite(colour))[member].all()
    assert decide("Dark", tracks=tracks).parallax.value is None
    assert decide("Near", table["ra", "dec"], tracks=tracks).parallax.value is None
    assert decide("Near", table, tracks=tracks).colour.value is None


def test_what_cannot_be_decided_is_refused(tracks):
    elsewhere = to_table(TrackMock("Short", 20, 20, tracks=tracks, phi2=(30, 34), width=2.0).simulate())
    with pytest.raises(InputError, match=r"no star within 2 deg of track\.st\.Thin\.me2020: it has phi1"):
        decide("Thin", elsewhere, tracks=tracks)
    with pytest.raises(InputError, match="survey 'hst' is unknown; there are gaia_dr2"):
        decide("Thin", survey="hst", tracks=tracks)
    with pytest.raises(InputError, match="no track 'nobody'"):
        decide("nobody", tracks=tracks)
    for phi1 in ((20, -10), (5, 5)):
        with pytest.raises(InputError, match=rf"phi1 is asked for from {phi1[0]} to {phi1[1]} deg; a field"):
            decide("Thin", phi1=phi1, tracks=tracks)


def test_a_table_that_is_no_field_of_the_stream_is_refused(tracks):
    here = to_table(TrackMock("Near", 500, 100, tracks=tracks).simulate())
    nowhere = here.copy()
    nowhere["ra"] = np.nan
    with pytest.raises(InputError, match="none of its 600 stars has a place on the sky; look at ra and dec"):
        decide("Near", nowhere, tracks=tracks)
    with pytest.raises(InputError, match=r"The table has 1 stars about the track, from .* to .* deg; a field is from"):
        decide("Near", here[np.asarray(here["true_component"]) == "stream"][:1], tracks=tracks)
    small = here.copy()
    for name in ("pmra", "pmdec"):
        small[name] = np.asarray(small[name]) / 1000
    assert decide("Near", here, tracks=tracks).motions.value
    with pytest.raises(InputError, match=r"that of the table's stars .*: none moves like the stream"):
        decide("Near", small, tracks=tracks)


def test_without_an_isochrone_magnitudes_are_left_out(tracks):
    decided = decide("Near", tracks=tracks)
    bare = decided.without_photometry()
    assert set(decided.coordinates.value) - set(bare.coordinates.value) == {"photometry"}
    assert set(decided.guides.value) - set(bare.guides.value) == {"distmod"}
    assert "isochrone: {}. There is none." in bare.lines()
    assert "coordinates: ('phi2', 'pm_phi1', 'pm_phi2'). Magnitudes say nothing without an isochrone." in bare.lines()


def test_galstreams_own_streams():
    library = Library(real_tracks())
    entries = np.random.default_rng(2).choice(np.array(library.entries, dtype=object), 10, replace=False)
    for entry in entries:
        decisions = decide(entry.name, tracks=library.folder)
        assert isinstance(decisions, Decisions)
        keeps_the_laws(decisions)
