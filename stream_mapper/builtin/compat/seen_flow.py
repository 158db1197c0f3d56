"""Flows over a position of which a survey saw a part."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from stream_mapper.builtin.box import RotatedBox
from stream_mapper.builtin.compat.broad import Broad, Law
from stream_mapper.builtin.compat.seen_part import BEYOND, SeenPart
from stream_mapper.builtin.seen import SeenModel, ln_sum, strips_inside
from stream_mapper.data import Data
from stream_mapper.distributions._stable import ln_normal_interval
from stream_mapper.errors import InputError
from stream_mapper.footprint import Footprint
from stream_mapper.models.base import Params
from stream_mapper.utils import StandardScaler


class SeenFlow(SeenModel):
    """What a flow needs to be normalised over a footprint.

    The coordinate of the footprint has to be a known monotonic function of one standard normal number, given the
    context: then the probability of a strip is that of an interval of this number.
    """

    box: RotatedBox | None
    broad: Broad | None
    scaler: StandardScaler

    @abstractmethod
    def _context(self, data: Data) -> Tensor:
        """What the network is conditioned on, (N, D)."""

    @abstractmethod
    def _standardised(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers that the network sees, and ln |du/dx| of each coordinate, both (*B, F)."""

    @abstractmethod
    def _broad_law(self) -> Law:
        """What the broad law of each coordinate is for the numbers that the network sees."""

    def ln_seen(self, params: Params, data: Data) -> Tensor:
        """Log probability that a star of this density is where the survey looked, at the place of each star, (N,)."""
        part = self._seen_part(data, self._context(data))
        if part is None or self.footprint is None:
            return super().ln_seen(params, data)
        return torch.where(self._strips(self.footprint, data)[-1].any(-1), self._ln_part(part), -torch.inf)

    def _check_seen(self) -> None:
        """Refuse a footprint of which the probability by this flow is not known."""
        seen = self.footprint
        if seen is not None and (self._in_box(seen.coord) or not self._is_first(self.coord_names.index(seen.coord))):
            raise InputError(
                f"{type(self).__name__} over {list(self.coord_names)} cannot be normalised over a footprint of "
                f"{seen.coord}: that needs a flow of zuko over {seen.coord} alone, or of one autoregressive "
                f"transformation (transforms: 1) with {seen.coord} first in coord_names and in no box."
            )

    def _in_box(self, name: str) -> bool:
        return self.box is not None and name in self.box.coord_names

    def _is_first(self, index: int) -> bool:  # noqa: ARG002
        """Whether a coordinate is a function of one standard normal number that `_to_base` knows."""
        return False

    def _to_base(self, index: int, u: Tensor, context: Tensor) -> Tensor:
        """The standard normal number that the network makes of a coordinate, (N,)."""
        raise NotImplementedError

    def _seen_part(self, data: Data, context: Tensor) -> SeenPart | None:
        """What was seen of the coordinate of the footprint, if there is one, at the places of stars."""
        if self.footprint is None:
            return None
        name, index = self.footprint.coord, self.coord_names.index(self.footprint.coord)
        bottom, top, seen = self._strips(self.footprint, data)
        nothing = ~seen.any(-1, keepdim=True)
        low, high = (edge[:, None] for edge in self.windows.edges(name, data, bottom.dtype))
        bottom, top = torch.where(nothing, low, bottom), torch.where(nothing, high, top)
        middle = torch.where((bottom + top).isfinite(), 0.5 * (bottom + top), 0.0)
        below, above = bottom <= low, top >= high
        from_low = self._numbers_at(index, torch.where(below, middle, bottom), data, context)
        from_high = self._numbers_at(index, torch.where(above, middle, top), data, context)
        (z_low, v_low) = (torch.where(below, -BEYOND, number) for number in from_low)
        (z_high, v_high) = (torch.where(above, BEYOND, number) for number in from_high)
        seen = seen | nothing
        return SeenPart(index, z_low, z_high, seen, ln_sum(ln_normal_interval(v_low, v_high), seen))

    def _numbers_at(self, index: int, x: Tensor, data: Data, context: Tensor) -> tuple[Tensor, Tensor]:
        """Standard normal numbers of the network and of the broad law at values of a coordinate, (N, K) each."""
        u = self._edge(index, x, data)
        mean, scale = (number[index] for number in self._broad_law())
        z = torch.stack([self._to_base(index, column, context) for column in u.unbind(-1)], -1)
        return z, (u - mean) / scale

    def _edge(self, index: int, x: Tensor, data: Data) -> Tensor:
        """Values (N, K) of one coordinate as the numbers that the network sees."""
        window = self.windows[self.coord_names[index]]
        if window.moves:
            low, high = (edge[:, None] for edge in window.edges(data, x.dtype))
            left, right = window.middle
            x = left + (right - left) * ((x - low) / (high - low))
        filled = x.new_zeros(*x.shape, len(self.coord_names))
        filled[..., index] = x
        return self._standardised(filled)[0][..., index]

    def _strips(self, footprint: Footprint, data: Data) -> tuple[Tensor, Tensor, Tensor]:
        low, high = self.windows.edges(footprint.coord, data, self.scaler.mean.dtype)
        return strips_inside(footprint, low, high, data)

    def _ln_part(self, part: SeenPart) -> Tensor:
        """Log probability of what was seen, (N,)."""
        return part.ln_narrow() if self.broad is None else self.broad.mixed(part.ln_narrow(), part.ln_broad)
