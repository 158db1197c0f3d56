"""The simulators: stars and truth against the documented densities, written anew in numpy and scipy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from scipy.special import expit, logit, logsumexp, ndtr
from survey_laws import (
    GAPS,
    LAWS,
    PLACES,
    G,
    distmod,
    ln_phi1,
    magnitude_error,
    phi2,
    pm_phi1,
    pm_phi2,
    stream_photometry,
    whitened,
)

from stream_mapper.builtin import Isochrone
from stream_mapper.catalog import read_table
from stream_mapper.errors import InputError
from stream_mapper.mock import SurveyMock, TailoredMock
from stream_mapper.mock.survey.measurement import measure
from stream_mapper.results.metrics import truth_metrics
from stream_mapper.simulate import main as simulate

CONFIG = Path(__file__).parents[1] / "experiments" / "survey" / "simulate.yaml"
PM = ("pm_phi1", "pm_phi2", "pm_phi1_err", "pm_phi2_err")
PHOTOMETRY = ("g", "r", "g_err", "r_err")
# Of the stars of a small tailored mock, as it was first written.
SUMS = {
    "phi1": 3548.74664620133,
    "phi2": 4269.5940477951535,
    "parallax": 116.3356342253491,
    "g": 23804.02949227232,
    "r": 22459.73331312174,
    "true_p_member": 248.96743403845426,
}
LEAST_P = 1e-3  # of a test's statistic; the seeds are fixed


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """The survey of the experiment."""
    path = tmp_path_factory.mktemp("survey") / "stars.parquet"
    simulate(["--config", str(CONFIG), "--output", str(path)])
    return read_table(path)


@pytest.fixture(scope="module")
def rich():
    """A survey with many members, and with many stars that lack something."""
    return SurveyMock(
        seed=1, n_background=40_000, n_stream=3000, n_spur=600, missing_photometry=0.3, missing_pm=0.3
    ).simulate()


@pytest.fixture(scope="module")
def populations():
    """Each population by its name."""
    made = SurveyMock(n_stream=800, n_spur=400, n_background=3000, halo_share=0.5).populations
    return dict(zip(LAWS, [population for _, population in made], strict=True))


@pytest.fixture(scope="module")
def samples(populations):
    """Measured stars of each population, complete."""
    generator = torch.Generator().manual_seed(0)
    return {q: measure(p.sample(generator), 0.0, 0.0, generator) for q, p in populations.items()}


every_population = pytest.mark.parametrize("name", LAWS)


def uniform_p(quantiles):
    """p value of numbers that ought to be uniform in 0..1."""
    return stats.kstest(quantiles, stats.uniform.cdf).pvalue


@every_population
def test_samples_and_densities_are_those_of_the_documentation(name, populations, samples):
    law, stars = LAWS[name], {column: values.numpy() for column, values in samples[name].items()}
    white, ln_motion = whitened(law, stars)
    u_g, u_r, ln_photometry = law.photometry(*(stars[c] for c in ("phi1", "g", "r")))
    cdf = integrate.cumulative_trapezoid(law.phi1(PLACES), PLACES, initial=0)
    quantiles = {
        "phi1": np.interp(stars["phi1"], PLACES, cdf / cdf[-1]),
        "phi2": law.phi2(stars["phi1"]).cdf(stars["phi2"]),
        "pm": stats.chi2(2).cdf((white**2).sum(-1)),
        "pm_phi1": ndtr(white[:, 0]),
        "pm_phi2": ndtr(white[:, 1]),
        "g": u_g,
        "r": u_r,
    }
    p_values = {coordinate: uniform_p(u) for coordinate, u in quantiles.items()}
    assert min(p_values.values()) > LEAST_P, p_values
    population = populations[name]
    ln_number = population.ln_number(samples[name]["phi1"]).numpy()
    assert ln_number == pytest.approx(ln_phi1(law, stars["phi1"]) + np.log(population.size), abs=2e-3)
    ln_rest = law.phi2(stars["phi1"]).logpdf(stars["phi2"]) + ln_motion + ln_photometry
    assert population.ln_density(samples[name]).numpy() == pytest.approx(ln_number + ln_rest, abs=1e-3)


def test_these_checks_can_fail(samples):
    stars = {column: values.numpy() for column, values in samples["stream"].items()}
    assert uniform_p(stream_photometry(stars["phi1"], stars["g"] + 0.02, stars["r"])[1]) < LEAST_P
    white, _ = whitened(LAWS["stream"], stars | {"pm_phi1": pm_phi1(stars["phi1"])})
    assert uniform_p(stats.chi2(2).cdf((white**2).sum(-1))) < LEAST_P


def test_window_and_missing_values(survey):
    n = len(survey)
    members = np.asarray(survey["true_component"]) != "background"
    assert n >= 80_000
    assert members.mean() < 0.01
    window = {"phi1": (-40, 40), "phi2": (-4, 4), "g": G}
    for name, (low, high) in window.items():
        assert low <= np.nanmin(survey[name]) < low + 0.1
        assert high - 0.1 < np.nanmax(survey[name]) <= high
    lost = {name: np.isnan(np.asarray(survey[name])) for name in (*PM, *PHOTOMETRY)}
    for names, rate in ((PM, 0.04), (PHOTOMETRY, 0.08)):
        assert all((lost[name] == lost[names[0]]).all() for name in names)
        assert stats.binomtest(int(lost[names[0]].sum()), n, rate).pvalue > LEAST_P
        assert stats.binomtest(int(lost[names[0]][members].sum()), int(members.sum()), rate).pvalue > LEAST_P
    assert stats.binomtest(int((lost["g"] & lost["pm_phi1"]).sum()), n, 0.0032).pvalue > LEAST_P
    assert survey["pm_phi1_err"].unit == survey["true_pm_phi1_sigma"].unit == "mas / yr"


def test_errors_are_those_of_the_observed_magnitudes(survey):
    for band in ("g", "r"):
        assert np.allclose(survey[f"{band}_err"], magnitude_error(np.asarray(survey[band])), equal_nan=True)
    error = np.hypot(0.027, 0.35 * 10 ** (0.36 * (np.asarray(survey["g"]) - 20)))
    seen = np.isfinite(error + np.asarray(survey["pm_phi1"]))
    for name in ("pm_phi1_err", "pm_phi2_err"):
        assert np.allclose(survey[name][seen], error[seen])


def test_errors_of_stars_without_photometry_tell_nothing(rich):
    rows = np.isfinite(rich["pm_phi1"])
    unseen, member = np.isnan(rich["g"][rows]), rich["true_component"][rows] != "background"
    errors = rich["pm_phi1_err"][rows]
    assert stats.ks_2samp(errors[unseen & member], errors[unseen & ~member]).pvalue > LEAST_P
    assert stats.ks_2samp(errors[~unseen & member], errors[~unseen & ~member]).pvalue < LEAST_P


@pytest.mark.parametrize("lost", [(), PM, PHOTOMETRY, (*PM, *PHOTOMETRY)], ids=["complete", "pm", "photometry", "both"])
def test_truth_is_bayes_theorem_with_what_is_measured(rich, lost):
    numbers = dict(zip(LAWS, (3000, 600, 30_000, 10_000), strict=True))
    rows = np.all([np.isnan(rich[name]) == (name in lost) for name in (*PM, *PHOTOMETRY)], axis=0)
    uncertain = np.flatnonzero(rows & (rich["true_p_member"] > 1e-3))[:80]
    stars = {name: column[uncertain] for name, column in rich.items()}
    terms = []
    for name, law in LAWS.items():
        term = np.log(numbers[name]) + ln_phi1(law, stars["phi1"]) + law.phi2(stars["phi1"]).logpdf(stars["phi2"])
        term = term if "pm_phi1" in lost else term + whitened(law, stars)[1]
        terms.append(term if "g" in lost else term + law.photometry(stars["phi1"], stars["g"], stars["r"])[2])
    p = np.exp(np.array(terms) - logsumexp(terms, axis=0))
    assert len(uncertain) == 80
    assert stars["true_p_stream"] == pytest.approx(p[0], abs=1e-3)
    assert stars["true_p_spur"] == pytest.approx(p[1], abs=1e-3)
    assert stars["true_p_member"] == pytest.approx(p[0] + p[1], abs=1e-3)


def calibration(p, member):
    """p value of the number of members in each bin of probability."""
    edges = np.array([0, 1e-4, 1e-3, 0.01, 0.03, *np.arange(0.1, 0.95, 0.1), 0.95, 0.98, 1 + 1e-9])
    bins = np.digitize(p, edges)
    found, expected, variance = (np.bincount(bins, weights=w) for w in (member, p, p * (1 - p)))
    used = variance > 2
    z2 = (found - expected)[used] ** 2 / variance[used]
    return stats.chi2(used.sum()).sf(z2.sum())


SUBSETS = {
    "all": lambda stars: np.isfinite(stars["phi1"]),
    "without photometry": lambda stars: np.isnan(stars["g"]),
    "without proper motions": lambda stars: np.isnan(stars["pm_phi1"]),
}


@pytest.mark.parametrize("subset", SUBSETS.values(), ids=SUBSETS)
def test_truth_is_calibrated(rich, survey, subset):
    for stars, columns in ((rich, ("member", "stream", "spur")), (survey, ("member",))):
        rows = subset(stars)
        component = np.asarray(stars["true_component"])[rows]
        for name in columns:
            p = np.asarray(stars[f"true_p_{name}"])[rows]
            member = component != "background" if name == "member" else component == name
            assert calibration(p, member) > LEAST_P, name
            assert abs(p.sum() - member.sum()) < 3 * np.sqrt((p * (1 - p)).sum()), name


@pytest.mark.parametrize("power", [0.75, 1.3], ids=["too unsure", "too sure"])
def test_calibration_can_fail(rich, power):
    p = rich["true_p_member"]
    sharpened = expit(power * logit(np.clip(p, 1e-300, 1 - 1e-12)))
    assert calibration(sharpened, rich["true_component"] != "background") < LEAST_P


def test_weight_is_the_share_of_the_stream(rich):
    bins = np.digitize(rich["phi1"], np.arange(-40, 40, 1.0))
    weight, stream = rich["true_weight"], rich["true_component"] == "stream"
    found, expected, variance = (np.bincount(bins, weights=w) for w in (stream, weight, weight * (1 - weight)))
    used = variance > 2
    assert stats.chi2(used.sum()).sf((((found - expected) ** 2)[used] / variance[used]).sum()) > LEAST_P
    outside = (rich["phi1"] < -32) | (rich["phi1"] > 33)
    assert (weight[outside] == 0).all()
    assert (weight[~outside] > 0).all()
    assert (rich["true_p_stream"][outside] == 0).all()


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: f"at {gap[0]}")
def test_gaps_are_seen(rich, gap):
    centre, width, depth = gap
    distance = np.abs(rich["phi1"][rich["true_component"] == "stream"] - centre) / width
    inside, beside = (distance < 0.5).sum(), ((distance > 2.5) & (distance < 3.5)).sum() / 2
    assert inside / beside < 1 - 0.7 * depth


def test_tracks_are_those_of_the_documentation(rich):
    phi1 = rich["phi1"]
    modulus = distmod(phi1)
    expected = {"phi2": phi2(phi1), "pm_phi1": pm_phi1(phi1), "pm_phi2": pm_phi2(phi1), "distmod": modulus}
    expected |= {"phi2_sigma": 0.1, "pm_phi1_sigma": 0.03, "pm_phi2_sigma": 0.03, "distmod_sigma": 0.03}
    expected |= {"distance": 10 ** (modulus / 5 - 2), "distance_sigma": 0.03 * np.log(10) / 5 * 10 ** (modulus / 5 - 2)}
    for name, values in expected.items():
        assert np.allclose(rich[f"true_{name}"], values), name


def test_the_optimum_is_hard_but_not_hopeless(survey):
    survey["p_member"] = survey["true_p_member"]
    assert 0.85 < truth_metrics(survey)["optimal_average_precision"] < 0.97


SMALL = {"n_stream": 30, "n_spur": 10, "n_background": 200}


@pytest.mark.parametrize(("mock", "size"), [(SurveyMock, SMALL), (TailoredMock, {"n_background": 200})])
def test_a_seed_gives_its_stars(mock, size):
    first, again, other = (mock(seed=seed, **size).simulate() for seed in (3, 3, 4))
    for name, column in first.items():
        assert np.array_equal(column, again[name], equal_nan=name != "true_component"), name
    assert not np.isin(first["phi1"], other["phi1"]).any()


def test_tailored_stars_stay_what_they_were():
    stars = TailoredMock(seed=0, n_stream=300, n_background=900).simulate()
    assert (stars["true_component"] == "stream").sum() == 249
    assert {name: stars[name].sum() for name in SUMS} == pytest.approx(SUMS, rel=1e-9)


def test_a_survey_may_have_no_stream():
    stars = SurveyMock(n_stream=0, n_spur=0, n_background=300).simulate()
    assert len(stars["phi1"]) == 300
    assert (stars["true_p_member"] == 0).all()
    assert (stars["true_weight"] == 0).all()


BAD = {
    "n_background must be 1 or more": {"n_background": 0},
    "n_stream must be 0 or more": {"n_stream": -1},
    "0 or more and below 1": {"missing_pm": 1.0},
    "bands": {"isochrone": Isochrone.synthetic(("r", "g"))},
    "needs an isochrone with masses": {"isochrone": Isochrone(None, [[6.0, 5.0], [2.0, 1.0]], ("g", "r"))},
    "no star of the isochrone is inside": {
        "isochrone": Isochrone([0.1, 0.2], [[20.0, 19.0], [19.0, 18.5]], ("g", "r"))
    },
}


@pytest.mark.parametrize(("message", "arguments"), BAD.items(), ids=BAD)
def test_survey_refuses_what_it_cannot_simulate(message, arguments):
    with pytest.raises(InputError, match=message):
        SurveyMock(**arguments)
