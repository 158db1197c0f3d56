"""A mixture of densities over the same coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.models.base import Model, Params, scope
from stream_mapper.models.components import ComponentModel
from stream_mapper.models.ends import Ends, parameters_of
from stream_mapper.models.independent import Hook
from stream_mapper.models.known import KnownDensities
from stream_mapper.models.unjudged import Unjudged
from stream_mapper.models.weights import WeightParameters
from stream_mapper.params import ModelParameters
from stream_mapper.prior import Prior
from stream_mapper.utils import StandardScaler

BACKGROUND = "background"
_NOTHING = -100.0  # ln of a weight that changes no other, where every component is switched off
_EXACT_BELOW = 0.9  # total weight of the others up to which the proposed weights are taken as they are


def ln_weights(proposed: Tensor) -> tuple[Tensor, Tensor]:
    r"""Weights that cannot sum past one, from any proposal.

    With S the sum of the proposed weights and s = 0.9, the total is S up to s and
    :math:`1 - (1 - s)^2 / (S - 2 s + 1)` above, which joins with the same slope and stays below one.

    Arguments:
        proposed: Proposed ln-weights of all components but the background, shape (N, K - 1), any real values; -inf
            switches a component off.

    Returns:
        The ln-weights, shape (N, K - 1), and the background's, shape (N,); their exponentials sum to one.
    """
    s = _EXACT_BELOW
    nothing = proposed.isneginf().all(-1, keepdim=True)
    ln_sum = torch.where(nothing, _NOTHING, proposed).logsumexp(-1)
    exact = ln_sum < math.log(s)
    below = torch.where(exact, ln_sum, math.log(s) - 1)
    above = torch.where(exact, 0.0, ln_sum)
    ln_rest_above = 2 * math.log1p(-s) - above - torch.log1p((1 - 2 * s) * (-above).exp())
    ln_rest = torch.where(exact, torch.log1p(-below.exp()), ln_rest_above)
    shrink = torch.where(exact, 0.0, torch.log1p(-ln_rest_above.exp()) - above)
    return proposed + shrink[:, None], ln_rest


def ln_total(joint: Tensor) -> Tensor:
    """Log of the sum of the terms (N, K) of a mixture; -inf, with a gradient of zero, for a star none allows."""
    nowhere = joint.isneginf().all(-1)
    return torch.where(nowhere, -torch.inf, torch.where(nowhere[:, None], 0.0, joint).logsumexp(-1))


class MixtureModel(ComponentModel):
    r"""A weighted sum of densities, :math:`\ln p = \ln \sum_q f_q p_q`, with weights that depend on phi1.

    Where every component has a footprint, f_q is the share of a component in all stars, whether the survey looked
    where they are or not: beside a hole it goes on smoothly. See :meth:`ln_shares`.

    Arguments:
        components: Parts by name, all over the same coordinates. The one called "background" has as weight one minus
            the others'; without it every part needs a proposed weight and the weights are normalised.
        net: Network of the ln-weights, one output each; the background's takes none.
        data_scaler: Scaler that has the independent coordinates; None for one fitted on the training stars.
        params: ``{component}.ln-weight`` of each part; the background's may be listed and is derived.
        unpack_params_hooks: As in :class:`IndependentModels`; they see the weights that the network proposes.
        priors: Log priors, on the names seen from here; they see the weights as they are in the end.
        ends: Where components begin and end along the first independent coordinate, by component; others are there in
            the whole field. Each gives the parameters ``{component}.begin``, ``.end``, ``.ln-begin-width`` and
            ``.ln-end-width``, which a hook may set, too.

    Raises:
        InputError: If parts differ in their coordinates, weights are missing, or ends are of no component with a
            proposed weight.
    """

    def __init__(
        self,
        components: Mapping[str, Model],
        net: nn.Module | None = None,
        data_scaler: StandardScaler | None = None,
        params: ModelParameters | None = None,
        indep_coord_names: Sequence[str] = ("phi1",),
        unpack_params_hooks: Sequence[Hook] = (),
        priors: Sequence[Prior] = (),
        ends: Mapping[str, Ends] | None = None,
    ) -> None:
        coords = {name: sorted(model.coord_names) for name, model in components.items()}
        if len({tuple(names) for names in coords.values()}) > 1:
            raise InputError(f"MixtureModel: the components must cover the same coordinates; found {coords}.")
        coord_names = next((model.coord_names for model in components.values()), ())
        super().__init__(components, coord_names=coord_names, priors=priors)
        params = (params or ModelParameters()).without(f"{BACKGROUND}.ln-weight")
        needed = [f"{name}.ln-weight" for name in components if name != BACKGROUND]
        if sorted(params.names) != sorted(needed):
            raise InputError(f"MixtureModel: params must be {needed}; got {list(params.names)}.")
        self.weights = WeightParameters(
            net=net, data_scaler=data_scaler, params=params, indep_coord_names=indep_coord_names, coord_names=()
        )
        unknown = [name for name in ends or {} if f"{name}.ln-weight" not in needed]
        if unknown:
            raise InputError(f"MixtureModel: ends are of components with a ln-weight, {needed}; got {unknown}.")
        self._ends = dict(ends or {})
        self.ends = parameters_of(self._ends, data_scaler, indep_coord_names)
        self.unpack_params_hooks = tuple(unpack_params_hooks)
        magnitudes = dict.fromkeys(n for part in self.parts() if part.curve() is not None for n in part.coord_names)
        counted = [name for name in coord_names if name not in magnitudes] if BACKGROUND in components else []
        self.unjudged = Unjudged(counted, list(magnitudes))

    def forward(self, data: Data) -> Params:
        """Parameters of every part and the ln-weights of all, the background's included."""
        params = {**self.component_params(data), **self.weights(data), **self.ends(data)}
        for hook in self.unpack_params_hooks:
            params = hook(params)
        return self._normalised(self._constrained(self._ended(params, data), data))

    def _ended(self, params: Params, data: Data) -> Params:
        """The parameters with the proposed weights falling off where components begin and end."""
        at = data[self.weights.indep_coord_names[0]]
        names = {q: f"{q}.ln-weight" for q in self._ends}
        return {**params, **{n: params[n] + self._ends[q].ln_share(params, q, at) for q, n in names.items()}}

    def _normalised(self, params: Params) -> Params:
        names = self.weights.params.names
        if BACKGROUND not in self.components:
            values = torch.stack([params[name] for name in names], -1)
            nothing = values.isneginf().all(-1, keepdim=True)  # all are switched off: no star is allowed here
            values = torch.where(nothing, -torch.inf, torch.where(nothing, 0.0, values).log_softmax(-1))
            return {**params, **dict(zip(names, values.unbind(-1), strict=True))}
        if not names:
            raise InputError("a mixture of a background alone has no weight; add a component.")
        values, rest = ln_weights(torch.stack([params[name] for name in names], -1))
        return {**params, **dict(zip(names, values.unbind(-1), strict=True)), f"{BACKGROUND}.ln-weight": rest}

    def ln_joint(self, params: Params, data: Data, known: KnownDensities | None = None) -> Tensor:
        """ln(f_q p_q), shape (N, K), K in the order of ``components``.

        A star lacks the same coordinates in every component: those without a value, and those whose error some
        component needs and does not find.

        Arguments:
            params: The parameters at the stars.
            data: N stars.
            known: Densities of them that are not to be computed.
        """
        data = self.measured(data)
        terms = [self.ln_component(q, params, data, known) for q in self.components]
        return self.ln_shares(params, data, known) + torch.stack(terms, -1)

    @property
    def has_footprint(self) -> bool:
        """Whether every component has one."""
        return all(model.has_footprint for model in self.components.values())

    @property
    def weights_are_shares(self) -> bool:
        """Whether the weights are the shares of the components in the stars of the catalogue; see `ln_shares`."""
        return not self.has_footprint and not self.unjudged.counted

    def ln_seen(self, params: Params, data: Data, known: KnownDensities | None = None) -> Tensor:
        """Log of how many stars the catalogue has for each star of the mixture, by the place of each star, (N,).

        It is the probability that the survey looked there; of a star that lacks coordinates it may be above one, for
        their windows did not judge it.
        """
        return ln_total(self._ln_seen_weights(params, data, known))

    def ln_shares(self, params: Params, data: Data, known: KnownDensities | None = None) -> Tensor:
        r"""Log of the share of each component in the stars of the catalogue like each star, (N, K).

        Where every component has a footprint, the weights are those of all stars, seen or not, and the share of a
        component is :math:`f_q S_q / \sum_r f_r S_r`, S the probability that a star of it is where the survey looked.
        The weights are those of the stars that have every coordinate; of the background there are more among those
        that lack some, whose windows could not judge them, by the factor of
        :class:`stream_mapper.models.unjudged.Unjudged`, which is in its S. Otherwise the shares are the weights.
        """
        if self.weights_are_shares:
            return self._ln_weights(params)
        terms = self._ln_seen_weights(params, data, known)
        nowhere = terms.isneginf().all(-1, keepdim=True)
        return torch.where(nowhere, self._ln_weights(params), torch.where(nowhere, 0.0, terms).log_softmax(-1))

    def _ln_weights(self, params: Params) -> Tensor:
        return torch.stack([params[f"{q}.ln-weight"] for q in self.components], -1)

    def _ln_seen_weights(self, params: Params, data: Data, known: KnownDensities | None) -> Tensor:
        """ln(f_q S_q), (N, K)."""
        terms = self._ln_weights(params)
        if self.has_footprint:
            seen = [self.ln_seen_component(q, params, data, known) for q in self.components]
            terms = terms + torch.stack(seen, -1)
        if self.unjudged.counted:
            of_background = torch.tensor([float(q == BACKGROUND) for q in self.components], device=terms.device)
            terms = terms + of_background * self.unjudged(data)[:, None]
        return terms

    def ln_likelihood(self, params: Params, data: Data, known: KnownDensities | None = None) -> Tensor:
        """Log density of the mixture, shape (N,), in nats."""
        return ln_total(self.ln_joint(params, data, known))

    def membership(self, params: Params, data: Data, known: KnownDensities | None = None) -> Tensor:
        """Probability of each component, shape (N, K), rows summing to one.

        A star outside the window belongs to the component called "background"; without one, a star that no component
        allows belongs evenly to all.
        """
        joint = self.ln_joint(params, data, known).T.contiguous()  # rows as short as the components are few are slow
        nowhere = joint.isneginf().all(0)
        if BACKGROUND in self.components:
            nowhere = nowhere | ~self.in_window(data)
        return torch.where(nowhere, self._outside(joint), torch.where(nowhere, 0.0, joint).softmax(0)).T

    def simulate(self, params: Params, data: Data) -> dict[str, Tensor]:
        """One draw of each coordinate for each star, (N,) by name.

        With them ``component``: which part the star is of, by its place in ``components``.
        """
        which = torch.multinomial(self.ln_shares(params, data).exp(), 1)
        draws = [m.simulate(scope(params, q), data) for q, m in self.components.items()]
        chosen = {n: torch.stack([d[n] for d in draws], -1).gather(-1, which)[:, 0] for n in self.coord_names}
        return {**chosen, "component": which[:, 0]}

    def _outside(self, joint: Tensor) -> Tensor:
        """Memberships of stars that no component allows, (K, N) as the terms of the mixture."""
        names = list(self.components)
        if BACKGROUND not in names:
            return torch.full_like(joint, 1 / len(names))
        of_background = torch.tensor([float(name == BACKGROUND) for name in names], device=joint.device)
        return of_background[:, None].expand_as(joint)
