"""Marginals of flows against brute force, and what a flow may be conditioned on."""

import math

import pytest
import torch

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.builtin.compat import FlowModel, ZukoFlowModel, flow, marginal
from stream_mapper.builtin.compat.broad import likeliest_share
from stream_mapper.inference.frozen import known_densities
from stream_mapper.training import BackgroundStage, background, train_background
from stream_mapper.training.background import BackgroundTraining
from stream_mapper.training.start import dry_run
from stream_mapper.utils import StandardScaler

NAMES = ("pm_phi1", "pm_phi2", "g", "r")


def trained(transforms):
    """A flow of four coordinates far from a normal law, with a dependence of each coordinate on the others, sheared."""
    network = flow(4, transforms=transforms, hidden_features=(32, 32))
    with torch.no_grad():
        for weights in network.parameters():
            weights.mul_(1.8)
    numbers = sml.utils.StandardScaler(("phi1", *NAMES), mean=[0.0] * 5, scale=[1.0] * 5)
    model = ZukoFlowModel(net=network, coord_names=NAMES, data_scaler=numbers).requires_grad_(False)
    model.shear.slopes.copy_(torch.tensor([[0, 0, 0, 0], [0.4, 0, 0, 0], [-0.3, 0.2, 0, 0], [0.1, 0.3, -0.5, 0]]))
    model.shear.widths.copy_(torch.tensor([1.0, 0.8, 0.9, 0.6]))
    return model


def brute_force(model, stars, missing, nodes=121):
    """ln of the integral of the whole density over the missing coordinates, by the trapezoidal rule."""
    line = torch.linspace(-6, 6, nodes)
    at = torch.cartesian_prod(*[line] * len(missing)).view(-1, len(missing))
    rows = stars[torch.arange(len(stars)).repeat_interleave(len(at))]
    rows = rows.with_columns({name: at[:, i].repeat(len(stars)) for i, name in enumerate(missing)})
    ln_step = len(missing) * math.log(12 / (nodes - 1))  # the density is nil at the ends
    return model.ln_likelihood({}, rows).view(len(stars), -1).logsumexp(-1) + ln_step


@pytest.mark.parametrize("transforms", [1, 2])
@pytest.mark.parametrize("missing", ["r", "g", "pm_phi1", "g r", "pm_phi1 pm_phi2", "pm_phi2 r"])
def test_the_marginal_of_a_flow_is_that_of_brute_force(transforms, missing):
    model, missing = trained(transforms), missing.split()
    stars = model.sample(torch.linspace(-1, 1, 8))
    lacking = stars.with_columns({name: torch.full((8,), torch.nan) for name in missing})
    error = model.ln_likelihood({}, lacking) - brute_force(model, stars, missing)
    assert error.square().mean().sqrt() < 0.02


def magnitudes(size, seed=0):
    """Stars of 16 to 22 mag, by their number as they are counted, and of colours that depend on the magnitude."""
    generator = torch.Generator().manual_seed(seed)
    g = 22 - 6 * torch.rand(size, generator=generator).square()
    colour = 0.4 + 0.1 * (g - 19) + 0.1 * torch.randn(size, generator=generator)
    return sml.Data({"phi1": torch.zeros(size), "g": g, "r": g - colour})


@pytest.mark.parametrize("window", [None, {"g": (16.0, 22.0)}], ids=["open", "window"])
def test_a_shear_leaves_a_flow_what_its_coordinates_do_not_share(window):
    model, stars = ZukoFlowModel(net=flow(2), coord_names=("g", "r"), coord_bounds=window), magnitudes(4000)
    model.fit_scalers(stars)
    u, _ = model._standardised(stars[("g", "r")])
    w = model._sheared(u)
    plain = torch.stack([stars["g"], w[:, 1]])
    assert plain.corrcoef()[0, 1].abs() < 0.01
    assert w[:, 1].std().item() == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(model._unsheared(w), u, atol=1e-4, rtol=1e-4)
    low, high = (window or {"g": (10.0, 28.0)})["g"]
    g = low + (high - low) * torch.special.ndtr(torch.linspace(-4.7, 4.7, 500))  # it is steep at edges
    r = torch.linspace(10, 28, 800)
    at = torch.cartesian_prod(g, r)
    density = model.ln_likelihood({}, sml.Data({"phi1": torch.zeros(len(at)), "g": at[:, 0], "r": at[:, 1]})).exp()
    assert torch.trapezoid(torch.trapezoid(density.view(500, 800), r), g).item() == pytest.approx(1, abs=0.01)


def test_a_coordinate_that_is_constant_or_double_leaves_finite_numbers():
    stars = magnitudes(300)
    stars = stars.with_columns({"a": torch.full((300,), 18.3), "b": stars["g"]})
    model = ZukoFlowModel(net=flow(4), coord_names=("a", "g", "b", "r"))
    model.fit_scalers(stars)
    assert model.ln_likelihood({}, stars.with_columns({"a": torch.linspace(10, 30, 300)})).isfinite().all()


def test_a_flow_from_before_there_was_a_shear_is_as_it_was():
    model, stars = ZukoFlowModel(net=flow(2), coord_names=("g", "r")), magnitudes(300)
    model.fit_scalers(stars)
    for name, buffer in (("slopes", 0.0), ("widths", 1.0)):
        getattr(model.shear, name).fill_(buffer)
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("shear.")}
    again = ZukoFlowModel(net=flow(2), coord_names=("g", "r"))
    again.load_state_dict(weights)
    torch.testing.assert_close(again.ln_likelihood({}, stars), model.ln_likelihood({}, stars))


class Ridge(torch.nn.Module):
    """Two coordinates along a ridge a hundredth of its length wide."""

    def log_prob(self, x, context):
        across = torch.distributions.Normal(x[:, 0], 0.01, validate_args=False).log_prob(x[:, 1])
        return torch.distributions.Normal(0.0, 1.0).log_prob(x[:, 0]) + across


def test_a_grid_too_wide_for_a_density_says_so():
    numbers = sml.utils.StandardScaler(("phi1", "g", "r"), mean=[0.0] * 3, scale=[1.0] * 3)
    model = FlowModel(net=Ridge(), coord_names=("g", "r"), data_scaler=numbers)
    stars = sml.Data({"phi1": torch.zeros(5), "g": torch.full((5,), torch.nan), "r": torch.linspace(-1.01, 1.03, 5)})
    with pytest.warns(UserWarning, match=r"the marginal over \['g'\] is uncertain for 5 of 5 stars"):
        model.ln_likelihood({}, stars)


def test_too_many_missing_coordinates_are_found_before_the_training():
    names = ("a", "b", "c", "d", "e")
    model = ZukoFlowModel(net=flow(5, transforms=2), coord_names=names)
    stars = sml.Data({"phi1": torch.zeros(9)} | {name: torch.zeros(9) for name in names})
    lacking = stars.with_columns({name: torch.where(torch.arange(9) == 7, torch.nan, 0.0) for name in names[:4]})
    dry_run(model, stars)
    with pytest.raises(sml.InputError, match="a star lacks 4 of the coordinates"):
        dry_run(model, lacking)


def test_a_star_is_not_its_own_kernel():
    """Else the stars that are points would seem better explained than those that are not."""
    kernels = sml.builtin.compat.KDEModel(coord_names=("a", "b", "c"))
    points, others = (sml.Data({"phi1": torch.randn(1500)} | {n: torch.randn(1500) for n in "abc"}) for _ in range(2))
    kernels.fit_points(points)
    here, there = (kernels.ln_likelihood({}, stars).mean().item() for stars in (points, others))
    assert here == pytest.approx(there, abs=0.2)


def test_a_chain_drops_any_number_of_last_coordinates():
    model = trained(1)
    stars = model.sample(torch.linspace(-1, 1, 200))
    one = model.ln_likelihood({}, stars.with_columns({n: torch.full((200,), torch.nan) for n in NAMES[1:]}))
    line = torch.linspace(-6, 6, 4001)[:, None].expand(-1, 3).T
    place = torch.tensor([-0.5, 0.0, 0.5])
    rows = sml.Data({"phi1": place.repeat_interleave(4001), NAMES[0]: line.flatten()})
    rows = rows.with_columns({n: torch.full((3 * 4001,), torch.nan) for n in NAMES[1:]})
    total = model.ln_likelihood({}, rows).view(3, -1).exp().sum(-1) * 12 / 4000
    torch.testing.assert_close(total, torch.ones(3), atol=1e-3, rtol=0)
    assert one.isfinite().all()


def test_a_flow_conditioned_on_the_errors_learns_them():
    """Proper motions whose spread is their error: the flow sees it, and a missing error is one of mean logarithm."""
    error = torch.exp(torch.empty(4000).uniform_(-2, 1))
    stars = sml.Data({"phi1": torch.randn(4000), "pm": error * torch.randn(4000), "pm_err": error})
    model = ZukoFlowModel(net=flow(1, context=2, kind="MAF", transforms=1), coord_names=("pm",), err_names=("pm_err",))
    assert model.columns == ("phi1", "pm", "pm_err")
    model.fit_scalers(stars)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = -model.ln_likelihood({}, stars).mean()
        loss.backward()
        optimizer.step()
    best = -torch.distributions.Normal(torch.zeros(4000), error).log_prob(stars["pm"]).mean()
    assert loss.item() == pytest.approx(best.item(), abs=0.03)
    unknown = stars.with_columns({"pm_err": torch.full((4000,), torch.nan)})
    usual = stars.with_columns({"pm_err": torch.full((4000,), model.err_scaler.mean.exp().item())})
    torch.testing.assert_close(model.ln_likelihood({}, unknown), model.ln_likelihood({}, usual), atol=1e-4, rtol=1e-4)


def boxed():
    """A flow in a box of the catalogue's axes, and the same flow of those axes' own coordinates."""
    network = flow(3, transforms=1, hidden_features=(16, 16))
    numbers = sml.utils.StandardScaler(
        ("phi1", "pm_phi1", "pm_phi2", "g"), mean=[0.0, -4, -3, 20], scale=[1.0, 1, 1, 1]
    )
    box = sml.builtin.RotatedBox(("pm_phi1", "pm_phi2"), "pm_angle", first=(-6.0, -1.0), second=(-5.0, 0.0))
    turned = ZukoFlowModel(net=network, coord_names=("pm_phi1", "pm_phi2", "g"), box=box, data_scaler=numbers)
    sides = {"pm_phi1": (-6.0, -1.0), "pm_phi2": (-5.0, 0.0)}
    plain = ZukoFlowModel(net=network, coord_names=("pm_phi1", "pm_phi2", "g"), coord_bounds=sides, data_scaler=numbers)
    return turned, plain


@torch.no_grad()
def test_a_flow_in_a_rotated_box():
    turned, plain = boxed()
    assert turned.columns == ("phi1", "pm_phi1", "pm_phi2", "g", "pm_angle")
    angle = torch.empty(3000).uniform_(-3, 3)
    stars = turned.sample(sml.Data({"phi1": torch.zeros(3000), "pm_angle": angle}))
    assert turned.in_window(stars).all()
    pmra = angle.cos() * stars["pm_phi1"] - angle.sin() * stars["pm_phi2"]
    pmdec = angle.sin() * stars["pm_phi1"] + angle.cos() * stars["pm_phi2"]
    assert ((pmra >= -6.001) & (pmra <= -0.999) & (pmdec >= -5.001) & (pmdec <= 0.001)).all()
    same = stars.with_columns({"pm_phi1": pmra, "pm_phi2": pmdec})
    inside = plain.in_window(same)  # but for the rounding of a star at an edge
    torch.testing.assert_close(
        turned.ln_likelihood({}, stars)[inside], plain.ln_likelihood({}, same)[inside], atol=2e-3, rtol=1e-3
    )
    far = stars.with_columns({"pm_phi1": torch.full((3000,), 20.0)})
    assert (turned.ln_likelihood({}, far) == -math.inf).all()


@torch.no_grad()
def test_the_coordinates_of_a_box_are_missing_together():
    """In a mixture with a Gaussian that could take one proper motion alone, both drop out of both."""
    turned, _ = boxed()
    stars = turned.sample(sml.Data({"phi1": torch.zeros(50), "pm_angle": torch.full((50,), 0.7)}))
    nan = torch.full((50,), torch.nan)
    one, none = stars.with_columns({"pm_phi1": nan}), stars.with_columns({"pm_phi1": nan, "pm_phi2": nan})
    assert torch.equal(turned.ln_likelihood({}, one), turned.ln_likelihood({}, none))
    assert torch.equal(turned.ln_likelihood({}, stars.with_columns({"pm_angle": nan})), turned.ln_likelihood({}, none))
    normal = sml.builtin.Normal(coord_names=("pm_phi1", "pm_phi2", "g"))
    both = sml.MixtureModel(
        {"stream": normal, "background": turned},
        net=sml.nn.Constant(1),
        params=sml.params.ModelParameters({"stream.ln-weight": (-2, -1)}),
    )
    values = {f"stream.{name}.{p}": torch.zeros(50) for name in normal.coord_names for p in ("mu", "ln-sigma")}
    params = values | {"stream.ln-weight": torch.full((50,), -1.0), "background.ln-weight": torch.full((50,), -0.5)}
    torch.testing.assert_close(both.ln_joint(params, one), both.ln_joint(params, none))


def test_a_box_over_other_coordinates_is_refused():
    box = sml.builtin.RotatedBox(("pm_phi1", "pm_phi2"), "pm_angle", first=(-6.0, -1.0), second=(-5.0, 0.0))
    with pytest.raises(sml.InputError, match=r"the box over .* needs two of these"):
        ZukoFlowModel(net=flow(1), coord_names=("g",), box=box)
    with pytest.raises(sml.InputError, match=r"without coord_bounds; \['pm_phi1'\] have them"):
        ZukoFlowModel(net=flow(2), coord_names=("pm_phi1", "pm_phi2"), box=box, coord_bounds={"pm_phi1": (-6.0, -1.0)})


def test_kernels_are_a_background_too():
    """A kernel density takes the off-stream stars as its points and is frozen like a flow."""
    kernels = sml.builtin.compat.KDEModel(coord_names=("g",), coord_bounds={"g": (15.0, 22.0)})
    stars = sml.Data({"phi1": torch.randn(500), "g": torch.empty(500).uniform_(15, 22)})
    train_background(kernels, stars, BackgroundStage())
    known = known_densities(kernels, stars)
    assert torch.equal(kernels.ln_likelihood({}, stars), known.frozen[""])
    assert known.frozen[""].exp().mean().item() == pytest.approx(1 / 7, rel=0.1)


def test_a_batch_in_which_no_star_has_the_coordinates():
    model = trained(2)
    stars = sml.Data({"phi1": torch.zeros(5)} | {name: torch.full((5,), torch.nan) for name in NAMES})
    assert torch.equal(model.ln_likelihood({}, stars), torch.zeros(5))


def test_edges_of_a_flow_belong_to_its_window_in_any_precision():
    """0.1 and 0.7 have no exact float32."""
    scaler = StandardScaler(("phi1", "a"), [0.0, 0.4], [1.0, 0.2])
    edges = {"coord_names": ("a",), "coord_bounds": {"a": (0.1, 0.7)}, "data_scaler": scaler}
    model = ZukoFlowModel(net=flow(1, transforms=1), **edges)
    for dtype in (torch.float32, torch.float64):
        data = Data({"phi1": torch.zeros(2, dtype=dtype), "a": torch.tensor([0.1, 0.7], dtype=dtype)})
        assert model.to(dtype).ln_likelihood({}, data).isfinite().all()
    inside = data.with_columns({"a": torch.tensor([0.3, 0.5], dtype=torch.float64)})
    expected = model.ln_likelihood({}, inside)
    torch.testing.assert_close(model.ln_likelihood({}, inside.to(dtype=torch.float32)), expected, atol=1e-4, rtol=0)


def test_a_large_table_goes_to_a_flow_in_parts(monkeypatch):
    model = ZukoFlowModel(net=flow(1, transforms=1), coord_names=("a",), data_scaler=StandardScaler(("phi1", "a")))
    data = Data({"phi1": torch.zeros(10), "a": torch.linspace(-1, 1, 10)})
    whole = model.ln_likelihood({}, data)
    monkeypatch.setitem(marginal._ROWS, "cpu", 3)
    torch.testing.assert_close(model.ln_likelihood({}, data), whole)


def test_a_jacobian_that_disagrees_is_named():
    scaler = StandardScaler(("phi1", "g"), mean=[0.0, 20.0], scale=[1.0, 2.0])
    with pytest.warns(UserWarning, match=r"over \['g'\] was given as 3; its scaler has -0.6931, which is used"):
        ZukoFlowModel(net=flow(1), coord_names=("g",), data_scaler=scaler, jacobian_logdet=3.0)


def narrow(broad=None, **kwargs):
    """A flow of (g, r) trained on bright stars near phi1 = 0, as a density or with a share of the broad one."""
    torch.manual_seed(3)
    n = 1500
    stars = sml.Data({"phi1": torch.empty(n).uniform_(-5, 5), "g": 18 + torch.randn(n), "r": 17 + torch.randn(n)})
    bounds = {"g": (10.0, 24.0)}
    model = ZukoFlowModel(net=flow(2), coord_names=("g", "r"), coord_bounds=bounds, broad=broad, **kwargs)
    model.pretrain(stars, BackgroundTraining(BackgroundStage(max_epochs=3, learning_rate=3e-3)))
    return model.requires_grad_(False), stars


def test_a_star_far_from_the_training_stars_has_the_broad_density():
    """That is even over the window of g, and normal in r with three times the width of the training stars."""
    model, stars = narrow(0.01)
    far = sml.Data(
        {"phi1": torch.zeros(3), "g": torch.tensor([10.5, 23.0, 18.0]), "r": torch.tensor([26.0, 5.0, 29.0])}
    )
    r = stars["r"]
    law = torch.distributions.Normal(r.mean(), 3 * r.std(correction=0))
    expected = math.log(0.01) - math.log(14.0) + law.log_prob(far["r"])
    torch.testing.assert_close(model.ln_likelihood({}, far), expected, atol=2e-3, rtol=0)
    alone = far.with_columns({"g": torch.full((3,), torch.nan)})
    torch.testing.assert_close(
        model.ln_likelihood({}, alone)[[0, 2]], (math.log(0.01) + law.log_prob(far["r"]))[[0, 2]], atol=2e-3, rtol=0
    )


def test_beyond_its_training_stars_a_flow_is_that_at_the_end_of_their_range():
    model, stars = narrow(0.01)
    last = stars["phi1"].max()
    beyond, end = (stars[:9].with_columns({"phi1": torch.full((9,), place)}) for place in (80.0, last.item()))
    assert torch.equal(model.ln_likelihood({}, beyond), model.ln_likelihood({}, end))
    assert not torch.equal(model.ln_likelihood({}, stars[:9]), model.ln_likelihood({}, end))
    drawn = [model.sample(rows.select(("phi1",)), seed=1)["g"] for rows in (beyond, end)]
    assert torch.equal(*drawn)
    again = ZukoFlowModel(net=flow(2), coord_names=("g", "r"), coord_bounds={"g": (10.0, 24.0)})
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.ln_likelihood({}, beyond), model.ln_likelihood({}, beyond))
    assert torch.equal(again.is_supported(beyond), model.is_supported(beyond))


def test_the_share_of_broad_draws():
    model, _ = narrow(0.25)
    drawn = model.sample(torch.zeros(20_000), seed=0)
    assert (drawn["r"] - 17).abs().gt(6).float().mean().item() == pytest.approx(
        0.25 * math.erfc(2 / math.sqrt(2)), abs=4e-3
    )
    assert model.in_window(drawn).all()


def test_supported_stars_are_like_the_training_stars():
    model, stars = narrow(0.01)
    assert 0.995 < model.is_supported(stars).float().mean() < 1
    nan = torch.nan
    rows = {
        "in the middle": (0.0, 18.0, 17.0, True),
        "far in phi1": (9.0, 18.0, 17.0, False),
        "bright in both": (0.0, 11.0, 10.0, False),
        "of an empty corner": (0.0, stars["g"].min().item(), stars["r"].max().item(), False),
        "without g": (0.0, nan, 17.0, True),
        "without g, far in r": (0.0, nan, 30.0, False),
        "without phi1": (nan, 18.0, 17.0, True),
    }
    columns = dict(zip(("phi1", "g", "r"), map(torch.tensor, list(zip(*rows.values(), strict=True))[:3]), strict=True))
    assert model.is_supported(sml.Data(columns)).tolist() == [row[3] for row in rows.values()]


@pytest.mark.parametrize("share", [0.03, 0.002])
def test_a_fitted_share_is_that_of_the_stars_that_surprise_the_others(share):
    """Some stars are even over the window, the others within a hundredth of it."""
    torch.manual_seed(0)
    n, window = 20_000, {"g": (10.0, 24.0)}
    even = torch.rand(n) < share
    g = torch.where(even, torch.empty(n).uniform_(10, 24), 17 + 0.1 * torch.randn(n))
    stars = sml.Data({"phi1": torch.zeros(n), "g": g})
    net = flow(1, kind="MAF", transforms=1)  # one normal law
    model = ZukoFlowModel(net=net, coord_names=("g",), coord_bounds=window)
    stage = BackgroundTraining(BackgroundStage(max_epochs=40, learning_rate=3e-2, val_fraction=0.5))
    model.pretrain(stars, stage)
    held_out = even[torch.randperm(n, generator=torch.Generator().manual_seed(0))[: n // 2]]
    assert model.broad.share == pytest.approx(held_out.double().mean().item(), rel=0.1, abs=1 / n)


@pytest.mark.parametrize(("names", "steps"), [(("g",), 20), (("g", "r"), 20), (NAMES, 40)])
def test_a_density_is_trained_as_long_as_its_coordinates_ask_for(names, steps, monkeypatch):
    monkeypatch.setattr(background, "STEPS", 20)
    monkeypatch.setattr(background, "STEPS_A_COORDINATE", 10)
    stars = Data({name: torch.randn(100) for name in ("phi1", *NAMES)})
    stage = BackgroundTraining(BackgroundStage())
    ZukoFlowModel(net=flow(len(names), hidden_features=(4,)), coord_names=names).pretrain(stars, stage)
    assert stage.steps == [steps]


def test_the_likeliest_share_is_where_its_posterior_is_highest():
    ln_ratio = torch.cat([torch.linspace(-8, 0.5, 400), torch.tensor([25.0, 1e4])]).double()
    shares = torch.logspace(-4, -1, 5001, dtype=torch.float64)
    ln_p = torch.logaddexp((-shares).log1p(), shares.log() + ln_ratio[:, None]).sum(0)
    best = shares[(ln_p + 0.5 * shares.log() - 100 * shares).argmax()]
    assert likeliest_share(ln_ratio) == pytest.approx(best.item(), rel=2e-3)
    assert likeliest_share(torch.full((400,), -20.0).double()) == pytest.approx(0.5 / 500, rel=1e-2)
    assert likeliest_share(torch.full((10**6,), -20.0).double()) == pytest.approx(1e-4)
    assert likeliest_share(torch.full((100,), 20.0).double()) == pytest.approx(0.1)


def test_a_number_for_the_share_stays():
    model, stars = narrow(0.03)
    assert model.broad.share == pytest.approx(0.03)
    kernels = sml.builtin.compat.KDEModel(coord_names=("g",), broad=0.03)
    kernels.fit_points(stars)
    assert kernels.broad.share == pytest.approx(0.03)


def test_kernels_take_the_share_of_the_points_that_surprise_the_others():
    torch.manual_seed(1)
    even = torch.rand(4000) < 0.02
    g = torch.where(even, torch.empty(4000).uniform_(10, 24), 17 + 0.02 * torch.randn(4000))
    kernels = sml.builtin.compat.KDEModel(
        coord_names=("g",), coord_bounds={"g": (10.0, 24.0)}, bandwidth={"phi1": 1.0, "g": 0.004}
    )
    kernels.fit_points(sml.Data({"phi1": torch.zeros(4000).uniform_(-1, 1), "g": g}))
    again = sml.builtin.compat.KDEModel(coord_names=("g",), coord_bounds={"g": (10.0, 24.0)})
    again.load_state_dict(kernels.state_dict())
    assert again.broad.share == kernels.broad.share == pytest.approx(even.double().mean().item(), rel=0.15)


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0, "free"])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(sml.InputError, match="broad is the share"):
        ZukoFlowModel(net=flow(1), coord_names=("g",), broad=share)


def test_kernels_beyond_their_points_are_those_at_the_end():
    kernels = sml.builtin.compat.KDEModel(coord_names=("g",), coord_bounds={"g": (15.0, 22.0)}, broad=0.02)
    kernels.fit_points(sml.Data({"phi1": torch.randn(500), "g": 18 + 0.1 * torch.randn(500)}))
    high = kernels.points[:, 0].max().item()
    places = sml.Data({"phi1": torch.tensor([high, 50.0]), "g": torch.tensor([18.03, 18.03])})
    first, second = kernels.ln_likelihood({}, places)
    assert first == second
    assert kernels.is_supported(places).tolist() == [True, False]
    far = sml.Data({"phi1": torch.zeros(1), "g": torch.tensor([21.5])})
    assert kernels.ln_likelihood({}, far).item() == pytest.approx(math.log(0.02 / 7))
