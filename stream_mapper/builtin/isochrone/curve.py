"""A stellar isochrone as a curve in magnitude space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stream_mapper.builtin.isochrone import readers
from stream_mapper.builtin.isochrone.mist import interpolator_of, mist_curve
from stream_mapper.builtin.isochrone.placement import place
from stream_mapper.builtin.isochrone.points import MassRange, Points, Stop
from stream_mapper.builtin.isochrone.synthetic import synthetic_magnitudes, synthetic_mass
from stream_mapper.errors import InputError
from stream_mapper.paths import FilePath

Bands = Mapping[str, str] | Sequence[str]


class Isochrone(nn.Module):
    """Absolute magnitudes of stars of one age and composition, along initial mass; linear between its points.

        >>> curve = Isochrone([0.5, 0.8], [[8.0, 7.5], [4.0, 3.8]], ("g", "r"))
        >>> curve
        Isochrone(2 points, bands=('g', 'r'), mass 0.5 to 0.8)

    The buffers keep the precision of what is given (the readers give float64): a red-giant branch spans some 0.003
    solar masses, which float32 would resolve to a few per cent only between neighbouring points.

    Arguments:
        mass: Initial masses, strictly increasing along the curve, shape (M,), in solar masses; None, or ``[]`` in a
            configuration, if they are not known: then the curve's length, in mag, takes their place in ``mass``, and
            no density in mass applies.
        magnitudes: Absolute magnitudes, shape (M, F); a colour may stand in for a magnitude.
        bands: Names of the F columns.
        phase: Numbers that are equal for points of different isochrones at the same stage of a star's life, increasing
            along the curve, shape (M,); None if they are not known. `IsochroneGrid` goes by them.

    Raises:
        InputError: If the shapes do not fit, a number is not finite, the masses or phases do not increase, or
            neighbours coincide on a curve without masses.
    """

    mass: Tensor
    magnitudes: Tensor

    def __init__(
        self,
        mass: Tensor | Sequence[float] | None,
        magnitudes: Tensor | Sequence[Sequence[float]],
        bands: Sequence[str],
        phase: Tensor | Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.bands = (bands,) if isinstance(bands, str) else tuple(bands)
        masses = _floating(() if mass is None else mass)
        self.has_masses = len(masses) > 0
        self.register_buffer("magnitudes", _floating(magnitudes))
        self.register_buffer("mass", masses if self.has_masses else _length(self.magnitudes))
        self.phase = None if phase is None else _floating(phase)
        self._check()

    @classmethod
    def read(
        cls,
        path: FilePath,
        bands: Bands,
        *,
        age: float | None = None,
        mass_range: MassRange | None = None,
        stop: Stop = "rgb_tip",
    ) -> Isochrone:
        """Curve from a file of MIST, PARSEC, Dartmouth or BaSTI, or from a table; the file itself tells which.

        Points have to be in the order of their initial masses, up or down; of points that share a mass the first is
        kept, as files print few digits.

        Arguments:
            path: The file.
            bands: Columns of the file, as ``("PS_g", "PS_r")``, or our names for them, as ``{"g": "PS_g"}``.
            age: Age in Gyr; needed if the file holds several. Between them the nearest is taken, with a warning if it
                differs by more than 1 per cent; beyond them none is.
            mass_range: Keep these initial masses only, in solar masses.
            stop: Where the curve ends: "rgb_tip" at the tip of the red-giant branch, "early_agb" before the
                thermal pulses, after the horizontal branch and most of the asymptotic giant branch; None keeps every
                stage of a star. Files that name no stages are read to their end, which for Dartmouth is the tip of
                the red-giant branch.

        Raises:
            InputError: If the file cannot be used: it is missing, of no known format, without rows, of several
                metallicities or ages, lacks a band, or has a point without a magnitude or out of order. The message
                says why, and in which line or row.
        """
        return cls._of(readers.read_any(Path(path).expanduser()), bands, age, mass_range, stop)

    @classmethod
    def read_mist(
        cls,
        path: FilePath,
        bands: Bands,
        *,
        age: float | None = None,
        mass_range: MassRange | None = None,
        stop: Stop = "rgb_tip",
    ) -> Isochrone:
        """Curve from a MIST ``.iso.cmd`` file (Dotter 2016, ApJS 222, 8; Choi et al. 2016, ApJ 823, 102).

        Arguments and errors as in `read`; "rgb_tip" is the primary equivalent evolutionary point 605, "early_agb" is
        808. None keeps white dwarfs, too.
        """
        return cls._of(readers.read_mist(Path(path).expanduser()), bands, age, mass_range, stop)

    @classmethod
    def read_parsec(
        cls,
        path: FilePath,
        bands: Bands,
        *,
        age: float | None = None,
        mass_range: MassRange | None = None,
        stop: Stop = "rgb_tip",
    ) -> Isochrone:
        """Curve from a table of the PARSEC web service, CMD 3 (Bressan et al. 2012, MNRAS 427, 127).

        Arguments and errors as in `read`, but that bands are called as ``("gmag", "rmag")`` or ``("Gmag",
        "G_BPmag")``; "rgb_tip" is the last row before stage label 4, "early_agb" the last before 8. The row of label 9
        stands for a remnant, at 30 mag: with None, a file that has one is refused.
        """
        return cls._of(readers.read_parsec(Path(path).expanduser()), bands, age, mass_range, stop)

    @classmethod
    def read_dartmouth(
        cls,
        path: FilePath,
        bands: Bands,
        *,
        age: float | None = None,
        mass_range: MassRange | None = None,
    ) -> Isochrone:
        """Curve from an isochrone of the Dartmouth database (Dotter et al. 2008, ApJS 178, 89).

        Arguments and errors as in `read`, but that bands are called as ``("gP1", "rP1")`` or ``("DECam_g",
        "DECam_r")``. The curve ends at the tip of the red-giant branch, as the file does.
        """
        return cls._of(readers.read_dartmouth(Path(path).expanduser()), bands, age, mass_range, None)

    @classmethod
    def read_basti(
        cls,
        path: FilePath,
        bands: Bands,
        *,
        age: float | None = None,
        mass_range: MassRange | None = None,
        stop: Stop = "rgb_tip",
    ) -> Isochrone:
        """Curve from an isochrone of BaSTI-IAC (Hidalgo et al. 2018, ApJ 856, 125), an ``.isc_...`` file.

        Arguments and errors as in `read`, but that bands are called as ``("G", "G_BP")``. The file names no stages:
        "rgb_tip" is the point from which the luminosity falls by 0.3 dex or more within 15 points, "early_agb" the end
        of the file.
        """
        return cls._of(readers.read_basti(Path(path).expanduser()), bands, age, mass_range, stop)

    @classmethod
    def read_table(
        cls,
        path: FilePath,
        bands: Bands,
        *,
        mass: str | None = None,
        age: float | None = None,
        mass_range: MassRange | None = None,
        stop: Stop = "rgb_tip",
    ) -> Isochrone:
        """Curve from a table in FITS, ECSV, CSV, Parquet or VOTable, as its suffix says.

        Arguments and errors as in `read`. Columns that are called as MIST (``initial_mass``, ``EEP``) or PARSEC
        (``Mini``, ``label``) call them mean the same here. A table without masses, or with one mass for all, gives a
        curve without masses, in the order of the rows.

        Arguments:
            path: The file.
            bands: Columns of the magnitudes.
            mass: Column of initial masses, in its unit or in solar masses; by default one called ``Mini``,
                ``initial_mass``, ``M/Mo``, ``m_ini`` or ``mass``, if there is one.
            age: Age in Gyr, of a table with several.
            mass_range: Keep these initial masses only, in solar masses.
            stop: Where the curve ends, if the table names the stages.
        """
        return cls._of(readers.read_table(Path(path).expanduser(), mass), bands, age, mass_range, stop)

    @classmethod
    def mist(
        cls,
        age: float,
        feh: float,
        bands: Bands,
        *,
        mass_range: MassRange | None = None,
        stop: Stop = "rgb_tip",
        folder: FilePath | None = None,
    ) -> Isochrone:
        """Curve of MIST at any age and [Fe/H], by the package minimint (the extra ``isochrones``).

        minimint interpolates between the tracks of the grid, which it fetches once, see :doc:`/configuration`.

        Arguments:
            age: Age in Gyr.
            feh: [Fe/H] in dex.
            bands: Magnitudes as minimint calls them, as ``("PS_g", "PS_r")``, or our names for them.
            mass_range: Keep these initial masses only, in solar masses.
            stop: Where the curve ends, as of `read`.
            folder: Where minimint's grid is; by default where minimint keeps it.

        Raises:
            InputError: If minimint or its grid is missing, or the grid has no such isochrone.
        """
        columns = readers.band_columns(bands)
        made = interpolator_of(list(columns.values()), folder)
        arrays = mist_curve(made, age, feh, list(columns.values()), mass_range, stop)
        mass, magnitudes, phase = (torch.from_numpy(array) for array in arrays)
        return cls(mass, magnitudes, tuple(columns), phase)

    @classmethod
    def synthetic(cls, bands: Sequence[str] = ("g", "r"), points: int = 400) -> Isochrone:
        """A smooth curve that looks like an old, metal-poor population; it is no stellar model.

        A few elementary functions of M_g, chosen by eye, make a main sequence from 0.2 solar masses (M_g = 10)
        to a turn-off at 0.8 (M_g = 4.1, g - r = 0.23), a subgiant branch and a giant branch up to M_g = -2. Like in
        a real isochrone, all evolved stars share a narrow range of mass. Use it in tests and mock streams only.

        Arguments:
            bands: Any of g, r and i, and of Gaia's G, BP and RP.
            points: Number of points M, evenly spaced in M_g.

        Raises:
            InputError: If a band is none of these.
        """
        names = (bands,) if isinstance(bands, str) else tuple(bands)
        g = np.linspace(10.0, -2.0, points)
        columns = synthetic_magnitudes(g)
        unknown = [name for name in names if name not in columns]
        if unknown:
            raise InputError(f"the synthetic isochrone has no band {unknown}; it has {list(columns)}.")
        magnitudes = np.stack([columns[name] for name in names], axis=-1)
        return cls(torch.from_numpy(synthetic_mass(g)), torch.from_numpy(magnitudes), names)

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
        nodes = Isochrone(m if self.has_masses else None, x, self.bands)
        nodes.mass = m  # lengths are those of the whole curve
        return nodes

    def settings(self) -> dict[str, object]:
        """The arguments by which it is built again."""
        mass = self.mass if self.has_masses else None
        return {"mass": mass, "magnitudes": self.magnitudes, "bands": self.bands, "phase": self.phase}

    def extra_repr(self) -> str:
        """Size, bands and range of mass, or length."""
        low, high = self.mass[0].item(), self.mass[-1].item()
        if not self.has_masses:
            return f"{len(self.mass)} points, bands={self.bands}, {high - low:.3g} mag long, no masses"
        return f"{len(self.mass)} points, bands={self.bands}, mass {low:.3g} to {high:.3g}"

    @classmethod
    def _of(
        cls, points: Points, bands: Bands, age: float | None, mass_range: MassRange | None, stop: Stop
    ) -> Isochrone:
        columns = readers.band_columns(bands)
        kept = points.one_population(age).from_low_mass().with_phases().until(stop).in_mass_range(mass_range)
        mass, magnitudes, phase = (None if a is None else torch.from_numpy(a) for a in kept.curve(columns.values()))
        return cls(mass, magnitudes, tuple(columns), phase)  # type: ignore[arg-type]  # there are magnitudes

    def _check(self) -> None:
        size, bands = len(self.mass), len(self.bands)
        if self.mass.ndim != 1 or size < 2 or self.magnitudes.shape != (size, bands):
            raise InputError(
                f"an isochrone needs M >= 2 masses and (M, {bands}) magnitudes for the bands {self.bands}; "
                f"found {tuple(self.mass.shape)} and {tuple(self.magnitudes.shape)}."
            )
        positive = (self.mass > 0).all() or not self.has_masses
        if not bool(self.mass.isfinite().all() and self.magnitudes.isfinite().all() and positive):
            raise InputError("an isochrone needs positive masses and finite numbers; found others.")
        if self.phase is not None and (self.phase.shape != self.mass.shape or not bool((self.phase.diff() > 0).all())):
            raise InputError(f"the phases of an isochrone must increase, one a point ({size}); found {self.phase}.")
        falls = (self.mass.diff() <= 0).nonzero()
        if len(falls):
            i = int(falls[0])
            if not self.has_masses:
                raise InputError(
                    f"an isochrone without masses needs distinct neighbours; points {i} and {i + 1} coincide."
                )
            pair = f"{self.mass[i].item():.10g} then {self.mass[i + 1].item():.10g}"
            raise InputError(f"the masses of an isochrone must increase; points {i} and {i + 1} have {pair}.")


def _floating(values: Tensor | Sequence[float] | Sequence[Sequence[float]]) -> Tensor:
    """A tensor of floating point numbers: as given if it is one, in double precision otherwise."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values, dtype=np.float64))
    return tensor.detach().clone() if tensor.is_floating_point() else tensor.double()


def _length(magnitudes: Tensor) -> Tensor:
    """Length of a curve up to each of its points, in mag, shape (M,)."""
    steps = magnitudes.diff(dim=0).square().sum(-1).sqrt()
    return torch.cat([steps.new_zeros(1), steps.cumsum(0)])
