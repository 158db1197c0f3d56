"""The scaler of columns: mean, scale and range of what is measured."""

import numpy as np
import torch
from small_models import state_of, table

from stream_mapper import Data
from stream_mapper.utils import StandardScaler


def test_scaler_of_measured_values():
    scaler = StandardScaler.fit(table(), ("phi1", "g", "r"))
    assert scaler.mean.tolist() == [15, 20, 18]
    np.testing.assert_allclose(scaler.scale, [np.std([0, 10, 20, 30]), np.std([18, 20, 22]), np.std([17, 18, 19])])
    assert scaler.low.tolist() == [0, 18, 17]
    assert scaler.high.tolist() == [30, 22, 19]
    values = table()["phi1", "g", "r"]
    torch.testing.assert_close(scaler.inverse(scaler.transform(values)), values)


def test_slices_of_a_scaler_keep_the_order_asked():
    scaler = StandardScaler.fit(table(), ("phi1", "g", "r"))
    part = scaler[("r", "phi1")]
    assert part.names == ("r", "phi1")
    assert part.mean.tolist() == [18, 15]
    assert part.fitted
    part.mean.zero_()
    assert scaler.mean.tolist() == [15, 20, 18]


def test_a_constant_column_keeps_its_unit():
    scaler = StandardScaler.fit(Data({"phi1": torch.full((3,), 7.0)}))
    assert scaler.transform(torch.tensor([[8.0]])).item() == 1


def test_state_of_a_scaler():
    scaler, fresh = StandardScaler.fit(table(), ("g",)), StandardScaler(("g",))
    assert not fresh.fitted
    fresh.load_state_dict(state_of(scaler))
    assert fresh.fitted is True
    assert fresh.mean.item() == 20
    assert fresh.high.item() == 22
