"""Gauss-Legendre nodes and weights."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor


def unit_rule(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights, which sum to one, of Gauss and Legendre on the unit interval, both (size,).

    They are kept, with the precision and on the device of a tensor: to make them is to copy them there. Do not change
    them in place.
    """
    return _unit_rule(size, like.dtype, like.device)


@cache
def _unit_rule(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(size)
    with torch.inference_mode(False):  # tensors of inference could not be used in training later
        x, w = (torch.tensor(values, dtype=dtype, device=device) for values in (0.5 + 0.5 * nodes, 0.5 * weights))
    return x, w
