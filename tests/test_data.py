"""Stars from tensors, arrays and lists, in any precision."""

import math
import re

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.table import MaskedColumn
from astropy.utils.masked import Masked
from small_models import table

import stream_mapper as sml
from stream_mapper import Data, InputError
from stream_mapper.builtin.compat import ZukoFlowModel, flow
from stream_mapper.nn import sequential
from stream_mapper.params import ModelParameters

NAN = math.nan


def fixed(array):
    array.setflags(write=False)
    return array


COLUMNS = {
    "list": ([1, 2.5, NAN], torch.float32, [1, 2.5, NAN]),
    "tuple of integers": ((1, 2, 3), torch.int64, [1, 2, 3]),
    "list of numbers of numpy": (list(np.array([1, 2.5])), torch.float64, [1, 2.5]),
    "float64": (np.array([1, 2.5, NAN]), torch.float64, [1, 2.5, NAN]),
    "float32": (np.array([1, 2.5, NAN], "f4"), torch.float32, [1, 2.5, NAN]),
    "big-endian": (np.array([1, 2.5, NAN], ">f8"), torch.float64, [1, 2.5, NAN]),
    "big-endian integers": (np.array([1, 2, 3], ">i2"), torch.int16, [1, 2, 3]),
    "unsigned": (np.array([1, 60_000], "u2"), torch.int64, [1, 60_000]),
    "long": (np.array([1, 2.5, NAN], np.longdouble), torch.float64, [1, 2.5, NAN]),
    "booleans": (np.array([True, False]), torch.bool, [1, 0]),
    "backwards": (np.array([NAN, 2.5, 1])[::-1], torch.float64, [1, 2.5, NAN]),
    "read-only": (fixed(np.array([1, 2.5, NAN])), torch.float64, [1, 2.5, NAN]),
    "masked": (np.ma.array([1, 2.5, 99], "f4", mask=[0, 0, 1]), torch.float32, [1, 2.5, NAN]),
    "masked integers": (np.ma.array([1, 2, 99], mask=[0, 0, 1]), torch.float64, [1, 2, NAN]),
    "column of a table": (MaskedColumn([1, 2.5, 99], mask=[0, 0, 1]), torch.float64, [1, 2.5, NAN]),
    "masked array of astropy": (Masked(np.array([1, 99.0]), mask=[False, True]), torch.float64, [1, NAN]),
    "without a unit": ([1.0, 2.5] * u.dimensionless_unscaled, torch.float64, [1, 2.5]),
    "rows": (np.arange(4.0).reshape(2, 2), torch.float64, [[0, 1], [2, 3]]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("values", "dtype", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_columns_from_arrays_and_lists(values, dtype, expected):
    data, expected = Data({"a": values}), np.array(expected, dtype=float)
    assert data["a"].dtype == dtype
    np.testing.assert_array_equal(data["a"].numpy(), np.nan_to_num(expected))
    np.testing.assert_array_equal(data.where["a"].numpy(), ~np.isnan(expected))
    assert data.with_columns({"b": values})["b"].dtype == dtype


def test_a_column_does_not_follow_its_array():
    values = np.array([1.0, 2.0])
    data = Data({"a": values}, where={"a": [True, False]})
    values[0] = 7
    assert data["a"].tolist() == [1, 0]


def test_stars_of_any_precision_suit_a_model_of_any_precision():
    def uniform():
        return sml.builtin.Uniform(coord_names=["a"], coord_bounds={"a": (0, 1)})

    def normal():
        params = ModelParameters({"b": {"mu": (-1, 1), "ln-sigma": (-1, 1)}})
        return sml.builtin.Normal(coord_names=["b"], net=sequential(1, 8, 2, 2), params=params)

    learned = ZukoFlowModel(net=flow(1), coord_names=["a"], coord_bounds={"a": (0, 1)})
    parts = {"a": uniform(), "b": normal()}, {"a": learned, "b": normal()}
    mixture = dict(zip(("stream", "background"), map(sml.IndependentModels, parts), strict=True))
    params = ModelParameters({"stream.ln-weight": (-3, 0)})
    model = sml.MixtureModel(mixture, net=sequential(1, 8, 2, 1), params=params)
    stars = Data({"phi1": np.linspace(-10, 10, 6), "a": np.linspace(0.1, 0.9, 6), "b": np.linspace(-1, 1, 6)})
    model.fit_scalers(stars)
    values = []
    for precision in (torch.float32, torch.float64):
        for dtype in (torch.float32, torch.float64):
            some = stars.to(dtype=dtype)
            values.append(model.to(precision).ln_likelihood(model(some), some).double())
    for value in values:
        assert torch.allclose(value, values[-1], atol=1e-5)


REFUSED = {
    "column 'a' holds text, such as 'x'; give one number a star": lambda: Data({"a": np.array(["x", "y"])}),
    "column 'a' holds object, such as 'None'": lambda: Data({"a": np.array([None, 1.0])}),
    "column 'a' holds complex128": lambda: Data({"a": np.array([1j])}),
    "column 'a' holds complex numbers": lambda: Data({"a": torch.tensor([1j])}),
    "column 'a' is no list of numbers (too many dimensions 'str')": lambda: Data({"a": ["x", "y"]}),
    "column 'a' is no list of numbers (": lambda: Data({"a": [1.0, None]}),
    "column 'b' is no list of numbers": lambda: Data({"a": [1.0], "b": "x"}),
    "column 'a' carries the unit 'deg'; convert it": lambda: Data({"a": [1.0] * u.deg}),
    "found {'a': None}": lambda: Data({"a": 1.0}),
    "where of 'a' must be boolean, of shape (2,); found bool of shape (1,)": lambda: Data({"a": [1, 2]}, {"a": [True]}),
    "where of 'a' must be boolean, of shape (1,); found float32": lambda: Data({"a": [1]}, {"a": [0.5]}),
}


@pytest.mark.parametrize(("message", "make"), REFUSED.items(), ids=REFUSED)
def test_what_is_no_column(message, make):
    with pytest.raises(InputError, match=re.escape(message)):
        make()


def test_nan_is_not_measured_and_reaches_nothing():
    data = table()
    assert data.where["g"].tolist() == [True, False, True, True]
    assert data["g"].tolist() == [18, 0, 20, 22]
    assert data.where["id"].all()
    assert data["id"].dtype == torch.int64
    assert len(data) == 4
    assert data.names == ("phi1", "g", "r", "id")
    assert "g" in data
    assert "z" not in data
    assert repr(data) == "Data(4 stars: phi1, g, r, id)"


def test_a_given_mask_adds_to_nan():
    where = {"a": torch.tensor([True, True, False])}
    data = Data({"a": torch.tensor([1.0, NAN, 3.0]), "b": torch.ones(3)}, where=where)
    assert data.where["a"].tolist() == [True, False, False]
    assert data["a"].tolist() == [1, 0, 0]
    assert data.where["b"].all()


def test_columns_by_name():
    data = table()
    assert torch.equal(data["r", "phi1"], torch.stack([data["r"], data["phi1"]], -1))
    assert torch.equal(data[["r", "phi1"]], data["r", "phi1"])
    assert data[("g",)].shape == (4, 1)
    assert data.where["g", "r"].tolist() == [[True, True], [False, True], [True, True], [True, False]]
    assert data.select(["r"]).names == ("r",)
    with pytest.raises(KeyError, match=r"no column 'gmag'; the data has \['phi1', 'g', 'r', 'id'\]"):
        data["gmag"]


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        (slice(1, 3), [3, 2]),
        (slice(None, None, 2), [4, 2]),
        (torch.tensor([3, 0, 0]), [1, 4, 4]),
        ([3, 0], [1, 4]),
        (torch.tensor([False, True, True, False]), [3, 2]),
        (slice(0, 0), []),
        ([], []),
    ],
)
def test_rows_by_slice_index_and_mask(rows, ids):
    part = table()[rows]
    assert part["id"].tolist() == ids
    assert part.where["g"].tolist() == [i != 3 for i in ids]
    assert len(part) == len(ids)


def test_to_a_dtype_leaves_integers_and_masks():
    data = table().to(dtype=torch.float64)
    assert data["g", "r"].dtype == torch.float64
    assert data["id"].dtype == torch.int64
    assert data.where["g"].dtype == torch.bool
    assert table().to("cpu")["g"].dtype == torch.float32


def test_new_columns_replace_and_may_be_missing():
    data = table().with_columns({"g": torch.full((4,), NAN), "b": torch.arange(4.0)})
    assert not data.where["g"].any()
    assert data["b"].tolist() == [0, 1, 2, 3]
    assert table().where["g"].any()
