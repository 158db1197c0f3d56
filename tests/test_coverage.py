"""The experiment on coverage: its judge can pass and fail, and a quick version of it runs from end to end."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "experiments" / "coverage"
MODULES = ("judge", "zones", "streams", "outcomes", "summaries")
HALF = 1.6448536


@pytest.fixture(scope="module")
def experiment():
    """The functions of the experiment's command, and its modules."""
    sys.path.insert(0, str(FOLDER))
    names = runpy.run_path(str(FOLDER / "run.py"), run_name="imported")
    names |= {name: sys.modules[name] for name in MODULES}
    yield names
    sys.path.remove(str(FOLDER))
    for name in MODULES:
        sys.modules.pop(name)


@pytest.fixture(scope="module")
def judge(experiment):
    return experiment["judge"]


def conjugate_fit(rng, places, scale):
    """True means, and their 90 % bands, of the conjugate fit of a constant to a few stars at each place; exact at 1."""
    prior, noise, stars = 1.0, 0.7, 5
    truth = rng.normal(0, prior, places)
    mean = rng.normal(truth[:, None], noise, (places, stars)).mean(1)
    variance = 1 / (1 / prior**2 + stars / noise**2)
    middle, half = variance * mean * stars / noise**2, scale * HALF * variance**0.5
    return truth, middle - half, middle + half


def smooth_fit(rng, places, scale):
    """A curve drawn from a Gaussian process, and the bands of its posterior given noisy stars; exact at 1."""
    x = np.linspace(0, 1, places)
    prior = np.exp(-0.5 * ((x[:, None] - x) / 0.15) ** 2)
    truth = rng.multivariate_normal(np.zeros(places), prior)
    gain = prior @ np.linalg.inv(prior + 0.3 * np.eye(places))
    middle = gain @ (truth + 0.3**0.5 * rng.normal(size=places))
    half = scale * HALF * np.sqrt(np.clip(np.diag(prior - gain @ prior), 1e-12, None))
    return truth, middle - half, middle + half


@pytest.mark.parametrize(
    ("make", "fits", "places"), [(conjugate_fit, 200, 1), (conjugate_fit, 12, 40), (smooth_fit, 40, 50)]
)
@pytest.mark.parametrize(("scale", "verdict"), [(1.0, "right"), (0.6, "too narrow"), (1.7, "too wide")])
def test_bands_are_judged_for_what_they_are(judge, make, fits, places, scale, verdict):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        found = judge.judge([judge.pulls_of(*make(rng, places, scale)) for _ in range(fits)])
        assert found.verdict == verdict, (seed, found)


def test_of_few_fits_nothing_is_said_that_they_cannot_tell(judge):
    rng = np.random.default_rng(0)
    found = judge.judge([judge.pulls_of(*conjugate_fit(rng, 1, 1.0)) for _ in range(10)])
    assert found.verdict == "undecided"
    assert judge.judge([]).verdict == "undecided"
    assert judge.judge([np.array([np.nan])]).verdict == "undecided"


def test_values_of_one_fit_that_move_together_are_not_counted_apart(judge):
    rng = np.random.default_rng(0)
    once = [rng.normal(size=1) for _ in range(30)]
    assert judge.independent_values([np.abs(np.repeat(values, 100)) for values in once]) == pytest.approx(30)
    apart = judge.independent_values([np.abs(rng.normal(size=20)) for _ in range(200)])
    assert 2000 < apart <= 4000


def test_a_truth_outside_a_band_of_no_length_is_missed(judge):
    truth, edge = np.array([0.0, 1.0, np.nan, 0.5]), np.array([0.0, 0.0, 0.0, 0.0])
    pulls = judge.pulls_of(truth, edge, np.array([0.0, 0.0, 0.0, 1.0]))
    assert pulls[0] == 0
    assert pulls[1] > 100
    assert np.isnan(pulls[2])
    assert pulls[3] == 0


def test_zones_are_those_of_the_truth(experiment):
    from stream_mapper.mock import Dip, StreamTruth

    gaps = (Dip(-10.0, 4.0, 0.9, hard=True), Dip(10.0, 1.0, 0.8))
    truth = StreamTruth({}, 100.0, (0.0,), 0.03, begin=-25.0, end=30.0, begin_width=0.1, end_width=2.0, gaps=gaps)
    at = {-30: "beyond", -26: "end", -24: "end", -23: "smooth", -12.5: "flank", -10: "gap", -8.2: "flank", 0: "smooth"}
    at |= {9.5: "gap", 12: "flank", 13: "smooth", 27: "end", 33: "end", 34.5: "beyond"}
    found = experiment["zones"].zones_of(truth, np.array(list(at), dtype=float))
    assert dict(zip(at, found.tolist(), strict=True)) == at


def test_gaps_are_matched_once_by_place(experiment):
    true = [{"centre": 0.0, "reach": 3.0}, {"centre": 20.0, "reach": 0.5}]
    found = [{"phi1": 2.0}, {"phi1": 20.9}, {"phi1": -10.0}]
    assert experiment["outcomes"].matched(true, found) == (2, 1)
    assert experiment["outcomes"].matched(true, found[2:]) == (0, 1)


def test_each_kind_of_case_can_be_made(experiment):
    case = experiment["case"]
    cases = [case(index) for index in range(20)]
    assert len({one.name for one in cases}) == 20
    assert {one.role for one in cases} == {"stream", "null", "fault"}
    assert {(one.kind, one.role) for one in cases} >= {
        (k, r) for k in ("photometric", "survey") for r in ("null", "fault")
    }
    for one in [*cases[:2], *cases[8:10]]:
        parts = one.config()["model"]["model"]["init_args"]["components"]["stream"]["init_args"]["components"]
        assert ("proper_motion" in parts) == (one.kind == "survey")
    nulls = [one.mock.stream.size for one in cases if one.role == "null"]
    assert nulls == [0] * 2


def test_guides_are_near_the_truth_and_off_it(experiment):
    offsets = []
    for index in range(5):
        one = experiment["case"](index, kind="photometric")
        parts = one.config()["model"]["model"]["init_args"]["components"]["stream"]["init_args"]["components"]
        guides = parts["position"]["init_args"]["priors"][0]["init_args"]
        offsets.append(np.array(guides["center"]) - one.mock.truth_at(guides["phi1"])["phi2"].numpy())
    assert 0.05 < np.std(offsets) < 0.25


@pytest.fixture(scope="module")
def quick(experiment, tmp_path_factory):
    """The folder of the quick version: two fits, through the command."""
    folder = tmp_path_factory.mktemp("coverage")
    experiment["main"](["--folder", str(folder), "--fits", "2", "--quick", "--kind", "photometric"])
    return folder


def test_the_quick_version_leaves_all_that_a_summary_needs(quick, experiment):
    kept = experiment["kept_in"](quick)
    assert [one.get("error") for one in kept] == [None, None]
    assert not list((quick / "runs").iterdir())
    for one in kept:
        quantities = one["places"]["quantities"]
        assert {"phi2", "distance", "weight", "density", "phi2_sigma", "distance_sigma"} == quantities.keys()
        for name in ("phi2", "distance", "weight", "density"):
            assert {"truth", "estimate", "05", "95"} <= quantities[name].keys()
            assert {len(column) for column in quantities[name].values()} == {len(one["places"]["phi1"])}
        assert one["verdict"] in ("believable", "doubtful", "no stream")
        assert sum(one["bins"]["stars"]) == pytest.approx(700, rel=0.5)
        assert {"truth", "estimate", "05", "95", "zone"} <= one["stars"].keys()
        assert one["numbers"]["members"]["truth"][0] == one["truth"]["members"]
    summaries = experiment["summaries"]
    lines = summaries.coverage_table(kept, tolerance=0.4)
    assert {("phi2", "all"), ("weight", "end"), ("p_member", "uncertain")} <= {(line[0], line[1]) for line in lines}
    assert {line[-1] for line in lines[1:]} <= {"right", "undecided", "too narrow", "too wide"}
    text = (quick / "summary.md").read_text()
    assert all(f"## {title}" in text for title in ("Bands", "Memberships", "Gaps", "Verdicts", "Fits"))


def test_the_command_goes_on_where_it_was_and_hides_no_error(quick, experiment, capsys, monkeypatch):
    (quick / "photometric_0009_stream.json").write_text(
        json.dumps(
            {"name": "photometric_0009_stream", "kind": "photometric", "role": "stream", "error": "ValueError: no"}
        )
    )
    experiment["main"](["--folder", str(quick), "--fits", "2", "--quick", "--kind", "photometric"])
    printed = capsys.readouterr().out
    assert printed.count(": found") == 2
    assert "failed: photometric_0009_stream | ValueError: no" in printed


def test_a_fit_that_fails_leaves_its_error(experiment, tmp_path, monkeypatch):
    outcomes = experiment["outcomes"]
    monkeypatch.setattr(outcomes, "_fitted", lambda case, folder: 1 / 0)
    found = outcomes.outcome(experiment["case"](0, kind="photometric"), tmp_path)
    assert found["error"].startswith("ZeroDivisionError")
    assert json.loads(json.dumps(found))["name"] == "photometric_0000_stream"


def exact_outcome(seed, scale):
    """What is kept of a fit whose bands are those of an exact posterior, times a scale."""
    rng = np.random.default_rng(seed)
    zones = ["smooth"] * 30 + ["end"] * 10
    truth, low, high = conjugate_fit(rng, 40, scale)
    weight = {"truth": truth + 10, "estimate": (low + high) / 2 + 10, "05": low + 10, "95": high + 10}
    weight["16"], weight["84"] = (weight["estimate"] + side * 0.99446 / HALF * (high - low) / 2 for side in (-1, 1))
    places = {"zone": zones, "total_density": [1.0] * 40, "quantities": {"weight": weight}}
    one = {"truth": [1.0], "estimate": [1.0]}
    stars = {"truth": truth, "estimate": (low + high) / 2, "05": low, "95": high, "zone": zones}
    return {"role": "stream", "places": places, "numbers": {"members": one}, "stars": stars}


@pytest.mark.parametrize(("scale", "verdict"), [(1.0, "right"), (0.6, "too narrow"), (1.7, "too wide")])
def test_the_table_of_many_fits_says_what_their_bands_are(experiment, scale, verdict):
    lines = experiment["summaries"].coverage_table([exact_outcome(seed, scale) for seed in range(40)])
    found = {(line[0], line[1]): line for line in lines}
    assert {key: line[-1] for key, line in found.items() if key[0] in ("weight", "p_member")} == {
        ("weight", "all"): verdict,
        ("weight", "smooth"): verdict,
        ("weight", "end"): verdict,
        ("p_member", "uncertain"): verdict,
    }
    _, _, fits, values, in_90, in_68, pull, spread, *_ = found["weight", "all"]
    assert (fits, values) == ("40", "1600")
    assert float(spread) == pytest.approx(1 / scale, rel=0.06)
    assert abs(float(pull)) < 0.15
    if scale == 1:
        assert float(in_90.split()[0]) == pytest.approx(90, abs=3)
        assert float(in_68.split()[0]) == pytest.approx(68, abs=4)
