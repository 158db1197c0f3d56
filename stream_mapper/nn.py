"""Networks of the independent coordinate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stream_mapper.description import factory
from stream_mapper.errors import InputError, check_at_least, check_positive

_REACH = 3**0.5  # a uniform input ends this many standard deviations from its mean


class SharedDropout(nn.Module):
    """Dropout with one mask for all rows of a batch.

    A draw of the mask is then a draw of the whole function of phi1, as any integral along the stream needs; the
    expected training loss is that of ordinary dropout.

    Arguments:
        p: Probability of a zero, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise InputError(f"dropout must be in [0, 1); got {p}.")
        self.p = float(p)
        self.seed: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Mask the last axis; the identity in evaluation, unless inside :func:`draw`."""
        if self.p == 0 or (self.seed is None and not self.training):
            return x
        if self.seed is None:
            keep = torch.rand(x.shape[-1], device=x.device) >= self.p
        else:
            generator = torch.Generator().manual_seed(self.seed)
            keep = (torch.rand(x.shape[-1], generator=generator) >= self.p).to(x.device)
        return x * keep / (1 - self.p)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


def _dropouts(model: nn.Module) -> list[SharedDropout]:
    return [module for module in model.modules() if isinstance(module, SharedDropout) and module.p > 0]


def has_dropout(model: nn.Module) -> bool:
    """Whether draws of this model differ."""
    return bool(_dropouts(model))


@contextmanager
def draw(model: nn.Module, index: int) -> Iterator[None]:
    """Inside, every forward pass of ``model`` uses draw number ``index`` of its dropout masks.

    The same index gives the same masks for any batch, in any process.
    """
    layers = _dropouts(model)
    for i, layer in enumerate(layers):
        layer.seed = index * len(layers) + i
    try:
        yield
    finally:
        for layer in layers:
            layer.seed = None


class Perceptron(nn.Sequential):
    """Layers one after the other, which know how they were drawn; see :func:`sequential`."""

    gain = 1.0

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in self:
            redraw(layer)
        self.widen()

    def widen(self) -> None:
        """Bring the first layer, as drawn by torch, to its gain."""
        if self.gain != 1 and isinstance(first := self[0], nn.Linear):
            with torch.no_grad():
                first.weight.mul_(self.gain)
                first.bias.uniform_(-_REACH * self.gain, _REACH * self.gain)


def redraw(net: nn.Module) -> None:
    """Draw the initial weights of a network anew, where its layers are drawn; others keep their values."""
    reset = getattr(net, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    for child in net.children():
        redraw(child)


Activation = Literal["tanh", "silu", "gelu", "softplus", "elu", "relu"]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
    "relu": nn.ReLU,
}


@factory
def sequential(
    data: int,
    hidden_features: int,
    layers: int,
    features: int,
    dropout: float = 0.0,
    gain: float = 1.0,
    activation: Activation = "tanh",
) -> Perceptron:
    """A network of ``layers`` Linear layers, each but the last followed by an activation and Dropout.

    Arguments:
        data: Number of inputs (independent coordinates).
        hidden_features: Width of the hidden layers.
        layers: Number of Linear layers, the last one included: 1 is one linear map from inputs to outputs, and
            ``layers - 1`` layers are hidden.
        features: Number of outputs, one a parameter.
        dropout: Probability of a zero in each hidden layer; the mask is shared by the rows of a batch.
        gain: Factor on the initial weights of the first layer, whose biases then spread over the range of the inputs.
            With one, the network starts as a smooth function; it finds features much narrower than the standard
            deviation of the inputs, such as gaps, when started with about one over their relative width.
        activation: Function after each hidden layer, by name. With "relu" the outputs are straight lines between kinks.

    Raises:
        InputError: If there is no layer, the gain is not positive, or the activation is not known.
    """
    check_at_least("the number of layers of a network", layers)
    if not 0 < gain < math.inf:
        raise InputError(f"the gain of a network must be positive; got {gain}.")
    check_at_least("the inputs of a network", data)
    check_at_least("the outputs of a network", features)
    check_at_least("the hidden features of a network", hidden_features)
    made = activation_of(activation)
    widths = [data] + [hidden_features] * (layers - 1)
    hidden = [module for a, b in pairwise(widths) for module in (nn.Linear(a, b), made(), SharedDropout(dropout))]
    net = Perceptron(*hidden)
    net.gain = gain if hidden else 1.0
    net.widen()
    net.append(nn.Linear(widths[-1], features))
    return net


def activation_of(name: str) -> Callable[[], nn.Module]:
    """What makes the activation of a name.

    Raises:
        InputError: If no activation has it.
    """
    if name not in _ACTIVATIONS:
        raise InputError(f"the activation of a network is one of {list(_ACTIVATIONS)}; got {name!r}.")
    return _ACTIVATIONS[name]


class Constant(nn.Module):
    """Outputs that do not depend on the input.

    Arguments:
        features: Number of outputs.
        scale: Outputs of a value of one. A step of Adam moves each weight alike, so an output that is the sum of many
            moves many times as far as a constant of scale one.

    Raises:
        InputError: If the scale is not positive.
    """

    def __init__(self, features: int, scale: float = 1.0) -> None:
        super().__init__()
        check_positive("the scale of a Constant", scale)
        self.features, self.scale = features, float(scale)
        self.value = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """The value times the scale, once a row."""
        return (self.scale * self.value).expand(*x.shape[:-1], -1)


def grid_position(x: Tensor, span: tuple[float, float] | Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where each x (N,) lies on a grid: the node to its left, and its distance from it in steps, in [0, 1].

    Beyond the ends of the grid it is the end; the distance of a NaN is NaN.
    """
    low, high = span
    position = (x.clamp(low, high) - low) * ((size - 1) / (high - low))
    left = position.detach().long().clamp(0, size - 2)
    return left, position - left


class GridFunction(nn.Module):
    """Functions of one coordinate, linear between the nodes of a grid; nothing until they are set.

        >>> function = GridFunction(features=1)
        >>> function.set(torch.tensor([[0.0, 1.0]]), (-10.0, 10.0))
        >>> function(torch.tensor([-10.0, 0.0, 30.0]))[:, 0]
        tensor([0.0000, 0.5000, 1.0000])

    Arguments:
        features: Number of functions, F.
    """

    values: Tensor
    ends: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(features, 0))
        self.register_buffer("ends", torch.full((2,), torch.nan))

    @property
    def is_set(self) -> bool:
        """Whether there are functions."""
        return self.values.shape[-1] > 0

    def set(self, values: Tensor, ends: tuple[float, float]) -> None:
        """Take the values (F, G) at nodes from one end to the other, in the coordinate's unit."""
        self.values = values.to(self.values)
        self.ends.copy_(torch.tensor(ends))

    def forward(self, x: Tensor) -> Tensor:
        """Values (N, F) at places x (N,), in the coordinate's unit."""
        left, weight = grid_position(x.to(self.ends), self.ends, self.values.shape[-1])
        first, last = self.values.index_select(1, left), self.values.index_select(1, left + 1)
        return torch.lerp(first, last, weight).T

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Take functions on a grid of any size."""
        values = state_dict.get(f"{prefix}values")
        if values is not None and values.shape[:1] == self.values.shape[:1]:
            self.values = self.values.new_zeros(values.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class OnGrid(nn.Module):
    """A network of one input, evaluated on a grid and interpolated linearly.

    The cost of the network does not grow with the number of stars. Beyond the ends of the grid the output is that of
    the end. Until the span is known the network is evaluated at every row.

    Arguments:
        net: Network (M, 1) -> (M, F).
        size: Number of nodes of the grid.
        span: First and last node, in the unit of the network's input; by default the range of the training stars.
        scale: Scale on which the outputs vary, in the unit of the coordinate, such as deg; by default the end of a fit
            infers it. It is that of the prior of the outputs; see :class:`stream_mapper.inference.kernels.Kernel`.

    Raises:
        InputError: If the grid has fewer than two nodes, or the scale is not positive.
    """

    ends: Tensor

    def __init__(
        self, net: nn.Module, size: int = 256, span: tuple[float, float] | None = None, scale: float | None = None
    ) -> None:
        super().__init__()
        if size < 2:
            raise InputError(f"a grid needs at least 2 nodes; got {size}.")
        if scale is not None:
            check_positive("the scale of a grid", scale)
        self.net, self.size, self.scale = net, size, scale
        self.register_buffer("ends", torch.full((2,), torch.nan))
        self.span = span

    @property
    def span(self) -> tuple[float, float] | None:
        """First and last node, None until they are known; the state has them as ``ends``, NaN until then.

        They are kept as numbers too, so that no step waits for a GPU to tell them.
        """
        return self._span

    @span.setter
    def span(self, span: tuple[float, float] | None) -> None:
        ends = torch.tensor(span or (math.nan, math.nan), dtype=self.ends.dtype)
        self.ends.copy_(ends)
        self._span = _known(ends)

    def forward(self, x: Tensor) -> Tensor:
        """Interpolated outputs (N, F) at inputs (N, 1)."""
        if self.span is None:
            return self.net(x)
        nodes = torch.linspace(*self.span, self.size, device=x.device, dtype=x.dtype)
        values = self.net(nodes[:, None])
        left, weight = grid_position(x[:, 0], self.span, self.size)
        return torch.lerp(values.index_select(0, left), values.index_select(0, left + 1), weight[:, None])

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._span = _known(self.ends)


def _known(ends: Tensor) -> tuple[float, float] | None:
    """The ends of a grid as numbers; None if they are NaN."""
    low, high = ends.tolist()
    return None if math.isnan(low) or math.isnan(high) else (low, high)


def on_grid(
    net: nn.Module, size: int = 256, span: tuple[float, float] | None = None, scale: float | None = None
) -> OnGrid:
    """Evaluate ``net`` on a grid of its one input and interpolate; see :class:`OnGrid`."""
    return OnGrid(net, size, span, scale)
