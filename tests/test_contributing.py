"""What CONTRIBUTING.md shows how to add works as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.table import MaskedColumn, Table
from scipy import stats

import stream_mapper as sml
from stream_mapper.catalog import surveys
from stream_mapper.nn import Constant

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def recipe(words):
    """The names that the block with these words defines."""
    names = {}
    exec(block_with(words), names)
    return names


def block_with(words):
    """The one block of the page that has these words."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (block,) = (block for block in blocks if words in block)
    return block


def test_the_density_to_be_added_is_one():
    model = recipe("class Laplace")["Laplace"](
        coord_names=["phi2"],
        net=Constant(2),
        data_scaler=sml.utils.StandardScaler(("phi1",), mean=[0.0], scale=[1.0]),
        params=sml.params.ModelParameters({"phi2": {"mu": (0.5, 1.5), "ln-scale": (-1.0, 1.0)}}),
    )
    x = torch.linspace(-5.0, 5.0, 7)
    params = model(data := sml.Data({"phi1": torch.zeros(7), "phi2": x}))
    loc, scale = params["phi2.mu"].detach().numpy(), params["phi2.ln-scale"].exp().detach().numpy()
    expected = stats.laplace(loc, scale).logpdf(x.numpy())
    assert model.ln_likelihood(params, data).detach().numpy() == pytest.approx(expected, rel=1e-5)


def test_the_format_to_be_added_is_one(tmp_path):
    names, path = recipe("def read_npz"), tmp_path / "t.npz"
    table = Table(
        {"g": MaskedColumn([18.0, 1.0], mask=[False, True]), "name": ["a", "bb"], "source_id": [2**60 + 1, 2]}
    )
    names["write_npz"](table, path)
    back = names["read_npz"](path)
    assert np.isnan(back["g"]).tolist() == [False, True]
    assert back["g"][0] == 18.0
    assert [back[name].tolist() for name in ("name", "source_id")] == [["a", "bb"], [2**60 + 1, 2]]


def test_the_survey_to_be_added_is_one(monkeypatch):
    added = eval(f"{{{block_with('Survey(')}}}", vars(surveys))
    (row,) = eval(f"{{{block_with('psfMagErr_u')}}}").values()
    monkeypatch.setattr(surveys, "SURVEYS", surveys.SURVEYS | added)
    name, band, value, error = row
    for asked in (name, None):
        assert surveys.find_band(band, [value, error], asked) == value
        assert surveys.find_band(f"{band}_err", [value, error], asked) == error
    assert added[name].coefficients.keys() == set(added[name].bands)
