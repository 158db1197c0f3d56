"""Isochrones, mass functions along them, and the density of magnitudes they give."""

from stream_mapper.builtin.isochrone.curve import Isochrone
from stream_mapper.builtin.isochrone.family import PowerLawFamily
from stream_mapper.builtin.isochrone.grid import IsochroneGrid
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
    "IsochroneGrid",
    "KroupaMassFunction",
    "MassDensity",
    "MassFunction",
    "Population",
    "PowerLawFamily",
    "PowerLawMassFunction",
    "StepMassFunction",
    "UniformMassFunction",
    "ln_isochrone",
    "populate",
]
