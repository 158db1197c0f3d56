"""A sum of kernels at the stars themselves as a density of some coordinates given others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal, Uniform

from stream_mapper.builtin.compat.broad import FITTED, WIDE, Broad, Law
from stream_mapper.builtin.seen import SeenLaw, SeenModel, draw_seen, strips_inside
from stream_mapper.data import Data
from stream_mapper.distributions import TruncatedNormal
from stream_mapper.distributions._stable import HALF_LN_2PI, ln_normal_interval
from stream_mapper.errors import InputError, check_at_least
from stream_mapper.footprint import Footprint
from stream_mapper.models.base import Params, Pretraining, masked_sum
from stream_mapper.windows import Bounds

_PAIRS = 1_000_000  # pairs of a star and a point at once
_NORMAL_IQR = 1.3489795  # between the quartiles of a standard normal law


class KDEModel(SeenModel):
    r"""A kernel density of the coordinates, conditioned on the independent ones by kernel weights.

    .. math:: p(x \mid \phi_1) = \frac{\sum_i K(\phi_1 - \phi_{1,i}) \prod_f k_f(x_f \mid x_{f,i})}
        {\sum_i K(\phi_1 - \phi_{1,i})}

    with Gaussian kernels, each :math:`k_f` cut and normalised anew at the window, so that the density integrates to one
    over it; of a window along the stream it is the one at the star, not that at the point. A star that is itself a
    point is left out of its own density; else the stars that are points would seem better explained than others. It is
    mixed with a broad density, which is conditioned on nothing (see :class:`stream_mapper.builtin.compat.broad.Broad`),
    and beyond the range of its points in the independent coordinates it is that at the end of the range. All are
    products, so the marginal of a star that lacks coordinates is exact; a star that lacks all of them has zero. Those
    of scipy and scikit-learn are not cut at a window and do not run on torch's devices, hence this one. It has no
    parameters to train: :meth:`fit_points` takes the stars.

    Arguments:
        coord_names: Coordinates the density is over, F of them.
        coord_bounds: Window of each coordinate, in its unit: an interval, or one along the stream.
        bandwidth: Standard deviation of the kernels: by coordinate, independent ones included, each in its unit; those
            left out, and all by default, by Silverman's rule (1986, Density Estimation, section 4.3) for as many
            dimensions, from the smaller of the standard deviation and the interquartile range over 1.349. One number
            is a factor on that rule for all.
        max_points: Stars to keep; drawn at random from more.
        seed: Seed of that draw.
        indep_coord_names: Coordinates the density is conditioned on, D of them.
        broad: Share of the broad density: a number in 0..1; "fitted" for the likeliest one of the points, each seen
            from the others, see :meth:`stream_mapper.builtin.compat.broad.Broad.fit`; None or 0 for none.
        footprint: Where the survey looked, of which one of the coordinates is: the density is divided by the
            probability of the part that was seen at the star's place, and is zero elsewhere.

    Raises:
        InputError: If a bandwidth is not positive or is that of another coordinate, the share is no share, or the
            footprint is of another coordinate or along one that is not known.
    """

    points: Tensor
    bandwidths: Tensor

    def __init__(
        self,
        *,
        coord_names: Sequence[str],
        coord_bounds: Mapping[str, Bounds] | None = None,
        bandwidth: float | Mapping[str, float] | None = None,
        max_points: int = 5000,
        seed: int = 0,
        indep_coord_names: Sequence[str] = ("phi1",),
        broad: float | str | None = FITTED,
        footprint: Footprint | None = None,
    ) -> None:
        super().__init__(indep_coord_names=indep_coord_names, coord_names=coord_names, coord_bounds=coord_bounds)
        self._take_footprint(footprint)
        names = (*self.indep_coord_names, *self.coord_names)
        self.names = names
        self.bandwidth = dict(bandwidth) if isinstance(bandwidth, Mapping) else bandwidth
        check_at_least("max_points", max_points, 2)
        self.max_points, self.seed = max_points, seed
        self.register_buffer("points", torch.zeros(0, len(names)))
        self.register_buffer("bandwidths", torch.ones(len(names)))
        self.broad = Broad(broad) if broad else None
        self._check_bandwidth()

    def _check_bandwidth(self) -> None:
        given = self.bandwidth if isinstance(self.bandwidth, dict) else {self.names[0]: self.bandwidth}
        wrong = {name: h for name, h in given.items() if name not in self.names or not (h is None or h > 0)}
        if wrong:
            raise InputError(f"KDEModel: bandwidth {wrong} needs positive numbers, by name among {list(self.names)}.")

    def pretrain(self, stars: Data, stage: Pretraining) -> None:  # noqa: ARG002
        """Take the stars as the places of the kernels."""
        self.fit_points(stars)

    def fit_points(self, data: Data) -> None:
        """Take the kernels' places and bandwidths from the stars in the window that have every coordinate.

        Raises:
            InputError: If there are fewer than two, or a bandwidth cannot be told from them.
        """
        complete = data.where[self.names].all(-1) & self.in_window(data)
        points = data[self.names][complete].to(self.points)
        if len(points) < 2:
            raise InputError(
                f"KDEModel: {len(points)} stars in the window have {list(self.names)}; it needs 2 or more."
            )
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(self.seed))[: self.max_points]
        self.points = points[order.to(points.device)]
        self.bandwidths = self._widths(self.points)
        if self.broad is not None and self.broad.fitted:
            self._fit_broad(self.broad, data[complete][order.to(points.device)])

    def _fit_broad(self, broad: Broad, points: Data) -> None:
        """Fit the share of the broad density on the points, each of which is left out of its own density."""
        for_each = [
            (self._ln_narrow(list(self._kernels(part)), part), self._ln_broad(part)) for part in self._parts(points)
        ]
        ln_p = [torch.cat([law[kind][0] - law[kind][1] for law in for_each]) for kind in (0, 1)]
        broad.fit(*ln_p)

    def _widths(self, points: Tensor) -> Tensor:
        quartiles = torch.quantile(points, points.new_tensor([0.25, 0.75]), dim=0)
        spread, robust = points.std(0), (quartiles[1] - quartiles[0]) / _NORMAL_IQR
        spread = torch.where(robust > 0, torch.minimum(spread, robust), spread)
        size, dimensions = points.shape
        factor = (4 / ((dimensions + 2) * size)) ** (1 / (dimensions + 4))
        given = self.bandwidth if isinstance(self.bandwidth, dict) else {}
        factor *= self.bandwidth if isinstance(self.bandwidth, int | float) else 1.0
        widths = [given.get(name, factor * width) for name, width in zip(self.names, spread.tolist(), strict=True)]
        if flat := [name for name, width in zip(self.names, widths, strict=True) if not width > 0]:
            raise InputError(f"KDEModel: all stars have the same {flat}; give a bandwidth for it.")
        return points.new_tensor(widths)

    def forward(self, data: Data) -> Params:  # noqa: ARG002
        """Nothing: the model has no named parameters."""
        return {}

    def ln_likelihood(self, params: Params, data: Data) -> Tensor:  # noqa: ARG002
        """Log density of the measured coordinates, shape (N,), in nats."""
        self._check_points()
        fixed = None if self.windows.move else list(self._kernels(data))
        parts = self._parts(data)
        ln_p = torch.cat([self._ln_density(fixed or list(self._kernels(part)), part) for part in parts])
        return torch.where(self.in_window(data), ln_p, -torch.inf)

    def _parts(self, data: Data) -> Iterable[Data]:
        """So many stars at once that the table of them and the points fits in memory."""
        return data.select(self.columns).split(max(1, _PAIRS // len(self.points)))

    def ln_seen(self, params: Params, data: Data) -> Tensor:
        """Log probability that a star of this density is where the survey looked, at the place of each star, (N,)."""
        if self.footprint is None:
            return super().ln_seen(params, data)
        self._check_points()
        some = data.select(tuple(dict.fromkeys((*self.indep_coord_names, self.footprint.along))))
        parts = some.split(max(1, _PAIRS // len(self.points)))
        return torch.cat([self._ln_seen(self.footprint, part) for part in parts])

    def _ln_seen(self, footprint: Footprint, data: Data) -> Tensor:
        weights = self._ln_weights(self._kept(data[self.indep_coord_names]))
        ln_narrow = (weights + self._ln_seen_kernels(footprint, data)).logsumexp(-1)
        ln_broad = self._ln_seen_broad(footprint, data)
        total = ln_narrow if self.broad is None else self.broad.mixed(ln_narrow, ln_broad)
        return torch.where(self._is_anything_seen(footprint, data), total, -torch.inf)

    def simulate(self, params: Params, data: Data) -> dict[str, Tensor]:  # noqa: ARG002
        """One draw of each coordinate for each star, (N,) by name, inside the window."""
        self._check_points()
        if self.footprint is not None:
            return draw_seen(lambda rows: self._drawn(data[rows]), self._in_own_window, data)
        return self._drawn(data)

    def _drawn(self, data: Data) -> dict[str, Tensor]:
        """Draws of the whole density, whatever was seen of it."""
        places = data[self.indep_coord_names].split(max(1, _PAIRS // len(self.points)))
        chosen = torch.cat([torch.multinomial(self._ln_weights(self._kept(part)).exp(), 1)[:, 0] for part in places])
        laws = [
            TruncatedNormal(centres[chosen], width, *self._edges(name, data), validate_args=False)
            for name, centres, width in self._columns()
        ]
        drawn = torch.stack([law.sample() for law in laws], -1)
        drawn = drawn if self.broad is None else self.broad.drawn(drawn, self._broad_draws(data))
        return dict(zip(self.coord_names, drawn.unbind(-1), strict=True))

    def is_supported(self, stars: Data) -> Tensor:
        """Whether each of a star's coordinates is in the range of the points, or not measured, shape (N,)."""
        low, high = self.points.aminmax(dim=0)
        values = stars[self.names]
        return (~stars.where[self.names] | ((values >= low) & (values <= high))).all(-1)

    def _kept(self, places: Tensor) -> Tensor:
        """Independent coordinates (N, D), brought to the range of the points where they are beyond it."""
        low, high = self.points[:, : places.shape[-1]].aminmax(dim=0)
        return torch.minimum(torch.maximum(places, low), high)

    def _ln_density(self, kernels: Sequence[_Kernel], data: Data) -> Tensor:
        (ln_p, ln_seen), (ln_broad, ln_seen_broad) = self._ln_narrow(kernels, data), self._ln_broad(data)
        if self.broad is None:
            return ln_p - ln_seen
        return self.broad.mixed(ln_p, ln_broad) - self.broad.mixed(ln_seen, ln_seen_broad)

    def _ln_narrow(self, kernels: Sequence[_Kernel], data: Data) -> tuple[Tensor, Tensor]:
        """Log density of the kernels alone, before it is divided by what was seen of it, and the log of that, (N,)."""
        places, x, where = data[self.indep_coord_names], data[self.coord_names], data.where[self.coord_names]
        weights = terms = self._ln_weights(self._kept(places), x, where)
        seen = x.new_zeros(()) if self.footprint is None else self._ln_seen_kernels(self.footprint, data)
        columns = zip(self.coord_names, kernels, x.unbind(-1), where.unbind(-1), strict=True)
        for name, kernel, value, measured in columns:
            unknown = seen if self.footprint is not None and name == self.footprint.coord else torch.zeros_like(seen)
            terms = terms + torch.where(measured[:, None], kernel.ln_density(value), unknown)
        return terms.logsumexp(-1), (weights + seen).logsumexp(-1)

    def _ln_broad(self, data: Data) -> tuple[Tensor, Tensor]:
        """The same two of the broad density, (N,): even over a finite window."""
        laws = [self._broad_law(name, centres, data) for name, centres, _ in self._columns()]
        # an even law of torch has no upper edge, a window has
        at = [law.mean if isinstance(law, Uniform) else data[n] for law, n in zip(laws, self.coord_names, strict=True)]
        terms = [law.log_prob(x) for law, x in zip(laws, at, strict=True)]
        ln_p = masked_sum(terms, [data.where[name] for name in self.coord_names])
        seen = torch.zeros_like(ln_p)
        if self.footprint is not None:
            seen = self._ln_seen_broad(self.footprint, data)
            ln_p = ln_p + torch.where(data.where[self.footprint.coord], 0.0, seen)
        return ln_p, seen

    def _broad_law(self, name: str, centres: Tensor, data: Data) -> Distribution:
        """The broad law of a coordinate at each star, batch shape (N,)."""
        low, high = self._edges(name, data)
        if math.isfinite(self.windows[name].widest):
            return Uniform(low, high, validate_args=False)
        mean, scale = _wide(centres)
        return Normal(mean.expand_as(low), scale.expand_as(low), validate_args=False)

    def _ln_seen_kernels(self, footprint: Footprint, data: Data) -> Tensor:
        """Log probability that a star of each kernel is where the survey looked, (N, P); zero where it did not look."""
        centres, width = next((centres, width) for name, centres, width in self._columns() if name == footprint.coord)
        low, high = self._edges(footprint.coord, data)

        def ln_between(bottom: Tensor, top: Tensor) -> Tensor:
            return ln_normal_interval((bottom[:, None] - centres) / width, (top[:, None] - centres) / width)

        *edges, seen = strips_inside(footprint, low, high, data)
        total = torch.where(seen.any(-1, keepdim=True), -torch.inf, ln_between(low, high))
        for bottom, top, is_seen in zip(*(column.unbind(-1) for column in (*edges, seen)), strict=True):
            total = torch.logaddexp(total, torch.where(is_seen[:, None], ln_between(bottom, top), -torch.inf))
        return total - ln_between(low, high)

    def _ln_seen_broad(self, footprint: Footprint, data: Data) -> Tensor:
        """Log probability that a star of the broad law is where the survey looked, (N,); zero where it did not look."""
        centres = next(centres for name, centres, _ in self._columns() if name == footprint.coord)
        law = self._broad_law(footprint.coord, centres, data)
        share = SeenLaw(law, *self._edges(footprint.coord, data), footprint, data).ln_share()
        return torch.where(share.isneginf(), 0.0, share)

    def _is_anything_seen(self, footprint: Footprint, data: Data) -> Tensor:
        return strips_inside(footprint, *self._edges(footprint.coord, data), data)[-1].any(-1)

    def _broad_draws(self, data: Data) -> Tensor:
        """Draws of the broad density, (N, F)."""
        return torch.stack([self._broad_law(name, centres, data).sample() for name, centres, _ in self._columns()], -1)

    def _ln_weights(self, places: Tensor, x: Tensor | None = None, where: Tensor | None = None) -> Tensor:
        """Log weights of the points at places (N, D), shape (N, P), each row's exponentials summing to one.

        A star that is one of the points has no weight of its own kernel.
        """
        size = len(self.indep_coord_names)
        distance = (places[:, None] - self.points[:, :size]) / self.bandwidths[:size]
        ln_weights = -0.5 * distance.square().sum(-1)
        if x is not None and where is not None:
            rows = torch.cat([places, torch.where(where, x, torch.nan)], -1).to(self.points)
            itself = torch.stack([row[:, None] == p for row, p in zip(rows.T, self.points.T, strict=True)]).all(0)
            ln_weights = torch.where(itself, -torch.inf, ln_weights)
        return ln_weights.log_softmax(-1)

    def _kernels(self, data: Data) -> Iterator[_Kernel]:
        """The kernels of each coordinate, cut to the window at each star if it moves."""
        for name, centres, width in self._columns():
            low, high = self._edges(name, data if self.windows[name].moves else data[:1])
            yield _Kernel(centres, width, low[:, None], high[:, None])

    def _columns(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each coordinate, its values at the points (P,) and its bandwidth."""
        size = len(self.indep_coord_names)
        return zip(self.coord_names, self.points[:, size:].unbind(-1), self.bandwidths[size:], strict=True)

    def _edges(self, name: str, data: Data) -> tuple[Tensor, Tensor]:
        """Edges of a coordinate's window at each star, (N,), infinite where it has none."""
        return self.windows.edges(name, data, self.points.dtype)

    def _check_points(self) -> None:
        if len(self.points) == 0:
            raise InputError(f"KDEModel over {list(self.coord_names)} has no points; give it stars with fit_points.")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """As everywhere, for any number of points."""
        if f"{prefix}points" in state_dict:
            self.points = self.points.new_zeros(state_dict[f"{prefix}points"].shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _wide(centres: Tensor) -> Law:
    """A normal law three times as wide as the points."""
    return centres.mean(), WIDE * centres.std()


class _Kernel:
    """The kernels of one coordinate: normal laws of one width about P centres, cut to windows (N or 1, 1)."""

    def __init__(self, centres: Tensor, width: Tensor, low: Tensor, high: Tensor) -> None:
        self.centres, self.width = centres, width
        inside = ln_normal_interval((low - centres) / width, (high - centres) / width)
        self.ln_norm = inside + width.log() + HALF_LN_2PI

    def ln_density(self, value: Tensor) -> Tensor:
        """Log densities at values (N,), shape (N, P), as if the window had no end."""
        return -0.5 * ((value[:, None] - self.centres) / self.width).square() - self.ln_norm
