"""Gauss-Legendre nodes and weights."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def unit_rule(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights, which sum to one, of Gauss and Legendre on the unit interval, both (size,).

    They have the precision of a tensor, are on its device, and are kept there. Do not change them in place.
    """
    if like.device.type != "cpu":
        return _on_device(size, like.dtype, like.device)
    nodes, weights = _unit_rule(size, like.dtype)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


@cache
def _on_device(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    nodes, weights = _unit_rule(size, dtype)
    with torch.inference_mode(False):  # tensors of inference could not be used in training later
        return torch.tensor(nodes, device=device), torch.tensor(weights, device=device)


@cache
def _unit_rule(size: int, dtype: torch.dtype) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    nodes, weights = np.polynomial.legendre.leggauss(size)
    precision = np.float64 if dtype == torch.float64 else np.float32
    return (0.5 + 0.5 * nodes).astype(precision), (0.5 * weights).astype(precision)
