"""Log priors on the parameters of a model, each counted once whatever the number of stars."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.errors import InputError

_Parameters = Callable[[Data], dict[str, Tensor]]


class Prior(nn.Module, ABC):
    """A log prior: a scalar from a model's parameter functions."""

    @abstractmethod
    def forward(self, model: _Parameters) -> Tensor:
        """Log prior of ``model``, up to a constant, in nats."""


class ControlRegions(Prior):
    r"""Guides of a parameter along phi1: flat inside a region, quadratic outside.

    .. math:: \ln p = -\lambda \sum_k \max(|x(\phi_{1,k}) - c_k| / w_k - 1, 0)^2

    After Starkman, Nibauer et al. 2025, arXiv 2311.16960; here in units of each half-width, so that one strength
    serves every coordinate. The regions also start the fit: networks are first brought to the centres.

    Arguments:
        param: Dotted name of the parameter x, seen from the model that holds this prior.
        phi1: Positions of the regions [deg], K of them.
        center: Centres c_k, in the parameter's unit.
        width: Half-widths w_k > 0, in the parameter's unit; one number serves all.
        lamda: Strength, dimensionless: a value 2 w_k from c_k costs this many nats.
        coord: Independent coordinate the positions are of.

    Raises:
        InputError: If the lengths differ or a width is not positive.
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
    ) -> None:
        super().__init__()
        widths = [float(width)] * len(phi1) if isinstance(width, int | float) else list(width)
        if not len(phi1) == len(center) == len(widths) > 0:
            raise InputError(
                f"ControlRegions of {param}: phi1, center and width have {len(phi1)}, {len(center)} and "
                f"{len(widths)} values; they need the same number, one or more."
            )
        if min(widths) <= 0 or lamda < 0:
            raise InputError(f"ControlRegions of {param}: widths must be > 0 and lamda >= 0; got {widths} and {lamda}.")
        self.param, self.coord, self.lamda = param, coord, float(lamda)
        for name, values in (("phi1", phi1), ("center", center), ("width", widths)):
            self.register_buffer(name, torch.tensor([float(v) for v in values]))

    def offsets(self, model: _Parameters) -> Tensor:
        """Distance of the parameter from the centres in half-widths, shape (K,)."""
        params = model(Data({self.coord: self.phi1}))
        if self.param not in params:
            raise InputError(f"ControlRegions: no parameter {self.param!r}; the model has {list(params)}.")
        return (params[self.param] - self.center) / self.width

    def residuals(self, model: _Parameters) -> Tensor:
        """Terms r (K,) with which the log prior is -sum r^2 / 2; zero inside the regions."""
        offsets = self.offsets(model)
        return (2 * self.lamda) ** 0.5 * offsets.sign() * (offsets.abs() - 1).clamp(min=0)

    def forward(self, model: _Parameters) -> Tensor:
        """Log prior, a scalar in nats."""
        return -0.5 * self.residuals(model).square().sum()
