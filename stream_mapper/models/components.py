"""What the models made of models share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import nn

from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.models.base import Model, Params
from stream_mapper.prior import Prior


class ComponentModel(Model):
    """A model made of named parts.

    Arguments:
        components: Parts by name, in order; a name holds no dot.
        coord_names: Coordinates of the whole.
        priors: Log priors, on the names seen from here.

    Raises:
        InputError: If there is no part or a name holds a dot.
    """

    def __init__(
        self, components: Mapping[str, Model], *, coord_names: Sequence[str], priors: Sequence[Prior] = ()
    ) -> None:
        dotted = [name for name in components if "." in name]
        if dotted or not components:
            raise InputError(f"{type(self).__name__} needs components with names without dots; got {list(components)}.")
        names = dict.fromkeys(name for model in components.values() for name in model.indep_coord_names)
        indep = [name for name in names if name not in coord_names]
        super().__init__(indep_coord_names=indep, coord_names=coord_names, priors=priors)
        self._components = nn.ModuleDict(components)

    @property
    def components(self) -> dict[str, Model]:
        """Parts by name, in order."""
        return cast("dict[str, Model]", dict(self._components.items()))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the parts read, errors included."""
        own = super().columns
        return tuple(dict.fromkeys((*own, *(c for model in self.components.values() for c in model.columns))))

    def component_params(self, data: Data) -> Params:
        """Parameters of every part, prefixed by its name."""
        return {f"{q}.{name}": value for q, model in self.components.items() for name, value in model(data).items()}
