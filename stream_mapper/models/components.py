"""What the models made of models share, and how they take densities that are known beforehand."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.models.base import Model, Params, is_pretrained, rows_of, scope
from stream_mapper.models.known import Batch, KnownDensities
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

    def __getitem__(self, path: str) -> Model:
        """A part by its name, or a part of a part by their names with dots between.

            >>> sky = stream_mapper.builtin.Uniform(coord_names=["phi2"], coord_bounds={"phi2": (-1.0, 1.0)})
            >>> stream_mapper.IndependentModels({"sky": sky})["sky"].coord_names
            ('phi2',)

        Raises:
            InputError: If there is no such part.
        """
        name, _, rest = path.partition(".")
        part = self.components.get(name)
        if part is None:
            raise InputError(f"no component {name!r}; this {type(self).__name__} has {list(self.components)}.")
        if rest and not isinstance(part, ComponentModel):
            raise InputError(f"the component {name!r} is a {type(part).__name__}, which has no part {rest!r}.")
        return part[rest] if rest else part  # type: ignore[index]

    def __contains__(self, name: object) -> bool:
        return name in self.components

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the parts read, errors included."""
        return tuple(
            dict.fromkeys((*super().columns, *(name for model in self.components.values() for name in model.columns)))
        )

    @abstractmethod
    def ln_likelihood(self, params: Params, data: Data, known: KnownDensities | None = None) -> Tensor:
        """Log density of each star, shape (N,), in nats, computed as far as it is not known."""

    @abstractmethod
    def ln_seen(self, params: Params, data: Data, known: KnownDensities | None = None) -> Tensor:
        """Log probability that a star is where the survey looked, (N,), computed as far as it is not known."""

    def ln_seen_component(self, name: str, params: Params, data: Data, known: KnownDensities | None = None) -> Tensor:
        """Log probability that a star of a part is where the survey looked, (N,); arguments as of `ln_component`."""
        model, scoped = self.components[name], scope(params, name)
        if known and name in known.seen:
            return known.seen[name]
        if known and isinstance(model, ComponentModel):
            return model.ln_seen(scoped, data, known.below(name))
        return model.ln_seen(scoped, data)

    def component_params(self, data: Data) -> Params:
        """Parameters of every part, prefixed by its name."""
        return {f"{q}.{name}": value for q, model in self.components.items() for name, value in model(data).items()}

    def ln_component(self, name: str, params: Params, data: Data, known: KnownDensities | None = None) -> Tensor:
        """Log density of a part, (N,), in nats; computed as far as it is not known.

        Arguments:
            name: The part.
            params: Parameters of this model.
            data: N stars.
            known: What is known of their densities, named from this model.
        """
        model, scoped = self.components[name], scope(params, name)
        if not known:
            return model.ln_likelihood(scoped, data)
        if name in known.frozen:
            return known.frozen[name]
        batch = Batch(data, known.below(name))
        if name in known.skipped:
            return _ln_unskipped(model, scoped, batch, known.skipped[name])
        return ln_density(model, scoped, batch)


def part_name(path: str) -> str:
    """The name of a part, or of what is in it, by the path of its module.

    >>> part_name("_components.stream._components.sky.net")
    'stream.sky.net'
    """
    return path.replace("_components.", "")


def ln_density(model: Model, params: Params, batch: Batch) -> Tensor:
    """Log density of stars by a model, (N,), in nats, with what is known of them."""
    if "" in batch.known.frozen:
        return batch.known.frozen[""]
    if batch.known and isinstance(model, ComponentModel):
        return model.ln_likelihood(params, batch.stars, batch.known)
    return model.ln_likelihood(params, batch.stars)


def frozen_parts(model: Model, path: str = "") -> dict[str, Model]:
    """The densities in a model, by their names in `KnownDensities`, that are trained beforehand."""
    frozen = {path: model} if is_pretrained(model) else {}
    for name, part in model.components.items() if isinstance(model, ComponentModel) else ():
        frozen |= frozen_parts(part, f"{path}.{name}" if path else name)
    return frozen


def undivided_parts(model: Model, path: str = "") -> dict[str, Model]:
    """The densities in a model that are not made of others, by their names in `KnownDensities`."""
    if not isinstance(model, ComponentModel):
        return {path: model}
    found: dict[str, Model] = {}
    for name, part in model.components.items():
        found |= undivided_parts(part, f"{path}.{name}" if path else name)
    return found


def _ln_unskipped(model: Model, params: Params, batch: Batch, skipped: Tensor) -> Tensor:
    """Log density of a component (N,), computed for the stars for which it is not skipped."""
    rows = skipped.isnan().nonzero()[:, 0]
    params, stars = rows_of(params, batch.stars, rows)
    ln_p = ln_density(model, params, Batch(stars, batch.known[rows]))
    return skipped.to(ln_p.dtype).index_put((rows,), ln_p)
