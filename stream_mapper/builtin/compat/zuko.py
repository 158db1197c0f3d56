"""Normalizing flows as densities of some coordinates given others."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from stream_mapper.builtin.window import Stretch
from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.models.base import Interval, Model, Params
from stream_mapper.params import ModelParameters
from stream_mapper.utils import StandardScaler

_REACH = 6.0  # a missing coordinate is integrated over this many standard deviations about its mean
_NODES = {1: 193, 2: 65, 3: 33}  # nodes a coordinate of the trapezoidal rule, by number of missing coordinates
_ROWS = 200_000  # rows given to the flow at once


def flow(
    features: int,
    context: int = 1,
    kind: str = "NSF",
    transforms: int = 2,
    hidden_features: Sequence[int] = (32, 32),
) -> nn.Module:
    """A flow of ``zuko.flows`` by name, for configuration files.

    Arguments:
        features: Number of coordinates.
        context: Number of independent coordinates.
        kind: Class in ``zuko.flows``, such as "NSF" (neural splines) or "MAF".
        transforms: Number of transformations.
        hidden_features: Widths of the hidden layers of each transformation's network.

    Raises:
        InputError: If zuko has no such flow.
    """
    import zuko  # noqa: PLC0415 (its import switches off argument checks in torch.distributions)

    if not hasattr(zuko.flows, kind):
        raise InputError(f"zuko.flows has no {kind!r}.")
    network: nn.Module = getattr(zuko.flows, kind)(
        features, context, transforms=transforms, hidden_features=list(hidden_features)
    )
    return network


class ZukoFlowModel(Model):
    r"""A conditional normalizing flow, :math:`p(x \mid \phi_1)`, in the units of the data.

    Coordinates with a window are stretched onto the real line (:class:`stream_mapper.builtin.window.Stretch`), then all
    are standardised, then the flow acts; the Jacobians of both changes are part of the density, which is normalised
    over the window. A star that lacks some of the coordinates has the flow's marginal over them, by the trapezoidal
    rule; a star that lacks all of them has zero.

    Arguments:
        net: A flow of ``zuko.flows`` with as many features as coordinates and as many contexts as independent ones
            (or any module that returns a distribution when called with the context).
        coord_names: Coordinates the density is over, F of them.
        coord_bounds: Window of each coordinate, in its unit.
        data_scaler: Scaler that has the independent coordinates and the coordinates; None for one fitted on the stars
            the flow is trained on.
        jacobian_logdet: Log determinant of the scaler (minus the sum of the logarithms of the coordinates' scales). A
            check only: the class takes it from its scaler and warns if this one disagrees.
        indep_coord_names: Coordinates the density is conditioned on.
        params: Must be empty: a flow has no named parameters.

    Raises:
        InputError: If there are parameters.
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        coord_names: Sequence[str],
        coord_bounds: Mapping[str, Interval] | None = None,
        data_scaler: StandardScaler | None = None,
        jacobian_logdet: float | Tensor | None = None,
        indep_coord_names: Sequence[str] = ("phi1",),
        params: ModelParameters | None = None,
    ) -> None:
        super().__init__(indep_coord_names=indep_coord_names, coord_names=coord_names, coord_bounds=coord_bounds)
        if params is not None and len(params):
            raise InputError(f"ZukoFlowModel has no named parameters; got {list(params.names)}.")
        self.flow = net
        self.stretch = Stretch(self.coord_names, self.coord_bounds)
        names = (*self.indep_coord_names, *self.coord_names)
        self.scaler = (data_scaler or StandardScaler(names))[names]
        self.jacobian_logdet = None if jacobian_logdet is None else float(jacobian_logdet)
        self.cache_name: str | None = None
        self._check_jacobian()

    def forward(self, data: Data) -> Params:  # noqa: ARG002
        """Nothing: a flow has no named parameters."""
        return {}

    def ln_likelihood(self, params: Params, data: Data) -> Tensor:  # noqa: ARG002
        """Log density of the measured coordinates, shape (N,), in nats; taken from the data where computed before."""
        if self.cache_name is not None and self.cache_name in data:
            return data[self.cache_name]
        x, where = data[self.coord_names], data.where[self.coord_names]
        context = self._context(data)
        out = x.new_zeros(len(data), dtype=torch.promote_types(x.dtype, self.scaler.mean.dtype))
        for pattern in where.unique(dim=0):
            rows = (where == pattern).all(-1)
            if pattern.any():
                out = out.index_put((rows.nonzero()[:, 0],), self._marginal(x[rows], context[rows], pattern))
        return torch.where(self.in_window(data), out, -torch.inf)

    def _marginal(self, x: Tensor, context: Tensor, pattern: Tensor) -> Tensor:
        """Log density over the coordinates measured in ``pattern`` (F,), in the data's units."""
        v, ln_stretch = self.stretch(x)
        mean, scale = self._numbers(self.coord_names)
        u = (v - mean) / scale
        ln_jacobian = (ln_stretch - scale.log())[:, pattern].sum(-1)
        missing = (~pattern).nonzero()[:, 0].tolist()
        if not missing:
            rows = zip(u.split(_ROWS), context.split(_ROWS), strict=True)
            return torch.cat([self._flow_ln_prob(*part) for part in rows]) + ln_jacobian
        if len(missing) not in _NODES:
            raise InputError(
                f"a star lacks {len(missing)} of the coordinates {list(self.coord_names)} of one flow; "
                f"at most {max(_NODES)} can be integrated over."
            )
        nodes, ln_weights = _trapezoid(len(missing), like=u)
        step = max(1, _ROWS // len(nodes))
        parts = [
            self._integrate(u[i : i + step], context[i : i + step], missing, nodes, ln_weights)
            for i in range(0, len(u), step)
        ]
        return torch.cat(parts) + ln_jacobian

    def _integrate(self, u: Tensor, context: Tensor, missing: list[int], nodes: Tensor, ln_weights: Tensor) -> Tensor:
        filled = u[:, None, :].repeat(1, len(nodes), 1)
        filled[:, :, missing] = nodes
        repeated = context[:, None, :].expand(-1, len(nodes), -1)
        ln_p = self._flow_ln_prob(filled.flatten(0, 1), repeated.flatten(0, 1)).view(len(u), len(nodes))
        return (ln_p + ln_weights).logsumexp(-1)

    def _flow_ln_prob(self, u: Tensor, context: Tensor) -> Tensor:
        return self.flow(context).log_prob(u)

    def _context(self, data: Data) -> Tensor:
        mean, scale = self._numbers(self.indep_coord_names)
        return (data[self.indep_coord_names] - mean) / scale

    def _numbers(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [self.scaler.names.index(name) for name in names]
        return self.scaler.mean[rows], self.scaler.scale[rows]

    def _fit_own_scaler(self, data: Data) -> None:
        if self.scaler.fitted:
            return
        stretched, _ = self.stretch(data[self.coord_names])
        columns = dict(zip(self.coord_names, stretched.unbind(-1), strict=True))
        where = {name: data.where[name] for name in self.coord_names}
        self.scaler.fit_(Data({**{n: data[n] for n in self.indep_coord_names}, **columns}, where))
        self._check_jacobian()

    def _check_jacobian(self) -> None:
        if self.jacobian_logdet is None or not self.scaler.fitted:
            return
        _, scale = self._numbers(self.coord_names)
        own = -scale.log().sum().item()
        if not math.isclose(own, self.jacobian_logdet, rel_tol=1e-3, abs_tol=1e-3):
            warnings.warn(
                f"jacobian_logdet of the flow over {list(self.coord_names)} was given as {self.jacobian_logdet:.4g}; "
                f"its scaler has {own:.4g}, which is used.",
                stacklevel=2,
            )


def _trapezoid(dimensions: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (M, dimensions) and ln-weights (M,) of the trapezoidal rule in standardised coordinates."""
    line = torch.linspace(-_REACH, _REACH, _NODES[dimensions], device=like.device, dtype=like.dtype)
    step = 2 * _REACH / (len(line) - 1)
    ln_line = torch.full_like(line, math.log(step))
    ln_line[[0, -1]] -= math.log(2)
    nodes = torch.cartesian_prod(*[line] * dimensions).view(-1, dimensions)
    ln_weights = torch.cartesian_prod(*[ln_line] * dimensions).view(-1, dimensions).sum(-1)
    return nodes, ln_weights
