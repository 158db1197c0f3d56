"""Where a component of a mixture begins and ends, and how sharply."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from stream_mapper.description import Described
from stream_mapper.errors import InputError
from stream_mapper.models.base import Params
from stream_mapper.models.weights import WeightParameters
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameters
from stream_mapper.utils import StandardScaler

Interval = tuple[float, float]

_SCALE = 5.0  # of the constants: a step of the optimiser then moves them about as far as the output of a network
_START_OF_WIDTH = 1.0  # before the bounds: wide edges find their places from further away


class Ends(Described):
    r"""Where a component begins and ends along the independent coordinate, and how sharply: what is to be fitted.

    The weight f that the network proposes is multiplied by
    :math:`1 / (1 + e^{-(\phi_1 - b) / w})` for a beginning at b with an edge of width w, and likewise for an end. From
    a tenth to nine tenths of f are 4.4 w.

        >>> Ends(begin=(-30, -10)).intervals("stream")["stream.begin"]
        (-30.0, -10.0)

    Arguments:
        begin: Interval in which the component begins, in the unit of the coordinate; None if it does not begin in the
            field. The fit starts from its middle.
        end: Interval in which it ends; None if it does not.
        width: Interval of the widths w of the edges.

    Raises:
        InputError: If there is neither a beginning nor an end, an interval is empty, the beginning may lie past the
            end, or a width is not positive.
    """

    def __init__(
        self, begin: Interval | None = None, end: Interval | None = None, width: Interval = (0.05, 3.0)
    ) -> None:
        self.places = {
            side: _interval(side, given) for side, given in (("begin", begin), ("end", end)) if given is not None
        }
        self.width = _interval("width", width)
        if not self.places:
            raise InputError("Ends needs begin or end, an interval of places; got neither.")
        if self.width[0] <= 0:
            raise InputError(f"Ends: width must be an interval above zero; got {list(self.width)}.")
        if len(self.places) == 2 and self.places["begin"][1] > self.places["end"][0]:
            given = " and ".join(f"{side} {list(interval)}" for side, interval in self.places.items())
            raise InputError(f"Ends: the interval of begin must lie below that of end; got {given}.")

    def intervals(self, component: str) -> dict[str, Interval]:
        """Interval of each parameter by name: ``stream.begin``, ``stream.ln-begin-width`` and so on."""
        ln_width = (math.log(self.width[0]), math.log(self.width[1]))
        places = {f"{component}.{side}": interval for side, interval in self.places.items()}
        return places | {f"{component}.ln-{side}-width": ln_width for side in self.places}

    def ln_share(self, params: Params, component: str, at: Tensor) -> Tensor:
        """Log of the share of the proposed weight that is left at each place, (N,).

        Arguments:
            params: The parameters of the mixture, (N,) by name.
            component: The component.
            at: Places, (N,).
        """
        out = torch.zeros_like(at)
        for side, sign in (("begin", 1.0), ("end", -1.0)):
            if side in self.places:
                inwards = sign * (at - params[f"{component}.{side}"])
                out = out + logsigmoid(inwards * (-params[f"{component}.ln-{side}-width"]).exp())
        return out


def parameters_of(
    ends: Mapping[str, Ends], data_scaler: StandardScaler | None, indep_coord_names: Sequence[str]
) -> WeightParameters:
    """The parameters of the ends of some components, each a constant, at the start of a fit."""
    intervals = {name: interval for q, one in ends.items() for name, interval in one.intervals(q).items()}
    return WeightParameters(
        net=_Starts([name.endswith("-width") for name in intervals]) if intervals else None,
        data_scaler=data_scaler,
        params=ModelParameters(intervals),
        indep_coord_names=indep_coord_names,
        coord_names=(),
    )


class _Starts(Constant):
    """Constants that start in the middle of their intervals, or, drawn anew, anywhere in the middle half of those.

    Arguments:
        of_width: Of each output, whether it is a width's and not a place's.
    """

    def __init__(self, of_width: Sequence[bool]) -> None:
        super().__init__(len(of_width), scale=_SCALE)
        self.of_width = tuple(of_width)
        self.value.data.copy_(torch.tensor(self.of_width) * (_START_OF_WIDTH / _SCALE))

    def reset_parameters(self) -> None:
        """Draw the places anew: other fits of an ensemble come from other sides."""
        places = torch.empty(len(self.of_width)).uniform_(0.25, 0.75).logit() / _SCALE
        self.value.data.copy_(torch.where(torch.tensor(self.of_width), self.value.data.cpu(), places))


def _interval(name: str, given: Interval) -> Interval:
    low, high = (float(edge) for edge in given)
    if not -math.inf < low < high < math.inf:
        raise InputError(f"Ends: {name} must be an interval, lower < upper; got {list(given)}.")
    return low, high
