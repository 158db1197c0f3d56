"""Densities of the coordinates of a star."""

from stream_mapper.builtin import compat
from stream_mapper.builtin.box import RotatedBox
from stream_mapper.builtin.exponential import Exponential
from stream_mapper.builtin.hooks import Parallax2DistMod, ShareParameters
from stream_mapper.builtin.isochrone import (
    CallableMassFunction,
    Isochrone,
    IsochroneGrid,
    KroupaMassFunction,
    MassDensity,
    MassFunction,
    PowerLawFamily,
    PowerLawMassFunction,
    StepMassFunction,
    UniformMassFunction,
)
from stream_mapper.builtin.isochrone.model import IsochroneMVNorm
from stream_mapper.builtin.multivariate_normal import MultivariateNormal
from stream_mapper.builtin.normal import Normal, TruncatedNormal
from stream_mapper.builtin.skew import SkewNormal, TruncatedSkewNormal
from stream_mapper.builtin.sloped import Sloped
from stream_mapper.builtin.uniform import Uniform

__all__ = [
    "CallableMassFunction",
    "Exponential",
    "Isochrone",
    "IsochroneGrid",
    "IsochroneMVNorm",
    "KroupaMassFunction",
    "MassDensity",
    "MassFunction",
    "MultivariateNormal",
    "Normal",
    "Parallax2DistMod",
    "PowerLawFamily",
    "PowerLawMassFunction",
    "RotatedBox",
    "ShareParameters",
    "SkewNormal",
    "Sloped",
    "StepMassFunction",
    "TruncatedNormal",
    "TruncatedSkewNormal",
    "Uniform",
    "UniformMassFunction",
    "compat",
]
