"""The checks of a fit: each passes the model that made the stars, and fails the fault it is there for."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_average_precision

import stream_mapper as sml
from stream_mapper.inference.checks import CHECKS, Check, Evidence, Inspection, Schedule, inspection, judge, verdict
from stream_mapper.inference.checks.flips import Comparison, counts, kolmogorov, tail
from stream_mapper.inference.checks.knowledge import average_precision, of_the_best
from stream_mapper.inference.checks.residuals import _scores
from stream_mapper.inference.checks.terms import terms
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameters
from stream_mapper.prior import ControlRegions
from stream_mapper.results.projections import projections

N = 4000
BOUNDS = {
    "phi2": {"mu": (-4.0, 4.0), "ln-sigma": (-3.0, 1.0)},
    "pm": {"mu": (-8.0, 8.0), "ln-sigma": (-4.0, 1.0)},
    "distmod": {"mu": (13.0, 17.0), "ln-sigma": (-5.0, -1.0)},
}
TRUTH = {"phi2": (0.5, math.log(0.2)), "pm": (2.0, math.log(0.3)), "distmod": (15.0, -3.0)}
FAR = sml.utils.StandardScaler(("phi1",), mean=[0.0], scale=[10.0])


def constant(values, bounds):
    """A network whose outputs are these values, after their bounds."""
    net = Constant(len(values))
    place = torch.tensor([(v - low) / (high - low) for v, (low, high) in zip(values, bounds, strict=True)])
    with torch.no_grad():
        net.value.copy_(place.clamp(1e-4, 1 - 1e-4).logit())
    return net


def part(kind, name, truth, bounds, guides=None, **more):
    edges = list(bounds.values())
    prior = [] if guides is None else [ControlRegions(f"{name}.mu", *guides)]
    return kind(
        net=constant(truth, edges), params=ModelParameters({name: bounds}), data_scaler=FAR, priors=prior, **more
    )


def mixture(share=0.05, truth=TRUTH, bounds=BOUNDS, guides=None, background=None):
    """A stream in phi2, one proper motion and two magnitudes over an even field."""
    guides = guides or {}
    stream = {
        "position": part(
            sml.builtin.TruncatedNormal,
            "phi2",
            truth["phi2"],
            bounds["phi2"],
            guides.get("phi2"),
            coord_names=["phi2"],
            coord_bounds={"phi2": (-5, 5)},
        ),
        "motion": part(
            sml.builtin.Normal,
            "pm",
            truth["pm"],
            bounds["pm"],
            guides.get("pm"),
            coord_names=["pm"],
            coord_err_names=["pm_err"],
        ),
        "photometry": part(
            sml.builtin.IsochroneMVNorm,
            "distmod",
            truth["distmod"],
            bounds["distmod"],
            isochrone=sml.builtin.Isochrone.synthetic(["g", "r"]),
            phot_err_names=["g_err", "r_err"],
            mass_function=sml.builtin.PowerLawMassFunction(-0.5),
        ),
    }
    field = {
        "position": sml.builtin.Uniform(coord_names=["phi2"], coord_bounds={"phi2": (-5, 5)}),
        "motion": background or wide("pm", 0.0, 3.0, coord_err_names=["pm_err"]),
        "g": wide("g", 21.0, 1.5),
        "r": wide("r", 20.5, 1.5),
    }
    bound = (-9.0, -0.5)
    model = sml.MixtureModel(
        {"stream": sml.IndependentModels(stream), "background": sml.IndependentModels(field)},
        net=constant([math.log(share)] if share else [-8.99], [bound]),
        params=ModelParameters({"stream.ln-weight": bound}),
        data_scaler=FAR,
    )
    return model.eval()


def wide(name, mean, sigma, **more):
    bounds = {"mu": (mean - 1, mean + 1), "ln-sigma": (math.log(sigma) - 1, math.log(sigma) + 1)}
    return part(sml.builtin.Normal, name, (mean, math.log(sigma)), bounds, coord_names=[name], **more).requires_grad_(
        False
    )


def stars_of(model, size=N, seed=1):
    """Stars that a model made; one in ten lacks its proper motion."""
    generator = torch.Generator().manual_seed(seed)
    given = {"phi1": 20 * torch.rand(size, generator=generator) - 10, "pm_err": torch.full((size,), 0.2)}
    given |= {name: torch.full((size,), 0.05) for name in ("g_err", "r_err")}
    made = model.sample(sml.Data(given), seed=seed).without("component")
    lost = torch.rand(size, generator=generator) < 0.1
    return made.with_columns({"pm": torch.where(lost, torch.nan, made["pm"])})


@pytest.fixture(scope="module")
def stars():
    return stars_of(mixture())


def of(name, checks):
    return [check for check in checks if check.name == name]


def fails(name, evidence):
    """The messages with which a check fails."""
    (check,) = [function for function in CHECKS if function.__name__ == name]
    return [found.message for found in check(Inspection(evidence)) if found.verdict == "fail"]


def test_the_model_that_made_the_stars_is_believable(stars):
    checks = judge(Evidence(mixture(), stars))
    assert verdict(checks) == "believable", [check for check in checks if check.verdict == "fail"]
    assert {"detection", "bounds", "guides", "dependence", "predictive", "residuals", "footprint"} <= {
        check.name for check in checks
    }
    assert all(check.message and check.verdict in ("ok", "note", "fail") for check in checks)


def test_a_judgement_does_not_depend_on_what_is_drawn_elsewhere(stars):
    evidence = Evidence(mixture(), stars)
    torch.manual_seed(3)
    first, state = judge(evidence), torch.random.get_rng_state()
    torch.manual_seed(4)
    assert judge(evidence) == first
    torch.manual_seed(3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_no_stream_where_there_is_none():
    field = stars_of(mixture(share=0.0))
    checks = judge(Evidence(mixture(share=0.005), field))
    assert verdict(checks) == "no stream"
    (found,) = of("detection", checks)
    assert found.value < found.limit


def test_few_stars_are_a_stream():
    model = mixture(share=0.01)
    assert verdict(judge(Evidence(model, stars_of(model, 6000)))) == "believable"


def test_a_stream_beside_the_guides_is_found(stars):
    truth = TRUTH | {"phi2": (3.0, math.log(0.2))}
    model = mixture(0.0005, truth, guides={"phi2": ([-8, 0, 8], [3, 3, 3], 0.5)})
    checks = judge(Evidence(model, stars))
    assert verdict(checks) == "doubtful"
    (message,) = [c.message for c in of("guides", checks) if c.verdict == "fail" and "phi2" in c.message]
    assert "moved by -2.5" in message or "moved by -2.6" in message or "moved by -2.4" in message


def test_a_distance_that_is_off_is_found(stars):
    truth = TRUTH | {"distmod": (16.5, -3.0)}
    assert any("distmod" in message for message in fails("guides", Evidence(mixture(truth=truth), stars)))


@pytest.mark.parametrize(
    ("centre", "width", "word"),
    [(0.0, 0.3, "left"), (0.31, 0.2, "presses")],
)
def test_guides_that_are_left_or_pressed(stars, centre, width, word):
    model = mixture(guides={"phi2": ([-8, 0, 8], [centre] * 3, width)})
    assert any(word in message for message in fails("guides", Evidence(model, stars)))
    assert not fails("guides", Evidence(mixture(guides={"phi2": ([-8, 0, 8], [0.4] * 3, 0.3)}), stars))


def test_guides_where_no_stars_are(stars):
    beyond = mixture(guides={"phi2": ([-8, 350, 352], [0.5] * 3, 0.5)})
    assert fails("overlap", Evidence(beyond, stars))
    outside = mixture(guides={"phi2": ([-8, 0, 8], [0.5, 9, 9], 0.5)})
    assert fails("overlap", Evidence(outside, stars))
    assert not fails("overlap", Evidence(mixture(guides={"phi2": ([-8, 0, 8], [0.5] * 3, 0.5)}), stars))


def test_a_width_that_its_bound_holds_back(stars):
    tight = BOUNDS | {"phi2": {"mu": (-4.0, 4.0), "ln-sigma": (-4.0, -2.3)}}
    model = mixture(truth=TRUTH | {"phi2": (0.5, -2.301)}, bounds=tight)
    (message,) = fails("bounds", Evidence(model, stars))
    assert "phi2.ln-sigma" in message
    assert "upper" in message


def test_a_width_too_small_to_be_seen_may_be_at_its_bound(stars):
    model = mixture(truth=TRUTH | {"distmod": (15.0, -4.99)})
    found = of("bounds", judge(Evidence(model, stars_of(model))))
    assert [check.verdict for check in found] == ["note"]


@pytest.mark.parametrize(("end", "noted"), [((-5.0, 20.0), False), ((9.99, 40.0), True)])
def test_an_end_at_the_edge_of_its_interval_is_noted(stars, end, noted):
    plain = mixture()
    model = sml.MixtureModel(plain.components, **plain._arguments[1], ends={"stream": sml.Ends(end=end)}).eval()
    model.ends.net.value.data = torch.tensor([-1.2 if noted else 0.0, 0.0])
    found = [check for check in of("bounds", judge(Evidence(model, stars))) if "end is at" in check.message]
    assert [check.verdict for check in found] == ["note"] * noted


@pytest.mark.parametrize("name", ["phi2", "pm"])
def test_members_that_are_not_as_drawn(name):
    stars = stars_of(mixture(0.15))
    wrong = TRUTH | {name: (TRUTH[name][0], TRUTH[name][1] + 1.2)}
    assert not fails("predictive", Evidence(mixture(0.15), stars))
    assert any(name in message for message in fails("predictive", Evidence(mixture(0.15, wrong), stars)))


def test_a_wrong_isochrone_is_seen_in_the_magnitudes():
    model = mixture(0.15)
    stars = stars_of(model)
    p = model.membership(model(stars), stars)[:, 0]
    redder = stars.with_columns({"r": torch.where(p > 0.5, stars["r"] - 0.3, stars["r"])})
    assert any("g - r" in message for message in fails("predictive", Evidence(model, redder)))


def test_a_second_stream_is_seen_on_the_map(stars):
    model = mixture(0.012, TRUTH | {"phi2": (2.0, math.log(0.15))})
    both = sml.Data.cat([stars, of_component(model, 100)])
    messages = fails("residuals", Evidence(mixture(), both))
    assert any("phi1 and phi2" in message for message in messages)
    clean, found = (next(projections(mixture(), some)) for some in (stars, both))
    (x, y), excess = (0.5 * (edges[1:] + edges[:-1]) for edges in found.edges), found.stars - found.expected
    there = np.ix_(np.abs(x) < 3, np.abs(y - 2) < 0.4)
    assert excess[there].sum() == pytest.approx(100, abs=25)
    assert (found.residuals[there] > 2).mean() > 0.15
    assert (clean.residuals > 2).mean() < 0.04
    assert np.abs(clean.residuals).max() < 5


def of_component(model, size):
    """Stars of the stream alone, between phi1 -3 and 3."""
    made = stars_of(mixture(0.6, {**TRUTH, "phi2": (2.0, math.log(0.15))}), 1500, seed=5)
    p = model.membership(model(made), made)[:, 0]
    return made[((p > 0.9) & (made["phi1"].abs() < 3)).nonzero()[:size, 0]]


def test_a_hole_in_the_footprint_is_found(stars):
    assert not fails("footprint", Evidence(mixture(), stars))
    away = ((stars["phi1"] - 2).square() + (stars["phi2"] - 0.8).square()).sqrt() > 1.3
    (message,) = fails("footprint", Evidence(mixture(), stars[away]))
    assert "footprint" in message


def kernel(points):
    model = sml.builtin.compat.KDEModel(coord_names=["pm"])
    model.fit_points(points)
    return model


def test_a_background_without_stars_to_learn_from(stars):
    off = stars[(stars["phi2"] - 0.5).abs() > 1]
    assert not fails("support", Evidence(mixture(background=kernel(off)), stars, off_stream=off))
    for some in (off[off["phi1"] < 0], off[off["pm"] < 1]):
        assert fails("support", Evidence(mixture(background=kernel(some)), stars, off_stream=some))


def test_members_that_rest_on_one_coordinate(stars):
    """Proper motions that only the background finds impossible: it alone makes members."""
    rows = torch.arange(0, N, 12)
    odd = stars.with_columns({"pm": stars["pm"].index_put((rows,), torch.full((len(rows),), 2.0))})
    narrow = mixture(background=wide("pm", 9.0, 0.5, coord_err_names=["pm_err"]))
    assert not fails("dependence", Evidence(mixture(), stars))
    assert any("pm" in message for message in fails("dependence", Evidence(narrow, odd)))


def test_a_background_that_is_hardly_trained(stars):
    """The steps it needs go with its coordinates; a density that takes none, such as a kernel density, needs none."""
    evidence = replace(Evidence(mixture(), stars), steps={"pm_phi1,pm_phi2,g,r": 500, "parallax": 125, "g,r": 0})
    assert not fails("schedule", evidence)
    (message,) = fails("schedule", replace(evidence, steps={"pm_phi1,pm_phi2,g,r": 499, "parallax": 125}))
    assert "pm_phi1, pm_phi2, g, r was trained for 499 steps, fewer than 500" in message
    assert "background.max_epochs" in message


def test_a_schedule_that_did_not_end(stars):
    evidence = Evidence(mixture(), stars)
    assert not fails("schedule", replace(evidence, schedule=Schedule(100, 100, 1e-4)))
    (message,) = fails("schedule", replace(evidence, schedule=Schedule(100, 20, 0.9)))
    assert "20 of 100" in message


def test_an_ensemble_that_disagrees(stars):
    model = mixture()
    p = 1 - model.membership(model(stars), stars)[:, 1]
    evidence = Evidence(model, stars)
    assert not fails("agreement", replace(evidence, ensemble=[p, 0.98 * p]))
    assert fails("agreement", replace(evidence, ensemble=[p, p.flip(0)]))


def test_terms_are_those_of_the_mixture(stars):
    model = mixture()
    found = terms(Evidence(model, stars))
    assert torch.allclose(found.joint, model.ln_joint(model(stars), stars), atol=1e-4)
    apart = stars.with_columns({"phi2": torch.full((N,), torch.nan)})
    alone = model.ln_joint(model(apart), apart)[:, 0] - model(apart)["stream.ln-weight"]
    assert torch.allclose(found.ln_without("stream", ("phi2",)), alone, atol=1e-3)


def compared(seed, size, pairs, statistic):
    """The p-value of two samples of one law in cells."""
    generator = torch.Generator().manual_seed(1000 + seed)
    cells = torch.randint(0, size, (2, pairs), generator=generator)
    one = torch.ones(pairs, dtype=torch.float64)
    return Comparison(statistic(counts((cells[0], cells[1]), (one, one), size, 100, seed))).p_value


@pytest.mark.parametrize(
    ("size", "pairs", "statistic"), [(40, 300, lambda table: kolmogorov(table, 4)), (150, 900, _scores)]
)
def test_p_values_of_pairs_that_may_be_exchanged_are_even(size, pairs, statistic):
    """Of 600 comparisons of two samples of one law, the p-values are spread evenly, tails included."""
    p = torch.tensor([compared(seed, size, pairs, statistic) for seed in range(600)])
    assert 0.45 < p.median() < 0.55
    for share, most in ((0.1, 1.4), (0.05, 1.5), (0.01, 2.2)):  # three standard errors above
        assert (p < share).double().mean() < most * share
    assert p.min() > 1e-4


def test_the_tail_of_maxima():
    uniform = torch.rand(4000, generator=torch.Generator().manual_seed(0))
    maxima = -(-uniform.log()).log()  # a standard Gumbel law
    for value, within in ((-1.0, 0.05), (1.0, 0.1), (3.0, 0.2), (5.0, 0.3), (8.0, 0.6)):
        assert tail(value, maxima) == pytest.approx(-math.expm1(-math.exp(-value)), rel=within)
    assert tail(2.0, torch.zeros(100)) == pytest.approx(1 / 101)


def test_a_sample_of_the_field_stands_for_all(stars, monkeypatch):
    """Counts are those of all stars, a fault of the field is still found, and none is made."""
    monkeypatch.setattr(inspection, "_MOST", N // 3)
    some = Inspection(Evidence(mixture(), stars))
    assert len(some.sample) == N // 3
    assert torch.equal(some.sample, Inspection(Evidence(mixture(), stars)).sample)
    one = torch.ones(N, dtype=torch.float64)
    assert [w.sum().item() for w in some.sampled((one, one))] == pytest.approx([N, N])
    assert verdict(judge(Evidence(mixture(), stars))) == "believable"
    off = stars[(stars["phi2"] - 0.5).abs() > 1]
    few = off[off["phi1"] < 0]
    assert fails("support", Evidence(mixture(background=kernel(few)), stars, off_stream=few))
    wide_field = mixture(background=wide("pm", 0.0, 1.5, coord_err_names=["pm_err"]))
    assert any("pm" in message for message in fails("predictive", Evidence(wide_field, stars)))


def test_verdicts():
    def check(name, outcome):
        return Check(name, "stream", outcome, 0.0, 0.0, "")

    assert verdict([check("detection", "ok"), check("guides", "note")]) == "believable"
    assert verdict([check("detection", "ok"), check("guides", "fail")]) == "doubtful"
    assert verdict([check("detection", "fail"), check("guides", "fail")]) == "no stream"
    assert verdict([check("detection", "fail"), check("detection", "ok")]) == "doubtful"


def test_the_average_precision_that_is_expected_is_that_of_drawn_labels():
    p = torch.rand(300, generator=torch.Generator().manual_seed(2)).square()
    labels = torch.rand(4000, 300, generator=torch.Generator().manual_seed(3)) < p
    scores = torch.linspace(1, 0, 300)
    each = [binary_average_precision(scores, label.long()) for label in labels]
    assert average_precision(p).item() == pytest.approx(torch.stack(each).mean().item(), abs=0.003)


@pytest.mark.parametrize(("noise", "low", "high"), [(0.0, 1 - 1e-6, 1 + 1e-6), (1.0, 0.94, 0.99), (4.0, 0.4, 0.8)])
def test_a_stream_of_which_too_little_is_known_fails(stars, noise, low, high):
    """Log odds that differ from draw to draw by so much."""
    generator = torch.Generator().manual_seed(0)
    odds = 4 * torch.randn(1, 500, generator=generator) - 4 + noise * torch.randn(32, 500, generator=generator)
    assert low < of_the_best(odds.sigmoid()) < high
    said = fails("knowledge", Evidence(mixture(), stars, drawn=odds.sigmoid()))
    assert bool(said) == (high < 0.9)


def test_without_draws_or_members_nothing_is_asked_of_their_order(stars):
    for drawn in (None, torch.zeros(32, 0), torch.full((32, 10), 1e-3)):
        assert not fails("knowledge", Evidence(mixture(), stars, drawn=drawn))
