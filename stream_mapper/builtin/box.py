"""A box in the proper motions of the catalogue, which is a rotated one in those of the stream."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.distributions._rectangle import ln_rectangle
from stream_mapper.errors import InputError
from stream_mapper.models.base import Model
from stream_mapper.windows import Interval


def rotate(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    r"""A vector in axes turned by an angle, :math:`(x \cos\theta - y \sin\theta, \; x \sin\theta + y \cos\theta)`.

    Arguments:
        x: First component. From (``pm_phi1``, ``pm_phi2``) to (``pmra``, ``pmdec``) the angle is ``pm_angle``; it is
            minus that on the way back.
        y: Second component.
        angle: :math:`\theta` [rad]. The three broadcast.
    """
    cos, sin = angle.cos(), angle.sin()
    return x * cos - y * sin, x * sin + y * cos


class RotatedBox(nn.Module):
    """A rectangle in the axes of the catalogue, from which those of the stream are turned by an angle a star.

        >>> box = RotatedBox(("pm_phi1", "pm_phi2"), "pm_angle", first=(-20.0, 0.0), second=(-15.0, 5.0))
        >>> columns = {"pm_phi1": torch.tensor([-5.0]), "pm_phi2": torch.tensor([-9.0])}
        >>> box.inside(stream_mapper.Data({**columns, "pm_angle": torch.tensor([0.3])}))
        tensor([True])

    Arguments:
        coord_names: The two coordinates in the axes of the stream, such as ``pm_phi1`` and ``pm_phi2``.
        angle_name: Column of the angle [rad], see `rotate`; a `SkyFrame` provides ``pm_angle``.
        first: Edges of the first coordinate in the catalogue's axes, such as ``pmra``, in its unit.
        second: Edges of the second one, such as ``pmdec``.

    Raises:
        InputError: If there are not two coordinates, or a side is not an interval of finite length.
    """

    def __init__(self, coord_names: Sequence[str], angle_name: str, first: Interval, second: Interval) -> None:
        super().__init__()
        self.coord_names, self.angle_name = tuple(coord_names), angle_name
        if len(set(self.coord_names)) != 2 or len(self.coord_names) != 2:
            raise InputError(f"RotatedBox needs two coordinates; got {list(self.coord_names)}.")
        self.first, self.second = (_interval(name, side) for name, side in (("first", first), ("second", second)))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads."""
        return (*self.coord_names, self.angle_name)

    def rotate(self, data: Data) -> Tensor:
        """The two coordinates in the catalogue's axes, shape (N, 2)."""
        return torch.stack(rotate(*data[self.columns].unbind(-1)), -1)

    def turned_back(self, values: Mapping[str, Tensor], data: Data) -> dict[str, Tensor]:
        """The two coordinates in the axes of the stream, by name, from those in the catalogue's, each (N,)."""
        x, y = (values[name] for name in self.coord_names)
        return dict(zip(self.coord_names, rotate(x, y, -data[self.angle_name]), strict=True))

    def inside(self, data: Data) -> Tensor:
        """Whether each star is inside, shape (N,); a star that lacks a coordinate or the angle counts as inside."""
        return ~data.where[self.columns].all(-1) | self.holds(*data[self.columns].unbind(-1))

    def holds(self, x: Tensor, y: Tensor, angle: Tensor) -> Tensor:
        """Whether a place in the axes of the stream is inside, edges included; the three broadcast."""
        first, second = rotate(x, y, angle)
        (left, right), (bottom, top) = self.first, self.second
        return (first >= left) & (first <= right) & (second >= bottom) & (second <= top)

    def ln_probability(self, mean: Tensor, factor: tuple[Tensor, Tensor, Tensor], angle: Tensor) -> Tensor:
        r"""Log probability that a bivariate normal variable is inside, shape (N,), in nats.

        Arguments:
            mean: Its mean in the axes of the stream, shape (N, 2).
            factor: Entries :math:`l_{11}, l_{21}, l_{22}` of the lower triangular factor :math:`L` of its covariance
                :math:`L L^T` in these axes, :math:`l_{11}, l_{22} > 0`, shape (N,).
            angle: Angle of the star [rad], shape (N,).
        """
        (l11, l21, l22), zero = factor, torch.zeros_like(factor[0])
        x, y = rotate(mean[:, 0], mean[:, 1], angle)
        a1, b1 = rotate(l11, l21, angle)
        a2, b2 = rotate(zero, l22, angle)
        scale1, scale2 = torch.hypot(a1, a2), torch.hypot(b1, b2)
        corr, cond = (a1 * b1 + a2 * b2) / (scale1 * scale2), l11 * l22 / (scale1 * scale2)
        (left, right), (bottom, top) = self.first, self.second
        middle1, middle2 = (0.5 * (left + right) - x) / scale1, (0.5 * (bottom + top) - y) / scale2
        return ln_rectangle(middle1, (right - left) / scale1, middle2, (top - bottom) / scale2, corr, cond)

    def extra_repr(self) -> str:
        """What is shown of it."""
        return f"{self.coord_names}, {self.angle_name!r}, first={self.first}, second={self.second}"


class BoxedModel(Model):
    """A density with a window of two of its coordinates in the axes of the catalogue, where it has a ``box``."""

    box: RotatedBox | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the model reads, the angle of the box included."""
        return super().columns if self.box is None else (*super().columns, self.box.angle_name)

    def _in_own_window(self, data: Data) -> Tensor:
        """Whether the star has a place, and every measured coordinate is inside its window and the box, (N,)."""
        inside = super()._in_own_window(data)
        return inside if self.box is None else inside & self.box.inside(data)


def _interval(name: str, side: Interval) -> Interval:
    low, high = side
    if not 0 < high - low < math.inf:
        raise InputError(f"RotatedBox: {name} = ({low}, {high}) needs finite edges, the lower one first.")
    return float(low), float(high)
