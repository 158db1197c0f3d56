"""Numbers of the densities that were trained before the mixture: how well, on what, and where they know nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from stream_mapper.builtin.compat.broad import Broad
from stream_mapper.data import Data
from stream_mapper.models.base import Learned, Model
from stream_mapper.models.components import frozen_parts
from stream_mapper.models.known import KnownDensities

_log = logging.getLogger("stream_mapper")

_ROWS = 200_000  # stars looked at at once


@dataclass(frozen=True)
class Pretrained:
    """What is known once the densities are trained that come before the mixture.

    Arguments:
        known: Their log densities of all stars.
        off_stream: The stars that they were trained on, if these have their coordinates.
        rows: Which of the fit's stars those are; None if they are of another table.
        learned: How the training of each density went, by its coordinates.
    """

    known: KnownDensities
    off_stream: Data
    rows: Tensor | None = None
    learned: Mapping[str, Learned] = field(default_factory=dict)


def background_metrics(
    model: Model, stars: Data, pretrained: Pretrained, p_off_stream: Tensor | None
) -> dict[str, Any]:
    """Numbers of the densities that were trained beforehand, which are logged.

    Arguments:
        model: The fitted model, where the stars are to be looked at.
        stars: The fitted stars.
        pretrained: What the training found.
        p_off_stream: The membership of each of the stars it used, (M,); None if it is not known.

    Returns:
        ``val_ln_likelihood_background``, ``steps_background`` and ``broad_share_background`` by density;
        ``outside_support_background``, fitted stars unlike those that some density was trained on;
        ``stream_share_of_background``, the share of stream stars among these. Nothing of a model without such
        densities.
    """
    parts = frozen_parts(model)
    if not parts:
        return {}
    out: dict[str, Any] = {
        "val_ln_likelihood_background": {names: one.ln_p for names, one in pretrained.learned.items()},
        "steps_background": {names: one.steps for names, one in pretrained.learned.items()},
    }
    if shares := _broad_shares(parts):
        out["broad_share_background"] = shares
    out["outside_support_background"] = _unsupported(parts, stars)
    if p_off_stream is not None and len(p_off_stream):
        share = out["stream_share_of_background"] = p_off_stream.double().nanmean().item()
        text = "%.1f of the %d stars that the background was trained on are of the stream by this fit (%.2g %%)%s."
        rest = "; those outside its window count as none" if pretrained.rows is None else ""
        _log.info(text, share * len(p_off_stream), len(p_off_stream), 100 * share, rest)
    return out


def _broad_shares(parts: Mapping[str, Model]) -> dict[str, float]:
    """Share of the broad law in each density that has one, by its coordinates."""
    shares = {
        ",".join(part.coord_names): module.share
        for part in parts.values()
        for module in part.modules()
        if isinstance(module, Broad)
    }
    for names, share in shares.items():
        _log.info("%.2g of the density of %s is the broad one.", share, names)
    return shares


@torch.no_grad()
def _unsupported(parts: Mapping[str, Model], stars: Data) -> int:
    """Number of stars unlike those that some of the densities was trained on."""
    total = torch.zeros(len(stars), dtype=torch.bool)
    for part in parts.values():
        home = next((values.device for values in (*part.buffers(), *part.parameters())), stars.device)
        chunks = [chunk.to(home) for chunk in part.measured(stars).split(_ROWS)]
        outside = torch.cat([~part.is_supported(chunk).cpu() for chunk in chunks])
        total |= outside
        text = "%d of %d stars are unlike those that the density of %s was trained on (of these, 1 in 1000 is)."
        _log.info(text, int(outside.sum()), len(stars), ", ".join(part.coord_names))
    return int(total.sum())
