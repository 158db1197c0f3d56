"""A density from elsewhere, given its conditions, as a model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stream_mapper.builtin.box import BoxedModel, RotatedBox
from stream_mapper.builtin.compat.broad import FITTED, WIDE, Broad, Law, ln_normals
from stream_mapper.builtin.compat.marginal import at_once, check_count, over_nodes, trapezoid
from stream_mapper.builtin.compat.seen_flow import SeenFlow
from stream_mapper.builtin.compat.seen_part import SeenPart
from stream_mapper.builtin.compat.shear import Shear
from stream_mapper.builtin.compat.support import Support
from stream_mapper.builtin.seen import draw_seen
from stream_mapper.builtin.window import Stretch
from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.footprint import Footprint
from stream_mapper.models.base import Model, Params, Pretraining
from stream_mapper.params import ModelParameters
from stream_mapper.utils import StandardScaler
from stream_mapper.windows import Bounds

_ROUGH = 0.3  # nats between two grids, beyond which the finer one is not trusted


class FlowModel(SeenFlow, BoxedModel):
    r"""A conditional density of standardised numbers, :math:`p(x \mid \phi_1)`, in the units of the data.

    Coordinates with a window are stretched onto the real line (:class:`stream_mapper.builtin.window.Stretch`), then all
    are standardised and made uncorrelated (:class:`stream_mapper.builtin.compat.shear.Shear`), then the network acts;
    the Jacobians of all changes are part of the density, which is normalised over the window. A window along the stream
    is first taken to one that does not move, its edges to the edges. A star that lacks some of the coordinates has the
    density's marginal over them, by the trapezoidal rule; a star that lacks all of them has zero.

    The density may also depend on the size of a star's errors (``err_names``), through their logarithms; an error that
    is missing or zero counts as one of mean logarithm. Let it do so only for errors that do not give away a coordinate
    of another part: where magnitudes are modelled too, an error that follows from the magnitude adds nothing.

    What a network says far from the stars it was trained on means nothing, so two things bound it. It is mixed with a
    broad density (:class:`stream_mapper.builtin.compat.broad.Broad`), which is conditioned on nothing. And what it is
    conditioned on is kept within the range of its training stars: beyond, the density is that at the end of the range.

    Arguments:
        net: A module with ``log_prob(x, context)`` from (N, F) and (N, D) to (N,), and, to be simulated from,
            ``sample(context)`` to (N, F). F counts the coordinates, D the independent coordinates and the errors.
        coord_names: Coordinates the density is over, F of them.
        coord_bounds: Window of each coordinate, in its unit: an interval, or one along the stream.
        box: Window of two of the coordinates in the axes of the catalogue, which turn along the stream. The network
            then sees those two in the catalogue's axes. A star with one of them counts as one with neither.
        err_names: Columns of errors the density is conditioned on as well.
        data_scaler: Scaler that has the independent coordinates and the coordinates; None for one fitted on the stars
            the density is trained on. With one that is fitted there is no shear.
        jacobian_logdet: Log determinant of the scaler (minus the sum of the logarithms of the coordinates' scales). A
            check only: the class takes it from its scaler and warns if this one disagrees.
        indep_coord_names: Coordinates the density is conditioned on.
        params: Must be empty: such a density has no named parameters.
        broad: Share of the broad density: a number in 0..1; "fitted" for the likeliest one of stars that the network
            was not trained on, see :meth:`stream_mapper.builtin.compat.broad.Broad.fit`; None or 0 for none.
        footprint: Where the survey looked, of which one of the coordinates is: the density is divided by the
            probability of the part that was seen at the star's place, and is zero elsewhere. A
            :class:`stream_mapper.builtin.compat.ZukoFlowModel` of one coordinate takes one, and one of a single
            autoregressive transformation that has this coordinate first; others cannot tell that probability.

    Raises:
        InputError: If there are parameters, the box is over other coordinates or over some with a window, the share
            is no share, or the footprint is one that this flow cannot take.
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        coord_names: Sequence[str],
        coord_bounds: Mapping[str, Bounds] | None = None,
        box: RotatedBox | None = None,
        err_names: Sequence[str] = (),
        data_scaler: StandardScaler | None = None,
        jacobian_logdet: float | Tensor | None = None,
        indep_coord_names: Sequence[str] = ("phi1",),
        params: ModelParameters | None = None,
        broad: float | str | None = FITTED,
        footprint: Footprint | None = None,
    ) -> None:
        super().__init__(indep_coord_names=indep_coord_names, coord_names=coord_names, coord_bounds=coord_bounds)
        if params is not None and len(params):
            raise InputError(f"{type(self).__name__} has no named parameters; got {list(params.names)}.")
        self.flow = net
        self.box = box
        self._check_box()
        self.err_names = tuple(err_names)
        sides = {} if box is None else dict(zip(box.coord_names, (box.first, box.second), strict=True))
        self.stretch = Stretch(self.coord_names, self.windows.straight() | sides)
        names = (*self.indep_coord_names, *self.coord_names)
        self.scaler = (data_scaler or StandardScaler(names))[names]
        self.shear = Shear(len(self.coord_names))
        self.err_scaler = StandardScaler(self.err_names)
        self.broad = Broad(broad) if broad else None
        self.support = Support(len(names) + len(self.err_names))
        self.jacobian_logdet = None if jacobian_logdet is None else float(jacobian_logdet)
        self._check_jacobian()
        self._take_footprint(footprint)
        self._check_seen()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the model reads, errors and the angle of the box included."""
        return (*super().columns, *self.err_names)

    @property
    def joint_columns(self) -> tuple[tuple[str, ...], ...]:
        """The coordinates of the box with its angle."""
        return () if self.box is None else (self.box.columns,)

    def forward(self, data: Data) -> Params:  # noqa: ARG002
        """Nothing: there are no named parameters."""
        return {}

    def pretrain(self, stars: Data, stage: Pretraining) -> None:
        """Fit the scalers on the stars, then the network to them, and keep where they were and who surprises it."""
        self.fit_scalers(stars)
        self.support.fit_(*self._seen(stars))
        stage.maximise(_OfCompleteStars(self), stars)
        with torch.no_grad():
            self.support.fit_density(self._ln_flow(stars))
            self._fit_broad(stage.held_out(stars))

    def _fit_broad(self, stars: Data) -> None:
        """Fit the share of the broad density on stars that lack no coordinate."""
        if self.broad is not None:
            u, _ = self._standardised(self._values(stars))
            ln_narrow, ln_broad = self._ln_flow(stars), ln_normals(u, self._broad_law()).sum(-1)
            if part := self._seen_part(stars, self._context(stars)):
                ln_narrow, ln_broad = ln_narrow - part.ln_narrow(), ln_broad - part.ln_broad
            self.broad.fit(ln_narrow, ln_broad)

    @torch.no_grad()
    def is_supported(self, stars: Data) -> Tensor:
        """Whether there were training stars where each star is, shape (N,).

        What the density is conditioned on has to be in the range of the training stars. Then a star that has all
        coordinates is supported if the network gives it more than its thousandth least likely training star; one that
        lacks some, if those it has are in the range of the training stars.
        """
        stars = self.measured(stars)
        seen, where = self._seen(stars)
        inside = self.support.holds(seen, where)
        given = inside[:, : -len(self.coord_names)].all(-1)
        complete = stars.where[self.coord_names].all(-1)
        rows = (complete & given).nonzero()[:, 0]
        likely = torch.ones_like(given).index_put((rows,), self._ln_flow(stars[rows]) >= self.support.ln_least)
        return given & torch.where(complete, likely, inside.all(-1))

    def ln_likelihood(self, params: Params, data: Data) -> Tensor:  # noqa: ARG002
        """Log density of the measured coordinates, shape (N,), in nats."""
        data = self.measured(data)
        context = self._context(data)
        part = self._seen_part(data, context)
        ln_p = self._by_pattern(self._values(data), context, data.where[self.coord_names], part)
        return torch.where(self.in_window(data), ln_p + self.windows.ln_slope(data), -torch.inf)

    def ln_least(self, params: Params, data: Data) -> Tensor | None:  # noqa: ARG002
        """The share of the broad density, (N,), in nats; None without one, or with a footprint."""
        if self.broad is None or self.footprint is not None:
            return None
        data = self.measured(data)
        u, ln_jacobian = self._standardised(self._values(data))
        terms = ln_normals(u, self._broad_law()) + ln_jacobian
        ln_broad = torch.where(data.where[self.coord_names], terms, 0.0).sum(-1)
        measured = data.where[self.coord_names].any(-1)
        ln_p = torch.where(measured, self.broad.ln_share(ln_broad), 0.0)
        return torch.where(self.in_window(data), ln_p + self.windows.ln_slope(data), -torch.inf)

    def ln_complete(self, data: Data) -> Tensor:
        """Log density of stars that lack no coordinate, shape (N,), in nats: on a GPU, to look for one is to wait."""
        data = self.measured(data)
        context = self._context(data)
        ln_p = self._in_units(self._values(data), context, None, self._seen_part(data, context))
        return torch.where(self.in_window(data), ln_p + self.windows.ln_slope(data), -torch.inf)

    def _by_pattern(self, x: Tensor, context: Tensor, where: Tensor, part: SeenPart | None) -> Tensor:
        """Log density of the measured coordinates, all stars that lack the same ones together, (N,)."""
        out = x.new_zeros(len(x), dtype=torch.promote_types(x.dtype, self.scaler.mean.dtype))
        code = (where * 2 ** torch.arange(where.shape[-1], device=where.device)).sum(-1)
        for present in code.unique().tolist():
            rows = (code == present).nonzero()[:, 0]
            pattern = where[rows[0]]
            if present:
                incomplete = None if pattern.all() else pattern
                out = out.index_put((rows,), self._in_units(x[rows], context[rows], incomplete, part and part[rows]))
        return out

    def simulate(self, params: Params, data: Data) -> dict[str, Tensor]:  # noqa: ARG002
        """One draw of each coordinate for each star, (N,) by name."""
        if self.footprint is not None:
            return draw_seen(lambda rows: self._drawn(data[rows]), self.footprint.holds, data)
        return self._drawn(data)

    def _drawn(self, data: Data) -> dict[str, Tensor]:
        """Draws of the whole density, whatever was seen of it."""
        context = self._context(data)
        mean, scale = self._numbers(self.coord_names)
        drawn = self._unsheared(torch.cat([self._draw(rows) for rows in context.split(at_once(context))]))
        if self.broad is not None:
            middle, width = self._broad_law()
            drawn = self.broad.drawn(drawn, middle + width * torch.randn_like(drawn))
        x = self.stretch.inverse(mean + scale * drawn)
        columns = self.windows.bend(dict(zip(self.coord_names, x.unbind(-1), strict=True)), data)
        return columns if self.box is None else columns | self.box.turned_back(columns, data)

    def _values(self, data: Data) -> Tensor:
        """The coordinates (N, F) in windows that do not move, those of the box in its own axes."""
        data = self.windows.straighten(data)
        if self.box is None:
            return data[self.coord_names]
        turned = dict(zip(self.box.coord_names, self.box.rotate(data).unbind(-1), strict=True))
        return torch.stack([turned.get(name, data[name]) for name in self.coord_names], -1)

    def _check_box(self) -> None:
        if self.box is None:
            return
        names, bounded = self.box.coord_names, [n for n in self.box.coord_names if n in self.windows]
        if bounded or not set(names) <= set(self.coord_names):
            raise InputError(
                f"{type(self).__name__} over {list(self.coord_names)}: the box over {list(names)} needs two of these, "
                f"without coord_bounds; {bounded} have them."
            )

    def _in_units(self, x: Tensor, context: Tensor, pattern: Tensor | None, part: SeenPart | None) -> Tensor:
        """Log density over the coordinates measured in ``pattern`` (F,), or all, in the data's units."""
        u, ln_jacobian = self._standardised(x)
        if pattern is None:
            ln_p = self._whole(u, context)
        else:
            ln_p = self._marginal(torch.where(pattern, u, 0.0), context, pattern, part)
        if self.broad is not None:
            ln_broad = _over(ln_normals(u, self._broad_law()), pattern)
            missing = part is not None and part.is_missing(pattern)
            ln_p = self.broad.mixed(ln_p, ln_broad + part.ln_broad if part is not None and missing else ln_broad)
        ln_p = ln_p if part is None else ln_p - self._ln_part(part)
        return ln_p + _over(ln_jacobian, pattern)

    def _standardised(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers that the network sees, and ln |du/dx| of each coordinate, both (N, F)."""
        v, ln_stretch = self.stretch(x)
        mean, scale = self._numbers(self.coord_names)
        return ((v - mean) / scale).to(mean.dtype), ln_stretch - scale.log()

    def _broad_law(self) -> Law:
        """What the broad law of each coordinate is for the numbers that the network sees."""
        mean, scale = self._numbers(self.coord_names)
        middle, width = self.stretch.even()
        bounded = self.stretch.bounded
        return torch.where(bounded, (middle - mean) / scale, 0.0), torch.where(bounded, width / scale, WIDE)

    def _ln_flow(self, data: Data) -> Tensor:
        """The network's own log density of stars that lack no coordinate, in standardised units, (N,)."""
        u, _ = self._standardised(self._values(data))
        return self._whole(u, self._context(data)) if len(data) else u.sum(-1)

    def _seen(self, data: Data) -> tuple[Tensor, Tensor]:
        """Standardised conditions and coordinates, and whether they are known, both (N, D + F)."""
        u, _ = self._standardised(self._values(data))
        where = torch.cat([data.where[(*self.indep_coord_names, *self.err_names)], data.where[self.coord_names]], -1)
        return torch.cat([self._given(data), u], -1), where

    def _whole(self, u: Tensor, context: Tensor) -> Tensor:
        size = at_once(u)
        blocks = zip(u.split(size), context.split(size), strict=True)
        return torch.cat([self._ln_density(*block) for block in blocks])

    def _marginal(self, u: Tensor, context: Tensor, pattern: Tensor, part: SeenPart | None) -> Tensor:  # noqa: ARG002
        """Log marginal over the coordinates measured in ``pattern``, in standardised units, shape (N,).

        Where one that is missing was seen in part, ``part`` says so and it is that over this part.
        """
        missing = (~pattern).nonzero()[:, 0]
        check_count(len(missing), self.coord_names)

        def ln_density(rows: Tensor, given: Tensor) -> Tensor:
            filled = rows[:, : len(pattern)].index_copy(-1, missing, rows[:, len(pattern) :])
            return self._ln_density(filled, given)

        fine, coarse = over_nodes(u, context, *trapezoid(len(missing), like=u), ln_density).unbind(0)
        rough = int(((fine - coarse).abs() > _ROUGH).sum())
        if rough:
            names = [self.coord_names[i] for i in missing.tolist()]
            warnings.warn(
                f"the marginal over {names} is uncertain for {rough} of {len(u)} stars: the density is narrower than "
                "the steps of its grid. An NSF of one transformation needs no grid.",
                stacklevel=2,
            )
        return fine

    def _ln_density(self, u: Tensor, context: Tensor) -> Tensor:
        """Log density of standardised coordinates (N, F), shape (N,)."""
        return self._ln_network(self._sheared(u), context) + self.shear.ln_slopes().sum()

    def _ln_network(self, w: Tensor, context: Tensor) -> Tensor:
        """The network's own log density of the numbers that it sees (N, F), shape (N,)."""
        ln_prob: Callable[[Tensor, Tensor], Tensor] = self._method("log_prob")
        return ln_prob(w, context)

    def _draw(self, context: Tensor) -> Tensor:
        """The network's own draw of the numbers that it sees, (N, F)."""
        sample: Callable[[Tensor], Tensor] = self._method("sample")
        return sample(context)

    def _sheared(self, u: Tensor) -> Tensor:
        """The numbers that the network sees of standardised coordinates, both (N, F)."""
        return self.shear(u, self._plain(u)) if u.shape[-1] > 1 else u

    def _unsheared(self, w: Tensor) -> Tensor:
        """Standardised coordinates by what the network sees of them, both (N, F)."""
        if w.shape[-1] == 1:
            return w
        u = torch.zeros_like(w)
        for i in self._ranks().argsort().tolist():
            u[:, i] = self.shear.one(i, w[:, i], self._plain(u))
        return u

    def _plain(self, u: Tensor) -> Tensor:
        """Coordinates in windows that do not move, by their standardised numbers, both (N, F)."""
        mean, scale = self._numbers(self.coord_names)
        return self.stretch.inverse(mean + scale * u)

    def _ranks(self) -> Tensor:
        """Place of each coordinate in the order in which the network has them, (F,)."""
        return torch.arange(len(self.coord_names), device=self.shear.widths.device)

    def _method(self, name: str) -> Any:
        method = getattr(self.flow, name, None)
        if method is None:
            raise InputError(f"the network of {type(self).__name__}, a {type(self.flow).__name__}, has no {name}.")
        return method

    def _context(self, data: Data) -> Tensor:
        """What the network is conditioned on, no further than its training stars go, (N, D)."""
        return self.support.kept(self._given(data))

    def _given(self, data: Data) -> Tensor:
        mean, scale = self._numbers(self.indep_coord_names)
        conditions = [((data[self.indep_coord_names] - mean) / scale).to(mean.dtype)]
        if self.err_names:
            ln_errors, known = _ln_errors(data, self.err_names)
            conditions.append(torch.where(known, self.err_scaler.transform(ln_errors), 0.0))
        return torch.cat(conditions, -1)

    def _numbers(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        first = self.scaler.names.index(names[0])  # the coordinates stand together there, and those they depend on do
        rows = slice(first, first + len(names))
        return self.scaler.mean[rows], self.scaler.scale[rows]

    def _fit_own_scaler(self, data: Data) -> None:
        if self.err_names and not self.err_scaler.fitted:
            both = _ln_errors(data, self.err_names)
            values, known = (dict(zip(self.err_names, columns.unbind(-1), strict=True)) for columns in both)
            self.err_scaler.fit_(Data(values, known))
        if self.scaler.fitted:
            return
        data = self.measured(data)
        stretched, _ = self.stretch(self._values(data))
        columns = dict(zip(self.coord_names, stretched.unbind(-1), strict=True))
        where = {name: data.where[name] for name in self.coord_names}
        self.scaler.fit_(Data({**{n: data[n] for n in self.indep_coord_names}, **columns}, where))
        self.support.fit_(*self._seen(data))
        complete = self._values(data)[data.where[self.coord_names].all(-1)]
        self.shear.fit_(self._standardised(complete)[0], complete, self._ranks())
        self._check_jacobian()

    def _check_jacobian(self) -> None:
        if self.jacobian_logdet is None or not self.scaler.fitted:
            return
        _, scale = self._numbers(self.coord_names)
        logdet = -scale.log().sum().item()
        if not math.isclose(logdet, self.jacobian_logdet, rel_tol=1e-3, abs_tol=1e-3):
            warnings.warn(
                f"jacobian_logdet of the flow over {list(self.coord_names)} was given as {self.jacobian_logdet:.4g}; "
                f"its scaler has {logdet:.4g}, which is used.",
                stacklevel=2,
            )


class _OfCompleteStars(Model):
    """A flow as the density of stars that lack no coordinate."""

    def __init__(self, flow: FlowModel) -> None:
        super().__init__(indep_coord_names=flow.indep_coord_names, coord_names=flow.coord_names)
        self.flow = flow

    def forward(self, data: Data) -> Params:  # noqa: ARG002
        """Nothing."""
        return {}

    def ln_likelihood(self, params: Params, data: Data) -> Tensor:  # noqa: ARG002
        """Log density, shape (N,), in nats."""
        return self.flow.ln_complete(data)

    def simulate(self, params: Params, data: Data) -> dict[str, Tensor]:
        """As the flow."""
        return self.flow.simulate(params, data)


def _over(terms: Tensor, pattern: Tensor | None) -> Tensor:
    """Sum of terms (N, F) over the coordinates of a pattern (F,), or over all, (N,)."""
    return terms.sum(-1) if pattern is None else terms[:, pattern].sum(-1)


def _ln_errors(data: Data, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Logarithms of errors and whether they are known, both (N, E); an error of zero is not."""
    errors = data[names]
    known = data.where[names] & (errors > 0)
    return torch.where(known, errors, 1.0).log(), known
