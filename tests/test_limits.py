"""Limits of densities, by which most stars are seen to be of the background before anything is computed of them."""

import math

import pytest
import torch
from test_isochrone import make_stars

from stream_mapper.builtin import IsochroneMVNorm
from stream_mapper.builtin.compat import ZukoFlowModel, flow
from stream_mapper.builtin.isochrone import Isochrone
from stream_mapper.data import Data
from stream_mapper.devices import without_sync
from stream_mapper.utils import StandardScaler


@pytest.mark.parametrize("windows", [{}, {"r": (16.0, 19.5)}, {"g": (15.0, 21.0), "r": (15.0, 20.0)}])
@pytest.mark.parametrize("scatter", [0.0, 0.05])
def test_an_isochrone_is_nowhere_above_its_limit(windows, scatter):
    curve = Isochrone.synthetic()
    given = make_stars(curve, n=400)
    model = IsochroneMVNorm(
        isochrone=curve, phot_err_names=["g_err", "r_err"], scatter=scatter, phot_bounds=windows, phot_names=["g", "r"]
    )
    values = torch.where(given["where"], given["magnitudes"], torch.nan)
    values[:20] = torch.nan
    columns = {"phi1": values.new_zeros(400), "g": values[:, 0], "r": values[:, 1]}
    data = Data({**columns, "g_err": given["errors"][:, 0], "r_err": given["errors"][:, 1]})
    params = {"distmod.mu": given["distmod"], "distmod.ln-sigma": given["ln_spread"]}
    most, found = model.ln_most(params, data), model.ln_likelihood(params, data)
    assert (found <= most + 1e-4).all()
    inside = found.isfinite() & data.where[["g", "r"]].all(-1)
    assert (most - found)[inside].median() < 15
    assert (most[:20] >= 0).all()


@pytest.mark.parametrize("lacking", [(), ("x",), ("x", "y")])
def test_a_flow_is_nowhere_below_its_limit(lacking):
    torch.manual_seed(0)
    data = Data({name: torch.randn(300) for name in ("phi1", "x", "y")})
    model = ZukoFlowModel(
        net=flow(features=2),
        coord_names=["x", "y"],
        coord_bounds={"y": (-5.0, 5.0)},
        data_scaler=StandardScaler.fit(data, ("phi1", "x", "y")),
        broad=0.1,
    )
    far = data.with_columns({"x": 4 * data["x"], **{name: torch.full((300,), torch.nan) for name in lacking}})
    with torch.no_grad():
        least, found = model.ln_least({}, far), model.ln_likelihood({}, far)
    assert (least <= found + 1e-4).all()
    assert ((found - least)[far["x"].abs() > 8] < 0.5).all()
    assert (found - least).max() <= 0 if len(lacking) == 2 else (found - least).max() > math.log(2)
    model.broad = None
    assert model.ln_least({}, far) is None


@pytest.mark.parametrize("windows", [{}, {"r": (16.0, 19.5)}])
@pytest.mark.parametrize("scatter", [0.0, 0.05, "along"])
@pytest.mark.parametrize("spread", [0.003, 0.3])
def test_many_draws_at_once_are_one_after_the_other(windows, scatter, spread):
    curve = Isochrone.synthetic()
    given = make_stars(curve, n=200, errors=(0.001, 0.1), dtype=torch.float64)
    if scatter == "along":
        scatter = [[0.01 * (1 + i % 7), 0.02] for i in range(len(curve.magnitudes))]
    model = IsochroneMVNorm(
        isochrone=curve, phot_err_names=["g_err", "r_err"], scatter=scatter, phot_bounds=windows, phot_names=["g", "r"]
    ).double()
    values = torch.where(given["where"], given["magnitudes"], torch.nan)
    values[:20] = torch.nan
    columns = {"phi1": values.new_zeros(200), "g": values[:, 0], "r": values[:, 1]}
    data = Data({**columns, "g_err": given["errors"][:, 0], "r_err": given["errors"][:, 1]})
    torch.manual_seed(0)
    noise = spread * torch.randn(2, 12, 1, dtype=torch.float64) * (1 + torch.rand(200, dtype=torch.float64))
    params = {"distmod.mu": given["distmod"] + noise[0], "distmod.ln-sigma": given["ln_spread"] + 3 * noise[1]}
    found = model.ln_draws(params, data)
    each = [model.ln_likelihood({name: v[i] for name, v in params.items()}, data) for i in range(12)]
    torch.testing.assert_close(found, torch.stack(each), rtol=1e-12, atol=1e-11)
    with without_sync():
        assert model.ln_draws(params, data) is None
