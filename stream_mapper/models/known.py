"""Densities of stars that are known beforehand, beside the stars they are of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import torch
from torch import Tensor

from stream_mapper.data import Data, Rows


@dataclass(frozen=True)
class KnownDensities:
    """Log densities of N stars that a model takes instead of computing them.

    A density is named as its parameters are: by the dotted path of components from the model that is handed this, such
    as ``background.photometric``; the model itself is ``""``.

        >>> known = KnownDensities(frozen={"background.flow": torch.tensor([-1.0, -2.0])})
        >>> known.below("background")[1:].frozen
        {'flow': tensor([-2.])}

    Arguments:
        frozen: Log densities of every star, (N,), by name: of densities that are no longer trained.
        skipped: Log densities of the stars for which a component of the model cannot matter, (N,), by component; NaN
            for the others, whose density is to be computed. Of K fits side by side, (N, K).
        seen: Log probabilities, (N,), by name, that a star of a frozen density with a footprint is where the survey
            looked at the place of each star.
        differences: Of densities among ``frozen`` that were trained again on resampled stars, what each copy's log
            density is above that of the density itself, (N, R), by name.
    """

    frozen: Mapping[str, Tensor] = field(default_factory=dict)
    skipped: Mapping[str, Tensor] = field(default_factory=dict)
    seen: Mapping[str, Tensor] = field(default_factory=dict)
    differences: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def cat(cls, blocks: Sequence[KnownDensities]) -> KnownDensities:
        """What is known of several tables, one after the other."""
        first, *_ = blocks
        return cls(
            {name: torch.cat([block.frozen[name] for block in blocks]) for name in first.frozen},
            {name: torch.cat([block.skipped[name] for block in blocks]) for name in first.skipped},
            {name: torch.cat([block.seen[name] for block in blocks]) for name in first.seen},
            {name: torch.cat([block.differences[name] for block in blocks]) for name in first.differences},
        )

    def __bool__(self) -> bool:
        return bool(self.frozen or self.skipped or self.seen)

    def __getitem__(self, rows: Rows) -> KnownDensities:
        return self._mapped(lambda values: values[rows])

    def to(self, device: torch.device | str) -> KnownDensities:
        """The same numbers on another device."""
        return self._mapped(lambda values: values.to(device))

    def below(self, component: str) -> KnownDensities:
        """What is known of the parts of a component, by the names they have there."""
        return KnownDensities(_below(component, self.frozen), {}, _below(component, self.seen))

    def with_skipped(self, skipped: Mapping[str, Tensor]) -> KnownDensities:
        """The frozen densities, with these of components that need not be computed, in place of any before."""
        return replace(self, skipped=skipped)

    def with_frozen(self, frozen: Mapping[str, Tensor]) -> KnownDensities:
        """The same, with more densities."""
        return replace(self, frozen={**self.frozen, **frozen})

    def with_differences(self, differences: Mapping[str, Tensor]) -> KnownDensities:
        """The same, with the differences of the densities' copies."""
        return replace(self, differences=differences)

    def blended(self, shares: Tensor) -> KnownDensities:
        """The same, with a share (R,) of each copy's difference in every frozen density that has copies."""
        moved = {name: d @ shares.to(d) for name, d in self.differences.items()}
        frozen = {name: values + moved[name] if name in moved else values for name, values in self.frozen.items()}
        return replace(self, frozen=frozen, differences={})

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> KnownDensities:
        return KnownDensities(
            {name: change(values) for name, values in self.frozen.items()},
            {name: change(values) for name, values in self.skipped.items()},
            {name: change(values) for name, values in self.seen.items()},
            {name: change(values) for name, values in self.differences.items()},
        )


def _below(component: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{component}."
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Batch:
    """Stars, with what is known of their densities: they are cut, moved and put together as one.

    Arguments:
        stars: N stars.
        known: What is known of them; nothing by default.
    """

    stars: Data
    known: KnownDensities = field(default_factory=KnownDensities)

    @classmethod
    def cat(cls, batches: Sequence[Batch]) -> Batch:
        """The stars of several batches, in order."""
        stars = Data.cat([batch.stars for batch in batches])
        return cls(stars, KnownDensities.cat([batch.known for batch in batches]))

    def __len__(self) -> int:
        return len(self.stars)

    @overload
    def __getitem__(self, item: str) -> Tensor: ...
    @overload
    def __getitem__(self, item: Rows) -> Batch: ...
    def __getitem__(self, item: str | Rows) -> Tensor | Batch:
        """A column of the stars by its name, or some of the stars."""
        return self.stars[item] if isinstance(item, str) else Batch(self.stars[item], self.known[item])

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        return Batch(self.stars.to(device), self.known.to(device))

    def split(self, size: int) -> list[Batch]:
        """The stars in order, ``size`` at a time; no stars are one batch."""
        return [self[i : i + size] for i in range(0, max(len(self), 1), size)]
