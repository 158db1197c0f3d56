"""Stars near an isochrone in the colour-magnitude diagram."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from stream_mapper.builtin.isochrone import Isochrone
from stream_mapper.data import Data
from stream_mapper.errors import InputError, check_positive
from stream_mapper.selection.base import Answer, Selection, judged, value
from stream_mapper.track import Track

Edge = float | None


class IsochroneBand(Selection):
    r"""Stars whose colour is near that of an isochrone at their magnitude and the distance of the stream.

    .. math:: |c - c_\mathrm{iso}(m - \mu(\phi_1))| \le w + k \sqrt{s_1^2 + s_2^2}

    where the isochrone has several colours at a magnitude, near any of them. A star brighter or fainter than all of the
    isochrone is out.

    Arguments:
        isochrone: Absolute magnitudes.
        distmod: Distance modulus [mag]: a number, or a track that has ``distmod``.
        width: Half-width w in colour [mag].
        color: Blue and red band of the colour, both magnitudes of the isochrone and columns of the data.
        magnitude: Band m; by default the blue one.
        errors: Number k of standard errors of the colour by which the band grows, from ``<band>_err`` of both; an error
            that is missing counts as zero.
        magnitudes: Brightest and faintest m that is let in, as observed [mag]; None leaves a side open.

    Raises:
        InputError: If a band is not one of the isochrone's, a width or range is empty, or the track has no ``distmod``.
    """

    def __init__(
        self,
        isochrone: Isochrone,
        distmod: float | Track,
        width: float,
        color: tuple[str, str],
        magnitude: str | None = None,
        errors: float = 0.0,
        magnitudes: tuple[Edge, Edge] = (None, None),
    ) -> None:
        self.color, self.magnitude = tuple(color), magnitude or color[0]
        if unknown := [band for band in (*self.color, self.magnitude) if band not in isochrone.bands]:
            raise InputError(f"IsochroneBand: the isochrone has no band {unknown}; it has {list(isochrone.bands)}.")
        check_positive("the width of the IsochroneBand", width)
        if not 0 <= errors < math.inf:
            raise InputError(f"IsochroneBand: errors must be 0 or more; got {errors}.")
        low, high = (
            math.inf * side if edge is None else float(edge) for edge, side in zip(magnitudes, (-1, 1), strict=True)
        )
        if not low < high:
            raise InputError(f"IsochroneBand: magnitudes are ({low}, {high}); give the brighter one first.")
        if isinstance(distmod, Track):
            distmod.values("distmod")
        self.distmod, self.width, self.errors, self.magnitudes = distmod, width, errors, (low, high)
        blue, red, m = (
            isochrone.magnitudes[:, isochrone.bands.index(b)].double() for b in (*self.color, self.magnitude)
        )
        self.arcs = _monotonic(m, blue - red)

    @property
    def columns(self) -> tuple[str, ...]:
        """The bands, their errors if they count, and phi1 if the distance depends on it."""
        bands = tuple(dict.fromkeys((*self.color, self.magnitude)))
        errors = tuple(f"{band}_err" for band in self.color) if self.errors else ()
        return (*bands, *errors, *(("phi1",) if isinstance(self.distmod, Track) else ()))

    def answer(self, data: Data) -> Answer:
        """Stars are in where the magnitudes are known and near."""
        m, known = value(data, self.magnitude, "IsochroneBand")
        color, has_color = value(data, " - ".join(self.color), "IsochroneBand")
        known, m, color = known & has_color, m.double(), color.double()
        modulus: Tensor | float = 0.0
        if isinstance(self.distmod, Track):
            phi1, placed = value(data, "phi1", "IsochroneBand")
            modulus, known = self.distmod.at("distmod", phi1.double()), known & placed
        else:
            modulus = self.distmod
        width = self.width + self.errors * self._error(data) if self.errors else torch.full_like(m, self.width)
        low, high = self.magnitudes
        return judged(known, (m >= low) & (m <= high) & self._near(m - modulus, color, width))

    def _error(self, data: Data) -> Tensor:
        """Standard error of the colour, (N,)."""
        errors = [value(data, f"{band}_err", "IsochroneBand") for band in self.color]
        first, second = (torch.where(known, error, 0.0).double() for error, known in errors)
        return torch.hypot(first, second)

    def _near(self, absolute: Tensor, color: Tensor, width: Tensor) -> Tensor:
        """Whether a star of this absolute magnitude has the colour of some arc of the curve, (N,)."""
        near = torch.zeros_like(absolute, dtype=torch.bool)
        for nodes, colors in self.arcs:
            at, colors_at = nodes.to(absolute.device), colors.to(absolute.device)
            right = torch.searchsorted(at, absolute).clamp(1, len(at) - 1)
            share = (absolute - at[right - 1]) / (at[right] - at[right - 1])
            expected = torch.lerp(colors_at[right - 1], colors_at[right], share.clamp(0, 1))
            near = near | ((absolute >= at[0]) & (absolute <= at[-1]) & ((color - expected).abs() <= width))
        return near

    def __repr__(self) -> str:
        text = f"{' - '.join(self.color)} within {self.width:g} mag"
        text += f" and {self.errors:g} errors" if self.errors else ""
        low, high = self.magnitudes
        return f"IsochroneBand({text} of the isochrone, {self.magnitude} {low:g} to {high:g})"


def _monotonic(magnitude: Tensor, color: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The curve in arcs along each of which the magnitude rises, as the magnitudes and the colours of each."""
    step = magnitude.diff().sign()
    turns = [0, *((step[1:] != step[:-1]).nonzero()[:, 0] + 1).tolist(), len(magnitude) - 1]
    arcs = []
    for start, stop in pairwise(turns):
        m, c = magnitude[start : stop + 1], color[start : stop + 1]
        if m[0] != m[-1]:
            arcs.append((m, c) if m[0] < m[-1] else (m.flip(0), c.flip(0)))
    return arcs
