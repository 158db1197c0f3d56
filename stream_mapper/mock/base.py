"""What every simulator is, and the helpers they share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stream_mapper.errors import InputError

Column = NDArray[np.float64] | NDArray[np.str_]
Stars = dict[str, Tensor]
Gap = tuple[float, float, float]
_SAID = 120  # letters of what a library says of settings
_LN_2PI = math.log(2 * math.pi)


class Simulator(ABC):
    """Makes a table of stars with their truth.

    Columns that start with ``true_`` are truth: ``true_component`` (name), ``true_p_member`` (the Bayes-optimal
    membership, given every density of the simulation), ``true_weight`` (share of the stream among the stars at that
    phi1), ``true_<coordinate>`` and ``true_<coordinate>_sigma`` (centre and width of the stream at that phi1).
    """

    @abstractmethod
    def simulate(self) -> dict[str, Column]:
        """Columns by name, in the package's default units, all of one length."""


def simulated(simulator: Simulator) -> dict[str, Column]:
    """The stars of a simulator.

    Raises:
        InputError: If one of its settings is NaN, or it cannot make stars of them.
    """
    kind = type(simulator).__name__
    settings = {name: value for name, value in vars(simulator).items() if not name.startswith("_")}
    if odd := [name for name, value in settings.items() if _has_nan(value)]:
        raise InputError(f"{kind}: {odd[0]} = {settings[odd[0]]}; numbers are needed.")
    try:
        return simulator.simulate()
    except InputError:
        raise
    except (ArithmeticError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        says = " ".join(str(error).split())[:_SAID]
        plain = {name: value for name, value in settings.items() if isinstance(value, int | float | str | type(None))}
        raise InputError(f"{kind} cannot make stars with the settings {plain} ({says}).") from error


def _has_nan(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_nan, value))
    return isinstance(value, float) and math.isnan(value)


def check_shares(simulator: str, **shares: float) -> None:
    """Raise InputError if a share of a simulator is not in 0..1, one excluded."""
    if wrong := {name: share for name, share in shares.items() if not 0 <= share < 1}:
        raise InputError(f"the shares of {simulator} must be 0 or more and below 1; got {wrong}.")


def shuffled(
    samples: Iterable[tuple[str, Stars]], truth: Callable[[Stars], Stars], generator: torch.Generator
) -> dict[str, Column]:
    """The stars of every sample with their truth, in random order, as a simulator returns them.

    Arguments:
        samples: Component and stars, by column; all have the same columns.
        truth: Further columns of stars.
        generator: Source of the order.
    """
    components, tables = zip(*samples, strict=True)
    stars = {name: torch.cat([table[name] for table in tables]) for name in tables[0]}
    labels = np.repeat(components, [len(table["phi1"]) for table in tables])
    order = torch.randperm(len(labels), generator=generator)
    mixed = {name: column[order].numpy() for name, column in (stars | truth(stars)).items()}
    return {**mixed, "true_component": labels[order.numpy()]}


def kept_by_gaps(phi1: Tensor, gaps: Sequence[Gap]) -> Tensor:
    """Share of a stream's stars that Gaussian gaps leave at phi1.

    Arguments:
        phi1: Places [deg], shape (N,).
        gaps: (centre [deg], width [deg], depth in 0..1) of each gap.
    """
    share = torch.ones_like(phi1)
    for centre, width, depth in gaps:
        share = share * (1 - depth * (-0.5 * ((phi1 - centre) / width).square()).exp())
    return share


def interpolated(x: Tensor, nodes: Tensor, values: Tensor) -> Tensor:
    """Linear interpolation of each column of ``values``, (M, F), at ``x``, (N,), on the CPU; shape (N, F)."""
    columns = [torch.from_numpy(np.interp(x.numpy(), nodes.numpy(), column.numpy())) for column in values.T]
    return torch.stack(columns, -1)


def uniform(size: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draws between two numbers, shape (size,)."""
    return low + (high - low) * torch.rand(size, generator=generator, dtype=torch.float64)


def normal(size: int, generator: torch.Generator) -> Tensor:
    """Standard normal draws, shape (size,)."""
    return torch.randn(size, generator=generator, dtype=torch.float64)


def ln_binormal(x: Tensor, y: Tensor, var_x: Tensor, var_y: Tensor, cov: Tensor | float) -> Tensor:
    """Log density of a centred normal law in two dimensions, in nats; the arguments broadcast."""
    det = var_x * var_y - cov * cov
    square = (x.square() * var_y + y.square() * var_x - 2 * cov * x * y) / det
    return -0.5 * (square + det.log()) - _LN_2PI
