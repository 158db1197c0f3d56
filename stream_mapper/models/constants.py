"""Parameters of a density that are one number each, the same all along the stream."""

from __future__ import annotations

from collections.abc import Sequence

from stream_mapper.models.weights import ParametersAlone
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameters
from stream_mapper.utils import StandardScaler

_SCALE = 5.0  # of the constants: a step of the optimiser then moves them about as far as the output of a network


class ConstantParameters(ParametersAlone):
    """Parameters that are the same all along the stream."""


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
