"""What every model is: data to named parameters, parameters and data to a log density."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.description import Described
from stream_mapper.errors import InputError
from stream_mapper.nn import GridFunction, OnGrid
from stream_mapper.params import ModelParameters
from stream_mapper.prior import Prior
from stream_mapper.utils import StandardScaler
from stream_mapper.windows import Bounds, Windows, overlap

Params = dict[str, Tensor]


class _Scoped(Params):
    """Parameters of one part; one that neither its network nor a hook set is an error of the input."""

    def __missing__(self, name: str) -> Tensor:
        raise InputError(
            f"no parameter {name!r} in a part that has {list(self)}: list it in the part's params, or set it by a hook."
        )


def scope(params: Mapping[str, Tensor], name: str) -> Params:
    """The parameters below ``name``, without that prefix."""
    prefix = f"{name}."
    return _Scoped({key[len(prefix) :]: value for key, value in params.items() if key.startswith(prefix)})


def rows_of(params: Params, data: Data, rows: Tensor) -> tuple[Params, Data]:
    """Some of the stars, and the parameters at them."""
    return _Scoped({name: value.expand(len(data))[rows] for name, value in params.items()}), data[rows]


def masked_sum(terms: Sequence[Tensor], where: Sequence[Tensor]) -> Tensor:
    """Sum of log densities (N,) over the coordinates that were measured."""
    kept = [torch.where(mask, term, 0.0) for term, mask in zip(terms, where, strict=True)]
    return torch.stack(kept).sum(0)


class Pretraining(Protocol):
    """What trains a density before the mixture."""

    def maximise(self, model: Model, stars: Data) -> None:
        """Bring the weights of a density to the highest mean log density of stars it has not seen.

        Arguments:
            model: The density; it has its scalers.
            stars: The stars, of which some are held out.
        """

    def held_out(self, stars: Data) -> Data:
        """Those of the same stars that `maximise` learns no weights from."""


class Learned(NamedTuple):
    """How the training of a density before the mixture went.

    Arguments:
        ln_p: Mean log density of held-out stars [nats].
        steps: Steps of the optimiser; zero of a density that takes none.
        curve: Loss, and mean log density of held-out stars [nats], of each epoch.
    """

    ln_p: float
    steps: int
    curve: Sequence[Sequence[float]] = ()


class Model(Described, nn.Module, ABC):
    """A density of some coordinates of a star, given its independent coordinates.

    Arguments:
        indep_coord_names: Coordinates the parameters depend on.
        coord_names: Coordinates the density is over.
        coord_bounds: Window of a coordinate, in its unit: an interval, or a window along the stream
            (:class:`stream_mapper.WindowAlong`); open where left out.
        priors: Log priors of the parameters, each counted once whatever the number of stars.

    Raises:
        InputError: If a bound is not an interval or bounds a coordinate the model does not have.
    """

    def __init__(
        self,
        *,
        indep_coord_names: Sequence[str] = ("phi1",),
        coord_names: Sequence[str],
        coord_bounds: Mapping[str, Bounds] | None = None,
        priors: Sequence[Prior] = (),
    ) -> None:
        super().__init__()
        self.indep_coord_names = tuple(indep_coord_names)
        self.coord_names = tuple(coord_names)
        self.windows = Windows(type(self).__name__, self.coord_names, self.indep_coord_names, coord_bounds or {})
        self.priors = nn.ModuleList(priors)

    @property
    def coord_bounds(self) -> dict[str, Bounds]:
        """Window of each coordinate that has one: an interval, or a window along the stream."""
        return self.windows.bounds()

    @abstractmethod
    def forward(self, data: Data) -> Params:
        """Parameters (N,) by dotted name; reads nothing but the independent coordinates."""

    @abstractmethod
    def ln_likelihood(self, params: Params, data: Data) -> Tensor:
        """Log density of each star, shape (N,), in nats, missing coordinates left out.

        Densities that are normalised over the window are -inf outside it; those that are not say so.
        """

    def ln_least(self, params: Params, data: Data) -> Tensor | None:  # noqa: ARG002
        """A lower limit of the log density of stars inside the window, (N,), in nats; None where none is quicker."""
        return None

    def ln_most(self, params: Params, data: Data) -> Tensor | None:  # noqa: ARG002
        """An upper limit of the log density of stars, (N,), in nats; None where none is quicker than the density."""
        return None

    def ln_draws(self, params: Params, data: Data) -> Tensor | None:  # noqa: ARG002
        """Log density of N stars under each of D draws of the parameters (D, N), in that shape, in nats.

        None where it is no quicker than one draw after the other.
        """
        return None

    @abstractmethod
    def simulate(self, params: Params, data: Data) -> dict[str, Tensor]:
        """One draw of each of the model's coordinates for each star, (N,) by name, errors and window included."""

    def sample(self, given: Data | Tensor, seed: int | None = None) -> Data:
        """Stars drawn from the model, one at each place.

        The memberships of the model that made the stars are the best that any method could give.

            >>> law = stream_mapper.builtin.Uniform(coord_names=["phi2"], coord_bounds={"phi2": (-1.0, 1.0)})
            >>> law.sample(torch.zeros(3), seed=0).names
            ('phi1', 'phi2')

        Arguments:
            given: Places, N of them: the independent coordinates and the columns of the errors that the model reads; or
                the one independent coordinate alone, shape (N,).
            seed: Seed of the draw; by default the state of torch's generator.

        Returns:
            ``given`` with the model's coordinates, in place of any it had; a mixture adds ``component``.

        Raises:
            InputError: If a column the model reads is missing, or a place is not known.
        """
        given = Data({self.indep_coord_names[0]: given}) if isinstance(given, Tensor) else given
        self._check_places(given)
        devices = [given.device] if given.device.type == "cuda" else []
        with torch.random.fork_rng(devices, enabled=seed is not None), torch.no_grad():
            if seed is not None:
                torch.manual_seed(seed)
            return given.with_columns(self.simulate(self(given), given))

    def _check_places(self, given: Data) -> None:
        needed = [name for name in dict.fromkeys(self.columns) if name not in self.coord_names]
        missing = [name for name in needed if name not in given]
        if missing:
            kind = type(self).__name__
            raise InputError(f"to sample, {kind} needs the columns {missing}; it was given {given.names}.")
        unknown = [name for name in needed if not bool(given.where[name].all())]
        if unknown:
            raise InputError(f"to sample, every star needs a place and its errors; some have no {unknown}.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the model reads, errors included."""
        return (*self.indep_coord_names, *self.coord_names, *self.error_names.values())

    def parts(self) -> list[Model]:
        """This model and every model inside it: those among its submodules, also in a ModuleDict or ModuleList."""
        return [self, *_models_in(self)]

    def held_priors(self) -> list[tuple[Model, Prior]]:
        """Every prior of this model and its parts, after the part that holds it."""
        return [(part, prior) for part in self.parts() for prior in part.priors if isinstance(prior, Prior)]

    def _constrained(self, params: Params, data: Data) -> Params:
        """The parameters after what this model's own priors force on them."""
        for prior in self.priors:
            params = prior.constrain(params, data)  # type: ignore[operator]
        return params

    def ln_prior(self) -> Tensor:
        """Log prior of the parameters, a scalar: the sum over this model and its parts."""
        terms: list[Tensor] = [prior(part) for part, prior in self.held_priors()]
        return sum(terms, torch.zeros(()))

    @property
    def has_footprint(self) -> bool:
        """Whether this density knows where the survey looked, and is normalised over that alone."""
        return False

    def ln_seen(self, params: Params, data: Data) -> Tensor:  # noqa: ARG002
        """Log probability that a star of this density is where the survey looked, at the place of each star, (N,).

        Zero for a density without a footprint; -inf where nothing was seen.
        """
        return torch.zeros(len(data), device=data.device)

    def in_window(self, data: Data) -> Tensor:
        """Whether every measured coordinate is inside the window of every part, shape (N,).

        A star without one of the coordinates a part depends on is nowhere along the stream, so it is not inside.
        """
        inside = torch.ones(len(data), dtype=torch.bool, device=data.device)
        for part in self.parts():
            inside &= part._in_own_window(data)
        return inside

    def _in_own_window(self, data: Data) -> Tensor:
        """Whether the star has a place and is inside the window of what this model itself is over, (N,)."""
        return data.where[self.indep_coord_names].all(-1) & self.windows.hold(data)

    @property
    def error_names(self) -> Mapping[str, str]:
        """Column of the measurement error of each of this model's own coordinates that has one."""
        return {}

    @property
    def joint_columns(self) -> tuple[tuple[str, ...], ...]:
        """Coordinates, and columns they need, that this model itself takes together or not at all."""
        return ()

    @property
    def optional_columns(self) -> tuple[str, ...]:
        """Columns of this model itself that a catalogue may lack altogether; none, unless a model says so."""
        return ()

    def curve(self) -> tuple[tuple[str, ...], Tensor] | None:
        """Where the stars of this model itself lie at distance modulus zero, for figures; nothing, unless it says so.

        Returns:
            Names of F magnitudes, blue to red, and values along the curve [mag], (M, F).
        """
        return None

    def pretrain(self, stars: Data, stage: Pretraining) -> None:
        """Learn this density itself from off-stream stars, before the mixture is trained; by default there is nothing.

        A density of a class with a ``pretrain`` of its own is trained first and then frozen, and is computed once a
        star.

        Arguments:
            stars: Stars inside the window that have every coordinate of this density.
            stage: What can train it by gradient descent.
        """

    def is_supported(self, stars: Data) -> Tensor:
        """Whether this density was taught by stars like each of these, (N,); all of them, unless a model says so."""
        return torch.ones(len(stars), dtype=torch.bool, device=stars.device)

    def measured(self, data: Data) -> Data:
        """The stars, each coordinate some part cannot take marked as missing for every part alike.

        A part cannot take a coordinate whose error is missing, nor one that goes together with a missing one.

        Without this a part that reads the error would drop the coordinate and one that does not would keep it, and
        their densities would be over different coordinates.
        """
        known: dict[str, Tensor] = {}
        parts = self.parts()
        for part in parts:
            for name, error in part.error_names.items():
                known[name] = known.get(name, data.where[name]) & data.where[error]
        for group in [group for part in parts for group in part.joint_columns]:
            whole = torch.stack([known.get(name, data.where[name]) for name in group]).all(0)
            known |= dict.fromkeys(group, whole)
        if not known:
            return data
        return data.with_columns({name: torch.where(mask, data[name], torch.nan) for name, mask in known.items()})

    def fit_scalers(self, data: Data) -> None:
        """Fit every scaler and grid that has no numbers yet, on the training stars."""
        for part in self.parts():
            part._fit_own_scaler(data)

    def _fit_own_scaler(self, data: Data) -> None:
        """Fit what this model itself holds."""


def is_pretrained(model: Model) -> bool:
    """Whether a density is trained before the mixture, and frozen: its class has a ``pretrain`` of its own."""
    return type(model).pretrain is not Model.pretrain


def windows_of(model: Model) -> dict[str, Bounds]:
    """The window of every coordinate of a model: where all its parts that have one overlap."""
    windows: dict[str, Bounds] = {}
    for part in model.parts():
        for name, bounds in part.coord_bounds.items():
            windows[name] = overlap(windows[name], bounds) if name in windows else bounds
    return windows


def _models_in(module: nn.Module) -> list[Model]:
    """The models inside a module; quicker than to ask all modules, of which most are layers of networks."""
    models: list[Model] = []
    for child in module.children():
        if isinstance(child, Model):
            models += child.parts()
        elif isinstance(child, nn.ModuleDict | nn.ModuleList):
            models += _models_in(child)
    return models


class ParametricModel(Model):
    """A model whose parameters are the outputs of one network of the independent coordinates.

    A network of one coordinate has a ``correction``: functions that are added to its outputs, which the end of a fit
    sets; see :mod:`stream_mapper.inference.ascent`.

    Arguments:
        net: Network (N, D) -> (N, F) of the D standardised independent coordinates, F the number of parameters;
            None for a model without parameters of its own.
        data_scaler: Scaler that has the independent coordinates; None for one fitted on the training stars.
        params: The parameters, in the order of the network's outputs.
        **kwargs: See :class:`Model`.

    Raises:
        InputError: If there are parameters and no network, or a network and no parameters.
    """

    def __init__(
        self,
        *,
        net: nn.Module | None = None,
        data_scaler: StandardScaler | None = None,
        params: ModelParameters | None = None,
        indep_coord_names: Sequence[str] = ("phi1",),
        coord_names: Sequence[str],
        coord_bounds: Mapping[str, Bounds] | None = None,
        priors: Sequence[Prior] = (),
    ) -> None:
        super().__init__(
            indep_coord_names=indep_coord_names, coord_names=coord_names, coord_bounds=coord_bounds, priors=priors
        )
        self.params = params or ModelParameters()
        if (net is None) != (len(self.params) == 0):
            raise InputError(
                f"{type(self).__name__}: a network and its parameters come together; got net={type(net).__name__} "
                f"and params {list(self.params.names)}."
            )
        self.net = net
        self.correction = (
            GridFunction(len(self.params)) if net is not None and len(self.indep_coord_names) == 1 else None
        )
        scaler = data_scaler or StandardScaler(self.indep_coord_names)
        self.indep_scaler = scaler[self.indep_coord_names]
        self._set_span()

    def forward(self, data: Data) -> Params:
        """Parameters (N,) by name."""
        if self.net is None:
            return {}
        raw = self.net(self.indep_scaler.transform(data[self.indep_coord_names]))
        if self.correction is not None and self.correction.is_set:
            raw = raw + self.correction(data[self.indep_coord_names[0]]).to(raw)
        values: Params = self.params(raw)
        return self._constrained(values, data)

    def _fit_own_scaler(self, data: Data) -> None:
        if not self.indep_scaler.fitted:
            self.indep_scaler.fit_(data)
        self._set_span()

    def _set_span(self) -> None:
        low, high = self.indep_scaler.low, self.indep_scaler.high
        if isinstance(self.net, OnGrid) and self.net.span is None and bool((low.isfinite() & (low < high)).all()):
            self.net.span = (
                self.indep_scaler.transform(low)[0].item(),
                self.indep_scaler.transform(high)[0].item(),
            )
