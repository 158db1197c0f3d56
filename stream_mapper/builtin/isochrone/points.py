"""Points of isochrones as files list them: which of them make the curve of one population of stars."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from stream_mapper.errors import InputError, check_positive

_log = logging.getLogger("stream_mapper")

Array = NDArray[np.float64]
Stop = Literal["rgb_tip", "early_agb"] | None
MassRange = tuple[float, float]

_AGES = ("isochrone_age_yr", "log10_isochrone_age_yr", "logage", "log_age", "age")
_COMPOSITIONS = ("zini", "mh", "[fe/h]_init", "feh")
_MASSES = ("Mini", "initial_mass", "M/Mo(ini)", "M/Mo", "m_ini", "mass")
_PHASE = "phase"  # a column that no file has
_SAME_AGE = 0.005  # dex
_RIGHT_AGE = 2e-4  # dex, about the digits that ages are given with
_DIGITS = 7  # of the logarithm of an age: isochrones may be 0.01 Gyr apart
_NO_MAGNITUDE = 90.0  # files write 99 or -99 where there is none


class Stages(NamedTuple):
    """How a family of isochrones numbers the stages of a star's life.

    Arguments:
        column: Column of the stage; it counts only beside the family's column of masses.
        mass: The family's column of initial masses.
        rgb_tip: Last stage up to the tip of the red-giant branch.
        early_agb: Last stage before the thermal pulses on the asymptotic giant branch.
        last: Last stage that is a star's.
    """

    column: str
    mass: str
    rgb_tip: float
    early_agb: float
    last: float = np.inf


STAGES = (
    # Primary equivalent evolutionary points (Dotter 2016, ApJS 222, 8, table 2): 605 RGB tip, 808 first thermal pulse.
    Stages("EEP", "initial_mass", 605, 808),
    # Labels of CMD: 1 main sequence, 2 subgiant, 3 red giant, 4 to 6 helium burning, 7 and 8 AGB, 9 a stand-in.
    Stages("label", "Mini", 3, 7, last=8),
    # Of a BaSTI isochrone, which ends at the first thermal pulse.
    Stages("stage", "M/Mo(ini)", 0, 1),
)


@dataclass(frozen=True)
class Points:
    """Points of one or several isochrones, in the order of a file.

    Arguments:
        path: The file, for messages.
        names: Names of the columns.
        values: Numbers, NaN where missing, shape (M, columns).
        places: Where each point is in the file, shape (M,).
        place: What ``places`` count: "line" of a text, or "row" of a table.
        mass_column: Column of the initial mass; None if there is none.
    """

    path: Path
    names: tuple[str, ...]
    values: Array
    places: NDArray[np.int64]
    place: str
    mass_column: str | None

    def column(self, name: str) -> Array:
        """One column, shape (M,)."""
        if name not in self.names:
            present = [known for known in self.names if known != _PHASE]
            raise InputError(f"{self.path}: no column {name!r}; the file has {present}.")
        column: Array = self.values[:, self.names.index(name)]
        return column

    @property
    def mass(self) -> Array:
        """Initial masses, in solar masses, shape (M,)."""
        if self.mass_column is None:
            raise InputError(f"{self.path}: no column of initial masses in {list(self.names)}.")
        return self.column(self.mass_column)

    def rows(self, kept: NDArray[np.bool_] | slice) -> Points:
        """Some of the points only."""
        return replace(self, values=self.values[kept], places=self.places[kept])

    def with_column(self, name: str, column: Array) -> Points:
        """The points with one more column (M,)."""
        return replace(self, names=(*self.names, name), values=np.column_stack([self.values, column]))

    def one_population(self, age: float | None) -> Points:
        """The points of the age asked for, in Gyr, or of the only one; all have to be of one composition."""
        compositions = {name: np.unique(self.column(name)).tolist() for name in self._called(_COMPOSITIONS)}
        if any(len(values) > 1 for values in compositions.values()):
            raise InputError(f"{self.path}: several metallicities, {compositions}; keep one per file.")
        names = self._called(_AGES)
        if names:
            return self._of_age(in_gyr(names[0], self.column(names[0])), age)
        if age is not None:
            raise InputError(f"{self.path}: no column of ages in {list(self.names)}; leave out age={age:g}.")
        return self

    def from_low_mass(self) -> Points:
        """The points with the low masses first, and without a column of masses if those are all the same."""
        if self.mass_column is None:
            return self
        self._refuse(~(self.mass > 0), self.mass_column, "an initial mass is a number above zero")
        if len(self.mass) > 1 and np.ptp(self.mass) == 0:
            _log.warning("%s: all points have %s = %g: it is no mass.", self.path, self.mass_column, self.mass[0])
            return replace(self, mass_column=None)
        return self.rows(slice(None, None, -1)) if self.mass[0] > self.mass[-1] else self

    def with_phases(self) -> Points:
        """The points with a column ``phase``, equal for stars of different isochrones that are at the same stage.

        It is the number of the equivalent evolutionary point, or a stage's label plus the share of its range of masses
        that is below; nothing is added where a file tells neither.
        """
        if _PHASE in self.names or self.mass_column is None:
            return self
        if "EEP" in self.names:
            return self.with_column(_PHASE, self.column("EEP"))
        if "label" in self.names and np.ptp(self.column("label")) > 0:
            return self.with_column(_PHASE, phase_of_stages(self.column("label"), self.mass))
        return self

    def until(self, stop: Stop) -> Points:
        """The points before the first one of a stage later than ``stop``; all if the file names no stages."""
        if stop not in (None, *get_args(get_args(Stop)[0])):
            raise InputError(f"stop must be 'rgb_tip', 'early_agb' or None; found {stop!r}.")
        stages = next((s for s in STAGES if s.column in self.names and s.mass in self.names), None)
        if stages is None:
            return self
        stage = self.column(stages.column)
        if stop is None:
            advice = "no star's; stop='early_agb' leaves such points out"
            self._refuse(stage > stages.last, stages.column, advice)
            return self
        return self.rows(np.cumsum(stage > getattr(stages, stop)) == 0)

    def in_mass_range(self, mass_range: MassRange | None) -> Points:
        """The points with initial mass in a range, edges included; all if there is none."""
        if mass_range is None:
            return self
        low, high = mass_range
        kept = (self.mass >= low) & (self.mass <= high)
        if kept.sum() < 2:
            span = f"{self.mass.min():g} to {self.mass.max():g}" if len(self.mass) else "none"
            raise InputError(f"{self.path}: fewer than two points with mass in {mass_range}; the file has {span}.")
        return self.rows(kept)

    def curve(self, columns: Iterable[str]) -> tuple[Array | None, Array, Array | None]:
        """Masses, increasing, (M,), or None; magnitudes in these columns, (M, F); phases, increasing, (M,), or None.

        Of points that share a mass the first is kept: files print few digits.

        Raises:
            InputError: If a magnitude is missing or masses fall; it names the place.
        """
        if len(self.values) < 2:
            raise InputError(f"{self.path}: {len(self.values)} points are left of the isochrone; a curve needs two.")
        magnitudes = np.stack([self._magnitudes(name) for name in columns], axis=-1)
        if self.mass_column is None:
            return None, magnitudes[np.append(True, (np.diff(magnitudes, axis=0) != 0).any(-1))], None
        falls = np.append(False, np.diff(self.mass) < 0)
        self._refuse(falls, self.mass_column, "less than before it; one isochrone, ordered by initial mass, is needed")
        first = np.append(True, np.diff(self.mass) > 0)
        if not first.all():
            _log.info("%s: %d points repeat a mass, and are left out.", self.path, (~first).sum())
        phase = self.column(_PHASE)[first] if _PHASE in self.names else np.zeros(2)
        return self.mass[first], magnitudes[first], phase if (np.diff(phase) > 0).all() else None

    def _magnitudes(self, name: str) -> Array:
        column = self.column(name)
        advice = "no magnitude; leave such points out with mass_range, or out of the file"
        self._refuse(~(np.abs(column) < _NO_MAGNITUDE), name, advice)
        return column

    def _refuse(self, bad: NDArray[np.bool_], name: str, advice: str) -> None:
        """Raise InputError for the first bad point."""
        if bad.any():
            i = int(bad.argmax())
            where = f"{self.place} {self.places[i]}"
            raise InputError(f"{self.path}: {where} has {name} = {self.column(name)[i]:.10g}: {advice}.")

    def _called(self, known: tuple[str, ...]) -> list[str]:
        """Columns whose name is one of these, upper or lower case."""
        return [name for name in self.names if name.lower() in known]

    def _of_age(self, ages: Array, age: float | None) -> Points:
        present, first = np.unique(np.log10(ages).round(_DIGITS), return_index=True)
        listed = ", ".join(f"{value:.4g}" for value in ages[first])
        if age is None:
            if len(present) > 1:
                raise InputError(f"{self.path}: several isochrones; choose the age from {listed} Gyr.")
            return self
        check_positive("the age of an isochrone", age)
        away = np.abs(present - np.log10(age))
        if away.min() > _SAME_AGE and not present[0] < np.log10(age) < present[-1]:
            raise InputError(f"{self.path}: no isochrone of age={age:g} Gyr; the file has {listed} Gyr.")
        if away.min() > _RIGHT_AGE:
            nearest = 10 ** present[away.argmin()]
            _log.warning("%s: of age %.4g Gyr, the nearest to %g Gyr in the file.", self.path, nearest, age)
        return self.rows(np.log10(ages).round(_DIGITS) == present[away.argmin()])


def mass_column(names: Iterable[str]) -> str | None:
    """The column of initial masses by its name, as MIST, PARSEC, Dartmouth or a plain table call it."""
    names = list(names)
    return next((name for known in _MASSES for name in names if name in (known, known.lower())), None)


def phase_of_stages(label: Array, mass: Array) -> Array:
    """Labels of stages plus the share of the masses of each that are below a point's, (M,)."""
    starts = np.append(0, np.flatnonzero(np.diff(label)) + 1)
    stage = np.searchsorted(starts, np.arange(len(label)), side="right") - 1
    ends = np.append(mass[starts[1:]], mass[-1] * (1 + 1e-9))
    phase: Array = label + ((mass - mass[starts[stage]]) / (ends - mass[starts])[stage].clip(1e-12)).clip(0, 1)
    return phase


def in_gyr(name: str, ages: Array) -> Array:
    """Ages in Gyr, shape (M,).

    MIST writes years or their log10 under one name; numbers tell them apart.
    """
    if (ages > 100).all():
        return ages / 1e9
    logarithmic = "log" in name.lower() or name.endswith("_yr")
    return 10 ** (ages - 9) if logarithmic else ages
