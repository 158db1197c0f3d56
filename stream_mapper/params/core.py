"""Named parameters, split from a network's output in one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from torch import Tensor, nn

from stream_mapper.description import Described
from stream_mapper.errors import InputError
from stream_mapper.params.bounds import Bounds, NoBounds, SigmoidBounds
from stream_mapper.params.scaler import Identity, Scaler


class ModelParameter(nn.Module):
    """One parameter: how a network's output becomes its value.

    Arguments:
        bounds: Interval of the values, in the parameter's unit.
        scaler: Unit of the output before the bounds.
    """

    def __init__(self, bounds: Bounds | None = None, scaler: Scaler | None = None) -> None:
        super().__init__()
        self.bounds = bounds or NoBounds()
        self.scaler = scaler or Identity()

    def forward(self, raw: Tensor) -> Tensor:
        """Values from network output, elementwise."""
        return self.bounds(raw, self.scaler)


Entry: TypeAlias = ModelParameter | tuple[float, float]


class ModelParameters(Described, nn.Module):
    """Parameters by dotted name, in the order of the network's outputs.

        >>> ModelParameters({"phi2": {"mu": ModelParameter(), "ln-sigma": ModelParameter()}}).names
        ('phi2.mu', 'phi2.ln-sigma')

    Arguments:
        params: Parameters by dotted name, or nested by coordinate; a pair (lower, upper) stands for a parameter with
            those :class:`stream_mapper.params.bounds.SigmoidBounds`.

    Raises:
        InputError: If an entry is none of these.
    """

    def __init__(self, params: Mapping[str, Entry | Mapping[str, Entry]] | None = None) -> None:
        super().__init__()
        flat = dict(_flatten(params or {}))
        self.names = tuple(flat)
        self._parameters_in_order = nn.ModuleList(flat.values())

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> ModelParameter:
        return self._parameters_in_order[self.names.index(name)]  # type: ignore[return-value]

    def without(self, *names: str) -> ModelParameters:
        """The parameters but for some names."""
        return ModelParameters({name: self[name] for name in self.names if name not in names})

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Values of shape (N,) by name from network output of shape (N, F).

        Raises:
            InputError: If F is not the number of parameters.
        """
        if raw.shape[-1] != len(self):
            raise InputError(f"the network gives {raw.shape[-1]} outputs for the parameters {list(self.names)}.")
        values = zip(self.names, self._parameters_in_order, raw.unbind(-1), strict=True)
        return {name: parameter(column) for name, parameter, column in values}


def _flatten(
    params: Mapping[str, Entry | Mapping[str, Entry]], prefix: str = ""
) -> Iterator[tuple[str, ModelParameter]]:
    for name, value in params.items():
        if isinstance(value, ModelParameter):
            yield prefix + name, value
        elif isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, tuple | list) and len(value) == 2:
            yield prefix + name, ModelParameter(bounds=SigmoidBounds(*value))
        else:
            raise InputError(f"parameter {prefix + name!r} must be a ModelParameter or (lower, upper); got {value!r}.")
