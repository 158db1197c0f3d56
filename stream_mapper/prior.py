"""Log priors on the parameters of a model, each counted once whatever the number of stars."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.description import Described
from stream_mapper.errors import InputError, check_at_least, check_finite, check_positive
from stream_mapper.track import Track

_Parameters = Callable[[Data], dict[str, Tensor]]


class Prior(Described, nn.Module, ABC):
    """A log prior: a scalar from a model's parameter functions."""

    @abstractmethod
    def forward(self, model: _Parameters) -> Tensor:
        """Log prior of ``model``, up to a constant, in nats."""

    def constrain(self, params: dict[str, Tensor], data: Data) -> dict[str, Tensor]:  # noqa: ARG002
        """The parameters, changed where this prior leaves no choice; most leave them as they are."""
        return params


class SquaredPrior(Prior):
    r"""A log prior that is a sum of squares, :math:`-\frac{1}{2} \sum_k r_k^2`, so that its curvature is known."""

    @abstractmethod
    def residuals(self, model: _Parameters) -> Tensor:
        """Terms r, (K,), each of which depends on its own place alone."""

    def forward(self, model: _Parameters) -> Tensor:
        """Log prior, a scalar in nats."""
        return -0.5 * self.residuals(model).square().sum()


class ControlRegions(SquaredPrior):
    r"""Guides of a parameter along phi1: flat inside a region, quadratic outside.

    .. math:: \ln p = -\lambda \sum_k \max(|x(\phi_{1,k}) - c_k| / w_k - 1, 0)^2

    After Starkman, Nibauer et al. 2025, arXiv 2311.16960; here in units of each half-width, so that one strength
    serves every coordinate. The regions also start the fit: networks are first brought to the centres.

    A function may leave its regions between two of them and be back at the next. Held at places ``between``, it may go
    anywhere from the lowest to the highest edge of the two regions beside each; it pays as outside a region, in units
    of their mean half-width, and all places between two regions together count about as one region.

    Arguments:
        param: Dotted name of the parameter x, seen from the model that holds this prior.
        phi1: Positions of the regions [deg], K of them.
        center: Centres c_k, in the parameter's unit.
        width: Half-widths w_k > 0, in the parameter's unit; one number serves all.
        lamda: Strength, dimensionless: a value 2 w_k from c_k costs this many nats.
        coord: Independent coordinate the positions are of.
        between: Places between two neighbouring regions where the parameter is held too; none by default.

    Raises:
        InputError: If the lengths differ, a number is not finite, a width is not positive, or ``between`` is negative.
    """

    phi1: Tensor
    center: Tensor
    width: Tensor

    def __init__(
        self,
        param: str,
        phi1: Sequence[float],
        center: Sequence[float],
        width: Sequence[float] | float,
        lamda: float = 100.0,
        coord: str = "phi1",
        between: int = 0,
    ) -> None:
        super().__init__()
        check_at_least(f"between, of the ControlRegions of {param},", between, 0)
        widths = [float(width)] * len(phi1) if isinstance(width, int | float) else list(width)
        if not len(phi1) == len(center) == len(widths) > 0:
            raise InputError(
                f"ControlRegions of {param}: phi1, center and width have {len(phi1)}, {len(center)} and "
                f"{len(widths)} values; they need the same number, one or more."
            )
        check_finite(
            f"phi1, center, width and lamda of the ControlRegions of {param}", [*phi1, *center, *widths, lamda]
        )
        if min(widths) <= 0 or lamda < 0:
            raise InputError(f"ControlRegions of {param}: widths must be > 0 and lamda >= 0; got {widths} and {lamda}.")
        self.param, self.coord, self.lamda, self.between = param, coord, float(lamda), between
        for name, values in (("phi1", phi1), ("center", center), ("width", widths)):
            self.register_buffer(name, torch.tensor([float(v) for v in values]))

    @classmethod
    def along(
        cls,
        param: str,
        track: Track,
        width: Sequence[float] | float | None = None,
        lamda: float = 100.0,
        coord: str = "phi1",
        quantity: str | None = None,
        between: int = 7,
    ) -> ControlRegions:
        """Regions about a track, one at each of its places, with the parameter held between them as well.

            >>> track = stream_mapper.Track([-10.0, 10.0], {"phi2": [0.0, 2.0]})
            >>> ControlRegions.along("phi2.mu", track, width=0.5).center
            tensor([0., 2.])

        Arguments:
            param: Dotted name of the parameter.
            track: The track, with the places that are to be guides; `stream_mapper.catalog.read_track` reads one.
            width: Half-widths, one or one a place, in the parameter's unit; by default those of the track.
            lamda: Strength, as of the class.
            coord: Independent coordinate the places are of.
            quantity: Coordinate of the track; by default the parameter's: ``phi2`` of ``phi2.mu``.
            between: As of the class.

        Raises:
            InputError: If the track has no such coordinate or no widths of it.
        """
        name = quantity or param.rpartition(".")[0].rpartition(".")[2] or param
        return cls(param, track.phi1, track.values(name), track.half_width(name, width), lamda, coord, between)

    def offsets(self, model: _Parameters) -> Tensor:
        """Distance of the parameter from the centres in half-widths, shape (K,)."""
        return (self._values(model, self.phi1) - self.center) / self.width

    @property
    def places(self) -> Tensor:
        """Where the parameter is held: at the regions, then between them."""
        return torch.cat([self.phi1, self._between()[0]])

    def residuals(self, model: _Parameters) -> Tensor:
        """Terms r with which the log prior is -sum r^2 / 2, one for each of the `places`; zero inside."""
        places, low, high, unit = self._between()
        x, y = self._values(model, torch.cat([self.phi1, places])).tensor_split([len(self.phi1)])
        offsets = (x - self.center) / self.width
        at = offsets.sign() * (offsets.abs() - 1).clamp(min=0)
        off = ((y - high).clamp(min=0) - (low - y).clamp(min=0)) / unit
        return (2 * self.lamda) ** 0.5 * torch.cat([at, off / (self.between + 1) ** 0.5])

    def _between(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The places between the regions, the lowest and highest value there, and the unit of what is beyond."""
        order = self.phi1.argsort()
        low, high, unit = self.center - self.width, self.center + self.width, self.width
        phi1, low, high, unit = (torch.stack([x[order][:-1], x[order][1:]]) for x in (self.phi1, low, high, unit))
        shares = torch.linspace(0, 1, self.between + 2, device=phi1.device, dtype=phi1.dtype)[1:-1]
        places = torch.lerp(phi1[0, :, None], phi1[1, :, None], shares).flatten()
        lowest, highest, mean = (x.repeat_interleave(self.between) for x in (low.amin(0), high.amax(0), unit.mean(0)))
        return places, lowest, highest, mean

    def _values(self, model: _Parameters, places: Tensor) -> Tensor:
        params = model(Data({self.coord: places}))
        if self.param not in params:
            raise InputError(f"ControlRegions: no parameter {self.param!r}; the model has {list(params)}.")
        return params[self.param]


class NormalPrior(SquaredPrior):
    r"""A parameter is near a value: :math:`\ln p = -\frac{1}{2} (x - m)^2 / s^2`, at some places.

    It is meant for parameters that are one number all along the stream, for which one place is enough: an [Fe/H] from
    spectra, an age.

    Arguments:
        param: Dotted name of the parameter x, seen from the model that holds this prior.
        mean: m, in the parameter's unit.
        sigma: s > 0, in that unit.
        at: Places, each of which counts once, in the unit of the coordinate.
        coord: Independent coordinate the places are of.

    Raises:
        InputError: If a number is not finite, or sigma not positive.
    """

    at: Tensor

    def __init__(
        self, param: str, mean: float, sigma: float, at: Sequence[float] = (0.0,), coord: str = "phi1"
    ) -> None:
        super().__init__()
        check_positive(f"the sigma of the NormalPrior of {param}", sigma)
        check_finite(f"mean and at of the NormalPrior of {param}", [mean, *at])
        self.param, self.mean, self.sigma, self.coord = param, float(mean), float(sigma), coord
        self.register_buffer("at", torch.tensor([float(x) for x in at]))

    def residuals(self, model: _Parameters) -> Tensor:
        """Terms r (K,), distances from the mean in sigma."""
        params = model(Data({self.coord: self.at}))
        if self.param not in params:
            raise InputError(f"NormalPrior: no parameter {self.param!r}; the model has {list(params)}.")
        return (params[self.param].expand(len(self.at)) - self.mean) / self.sigma


class HardThreshold(Prior):
    """Switches a component off outside a range of phi1.

    There its weight is zero, whatever the network proposes, and so is the membership of every star.

    Arguments:
        param: Dotted name of a ln-weight, seen from the mixture that holds this prior, such as "spur.ln-weight".
        lower: Start of the range, in the unit of the coordinate.
        upper: End of the range.
        coord: Independent coordinate of the range.

    Raises:
        InputError: If the range is empty or the parameter is no ln-weight.
    """

    def __init__(self, param: str, lower: float = -math.inf, upper: float = math.inf, coord: str = "phi1") -> None:
        super().__init__()
        if not lower < upper:
            raise InputError(f"HardThreshold of {param} needs lower < upper; got {lower} and {upper}.")
        if not param.endswith("ln-weight"):
            raise InputError(f"HardThreshold switches off a ln-weight; got {param!r}.")
        self.param, self.lower, self.upper, self.coord = param, float(lower), float(upper), coord

    def constrain(self, params: dict[str, Tensor], data: Data) -> dict[str, Tensor]:
        """The parameters with the ln-weight -inf outside the range."""
        if self.param not in params:
            raise InputError(f"HardThreshold: no parameter {self.param!r}; the model has {list(params)}.")
        inside = (data[self.coord] >= self.lower) & (data[self.coord] <= self.upper)
        return {**params, self.param: torch.where(inside, params[self.param], -torch.inf)}

    def forward(self, model: _Parameters) -> Tensor:  # noqa: ARG002
        """Zero: inside the range every value is as likely."""
        return torch.zeros(())


class FunctionPrior(Prior):
    """A log prior given as a function of the parameters at some places.

    Arguments:
        function: From the parameters by dotted name, each (K,), and the places (K,) to the log prior in nats, up to a
            constant: a scalar, or terms that are summed. In a configuration, the dotted path of a function.
        phi1: Places, K of them, in the unit of the coordinate.
        coord: Independent coordinate of the places.

    Raises:
        InputError: If a place is not finite.
    """

    phi1: Tensor

    def __init__(self, function: Callable[..., Any], phi1: Sequence[float], coord: str = "phi1") -> None:
        super().__init__()
        check_finite("phi1 of a FunctionPrior", phi1)
        self.function, self.coord = function, coord
        self.register_buffer("phi1", torch.tensor([float(v) for v in phi1]))

    def forward(self, model: _Parameters) -> Tensor:
        """Log prior, a scalar in nats."""
        return self.function(model(Data({self.coord: self.phi1})), self.phi1).sum()
