"""The sky of a simulated field: positions, proper motions and their errors between ICRS and the frame of a stream."""

from __future__ import annotations

import torch
from torch import Tensor

from stream_mapper.mock.base import Stars


def on_the_sky(stars: Stars, rotation: Tensor) -> Stars:
    """Position [deg] and proper motion [mas/yr] in ICRS of stars in the frame of a stream.

    Arguments:
        stars: ``phi1``, ``phi2`` [deg], ``pm_phi1`` and ``pm_phi2`` [mas/yr], (N,) each.
        rotation: Rotation from ICRS to the frame, (3, 3): the unit vectors of its axes.
    """
    point, along, across = _axes(torch.deg2rad(stars["phi1"]), torch.deg2rad(stars["phi2"]))
    motion = (stars["pm_phi1"][:, None] * along + stars["pm_phi2"][:, None] * across) @ rotation
    x, y, z = (point @ rotation).unbind(-1)
    ra, dec = torch.atan2(y, x), torch.atan2(z, torch.hypot(x, y))
    _, east, north = _axes(ra, dec)
    position = {"ra": torch.rad2deg(ra) % 360, "dec": torch.rad2deg(dec)}
    return position | {"pmra": (motion * east).sum(-1), "pmdec": (motion * north).sum(-1)}


def turn(phi1: Tensor, phi2: Tensor, rotation: Tensor) -> Tensor:
    """Matrices (N, 2, 2) that turn (pmra, pmdec) into (pm_phi1, pm_phi2) at places [deg] of the frame."""
    point, along, across = _axes(torch.deg2rad(phi1), torch.deg2rad(phi2))
    x, y, z = (point @ rotation).unbind(-1)
    _, east, north = _axes(torch.atan2(y, x), torch.atan2(z, torch.hypot(x, y)))
    here = torch.stack([east, north], -2) @ rotation.T
    return torch.stack([along, across], -2) @ here.mT


def _axes(lon: Tensor, lat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors to points, along their longitude and along their latitude, (N, 3) each."""
    cos, sin, zero = lat.cos(), lat.sin(), torch.zeros_like(lon)
    point = torch.stack([cos * lon.cos(), cos * lon.sin(), sin], -1)
    along = torch.stack([-lon.sin(), lon.cos(), zero], -1)
    return point, along, torch.stack([-sin * lon.cos(), -sin * lon.sin(), cos], -1)
