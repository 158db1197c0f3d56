"""Normalizing flows of zuko as densities of some coordinates given others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stream_mapper.builtin.compat.flow_model import FlowModel
from stream_mapper.builtin.compat.marginal import at_once, check_count, normal_lattice, over_nodes
from stream_mapper.builtin.compat.seen_part import SeenPart, from_the_seen
from stream_mapper.description import describes, factory
from stream_mapper.distributions._stable import HALF_LN_2PI
from stream_mapper.errors import InputError
from stream_mapper.nn import Activation, activation_of


@factory
def flow(
    features: int,
    context: int = 1,
    kind: str = "NSF",
    transforms: int = 2,
    hidden_features: Sequence[int] = (32, 32),
    activation: Activation = "tanh",
) -> nn.Module:
    """A flow of ``zuko.flows`` by name, for configuration files.

    Arguments:
        features: Number of coordinates.
        context: Number of independent coordinates, and of errors if the flow is conditioned on them.
        kind: Class in ``zuko.flows``, such as "NSF" (neural splines) or "MAF".
        transforms: Number of transformations. An NSF of one transformation gives marginals over missing coordinates
            at little cost.
        hidden_features: Widths of the hidden layers of each transformation's network.
        activation: Function after each hidden layer, by name. A smooth one learns a smooth density from few stars: of
            7,000 of a simulated survey "tanh" is 0.08 nats a star from the truth, "relu", which zuko takes, 0.18.

    Raises:
        InputError: If zuko has no such flow, or there is no such activation.
    """
    import zuko  # noqa: PLC0415 (its import switches off argument checks in torch.distributions)

    if not hasattr(zuko.flows, kind):
        raise InputError(f"zuko.flows has no {kind!r}.")
    given = {
        "transforms": transforms,
        "hidden_features": list(hidden_features),
        "activation": activation_of(activation),
    }
    network: nn.Module = getattr(zuko.flows, kind)(features, context, **given)
    return network


@describes("zuko")
def describe_flow(network: nn.Module) -> dict[str, Any] | None:
    """A flow of ``zuko.flows`` by its class and arguments, if these make it again, layer by layer."""
    import zuko  # noqa: PLC0415
    from zuko.flows.autoregressive import MaskedAutoregressiveTransform  # noqa: PLC0415

    steps = [module for module in network.modules() if isinstance(module, MaskedAutoregressiveTransform)]
    if not steps or steps[0].order is None or not hasattr(zuko.flows, type(network).__name__):
        return None
    layers = [layer for layer in steps[0].hyper.modules() if isinstance(layer, nn.Linear)]
    features = len(steps[0].order)
    arguments = {
        "features": features,
        "context": layers[0].in_features - features,
        "transforms": len(steps),
        "hidden_features": [layer.out_features for layer in layers[:-1]],
    }
    with torch.random.fork_rng(devices=[]):
        again: nn.Module = getattr(zuko.flows, type(network).__name__)(**arguments)
    same = repr(again) == repr(network)
    return {"class_path": f"zuko.flows.{type(network).__name__}", "init_args": arguments} if same else None


class ZukoFlowModel(FlowModel):
    r"""A flow of ``zuko.flows``, or any module that returns a distribution when called with the context.

    Marginals over missing coordinates use the structure of the flow where they can. One autoregressive
    transformation, :math:`p(x) = \prod_i p(x_i \mid x_{<i})`, simply drops missing coordinates that come last, and
    those before are drawn from their own conditional densities at nodes of the base,

    .. math:: p(x_M) = \mathrm{E}_{z \sim N(0, 1)} \Big[ \prod_{i \in M} p(x_i \mid x_{<i}(z)) \Big].

    So name the coordinates that are missing most often last. Any other flow is integrated by the trapezoidal rule.

    Arguments: see :class:`stream_mapper.builtin.compat.FlowModel`.
    """

    def _ln_network(self, w: Tensor, context: Tensor) -> Tensor:
        return self.flow(context).log_prob(w)

    def _draw(self, context: Tensor) -> Tensor:
        return self.flow(context).sample()

    def _marginal(self, u: Tensor, context: Tensor, pattern: Tensor, part: SeenPart | None) -> Tensor:
        chain = self._chain
        if chain is None:
            return super()._marginal(u, context, pattern, part)
        order: list[int] = chain.order.argsort().tolist()
        measured: list[bool] = pattern.tolist()
        last = max(rank for rank, i in enumerate(order) if measured[i])
        drawn = [i for rank, i in enumerate(order) if not measured[i] and rank < last]
        if not drawn:
            return self._conditionals(u, context)[:, pattern].sum(-1)
        check_count(len(drawn), self.coord_names)
        missing = part is not None and part.is_missing(pattern)
        table = part.table() if part is not None and missing else u[:, :0]

        def ln_density(rows: Tensor, given: Tensor) -> Tensor:
            x, strips, z = rows.tensor_split([len(pattern), len(pattern) + table.shape[-1]], -1)
            if missing:  # the coordinate of the footprint is the first that is drawn
                z = torch.cat([from_the_seen(z[:, 0], strips)[:, None], z[:, 1:]], -1)
            for j, i in enumerate(drawn):
                x = x.clone()
                w = _at(chain, self._sheared(x), given).inv(z[:, j, None].expand_as(x))[:, i]
                x[:, i] = self.shear.one(i, w, self._plain(x))
            return self._conditionals(x, given)[:, pattern].sum(-1)

        mean = over_nodes(torch.cat([u, table], -1), context, *normal_lattice(len(drawn), like=u), ln_density)
        return mean + part.ln_narrow() if part is not None and missing else mean

    def _is_first(self, index: int) -> bool:
        if len(self.coord_names) == 1:
            return _is_monotonic(self.flow)
        chain = self._chain if _has_normal_base(self.flow) else None
        return chain is not None and chain.order[index].item() == 0

    def _to_base(self, index: int, u: Tensor, context: Tensor) -> Tensor:
        size = at_once(u)
        blocks = zip(u.split(size), context.split(size), strict=True)
        return torch.cat([self._base_numbers(index, *block) for block in blocks])

    def _base_numbers(self, index: int, u: Tensor, context: Tensor) -> Tensor:
        own = torch.arange(len(self.coord_names), device=u.device) == index
        x = torch.where(own, u[:, None], 0.0)
        if len(self.coord_names) == 1:
            z: Tensor = self.flow(context).transform(x)
            return z[:, 0]
        w = self._sheared(x)
        z, _ = _at(self._chain, w, context).call_and_ladj(w)
        return z[:, index]

    def _conditionals(self, u: Tensor, context: Tensor) -> Tensor:
        """Log density of each standardised coordinate given those before it, of the only transformation, (N, F)."""
        w = self._sheared(u)
        y, ln_slope = _at(self._chain, w, context).call_and_ladj(w)
        return ln_slope - 0.5 * y.square() - HALF_LN_2PI + self.shear.ln_slopes()

    def _ranks(self) -> Tensor:
        chain = self._chain
        return super()._ranks() if chain is None else chain.order

    @property
    def _chain(self) -> Any:
        """The only transformation, if it is autoregressive in every coordinate over a standard normal base."""
        from zuko.flows.autoregressive import MaskedAutoregressiveTransform  # noqa: PLC0415
        from zuko.lazy import Flow  # noqa: PLC0415

        steps = _steps(self.flow) if isinstance(self.flow, Flow) else []
        if len(steps) != 1 or not isinstance(steps[0], MaskedAutoregressiveTransform) or steps[0].order is None:
            return None
        return steps[0] if steps[0].passes == len(self.coord_names) else None


def _steps(flow: Any) -> list[nn.Module]:
    """The transformations of a flow of zuko, from the coordinates on."""
    return list(flow.transform.transforms)


def _has_normal_base(flow: nn.Module) -> bool:
    """Whether a flow makes independent standard normal numbers."""
    from zuko.distributions import DiagNormal  # noqa: PLC0415
    from zuko.lazy import Flow, UnconditionalDistribution  # noqa: PLC0415

    base = flow.base if isinstance(flow, Flow) else None
    return isinstance(base, UnconditionalDistribution) and base.f is DiagNormal


def _is_monotonic(flow: nn.Module) -> bool:
    """Whether a flow over one coordinate makes a standard normal number of it, rising with it."""
    from zuko.flows.autoregressive import MaskedAutoregressiveTransform  # noqa: PLC0415
    from zuko.flows.gaussianization import ElementWiseTransform  # noqa: PLC0415

    kinds = MaskedAutoregressiveTransform, ElementWiseTransform
    return _has_normal_base(flow) and all(isinstance(step, kinds) for step in _steps(flow))


def _at(chain: Any, x: Tensor, context: Tensor) -> Any:
    """The transformation of each coordinate by itself, given those before it."""
    return chain.meta(context, x).base
