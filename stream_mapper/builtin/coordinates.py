"""Products of one-dimensional densities."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from stream_mapper.builtin.measured import MeasuredModel
from stream_mapper.builtin.seen import SeenLaw, SeenModel
from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.footprint import Footprint
from stream_mapper.models.base import Params, masked_sum
from stream_mapper.params import ModelParameters
from stream_mapper.prior import Prior
from stream_mapper.utils import StandardScaler
from stream_mapper.windows import Bounds


class CoordinateModel(SeenModel, MeasuredModel):
    """Independent coordinates, each with a one-dimensional density.

    Arguments:
        coord_names: Coordinates the density is over.
        coord_err_names: Column of the measurement error of each coordinate, in the coordinates' order or by name;
            none by default. A star whose error is missing counts as one whose coordinate is missing.
        coord_bounds: Window of each coordinate, in its unit: an interval, or one along the stream.
        net: Network of the parameters; see :class:`stream_mapper.models.ParametricModel`.
        data_scaler: Scaler that has the independent coordinates.
        params: ``{coordinate}.{parameter}`` for each coordinate and each of the density's parameters, but for those a
            hook sets.
        indep_coord_names: Coordinates the parameters depend on.
        priors: Log priors, on the names seen from here.
        footprint: Where the survey looked, of which one of the coordinates is: the density is divided by the
            probability of the part that was seen at the star's place, and is zero elsewhere.

    Raises:
        InputError: If a parameter is not one of the density's, an error column or a bound is missing or too many, or
            the footprint is of another coordinate or along one that is not known.
    """

    parameter_names: tuple[str, ...] = ()
    needs_bounds = False
    takes_errors = True

    def __init__(
        self,
        *,
        coord_names: Sequence[str],
        coord_err_names: Sequence[str] | Mapping[str, str] | None = None,
        coord_bounds: Mapping[str, Bounds] | None = None,
        net: nn.Module | None = None,
        data_scaler: StandardScaler | None = None,
        params: ModelParameters | None = None,
        indep_coord_names: Sequence[str] = ("phi1",),
        priors: Sequence[Prior] = (),
        footprint: Footprint | None = None,
    ) -> None:
        super().__init__(
            net=net,
            data_scaler=data_scaler,
            params=params,
            indep_coord_names=indep_coord_names,
            coord_names=coord_names,
            error_names=coord_err_names,
            coord_bounds=coord_bounds,
            priors=priors,
        )
        self._check_parameters()
        self._take_footprint(footprint)

    def _check_parameters(self) -> None:
        kind, given = type(self).__name__, set(self.params.names)
        needed = {f"{c}.{p}" for c in self.coord_names for p in self.parameter_names}
        if given - needed:
            raise InputError(
                f"{kind} over {list(self.coord_names)} has the parameters {sorted(needed)}; got {sorted(given)}."
            )
        if self.error_names and not self.takes_errors:
            raise InputError(f"{kind} is the density of measured values: it takes no coord_err_names.")
        unbounded = [name for name in self.coord_names if name not in self.windows]
        if self.needs_bounds and unbounded:
            raise InputError(f"{kind}: give coord_bounds for {unbounded}.")

    @abstractmethod
    def distribution(self, params: Params, data: Data, name: str) -> Distribution:
        """Density of coordinate ``name`` for each star, batch shape (N,), measurement errors included."""

    def ln_likelihood(self, params: Params, data: Data) -> Tensor:
        """Sum over the measured coordinates, shape (N,), in nats."""
        terms = [self._law(params, data, name).log_prob(data[name]) for name in self.coord_names]
        return masked_sum(terms, [self.is_measured(data, name) for name in self.coord_names])

    def simulate(self, params: Params, data: Data) -> dict[str, Tensor]:
        """One draw of each coordinate for each star, (N,) by name.

        Raises:
            InputError: If the survey did not look at the place of some star.
        """
        return {name: self._law(params, data, name).sample() for name in self.coord_names}

    def ln_seen(self, params: Params, data: Data) -> Tensor:
        """Log probability that a star of this density is where the survey looked, at the place of each star, (N,)."""
        if self.footprint is None:
            return super().ln_seen(params, data)
        return self._seen(params, data, self.footprint).ln_share()

    def _law(self, params: Params, data: Data, name: str) -> Distribution | SeenLaw:
        """The density of a coordinate over what was seen of it."""
        if self.footprint is not None and self.footprint.coord == name:
            return self._seen(params, data, self.footprint)
        return self.distribution(params, data, name)

    def _seen(self, params: Params, data: Data, footprint: Footprint) -> SeenLaw:
        name = footprint.coord
        return SeenLaw(self.distribution(params, data, name), *self._window(data, name), footprint, data)

    def _window(self, data: Data, name: str) -> tuple[Tensor, Tensor]:
        """Edges of a coordinate's window, one a star, (N,)."""
        dtype = torch.result_type(data[self.indep_coord_names[0]], 1.0)  # positions may be whole numbers
        dtype = torch.promote_types(dtype, data[name].dtype) if name in data else dtype
        return self.windows.edges(name, data, dtype)

    def _scale(self, params: Params, data: Data, name: str) -> Tensor:
        """Intrinsic width and measurement error in quadrature, shape (N,)."""
        sigma = params[f"{name}.ln-sigma"].exp()
        if name not in self.error_names:
            return sigma
        return torch.hypot(sigma, data[self.error_names[name]])
