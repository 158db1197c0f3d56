"""Marginals of flows against brute force, and what a flow may be conditioned on."""

import math

import pytest
import torch

import stream_mapper as sml
from stream_mapper.builtin.compat import ZukoFlowModel, flow

NAMES = ("pm_phi1", "pm_phi2", "g", "r")


def trained(transforms):
    """A flow of four coordinates far from a normal law, with a dependence of each coordinate on the others."""
    network = flow(4, transforms=transforms, hidden_features=(32, 32))
    with torch.no_grad():
        for weights in network.parameters():
            weights.mul_(1.8)
    numbers = sml.utils.StandardScaler(("phi1", *NAMES), mean=[0.0] * 5, scale=[1.0] * 5)
    return ZukoFlowModel(net=network, coord_names=NAMES, data_scaler=numbers).requires_grad_(False)


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


def test_a_batch_in_which_no_star_has_the_coordinates():
    model = trained(2)
    stars = sml.Data({"phi1": torch.zeros(5)} | {name: torch.full((5,), torch.nan) for name in NAMES})
    assert torch.equal(model.ln_likelihood({}, stars), torch.zeros(5))
