"""An isochrone at the distance of the stream as a density of magnitudes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from stream_mapper.builtin.coordinates import error_columns
from stream_mapper.builtin.isochrone.curve import Isochrone
from stream_mapper.builtin.isochrone.mass import MassFunction, UniformMassFunction
from stream_mapper.builtin.isochrone.population import populate
from stream_mapper.builtin.isochrone.segments import ln_isochrone
from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.models.base import Interval, ParametricModel, Params
from stream_mapper.params import ModelParameters
from stream_mapper.prior import Prior
from stream_mapper.utils import StandardScaler

_PARAMETERS = ("distmod.mu", "distmod.ln-sigma")


class IsochroneMVNorm(ParametricModel):
    r"""Magnitudes on an isochrone, spread by errors, intrinsic scatter and the depth of the stream.

    .. math:: p(m) = \int d\gamma \, \pi(\gamma) \,
        N(m \mid I(\gamma) + \mu a, \mathrm{diag}(s^2 + \sigma_I^2) + \sigma_\mu^2 a a^T)

    with the integral in closed form on each segment of the piecewise linear curve. The depth moves all magnitudes
    together (a rank-one covariance). Bands that were not measured are left out exactly.

    Parameters: ``distmod.mu`` [mag] and ``distmod.ln-sigma`` (ln of [mag]), from ``net`` or set by a hook.

    Arguments:
        isochrone: Absolute magnitudes along the curve; its bands in the order of ``phot_names``.
        phot_names: Columns of the magnitudes; by default the isochrone's bands.
        phot_err_names: Columns of their errors, in that order or by name; none by default. A star whose error is
            missing counts as one whose magnitude is missing.
        phot_apply_dm: Whether the distance modulus applies to each column (False for a colour); by default to all.
        phot_bounds: Window of a magnitude; it flags stars outside and does not normalise.
        mass_function: Density of stars along the curve; by default uniform in its length.
        segments: Number of segments, placed by curvature.
        scatter: Intrinsic scatter of each column about the curve [mag]; one number serves all.
        net: Network of the two parameters; None if a hook sets them.
        data_scaler: Scaler that has the independent coordinates.
        params: The two parameters, with their bounds.
        indep_coord_names: Coordinates the parameters depend on.
        priors: Log priors, on the names seen from here.

    Raises:
        InputError: If the columns, errors or parameters do not fit each other.
    """

    nodes: Tensor
    ln_weights: Tensor
    tilts: Tensor
    applies: Tensor
    scatter: Tensor

    def __init__(
        self,
        *,
        isochrone: Isochrone,
        phot_names: Sequence[str] | None = None,
        phot_err_names: Sequence[str] | Mapping[str, str] | None = None,
        phot_apply_dm: Sequence[bool] | None = None,
        phot_bounds: Mapping[str, Interval] | None = None,
        mass_function: MassFunction | None = None,
        segments: int = 60,
        scatter: float | Sequence[float] = 0.0,
        net: nn.Module | None = None,
        data_scaler: StandardScaler | None = None,
        params: ModelParameters | None = None,
        indep_coord_names: Sequence[str] = ("phi1",),
        priors: Sequence[Prior] = (),
    ) -> None:
        names = tuple(phot_names or isochrone.bands)
        if params is not None and params.names not in ((), _PARAMETERS):
            raise InputError(f"IsochroneMVNorm has the parameters {list(_PARAMETERS)}; got {list(params.names)}.")
        super().__init__(
            net=net,
            data_scaler=data_scaler,
            params=params,
            indep_coord_names=indep_coord_names,
            coord_names=names,
            coord_bounds=phot_bounds,
            priors=priors,
        )
        self.phot_err_names = error_columns("IsochroneMVNorm", names, phot_err_names)
        population = populate(isochrone, mass_function or UniformMassFunction(), segments)
        size = _same_size("phot_names", names, "bands", isochrone.bands)
        for name, values in population._asdict().items():
            self.register_buffer(name, values.float())
        applies = tuple(phot_apply_dm) if phot_apply_dm is not None else (True,) * size
        scatters = (float(scatter),) * size if isinstance(scatter, int | float) else tuple(scatter)
        _same_size("phot_names", names, "phot_apply_dm", applies)
        _same_size("phot_names", names, "scatter", scatters)
        self.register_buffer("applies", torch.tensor([float(a) for a in applies]))
        self.register_buffer("scatter", torch.tensor(scatters))

    @property
    def error_names(self) -> Mapping[str, str]:
        """Column of the error of each magnitude that has one."""
        return self.phot_err_names

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the model reads, errors included."""
        return (*super().columns, *self.phot_err_names.values())

    def ln_likelihood(self, params: Params, data: Data) -> Tensor:
        """Log density of the measured magnitudes, shape (N,), in nats; zero for a star with none."""
        magnitudes, where = data[self.coord_names], data.where[self.coord_names].clone()
        errors = torch.zeros_like(magnitudes)
        for i, name in enumerate(self.coord_names):
            if name in self.phot_err_names:
                errors[:, i] = data[self.phot_err_names[name]]
                where[:, i] &= data.where[self.phot_err_names[name]]
        return ln_isochrone(
            magnitudes,
            errors,
            where,
            params["distmod.mu"],
            params["distmod.ln-sigma"],
            self.nodes,
            self.ln_weights,
            self.applies,
            self.scatter,
            self.tilts,
        )


def _same_size(first: str, a: Sequence[object], second: str, b: Sequence[object]) -> int:
    if len(a) != len(b):
        raise InputError(f"IsochroneMVNorm: {first} {list(a)} and {second} {list(b)} differ in length.")
    return len(a)
