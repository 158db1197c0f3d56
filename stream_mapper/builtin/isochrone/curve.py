"""A stellar isochrone as a curve in magnitude space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stream_mapper.builtin.isochrone import readers
from stream_mapper.builtin.isochrone.placement import place
from stream_mapper.errors import InputError

Bands = Mapping[str, str] | Sequence[str]
MassRange = tuple[float, float]


class Isochrone(nn.Module):
    """Absolute magnitudes of stars of one age and composition, along initial mass; linear between its points.

        >>> curve = Isochrone([0.5, 0.8], [[8.0, 7.5], [4.0, 3.8]], ("g", "r"))
        >>> curve
        Isochrone(2 points, bands=('g', 'r'), mass 0.5 to 0.8)

    The buffers keep the precision of what is given (the readers give float64): a red-giant branch spans some 0.003
    solar masses, which float32 would resolve to a few per cent only between neighbouring points.

    Arguments:
        mass: Initial masses, strictly increasing along the curve, shape (M,), in solar masses.
        magnitudes: Absolute magnitudes, shape (M, F); a colour may stand in for a magnitude.
        bands: Names of the F columns.

    Raises:
        InputError: If the shapes do not fit, a number is not finite or the masses do not increase.
    """

    mass: Tensor
    magnitudes: Tensor

    def __init__(
        self, mass: Tensor | Sequence[float], magnitudes: Tensor | Sequence[Sequence[float]], bands: Sequence[str]
    ) -> None:
        super().__init__()
        self.bands = (bands,) if isinstance(bands, str) else tuple(bands)
        self.register_buffer("mass", _floating(mass))
        self.register_buffer("magnitudes", _floating(magnitudes))
        self._check()

    @classmethod
    def read_mist(
        cls,
        path: str | Path,
        bands: Bands,
        *,
        log_age: float | None = None,
        mass_range: MassRange | None = None,
        stop: Literal["rgb_tip"] | None = "rgb_tip",
    ) -> Isochrone:
        """Curve from a MIST ``.iso.cmd`` file (Dotter 2016, ApJS 222, 8; Choi et al. 2016, ApJ 823, 102).

        Arguments:
            path: The file.
            bands: Columns of the file, as ``("PS_g", "PS_r")``, or our names for them, as ``{"g": "PS_g"}``.
            log_age: log10(age / yr), needed if the file holds several ages.
            mass_range: Keep these initial masses only, in solar masses.
            stop: "rgb_tip" ends at the tip of the red-giant branch (EEP 605); None keeps every stage.

        Raises:
            InputError: If the file cannot be used; the message says why.
        """
        table = readers.read_mist(Path(path), log_age)
        return cls._from_table(table, bands, mass_range, stop)

    @classmethod
    def read_parsec(
        cls,
        path: str | Path,
        bands: Bands,
        *,
        log_age: float | None = None,
        mass_range: MassRange | None = None,
        stop: Literal["rgb_tip"] | None = "rgb_tip",
    ) -> Isochrone:
        """Curve from a table of the PARSEC web service, CMD 3 (Bressan et al. 2012, MNRAS 427, 127).

        Arguments and errors as in `read_mist`, but that bands are called as ``("gmag", "rmag")`` or ``("Gmag",
        "G_BPmag")``, and that "rgb_tip" is the last row before stage label 4. Of rows that share a mass the first is
        kept: masses are printed with few digits.
        """
        table = readers.read_parsec(Path(path), log_age)
        return cls._from_table(table, bands, mass_range, stop)

    @classmethod
    def synthetic(cls, bands: Sequence[str] = ("g", "r"), points: int = 400) -> Isochrone:
        """A smooth curve that looks like an old, metal-poor population; it is no stellar model.

        A few elementary functions of M_g, chosen by eye, make a main sequence from 0.2 solar masses (M_g = 10)
        to a turn-off at 0.8 (M_g = 4.1, g - r = 0.23), a subgiant branch and a giant branch up to M_g = -2. Like in
        a real isochrone, all evolved stars share a narrow range of mass. Use it in tests and mock streams only.

        Arguments:
            bands: Any of g, r and i.
            points: Number of points M, evenly spaced in M_g.

        Raises:
            InputError: If a band is not one of the three.
        """
        names = (bands,) if isinstance(bands, str) else tuple(bands)
        g = np.linspace(10.0, -2.0, points)
        columns = _synthetic_magnitudes(g)
        unknown = [name for name in names if name not in columns]
        if unknown:
            raise InputError(f"the synthetic isochrone has no band {unknown}; it has {list(columns)}.")
        magnitudes = np.stack([columns[name] for name in names], axis=-1)
        return cls(torch.from_numpy(_synthetic_mass(g)), torch.from_numpy(magnitudes), names)

    def nodes(self, segments: int) -> Isochrone:
        """The curve thinned to at most ``segments`` straight pieces, for `ln_isochrone`.

        The nodes lie where the curve bends and where the density of stars changes (see `placement.place`), and
        within a small part of a bend's depth of the curve. Points that repeat their neighbour's magnitudes are dropped,
        and their mass goes to the neighbouring segments.

        Arguments:
            segments: Number of pieces K; the result has K + 1 points, or fewer if the curve does.
        """
        if segments < 1:
            raise InputError(f"an isochrone needs at least one segment; asked for {segments}.")
        mass, magnitudes = (b.detach().double().cpu().numpy() for b in (self.mass, self.magnitudes))
        m, x = (torch.from_numpy(values).to(self.mass) for values in place(mass, magnitudes, segments))
        return Isochrone(m, x, self.bands)

    def extra_repr(self) -> str:
        """Size, bands and range of mass."""
        low, high = self.mass[0].item(), self.mass[-1].item()
        return f"{len(self.mass)} points, bands={self.bands}, mass {low:.3g} to {high:.3g}"

    @classmethod
    def _from_table(
        cls, table: readers.Table, bands: Bands, mass_range: MassRange | None, stop: str | None
    ) -> Isochrone:
        if stop not in (None, "rgb_tip"):
            raise InputError(f"stop must be 'rgb_tip' or None; found {stop!r}.")
        columns = readers.band_columns(bands)
        rows = table.before_tip() if stop else table
        rows = rows.in_mass_range(mass_range) if mass_range else rows
        magnitudes = np.stack([rows.column(name) for name in columns.values()], axis=-1)
        return cls(torch.from_numpy(rows.mass.copy()), torch.from_numpy(magnitudes), tuple(columns))

    def _check(self) -> None:
        size, bands = len(self.mass), len(self.bands)
        if self.mass.ndim != 1 or size < 2 or self.magnitudes.shape != (size, bands):
            raise InputError(
                f"an isochrone needs M >= 2 masses and (M, {bands}) magnitudes for the bands {self.bands}; "
                f"found {tuple(self.mass.shape)} and {tuple(self.magnitudes.shape)}."
            )
        if not bool(self.mass.isfinite().all() and self.magnitudes.isfinite().all() and (self.mass > 0).all()):
            raise InputError("an isochrone needs positive masses and finite numbers; found others.")
        falls = (self.mass.diff() <= 0).nonzero()
        if len(falls):
            i = int(falls[0])
            pair = f"{self.mass[i].item():.10g} then {self.mass[i + 1].item():.10g}"
            raise InputError(f"the masses of an isochrone must increase; points {i} and {i + 1} have {pair}.")


def _floating(values: Tensor | Sequence[float] | Sequence[Sequence[float]]) -> Tensor:
    """A tensor of floating point numbers: as given if it is one, in double precision otherwise."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values, dtype=np.float64))
    return tensor.detach().clone() if tensor.is_floating_point() else tensor.double()


def _synthetic_mass(g: NDArray[np.float64]) -> NDArray[np.float64]:
    """Initial mass against M_g: nearly linear below the turn-off, all but constant above it."""
    main_sequence = 0.075 * 0.35 * np.logaddexp(0, (g - 4.1) / 0.35)
    evolved = 0.008 * np.exp((g - 4.1) / 2)
    mass: NDArray[np.float64] = 0.812 - main_sequence - evolved
    return mass


def _synthetic_magnitudes(g: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """M_g, M_r and M_i: a main sequence and a giant branch in g - r, blended over the subgiants."""
    depth = np.logaddexp(0, (g - 4.3) / 0.4) * 0.4
    dwarf = 0.20 + 0.055 * depth + 0.022 * depth**2
    height = np.logaddexp(0, (3.4 - g) / 0.5) * 0.5
    giant = 0.44 + 0.05 * height + 0.009 * height**2
    evolved = 1 / (1 + np.exp((g - 3.45) / 0.12))
    g_r = dwarf + (giant - dwarf) * evolved
    r_i = 0.38 * g_r + 0.08 * g_r**2 - 0.03
    return {"g": g, "r": g - g_r, "i": g - g_r - r_i}
