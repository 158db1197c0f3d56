"""Isochrones of one library at several metallicities and ages, between which a fit may choose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stream_mapper.builtin.isochrone.curve import Bands, Isochrone
from stream_mapper.builtin.isochrone.placement import place_together
from stream_mapper.builtin.isochrone.points import MassRange, Stop
from stream_mapper.description import Described
from stream_mapper.errors import InputError
from stream_mapper.paths import FilePath

Array = NDArray[np.float64]


class IsochroneGrid(Described, nn.Module):
    """Isochrones on a grid of [Fe/H] and age; a star's isochrone lies between those about its parameters.

    Points of different isochrones go together that have the same phase (``Isochrone.phase``, which MIST, Dartmouth,
    PARSEC and BaSTI tell), or, where none has phases and all have as many points, the same number. The part of life
    that not all isochrones have is left out.

        >>> curves = [Isochrone([0.5, m], [[8.0], [2.0 + m]], ("g",)) for m in (0.8, 0.9)]
        >>> IsochroneGrid(curves, feh=[-1.5, -2.0]).axes
        {'feh': [-2.0, -1.5]}

    Arguments:
        isochrones: The isochrones, in any order, all of the same bands.
        feh: [Fe/H] of each [dex]; None if it is the same for all.
        age: Age of each [Gyr]; None if it is the same for all.

    Raises:
        InputError: If the labels are not as many as the isochrones or no grid, or the isochrones do not fit together.
    """

    def __init__(
        self,
        isochrones: Sequence[Isochrone],
        feh: Sequence[float] | None = None,
        age: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        labels = {name: given for name, given in (("feh", feh), ("age", age)) if given is not None}
        if any(len(given) != len(isochrones) for given in labels.values()):
            raise InputError(
                f"IsochroneGrid: {len(isochrones)} isochrones need a label each; got "
                f"{ {name: len(given) for name, given in labels.items()} }."
            )
        values = {name: sorted({float(x) for x in given}) for name, given in labels.items()}
        self.axes = {name: nodes for name, nodes in values.items() if len(nodes) > 1}
        self.isochrones = nn.ModuleList(isochrones[i] for i in self._order(labels, len(isochrones)))
        self._check()

    @classmethod
    def mist(
        cls,
        age: Sequence[float],
        feh: Sequence[float],
        bands: Bands,
        *,
        mass_range: MassRange | None = None,
        stop: Stop = "rgb_tip",
        folder: FilePath | None = None,
    ) -> IsochroneGrid:
        """Isochrones of MIST at each of some ages [Gyr] and each of some [Fe/H]; arguments as of `Isochrone.mist`."""
        pairs = [(a, z) for a in age for z in feh]
        curves = [Isochrone.mist(a, z, bands, mass_range=mass_range, stop=stop, folder=folder) for a, z in pairs]
        return cls(curves, feh=[z for _, z in pairs], age=[a for a, _ in pairs])

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the columns of all isochrones."""
        return self.curves[0].bands

    @property
    def has_masses(self) -> bool:
        """Whether the initial masses are known."""
        return self.curves[0].has_masses

    @property
    def curves(self) -> list[Isochrone]:
        """The isochrones, by [Fe/H] and then by age."""
        return list(self.isochrones)  # type: ignore[arg-type]

    def aligned(self) -> list[Isochrone]:
        """The isochrones with points of the same phases, in the order of `curves`."""
        phases = self._phases()
        low, high = max(p[0] for p in phases), min(p[-1] for p in phases)
        middle = phases[len(phases) // 2]
        common = np.unique([low, *middle[(middle > low) & (middle < high)], high])
        if not low < high:
            raise InputError(f"IsochroneGrid: the isochrones share no phase; they begin and end at {_ends(phases)}.")
        return [_at(curve, phase, common) for curve, phase in zip(self.curves, phases, strict=True)]

    def nodes(self, segments: int) -> list[Isochrone]:
        """Each of the `aligned` isochrones thinned to at most ``segments`` pieces, which go together."""
        curves = self.aligned()
        masses, magnitudes = ([b.double().cpu().numpy() for b in column] for column in _columns(curves))
        thinned = place_together(masses, magnitudes, segments)
        return [_made(c, *arrays) for c, arrays in zip(curves, thinned, strict=True)]

    def extra_repr(self) -> str:
        """Size, bands and ranges."""
        ranges = [f"{name} {nodes[0]:g} to {nodes[-1]:g}" for name, nodes in self.axes.items()]
        return ", ".join([f"{len(self.isochrones)} isochrones", f"bands={self.bands}", *ranges])

    def _order(self, labels: dict[str, Sequence[float]], count: int) -> list[int]:
        """The isochrones' places in the order of the grid, the last axis running fastest."""
        places = [tuple(self.axes[name].index(float(labels[name][i])) for name in self.axes) for i in range(count)]
        size = int(np.prod([len(nodes) for nodes in self.axes.values()]))
        if not self.axes or len(set(places)) != count or size != count:
            raise InputError(
                f"IsochroneGrid needs one isochrone for each [Fe/H] and age, two or more; got {count} for {self.axes}."
            )
        return sorted(range(count), key=places.__getitem__)

    def _phases(self) -> list[Array]:
        phases = [curve.phase for curve in self.curves]
        if all(phase is not None for phase in phases):
            return [phase.double().cpu().numpy() for phase in phases if phase is not None]
        sizes = [len(curve.mass) for curve in self.curves]
        if any(phase is not None for phase in phases) or len(set(sizes)) > 1:
            raise InputError(
                "IsochroneGrid: the isochrones need phases, all of them, or equally many points; "
                f"found phases of {sum(p is not None for p in phases)} of {len(phases)} and {sizes} points."
            )
        return [np.arange(size, dtype=np.float64) for size in sizes]

    def _check(self) -> None:
        kinds = {(curve.bands, curve.has_masses) for curve in self.curves}
        if len(kinds) > 1:
            raise InputError(f"IsochroneGrid: all isochrones need the same bands, and masses or none; found {kinds}.")
        self.aligned()


def _columns(curves: Sequence[Isochrone]) -> tuple[list[Tensor], list[Tensor]]:
    return [curve.mass for curve in curves], [curve.magnitudes for curve in curves]


def _at(curve: Isochrone, phase: Array, common: Array) -> Isochrone:
    """An isochrone at some phases."""
    columns = [c.double().cpu().numpy() for c in (curve.mass, *curve.magnitudes.unbind(-1))]
    mass, *bands = (np.interp(common, phase, column) for column in columns)
    return _made(curve, mass, np.stack(bands, -1))


def _made(like: Isochrone, mass: Array, magnitudes: Array) -> Isochrone:
    """An isochrone of the bands of another; one without masses keeps the lengths that stand for them."""
    made = type(like)(torch.from_numpy(mass) if like.has_masses else None, torch.from_numpy(magnitudes), like.bands)
    made.mass = torch.from_numpy(mass)
    return made


def _ends(phases: Sequence[Array]) -> list[tuple[float, float]]:
    return [(float(p[0]), float(p[-1])) for p in phases]
