"""Parameters of a density that are one number each, the same all along the stream."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.models.base import ParametricModel, Params
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameters
from stream_mapper.utils import StandardScaler

_SCALE = 5.0  # of the constants: a step of the optimiser then moves them about as far as the output of a network


class ConstantParameters(ParametricModel):
    """Parameters that are the same all along the stream: a density over no coordinate."""

    def ln_likelihood(self, params: Params, data: Data) -> Tensor:  # noqa: ARG002
        """Zero: nothing is measured."""
        return torch.zeros(len(data), device=data.device)

    def simulate(self, params: Params, data: Data) -> dict[str, Tensor]:  # noqa: ARG002
        """No column: there is no coordinate to draw."""
        return {}


def constant_parameters(
    params: ModelParameters, data_scaler: StandardScaler | None, indep_coord_names: Sequence[str]
) -> ConstantParameters:
    """Parameters that are one number each, which starts in the middle of its bounds."""
    return ConstantParameters(
        net=Constant(len(params), scale=_SCALE),
        data_scaler=data_scaler,
        params=params,
        indep_coord_names=indep_coord_names,
        coord_names=(),
    )
