"""Which stars take part."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.errors import InputError


def cut(data: Data, bounds: Mapping[str, tuple[float, float]]) -> Tensor:
    """True for stars inside all bounds, edges included; what was not measured passes.

        >>> cut(Data({"g": torch.tensor([17.0, 22.0, torch.nan])}), {"g": (16, 21)})
        tensor([ True, False,  True])

    Arguments:
        data: N stars.
        bounds: Column to its lowest and highest value [unit of the column].

    Returns:
        Booleans of shape (N,).

    Raises:
        InputError: If a column is missing or its bounds are not in order.
    """
    inside = torch.ones(len(data), dtype=torch.bool, device=data.device)
    for name, (low, high) in bounds.items():
        if name not in data:
            raise InputError(f"bounds on {name!r}: no such column; the data has {list(data.names)}.")
        if not low <= high:
            raise InputError(f"bounds on {name!r} are ({low}, {high}); give the lower one first.")
        inside &= ~data.where[name] | ((data[name] >= low) & (data[name] <= high))
    return inside
