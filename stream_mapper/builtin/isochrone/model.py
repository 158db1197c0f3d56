"""An isochrone at the distance of the stream as a density of magnitudes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stream_mapper.builtin.isochrone.curve import Isochrone
from stream_mapper.builtin.isochrone.draws import draw_magnitudes
from stream_mapper.builtin.isochrone.family import PowerLawFamily
from stream_mapper.builtin.isochrone.grid import IsochroneGrid
from stream_mapper.builtin.isochrone.mass import MassFunction, default_mass_function
from stream_mapper.builtin.isochrone.parameters import OFFSET, REDDENING, check_names, shift
from stream_mapper.builtin.isochrone.population import Population
from stream_mapper.builtin.isochrone.populations import Populations, populations_of
from stream_mapper.builtin.isochrone.segments import ln_draws, ln_isochrone, ln_most
from stream_mapper.builtin.isochrone.selection import ln_least_selection, ln_selection
from stream_mapper.builtin.isochrone.whitening import Noise, bands
from stream_mapper.builtin.measured import MeasuredModel
from stream_mapper.data import Data
from stream_mapper.devices import sync_is_cheap
from stream_mapper.errors import InputError
from stream_mapper.models.base import Params, rows_of
from stream_mapper.models.constants import constant_parameters
from stream_mapper.params import ModelParameters
from stream_mapper.prior import Prior
from stream_mapper.utils import StandardScaler
from stream_mapper.windows import Bounds

_ROUNDS = 2000  # of draws, until every star is inside the windows


class IsochroneMVNorm(MeasuredModel):
    r"""Magnitudes on an isochrone, spread by errors, intrinsic scatter and the depth of the stream.

    .. math:: p(m) = \frac{1}{P(\mathrm{inside})} \int d\gamma \, \pi(\gamma) \,
        N(m \mid I(\gamma) + \mu a, V + \sigma_\mu^2 a a^T), \quad
        V_{fg} = \rho_{fg} s_f s_g + \delta_{fg} \epsilon_f(\gamma)^2

    with the integral in closed form on each segment of the piecewise linear curve. The depth moves all magnitudes
    together (a rank-one covariance). Bands that were not measured are left out exactly.

    The density is over the windows of ``phot_bounds``: it is -inf outside, and is divided by the probability that a
    star of this isochrone with this star's errors has, of the bands this star has, each inside its window. The window
    of a band that a star lacks does not apply to it: why a survey did not measure it is not known to the model.

    Parameters: ``distmod.mu`` [mag] and ``distmod.ln-sigma`` (ln of [mag]), from ``net`` or set by a hook. Where the
    isochrone is a grid, ``feh`` [dex] and ``age`` [Gyr]; where the mass function is a family, ``mass-slope``; and, if
    they are asked for, ``ebv`` [mag] and ``offset.{column}`` [mag], which is added to the magnitudes of the isochrone.
    Any of these may depend on the place along the stream (``params``) or be one number (``constants``).

    Arguments:
        isochrone: Absolute magnitudes along the curve, or a grid of such; its bands in the order of ``phot_names``.
        phot_names: Columns of the magnitudes; by default the isochrone's bands.
        phot_err_names: Columns of their errors, in that order or by name; none by default. A star whose error is
            missing counts as one whose magnitude is missing. Errors and scatter together count as 1e-6 mag at least.
        phot_corr_names: Column of the correlation coefficient of the errors of two columns, to the names of the two;
            none by default. A coefficient that is missing counts as zero.
        phot_apply_dm: Whether the distance modulus applies to each column (False for a colour); by default to all.
        phot_bounds: Window of a magnitude, an interval or one along the stream; open where left out.
        mass_function: Density of stars along the curve; by default Kroupa's, as stars are born, or, with a warning,
            uniform in length if the isochrone has no masses.
        segments: Number of segments, placed by curvature and crowding.
        scatter: Intrinsic scatter about the curve [mag]: one number, one for each column, or one for each point of the
            isochrone, (M,) or (M, F), as for a giant branch wider than the main sequence.
        reddening: Extinction of each column over E(B-V), zero where left out; it makes ``ebv`` a parameter.
        constants: The parameters that are the same all along the stream, with their bounds.
        net: Network of the other parameters; None if a hook sets them.
        data_scaler: Scaler that has the independent coordinates.
        params: The parameters that the network gives, with their bounds.
        indep_coord_names: Coordinates the parameters depend on.
        priors: Log priors, on the names seen from here.

    Raises:
        InputError: If the columns, errors or parameters do not fit each other, or a column has neither error nor
            scatter (but for one magnitude alone, which the depth spreads).
    """

    nodes: Tensor
    ln_weights: Tensor
    tilts: Tensor
    scatter: Tensor
    applies: Tensor
    populations: Populations | None

    def __init__(
        self,
        *,
        isochrone: Isochrone | IsochroneGrid,
        phot_names: Sequence[str] | None = None,
        phot_err_names: Sequence[str] | Mapping[str, str] | None = None,
        phot_corr_names: Mapping[str, Sequence[str]] | None = None,
        phot_apply_dm: Sequence[bool] | None = None,
        phot_bounds: Mapping[str, Bounds] | None = None,
        mass_function: MassFunction | PowerLawFamily | None = None,
        segments: int = 60,
        scatter: float | Sequence[float] | Sequence[Sequence[float]] = 0.0,
        reddening: Mapping[str, float] | None = None,
        constants: ModelParameters | None = None,
        net: nn.Module | None = None,
        data_scaler: StandardScaler | None = None,
        params: ModelParameters | None = None,
        indep_coord_names: Sequence[str] = ("phi1",),
        priors: Sequence[Prior] = (),
    ) -> None:
        names = tuple(phot_names or isochrone.bands)
        super().__init__(
            net=net,
            data_scaler=data_scaler,
            params=params,
            indep_coord_names=indep_coord_names,
            coord_names=names,
            error_names=phot_err_names,
            corr_names=phot_corr_names,
            coord_bounds=phot_bounds,
            priors=priors,
        )
        size = _same_size("phot_names", names, "bands", isochrone.bands)
        applies = tuple(phot_apply_dm) if phot_apply_dm is not None else (True,) * size
        _same_size("phot_names", names, "phot_apply_dm", applies)
        self.reddening = dict(reddening or {})
        self.constants = constant_parameters(constants, data_scaler, indep_coord_names) if constants else None
        self._populate(populations_of(isochrone, mass_function or default_mass_function(isochrone), segments, scatter))
        self.register_buffer("applies", torch.tensor([float(a) for a in applies]))
        self._check_noise()
        self._check_names()

    def forward(self, data: Data) -> Params:
        """Parameters (N,) by name, those that are constant included."""
        return {**super().forward(data), **self._constants(data)}

    @property
    def optional_columns(self) -> tuple[str, ...]:
        """Magnitudes and their errors: a star, or a whole catalogue, may have none."""
        return (*self.coord_names, *self.error_names.values())

    def curve(self) -> tuple[tuple[str, ...], Tensor]:
        """Names of the magnitudes, colours left out, and the isochrone in them, (M, F).

        Of a grid it is the one of the constants as they are; what else it depends on is in the middle of the grid.
        """
        magnitudes = self.applies.bool()  # a colour feels no modulus
        names = tuple(name for name, kept in zip(self.coord_names, magnitudes.tolist(), strict=True) if kept)
        return names, self._typical().nodes[:, magnitudes]

    def ln_likelihood(self, params: Params, data: Data) -> Tensor:
        """Log density of the measured magnitudes inside their windows, shape (N,), in nats.

        Zero for a star with none; -inf outside.
        """
        data = self.measured(data)
        has_magnitude = data.where[self.coord_names].any(-1)
        if sync_is_cheap(has_magnitude.device) and not has_magnitude.all():
            rows = has_magnitude.nonzero()[:, 0]
            ln_p = torch.zeros_like(params["distmod.mu"].expand(len(data)))
            if len(rows):
                ln_p = ln_p.index_put((rows,), self._ln_density(*rows_of(params, data.select(self.columns), rows)))
        else:
            ln_p = self._ln_density(params, data)
        return torch.where(self._in_own_window(data), ln_p, -torch.inf) if len(self.windows) else ln_p

    def _ln_density(self, params: Params, data: Data) -> Tensor:
        """Log density of stars that are inside the windows, shape (N,)."""
        magnitudes, distmod = data[self.coord_names], params["distmod.mu"]
        noise = self._noise(params, data, data.where[self.coord_names])
        population, moved = self._population(params), shift(params, self.coord_names, self.reddening)
        ln_p = ln_isochrone(
            magnitudes if moved is None else magnitudes - moved,
            noise.errors,
            noise.where,
            distmod,
            noise.ln_spread,
            self.applies,
            **population._asdict(),
            correlation=noise.correlation,
        )
        cut = self._cut(data, moved, distmod)
        return ln_p if cut is None else ln_p - ln_selection(*cut.edges, distmod, *cut.of(noise, population))

    def ln_most(self, params: Params, data: Data) -> Tensor:
        """That of a star on the curve, with all of the population there, (N,), in nats."""
        data = self.measured(data)
        noise, distmod = self._noise(params, data, data.where[self.coord_names]), params["distmod.mu"]
        cut = self._cut(data, shift(params, self.coord_names, self.reddening), distmod)
        if cut is None:
            return ln_most(noise)
        return ln_most(noise) - ln_least_selection(*cut.edges, distmod, *cut.of(noise, self._population(params)))

    def simulate(self, params: Params, data: Data) -> dict[str, Tensor]:
        """One draw of each magnitude for each star, (N,) by name, errors and windows included.

        Raises:
            InputError: If for some star 2000 draws in a row are outside the windows.
        """
        distmod = params["distmod.mu"]
        noise = self._noise(params, data, distmod.new_ones(len(data), len(self.coord_names), dtype=torch.bool))
        population, moved = self._population(params), shift(params, self.coord_names, self.reddening)
        moved = torch.zeros_like(noise.errors) if moved is None else moved
        magnitudes = draw_magnitudes(distmod, noise, population) + moved
        low, high = self._edges(data, magnitudes.dtype)
        for _ in range(_ROUNDS):
            out = ((magnitudes < low) | (magnitudes > high)).any(-1).nonzero()[:, 0]
            if len(out) == 0:
                return dict(zip(self.coord_names, magnitudes.unbind(-1), strict=True))
            again = draw_magnitudes(distmod[out], noise.stars(out), population.stars(out))
            magnitudes[out] = again + moved[out]
        raise InputError(
            f"IsochroneMVNorm.simulate: {_ROUNDS} draws of each of {len(out)} stars were all outside the windows "
            f"{self.coord_bounds}, at moduli from {distmod[out].min():.2f} to {distmod[out].max():.2f}; widen them."
        )

    def ln_draws(self, params: Params, data: Data) -> Tensor | None:
        """Log density under each of D draws, (D, N), in nats; None where the isochrone is another for each star."""
        first = {name: values[0] for name, values in params.items()}
        moves = shift(first, self.coord_names, self.reddening) is not None
        if self.populations is not None or moves or not sync_is_cheap(self.applies.device):
            return None
        data = self.measured(data)
        noise, distmod = self._noise(first, data, data.where[self.coord_names]), params["distmod.mu"]
        ln_spread = params["distmod.ln-sigma"]
        population = self._population(first)
        ln_p = ln_draws(data[self.coord_names], noise, distmod, ln_spread, population)
        if cut := self._cut(data, None, distmod):
            again = torch.arange(len(data), device=distmod.device).repeat(len(distmod))
            few, there = cut.of(noise.stars(again)._replace(ln_spread=ln_spread.flatten()), population)
            low, high = (edge[again] for edge in cut.edges)
            ln_p = ln_p - ln_selection(low, high, distmod.flatten(), few, there).view(distmod.shape)
            ln_p = torch.where(noise.where.any(-1), ln_p, 0)
        return torch.where(self._in_own_window(data), ln_p, -torch.inf) if len(self.windows) else ln_p

    def _cut(self, data: Data, moved: Tensor | None, distmod: Tensor) -> _Cut | None:
        """The windows of the magnitudes of a population that is moved by so much, (N, F); None without any."""
        index = [i for i, name in enumerate(self.coord_names) if name in self.windows]
        if not index:
            return None
        low, high = (e if moved is None else e - moved for e in self._edges(data, distmod.dtype))
        return _Cut(index, (bands(low, index), bands(high, index)))

    def _edges(self, data: Data, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Edges of every magnitude's window at each star, each (N, F)."""
        low, high = zip(*(self.windows.edges(name, data, dtype) for name in self.coord_names), strict=True)
        return torch.stack(low, -1), torch.stack(high, -1)

    def _populate(self, population: Population | Populations) -> None:
        self.populations = population if isinstance(population, Populations) else None
        if isinstance(population, Populations):
            self.register_buffer("scatter", population.scatter.clone())
            return
        for name, values in population._asdict().items():
            self.register_buffer(name, values.float())

    def _population(self, params: Params) -> Population:
        """The stars along the isochrone, or, where it depends on parameters, that of each star."""
        if self.populations is None:
            return Population(self.nodes, self.ln_weights, self.tilts, self.scatter)
        return self.populations.at(params)

    def _constants(self, data: Data) -> Params:
        return {} if self.constants is None else self.constants(data)

    @torch.no_grad()
    def _typical(self) -> Population:
        if self.populations is None:
            return self._population({})
        at = Data({name: torch.zeros(1, device=self.scatter.device) for name in self.indep_coord_names})
        middle = {name: torch.tensor([x], device=self.scatter.device) for name, x in self.populations.middle().items()}
        nodes, ln_weights, tilts, scatter = self.populations.at({**middle, **self._constants(at)})
        return Population(nodes[0], ln_weights[0], tilts[0], scatter)

    def _check_names(self) -> None:
        axes = {} if self.populations is None else self.populations.axes
        if unknown := [name for name in self.reddening if name not in self.coord_names]:
            raise InputError(f"IsochroneMVNorm: reddening of {unknown}, which are not among {list(self.coord_names)}.")
        others = [REDDENING] if self.reddening else []
        given = [self.params, *([] if self.constants is None else [self.constants.params])]
        check_names(given, axes, [*others, *(OFFSET + n for n in self.coord_names)])

    def _noise(self, params: Params, data: Data, where: Tensor) -> Noise:
        none = torch.zeros_like(params["distmod.mu"])
        columns = [self.error_names.get(name) for name in self.coord_names]
        return Noise(
            torch.stack([none if column is None else data[column] for column in columns], -1),
            where,
            params["distmod.ln-sigma"],
            self.applies,
            self.scatter,
            self._correlation(data) if self.corr_names else None,
        )

    def _correlation(self, data: Data) -> Tensor:
        """Correlations of the errors, zero where missing, shape (N, F, F)."""
        columns = {frozenset(pair): data[name] for name, pair in self.corr_names.items()}
        none = torch.zeros_like(next(iter(columns.values())))
        rows = [[columns.get(frozenset((f, g)), none) for g in self.coord_names] for f in self.coord_names]
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    def _check_noise(self) -> None:
        if wrong := self.corr_without_errors():
            raise InputError(
                f"IsochroneMVNorm: the correlation {wrong[0]} needs two columns with errors, "
                f"{sorted(self.error_names)}; found {list(self.corr_names[wrong[0]])}."
            )
        quiet = (self.scatter == 0).reshape(-1, len(self.coord_names)).any(0).tolist()
        sharp = [name for name, q in zip(self.coord_names, quiet, strict=True) if q and name not in self.error_names]
        if sharp and (len(self.coord_names) > 1 or not bool(self.applies.all())):
            raise InputError(f"IsochroneMVNorm: {sharp} have neither errors nor scatter; give either.")


class _Cut(NamedTuple):
    """The bands that have a window, and the edges of these, (N, C) each."""

    bands: list[int]
    edges: tuple[Tensor, Tensor]

    def of(self, noise: Noise, population: Population) -> tuple[Noise, Population]:
        """Noise and population in these bands."""
        return noise.bands(self.bands), population.bands(self.bands)


def _same_size(first: str, a: Sequence[object], second: str, b: Sequence[object]) -> int:
    if len(a) != len(b):
        raise InputError(f"IsochroneMVNorm: {first} {list(a)} and {second} {list(b)} differ in length.")
    return len(a)
