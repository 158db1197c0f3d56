"""Stars that lack a coordinate whose window took out others: weights, memberships, densities, checkpoints."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from small_models import NAN, normal, state_of

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.builtin import TruncatedNormal, Uniform
from stream_mapper.inference.density import stars_behind
from stream_mapper.models.unjudged import Unjudged
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameter, ModelParameters
from stream_mapper.selection import Cut

WINDOWS = {"phi2": (-2.0, 2.0), "pm_phi1": (-1.0, 1.0), "pm_phi2": (-1.0, 1.0)}
FIELD, STREAM = 40_000, 400  # stars, before the windows
WIDE = {"pm_phi1": 10.0, "pm_phi2": 4.0}  # half-widths of the field's motions
SIGMA = 0.2


def part(names, sigma):
    """A normal law about zero in some coordinates, cut to their windows."""
    params = {name: {"mu": ModelParameter(), "ln-sigma": ModelParameter()} for name in names}
    net = Constant(2 * len(names))
    net.value.data = torch.tensor([0.0, math.log(sigma)] * len(names))
    bounds = {name: WINDOWS[name] for name in names}
    return normal(TruncatedNormal, coord_names=names, net=net, params=ModelParameters(params), coord_bounds=bounds)


def model():
    names = tuple(WINDOWS)
    parts = {"stream": part(names, SIGMA), "background": Uniform(coord_names=names, coord_bounds=WINDOWS)}
    params = ModelParameters({"stream.ln-weight": ModelParameter()})
    return sml.MixtureModel(
        parts, net=Constant(1), data_scaler=sml.utils.StandardScaler(("phi1",), [0.0], [1.0]), params=params
    )


def stars(seed=0, lacking=0.2):
    """Stars of a field and of a stream, whether each is of the stream; some lack the motions, some one of them."""
    rng = np.random.default_rng(seed)
    size = FIELD + STREAM
    is_stream = np.arange(size) < STREAM
    columns = {"phi1": rng.uniform(-1, 1, size), "phi2": rng.uniform(-2, 2, size)}
    columns |= {name: rng.uniform(-width, width, size) for name, width in WIDE.items()}
    for name in WINDOWS:
        columns[name] = np.where(is_stream, SIGMA * rng.standard_normal(size), columns[name])
    for names, share in ((tuple(WIDE), lacking), (("pm_phi2",), 0.1 * lacking)):
        missing = rng.random(size) < share
        for name in names:
            columns[name] = np.where(missing, NAN, columns[name])
    return Data({name: torch.tensor(values, dtype=torch.float64) for name, values in columns.items()}), is_stream


def off_stream(data):
    return data[data["phi2"].abs() > 1.2]


def counted(data):
    mixture = model()
    mixture.unjudged.count(mixture, off_stream(data))
    return mixture


def test_the_numbers_are_those_of_the_windows():
    mixture = counted(stars()[0])
    assert mixture.unjudged.counted == ("pm_phi1", "pm_phi2")
    right = np.log([1.0, WIDE["pm_phi1"], WIDE["pm_phi2"], WIDE["pm_phi1"] * WIDE["pm_phi2"]])
    np.testing.assert_allclose(mixture.unjudged.ln_more, right, atol=0.15)
    assert mixture.unjudged.ln_more[0] == 0
    assert all("of the stars off the stream are in its window" in text for text in mixture.unjudged.told())


@pytest.mark.parametrize(("together", "factor"), [(1.0, 1 / 0.7), (0.5, 1.0)])
def test_a_cut_in_what_is_missing_too_is_counted(together, factor):
    """Three in ten of the field are cut in parallax, which most stars without motions lack, or only some."""
    data, _ = stars()
    rng = np.random.default_rng(1)
    lost = ~data.where["pm_phi1"].numpy() & (rng.random(len(data)) < together)
    parallax = np.where(lost, NAN, rng.uniform(0, 1, len(data)))
    data, cut = data.with_columns({"parallax": torch.tensor(parallax)}), Cut({"parallax": (0.3, None)})
    mixture = model()
    mixture.unjudged.count(mixture, off_stream(data), cut)
    with_both = mixture.unjudged.ln_more[1 + 2].exp().item()
    assert with_both == pytest.approx(factor * WIDE["pm_phi1"] * WIDE["pm_phi2"], rel=0.2)
    assert mixture.unjudged.ln_more[2].exp().item() == pytest.approx(WIDE["pm_phi2"], rel=0.2)


@pytest.mark.parametrize(("faint", "counted"), [(0.3, True), (0.95, False)])
def test_what_faint_stars_lack_says_nothing(faint, counted):
    """Gaia's motions of the stars of a deep survey: those without are others than those with."""
    data, _ = stars(lacking=0)
    rng = np.random.default_rng(2)
    g = rng.uniform(16, 23, len(data))
    lost = rng.random(len(data)) < np.where(g > 20, faint, 0.02)
    columns = {name: torch.where(torch.tensor(lost), torch.nan, data[name]) for name in WIDE}
    data = data.with_columns({**columns, "g": torch.tensor(g)})
    unjudged = Unjudged(tuple(WINDOWS), ["g"])
    unjudged.count(model(), off_stream(data))
    assert unjudged.counted == (tuple(WIDE) if counted else ())


def weighed(mixture, data):
    """The likeliest weight, by scipy, set in the model."""

    def loss(ln_weight):
        mixture.weights.net.value.data = torch.tensor([ln_weight])
        return -mixture.ln_likelihood(mixture(data), data).sum().item()

    found = optimize.minimize_scalar(loss, bounds=(-8, -0.01), method="bounded", options={"xatol": 1e-4})
    loss(found.x)
    return math.exp(found.x)


def p_stream(mixture, data):
    return mixture.membership(mixture(data), data)[:, 0].detach().numpy()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_weight_and_the_number_are_right_whatever_is_missing(seed):
    """Without the count the stars that lack motions are members by hundreds."""
    data, is_stream = stars(seed, lacking=0.3)
    mixture = counted(data)
    inside = mixture.in_window(data)
    data, is_stream = data[inside], is_stream[inside.numpy()]
    complete = data[data.where[list(WIDE)].all(-1)]
    weight = weighed(mixture, data)
    alone = weighed(model(), complete)
    assert weight == pytest.approx(alone, rel=0.08)
    p = p_stream(mixture, data)
    lacks = ~data.where[list(WIDE)].all(-1).numpy()
    for rows in (lacks, ~lacks):
        assert p[rows].sum() == pytest.approx(is_stream[rows].sum(), abs=4 * math.sqrt((p[rows] * (1 - p[rows])).sum()))
    without = model()
    weighed(without, data)
    assert p_stream(without, data)[lacks].sum() > 2 * is_stream[lacks].sum()


def test_memberships_are_those_of_the_whole_field():
    """An oracle that knows the field before its windows: of all stars alike, and no window in its densities."""
    data, _ = stars()
    mixture = counted(data)
    data = data[mixture.in_window(data)]
    share = STREAM * (FIELD * math.prod(1 / width for width in WIDE.values()) + STREAM) ** -1
    mixture.weights.net.value.data = torch.tensor([math.log(share)])
    stream, field = np.full(len(data), float(STREAM)), np.full(len(data), float(FIELD))
    for name in WINDOWS:
        x, where = data[name].numpy(), data.where[name].numpy()
        stream *= np.where(where, stats.norm(0, SIGMA).pdf(x), 1)
        field *= np.where(where, 0.5 / WIDE.get(name, 2.0), 1)
    found = p_stream(mixture, data)
    np.testing.assert_allclose(found, stream / (stream + field), atol=0.03)


def test_stars_that_lack_coordinates_count_for_less():
    """The stars behind all those of the catalogue are those that would be there if nothing were missing."""
    data, _ = stars(lacking=0.4)
    mixture = counted(data)
    data = data[mixture.in_window(data)].to(dtype=torch.float32)
    share = STREAM / (FIELD / math.prod(WIDE.values()) + STREAM)
    mixture.weights.net.value.data = torch.tensor([math.log(share)])
    behind = stars_behind(mixture, data)
    complete = data.where[list(WIDE)].all(-1)
    torch.testing.assert_close(behind[complete], torch.ones(int(complete.sum())))
    assert behind.sum().item() == pytest.approx(FIELD / math.prod(WIDE.values()) + STREAM, rel=0.08)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.with_columns({name: torch.where(data.where[name], data[name], 0.0) for name in WIDE}),
        lambda data: data[model().in_window(data)],
        lambda data: data[:0],
        lambda data: data[:1],
    ],
    ids=["nothing is missing", "the table was cut before", "no stars", "one star"],
)
def test_nothing_changes_where_windows_judged_all(change):
    data, _ = stars()
    mixture, plain = model(), model()
    mixture.unjudged.count(mixture, change(data))
    assert mixture.weights_are_shares
    assert stars_behind(mixture, data) is None
    some = data[:300]
    assert torch.equal(mixture.membership(mixture(some), some), plain.membership(plain(some), some))


def test_windows_of_magnitudes_are_not_counted():
    isochrone = sml.builtin.Isochrone.synthetic(bands=["g", "r"])
    photometry = {
        "stream": sml.builtin.IsochroneMVNorm(isochrone=isochrone, scatter=0.1, params=_DISTANCE, net=Constant(2))
    }
    flat = Uniform(coord_names=("g", "r"), coord_bounds={"g": (14.0, 22.0), "r": (14.0, 22.0)})
    params = ModelParameters({"stream.ln-weight": ModelParameter()})
    mixture = sml.MixtureModel({**photometry, "background": flat}, net=Constant(1), params=params)
    assert mixture.unjudged.names == ()


_DISTANCE = ModelParameters({"distmod": {"mu": ModelParameter(), "ln-sigma": ModelParameter()}})


def test_no_more_than_six_coordinates_are_counted():
    """Those that matter most: each doubles the numbers."""
    names = tuple(f"x{i}" for i in range(9))
    rng = np.random.default_rng(0)
    columns = {name: rng.uniform(0, 1.2 + 0.05 * i, 4000) for i, name in enumerate(names)}
    data = Data({"phi1": np.zeros(4000)} | {n: np.where(rng.random(4000) < 0.1, NAN, v) for n, v in columns.items()})
    field = Uniform(coord_names=names, coord_bounds=dict.fromkeys(names, (0.0, 1.0)), indep_coord_names=("phi1",))
    unjudged = Unjudged(names)
    unjudged.count(field, data)
    assert len(unjudged.ln_more) == 64
    assert set(unjudged.counted) <= set(names)


def test_a_checkpoint_has_the_numbers():
    data, _ = stars()
    mixture, loaded = counted(data), model()
    loaded.load_state_dict(state_of(mixture))
    assert loaded.unjudged.counted == mixture.unjudged.counted
    some = data[:200]
    assert torch.equal(loaded.membership(mixture(some), some), mixture.membership(mixture(some), some))


def test_an_earlier_checkpoint_has_none():
    mixture = counted(stars()[0])
    earlier = {name: values for name, values in state_of(mixture).items() if "unjudged" not in name}
    mixture.load_state_dict(earlier)
    assert mixture.weights_are_shares


def test_gradients_of_stars_that_lack_coordinates():
    data, _ = stars()
    mixture = counted(data)
    some = data[:500].to(dtype=torch.float32)
    mixture.ln_likelihood(mixture(some), some)[mixture.in_window(some)].sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in mixture.parameters())
