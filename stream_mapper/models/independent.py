"""A product of densities over different coordinates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.models.base import Model, Params, scope
from stream_mapper.models.components import ComponentModel
from stream_mapper.models.known import KnownDensities
from stream_mapper.prior import Prior

Hook = Callable[[Params], Params]


class IndependentModels(ComponentModel):
    """Independent densities: their log-likelihoods add.

    A part may depend on a coordinate of another, as its independent coordinate: a chain of conditional densities. It
    has to come after the other, and a star without that coordinate counts as outside the window.

    The parameters of part ``name`` are called ``name.<its own name>``; hooks then link parts by setting parameters of
    one from those of another.

    Arguments:
        components: Parts by name, over disjoint coordinates.
        unpack_params_hooks: Called in order, each takes the parameters and returns them with its own added.
        priors: Log priors, on the names seen from here.

    Raises:
        InputError: If two parts share a coordinate, or there is none.
    """

    def __init__(
        self,
        components: Mapping[str, Model],
        unpack_params_hooks: Sequence[Hook] = (),
        priors: Sequence[Prior] = (),
    ) -> None:
        names = [name for model in components.values() for name in model.coord_names]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"IndependentModels: the coordinates {twice} belong to more than one of {list(components)}."
            )
        super().__init__(components, coord_names=names, priors=priors)
        self.unpack_params_hooks = tuple(unpack_params_hooks)

    def forward(self, data: Data) -> Params:
        """Parameters of every part, and what the hooks make of them."""
        params = self.component_params(data)
        for hook in self.unpack_params_hooks:
            params = hook(params)
        return self._constrained(params, data)

    def ln_likelihood(self, params: Params, data: Data, known: KnownDensities | None = None) -> Tensor:
        """Sum over the parts, shape (N,), in nats; those that are known are not computed."""
        return torch.stack([self.ln_component(q, params, data, known) for q in self.components]).sum(0)

    @property
    def has_footprint(self) -> bool:
        """Whether any part has one."""
        return any(model.has_footprint for model in self.components.values())

    def ln_seen(self, params: Params, data: Data, known: KnownDensities | None = None) -> Tensor:
        """Log probability that a star is where the survey looked, (N,): the sum over the parts."""
        return torch.stack([self.ln_seen_component(q, params, data, known) for q in self.components]).sum(0)

    def simulate(self, params: Params, data: Data) -> dict[str, Tensor]:
        """One draw of each coordinate for each star, (N,) by name."""
        drawn: dict[str, Tensor] = {}
        for q, model in self.components.items():
            drawn |= model.simulate(scope(params, q), data.with_columns(drawn) if drawn else data)
        return drawn
