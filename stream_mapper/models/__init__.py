"""Models and the models made of them."""

from stream_mapper.models.adoption import adopt
from stream_mapper.models.base import Model, ParametricModel, masked_sum, scope
from stream_mapper.models.ends import Ends
from stream_mapper.models.independent import IndependentModels
from stream_mapper.models.known import Batch, KnownDensities
from stream_mapper.models.mixture import MixtureModel

__all__ = [
    "Batch",
    "Ends",
    "IndependentModels",
    "KnownDensities",
    "MixtureModel",
    "Model",
    "ParametricModel",
    "adopt",
    "masked_sum",
    "scope",
]
