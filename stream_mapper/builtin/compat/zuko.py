"""Normalizing flows of zuko as densities of some coordinates given others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stream_mapper.builtin.compat.flow_model import FlowModel
from stream_mapper.builtin.compat.marginal import check_count, normal_lattice, over_nodes
from stream_mapper.description import describes, factory
from stream_mapper.distributions._stable import HALF_LN_2PI
from stream_mapper.errors import InputError


@factory
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
        context: Number of independent coordinates, and of errors if the flow is conditioned on them.
        kind: Class in ``zuko.flows``, such as "NSF" (neural splines) or "MAF".
        transforms: Number of transformations. An NSF of one transformation gives marginals over missing coordinates
            at little cost.
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

    def _ln_density(self, u: Tensor, context: Tensor) -> Tensor:
        return self.flow(context).log_prob(u)

    def _draw(self, context: Tensor) -> Tensor:
        return self.flow(context).sample()

    def _marginal(self, u: Tensor, context: Tensor, pattern: Tensor) -> Tensor:
        chain = self._chain
        if chain is None:
            return super()._marginal(u, context, pattern)
        order: list[int] = chain.order.argsort().tolist()
        measured: list[bool] = pattern.tolist()
        last = max(rank for rank, i in enumerate(order) if measured[i])
        drawn = [i for rank, i in enumerate(order) if not measured[i] and rank < last]
        if not drawn:
            return _conditionals(chain, u, context)[:, pattern].sum(-1)
        check_count(len(drawn), self.coord_names)

        def ln_density(rows: Tensor, given: Tensor) -> Tensor:
            x, z = rows[:, : len(pattern)], rows[:, len(pattern) :]
            for j, i in enumerate(drawn):
                x = x.clone()
                x[:, i] = _at(chain, x, given).inv(z[:, j, None].expand_as(x))[:, i]
            return _conditionals(chain, x, given)[:, pattern].sum(-1)

        return over_nodes(u, context, *normal_lattice(len(drawn), like=u), ln_density)

    @property
    def _chain(self) -> Any:
        """The only transformation, if it is autoregressive in every coordinate over a standard normal base."""
        from zuko.flows.autoregressive import MaskedAutoregressiveTransform  # noqa: PLC0415
        from zuko.lazy import Flow  # noqa: PLC0415

        steps = list(self.flow.transform.transforms) if isinstance(self.flow, Flow) else []
        if len(steps) != 1 or not isinstance(steps[0], MaskedAutoregressiveTransform) or steps[0].order is None:
            return None
        return steps[0] if steps[0].passes == len(self.coord_names) else None


def _at(chain: Any, x: Tensor, context: Tensor) -> Any:
    """The transformation of each coordinate by itself, given those before it."""
    return chain.meta(context, x).base


def _conditionals(chain: Any, x: Tensor, context: Tensor) -> Tensor:
    """Log density of each coordinate given those before it, shape (N, F)."""
    y, ln_slope = _at(chain, x, context).call_and_ladj(x)
    return ln_slope - 0.5 * y.square() - HALF_LN_2PI
