"""Isochrones, mass functions along them, and the density of magnitudes they give."""

from stream_mapper.builtin.isochrone.curve import Isochrone
from stream_mapper.builtin.isochrone.mass import (
    BrokenPowerLawMassFunction,
    CallableMassFunction,
    KroupaMassFunction,
    MassDensity,
    MassFunction,
    PowerLawMassFunction,
    StepMassFunction,
    UniformMassFunction,
)
from stream_mapper.builtin.isochrone.population import Population, populate
from stream_mapper.builtin.isochrone.segments import ln_isochrone

__all__ = [
    "BrokenPowerLawMassFunction",
    "CallableMassFunction",
    "Isochrone",
    "KroupaMassFunction",
    "MassDensity",
    "MassFunction",
    "Population",
    "PowerLawMassFunction",
    "StepMassFunction",
    "UniformMassFunction",
    "ln_isochrone",
    "populate",
]
