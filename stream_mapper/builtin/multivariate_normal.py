"""Correlated Gaussian coordinates, whole or inside a rotated box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from stream_mapper.builtin.box import BoxedModel, RotatedBox
from stream_mapper.builtin.measured import MeasuredModel
from stream_mapper.builtin.seen import SeenLaw, SeenModel, draw_seen
from stream_mapper.data import Data
from stream_mapper.distributions._mvn import (
    Triangle,
    conditional,
    correlation_triangle,
    ln_normal_density,
    scaled_rows,
    triangle,
)
from stream_mapper.errors import InputError
from stream_mapper.footprint import Footprint
from stream_mapper.models.base import Params, rows_of
from stream_mapper.params import ModelParameters
from stream_mapper.prior import Prior
from stream_mapper.utils import StandardScaler
from stream_mapper.windows import Bounds

Pair = tuple[str, ...]

_ROUNDS = 1000
_LEAST_SHARE = 1e-4  # of a density inside its box that is still drawn from
_CANDIDATES = 100_000  # draws a round, shared by the stars that have none yet


class MultivariateNormal(SeenModel, BoxedModel, MeasuredModel):
    r"""A Gaussian of several coordinates, with the full covariance of each star's errors.

    .. math:: p(x) = N(x \mid \mu, S + E_n)

    Parameters, for each coordinate: ``{coordinate}.mu`` in its unit and ``{coordinate}.ln-sigma``, the natural
    logarithm of the intrinsic width in that unit; and optionally ``{a}.{b}.corr`` in -1..1, a before b in
    ``coord_names``: the intrinsic correlation of the two at fixed coordinates before a (the canonical partial
    correlations of Lewandowski, Kurowicka & Joe 2009, any values of which make a covariance; for two coordinates it is
    the correlation). Those left out are zero. Parameters that are not in ``params`` are left to a hook.

    Coordinates that were not measured are left out exactly. ``coord_bounds`` flags stars outside the window and does
    not normalise. A ``box`` does: the density of a star with both its coordinates measured is divided by the
    probability of the box, and is zero outside. A star with one of the two has the plain Gaussian in that one, and so
    has a star without the angle.

    Arguments:
        coord_names: Coordinates the density is over, F of them.
        coord_err_names: Column of the measurement error of each coordinate, in the coordinates' order or by name; none
            by default. A star whose error is missing counts as one whose coordinate is missing.
        coord_corr_names: Pair of coordinates by the column of the correlation of their errors, such as
            ``{"pm_phi1_pm_phi2_corr": ["pm_phi1", "pm_phi2"]}``. A missing correlation counts as zero.
        coord_bounds: Window of each coordinate, in its unit: an interval, or one along the stream.
        box: Window of two of the coordinates in other axes.
        net: Network of the parameters; see :class:`stream_mapper.models.ParametricModel`.
        data_scaler: Scaler that has the independent coordinates.
        params: The parameters the network gives.
        indep_coord_names: Coordinates the parameters depend on.
        priors: Log priors, on the names seen from here.
        footprint: Where the survey looked, of which one of the coordinates is: the density is divided by the
            probability of the part that was seen at the star's place, within that coordinate's window, and is zero
            elsewhere. A star without that coordinate has what the others say of it, its error taken as zero if that is
            missing too. Not together with a box.

    Raises:
        InputError: If a parameter is unknown, or an error, a correlation, the box or the footprint does not fit the
            coordinates.
    """

    def __init__(
        self,
        *,
        coord_names: Sequence[str],
        coord_err_names: Sequence[str] | Mapping[str, str] | None = None,
        coord_corr_names: Mapping[str, Sequence[str]] | None = None,
        coord_bounds: Mapping[str, Bounds] | None = None,
        box: RotatedBox | None = None,
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
            corr_names=coord_corr_names,
            coord_bounds=coord_bounds,
            priors=priors,
        )
        self.box = box
        self._check_names(footprint)
        self._take_footprint(footprint)

    def _check_names(self, footprint: Footprint | None) -> None:
        names, given = list(self.coord_names), self.params.names
        known = [f"{c}.{p}" for c in names for p in ("mu", "ln-sigma")] + list(self._corr_names())
        if not names or set(given) - set(known):
            raise InputError(f"MultivariateNormal over {names} has the parameters {known}; got {list(given)}.")
        if self.corr_without_errors() or len(set(map(frozenset, self.corr_names.values()))) < len(self.corr_names):
            raise InputError(
                f"MultivariateNormal: coord_corr_names {self.corr_names} must hold different pairs of "
                f"coordinates with an error; those are {list(self.error_names)}."
            )
        if self.box is not None and footprint is not None:
            raise InputError(
                "MultivariateNormal takes a box or a footprint, not both: the probability of the two together has no "
                f"closed form. Give {footprint.coord} a density of its own."
            )
        if self.box is not None and not set(self.box.coord_names) <= set(names):
            raise InputError(f"MultivariateNormal over {names} has a box over {list(self.box.coord_names)}.")

    def ln_likelihood(self, params: Params, data: Data) -> Tensor:
        """Log density of the measured coordinates, shape (N,), in nats; zero for a star with none."""
        rows = self._covariance_rows(params, data)
        where = [self.is_measured(data, name) for name in self.coord_names]
        residuals = [data[name] - _get(params, f"{name}.mu") for name in self.coord_names]
        ln_p = ln_normal_density(residuals, rows, where)
        if self.footprint is not None:
            return ln_p + self._ln_seen_more(self.footprint, rows, where, params, data)
        return ln_p if self.box is None else self._inside(self.box, ln_p, rows, where, params, data)

    def ln_seen(self, params: Params, data: Data) -> Tensor:
        """Log probability that a star of this density is where the survey looked, at the place of each star, (N,)."""
        if self.footprint is None:
            return super().ln_seen(params, data)
        row = self._covariance_rows(params, data)[self.coord_names.index(self.footprint.coord)]
        mean = _get(params, f"{self.footprint.coord}.mu")
        return self._ln_strips(self.footprint, mean, row.square().sum(-1).sqrt(), data)

    def _ln_seen_more(
        self, footprint: Footprint, rows: list[Tensor], where: list[Tensor], params: Params, data: Data
    ) -> Tensor:
        """What the footprint adds to the log density of the measured coordinates, (N,); -inf where it is not seen."""
        i, own = self.coord_names.index(footprint.coord), _get(params, f"{footprint.coord}.mu")
        others = [j for j in range(len(rows)) if j != i]
        residuals = [data[self.coord_names[j]] - _get(params, f"{self.coord_names[j]}.mu") for j in others]
        shift, scale = conditional(residuals, [rows[j] for j in (*others, i)], [where[j] for j in others])
        # of a star without the coordinate all that is known of it comes from the others
        unknown = self._ln_strips(footprint, own + shift, scale, data)
        total = self.ln_seen(params, data)
        more = torch.where(total.isneginf(), 0.0, torch.where(where[i], 0.0, unknown) - total)
        return torch.where(footprint.holds(data) | ~where[i], more, -torch.inf)

    def _ln_strips(self, footprint: Footprint, mean: Tensor, scale: Tensor, data: Data) -> Tensor:
        """Log probability that a normal variable is where the survey looked, (N,)."""
        edges = self.windows.edges(footprint.coord, data, scale.dtype)
        return SeenLaw(Normal(mean, scale, validate_args=False), *edges, footprint, data).ln_share()

    def simulate(self, params: Params, data: Data) -> dict[str, Tensor]:
        """One draw of each coordinate for each star, (N,) by name, errors and box included.

        Raises:
            InputError: If the box holds less than 1e-4 of the density of some star.
        """
        if self.footprint is not None:
            seen = partial(self._is_seen, self.footprint)
            return draw_seen(lambda rows: self._simulate(*rows_of(params, data, rows)), seen, data)
        return self._simulate(params, data)

    def _is_seen(self, footprint: Footprint, data: Data) -> Tensor:
        """Whether the coordinate of the footprint is inside it and its own window, (N,)."""
        x = data[footprint.coord]
        low, high = self.windows.edges(footprint.coord, data, x.dtype)
        return footprint.holds(data) & (x >= low) & (x <= high)

    def _simulate(self, params: Params, data: Data) -> dict[str, Tensor]:
        rows = self._covariance_rows(params, data)
        mean = torch.stack([_get(params, f"{name}.mu") for name in self.coord_names], -1).to(rows[0].dtype)
        if self.box is None:
            drawn = _draw(mean, torch.stack(rows, -2))
        else:
            share = torch.where(data.where[self.box.angle_name], self._ln_box(self.box, rows, params, data).exp(), 1)
            drawn = self._draw_inside(self.box, mean, torch.stack(rows, -2), share, data)
        return dict(zip(self.coord_names, drawn.unbind(-1), strict=True))

    def _covariance_rows(self, params: Params, data: Data) -> list[Tensor]:
        """Rows of the intrinsic covariance beside those of the errors', F tensors (N, F or 2 F)."""
        sigma = [_get(params, f"{name}.ln-sigma").exp() for name in self.coord_names]
        pairs = {pair: params[name] for name, pair in self._corr_names().items() if name in params}
        intrinsic = scaled_rows(sigma, self._correlations(pairs, sigma[0], partial=True))
        if not self.error_names:
            return intrinsic
        zero = torch.zeros_like(sigma[0])
        errors = [data[self.error_names[n]] if n in self.error_names else zero for n in self.coord_names]
        pairs = {pair: data[column] for column, pair in self.corr_names.items()}
        noise = scaled_rows(errors, self._correlations(pairs, zero, partial=False))
        return [torch.cat(both, -1) for both in zip(intrinsic, noise, strict=True)]

    def _correlations(self, pairs: Mapping[Pair, Tensor], like: Tensor, *, partial: bool) -> Triangle:
        places = {pair: sorted(map(self.coord_names.index, pair)) for pair in pairs}
        by_place = {(places[pair][1], places[pair][0]): value for pair, value in pairs.items()}
        return correlation_triangle(len(self.coord_names), by_place, like, partial=partial)

    def _corr_names(self) -> dict[str, Pair]:
        return {f"{a}.{b}.corr": (a, b) for a, b in combinations(self.coord_names, 2)}

    def _inside(
        self, box: RotatedBox, ln_p: Tensor, rows: list[Tensor], where: list[Tensor], params: Params, data: Data
    ) -> Tensor:
        """The density divided by the probability of the box, where the box applies."""
        first, second = (self.coord_names.index(name) for name in box.coord_names)
        both = where[first] & where[second] & data.where[box.angle_name]
        within = torch.where(box.inside(data), ln_p - self._ln_box(box, rows, params, data), -torch.inf)
        return torch.where(both, within, ln_p)

    def _ln_box(self, box: RotatedBox, rows: list[Tensor], params: Params, data: Data) -> Tensor:
        """Log probability of the box under the marginal of its two coordinates, (N,)."""
        (l11,), (l21, l22) = triangle([rows[self.coord_names.index(name)] for name in box.coord_names])
        mean = torch.stack([_get(params, f"{name}.mu") for name in box.coord_names], -1)
        return box.ln_probability(mean, (l11, l21, l22), data[box.angle_name])

    def _draw_inside(self, box: RotatedBox, mean: Tensor, rows: Tensor, share: Tensor, data: Data) -> Tensor:
        """Draws by rejection, (N, F), given the share of each star's density inside; many a round for a few stars."""
        first, second = (self.coord_names.index(name) for name in box.coord_names)
        angle, known = data[box.angle_name], data.where[box.angle_name]
        drawn, left = mean.clone(), torch.arange(len(mean), device=mean.device)
        for _ in range(0 if bool((share < _LEAST_SHARE).any()) else _ROUNDS):
            if not len(left):
                break
            tries = 1 + _CANDIDATES // len(left)
            candidates = _draw(mean[left].expand(tries, -1, -1), rows[left])
            inside = box.holds(candidates[..., first], candidates[..., second], angle[left]) | ~known[left]
            has_draw, first_draw = inside.any(0), inside.int().argmax(0)
            drawn[left[has_draw]] = candidates[first_draw[has_draw], has_draw.nonzero()[:, 0]]
            left = left[~has_draw]
        if len(left):
            raise InputError(
                f"MultivariateNormal: the box {box.extra_repr()} holds a share of only {share.min().item():.1e} of the "
                f"density of some star, too little to draw from; move the density or widen the box."
            )
        return drawn


def _draw(mean: Tensor, rows: Tensor) -> Tensor:
    """Draws (*S, N, F) of normal laws with this mean (*S, N, F) and covariance rows (N, F, K)."""
    noise = torch.randn((*mean.shape[:-1], 1, rows.shape[-1]), device=mean.device, dtype=mean.dtype)
    return mean + (rows * noise).sum(-1)


def _get(params: Params, name: str) -> Tensor:
    if name not in params:
        raise InputError(f"MultivariateNormal: no parameter {name!r} in {list(params)}; list it in params or hook it.")
    return params[name]
