"""Parameters that are of no coordinate: those of the weights of a mixture, and what such have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.models.base import ParametricModel, Params


class ParametersAlone(ParametricModel):
    """Parameters of another model, by a network of their own: a density over no coordinate."""

    def ln_likelihood(self, params: Params, data: Data) -> Tensor:  # noqa: ARG002
        """Zero: nothing is measured."""
        return torch.zeros(len(data), device=data.device)

    def simulate(self, params: Params, data: Data) -> dict[str, Tensor]:  # noqa: ARG002
        """No column: there is no coordinate to draw."""
        return {}


class WeightParameters(ParametersAlone):
    """Parameters that decide how many stars are of which component."""
