"""Where along the stream a table has stars, and where a model expects some: said before the training begins."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.models.base import Model
from stream_mapper.prior import ControlRegions

_log = logging.getLogger("stream_mapper")

_TURN = 360.0  # deg
_NEAR = 0.05  # of the span of the stars: a guide so far beyond them is still at their edge
_WIDE = 30.0  # deg: a gap that is narrower is no wrap
_PLACE = "phi1"


def warn_of_places(model: Model, stars: Data) -> None:
    """Warn of guides where the table has no stars, and of stars that go around the end of phi1.

    Arguments:
        model: The model.
        stars: All stars inside its window.
    """
    phi1 = stars[_PLACE][stars.where[_PLACE]].double().cpu() if _PLACE in stars else torch.zeros(0)
    if len(phi1) < 2:
        return
    for line in (*_wrap(phi1.sort().values), *_guides(model, phi1)):
        _log.warning("%s", line)


def _wrap(phi1: Tensor) -> Iterator[str]:
    """A line if the stars are closer to each other across the end of phi1 than along it."""
    gaps = phi1.diff()
    widest = int(gaps.argmax())
    around = _TURN - float(phi1[-1] - phi1[0])
    if gaps[widest] > max(around, _WIDE) and around < _WIDE:
        low, high = float(phi1[widest]), float(phi1[widest + 1])
        yield (
            f"phi1 has a gap of {high - low:.0f} deg, from {low:.1f} to {high:.1f}, and its ends meet: the field lies "
            "across the end of phi1, and no function along it can; give phi1 in -180..180, or another origin (ra0) of "
            "the frame."
        )


def _guides(model: Model, phi1: Tensor) -> Iterator[str]:
    """A line for each parameter with guides beyond the stars."""
    low, high = float(phi1.min()), float(phi1.max())
    near = _NEAR * (high - low)
    for _, prior in model.held_priors():
        if not isinstance(prior, ControlRegions) or prior.coord != _PLACE:
            continue
        places = prior.phi1.double().cpu()
        beyond = places[(places < low - near) | (places > high + near)]
        if len(beyond):
            listed = ", ".join(f"{place:g}" for place in beyond[:5].tolist()) + (", ..." if len(beyond) > 5 else "")
            yield (
                f"{len(beyond)} of {len(places)} guides of {prior.param} lie where the table, with phi1 from {low:.1f} "
                f"to {high:.1f}, has no stars: at phi1 = {listed}; are both of one frame, and phi1 in -180..180?"
            )
